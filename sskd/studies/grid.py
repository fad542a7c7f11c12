"""A sweep of one setting: an ablation made on the fly, with a variant a value.

Everything that an ablation has follows from that: paired seeds, the shared store, resuming, the
report. The values are given, ranged, or declared in a file of ``sweeps/``.
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sskd.config import (
    SHORT_NAMES,
    Config,
    apply_changes,
    build_config,
    canonical,
    flatten,
    load_yaml,
)
from sskd.studies.declaration import PRESETS, Ablation, Base, Variant

__all__ = [
    "UNDECLARED",
    "as_ablation",
    "known_key",
    "parse_values",
    "ranged_values",
    "short_name",
    "value_of",
]

SET_OTHERWISE = {
    "seed": "an ablation sets it itself; say how many with --seeds",
    "scale": "say it with --scale",
    "data.name": "say it with --data; one report is of one data set",
    "deviations": "a text for the report changes no number",
}
"""Keys that tell no two cells of a table apart, and what to do in their place."""

UNDECLARED = Path("--values")
"""In the place of a file: somebody said the values."""

DIGITS = 3
"""Of a value between the ends of a range: people read it, and commands repeat it."""


def short_name(key: str) -> str:
    """What people say for a dotted key: ``tau``, or the last part of the key."""
    names = {key: name for name, key in SHORT_NAMES.items()}
    return names.get(key, key.rpartition(".")[2])


def parse_values(text: str) -> list[Any]:
    """``0.1,0.2,0.4`` as plain data, in YAML's spelling of values.

    Raises:
        ValueError: If it is not a list of values.
    """
    try:
        values = load_yaml(f"[{text}]")
    except ValueError:
        values = None
    if not isinstance(values, list):
        raise ValueError(f"--values {text!r}: expected values with commas between them")
    return values


def ranged_values(text: str, count: int, default: Any) -> list[Any]:
    """``0.05:0.8:log`` as so many values, both ends among them.

    Args:
        text: ``LO:HI``, or ``LO:HI:log`` for equal ratios.
        count: How many.
        default: The setting's value in the base: a whole number gives whole numbers.

    Raises:
        ValueError: If it is no range, or has not as many different values; one line.
    """
    where = f"--range {text}"
    if isinstance(default, bool) or not isinstance(default, int | float):
        raise ValueError(f"{where}: the setting is no number but {default!r}; use --values")
    low, separator, rest = text.partition(":")
    high, log, scale = rest.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        ends = math.nan, math.nan
    if not separator or not all(map(math.isfinite, ends)) or (log and scale != "log"):
        raise ValueError(f"{where}: expected LO:HI or LO:HI:log, such as 0.05:0.8:log")
    if ends[0] >= ends[1]:
        raise ValueError(f"{where}: {low} must be below {high}")
    if log and ends[0] <= 0:
        raise ValueError(f"{where}: a logarithmic range begins above 0")
    if count < 2:
        raise ValueError(f"--trials {count}: a range has at least its two ends")
    whole = isinstance(default, int)
    if whole and not all(end.is_integer() for end in ends):
        raise ValueError(f"{where}: the setting takes whole numbers")
    values = [_between(*ends, i / (count - 1), log=bool(log)) for i in range(count)]
    inner = [round(v) if whole else float(f"{v:.{DIGITS}g}") for v in values[1:-1]]
    first, last = (round(end) if whole else end for end in ends)
    found = [first, *inner, last]
    if len(set(found)) < count:
        raise ValueError(f"{where}: has not {count} different values; lower --trials")
    return found


def as_ablation(
    param: str,
    values: Sequence[Any],
    *,
    raw: Mapping[str, Any],
    changes: Mapping[str, Any],
    base: Base | None = None,
    question: str | None = None,
    path: Path | None = None,
) -> Ablation:
    """The ablation that has a variant for each value.

    Args:
        param: A dotted key, or its short name.
        values: Plain data.
        raw: A complete base, as ``sskd.config.base_for`` gives it.
        changes: The user's own dotted changes of it.
        base: The model that is measured; if not said, the student after transfer, or after
            refinement where the setting is refinement's.
        question: The report's title.
        path: The file that declares the values.

    Returns:
        Its reference is the base's own value, or the first if that is not among them.

    Raises:
        ValueError: If the key is unknown, a value does not fit or stands there twice; one line.
    """
    key = known_key(param, raw)
    if base is None:
        base = "student-refinement" if key.startswith("stages.refinement.") else "student-transfer"
    own = {k: v for k, v in {**PRESETS[base], **changes}.items() if k != key}
    default = value_of(build_config(raw, own), key)
    fitted = [value_of(build_config(raw, {**own, key: value}), key) for value in values]
    spelled = [canonical(value) for value in fitted]
    for text in spelled:
        if spelled.count(text) > 1:
            raise ValueError(f"{param}: the value {text} stands there twice")
    if len(fitted) < 2:
        raise ValueError(f"{param}: a sweep needs at least two values")
    name = short_name(key)
    variants = {
        f"{name}={_word(value)}": Variant(label=f"{name} = {{{key}}}", changes={key: value})
        for value in fitted
    }
    if len(variants) < len(fitted):  # such as [1, 2] and "1, 2"
        raise ValueError(f"{param}: two of the values are spelled alike")
    return Ablation(
        name=f"sweep-{name if name in SHORT_NAMES else key}",
        path=path or UNDECLARED,
        question=question or f"How does {name} matter?",
        base=base,
        variants=variants,
        reference=f"{name}={_word(default)}" if default in fitted else next(iter(variants)),
        diagnostics=("margin", "false_negative_rate", "loss_pxl") if "contrast" in key else (),
    )


def known_key(param: str, raw: Mapping[str, Any]) -> str:
    """The dotted key of a setting that can be swept.

    Raises:
        ValueError: If there is none; for an unknown one the line names the nearest.
    """
    key = SHORT_NAMES.get(param, param)
    apply_changes(raw, {key: None})
    if key in SET_OTHERWISE:
        raise ValueError(f"{param}: {SET_OTHERWISE[key]}")
    return key


def value_of(config: Config, key: str) -> Any:
    """What a config has under a dotted key.

    Raises:
        ValueError: If the key is a group of settings.
    """
    leaves = flatten(config.model_dump(mode="json"))
    if key not in leaves:
        inner = next((leaf for leaf in leaves if leaf.startswith(f"{key}.")), None)
        such = f"name one of them, such as {inner}" if inner else "it is empty here"
        raise ValueError(f"{key}: a group of settings; {such}")
    return leaves[key]


def _between(low: float, high: float, share: float, *, log: bool) -> float:
    if log:
        return float(low * (high / low) ** share)
    return low + (high - low) * share


def _word(value: Any) -> str:
    """A value as part of a variant's name."""
    text = value if isinstance(value, str) else canonical(value)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")
