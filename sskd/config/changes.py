"""Settings by their dotted keys: from a base and changes to a validated config."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from sskd.config.cell import Config
from sskd.config.models import KINDS, kind_of
from sskd.config.plain import flatten, load_yaml, nearest

__all__ = [
    "SHORT_NAMES",
    "apply_changes",
    "build_config",
    "parse_overrides",
]

SHORT_NAMES = {
    "tau": "contrast.temperature",
    "lambda": "contrast.weight",
    "num-negatives": "contrast.num_negatives",
    "label-fraction": "data.label_fraction",
    "seed": "seed",
}
"""What people say, and the dotted key that it means."""


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """``a.b=c`` strings as a mapping of dotted keys to values, in YAML's spelling of values.

    Raises:
        ValueError: If a setting has no ``=``.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"--set {setting!r}: expected key=value, such as contrast.weight=0.1")
        key = key.strip()
        changes[SHORT_NAMES.get(key, key)] = load_yaml(value)
    return changes


def build_config(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """A validated config: the base's plain data with dotted changes applied in order.

    Args:
        raw: A complete base, as ``load_scale`` gives it.
        changes: Dotted key to value. A value may be a mapping, which replaces the keys that it
            names and keeps the others.

    Raises:
        ValueError: One line that names key, rule and value; for an unknown key the nearest one.
    """
    data = apply_changes(raw, changes)
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Config.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(_explain(error, data)) from None


def apply_changes(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with dotted changes applied in order, not yet validated.

    Raises:
        ValueError: If a key is unknown; one line that names the nearest one.
    """
    data: dict[str, Any] = json.loads(json.dumps(raw))
    for key, value in changes.items():
        _assign(data, key, value)
    return data


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; mappings are merged."""
    *parents, leaf = key.split(".")
    place = data
    for depth, part in enumerate(parents):
        if not isinstance(place.get(part), dict):
            _unknown(".".join(parents[: depth + 1]), key, data)
        place = place[part]
    if leaf not in place:
        _unknown(key, key, data)
    old = place[leaf]
    if isinstance(value, dict) and isinstance(old, dict) and not _replaces(key, value, old):
        for inner, inner_value in value.items():
            _assign(data, f"{key}.{inner}", inner_value)
    else:
        place[leaf] = value


def _replaces(key: str, value: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a mapping takes the place of the old one: another kind of model, or free names."""
    return key == "teacher.prompts" or value.get("kind", kind_of(old)) != kind_of(old)


def _unknown(part: str, key: str, data: Mapping[str, Any]) -> None:
    known = flatten(data)
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    hint = nearest(key, [*known, *SHORT_NAMES])
    if hint.startswith("; known"):
        hint = f"; did you mean {same_leaf[0]!r}?" if same_leaf else ""
    where = f" (no {part!r})" if part != key else ""
    raise ValueError(f"unknown key {key!r}{where}{hint}")


def _explain(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first problem as one line."""
    problem = error.errors()[0]
    # A union's place ends in the tag of its kind, which is no key.
    places = [p for p in problem["loc"] if p not in KINDS]
    key = ".".join(str(place) for place in places)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(key, flatten(data))}"
    if problem["type"] == "union_tag_invalid":
        kind = problem["ctx"]["tag"]
        return f"{key}.kind: unknown {kind!r}{nearest(kind, KINDS)}"
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    value = problem["input"]
    shown = f", got {value!r}" if not isinstance(value, dict) else ""
    return f"{key + ': ' if key else ''}{message[0].lower() + message[1:]}{shown}"
