"""What a search tries next: a pure function of the space and of what was found so far.

The sampler, Optuna's TPE, is made anew for each trial, seeded by the search's seed and the trial's
place in the sequence, and shown the earlier trials only. So the sequence is the same whether it was
made in one go, in two, or after a kill; a sampler that lives on would begin again with its first
random numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sskd.config import build_config, digest
from sskd.studies.grid import known_key, value_of
from sskd.studies.sweep_files import Dimension, Search

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

__all__ = ["Found", "Space", "importance", "pareto_front", "propose", "resolve_space"]

DIGITS = 4
"""Of a proposed number: people read it, and commands repeat it."""

TARGET_QUANTILE = 0.25
"""The best quarter is what PED-ANOVA explains; Optuna's own tenth of a dozen trials is one."""

FEWEST = 8
"""Complete trials for shares of importance to be worth showing: the best quarter is two then."""


@dataclass(frozen=True)
class Space:
    """A search space at one base: long keys, and the base's own values."""

    dimensions: Mapping[str, Dimension]
    default: Mapping[str, Any]
    """The base's value of each key."""

    @property
    def holds_default(self) -> bool:
        """Whether the base's own values lie in the space, so that they can be tried first."""
        return all(_lies_in(self.default[key], d) for key, d in self.dimensions.items())

    def describe(self) -> dict[str, Any]:
        """Plain data that is equal for equal spaces."""
        return {
            key: dimension.model_dump(mode="json") | {"whole": self._whole(key)}
            for key, dimension in self.dimensions.items()
        }

    def distributions(self) -> dict[str, "BaseDistribution"]:
        """As Optuna has it."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        found: dict[str, BaseDistribution] = {}
        for key, d in self.dimensions.items():
            if d.values is not None:
                found[key] = CategoricalDistribution(d.values)
                continue
            assert d.low is not None
            assert d.high is not None
            if self._whole(key):
                step = int(d.step or 1)
                found[key] = IntDistribution(int(d.low), int(d.high), log=d.log, step=step)
            else:
                found[key] = FloatDistribution(d.low, d.high, log=d.log, step=d.step)
        return found

    def _whole(self, key: str) -> bool:
        return isinstance(self.default[key], int) and not isinstance(self.default[key], bool)


@dataclass(frozen=True)
class Found:
    """What became of an earlier trial, for the sampler."""

    params: Mapping[str, Any]
    values: tuple[float, ...] | None
    """Of the objectives; ``None`` of a trial that was given up."""
    early: float | None = None
    """AP after the short schedule, where there is pruning."""


def resolve_space(search: Search, raw: Mapping[str, Any], own: Mapping[str, Any]) -> Space:
    """The space at a base, every end and value of it known to be a valid setting.

    Args:
        search: The declaration.
        raw: A complete base, as ``sskd.config.base_for`` gives it.
        own: What the search's base and the user change of it, by dotted key.

    Raises:
        ValueError: One line that names file, key and rule.
    """
    config = build_config(raw, own)
    dimensions: dict[str, Dimension] = {}
    default: dict[str, Any] = {}
    for name, dimension in search.space.items():
        try:
            key = known_key(name, raw)
            if key in own:
                raise ValueError("the search, or its base, sets it itself")
            default[key] = value_of(config, key)
            whole = isinstance(default[key], int) and not isinstance(default[key], bool)
            if dimension.values is None and not whole and not isinstance(default[key], float):
                raise ValueError(f"a range needs a number, and the base has {default[key]!r}")
            numbers = [n for n in (dimension.low, dimension.high, dimension.step) if n is not None]
            if whole and not all(n.is_integer() for n in numbers):
                raise ValueError("the setting takes whole numbers")
            ends = [int(n) if whole else n for n in numbers[:2]]
            for value in dimension.values or ends:
                build_config(raw, {**own, key: value})
        except ValueError as error:
            raise ValueError(f"{search.path}: space.{name}: {error}") from None
        dimensions[key] = dimension
    return Space(dimensions, default)


def propose(
    search: Search, space: Space, history: Sequence[Found], *, place: int
) -> dict[str, Any]:
    """The settings of a trial.

    Args:
        search: The declaration: objectives, seed, random trials at the beginning.
        space: Of the search at its base.
        history: The earlier trials that came to an end, in the order of their places.
        place: Of the trial in the sequence, from 0. At the first one the base's own values are
            tried, if they lie in the space.

    Returns:
        Dotted key to value.
    """
    if place == 0 and space.holds_default:
        return dict(space.default)
    import optuna

    # Every argument that shapes the sequence is said: Optuna changes its defaults.
    sampler = optuna.samplers.TPESampler(
        n_startup_trials=search.startup,
        n_ei_candidates=24,
        multivariate=True,
        group=False,
        constant_liar=False,
        seed=int(digest([search.sampler_seed, place])[:8], 16),
    )
    study = _in_memory(len(search.objectives), sampler)
    study.add_trials(_as_trials(space, history))
    asked = study.ask(fixed_distributions=space.distributions())
    return {key: _rounded(asked.params[key], space.dimensions[key]) for key in space.dimensions}


def importance(space: Space, history: Sequence[Found]) -> dict[str, float]:
    """How much each setting matters for being among the best quarter: PED-ANOVA's shares.

    Returns:
        Key to share, the largest first; empty where there is too little to tell.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    # Of AP alone, in a study that knows that it is to be high: given a function in its place,
    # PED-ANOVA explains what is low.
    complete = [Found(f.params, f.values[:1]) for f in history if f.values is not None]
    if len(complete) < FEWEST or len({found.values for found in complete}) < 2:
        return {}
    study = _in_memory(1, optuna.samplers.RandomSampler(seed=0))
    study.add_trials(_as_trials(space, complete))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=TARGET_QUANTILE)
    try:
        return dict(get_param_importances(study, evaluator=evaluator))
    except (ValueError, RuntimeError):
        return {}


def pareto_front(history: Mapping[int, Found]) -> list[int]:
    """The places of the trials that none beats in AP and cost at once, by falling AP."""
    known = {place: f.values for place, f in history.items() if f.values is not None}

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(
            v[0] >= mine[0] and v[1] <= mine[1] and v[:2] != mine[:2] for v in known.values()
        )

    return sorted((p for p, v in known.items() if not beaten(v)), key=lambda p: -known[p][0])


def _in_memory(objectives: int, sampler: Any) -> Any:
    import optuna
    from optuna.study import StudyDirection

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    directions = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE][:objectives]
    return optuna.create_study(directions=directions, sampler=sampler)


def _as_trials(space: Space, history: Sequence[Found]) -> list["FrozenTrial"]:
    from optuna.trial import TrialState, create_trial

    distributions = space.distributions()
    return [
        create_trial(
            state=TrialState.COMPLETE if found.values is not None else TrialState.PRUNED,
            values=found.values,
            params=dict(found.params),
            distributions=distributions,
            intermediate_values={} if found.early is None else {0: found.early},
        )
        for found in history
    ]


def _rounded(value: Any, dimension: Dimension) -> Any:
    """To few digits, but never beyond an end."""
    if not isinstance(value, float) or dimension.values is not None or dimension.step is not None:
        return value
    assert dimension.low is not None
    assert dimension.high is not None
    return min(max(float(f"{value:.{DIGITS}g}"), dimension.low), dimension.high)


def _lies_in(value: Any, dimension: Dimension) -> bool:
    if dimension.values is not None:
        return any(
            value == known and isinstance(value, bool) == isinstance(known, bool)
            for known in dimension.values
        )
    assert dimension.low is not None
    assert dimension.high is not None
    steps = (value - dimension.low) / (dimension.step or 1)
    on_grid = dimension.step is None or abs(steps - round(steps)) < 1e-9
    return bool(dimension.low <= value <= dimension.high and on_grid)
