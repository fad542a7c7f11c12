"""Variants that differ in one number alone: what a curve over that number can be drawn through."""

import json
from dataclasses import dataclass
from itertools import takewhile

from sskd.config import SHORT_NAMES, flatten
from sskd.reporting.analysis import Analysis, Arm
from sskd.studies.declaration import Variant

__all__ = ["MIN_POINTS", "Line", "find_lines"]

MIN_POINTS = 3
"""Two values make a comparison, not a curve."""


@dataclass(frozen=True)
class Line:
    """Arms that are alike but for the value of one key."""

    key: str
    """Dotted."""
    title: str
    """What the arms have in common; empty where there is but one line."""
    arms: tuple[Arm, ...]
    values: tuple[float, ...]
    """Of the key, ascending, in the order of the arms."""
    papers: tuple[float, ...]
    """The same as the paper has them, which a smaller scale may divide."""

    @property
    def parameter(self) -> str:
        """The last part of the key: ``weight`` for the teacher's and for the student's."""
        return self.key.rpartition(".")[2]


def find_lines(analysis: Analysis) -> list[Line]:
    """Every line through three arms or more, keys in the order of the configuration."""
    configs = {
        arm.name: flatten(arm.cells[0].config.model_dump(mode="json")) for arm in analysis.arms
    }
    found: list[tuple[str, list[Arm]]] = []
    for key in next(iter(configs.values())):
        values = {name: config.get(key) for name, config in configs.items()}
        if key == "seed" or len(set(map(repr, values.values()))) == 1:
            continue
        alike: dict[str, list[Arm]] = {}
        for arm in analysis.arms:
            if isinstance(values[arm.name], int | float) and not isinstance(values[arm.name], bool):
                rest = {k: v for k, v in configs[arm.name].items() if k not in (key, "seed")}
                alike.setdefault(json.dumps(rest, sort_keys=True), []).append(arm)
        found += [(key, arms) for arms in alike.values() if len(arms) >= MIN_POINTS]
    lines = []
    for key, arms in found:
        arms.sort(key=lambda arm: configs[arm.name][key])
        variants = [analysis.ablation.variants[arm.name] for arm in arms]
        own = tuple(float(configs[arm.name][key]) for arm in arms)
        papers = tuple(_paper_value(v, key, x) for v, x in zip(variants, own, strict=True))
        lines.append(Line(key, _title(arms) if len(found) > 1 else "", tuple(arms), own, papers))
    return lines


def _title(arms: list[Arm]) -> str:
    groups = {arm.group for arm in arms}
    if len(groups) == 1 and arms[0].group:
        return arms[0].group
    letters = zip(*(arm.label for arm in arms), strict=False)
    shared = "".join(column[0] for column in takewhile(lambda c: len(set(c)) == 1, letters))
    return shared.rstrip(" ,=:(") or arms[0].label


def _paper_value(variant: Variant, key: str, own: float) -> float:
    changes = {SHORT_NAMES.get(k, k): value for k, value in variant.changes.items()}
    value = flatten(changes).get(key, own)
    return float(value) if isinstance(value, int | float) else own
