"""The ledger of a study, in Optuna: which cells are waiting, running, done, failed.

An explicit plan, claimed and told one by one: no sampler ever chooses a cell. The controller that
holds the study's lock is the only writer, so that a trial found running belongs to nobody. What a
cell's folder says comes first: the ledger is brought in line with it, never the other way round.

The state of a cell is that of its last trial. A failed trial is a failed cell only if it carries
the attribute ``error``; without, it was interrupted.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sskd.config import digest
from sskd.studies.cells import PlannedCell
from sskd.studies.lock import is_running
from sskd.studies.optuna_studies import open_study, open_trial, optuna_storage

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

__all__ = ["Claim", "Ledger", "StudyStatus", "plan_id", "study_status"]

Value = Callable[[str], float | None]
"""Fingerprint to the final mask AP on disk; ``None`` where the cell has not finished."""

MAX_SEED = 2**31 - 1


@dataclass(frozen=True)
class Claim:
    """A cell that is ours to run, and its trial."""

    cell: PlannedCell
    trial: int
    attempt: int
    """Counts from 1, over all launches."""


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands; every cell is counted once."""

    name: str
    """``ablate/negatives@tiny-toycity``, with ``#plan`` where several plans share the name."""
    plan: str
    done: int
    running: int
    """Only while a controller is alive; what a killed one left counts as pending."""
    pending: int
    failed: int
    failures: tuple[tuple[str, str], ...]
    """Name of each failed cell, and why."""


def plan_id(fingerprints: Mapping[str, str]) -> str:
    """Eight digits of what a study is about: its variants by content, whatever the seeds.

    Args:
        fingerprints: Variant to the fingerprint of its cell with seed 0.
    """
    return digest(dict(fingerprints))[:8]


class Ledger:
    """The study behind one plan, opened under the experiment's lock."""

    def __init__(
        self,
        storage: "RDBStorage",
        experiment: str,
        plan: str,
        cells: Sequence[PlannedCell],
        value: Value,
        *,
        leave: Collection[str] = (),
    ) -> None:
        """Open or make the study, bury what a killed controller left, and queue what is missing.

        Args:
            storage: Of the home, open for as long as the ledger is used.
            experiment: See ``experiment_name``.
            plan: See ``plan_id``.
            cells: Identified; what this launch wants done. Failed ones are queued again.
            value: What the files say of a cell.
            leave: Fingerprints of cells that are not to be queued again: they failed just now.
        """
        from optuna.distributions import CategoricalDistribution, IntDistribution

        self._cells = {cell.fingerprint: cell for cell in cells}
        self._leave = leave
        self._value = value
        self._asked: dict[int, optuna.Trial] = {}
        self._storage = storage
        # Choices cannot grow within a study: the plan, hence the study's name, covers them.
        self._variants = sorted({cell.variant for cell in cells})
        self._space: dict[str, BaseDistribution] = {
            "variant": CategoricalDistribution(self._variants),
            "seed": IntDistribution(0, MAX_SEED),
        }
        self._study = open_study(storage, experiment, plan)
        self._bury_orphans(experiment)
        self._queue()

    def waiting(self) -> list[PlannedCell]:
        """The cells that are to be run, first queued first.

        What this launch does not want leaves the queue.
        """
        from optuna.trial import TrialState

        found = []
        for queued in self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            cell = self._cells.get(queued.user_attrs.get("fingerprint", ""))
            if cell is None:
                trial = self._take(queued.number)
                trial.set_user_attr("withdrawn", True)
                self._study.tell(trial.number, state=TrialState.FAIL)
            else:
                found.append(cell)
        return found

    def claim(self, cell: PlannedCell) -> Claim | None:
        """Mark a waiting cell as running; ``None``, and entered, if it was finished elsewhere."""
        queued = self._history(cell.fingerprint)[-1]
        trial = self._take(queued.number)
        value = self._value(cell.fingerprint)
        if value is not None:
            self._study.tell(trial.number, value)
            return None
        self._asked[trial.number] = trial
        attempts = [t for t in self._history(cell.fingerprint) if "imported" not in t.user_attrs]
        return Claim(cell, trial.number, len(attempts))

    def _take(self, number: int) -> "optuna.Trial":
        """One of the waiting trials."""
        trial = open_trial(self._storage, self._study, number, take=True)
        trial.suggest_categorical("variant", self._variants)
        trial.suggest_int("seed", 0, MAX_SEED)
        return trial

    def complete(self, claim: Claim, value: float) -> None:
        """Enter a cell's final mask AP."""
        self._study.tell(claim.trial, value)

    def fail(self, claim: Claim, error: str) -> None:
        """Enter why a cell failed; the next launch tries it again."""
        from optuna.trial import TrialState

        self._asked[claim.trial].set_user_attr("error", error)
        self._study.tell(claim.trial, state=TrialState.FAIL)

    def requeue(self, claim: Claim) -> None:
        """Put an interrupted cell back into the queue."""
        from optuna.trial import TrialState

        self._study.tell(claim.trial, state=TrialState.FAIL)
        self._enqueue(claim.cell)

    def _queue(self) -> None:
        from optuna.trial import TrialState, create_trial

        for fingerprint, cell in self._cells.items():
            history = self._history(fingerprint)
            state = history[-1].state if history else None
            value = self._value(fingerprint)
            if value is None:
                # Complete here but not on disk: somebody deleted the cell, so it is wanted anew.
                if state is not TrialState.WAITING and fingerprint not in self._leave:
                    self._enqueue(cell)
            elif state not in (TrialState.COMPLETE, TrialState.WAITING):
                self._study.add_trial(
                    create_trial(
                        state=TrialState.COMPLETE,
                        value=value,
                        params={"variant": cell.variant, "seed": cell.seed},
                        distributions=self._space,
                        user_attrs={"fingerprint": fingerprint, "imported": True},
                    )
                )

    def _enqueue(self, cell: PlannedCell) -> None:
        self._study.enqueue_trial(
            {"variant": cell.variant, "seed": cell.seed},
            user_attrs={"fingerprint": cell.fingerprint},
        )

    def _bury_orphans(self, experiment: str) -> None:
        """We hold the experiment's lock: whoever ran these is gone, under other plans too."""
        import optuna
        from optuna.trial import TrialState

        for name, attributes in _studies(self._storage):
            if attributes.get("experiment") != experiment:
                continue
            study = optuna.load_study(study_name=name, storage=self._storage)
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                value = self._value(trial.user_attrs.get("fingerprint", ""))
                if value is not None:
                    study.tell(trial.number, value)
                else:
                    study.tell(trial.number, state=TrialState.FAIL)

    def _history(self, fingerprint: str) -> list["FrozenTrial"]:
        """A cell's trials, oldest first."""
        trials = self._study.get_trials(deepcopy=False)
        return _by_cell(trials).get(fingerprint, [])


def study_status(home: Path) -> list[StudyStatus]:
    """Every study of a home, by name; reads only.

    Raises:
        ValueError: If the ledger cannot be read.
    """
    if not (home / "optuna.db").exists():
        return []
    import optuna

    with optuna_storage(home) as storage:
        found = []
        for name, attributes in _studies(storage):
            if "experiment" not in attributes:
                continue  # not one of ours
            study = optuna.load_study(study_name=name, storage=storage)
            trials = study.get_trials(deepcopy=False)
            alive = is_running(home, attributes["experiment"])
            found.append(_status(attributes["experiment"], attributes["plan"], trials, alive))
    found = [status for status in found if _count(status)]
    names = [status.name for status in found]
    return sorted(
        (
            StudyStatus(**{**vars(s), "name": f"{s.name}#{s.plan}"})
            if names.count(s.name) > 1
            else s
            for s in found
        ),
        key=lambda status: status.name,
    )


def _status(
    experiment: str, plan: str, trials: Sequence["FrozenTrial"], alive: bool
) -> StudyStatus:
    from optuna.trial import TrialState

    done = running = pending = 0
    failures = []
    for history in _by_cell(trials).values():
        last = history[-1]
        if last.state in (TrialState.COMPLETE, TrialState.PRUNED):
            done += 1
        elif last.state is TrialState.RUNNING and alive:
            running += 1
        elif "error" in last.user_attrs:
            failures.append((_name(last), str(last.user_attrs["error"])))
        else:
            pending += 1
    failed = tuple(failures)
    return StudyStatus(experiment, plan, done, running, pending, len(failed), failed)


def _count(status: StudyStatus) -> int:
    return status.done + status.running + status.pending + status.failed


def _by_cell(trials: Sequence["FrozenTrial"]) -> dict[str, list["FrozenTrial"]]:
    cells: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        fingerprint = trial.user_attrs.get("fingerprint")
        if fingerprint is not None and "withdrawn" not in trial.user_attrs:
            cells.setdefault(fingerprint, []).append(trial)
    return cells


def _name(trial: "FrozenTrial") -> str:
    if "name" in trial.user_attrs:  # of a search
        return str(trial.user_attrs["name"])
    return f"{trial.params['variant']}/s{trial.params['seed']}"


def _studies(storage: "RDBStorage") -> list[tuple[str, dict[str, Any]]]:
    return [(study.study_name, study.user_attrs) for study in storage.get_all_studies()]
