"""From prepared studies, or one cell, to results: the controller below, the display above.

Imported by the commands when they run: this module needs the whole package.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from sskd.cli.console import percent
from sskd.cli.prepare import PreparedStudy, stages_left
from sskd.cli.progress import Display, StudyState, open_display
from sskd.engine.run import plan_cell, run_cell
from sskd.reporting.analysis import Analysis
from sskd.reporting.document import Table
from sskd.reporting.markdown import pipe_table
from sskd.reporting.tables import summary_rows
from sskd.studies.cells import PlannedCell, experiment_name
from sskd.studies.controller import CellEvent, Study, run_ablations
from sskd.studies.interrupts import Interrupts
from sskd.studies.lock import study_lock
from sskd.studies.mirror import Mirror
from sskd.studies.tracking import Tracker, show_results
from sskd.studies.workers import describe

__all__ = ["StudyResult", "run_single", "run_studies", "show_table"]

SINGLE_EXPERIMENT = "train"


@dataclass(frozen=True)
class StudyResult:
    """What a launch came to, for the last lines of a command."""

    rows: list[tuple[str, ...]]
    """A row a variant: its name, and an AP in per cent or ``failed`` for each seed."""
    failures: dict[str, str]
    """Fingerprint to reason."""


def run_studies(
    studies: Sequence[PreparedStudy],
    *,
    home: Path,
    workers: int,
    failed: Sequence[Mapping[str, str]] = (),
) -> list[StudyResult]:
    """Run what the studies still need, with a display; a cell of several runs once.

    Args:
        studies: Of one launch.
        home: Of data set, store, cells and databases.
        workers: Cells at the same time.
        failed: Of each study, the failures of this launch so far: they are not tried again.

    Raises:
        ValueError: If another process runs one of the studies, or a database cannot be used.
    """
    distinct = {cell.fingerprint for study in studies for cell in study.cells}
    state = StudyState(len(distinct), stages_left(studies), workers=workers)
    several = len(studies) > 1
    with open_display(state) as display:
        show = _Show(display, several)
        outcomes = run_ablations(
            [
                Study(s.ablation, s.cells, s.plans, s.looks, known)
                for s, known in zip(studies, failed or [{}] * len(studies), strict=True)
            ],
            home=home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            workers=workers,
            progress=display,
            on_cell=show,
        )
    for error in dict.fromkeys(o.tracking_error for o in outcomes if o.tracking_error is not None):
        _warn(f"MLflow does not show everything ({error}); the results are safe")
    results = []
    for study, outcome in zip(studies, outcomes, strict=True):
        seeds = sorted({cell.seed for cell in study.cells})
        known = show.results[study.ablation.name]
        rows = [
            (variant, *(known.get((variant, seed), "-") for seed in seeds))
            for variant in study.ablation.run
        ]
        failures = {event.cell.fingerprint: event.error or "" for event in outcome.failed}
        results.append(StudyResult(rows, failures))
    return results


def show_table(study: PreparedStudy, analysis: Analysis, home: Path) -> None:
    """Put a study's results above its runs in MLflow."""
    experiment = experiment_name(study.ablation.name, study.cells[0].config)
    table = pipe_table(Table(tuple(map(tuple, summary_rows(analysis)))))
    try:
        show_results(home, experiment, table)
    except Exception as error:  # a view: it must not cost a report
        _warn(f"MLflow does not show the results ({describe(error)}); the report has them")


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
        mirror = Mirror(run, interrupts, lambda: suppress(Exception))
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


class _Show:
    """Tells the display of each cell once, and keeps what became of it for every study."""

    def __init__(self, display: Display, several: bool) -> None:
        self._display, self._several = display, several
        self._told: set[tuple[str, bool]] = set()
        self.results: defaultdict[str, dict[tuple[str, int], str]] = defaultdict(dict)
        """By study: variant and seed to AP in per cent, or ``failed``."""

    def __call__(self, event: CellEvent) -> None:
        cell, begins = event.cell, event.state == "started"
        mask_ap = float(event.result["final"]["mask_ap"]) if event.result is not None else None
        if not begins:
            shown = "failed" if mask_ap is None else percent(mask_ap)
            self.results[event.study][cell.variant, cell.seed] = shown
        if (cell.fingerprint, begins) in self._told:
            return
        self._told.add((cell.fingerprint, begins))
        variant = f"{event.study} {cell.variant}" if self._several else cell.variant
        if begins:
            self._display.line(f"{variant} seed {cell.seed}: begins")
            return
        note = event.error or ("finished before" if event.state == "reused" else "")
        self._display.finish_cell(variant, cell.seed, mask_ap=mask_ap, note=note)


def _warn(text: str) -> None:
    typer.echo(f"warning: {text}", err=True)
