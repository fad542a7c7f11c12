"""``dataset.json``: where the files of a data set lie, and what their content hashes to."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from sskd.config import digest, nearest
from sskd.data.images import check_end, picture_files

__all__ = [
    "DataSet",
    "Description",
    "check_pictures",
    "check_prompts",
    "content_hash",
    "prompts_so_far",
    "read_dataset",
    "read_description",
    "to_dataset",
    "write_description",
]


@dataclass(frozen=True)
class DataSet:
    """Where a data set lies. All paths are absolute."""

    name: str
    folder: Path
    train_json: Path
    val_json: Path
    images: Path
    val_images: Path
    unlabeled_images: Path | None
    """Pictures without labels, beside the training images that a split leaves unlabeled."""
    source_json: Path | None
    """Images of another domain, on which a teacher is pretrained."""
    source_images: Path | None
    sha256: str
    """Of the content: of the COCO files, and of names and sizes of the pictures."""
    cityscapes: Path | None = None
    """The folder with Cityscapes' own ``gtFine``, where the official evaluator applies."""
    prompts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Class name to what a detector that reads text calls it, where that is another word."""


class Description(BaseModel):
    """``dataset.json``; relative paths start at its folder, so a home may move."""

    model_config = ConfigDict(extra="forbid")

    name: str
    train_json: str
    val_json: str
    images: str
    val_images: str
    unlabeled_images: str | None
    source_json: str | None
    source_images: str | None
    sha256: str
    generated: bool
    """Drawn by the package: the hash is of the generator and its settings."""
    cityscapes: str | None = None
    prompts: dict[str, str] = {}
    """For people to edit; not part of the content that is hashed, for few models read it."""


def read_dataset(path: Path) -> DataSet:
    """The data set that a ``dataset.json`` describes.

    Raises:
        ValueError: If it cannot be read or is no description.
    """
    return to_dataset(read_description(path), path.parent.absolute())


def read_description(path: Path) -> Description:
    """A ``dataset.json`` as it stands in the file.

    Raises:
        ValueError: If it cannot be read or is no description.
    """
    try:
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{path}: no data set description: {where} {problem['msg']}") from None


def to_dataset(description: Description, folder: Path) -> DataSet:
    """The description with its paths made absolute from ``folder``."""

    def below(value: str | None) -> Path | None:
        return folder / value if value else None

    return DataSet(
        name=description.name,
        folder=folder,
        train_json=folder / description.train_json,
        val_json=folder / description.val_json,
        images=folder / description.images,
        val_images=folder / description.val_images,
        unlabeled_images=below(description.unlabeled_images),
        source_json=below(description.source_json),
        source_images=below(description.source_images),
        sha256=description.sha256,
        cityscapes=below(description.cityscapes),
        prompts=description.prompts,
    )


def check_prompts(dataset: DataSet, classes: Iterable[str]) -> None:
    """Check that the prompts of a data set's file are of its classes.

    Raises:
        ValueError: If one is of no class; one line with the nearest.
    """
    known = tuple(classes)
    for name in dataset.prompts:
        if name not in known:
            raise ValueError(
                f"data set {dataset.name!r}: prompts: {name!r} is no class{nearest(name, known)}"
            )


def prompts_so_far(path: Path) -> dict[str, str]:
    """What people wrote into a ``dataset.json`` that is about to be replaced, if there is one."""
    try:
        return read_description(path).prompts
    except ValueError:
        return {}


def content_hash(dataset: DataSet) -> str:
    """SHA-256 of both COCO files, and of the names and sizes of all pictures.

    Raises:
        ValueError: If a COCO file is gone or broken.
    """
    files: list[list[object]] = []
    hashes = []
    for content, names, folder in _contents(dataset):
        hashes.append(hashlib.sha256(content).hexdigest())
        files.append(_sizes((name, folder / name) for name in names))
    if dataset.unlabeled_images is not None:
        root = dataset.unlabeled_images
        files.append(_sizes((p.relative_to(root).as_posix(), p) for p in picture_files(root)))
    return digest({"json": hashes, "files": files})


def check_pictures(dataset: DataSet) -> None:
    """Look for the picture that makes a data set another one than was added.

    Raises:
        ValueError: If a picture is gone, or one is cut off; the first one.
    """
    for _, names, folder in _contents(dataset):
        for path in (folder / name for name in names):
            if not path.is_file():
                raise ValueError(f"{path}: no such image file")
            check_end(path)


def _contents(dataset: DataSet) -> Iterator[tuple[bytes, list[str], Path]]:
    """Both COCO files, with the names of their pictures in order, and the pictures' folder."""
    for path, folder in (
        (dataset.train_json, dataset.images),
        (dataset.val_json, dataset.val_images),
    ):
        try:
            content = path.read_bytes()
            names = [str(image["file_name"]) for image in json.loads(content)["images"]]
        except (OSError, ValueError, KeyError, TypeError):
            raise ValueError(f"data set {dataset.name!r}: {path} is gone or broken") from None
        yield content, sorted(names), folder


def _sizes(files: Iterable[tuple[str, Path]]) -> list[object]:
    return [[name, path.stat().st_size if path.is_file() else None] for name, path in files]


def write_description(path: Path, description: Description) -> None:
    """Write a ``dataset.json``, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_text(description.model_dump_json(indent=2) + "\n", "utf-8")
    partial.replace(path)
