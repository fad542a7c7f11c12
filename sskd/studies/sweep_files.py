"""A sweep as one file of data, in ``sweeps/``: the values of one setting, or a search space.

Ours ship with the package; a file of the same name in ``sweeps/`` of the working directory takes
their place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sskd.config import SHORT_NAMES, nearest
from sskd.studies.declaration import Base, explain, find_declarations, read_fields

__all__ = [
    "Dimension",
    "Grid",
    "Pruning",
    "Search",
    "declared_grid",
    "load_sweep",
    "load_sweep_file",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Grid(_Part):
    """The values that a setting is tried with."""

    name: str
    """The file's name without its ending."""
    path: Path
    question: str
    param: str
    """A dotted key, or its short name."""
    base: Base | None = None
    values: Annotated[tuple[Any, ...], Field(min_length=2)]
    scales: Mapping[Literal["tiny", "small", "paper"], tuple[Any, ...]] = {}
    """Where a scale needs other values."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return SHORT_NAMES.get(self.param, self.param)

    def at(self, scale: str) -> tuple[Any, ...]:
        """The values at a scale."""
        return self.scales.get(scale, self.values)  # type: ignore[call-overload, no-any-return]


class Dimension(_Part):
    """Where a setting of a search space may lie: between two ends, or among values."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Whether equal ratios are equally likely, not equal differences."""
    step: Annotated[float, Field(gt=0)] | None = None
    values: Annotated[tuple[bool | int | float | str | None, ...], Field(min_length=2)] | None = (
        None
    )

    @model_validator(mode="after")
    def _check(self) -> "Dimension":
        ranged = self.low is not None or self.high is not None or self.log or self.step is not None
        if ranged == (self.values is not None):
            raise ValueError("expected either low and high, or values")
        if self.values is not None:
            if len(set(map(repr, self.values))) < len(self.values):
                raise ValueError("values: one stands there twice")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected both low and high")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("log: a logarithmic range begins above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step: say one of the two")
        return self


class Pruning(_Part):
    """When a trial is given up: its short schedule falls below the median of earlier ones."""

    share: Annotated[float, Field(gt=0, lt=1)]
    """Of the final stage's steps, in a schedule of its own that is run before the whole one."""
    startup: Annotated[int, Field(ge=1)]
    """Complete trials before the first one may be given up."""


class Search(_Part):
    """A search space, and how it is searched."""

    name: str
    """The file's name without its ending."""
    path: Path
    question: str
    base: Base
    """The model that is measured."""
    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    """Dotted key, or its short name, to where it may lie."""
    trials: Annotated[int, Field(ge=1)]
    startup: Annotated[int, Field(ge=1)]
    """Complete trials before the sampler learns from them; random ones until then."""
    objectives: Annotated[
        tuple[Literal["mask_ap", "seconds", "parameters"], ...], Field(min_length=1, max_length=2)
    ] = ("mask_ap",)
    """AP is to be high; the second one, the cost, low."""
    held_out: Annotated[float, Field(gt=0, lt=1)]
    """Share of the labeled images that AP is measured on: see ``data.held_out``."""
    sampler_seed: Annotated[int, Field(ge=0)] = 0
    """Another one gives another sequence."""
    pruning: Pruning | None = None

    @model_validator(mode="after")
    def _check(self) -> "Search":
        if self.objectives[0] != "mask_ap":
            raise ValueError("objectives: the first must be 'mask_ap'")
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives: one stands there twice")
        if self.pruning is not None and len(self.objectives) > 1:
            raise ValueError("pruning: goes with one objective only")
        keys = [SHORT_NAMES.get(key, key) for key in self.space]
        if len(set(keys)) < len(keys):
            raise ValueError("space: one setting stands there twice")
        return self


def load_sweep(name: str, cwd: Path) -> Grid | Search:
    """The sweep of that name.

    Raises:
        ValueError: If there is none, or its file is not a declaration; one line.
    """
    known = find_declarations(cwd, "sweeps")
    if name not in known:
        raise ValueError(f"no sweep {name!r}{nearest(name, known)}")
    return load_sweep_file(known[name])


def declared_grid(param: str, cwd: Path) -> Grid:
    """The declared values of a setting.

    Raises:
        ValueError: If no file has any, or the setting's own file is broken; one line.
    """
    key = SHORT_NAMES.get(param, param)
    for name, path in find_declarations(cwd, "sweeps").items():
        try:
            found = load_sweep_file(path)
        except ValueError:
            if name == param:
                raise
            continue  # a broken file of another name must not be in the way
        if isinstance(found, Grid) and found.key == key:
            return found
    raise ValueError(f"{param}: no file in sweeps/ has values for it; say --values or --range")


def load_sweep_file(path: Path) -> Grid | Search:
    """The declaration in a file; one that has a ``space`` is a search.

    Raises:
        ValueError: One line that names the file, the field and the rule.
    """
    data = read_fields(path, "a sweep", "question, param, values")
    model: type[Grid | Search] = Search if "space" in data else Grid
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return model.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, lambda place: _fields(model, place))}") from None


def _fields(model: type[BaseModel], place: list[int | str]) -> list[str]:
    """The fields that an unknown one may have been meant for."""
    if len(place) > 1:
        model = Pruning if place[0] == "pruning" else Dimension
    return [name for name in model.model_fields if name not in ("name", "path")]
