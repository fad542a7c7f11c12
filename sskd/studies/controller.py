"""One launch of an ablation: what is missing is run, and ledger and view follow the files.

The controller holds the experiment's lock, is the only writer of its ledger, and brings the cells'
files to MLflow; a cell knows neither. Whatever ends the launch, Ctrl-C or a failing cell, the books
are closed first; after ``kill -9`` the next launch closes them.
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from sskd.config import Config
from sskd.studies.books import Books, CellEvent, Mirror, StudyOutcome
from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell, experiment_name, identify
from sskd.studies.declaration import Ablation
from sskd.studies.interrupts import Interrupts
from sskd.studies.ledger import Claim, Ledger, plan_id
from sskd.studies.lock import study_lock
from sskd.studies.tracking import CellRun
from sskd.studies.workers import Ended, Pool, describe

if TYPE_CHECKING:
    from sskd.types import Progress

__all__ = ["CellEvent", "PlanCell", "RunCell", "StudyOutcome", "run_ablation"]

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


@runtime_checkable
class PlanCell(Protocol):
    """Identifies a cell; ``sskd.engine.run.plan_cell``."""

    def __call__(self, config: Config, *, home: Path) -> Identified:
        """Meet data and split."""


def run_ablation(
    ablation: Ablation,
    *,
    cells: Sequence[PlannedCell],
    home: Path,
    run_cell: RunCell,
    plan_cell: PlanCell,
    workers: int = 1,
    progress: "Progress",
    on_cell: Callable[[CellEvent], None],
) -> StudyOutcome:
    """Run the cells that have no result yet, each once; failed ones of earlier launches again.

    Args:
        ablation: The declaration.
        cells: All of one scale and data set.
        home: The folder of databases, cells and store.
        run_cell: With more than one worker it is found again by its name in another process.
        plan_cell: Identifies the cells that are not yet.
        workers: Cells at once; 1 runs them in this process.
        progress: Of stages; with more than one worker ``what`` begins with ``mask/s0: ``.
        on_cell: Told what becomes of each cell.

    Returns:
        Counts, and the failures.

    Raises:
        ValueError: For a user's mistake that concerns the whole study; ``StudyLocked`` if another
            controller is at work on it.
        KeyboardInterrupt: After Ctrl-C; ``Terminated`` after SIGTERM. The books are closed by then.
    """
    if not cells:
        raise ValueError(f"{ablation.name}: no cell to run; the number of seeds must be positive")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    home = home.resolve()
    experiment = experiment_name(ablation.name, cells[0].config)

    def fingerprint(config: Config) -> str:
        return plan_cell(config, home=home).fingerprint

    cells = identify(cells, fingerprint)
    plan = plan_id(_with_seed_0(cells, fingerprint))
    cells = _spread(cells, workers)
    with (
        Interrupts() as interrupts,
        study_lock(home, experiment),
        Ledger(home, experiment, plan, cells, lambda f: _mask_ap(home, f)) as ledger,
    ):
        books = Books(ablation, experiment, plan, cells, home=home, ledger=ledger, on_cell=on_cell)
        books.take_finished()
        if workers == 1:
            _run_here(books, run_cell, home, interrupts, progress)
        else:
            with Pool(run_cell, home, workers) as pool:
                _run_in_pool(books, pool, interrupts, progress)
        books.settle_rest()
        return books.outcome


def _run_here(
    books: Books, run_cell: RunCell, home: Path, interrupts: Interrupts, progress: "Progress"
) -> None:
    """One cell after the other, in this process."""
    while (begun := books.begin("in-process")) is not None:
        claim, run = begun
        log = Mirror(books, run, interrupts)
        try:
            with interrupts.allowed():
                run_cell(claim.cell.config, home=home, log=log, progress=progress)
        except KeyboardInterrupt:
            books.interrupt(claim, run)
            raise
        except Exception as error:
            books.end(claim, run, describe(error), traceback.format_exc())
        else:
            books.end(claim, run)


def _run_in_pool(books: Books, pool: Pool, interrupts: Interrupts, progress: "Progress") -> None:
    """Several cells at once, in processes that know nothing of the books."""
    active: dict[str, tuple[Claim, CellRun | None, Mirror]] = {}
    try:
        while True:
            while pool.free and (begun := books.begin("workers")) is not None:
                claim, run = begun
                active[claim.cell.name] = (claim, run, Mirror(books, run, interrupts))
                pool.submit(claim.cell.name, claim.cell.config)
            if not active:
                return
            with interrupts.allowed():
                messages = pool.wait(POLL_SECONDS)
            for message in messages:
                if isinstance(message, Ended):
                    claim, run, _ = active.pop(message.key)
                    books.end(claim, run, message.error, message.trace)
                else:
                    what = f"{message.key}: {message.what}"
                    progress(what, message.done, message.total, **message.facts)
            for _, _, mirror in active.values():
                mirror()
    except BaseException:
        pool.end()  # first: a run is closed when nobody works on its cell any more
        for claim, run, _ in active.values():
            books.interrupt(claim, run)
        raise


def _spread(cells: Sequence[PlannedCell], workers: int) -> list[PlannedCell]:
    """The same cells, seed after seed, but each seed's first cell ahead of its time.

    Cells of one seed share its teacher: two workers that began with the same seed would both need
    it, and one would wait. So while the cells of a seed are at work, the next seeds' teachers are.
    """
    by_seed: dict[int, list[PlannedCell]] = {}
    for cell in cells:
        by_seed.setdefault(cell.seed, []).append(cell)
    groups, order, begun = list(by_seed.values()), [], 0
    for place, group in enumerate(groups):
        ahead = groups[begun : place + workers]
        order += [first for first, *_ in ahead] + group[1:]
        begun += len(ahead)
    return order


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
