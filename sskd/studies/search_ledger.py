"""The ledger of a search, in Optuna: what was tried, in which place of the sequence, with what end.

A trial is entered running, with its settings, in one transaction: the study's own sampler chooses
nothing, and a kill leaves a trial that is whole, or none. The search's lock is held; a trial found
running belongs to nobody and is gone on with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sskd.studies.optuna_studies import open_study, open_trial, optuna_storage

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

__all__ = ["Entry", "SearchLedger", "recorded_trials"]


@dataclass(frozen=True)
class Entry:
    """The last trial of one place in the sequence."""

    place: int
    trial: int
    """Optuna's number: a place that failed has several trials."""
    state: Literal["complete", "pruned", "failed", "open"]
    params: Mapping[str, Any]
    fingerprint: str
    values: tuple[float, ...] | None = None
    early: float | None = None
    """AP after the short schedule, where there is pruning."""
    error: str | None = None


class SearchLedger:
    """The study behind a search, opened under its lock."""

    def __init__(
        self,
        storage: "RDBStorage",
        experiment: str,
        plan: str,
        space: Mapping[str, "BaseDistribution"],
        *,
        objectives: int,
    ) -> None:
        """Open or make the study.

        Args:
            storage: Of the home, open for as long as the ledger is used.
            experiment: Of the search.
            plan: What the search is about, by content.
            space: As Optuna has it.
            objectives: One, or two: the second is to be low.
        """
        self._space, self._storage = dict(space), storage
        directions: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize")
        self._study = open_study(storage, experiment, plan, directions=directions[:objectives])

    def entries(self) -> dict[int, Entry]:
        """The last trial of every place, by place; one that was queued only never began."""
        return _by_place(self._study)

    def begin(self, place: int, params: Mapping[str, Any], fingerprint: str) -> int:
        """A place's trial: the one left running, or a new one.

        Args:
            place: In the sequence.
            params: Of the trial, by dotted key.
            fingerprint: Of its cell.

        Returns:
            Optuna's number of it.
        """
        from optuna.trial import TrialState, create_trial

        last = self.entries().get(place)
        if last is None or last.state != "open":
            said = {"place": place, "params": dict(params), "fingerprint": fingerprint}
            self._study.add_trial(
                create_trial(
                    state=TrialState.RUNNING,
                    params=dict(params),
                    distributions=self._space,
                    user_attrs=said | {"name": f"trial-{place}"},
                )
            )
            last = self.entries()[place]
        return last.trial

    def note_early(self, trial: int, value: float) -> None:
        """Enter the AP of a trial's short schedule."""
        open_trial(self._storage, self._study, trial).set_user_attr("early", value)

    def complete(self, trial: int, values: tuple[float, ...]) -> None:
        """Enter what a trial came to."""
        self._study.tell(trial, list(values))

    def prune(self, trial: int) -> None:
        """Enter that a trial was given up after its short schedule."""
        from optuna.trial import TrialState

        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: int, error: str) -> None:
        """Enter why a trial failed."""
        from optuna.trial import TrialState

        open_trial(self._storage, self._study, trial).set_user_attr("error", error)
        self._study.tell(trial, state=TrialState.FAIL)


def recorded_trials(home: Path, experiment: str, plan: str) -> dict[int, Entry]:
    """The last trial of every place of a search, by place; makes nothing, and needs no lock.

    Args:
        home: Of the ledger.
        experiment: Of the search.
        plan: What the search is about, by content.

    Raises:
        ValueError: If the ledger cannot be read.
    """
    if not (home / "optuna.db").exists():
        return {}
    import optuna

    with optuna_storage(home) as storage:
        name = f"{experiment}#{plan}"
        if name not in {study.study_name for study in storage.get_all_studies()}:
            return {}
        return _by_place(optuna.load_study(study_name=name, storage=storage))


def _by_place(study: "optuna.Study") -> dict[int, Entry]:
    from optuna.trial import TrialState

    found = {}
    for trial in study.get_trials(deepcopy=False):
        if "place" in trial.user_attrs and trial.state is not TrialState.WAITING:
            found[trial.user_attrs["place"]] = _entry(trial)
    return dict(sorted(found.items()))


def _entry(trial: "FrozenTrial") -> Entry:
    from optuna.trial import TrialState

    state: Literal["complete", "pruned", "failed", "open"] = "open"
    if trial.state is TrialState.COMPLETE:
        state = "complete"
    elif trial.state is TrialState.PRUNED:
        state = "pruned"
    elif trial.state is TrialState.FAIL:
        state = "failed"
    said = trial.user_attrs
    return Entry(
        place=said["place"],
        trial=trial.number,
        state=state,
        params=said["params"],
        fingerprint=said["fingerprint"],
        values=tuple(trial.values) if state == "complete" else None,
        early=said.get("early"),
        error=said.get("error"),
    )
