"""From what people type, a fingerprint or a folder, to a model or to pseudo-labels."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sskd.config import Config, build_config
from sskd.engine.stages import FINAL_STAGE
from sskd.engine.store import Store, StoredStage

__all__ = ["Checkpoint", "find_checkpoint", "find_pseudo_labels"]

STUDENT_STAGES = ("transfer", "refinement")


@dataclass(frozen=True)
class Checkpoint:
    """Trained weights and the config that says what they fit."""

    config: Config
    stage: StoredStage

    @property
    def role(self) -> Literal["teacher", "student"]:
        """Which of the config's two models this is."""
        return "student" if self.stage.name in STUDENT_STAGES else "teacher"


def find_checkpoint(text: str, *, home: Path) -> Checkpoint:
    """The checkpoint that a text names.

    Args:
        text: A stage's folder in a store, a cell's folder, or the beginning of a fingerprint.
        home: Where to look for fingerprints, and for the cell that a stage belongs to.

    Raises:
        ValueError: If nothing, or more than one thing, has this name, or it is not finished.
    """
    folder = Path(text).expanduser()
    if (folder / "spec.json").is_file():
        return _final_of(folder.resolve())
    if (folder / "result.json").is_file():
        return _of_stage(folder.resolve(), home)
    return _final_of(_find_cell(text, home, "checkpoint"))


def find_pseudo_labels(text: str, *, home: Path) -> Path:
    """The COCO file of pseudo-labels that a text names.

    Args:
        text: The file; its stage's folder; a cell's folder, or the beginning of a fingerprint: then
            it is what the cell's last model with pseudo-labels learned from.
        home: Where to look for fingerprints.

    Raises:
        ValueError: If nothing, or more than one thing, has this name, or it has no pseudo-labels.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if (path / "pseudo_labels.json").is_file():
        return path / "pseudo_labels.json"
    cell = path if (path / "spec.json").is_file() else _find_cell(text, home, "pseudo-labels")
    stages = _read(cell / "spec.json")["stages"]
    for stage in reversed(stages):
        if stage["name"].startswith("pseudo_labels"):
            stored = Store(cell.resolve().parents[1] / "store").read(stage["name"], stage["key"])
            if stored is None:
                raise ValueError(f"{cell}: its stage {stage['name']!r} is not in the store")
            return stored.folder / "pseudo_labels.json"
    raise ValueError(f"{cell}: this cell has no pseudo-labels")


def _find_cell(text: str, home: Path, wanted: str) -> Path:
    """The folder of the cell whose fingerprint begins so."""
    if Path(text).expanduser().is_dir():
        raise ValueError(f"{text}: neither a cell (no spec.json) nor a stage (no result.json)")
    found = sorted(path.parent for path in (home / "cells").glob(f"{_plain(text)}*/spec.json"))
    if not found:
        raise ValueError(
            f"no {wanted} {text!r}: neither a file or folder nor the beginning of a cell's name in "
            f"{home / 'cells'}; sskd plan NAME prints them"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:4])
        raise ValueError(f"{wanted} {text!r} is ambiguous: {names}{', ...' * (len(found) > 4)}")
    return found[0]


def _plain(text: str) -> str:
    """A prefix that cannot act as a pattern; fingerprints are shorter in a folder's name."""
    return text[:16] if text and all(c in "0123456789abcdef" for c in text) else "[]"


def _final_of(cell: Path) -> Checkpoint:
    """The model whose AP is the cell's result."""
    spec = _read(cell / "spec.json")
    config = build_config(spec["config"], {})
    name = FINAL_STAGE[config.pipeline.final]
    keys = {stage["name"]: stage["key"] for stage in spec["stages"]}
    stage = Store(cell.parents[1] / "store").read(name, keys[name])
    if stage is None or not stage.weights.is_file():
        raise ValueError(f"{cell}: its stage {name!r} is not in the store; run the cell again")
    return Checkpoint(config, stage)


def _of_stage(folder: Path, home: Path) -> Checkpoint:
    record = _read(folder / "result.json")
    name, key = record.get("stage"), record.get("key")
    stage = Store(folder.parent).read(name, key) if name and key else None
    if stage is None or not stage.weights.is_file():
        raise ValueError(f"{folder}: not a stage with weights")
    for cells in dict.fromkeys((folder.parents[1] / "cells", home / "cells")):
        for path in sorted(cells.glob("*/spec.json")):
            spec = _read(path)
            if {"name": name, "key": key} in spec["stages"]:
                return Checkpoint(build_config(spec["config"], {}), stage)
    raise ValueError(f"{folder}: no cell in {home / 'cells'} says how this stage was configured")


def _read(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError:
        raise ValueError(f"{path}: not JSON") from None
    return value
