"""An ablation as one file of data, and the cells that it stands for.

Ours ship with the package; a file of the same name in ``experiments/`` of the working directory
takes their place.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sskd.config import SHORT_NAMES, Config, build_config, load_yaml, nearest

__all__ = [
    "PRESETS",
    "Ablation",
    "PlannedCell",
    "Source",
    "Variant",
    "cells",
    "experiment_name",
    "find_declarations",
    "identify",
    "load_ablation",
    "load_declaration",
]

Metric = Literal[
    "mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large"
]
Base = Literal["teacher-self-training", "student-transfer", "student-refinement"]

PRESETS: dict[str, dict[str, Any]] = {
    "teacher-self-training": {"pipeline.teacher": "adapted", "pipeline.final": "self-training"},
    "student-transfer": {"pipeline.teacher": "adapted", "pipeline.final": "transfer"},
    "student-refinement": {"pipeline.teacher": "adapted", "pipeline.final": "refinement"},
}
"""What ``base`` of a declaration changes of every scale."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Source(_Part):
    """Where the paper's numbers stand."""

    paper: str
    table: int | str
    setting: str


class Variant(_Part):
    """One arm: what it changes of the base, and what the paper got."""

    label: str
    changes: dict[str, Any]
    """Dotted key, or short name, to value."""
    paper: dict[Metric, float] | None = None
    """As printed, in per cent."""
    note: str | None = None


class Ablation(_Part):
    """A question, its variants, and what the paper answers."""

    name: str
    """The file's name without its ending."""
    path: Path
    question: str
    source: Source | None = None
    claim: str | None = None
    """The paper's, in a sentence that the verdict is about."""
    base: Base
    variants: Annotated[dict[str, Variant], Field(min_length=2)]
    reference: str
    """The variant that every other one is compared with."""
    expected_order: tuple[str, ...] | None = None
    """Every variant, the best one first."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("mask_ap", "mask_ap50")
    diagnostics: tuple[str, ...] = ()
    """Training metrics of the final stage whose curves belong in the report."""
    notes: tuple[str, ...] = ()

    @property
    def final(self) -> str:
        """``pipeline.final`` of the base: the stage whose model is compared."""
        return str(PRESETS[self.base]["pipeline.final"])

    @model_validator(mode="after")
    def _check(self) -> "Ablation":
        for name in self.variants:
            # Part of run names, and of the commands that a report prints.
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]*", name):
                raise ValueError(f"variants: {name!r} may hold letters, digits, '.', '_', '=', '-'")
        if self.reference not in self.variants:
            known = nearest(self.reference, self.variants)
            raise ValueError(f"reference: no variant {self.reference!r}{known}")
        if self.expected_order is not None and sorted(self.expected_order) != sorted(self.variants):
            raise ValueError(
                f"expected_order: must name each of {', '.join(self.variants)} once, "
                f"got {', '.join(self.expected_order)}"
            )
        return self


@dataclass(frozen=True)
class PlannedCell:
    """One arm under one seed."""

    variant: str
    seed: int
    config: Config
    fingerprint: str = ""
    """The cell's identity; empty until ``identify`` has met data and split."""

    @property
    def name(self) -> str:
        """``mask/s0``: what people and MLflow call the cell."""
        return f"{self.variant}/s{self.seed}"


def find_declarations(cwd: Path) -> dict[str, Path]:
    """Every ablation by name: ours, and in their place those of ``cwd/experiments``."""
    package = Path(str(resources.files("sskd")))
    shipped = package / "_declarations" / "experiments"
    if not shipped.is_dir():  # not in a wheel: beside the package, in a checkout
        shipped = package.parent / "experiments"
    folders = (shipped, cwd / "experiments")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def load_ablation(name: str, cwd: Path) -> Ablation:
    """The ablation of that name.

    Raises:
        ValueError: If there is none, or its file is not a declaration; one line.
    """
    known = find_declarations(cwd)
    if name not in known:
        raise ValueError(f"no ablation {name!r}{nearest(name, known)}")
    return load_declaration(known[name])


def load_declaration(path: Path) -> Ablation:
    """The declaration in a file.

    Raises:
        ValueError: One line that names the file, the field and the rule.
    """
    try:
        data = load_yaml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected fields such as question, base, variants")
    for key in ("name", "path"):
        if key in data:
            raise ValueError(f"{path}: unknown field {key!r}; an ablation is named by its file")
    data |= {"name": path.stem, "path": str(path)}
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Ablation.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error)}") from None


def cells(
    ablation: Ablation, base: Mapping[str, Any], changes: Mapping[str, Any], seeds: Iterable[int]
) -> list[PlannedCell]:
    """Every variant under every seed, seeds outermost: an early stop leaves whole comparisons.

    Args:
        ablation: The declaration.
        base: A complete base, as ``sskd.config.load_scale`` gives it.
        changes: The user's own dotted changes, for every variant alike.
        seeds: Of the cells.

    Raises:
        ValueError: If a variant or a change does not fit the configuration, a change touches what
            the ablation varies, or two variants are the same; one line.
    """
    for key in changes:
        if key == "seed":
            raise ValueError("seed: an ablation sets it itself; say how many with --seeds")
        for name, variant in ablation.variants.items():
            for varied in map(_long, variant.changes):
                if f"{key}.".startswith(f"{varied}.") or f"{varied}.".startswith(f"{key}."):
                    raise ValueError(
                        f"{key}: {ablation.name} varies {varied} itself (variant {name!r})"
                    )
    # The base first and alone, so that a user's mistake is not blamed on a variant.
    common = PRESETS[ablation.base] | dict(changes)
    build_config(base, common)
    configs = {
        name: _resolve(ablation, name, variant, base, common)
        for name, variant in ablation.variants.items()
    }
    seen: dict[str, str] = {}
    for name, config in configs.items():
        first = seen.setdefault(config.model_dump_json(), name)
        if first != name:
            raise ValueError(
                f"{ablation.path}: variants.{name}.changes: "
                f"the same configuration as variant {first!r}"
            )
    return [
        PlannedCell(name, seed, build_config(config.model_dump(mode="json"), {"seed": seed}))
        for seed in seeds
        for name, config in configs.items()
    ]


def identify(
    planned: Sequence[PlannedCell], fingerprint: Callable[[Config], str]
) -> list[PlannedCell]:
    """The same cells with their fingerprints.

    Args:
        planned: Of one ablation.
        fingerprint: Gives a config's, such as ``plan_cell(config, home=home).fingerprint``.

    Raises:
        ValueError: If two cells come to the same computation: what tells them apart is not read.
    """
    known = [
        cell if cell.fingerprint else replace(cell, fingerprint=fingerprint(cell.config))
        for cell in planned
    ]
    seen: dict[str, PlannedCell] = {}
    for cell in known:
        first = seen.setdefault(cell.fingerprint, cell)
        if first is not cell:
            raise ValueError(
                f"{first.name} and {cell.name} come to the same computation: "
                "with these settings nothing reads what tells them apart"
            )
    return known


def experiment_name(ablation: str, config: Config) -> str:
    """``ablate/negatives@tiny-toycity``: cells whose numbers stand in one table."""
    data = Path(config.data.name)
    # A data set may be given as the path of its dataset.json: its folder is its name.
    name = data.resolve().parent.name if data.suffix == ".json" else config.data.name
    return f"ablate/{ablation}@{config.scale}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def _resolve(
    ablation: Ablation,
    name: str,
    variant: Variant,
    base: Mapping[str, Any],
    common: Mapping[str, Any],
) -> Config:
    own = {_long(key): value for key, value in variant.changes.items()}
    try:
        return build_config(base, {**common, **own})
    except ValueError as error:
        raise ValueError(f"{ablation.path}: variants.{name}.changes: {error}") from None


def _long(key: str) -> str:
    return SHORT_NAMES.get(key, key)


def _explain(error: ValidationError) -> str:
    """The first problem as one line."""
    problem = error.errors()[0]
    place = [part for part in problem["loc"] if part != "[key]"]
    where = ".".join(map(str, place))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        models: dict[int, type[BaseModel]] = {1: Ablation, 2: Source, 3: Variant}
        return f"unknown field {where!r}{nearest(str(place[-1]), _fields(models[len(place)]))}"
    if problem["type"] == "missing":
        return f"missing field {where!r}"
    if not where:
        return message
    value = problem["input"]
    shown = "" if isinstance(value, dict | list) else f", got {value!r}"
    return f"{where}: {message[0].lower() + message[1:]}{shown}"


def _fields(model: type[BaseModel]) -> list[str]:
    return [name for name in model.model_fields if name not in ("name", "path")]
