"""``python launch_search.py HOME TRIALS``: one launch of a search with fake cells."""

import faulthandler
import sys
from pathlib import Path

from fake_cell import plan_cell, run_cell

from sskd.config import load_scale
from sskd.studies.search import run_search
from sskd.studies.search_plan import plan_search
from sskd.studies.sweep_files import load_sweep


def main() -> int:
    faulthandler.dump_traceback_later(90, exit=True)  # says where, should it ever hang
    home, trials = Path(sys.argv[1]), int(sys.argv[2])
    search = load_sweep("contrast", Path("/nowhere")).model_copy(update={"startup": 3})
    outcome = run_search(
        plan_search(search, load_scale("tiny"), {}),
        trials=trials,
        home=home,
        run_cell=run_cell,
        plan_cell=plan_cell,
        progress=lambda *_, **__: None,
        on_trial=lambda event: print(event.state, event.place, flush=True),
    )
    assert outcome.tracking_error is None, outcome.tracking_error
    return 0


if __name__ == "__main__":
    sys.exit(main())
