"""Variants that differ in one number alone: what a curve over that number can be drawn through."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sskd.config import SHORT_NAMES, flatten
from sskd.reporting.analysis import Analysis, Arm
from sskd.studies.declaration import Variant

__all__ = ["MIN_POINTS", "Line", "find_lines"]

MIN_POINTS = 3
"""Two values make a comparison, not a curve."""


@dataclass(frozen=True)
class Line:
    """Arms that are alike but for the value of one key, ours or the paper's alone."""

    key: str
    """Dotted."""
    title: str
    """What the arms have in common; empty where there is but one line."""
    arms: tuple[Arm, ...]
    values: tuple[float, ...]
    """Of the key, ascending, in the order of the arms."""
    papers: tuple[float, ...]
    """The same as the paper has them, which a smaller scale may divide."""
    rival: bool = False
    """Whether these are methods that are not run: there is nothing but the paper's numbers."""

    @property
    def parameter(self) -> str:
        """The last part of the key: ``weight`` for the teacher's and for the student's."""
        return self.key.rpartition(".")[2]


def find_lines(analysis: Analysis) -> list[Line]:
    """Every line through three arms or more, keys in the order of the configuration.

    After ours come those of methods that are not run: one label in several groups, at the values
    that each group's own arms agree on.
    """
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
            if _is_number(values[arm.name]):
                rest = {k: v for k, v in configs[arm.name].items() if k not in (key, "seed")}
                alike.setdefault(json.dumps(rest, sort_keys=True), []).append(arm)
        found += [(key, arms) for arms in alike.values() if len(arms) >= MIN_POINTS]
    ours, rivals = [], []
    for key in dict.fromkeys(key for key, _ in found):
        rivals += _rivals(analysis, key, configs)
    several = len(found) + len(rivals) > 1
    for key, arms in found:
        arms.sort(key=lambda arm: configs[arm.name][key])
        own, papers = zip(*(_values(analysis, arm, key, configs) for arm in arms), strict=True)
        ours.append(Line(key, _title(arms) if several else "", tuple(arms), own, papers))
    return ours + rivals


def _rivals(analysis: Analysis, key: str, configs: Mapping[str, dict[str, Any]]) -> list[Line]:
    by_label: dict[str, list[tuple[float, float, Arm]]] = {}
    for group, rows in analysis.groups:
        run = [arm for arm in rows if arm.cells and _is_number(configs[arm.name].get(key))]
        at = {_values(analysis, arm, key, configs) for arm in run}
        if group and len(at) == 1:
            for arm in rows:
                if not arm.cells and arm.paper:
                    by_label.setdefault(arm.label, []).append((*min(at), arm))
    lines = []
    for label, found in by_label.items():
        if len({value for value, _, _ in found}) == len(found) >= MIN_POINTS:
            own, papers, arms = zip(*sorted(found, key=lambda x: x[0]), strict=True)
            lines.append(Line(key, label, arms, own, papers, rival=True))
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(
    analysis: Analysis, arm: Arm, key: str, configs: Mapping[str, dict[str, Any]]
) -> tuple[float, float]:
    """An arm's own value of a key, and the paper's."""
    own = float(configs[arm.name][key])
    return own, _paper_value(analysis.ablation.variants[arm.name], key, own)


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
