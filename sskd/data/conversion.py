"""From a publisher's folders of pictures and id maps to a registered COCO data set, resumably.

What an id map yields is kept in a part file, named by the content that it was made from, until the
data set is registered: an interrupted conversion goes on where it stopped, and a changed map is
read again. Pictures stay where they are.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock

from sskd.data.datasets import add_dataset, check_name
from sskd.data.descriptions import DataSet
from sskd.data.images import check_end, stored_size, upright_size
from sskd.data.instance_maps import Region, decode_map, encode_regions
from sskd.types import Progress

__all__ = ["Pair", "Source", "add_converted", "find_pairs"]

_VERSION = 1
"""Raised by hand whenever the same id map would give other annotations."""

_SETS = ("train", "val")
_IMAGES_A_SET = 100_000
"""Image ids of the sets start this far apart, as those of toycity do."""
_INSTANCES_AN_IMAGE = 4096


class Pair(NamedTuple):
    """A picture and the map of its instances."""

    image: Path
    labels: Path


@dataclass(frozen=True)
class Source:
    """A data set as its publisher ships it."""

    title: str
    """What people call it."""
    images: Path
    """The folder that file names in the COCO files are relative to."""
    train: Sequence[Pair]
    val: Sequence[Pair]
    counts: tuple[int, int]
    """Images for training and validation of the whole data set."""
    categories: Mapping[int, str]
    mode: str
    """Of the id maps, as ``decode_map`` takes it."""
    regions: Callable[[np.ndarray], tuple[np.ndarray, dict[int, Region]]]
    """From pixels to ids, and what each id stands for; a ``ValueError`` for an unknown label."""
    cityscapes: Path | None = None
    """The folder with ``gtFine``, where the official evaluator of Cityscapes applies."""

    def unusual_counts(self) -> str | None:
        """A sentence if this is not the whole data set."""
        found = len(self.train), len(self.val)
        if found == self.counts:
            return None
        return (
            f"{found[0]:,} training and {found[1]:,} val images; "
            f"the whole of {self.title} has {self.counts[0]:,} and {self.counts[1]:,}"
        )


def find_pairs(
    title: str, images: Path, pattern: str, labels_of: Callable[[Path], Path]
) -> list[Pair]:
    """The pictures of a folder with their id maps, in the order of their paths.

    Args:
        title: Of the data set, for messages.
        images: Is searched.
        pattern: Which files below it are pictures.
        labels_of: Where a picture's id map is.

    Raises:
        ValueError: If there is no picture, or one without its map.
    """
    pairs = [Pair(path, labels_of(path)) for path in sorted(images.glob(pattern))]
    if not pairs:
        raise ValueError(f"{images}: no images {pattern} of {title} in this folder")
    lacking = [pair for pair in pairs if not pair.labels.is_file()]
    if lacking:
        raise ValueError(
            f"{lacking[0].image}: image without its annotation {lacking[0].labels} "
            f"({len(lacking)} of {len(pairs)} lack theirs)"
        )
    return pairs


def add_converted(
    home: Path,
    name: str,
    source: Source,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Convert a published data set to COCO files in its folder of the home, and register it.

    Args:
        home: The folder of runs and data.
        name: What to call it.
        source: The data set.
        force: Whether to replace a data set of this name.
        progress: Told about each image, twice.

    Raises:
        ValueError: One line about the first defect; nothing is registered then.
    """
    check_name(home, name, force=force)
    folder = (home / "data" / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f"{name}.lock")):
        sizes = _check_files(source, progress)
        files = _convert(source, sizes, folder, progress)
        added = add_dataset(
            home,
            name,
            train=files[0],
            val=files[1],
            images=source.images,
            cityscapes=source.cityscapes,
            force=force,
            progress=progress,
        )
        shutil.rmtree(folder / "parts")
    return added


def _check_files(source: Source, progress: Progress | None) -> dict[Path, tuple[int, int]]:
    """Heights and widths by picture, from headers and ends alone: defects before any work."""
    pairs = [*source.train, *source.val]
    sizes = {}
    for done, pair in enumerate(pairs, start=1):
        for path in pair:
            check_end(path)
        height, width = sizes[pair.image] = stored_size(pair.labels)
        own_height, own_width = stored_size(pair.image)
        fits = (height, width) == (own_height, own_width)
        if not fits and (height, width) != upright_size(pair.image):  # which may have to decode it
            raise ValueError(
                f"{pair.labels}: the annotation is {width}x{height}, "
                f"but its image {pair.image.name} is {own_width}x{own_height} (w x h)"
            )
        if progress is not None:
            progress("checking files", done, len(pairs))
    return sizes


def _convert(
    source: Source, sizes: Mapping[Path, tuple[int, int]], folder: Path, progress: Progress | None
) -> list[Path]:
    """Write ``train.json`` and ``val.json``; gives their paths."""
    (folder / "parts").mkdir(exist_ok=True)
    total, done = len(source.train) + len(source.val), 0
    written = []
    for number, pairs in enumerate((source.train, source.val)):
        content: dict[str, Any] = {
            "info": {"description": f"{source.title}, {_SETS[number]}", "version": _VERSION},
            "categories": [{"id": i, "name": name} for i, name in source.categories.items()],
            "images": [],
            "annotations": [],
        }
        for image_id, pair in enumerate(pairs, start=1 + number * _IMAGES_A_SET):
            height, width = sizes[pair.image]
            file_name = pair.image.relative_to(source.images).as_posix()
            content["images"].append(
                {"id": image_id, "file_name": file_name, "height": height, "width": width}
            )
            content["annotations"] += _numbered(_part(source, pair, folder / "parts"), image_id)
            done += 1
            if progress is not None:
                progress("reading annotations", done, total)
        path = folder / f"{_SETS[number]}.json"
        _write_whole(path, content)
        written.append(path)
    return written


def _part(source: Source, pair: Pair, folder: Path) -> list[dict[str, Any]]:
    """The annotations of a picture, from its part file or, where there is none, its id map."""
    content = pair.labels.read_bytes()
    key = hashlib.sha256(f"{source.title}:{_VERSION}:".encode() + content).hexdigest()
    path = folder / f"{key}.json"
    if path.is_file():
        known: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        return known
    try:
        made = encode_regions(*source.regions(decode_map(content, mode=source.mode)))
    except ValueError as error:
        raise ValueError(f"{pair.labels}: {error}") from None
    _write_whole(path, made)
    return made


def _numbered(annotations: Sequence[dict[str, Any]], image_id: int) -> Iterator[dict[str, Any]]:
    assert len(annotations) < _INSTANCES_AN_IMAGE, "ids of the next image would be taken"
    first = image_id * _INSTANCES_AN_IMAGE
    for number, annotation in enumerate(annotations):
        yield {"id": first + number, "image_id": image_id, **annotation}


def _write_whole(path: Path, content: object) -> None:
    """Whole or not at all, whenever the process ends."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(content, separators=(",", ":")), "utf-8")
    partial.replace(path)
