"""The efficiency figure as one file of data: what is asked, and what the paper prints.

Ours ships with the package; the working directory's ``experiments/figures/efficiency.yaml`` takes
its place.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sskd.config import load_yaml
from sskd.studies.declaration import Source

__all__ = ["EFFICIENCY", "Efficiency", "Listed", "Quantities", "load_efficiency"]

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


class Listed(_Part):
    """An encoder or a head in the list of models."""

    paper_parameters: Amount | None = None
    """As the paper's table 5 prints them: an encoder's are of it alone, a head's of what it does
    not say; none where it prints none."""


class Efficiency(_Part):
    """A question and what the paper answers."""

    question: str
    source: Source
    claim: str
    paper: Both
    notes: tuple[str, ...] = ()
    encoders: dict[str, Listed]
    """Of the students in the list of models."""
    heads: dict[str, Listed]
    """The same for heads."""


def load_efficiency(cwd: Path) -> Efficiency:
    """The declaration of the working directory, or ours.

    Raises:
        ValueError: If the file is not such a declaration; one line.
    """
    package = Path(str(resources.files("sskd")))
    # The folder beside the package is a checkout's; a wheel has none.
    places = (cwd, package / "_declarations", package.parent)
    files = [place / "experiments" / "figures" / f"{EFFICIENCY}.yaml" for place in places]
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
