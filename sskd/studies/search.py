"""A search for good settings: one trial after the other, each a cell over the store.

AP is measured on labeled images that are held out of the training, never on the images that reports
are about, and under a seed that no report uses. What a trial's files say comes first: a cell that
is finished, by whomever, is not run again. The sequence depends on nothing but the declaration, the
base and the results, see ``sskd.studies.proposals``; hence one trial at a time.
"""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from sskd.config import Config
from sskd.engine.stages import FINAL_STAGE
from sskd.engine.store import Store
from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell
from sskd.studies.controller import PlanCell, RunCell
from sskd.studies.interrupts import Interrupts
from sskd.studies.ledger import study_status
from sskd.studies.lock import study_lock
from sskd.studies.optuna_studies import optuna_storage
from sskd.studies.proposals import Found, propose
from sskd.studies.search_ledger import Entry, SearchLedger
from sskd.studies.search_plan import DEVELOPMENT_SEED, PlannedSearch
from sskd.studies.search_view import SearchView
from sskd.studies.shown import in_order, keep_plan
from sskd.studies.workers import describe

if TYPE_CHECKING:
    from sskd.types import Progress

__all__ = [
    "SearchOutcome",
    "TrialEvent",
    "complete_cells",
    "ended_trials",
    "found_so_far",
    "run_search",
]

ATTEMPTS = 2
"""A trial that fails is tried once more in a launch."""


@dataclass(frozen=True)
class TrialEvent:
    """Something became of a trial."""

    state: Literal["known", "started", "complete", "pruned", "failed"]
    """``known``: an earlier launch brought it to an end."""
    place: int
    params: Mapping[str, Any]
    entry: Entry | None = None
    error: str | None = None
    again: bool = False
    """Of a failure: it is tried once more."""


@dataclass
class SearchOutcome:
    """What a launch came to."""

    plan: str
    entries: dict[int, Entry] = field(default_factory=dict)
    """By place; also those of earlier launches beyond this one's number of trials."""
    tracking_error: str | None = None

    @property
    def failed(self) -> list[Entry]:
        """Trials without a result."""
        return [entry for entry in self.entries.values() if entry.state == "failed"]


def run_search(
    planned: PlannedSearch,
    *,
    trials: int,
    home: Path,
    run_cell: RunCell,
    plan_cell: PlanCell,
    progress: "Progress",
    on_trial: Callable[[TrialEvent], None],
) -> SearchOutcome:
    """Bring a search to its first so many trials; those that have ended are not repeated.

    Args:
        planned: See ``plan_search``.
        trials: Counted from the beginning of the sequence, earlier launches included.
        home: The folder of databases, cells and store.
        run_cell: Runs a cell to its ``result.json``.
        plan_cell: Identifies a cell.
        progress: Of stages.
        on_trial: Told what becomes of each trial.

    Returns:
        Every trial's end.

    Raises:
        ValueError: For a mistake that concerns the whole search; ``StudyLocked`` if another process
            is at work on it.
        KeyboardInterrupt: After Ctrl-C; ``Terminated`` after SIGTERM. The same launch goes on.
    """
    home = home.resolve()
    plan = planned.identity(plan_cell(planned.config, home=home).fingerprint)
    space = planned.space.distributions()
    objectives = len(planned.search.objectives)
    with (
        Interrupts() as interrupts,
        study_lock(home, planned.experiment),
        optuna_storage(home) as storage,
    ):
        ledger = SearchLedger(storage, planned.experiment, plan, space, objectives=objectives)
        view = SearchView(home, planned, plan, interrupts)
        launch = _Launch(
            planned, home, ledger, view, interrupts, run_cell, plan_cell, progress, on_trial
        )
        view.close_orphans()
        for place in range(trials):
            launch.settle(place)
            entry = ledger.entries()[place]
            keep_plan(home, planned.experiment, plan, complete_cells(planned, {place: entry}))
        return SearchOutcome(plan, ledger.entries(), view.error)


def ended_trials(home: Path, planned: PlannedSearch, fingerprint: str) -> int:
    """How many trials earlier launches brought to an end; reads only.

    Args:
        home: With the ledger, if there is one yet.
        planned: The search.
        fingerprint: Of the cell at its base.
    """
    plan = planned.identity(fingerprint)
    return sum(
        study.done
        for study in study_status(home)
        if study.plan == plan and study.name.partition("#")[0] == planned.experiment
    )


def found_so_far(entries: Mapping[int, Entry], *, before: int | None = None) -> dict[int, Found]:
    """What the sampler may know, by place: complete trials and those that were given up."""
    return {
        place: Found(entry.params, entry.values, entry.early)
        for place, entry in entries.items()
        if entry.state in ("complete", "pruned") and (before is None or place < before)
    }


def complete_cells(planned: PlannedSearch, entries: Mapping[int, Entry]) -> list[PlannedCell]:
    """The cells of the complete trials; those of short schedules compare with none of them."""
    return [
        PlannedCell(
            _trial(place), DEVELOPMENT_SEED, planned.cell(place, entry.params), entry.fingerprint
        )
        for place, entry in entries.items()
        if entry.state == "complete"
    ]


@dataclass(frozen=True)
class _Launch:
    """One launch at work."""

    planned: PlannedSearch
    home: Path
    ledger: SearchLedger
    view: SearchView
    interrupts: Interrupts
    run_cell: RunCell
    plan_cell: PlanCell
    progress: "Progress"
    on_trial: Callable[[TrialEvent], None]

    def settle(self, place: int) -> None:
        """Bring one place of the sequence to an end."""
        entries = self.ledger.entries()
        entry = entries.get(place)
        if entry is not None and entry.state in ("complete", "pruned"):
            self.on_trial(TrialEvent("known", place, entry.params, entry))
            return
        if entry is not None:
            params = dict(entry.params)
        else:
            history = [*found_so_far(entries, before=place).values()]
            params = propose(self.planned.search, self.planned.space, history, place=place)
        for attempt in range(1, ATTEMPTS + 1):
            error = self._try(place, params)
            if error is None:
                return
            again = attempt < ATTEMPTS
            self.on_trial(TrialEvent("failed", place, params, error=error, again=again))

    def _try(self, place: int, params: Mapping[str, Any]) -> str | None:
        """Run a trial; gives why it failed."""
        try:
            config = self.planned.cell(place, params)
            fingerprint = self.plan_cell(config, home=self.home).fingerprint
        except ValueError as error:  # a combination that cannot be
            number = self.ledger.begin(place, params, f"none-{place}")
            self.ledger.fail(number, describe(error))
            return describe(error)
        number = self.ledger.begin(place, params, fingerprint)
        self.on_trial(TrialEvent("started", place, params))
        try:
            if self._is_hopeless(place, number, config):
                self.ledger.prune(number)
            else:
                result = self._result(_trial(place), config)
                self.ledger.complete(number, self._values(config, result))
        except KeyboardInterrupt:
            raise  # the trial stays open: the next launch goes on with it
        except Exception as error:
            self.view.note(f"trial-{place}: {describe(error)}", traceback.format_exc())
            self.ledger.fail(number, describe(error))
            return describe(error)
        entry = self.ledger.entries()[place]
        state: Literal["complete", "pruned"] = "pruned" if entry.values is None else "complete"
        self.on_trial(TrialEvent(state, place, params, entry))
        return None

    def _is_hopeless(self, place: int, number: int, config: Config) -> bool:
        """Whether the short schedule's AP is below the median of the complete trials before."""
        pruning = self.planned.search.pruning
        if pruning is None:
            return False
        result = self._result(f"{_trial(place)}-early", self.planned.early(config))
        early = float(result["final"]["mask_ap"])
        self.ledger.note_early(number, early)
        before = found_so_far(self.ledger.entries(), before=place).values()
        rivals = [f.early for f in before if f.values is not None and f.early is not None]
        return len(rivals) >= pruning.startup and early < median(rivals)

    def _result(self, name: str, config: Config) -> dict[str, Any]:
        """A cell's result, run if need be.

        Raises:
            RuntimeError: If it ended without one.
        """
        fingerprint = self.plan_cell(config, home=self.home).fingerprint
        cell = PlannedCell(name, DEVELOPMENT_SEED, config, fingerprint)
        files = CellFiles(self.home, fingerprint)
        result = files.result()
        if result is not None and in_order(self.home, self.planned.experiment, [cell]):
            return result
        with self.view.open(cell) as (mirror, finish):
            if result is None:
                with self.interrupts.allowed():
                    self.run_cell(config, home=self.home, log=mirror, progress=self.progress)
                result = files.result()
                if result is None:
                    raise RuntimeError("it ended without a result")
            finish(result)
        return result

    def _values(self, config: Config, result: Mapping[str, Any]) -> tuple[float, ...]:
        stage = FINAL_STAGE[config.pipeline.final]
        last = next((s for s in result["stages"] if s["name"] == stage), None)
        values = []
        for objective in self.planned.search.objectives:
            if objective == "mask_ap":
                values.append(float(result["final"]["mask_ap"]))
            elif last is None:
                raise ValueError(f"{objective}: the result has no stage {stage!r}")
            elif objective == "seconds":
                values.append(float(last["seconds"]))
            else:
                values.append(_parameters(Store(self.home / "store").path(last["key"], stage)))
        return tuple(values)


def _trial(place: int) -> str:
    """What MLflow calls a trial, in the place of a variant."""
    return f"trial-{place}"


def _parameters(stage: Path) -> float:
    """Of the model that is used: without the projection, which training alone needs."""
    from safetensors import safe_open

    total = 0
    with safe_open(stage / "weights.safetensors", framework="np") as weights:
        for name in weights.keys():  # noqa: SIM118 - no mapping
            if not name.startswith("projection."):
                count = 1
                for size in weights.get_slice(name).get_shape():
                    count *= size
                total += count
    return float(total)
