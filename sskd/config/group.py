"""What every group of settings is made of: strictness and the kinds of numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Frozen",
    "NonNegative",
    "Positive",
    "Probability",
    "Rate",
    "Weight",
]

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """A strict, immutable group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
