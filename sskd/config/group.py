"""What every group of settings is made of: strictness and the kinds of numbers."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "PRECISIONS",
    "Frozen",
    "NonNegative",
    "Positive",
    "Precision",
    "Probability",
    "Rate",
    "Weight",
]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Precision = Annotated[
    Literal["no", "bf16", "fp16"],
    BeforeValidator(lambda value: "no" if value is False else value),  # YAML's reading of no
]
PRECISIONS = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}
"""The types of numbers, as people call them."""


class Frozen(BaseModel):
    """A strict, immutable group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
