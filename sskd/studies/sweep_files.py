"""A sweep as one file of data, in ``sweeps/``: the values of one setting, or a search space.

Ours ship with the package; a file of the same name in ``sweeps/`` of the working directory takes
their place.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sskd.config import SHORT_NAMES, nearest
from sskd.studies.declaration import Base, explain, find_declarations, read_fields

__all__ = ["Grid", "declared_grid", "load_sweep", "load_sweep_file"]


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


def load_sweep(name: str, cwd: Path) -> Grid:
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


def load_sweep_file(path: Path) -> Grid:
    """The declaration in a file.

    Raises:
        ValueError: One line that names the file, the field and the rule.
    """
    data = read_fields(path, "a sweep", "question, param, values")
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Grid.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, _fields)}") from None


def _fields(_: object) -> list[str]:
    """The fields that an unknown one may have been meant for."""
    return [name for name in Grid.model_fields if name not in ("name", "path")]
