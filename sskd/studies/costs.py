"""What stages cost: as measured here at the same scale, else as the scale's source states it."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from sskd.config import Config, digest, load_scale, stated_costs
from sskd.engine.store import Store

__all__ = ["HOUR", "CostedStage", "Costs", "Spent"]

HOUR = 3600.0


@runtime_checkable
class CostedStage(Protocol):
    """A stage of a cell; ``sskd.engine.run.PlannedStage``."""

    @property
    def name(self) -> str:
        """Of the stage."""

    @property
    def key(self) -> str:
        """Its content."""

    @property
    def role(self) -> Literal["teacher", "student"]:
        """Whose model it trains or uses."""

    @property
    def steps(self) -> int | None:
        """Of a training."""


class Spent(NamedTuple):
    """Seconds, by how they are known."""

    measured: float = 0.0
    """On this home's machines."""
    stated: float = 0.0
    """Of the GPU of whoever stated them."""

    @property
    def total(self) -> float:
        """Of both kinds."""
        return self.measured + self.stated


class Costs:
    """Seconds that planned stages take.

    A step takes as long as the mean of those measured with the same model on the same data set at
    the same scale, whatever other settings they had.
    """

    def __init__(self, home: Path, planned: Iterable[tuple[Config, Sequence[CostedStage]]]) -> None:
        """Read what is known.

        Args:
            home: Whose finished stages, and cells that say what these are of, were measured.
            planned: Cells and their stages.
        """
        planned = list(planned)
        roles = {stage.name: stage.role for _, stages in planned for stage in stages}
        measured = _measured(home, roles)
        self._known: dict[str, Spent] = {}
        for config, stages in planned:
            dump = config.model_dump(mode="json")
            stated = _stated(config.scale)
            for stage in stages:
                steps = stage.steps or 1
                alike = measured.get((stage.name, _pace(dump, stage.role)))
                if alike is not None:
                    self._known[stage.key] = Spent(measured=steps * alike)
                elif stage.name in stated:
                    self._known[stage.key] = Spent(stated=steps * stated[stage.name])

    def of(self, stage: CostedStage) -> Spent | None:
        """One stage; ``None`` where nothing is known."""
        return self._known.get(stage.key)

    def total(self, stages: Iterable[CostedStage]) -> Spent:
        """All stages whose cost is known, each key once."""
        keys = {stage.key for stage in stages} & self._known.keys()
        known = [self._known[key] for key in sorted(keys)]
        return Spent(sum((s.measured for s in known), 0.0), sum((s.stated for s in known), 0.0))

    def names(
        self, stages: Iterable[CostedStage], kind: Literal["measured", "stated", "unknown"]
    ) -> list[str]:
        """Names of the stages whose cost is known in this way, each once, in their order."""
        return list(dict.fromkeys(stage.name for stage in stages if self._kind(stage) == kind))

    def _kind(self, stage: CostedStage) -> str:
        known = self.of(stage)
        if known is None:
            return "unknown"
        return "measured" if known.measured else "stated"


def _measured(
    home: Path, roles: Mapping[str, Literal["teacher", "student"]]
) -> dict[tuple[str, str], float]:
    """Mean seconds a step, by a stage's name and pace; a stage that no cell names is of none."""
    paces: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for spec in _specs(home):
        for stage in spec["stages"]:
            name = stage["name"]
            if name in roles:
                paces[name, stage["key"]].add(_pace(spec["config"], roles[name]))
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for stored in Store(home / "store").entries():
        steps = stored.result.get("steps") or 1
        for pace in paces[stored.name, stored.key]:
            found[stored.name, pace].append(float(stored.result["seconds"]) / steps)
    return {known: fmean(seconds) for known, seconds in found.items()}


def _specs(home: Path) -> Iterator[dict[str, Any]]:
    """What the cells of a home were started with."""
    for path in sorted(home.glob("cells/*/spec.json")):
        try:
            spec = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # a broken cell costs an estimate nothing but itself
        if isinstance(spec, dict) and {"config", "stages"} <= spec.keys():
            yield spec


def _pace(config: Mapping[str, Any], role: Literal["teacher", "student"]) -> str:
    """What decides how long a step takes, as far as it matters; the scale has sizes and batches."""
    model = dict(config[role])
    model.pop("prompts", None)  # a started cell has the data set's words, too
    return digest([config["scale"], config["data"]["name"], model, config["numerics"]])


def _stated(scale: str) -> dict[str, float]:
    """Seconds a step, by a stage's name, as the scale's source states them."""
    costs = stated_costs(scale)
    stages = load_scale(scale)["stages"] if costs else {}
    return {name: hours * HOUR / stages[name]["steps"] for name, hours in costs.items()}
