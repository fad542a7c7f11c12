"""What a COCO instance file must look like, and what to say where it does not.

Types only: whether ids fit together and masks can be decoded is for ``sskd.data.coco``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    FiniteFloat,
    NonNegativeFloat,
    PositiveInt,
    Tag,
    ValidationError,
)

__all__ = [
    "AnnotationEntry",
    "CategoryEntry",
    "CocoFile",
    "ImageEntry",
    "RleEntry",
    "read_coco_file",
]


class ImageEntry(BaseModel):
    """One image."""

    id: int
    file_name: Annotated[str, Field(min_length=1)]
    height: PositiveInt
    width: PositiveInt


class CategoryEntry(BaseModel):
    """One class."""

    id: int
    name: Annotated[str, Field(min_length=1)]


class RleEntry(BaseModel):
    """A mask as run lengths, compressed if ``counts`` is a string."""

    size: tuple[PositiveInt, PositiveInt]
    counts: str | list[int]


def _spelling(value: object) -> str:
    return "rle" if isinstance(value, dict | RleEntry) else "polygons"


class AnnotationEntry(BaseModel):
    """One instance or crowd region."""

    id: int
    image_id: int
    category_id: int
    segmentation: Annotated[
        Annotated[list[list[FiniteFloat]], Tag("polygons")] | Annotated[RleEntry, Tag("rle")],
        Discriminator(_spelling),
    ]
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0
    area: NonNegativeFloat | None = None
    bbox: Annotated[list[FiniteFloat], Field(min_length=4, max_length=4)] | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None


class CocoFile(BaseModel):
    """The whole file."""

    images: list[ImageEntry]
    categories: Annotated[list[CategoryEntry], Field(min_length=1)]
    annotations: list[AnnotationEntry] = []
    """Absent from the lists of images that COCO publishes without labels."""
    info: dict[str, Any] = {}


def read_coco_file(path: Path) -> CocoFile:
    """Parse a file and check its types. Unknown keys are ignored.

    Raises:
        ValueError: One line: the file, the entry by its id, the rule.
    """
    raw = _parse(path)
    try:
        return CocoFile.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{path}: {_explain(error, raw)}") from None


def _parse(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"{path}: broken JSON at {where}: {error.msg}") from None
    if not isinstance(raw, dict):
        raise ValueError(
            f"{path}: not a COCO file: an object with images, annotations and categories is "
            f"needed, this is a {type(raw).__name__}"
        )
    return raw


def _explain(error: ValidationError, raw: Mapping[str, Any]) -> str:
    """The first problem, with the entry's own id where it has one."""
    problem = error.errors(include_url=False, include_context=False)[0]
    where = list(problem["loc"])
    words: list[str] = []
    if len(where) > 1 and isinstance(where[1], int):
        entry = raw[str(where[0])][where[1]]
        name = {"categories": "category"}.get(str(where[0]), str(where[0])[:-1])
        has_id = isinstance(entry, dict) and "id" in entry and where[2:] != ["id"]
        words.append(f"{name} {entry['id']}" if has_id else f"{where[0]}[{where[1]}]")
        where = [part for part in where[2:] if part not in ("polygons", "rle")]
    if where:
        words.append(".".join(str(part) for part in where))
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{': '.join(words)}: {message}"
