"""The base settings of a scale, from the YAML files of the package."""

import copy
from functools import cache
from importlib import resources
from typing import Any

from sskd.config.changes import apply_changes
from sskd.config.plain import load_yaml, nearest

__all__ = [
    "SCALES",
    "base_for",
    "load_scale",
    "stated_costs",
]

SCALES = ("tiny", "small", "paper")


def load_scale(name: str) -> dict[str, Any]:
    """The base settings of a scale, as plain data.

    Raises:
        ValueError: If there is no such scale.
    """
    if name not in SCALES:
        raise ValueError(f"unknown scale {name!r}{nearest(name, SCALES)}")
    return _scale_file(f"{name}.yaml")


def base_for(scale: str, data: str) -> dict[str, Any]:
    """The base settings of a scale for a data set, as plain data.

    A scale may say, in ``SCALE-own-data.yaml``, what changes for a data set that is not toycity:
    at the tiny scale, where the teacher's weights come from.

    Raises:
        ValueError: If there is no such scale.
    """
    raw = load_scale(scale)
    if data != raw["data"]["name"]:
        raw["data"]["name"] = data
        raw = apply_changes(raw, _scale_file(f"{scale}-own-data.yaml"))
    return raw


def stated_costs(scale: str) -> dict[str, float]:
    """Hours that a scale's source states for its stages as they are; empty if it states none."""
    return {name: float(hours) for name, hours in _scale_file(f"{scale}-costs.yaml").items()}


def _scale_file(name: str) -> dict[str, Any]:
    return copy.deepcopy(_read_scale_file(name))  # callers change it


@cache
def _read_scale_file(name: str) -> dict[str, Any]:
    file = resources.files("sskd").joinpath("scales", name)
    text = file.read_text("utf-8") if file.is_file() else "{}"
    raw: dict[str, Any] = load_yaml(text)
    return raw
