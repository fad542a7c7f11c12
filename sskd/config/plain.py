"""Plain data: its one spelling, its hash, its dotted keys, the nearest of its names."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

__all__ = [
    "canonical",
    "digest",
    "flatten",
    "load_yaml",
    "nearest",
]


def canonical(value: object) -> str:
    """The one spelling of plain data: JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def nearest(name: str, known: Iterable[str]) -> str:
    """An ending for an error message: the nearest known name, or all of them.

    Returns:
        ``"; did you mean 'x'?"``, or ``"; known: a, b, c"`` where nothing is near.
    """
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(names)}"


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys to leaves."""
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            leaves |= flatten(inner, f"{name}.")
        else:
            leaves[name] = inner
    return leaves


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``5e-5`` as text; people mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load_yaml(text: str) -> Any:
    """Plain data from YAML text; ``1e-4`` is a number.

    Raises:
        ValueError: If the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None
