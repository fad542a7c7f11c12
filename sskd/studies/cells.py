"""The cells that an ablation stands for: every variant that is run, under every seed."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sskd.config import (
    PERCENT,
    SCALES,
    SHORT_NAMES,
    Config,
    apply_changes,
    base_for,
    build_config,
    flatten,
    nearest,
)
from sskd.studies.declaration import PRESETS, Ablation, Variant

__all__ = [
    "Conflict",
    "PlannedCell",
    "cells",
    "changed",
    "changes_at",
    "experiment_name",
    "identify",
    "label_at",
    "not_applicable",
    "own_changes",
]


class Conflict(ValueError):  # noqa: N818 - a state, not a defect
    """What the user asks for, and an ablation that is sound by itself, do not go together."""


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


def changes_at(variant: Variant, scale: str) -> dict[str, Any]:
    """What a variant changes at a scale, by long dotted keys."""
    at = variant.scales.get(scale)  # type: ignore[call-overload]
    changes = variant.changes if at is None or at.changes is None else at.changes
    return {SHORT_NAMES.get(key, key): value for key, value in changes.items()}


def label_at(variant: Variant, config: Config) -> str:
    """A variant's label at a config's scale, its keys in braces replaced by the config's values.

    Raises:
        ValueError: If there is no such key; one line.
    """
    at = variant.scales.get(config.scale)  # type: ignore[call-overload]
    label = variant.label if at is None or at.label is None else at.label
    values = flatten(config.model_dump(mode="json"))

    def value(match: re.Match[str]) -> str:
        key = SHORT_NAMES.get(match[1], match[1])
        if key not in values:
            raise ValueError(f"label: unknown key {match[1]!r}{nearest(match[1], values)}")
        found = values[key]
        return f"{found:g}" if isinstance(found, float) else str(found)

    return re.sub(r"\{([a-z_.-]+)\}", value, label)


def cells(
    ablation: Ablation, base: Mapping[str, Any], changes: Mapping[str, Any], seeds: Iterable[int]
) -> list[PlannedCell]:
    """Every variant under every seed, seeds outermost: an early stop leaves whole comparisons.

    A variant that the base cannot have, see ``not_applicable``, has no cells.

    Args:
        ablation: The declaration.
        base: A complete base, as ``sskd.config.load_scale`` gives it.
        changes: The user's own dotted changes, for every variant alike.
        seeds: Of the cells.

    Raises:
        ValueError: If a variant or a change does not fit the configuration, or two variants are
            the same; ``Conflict`` if that is so only by the changes together with this ablation, or
            a change touches what the ablation varies; one line.
    """
    if "seed" in changes:
        raise ValueError("seed: an ablation sets it itself; say how many with --seeds")
    try:
        configs = _configs(ablation, base, changes)
    except Conflict:
        raise
    except ValueError as error:
        if not changes or _fits_nowhere(base, changes):
            raise
        _configs(ablation, base, {})  # a broken declaration is told as such
        reason = str(error).removeprefix(f"{ablation.path}: ")
        raise Conflict(
            f"{ablation.name} does not go with the command's own {', '.join(changes)}: {reason}"
        ) from None
    if any(config.data.held_out > 0 for config in configs.values()):
        raise ValueError(
            "data.held_out: a table's numbers are of val; `sskd sweep` chooses settings on "
            "held-out images"
        )
    return [
        PlannedCell(name, seed, build_config(config.model_dump(mode="json"), {"seed": seed}))
        for seed in seeds
        for name, config in configs.items()
    ]


def not_applicable(
    ablation: Ablation, base: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, str]:
    """Variants that cannot be with this base, and why: no teacher knows the classes beforehand.

    Raises:
        ValueError: If a key of a change is unknown; one line.
    """
    absent = {}
    for name, variant in ablation.run.items():
        own = changes_at(variant, str(base["scale"]))
        preset = PRESETS[variant.base or ablation.base]
        try:
            data = apply_changes(base, {**preset, **changes, **own})
        except ValueError as error:
            raise ValueError(f"{ablation.path}: variants.{name}.changes: {error}") from None
        fresh = data["stages"]["pretraining"] is None and "encoder" in data["teacher"]
        if data["pipeline"]["teacher"] == "zero-shot" and fresh:
            absent[name] = "not applicable: the teacher has a fresh head and predicts nothing yet"
    return absent


def own_changes(ablation: Ablation, cell: PlannedCell) -> dict[str, tuple[Any, Any]]:
    """What its user changed of a cell, by dotted key: the scale's value, and the cell's own.

    Without what affects no number. Nothing where the cell is of no scale of the package.
    """
    config = cell.config
    if config.scale not in SCALES:
        return {}
    variant = ablation.variants[cell.variant]
    declared = PRESETS[variant.base or ablation.base] | changes_at(variant, config.scale)
    return changed(config, base_for(config.scale, config.data.name), declared)


def changed(
    config: Config, base: Mapping[str, Any], declared: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Where a config is another one than base and declaration give, by dotted key.

    Args:
        config: Of a cell.
        base: Of its scale, as ``sskd.config.base_for`` gives it.
        declared: Dotted changes of the base.

    Returns:
        The declared value, and the config's; without what affects no number, and the seed.
    """
    before = flatten(apply_changes(base, declared))
    after = flatten(config.model_dump(mode="json"))
    return {
        key: (before.get(key), value)
        for key, value in after.items()
        if value != before.get(key)
        and key not in ("seed", "deviations")
        and not key.startswith("runtime.")
    }


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


def _configs(
    ablation: Ablation, base: Mapping[str, Any], changes: Mapping[str, Any]
) -> dict[str, Config]:
    """Of every variant that has cells, with the base's seed."""
    scale = str(base["scale"])
    # The base first and alone, so that a user's mistake is not blamed on a variant.
    build_config(base, PRESETS[ablation.base] | dict(changes))
    absent = not_applicable(ablation, base, changes)
    if ablation.reference in absent:
        reason = absent[ablation.reference]
        raise Conflict(f"{ablation.name}: the reference {ablation.reference!r}: {reason}")
    for key in changes:
        for name, variant in ablation.run.items():
            for varied in changes_at(variant, scale):
                if f"{key}.".startswith(f"{varied}.") or f"{varied}.".startswith(f"{key}."):
                    raise Conflict(
                        f"{key}: {ablation.name} varies {varied} itself (variant {name!r})"
                    )
    configs = {
        name: _resolve(ablation, name, variant, base, changes)
        for name, variant in ablation.run.items()
        if name not in absent
    }
    _check_list(ablation, configs.values())
    seen: dict[str, str] = {}
    for name, config in configs.items():
        try:
            label_at(ablation.variants[name], config)
        except ValueError as error:  # now, not when the report is written
            raise ValueError(f"{ablation.path}: variants.{name}.{error}") from None
        first = seen.setdefault(config.model_dump_json(), name)
        if first != name:
            raise ValueError(
                f"{ablation.path}: variants.{name}.changes: "
                f"the same configuration as variant {first!r}"
            )
    return configs


def _fits_nowhere(base: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether changes are a mistake by themselves, whatever they are changes of."""
    for preset in ({}, *PRESETS.values()):
        with suppress(ValueError):
            build_config(base, {**preset, **changes})
            return False
    return True


def _check_list(ablation: Ablation, configs: Collection[Config]) -> None:
    """One list of labeled images would be the same for every label fraction."""
    fractions = {config.data.label_fraction for config in configs}
    for config in configs:
        listed = config.data.labeled_list
        if len(fractions) > 1 and listed is not None and PERCENT not in listed:
            raise Conflict(
                f"data.labeled_list {listed!r}: {ablation.name} varies data.label_fraction, which "
                f"one list does not follow; write {PERCENT} for the share, as in {PERCENT}.txt"
            )


def _resolve(
    ablation: Ablation,
    name: str,
    variant: Variant,
    base: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> Config:
    preset = PRESETS[variant.base or ablation.base]
    own = changes_at(variant, str(base["scale"]))
    try:
        return build_config(base, {**preset, **changes, **own})
    except ValueError as error:
        raise ValueError(f"{ablation.path}: variants.{name}.changes: {error}") from None
