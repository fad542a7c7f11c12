"""What a finished cell left on disk, read once.

``home/cells/<fingerprint[:16]>/`` holds ``spec.json`` and ``result.json``;
``home/store/<stage>-<key[:16]>/`` holds a stage's ``metrics.jsonl`` and ``predictions.json``. AP is
in [0, 1], and ``None`` where the data has no instance of that size.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from sskd.engine.stages import FINAL_STAGE

__all__ = [
    "Record",
    "StageRecord",
    "history_file",
    "predictions_file",
    "read_history",
    "read_predictions",
    "read_record",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StageRecord(_Part):
    """One stage of a cell."""

    name: str
    key: str
    reused: bool = False
    """Whether this cell found it in the store."""
    seconds: float
    """What it cost when it was computed, for whichever cell."""
    steps: int | None = None
    peak_memory_bytes: int | None = None


class Record(_Part):
    """A finished cell: its spec and its result."""

    fingerprint: str
    config: dict[str, Any]
    dataset: str
    sha256: str
    split_sha256: str | None = None
    labeled_images: int | None = None
    unlabeled_images: int | None = None
    final: dict[str, float | None]
    """Metrics of the last checkpoint of the final stage."""
    stages: tuple[StageRecord, ...]
    evaluations: dict[str, dict[str, Any]] = {}
    """By trained stage; each with ``per_class`` beside the metrics."""
    seconds: float
    environment: dict[str, Any] = {}

    @field_validator("final")
    @classmethod
    def _no_nan(cls, value: dict[str, float | None]) -> dict[str, float | None]:
        return {k: v if v is not None and math.isfinite(v) else None for k, v in value.items()}

    @property
    def final_stage(self) -> str:
        """The trained stage whose AP is the cell's result."""
        return FINAL_STAGE[self.config["pipeline"]["final"]]

    @property
    def trained(self) -> StageRecord | None:
        """That stage itself, if the cell has it."""
        return next((stage for stage in self.stages if stage.name == self.final_stage), None)

    @property
    def per_class(self) -> dict[str, float | None]:
        """AP of each class after the final stage; ``None`` for a class without ground truth."""
        values = self.evaluations.get(self.final_stage, {}).get("per_class", {})
        return {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in values.items()
        }


def read_record(home: Path, fingerprint: str) -> Record | None:
    """The record of a cell, or ``None`` where it has not finished.

    Raises:
        ValueError: If the cell's files are broken or belong to another cell; one line.
    """
    folder = home / "cells" / fingerprint[:16]
    parts: dict[str, Any] = {}
    for name in ("spec.json", "result.json"):
        path = folder / name
        if not path.is_file():
            return None
        content = _read_json(path)
        if not isinstance(content, dict) or content.get("fingerprint") != fingerprint:
            raise ValueError(
                f"{path}: not the record of cell {fingerprint[:16]}; delete its folder"
            )
        # Both have "stages": the spec's are the plan, the result's are what happened.
        parts |= content
    try:
        return Record.model_validate(parts)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{path}: {key}: {problem['msg'].lower()}; delete its folder") from None


def read_history(home: Path, stage: StageRecord) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values of every metric that a stage logged, ascending in steps.

    A resumed run may have logged a step twice: the later line counts. A last line that a kill cut
    short is left out, as are values that are not finite numbers.

    Returns:
        Metric to (steps int64 (n,), values float64 (n,)); empty where nothing was logged.
    """
    path = history_file(home, stage)
    if not path.is_file():
        return {}
    points: dict[str, dict[int, float]] = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError):
            continue
        for name, value in row.items():
            if name not in ("step", "time") and isinstance(value, int | float):
                points.setdefault(name, {})[step] = float(value)
    history = {}
    for name, by_step in points.items():
        kept = sorted((step, value) for step, value in by_step.items() if math.isfinite(value))
        if kept:
            steps, values = zip(*kept, strict=True)
            history[name] = (np.array(steps, np.int64), np.array(values, np.float64))
    return history


def history_file(home: Path, stage: StageRecord) -> Path:
    """Where a stage's metric history is, if it has logged any."""
    return _folder(home, stage) / "metrics.jsonl"


def predictions_file(home: Path, record: Record) -> Path | None:
    """Where the final model's detections on the validation images are, if they were kept."""
    name = f"evaluate_{record.final_stage}"
    stage = next((s for s in record.stages if s.name == name), None)
    return None if stage is None else _folder(home, stage) / "predictions.json"


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """A COCO result list.

    Raises:
        ValueError: If the file cannot be read, or is none; one line.
    """
    content = _read_json(path)
    if not isinstance(content, list):
        raise ValueError(f"{path}: no list of detections")
    return content


def _folder(home: Path, stage: StageRecord) -> Path:
    return home / "store" / f"{stage.name}-{stage.key[:16]}"


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: unreadable ({' '.join(str(error).split())})") from None
