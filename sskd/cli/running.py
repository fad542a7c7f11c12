"""From a prepared study, or one cell, to results: the controller below, the display above.

Imported by the commands when they run: this module needs the whole package.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sskd.cli.prepare import PreparedStudy
from sskd.cli.progress import Display, StudyState, open_display
from sskd.engine.run import plan_cell, run_cell
from sskd.studies.cells import PlannedCell
from sskd.studies.controller import CellEvent, run_ablation
from sskd.studies.interrupts import Interrupts
from sskd.studies.lock import study_lock
from sskd.studies.tracking import CellRun, Tracker
from sskd.studies.workers import describe

__all__ = ["StudyResult", "run_single", "run_study"]

SINGLE_EXPERIMENT = "train"
MIRROR_SECONDS = 15.0


@dataclass(frozen=True)
class StudyResult:
    """What a launch came to, for the last lines of a command."""

    rows: list[tuple[str, ...]]
    """A row a variant: its name, and an AP in per cent or ``failed`` for each seed."""
    failures: dict[str, str]
    """Fingerprint to reason."""


def run_study(study: PreparedStudy, *, home: Path, workers: int) -> StudyResult:
    """Run what the study still needs, with a display.

    Raises:
        ValueError: If another process runs the same study, or a database cannot be used.
    """
    state = StudyState(len(study.cells), study.stages_left, workers=workers)
    with open_display(state) as display:
        outcome = run_ablation(
            study.ablation,
            cells=study.cells,
            home=home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            workers=workers,
            progress=display,
            on_cell=lambda event: _show(event, display),
        )
    if outcome.tracking_error is not None:
        _warn(f"MLflow does not show everything ({outcome.tracking_error}); the results are safe")
    seeds = sorted({cell.seed for cell in study.cells})
    rows = [
        (variant, *(state.results.get((variant, seed), "-") for seed in seeds))
        for variant in study.ablation.run
    ]
    failures = {event.cell.fingerprint: event.error or "" for event in outcome.failed}
    return StudyResult(rows, failures)


def run_single(cell: PlannedCell, *, home: Path, display: Display) -> Mapping[str, Any]:
    """Run one cell outside any study, tracked in MLflow's experiment ``sskd/train``.

    Args:
        cell: Identified.
        home: The folder of databases, cells and store.
        display: Of the steps.

    Returns:
        The content of its ``result.json``.

    Raises:
        ValueError: For a user's mistake, or a run that was stopped for a stated reason.
    """
    lock = f"{SINGLE_EXPERIMENT}/{cell.fingerprint[:16]}"  # other cells may run at the same time
    with Interrupts() as interrupts, study_lock(home, lock):
        run = Tracker(home, SINGLE_EXPERIMENT, tags={}).open_run(cell, {})
        mirror = _Mirror(run, interrupts)
        try:
            with interrupts.allowed():
                result = run_cell(cell.config, home=home, log=mirror, progress=display).result
        except KeyboardInterrupt:
            run.interrupt()
            raise
        except Exception as error:
            with suppress(Exception):  # why it failed must not be hidden by how it was noted
                run.fail(describe(error))
            raise
        try:
            run.finish(result)
        except Exception as error:
            _warn(f"MLflow does not show everything ({describe(error)}); the result is safe")
    return result


class _Mirror:
    """The engine's ``log``: looks at the cell's files now and then, and brings them to MLflow."""

    def __init__(self, run: CellRun, interrupts: Interrupts) -> None:
        self._run, self._interrupts = run, interrupts
        self._next = time.monotonic() + MIRROR_SECONDS

    def __call__(self, *_: object) -> None:
        if time.monotonic() < self._next:
            return
        # A busy database must not cost the training; the next look brings what this one missed.
        with self._interrupts.held(), suppress(Exception):
            self._run.mirror()
        self._next = time.monotonic() + MIRROR_SECONDS


def _show(event: CellEvent, display: Display) -> None:
    cell = event.cell
    if event.state == "started":
        display.line(f"{cell.variant} seed {cell.seed}: begins")
        return
    mask_ap = float(event.result["final"]["mask_ap"]) if event.result is not None else None
    note = event.error or ("finished before" if event.state == "reused" else "")
    display.finish_cell(cell.variant, cell.seed, mask_ap=mask_ap, note=note)


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
