"""What in a data set would hurt training or the numbers, found before an hour is spent."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import numpy as np

from sskd.data.coco import CocoData
from sskd.data.images import upright_size
from sskd.types import Progress

__all__ = ["MIN_PIXELS", "Finding", "check_data"]

SMALL_SIDE = 10
"""Of an instance at the model's input, in pixels; at stride 4 its mask has two or three a side."""

MIN_PIXELS = 4
"""A visible mask of fewer pixels is no target."""

_HUGE = 16_000_000
_DARK = 16


class Finding(NamedTuple):
    """One thing to know about a data set."""

    severity: Literal["error", "warning", "info"]
    """``error`` stops training or makes its numbers wrong; ``info`` may well be meant."""
    where: str
    message: str


@dataclass
class _Tally:
    """Where a rule was met: every finding is told once, with its first examples."""

    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        more = f" and {len(self.places) - 3} more" if len(self.places) > 3 else ""
        return ", ".join(self.places[:3]) + more


def check_data(
    train: CocoData,
    val: CocoData,
    unlabeled: Sequence[Path],
    *,
    queries: int,
    label_fraction: float,
    short_side: int = 128,
    progress: Progress | None,
) -> list[Finding]:
    """Decode every picture and every mask once and tell what is worth knowing.

    Args:
        train: All its labels, for the check only.
        val: The set that is reported on.
        unlabeled: Pictures of the extra unlabeled folder.
        queries: How many instances the model can predict in an image.
        label_fraction: The share of ``train`` that will be labeled.
        short_side: Of the pictures at the model's input, in pixels.
        progress: Told about each picture.

    Returns:
        Errors first, then warnings, then the rest.
    """
    total = len(train.images) + len(val.images) + len(unlabeled)
    findings: list[Finding] = []
    for done, data in ((0, train), (len(train.images), val)):
        findings += _check_images(data, queries, progress, done, total)
    findings += _check_unlabeled(unlabeled, progress, len(train.images) + len(val.images), total)
    findings += _check_classes(train, val)
    findings += _check_leaks(train, val, unlabeled)
    findings += _check_sizes(train, short_side)
    labeled = round(label_fraction * len(train.images))
    pool = len(train.images) - labeled + len(unlabeled)
    if pool < labeled:
        message = f"{pool} unlabeled images, fewer than the {labeled} labeled ones"
        findings.append(Finding("warning", str(train.path), message))
    rank = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda finding: rank[finding.severity])


def _check_images(
    data: CocoData, queries: int, progress: Progress | None, done: int, total: int
) -> list[Finding]:
    findings: list[Finding] = []
    tallies: dict[str, _Tally] = defaultdict(_Tally)
    for number, image in enumerate(data.images, start=1):
        place = f"image {image.id} ({image.file_name})"
        annotations = data.annotations(image.id)
        instances = [a for a in annotations if not a.crowd]
        try:
            pixels = data.read_image(image.id)
        except ValueError as error:
            findings.append(Finding("error", str(data.path), f"image {image.id}: {error}"))
        else:
            if pixels.max() < _DARK:
                tallies["dark"].places.append(place)
        if image.height * image.width > _HUGE:
            tallies["huge"].places.append(f"{place}, {image.width}x{image.height}")
        if not annotations:
            tallies["empty"].places.append(place)
        elif not instances:
            tallies["crowd"].places.append(place)
        if len(instances) > queries:
            tallies["many"].places.append(f"{place} has {len(instances)}")
        decoded = data.instances(image.id)
        for annotation, mask in zip(annotations, decoded.masks, strict=True):
            if np.count_nonzero(mask) < MIN_PIXELS and not annotation.crowd:
                tallies["tiny"].places.append(f"annotation {annotation.id}")
            if annotation.bbox is not None and min(annotation.bbox[2:]) == 0:
                tallies["flat"].places.append(f"annotation {annotation.id}")
        if progress is not None:
            progress("checking images", done + number, total)
    rules: tuple[tuple[str, Literal["error", "warning", "info"], str], ...] = (
        ("dark", "warning", "nearly black; 16-bit grey is scaled by 1/257, so stretch it first"),
        ("huge", "warning", "more than 16 million pixels; training will wait for decoding"),
        ("many", "warning", f"more instances than the model has queries ({queries})"),
        ("tiny", "warning", f"mask of fewer than {MIN_PIXELS} pixels, never a target"),
        ("flat", "warning", "box without area"),
        ("crowd", "info", "only crowd regions, so no target"),
        ("empty", "info", "no annotation; taken as an image without instances"),
    )
    for key, severity, rule in rules:
        if key in tallies:
            findings.append(Finding(severity, str(data.path), f"{rule}: {tallies[key]}"))
    return findings


def _check_unlabeled(
    files: Sequence[Path], progress: Progress | None, done: int, total: int
) -> list[Finding]:
    findings: list[Finding] = []
    for number, path in enumerate(files, start=1):
        try:
            upright_size(path)
        except ValueError as error:
            findings.append(Finding("error", str(path.parent), str(error)))
        if progress is not None:
            progress("checking images", done + number, total)
    return findings


def _check_classes(train: CocoData, val: CocoData) -> list[Finding]:
    findings: list[Finding] = []
    counts, in_val = _class_counts(train), _class_counts(val)
    for name in train.class_names:
        if not counts[name] and in_val[name]:
            message = f"class {name!r} has instances in val only: its AP will be 0"
            findings.append(Finding("error", str(train.path), message))
        elif not counts[name]:
            message = f"class {name!r} has no instance in train"
            findings.append(Finding("warning", str(train.path), message))
        elif not in_val[name]:
            message = f"class {name!r} has no instance in val: it has no AP"
            findings.append(Finding("warning", str(val.path), message))
    return findings


def _check_sizes(data: CocoData, short_side: int) -> list[Finding]:
    """Masks have a quarter of the input's resolution: what is too small there has no shape."""
    sides = [
        annotation.area**0.5 * short_side / min(image.height, image.width)
        for image in data.images
        for annotation in data.annotations(image.id)
        if not annotation.crowd and annotation.area is not None
    ]
    if not sides or (typical := median(sides)) >= SMALL_SIDE:
        return []
    message = (
        f"half of the instances are at most {typical:.0f} pixels wide at a short side of "
        f"{short_side}; predict larger pictures by windows: evaluation.short_side, "
        "evaluation.window and views.scale"
    )
    return [Finding("warning", str(data.path), message)]


def _class_counts(data: CocoData) -> Counter[str]:
    return Counter(
        data.class_names[data.class_index(annotation.category_id)]
        for annotations in data.by_image.values()
        for annotation in annotations
        if not annotation.crowd
    )


def _check_leaks(train: CocoData, val: CocoData, unlabeled: Sequence[Path]) -> list[Finding]:
    """Pictures that are evaluated on and trained on, and pictures listed twice."""
    findings: list[Finding] = []
    train_files = [train.file(image.id) for image in train.images]
    val_files = [val.file(image.id) for image in val.images]
    content = _contents([*train_files, *val_files, *unlabeled])
    seen = {content[path] for path in [*train_files, *unlabeled] if path in content}
    same = _Tally([str(path) for path in val_files if content.get(path) in seen])
    if same.places:
        findings.append(Finding("error", str(val.path), f"images in train and val: {same}"))
    names = {path.name for path in train_files}
    leaked = set(same.places)
    alike = _Tally([str(p) for p in val_files if p.name in names and str(p) not in leaked])
    if alike.places:
        message = f"other pictures, but file names of train: {alike}"
        findings.append(Finding("warning", str(val.path), message))
    for data, files in ((train, train_files), (val, val_files)):
        number = Counter(content[path] for path in files if path in content)
        twice = _Tally([str(path) for path in files if number[content.get(path, "")] > 1])
        if twice.places:
            message = f"the same picture under several ids or names: {twice}"
            findings.append(Finding("warning", str(data.path), message))
    return findings


def _contents(paths: Iterable[Path]) -> dict[Path, str]:
    """A key for each file that is equal for equal content; only equal sizes are read."""
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    number = Counter(sizes.values())
    keys: dict[Path, str] = {}
    for path, size in sizes.items():
        alone = number[size] == 1
        keys[path] = f"{size}" if alone else hashlib.sha256(path.read_bytes()).hexdigest()
    return keys
