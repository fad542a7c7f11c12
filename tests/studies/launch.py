"""``python launch.py HOME SEEDS WORKERS [NAME]``: one launch of an ablation with fake cells."""

import faulthandler
import sys
from pathlib import Path

from fake_cell import plan_cell, run_cell

from sskd.config import load_scale
from sskd.studies.cells import cells
from sskd.studies.controller import Study, run_ablations
from sskd.studies.declaration import load_ablation


def main() -> int:
    faulthandler.dump_traceback_later(90, exit=True)  # says where, should it ever hang
    home, seeds, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    name = sys.argv[4] if len(sys.argv) > 4 else "negatives"
    ablation = load_ablation(name, Path("/nowhere"))
    try:
        (outcome,) = run_ablations(
            [Study(ablation, cells(ablation, load_scale("tiny"), {}, range(seeds)))],
            home=home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            workers=workers,
            progress=lambda *_, **__: None,
            on_cell=lambda event: print(event.state, event.cell.name, flush=True),
        )
    except KeyboardInterrupt:
        return 130
    assert outcome.tracking_error is None, outcome.tracking_error
    print("mlflow" in sys.modules, outcome.done, len(outcome.failed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
