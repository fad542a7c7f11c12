"""What ``sskd bench models`` measured, as files: all that the efficiency report reads."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sskd.config import Config, digest

__all__ = [
    "Measurement",
    "ModelCost",
    "Spread",
    "load_measurements",
    "models_digest",
    "save_measurement",
]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Spread(_Part):
    """Seconds over the repetitions."""

    median: float
    lower: float
    """The quartile below it."""
    upper: float


class ModelCost(_Part):
    """One model on one image at test time: no projection of pixels."""

    name: str
    """Its two parts."""
    parameters: int
    flops: int
    seconds: Spread
    peak_memory_bytes: int

    @property
    def images_per_second(self) -> float:
        """One image after the other."""
        return 1 / self.seconds.median


class Measurement(_Part):
    """Teacher and student, measured in turns."""

    models: str
    """Digest of their architectures."""
    size: tuple[int, int]
    """Height and width of the image."""
    precision: str
    classes: int
    warmup: int
    repeats: int
    teacher: ModelCost
    student: ModelCost
    environment: dict[str, Any]

    @property
    def conditions(self) -> list[object]:
        """What two measurements of the same models may differ in."""
        environment = self.environment
        place = [environment[key] for key in ("device", "machine", "threads")]
        return [*place, *self.size, self.precision]


def models_digest(config: Config) -> str:
    """Identifies the pair of models by what costs depend on: not by where weights come from."""
    models = [getattr(config, role).model_dump(mode="json") for role in ("teacher", "student")]
    for model in models:
        del model.get("encoder", model)["weights"]
    return digest(models)


def save_measurement(measurement: Measurement, home: Path) -> Path:
    """Write it, in the place of an earlier one of the same models under the same conditions."""
    folder = home / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    conditions = digest(measurement.conditions)[:8]
    path = folder / f"models-{measurement.models[:16]}-{conditions}.json"
    path.write_text(measurement.model_dump_json(indent=1) + "\n", "utf-8")
    return path


def load_measurements(home: Path, models: str) -> list[Measurement]:
    """Every measurement of a pair of models, in the order of their conditions.

    Raises:
        ValueError: If a file is broken; one line.
    """
    found = []
    for path in sorted((home / "bench").glob(f"models-{models[:16]}-*.json")):
        try:
            found.append(Measurement.model_validate_json(path.read_text("utf-8")))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"]))
            raise ValueError(
                f"{path}: {where}: {problem['msg']}; delete it and measure again"
            ) from None
    return sorted(found, key=lambda m: json.dumps(m.conditions))
