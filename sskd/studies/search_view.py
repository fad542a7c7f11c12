"""A search in MLflow: an experiment, and a run for each cell of a trial."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sskd.studies.cells import PlannedCell
from sskd.studies.interrupts import Interrupts
from sskd.studies.lock import study_folder
from sskd.studies.mirror import Mirror
from sskd.studies.search_plan import PlannedSearch
from sskd.studies.shown import in_order
from sskd.studies.tracking import CellRun, Tracker
from sskd.studies.workers import describe

__all__ = ["SearchView"]


class SearchView:
    """MLflow's picture of the search: what goes wrong with it must not cost a result."""

    def __init__(
        self, home: Path, planned: PlannedSearch, plan: str, interrupts: Interrupts
    ) -> None:
        self._home, self._experiment, self._interrupts = home, planned.experiment, interrupts
        self._question, self._plan = planned.search.question, plan
        self._tracker: Tracker | None = None
        self.error: str | None = None

    def close_orphans(self) -> None:
        """Mark what a killed launch left open; opens nothing where nothing was tracked yet."""
        if (self._home / "mlflow.db").exists() and not in_order(self._home, self._experiment, []):
            with self._guarded():
                self._open_tracker().close_orphans()

    @contextmanager
    def open(
        self, cell: PlannedCell
    ) -> Iterator[tuple[Callable[..., None], Callable[[Mapping[str, Any]], None]]]:
        """A cell's run: what looks at its metrics now and then, and what finishes it."""
        run: CellRun | None = None
        with self._guarded():
            run = self._open_tracker().open_run(cell, {"sskd.plan": self._plan})
        mirror = Mirror(run, self._interrupts, self._guarded)

        def finish(result: Mapping[str, Any]) -> None:
            if run is not None:
                with self._guarded():
                    run.finish(result)

        try:
            yield mirror, finish
        except BaseException as error:
            if run is not None:
                with self._guarded():
                    if isinstance(error, KeyboardInterrupt):
                        run.interrupt()
                    else:
                        run.fail(describe(error))
            raise

    def note(self, line: str, trace: str = "") -> None:
        """Write into the search's log."""
        log = study_folder(self._home, self._experiment) / "controller.log"
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {line}\n{trace}")

    def _open_tracker(self) -> Tracker:
        if self._tracker is None:
            text = (
                f"**{self._question}**\n\nAP on held-out labeled images, not on val: "
                "for choosing settings, not for tables."
            )
            tags = {"sskd.kind": "search", "mlflow.note.content": text}
            self._tracker = Tracker(self._home, self._experiment, tags=tags)
        return self._tracker

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = self.error or describe(error)
            self.note(f"MLflow: {describe(error)}", traceback.format_exc())
