"""The efficiency figure as one file of data: what is asked, and what the paper prints.

Ours ships with the package; ``figures/efficiency.yaml`` of the working directory takes its place.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sskd.config import load_yaml
from sskd.studies.declaration import Source

__all__ = ["EFFICIENCY", "Efficiency", "Encoder", "Quantities", "load_efficiency"]

EFFICIENCY = "efficiency"
"""What commands and the report's file call it."""

Amount = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Quantities(_Part):
    """What one model costs on one image at test time, in SI units."""

    parameters: Amount
    flops: Amount
    seconds: Amount
    images_per_second: Amount
    peak_memory_bytes: Amount


class Both(_Part):
    """The two models that are compared."""

    teacher: Quantities
    student: Quantities


class Encoder(_Part):
    """An encoder in the list of models."""

    paper_parameters: Amount | None = None
    """Of the encoder alone; none where the paper prints none."""


class Efficiency(_Part):
    """A question and what the paper answers."""

    question: str
    source: Source
    claim: str
    paper: Both
    notes: tuple[str, ...] = ()
    encoders: dict[str, Encoder]
    """Of the students in the list of models."""
    heads: tuple[str, ...]
    """The same for heads."""


def load_efficiency(cwd: Path) -> Efficiency:
    """The declaration of the working directory, or ours.

    Raises:
        ValueError: If the file is not such a declaration; one line.
    """
    package = Path(str(resources.files("sskd")))
    # The folder beside the package is a checkout's; a wheel has none.
    folders = (cwd / "figures", package / "_declarations" / "figures", package.parent / "figures")
    files = [folder / f"{EFFICIENCY}.yaml" for folder in folders]
    path = next(file for file in files if file.is_file())
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Efficiency.model_validate_json(json.dumps(load_yaml(path.read_text("utf-8"))))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{path}: {where}: {problem['msg']}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
