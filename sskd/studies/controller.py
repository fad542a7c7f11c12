"""One launch of ablations: what is missing is run, and ledgers and view follow the files.

The controller holds the experiments' locks, is the only writer of their ledgers, and brings the
cells' files to MLflow; a cell knows neither. A cell that several ablations need runs once, and
stands in the books of each. Whatever ends the launch, Ctrl-C or a failing cell, the books are
closed first; after ``kill -9`` the next launch closes them.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sskd.config import Config
from sskd.studies.books import Books, CellEvent, StudyOutcome
from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell, experiment_name, identify
from sskd.studies.declaration import Ablation
from sskd.studies.interrupts import Interrupts
from sskd.studies.launches import Looks, keep_launch
from sskd.studies.ledger import Claim, Ledger, plan_id
from sskd.studies.lock import study_lock
from sskd.studies.mirror import Mirror
from sskd.studies.optuna_studies import optuna_storage
from sskd.studies.schedule import KnownStage, Schedule
from sskd.studies.tracking import CellRun
from sskd.studies.workers import Ended, Pool, describe

if TYPE_CHECKING:
    from sskd.types import Progress

__all__ = ["CellEvent", "PlanCell", "RunCell", "Study", "StudyOutcome", "run_ablations"]

POLL_SECONDS = 1.0


@runtime_checkable
class RunCell(Protocol):
    """Runs a cell to its ``result.json``; ``sskd.engine.run.run_cell``."""

    def __call__(
        self,
        config: Config,
        *,
        home: Path,
        log: Callable[[str, int, Mapping[str, float]], None],
        progress: "Progress",
    ) -> object:
        """Run it, or take what is there."""


@runtime_checkable
class Identified(Protocol):
    """What the controller wants to know of a plan."""

    @property
    def fingerprint(self) -> str:
        """The cell's identity."""

    @property
    def stages(self) -> Sequence[KnownStage]:
        """In the order in which they run."""


@runtime_checkable
class PlanCell(Protocol):
    """Identifies a cell; ``sskd.engine.run.plan_cell``."""

    def __call__(self, config: Config, *, home: Path) -> Identified:
        """Meet data and split."""


@dataclass(frozen=True)
class Study:
    """An ablation and the cells of it that a launch wants done."""

    ablation: Ablation
    cells: Sequence[PlannedCell]
    """All of one scale and data set."""
    plans: Sequence[Identified] = ()
    """Of the cells, in their order, if they are planned already."""
    looks: Looks | None = None
    """If seeds are added as needed, of which the cells are those so far."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint to reason, of cells that failed in this launch already: not tried again."""


def run_ablations(
    studies: Sequence[Study],
    *,
    home: Path,
    run_cell: RunCell,
    plan_cell: PlanCell,
    workers: int = 1,
    progress: "Progress",
    on_cell: Callable[[CellEvent], None],
) -> list[StudyOutcome]:
    """Run the cells that have no result yet, each once; failed ones of earlier launches again.

    What is wanted is written down first, for reports that are made later.

    Args:
        studies: Of different ablations; they may share cells, and stages of cells.
        home: The folder of databases, cells and store.
        run_cell: With more than one worker it is found again by its name in another process.
        plan_cell: Identifies cells.
        workers: Cells at once; 1 runs them in this process.
        progress: Of stages; with more than one worker ``what`` begins with ``mask/s0: ``, or, with
            more than one study, ``negatives mask/s0: ``.
        on_cell: Told what becomes of each cell, by each study that has it.

    Returns:
        Counts, and the failures, of each study in turn.

    Raises:
        ValueError: For a user's mistake that concerns a whole study; ``StudyLocked`` if another
            controller is at work on one.
        KeyboardInterrupt: After Ctrl-C; ``Terminated`` after SIGTERM. The books are closed by then.
    """
    for study in studies:
        if not study.cells:
            name = study.ablation.name
            raise ValueError(f"{name}: no cell to run; the number of seeds must be positive")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    home = home.resolve()
    stages: dict[str, Sequence[KnownStage]] = {
        plan.fingerprint: plan.stages for study in studies for plan in study.plans
    }

    def fingerprint(config: Config) -> str:
        planned = plan_cell(config, home=home)
        stages[planned.fingerprint] = planned.stages
        return planned.fingerprint

    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        locked = []
        for study in studies:
            experiment = experiment_name(study.ablation.name, study.cells[0].config)
            names = [plan.fingerprint for plan in study.plans] or [""] * len(study.cells)
            known = [replace(c, fingerprint=f) for c, f in zip(study.cells, names, strict=True)]
            cells = identify(known, fingerprint)
            firsts = _with_seed_0(cells, fingerprint)
            stack.enter_context(study_lock(home, experiment))
            keep_launch(home, experiment, firsts, cells, study.looks)
            locked.append((study, experiment, plan_id(firsts), cells))
        storage = stack.enter_context(optuna_storage(home))
        books = []
        for study, experiment, plan, cells in locked:
            ledger = Ledger(
                storage, experiment, plan, cells, lambda f: _mask_ap(home, f), leave=study.failed
            )
            books.append(
                Books(
                    study.ablation,
                    experiment,
                    plan,
                    cells,
                    home=home,
                    ledger=ledger,
                    on_cell=on_cell,
                    failed=study.failed,
                )
            )
        for book in books:
            book.take_finished()
        queue = _Queue(books, Schedule(home, stages), interrupts)
        if workers == 1:
            _run_here(queue, run_cell, home, interrupts, progress)
        else:
            with Pool(run_cell, home, workers) as pool:
                _run_in_pool(queue, pool, interrupts, progress)
        for book in books:
            book.settle_rest()
        return [book.outcome for book in books]


@dataclass(frozen=True)
class _Entry:
    """A running cell in the books of one study."""

    book: Books
    claim: Claim
    run: CellRun | None
    mirror: Mirror


class _Job:
    """A running cell, in the books of every study that wants it."""

    def __init__(self, name: str, cell: PlannedCell, entries: Sequence[_Entry]) -> None:
        self.name, self.cell, self._entries = name, cell, entries

    def mirror(self, *_: object) -> None:
        for entry in self._entries:
            entry.mirror()

    def end(self, error: str | None = None, trace: str = "") -> None:
        for entry in self._entries:
            entry.book.end(entry.claim, entry.run, error, trace)

    def interrupt(self) -> None:
        for entry in self._entries:
            entry.book.interrupt(entry.claim, entry.run)


class _Queue:
    """What is left to run, over all books."""

    def __init__(self, books: Sequence[Books], schedule: Schedule, interrupts: Interrupts) -> None:
        self._books, self._schedule, self._interrupts = books, schedule, interrupts

    def begin(self, active: Sequence[_Job], launcher: str) -> _Job | None:
        """Claim the next cell, everywhere; ``None`` if all that are left run already."""
        running = {job.cell.fingerprint for job in active}
        while True:
            waiting: dict[str, list[tuple[Books, PlannedCell]]] = {}
            for book in self._books:
                for cell in book.waiting():
                    if cell.fingerprint not in running:
                        waiting.setdefault(cell.fingerprint, []).append((book, cell))
            if not waiting:
                return None
            firsts = [wanted[0][1] for wanted in waiting.values()]
            chosen = self._schedule.choose(firsts, running)
            entries = []
            for book, cell in waiting[chosen.fingerprint]:
                begun = book.begin(cell, launcher)
                if begun is not None:
                    mirror = Mirror(begun[1], self._interrupts, book.view)
                    entries.append(_Entry(book, *begun, mirror))
            if entries:
                name = chosen.name
                if len(self._books) > 1:
                    name = f"{entries[0].book.name} {entries[0].claim.cell.name}"
                return _Job(name, chosen, entries)


def _run_here(
    queue: _Queue, run_cell: RunCell, home: Path, interrupts: Interrupts, progress: "Progress"
) -> None:
    """One cell after the other, in this process."""
    while (job := queue.begin([], "in-process")) is not None:
        try:
            with interrupts.allowed():
                run_cell(job.cell.config, home=home, log=job.mirror, progress=progress)
        except KeyboardInterrupt:
            job.interrupt()
            raise
        except Exception as error:
            job.end(describe(error), traceback.format_exc())
        else:
            job.end()


def _run_in_pool(queue: _Queue, pool: Pool, interrupts: Interrupts, progress: "Progress") -> None:
    """Several cells at once, in processes that know nothing of the books."""
    active: dict[str, _Job] = {}
    more = True
    try:
        while True:
            while more and pool.free:
                job = queue.begin([*active.values()], "workers")
                if job is None:
                    more = False
                    break
                active[job.name] = job
                pool.submit(job.name, job.cell.config)
            if not active:
                return
            with interrupts.allowed():
                messages = pool.wait(POLL_SECONDS)
            for message in messages:
                if isinstance(message, Ended):
                    active.pop(message.key).end(message.error, message.trace)
                else:
                    what = f"{message.key}: {message.what}"
                    progress(what, message.done, message.total, **message.facts)
            for job in active.values():
                job.mirror()
    except BaseException:
        pool.end()  # first: a run is closed when nobody works on its cell any more
        for job in active.values():
            job.interrupt()
        raise


def _with_seed_0(
    cells: Sequence[PlannedCell], fingerprint: Callable[[Config], str]
) -> dict[str, str]:
    """Variant to its fingerprint with seed 0, whichever seeds are asked for."""
    known = {(cell.variant, cell.seed): cell.fingerprint for cell in cells}
    return {
        cell.variant: known.get((cell.variant, 0))
        or fingerprint(cell.config.model_copy(update={"seed": 0}))
        for cell in cells
    }


def _mask_ap(home: Path, fingerprint: str) -> float | None:
    result = CellFiles(home, fingerprint).result()
    return None if result is None else float(result["final"]["mask_ap"])
