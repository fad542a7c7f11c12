"""The Optuna studies of a home, as both ledgers use them: a plan and a record, never a sampler."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sskd.studies.databases import open_optuna

if TYPE_CHECKING:
    import optuna
    from optuna.storages import RDBStorage

__all__ = ["open_study", "open_trial", "optuna_storage"]


@contextmanager
def optuna_storage(home: Path) -> Iterator["RDBStorage"]:
    """The home's storage: one for all studies of a launch, since opening it takes a while.

    Raises:
        ValueError: If the file is of another version of Optuna, or is broken.
    """
    storage = open_optuna(home)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def open_study(
    storage: "RDBStorage",
    experiment: str,
    plan: str,
    *,
    directions: Sequence[Literal["maximize", "minimize"]] = ("maximize",),
) -> "optuna.Study":
    """The study of one plan, made if there is none; call under the experiment's lock.

    Args:
        storage: Of the home.
        experiment: Part of its name, and kept with it.
        plan: What it is about, by content; the other part.
        directions: Of the values.
    """
    import optuna

    study = optuna.create_study(
        study_name=f"{experiment}#{plan}",
        storage=storage,
        load_if_exists=True,
        directions=list(directions),
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.NopPruner(),
    )
    known = study.user_attrs
    for key, text in (("experiment", experiment), ("plan", plan)):
        if known.get(key) != text:
            study.set_user_attr(key, text)
    return study


def open_trial(
    storage: "RDBStorage", study: "optuna.Study", number: int, *, take: bool = False
) -> "optuna.Trial":
    """A trial by its number, to write to.

    Args:
        storage: Of the study.
        study: Of the trial.
        number: Optuna's.
        take: Mark it as running; it must be waiting, which ``ask`` would end in its own order.
    """
    import optuna
    from optuna.trial import TrialState

    identity = storage.get_study_id_from_name(study.study_name)
    known = storage.get_trial_id_from_study_id_trial_number(identity, number)
    if take:
        taken = storage.set_trial_state_values(known, TrialState.RUNNING)
        assert taken, "nobody else takes trials: we hold the study's lock"
    return optuna.Trial(study, known)
