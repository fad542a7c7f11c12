"""The base settings of a scale, from the YAML files of the package."""

import copy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from sskd.config.changes import apply_changes
from sskd.config.plain import load_yaml, nearest

__all__ = [
    "PAPERS_DATA",
    "SCALES",
    "base_for",
    "load_scale",
    "stated_costs",
]

SCALES = ("tiny", "small", "paper")
PAPERS_DATA = ("cityscapes", "ade20k")
"""The data sets that the paper's numbers are of, by the names that ``sskd data`` gives them."""

_DATA = "Data: "
"""How a deviation begins that another data set does not have."""


def load_scale(name: str) -> dict[str, Any]:
    """The base settings of a scale, as plain data.

    Raises:
        ValueError: If there is no such scale.
    """
    raw = _own_settings(name)
    raw["deviations"] += _readings(name)
    return raw


def base_for(scale: str, data: str) -> dict[str, Any]:
    """The base settings of a scale for a data set, as plain data.

    A scale may say what changes for a data set that is not its own: in ``SCALE-DATA.yaml`` for one
    by name, in ``SCALE-own-data.yaml`` for any other.

    Raises:
        ValueError: If there is no such scale.
    """
    raw = _own_settings(scale)
    if data != raw["data"]["name"]:
        raw["data"]["name"] = data
        changes = _scale_file(f"{scale}-{data}.yaml") or _scale_file(f"{scale}-own-data.yaml")
        raw = apply_changes(raw, changes)
        raw["deviations"] = [*_of_data(data), *filter(_of_no_data, raw["deviations"])]
    raw["deviations"] += _readings(scale)
    return raw


def stated_costs(scale: str) -> dict[str, float]:
    """Hours that a scale's source states for its stages as they are; empty if it states none."""
    return {name: float(hours) for name, hours in _scale_file(f"{scale}-costs.yaml").items()}


def _own_settings(scale: str) -> dict[str, Any]:
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}{nearest(scale, SCALES)}")
    raw: dict[str, Any] = _scale_file(f"{scale}.yaml")
    return raw


def _readings(scale: str) -> list[str]:
    """What no source settles, as a scale has it."""
    return [entry["text"] for entry in _scale_file("readings.yaml") if scale in entry["scales"]]


def _of_data(data: str) -> list[str]:
    """How a data set departs from the paper's, if it is none of them."""
    if data in PAPERS_DATA:
        return []
    name = Path(data).parent.name if data.endswith(".json") else data
    return [f"{_DATA}{name} instead of Cityscapes."]


def _of_no_data(deviation: str) -> bool:
    return not deviation.startswith(_DATA)


def _scale_file(name: str) -> Any:
    return copy.deepcopy(_read_scale_file(name))  # callers change it


@cache
def _read_scale_file(name: str) -> Any:
    file = resources.files("sskd").joinpath("scales", name)
    text = file.read_text("utf-8") if file.is_file() else "{}"
    return load_yaml(text)
