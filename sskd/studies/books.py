"""What a launch writes down of its cells: in the ledger, in MLflow, in a log, and to its caller."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation
from sskd.studies.ledger import Claim, Ledger
from sskd.studies.lock import study_folder
from sskd.studies.shown import in_order, keep_plan
from sskd.studies.tracking import CellRun, Tracker
from sskd.studies.workers import describe

__all__ = ["Books", "CellEvent", "StudyOutcome"]

CellState = Literal["reused", "started", "done", "failed"]


@dataclass(frozen=True)
class CellEvent:
    """Something became of a cell."""

    state: CellState
    """``reused``: it was finished before its turn came."""
    study: str
    """The ablation's name: a cell of several is told of by each."""
    cell: PlannedCell
    settled: int
    """Cells of the study that are done or failed by now."""
    total: int
    result: Mapping[str, Any] | None = None
    """The content of ``result.json``, once it is there."""
    error: str | None = None
    """One line, of a failed cell."""


@dataclass
class StudyOutcome:
    """What a launch came to."""

    name: str
    total: int
    done: int = 0
    """Finished cells, those from before included."""
    reused: int = 0
    """Of these, the ones that were finished before."""
    failed: list[CellEvent] = field(default_factory=list)
    tracking_error: str | None = None
    """Why MLflow does not show everything. No result is lost, and the next launch mends it."""


class Books:
    """The books of one launch, whose ledger is open and whose study is locked."""

    def __init__(
        self,
        ablation: Ablation,
        experiment: str,
        plan: str,
        cells: Sequence[PlannedCell],
        *,
        home: Path,
        ledger: Ledger,
        on_cell: Callable[[CellEvent], None],
        failed: Mapping[str, str],
    ) -> None:
        self._ablation, self._experiment, self._plan = ablation, experiment, plan
        self.name = ablation.name
        self._cells, self._home = cells, home
        self._ledger, self._on_cell, self._failed = ledger, on_cell, failed
        self._settled: set[str] = set()
        self._log = study_folder(home, experiment) / "controller.log"
        self._tracker: Tracker | None = None
        self.outcome = StudyOutcome(experiment, len(cells))

    def take_finished(self) -> None:
        """Enter the cells that are settled already; open MLflow only if it lacks something.

        Raises:
            ValueError: If MLflow's file cannot be used: better now than after hours of work.
        """
        keep_plan(self._home, self._experiment, self._plan, self._cells)
        results = {cell.fingerprint: self._result(cell) for cell in self._cells}
        finished = [cell for cell in self._cells if results[cell.fingerprint] is not None]
        if len(finished) < len(self._cells) or not self._in_order(finished):
            try:
                self._tracker = Tracker(self._home, self._experiment, tags=self._tags())
            except ValueError:
                raise
            except Exception as error:
                path = self._home / "mlflow.db"
                raise ValueError(f"{path} cannot be used: {describe(error)}") from error
            with self.view():
                self._tracker.close_orphans()
        for cell in finished:
            self._enter_finished(cell)
        for cell in self._cells:
            if cell.fingerprint in self._failed and cell not in finished:
                self._settle("failed", cell, error=self._failed[cell.fingerprint])

    def settle_rest(self) -> None:
        """Enter what another study finished while this one was at work."""
        for cell in self._cells:
            if cell.fingerprint not in self._settled:
                self._enter_finished(cell)

    def waiting(self) -> list[PlannedCell]:
        """The cells of this study that are to be run."""
        return self._ledger.waiting()

    def begin(self, cell: PlannedCell, launcher: str) -> tuple[Claim, CellRun | None] | None:
        """Claim a waiting cell and open its run; ``None`` if it was finished elsewhere."""
        claim = self._ledger.claim(cell)
        if claim is None:
            self._enter_finished(cell)
            return None
        self._note(f"{cell.name}: attempt {claim.attempt}")
        tags = {
            "sskd.attempt": str(claim.attempt),
            "sskd.optuna_trial": str(claim.trial),
            "sskd.launcher": launcher,
        }
        run = self._open(cell, tags)
        self._tell("started", cell)
        return claim, run

    def end(
        self, claim: Claim, run: CellRun | None, error: str | None = None, trace: str = ""
    ) -> None:
        """Enter that a cell ran to its end, or why it did not."""
        cell, result = claim.cell, self._result(claim.cell)
        if error is None and result is None:
            error = "it ended without a result"
        if error is None:
            assert result is not None
            self._ledger.complete(claim, float(result["final"]["mask_ap"]))
            if run is not None:
                with self.view():
                    run.finish(result)
            self._note(f"{cell.name}: done")
            self._settle("done", cell, result=result)
        else:
            self._ledger.fail(claim, error)
            if run is not None:
                with self.view():
                    run.fail(error)
            self._note(f"{cell.name}: failed: {error}", trace)
            self._settle("failed", cell, error=error)

    def interrupt(self, claim: Claim, run: CellRun | None) -> None:
        """Put a cell that was left midway back into the queue."""
        self._ledger.requeue(claim)
        if run is not None:
            with self.view():
                run.interrupt()
        self._note(f"{claim.cell.name}: interrupted")

    @contextmanager
    def view(self) -> Iterator[None]:
        """What goes wrong in MLflow is told at the end: it must not cost a result."""
        try:
            yield
        except Exception as error:
            self.outcome.tracking_error = self.outcome.tracking_error or describe(error)
            self._note(f"MLflow: {describe(error)}", traceback.format_exc())

    def _enter_finished(self, cell: PlannedCell) -> None:
        result = self._result(cell)
        assert result is not None
        if not self._in_order([cell]):
            run = self._open(cell, {"sskd.launcher": "none: finished before"})
            if run is not None:
                with self.view():
                    run.finish(result)
        self._settle("reused", cell, result=result)

    def _open(self, cell: PlannedCell, tags: Mapping[str, str]) -> CellRun | None:
        is_reference = str(cell.variant == self._ablation.reference).lower()
        tags = {"sskd.plan": self._plan, "sskd.is_reference": is_reference, **tags}
        run = None
        with self.view():
            if self._tracker is None:
                self._tracker = Tracker(self._home, self._experiment, tags=self._tags())
            run = self._tracker.open_run(cell, tags)
        return run  # noqa: RET504 - `view` may have swallowed an error

    def _settle(
        self,
        state: Literal["reused", "done", "failed"],
        cell: PlannedCell,
        *,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> None:
        self._settled.add(cell.fingerprint)
        event = self._tell(state, cell, result, error)
        if state == "failed":
            self.outcome.failed.append(event)
        else:
            self.outcome.done += 1
            self.outcome.reused += state == "reused"

    def _tell(
        self,
        state: CellState,
        cell: PlannedCell,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
    ) -> CellEvent:
        event = CellEvent(
            state,
            self._ablation.name,
            cell,
            len(self._settled),
            len(self._cells),
            result,
            error,
        )
        self._on_cell(event)
        return event

    def _result(self, cell: PlannedCell) -> dict[str, Any] | None:
        return CellFiles(self._home, cell.fingerprint).result()

    def _in_order(self, cells: Sequence[PlannedCell]) -> bool:
        return in_order(self._home, self._experiment, cells)

    def _tags(self) -> dict[str, str]:
        """What MLflow shows above the runs."""
        source = self._ablation.source
        lines = [
            f"**{self._ablation.question}**",
            f"{source.paper}, {source.place}: {source.setting}" if source else "",
            self._ablation.claim or "",
            f"Reference: `{self._ablation.reference}`. Select runs and press *Compare*; "
            "`final/*` are the numbers of the table.",
        ]
        return {"mlflow.note.content": "\n\n".join(line for line in lines if line)}

    def _note(self, line: str, trace: str = "") -> None:
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {line}\n{trace}")
