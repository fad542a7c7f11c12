"""Data sets by name: where their files are, and what their content hashes to.

``home/data/NAME/dataset.json`` describes each. ``toycity`` is drawn on first use; others are
added from COCO files, which stay where they are, or converted to them.
"""

import re
import shutil
from pathlib import Path

from filelock import FileLock

from sskd.config import digest, nearest
from sskd.data.checks import Finding, check_data
from sskd.data.coco import CocoData, load_coco
from sskd.data.descriptions import (
    DataSet,
    Description,
    check_pictures,
    check_prompts,
    content_hash,
    prompts_so_far,
    read_dataset,
    read_description,
    to_dataset,
    write_description,
)
from sskd.data.images import check_header, picture_files, upright_size
from sskd.data.sheet import draw_sheet
from sskd.types import Progress

__all__ = [
    "TOYCITY",
    "DataSet",
    "add_dataset",
    "check_dataset",
    "check_name",
    "draw",
    "list_datasets",
    "open_dataset",
]

TOYCITY = "toycity"
"""The data set that the package draws itself."""

_TOYCITY_SEED = 0
_TOYCITY_SIZE = (96, 96)


def list_datasets(home: Path) -> tuple[str, ...]:
    """The names of the data sets that can be opened, ``toycity`` first."""
    added = {path.parent.name for path in (home / "data").glob("*/dataset.json")}
    return (TOYCITY, *sorted(added - {TOYCITY}))


def open_dataset(
    home: Path, name: str, *, progress: Progress | None = None, check: bool = True
) -> DataSet:
    """A data set by name, or by the path of a ``dataset.json``; ``toycity`` is drawn if needed.

    Args:
        home: The folder of runs and data.
        name: As ``list_datasets`` gives it, or a path that ends in ``.json``.
        progress: Told about the drawing.
        check: Whether the files are held against the hash of when the data set was added.

    Raises:
        ValueError: If there is none of this name, its files are gone, or they have changed since
            it was added.
    """
    if name == TOYCITY:
        return _open_toycity(home, progress)
    if name.endswith(".json"):
        path = Path(name)
        if not path.is_file():
            raise ValueError(f"{path}: no such data set description")
        return _checked(path) if check else read_dataset(path)
    if name not in list_datasets(home):
        hint = nearest(name, list_datasets(home))
        raise ValueError(f"unknown data set {name!r} in {home / 'data'}{hint}")
    path = home / "data" / name / "dataset.json"
    return _checked(path) if check else read_dataset(path)


def check_name(home: Path, name: str, *, force: bool) -> None:
    """Check that a data set can be added under a name.

    Raises:
        ValueError: If it is no name, the package's own, or taken and not to be replaced.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name.endswith(".json"):
        raise ValueError(
            f"data set name {name!r}: letters, digits, '.', '-' and '_' only, and no '.json' end"
        )
    if name == TOYCITY:
        raise ValueError(f"{TOYCITY!r} is the package's own data set; choose another name")
    if (home / "data" / name / "dataset.json").exists() and not force:
        raise ValueError(f"data set {name!r} exists already; --force replaces it")


def add_dataset(
    home: Path,
    name: str,
    *,
    train: Path,
    val: Path,
    images: Path,
    val_images: Path | None = None,
    unlabeled_images: Path | None = None,
    cityscapes: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DataSet:
    """Check COCO files and their pictures' headers, and give them a name.

    Args:
        home: The folder of runs and data.
        name: Letters, digits, dots, dashes and underscores.
        train: COCO file of the training images.
        val: COCO file of the images that are reported on.
        images: Folder of the training images.
        val_images: Folder of the validation images; ``images`` if not given.
        unlabeled_images: Folder of more pictures, searched with its sub-folders.
        cityscapes: The folder with Cityscapes' own ``gtFine``, if the data set is made from it.
        force: Whether to replace a data set of this name.
        progress: Told about each picture.

    Raises:
        ValueError: One line about the first defect, or if the name is taken or no name.
    """
    check_name(home, name, force=force)
    folder = (home / "data" / name).absolute()
    for path in (images, val_images, unlabeled_images):
        if path is not None and not path.is_dir():
            raise ValueError(f"{path}: no such folder of images")
    train_data = load_coco(train.absolute(), images.absolute())
    val_data = load_coco(val.absolute(), (val_images or images).absolute())
    _check_pair(train_data, val_data)
    extra = picture_files(unlabeled_images.absolute()) if unlabeled_images is not None else []
    if unlabeled_images is not None and not extra:
        raise ValueError(f"{unlabeled_images}: no pictures in this folder")
    _check_headers((train_data, val_data), extra, progress)
    description = Description(
        name=name,
        train_json=_place(train_data.path, folder),
        val_json=_place(val_data.path, folder),
        images=str(train_data.images_dir),
        val_images=str(val_data.images_dir),
        unlabeled_images=str(unlabeled_images.absolute()) if unlabeled_images else None,
        source_json=None,
        source_images=None,
        sha256="",
        generated=False,
        cityscapes=str(cityscapes.absolute()) if cityscapes else None,
        prompts=prompts_so_far(folder / "dataset.json"),
    )
    sha256 = content_hash(to_dataset(description, folder))
    description = description.model_copy(update={"sha256": sha256})
    folder.mkdir(parents=True, exist_ok=True)
    write_description(folder / "dataset.json", description)
    return to_dataset(description, folder)


def check_dataset(
    dataset: DataSet,
    *,
    queries: int = 100,
    label_fraction: float = 0.1,
    short_side: int = 128,
    progress: Progress | None = None,
) -> list[Finding]:
    """Decode everything and tell what would hurt training or the numbers, errors first.

    Args:
        dataset: Its COCO files must load.
        queries: How many instances the model can predict in an image.
        label_fraction: The share of the training images that will be labeled.
        short_side: Of the pictures at the model's input, in pixels.
        progress: Told about each picture.

    Raises:
        ValueError: If a COCO file itself is broken.
    """
    extra = picture_files(dataset.unlabeled_images) if dataset.unlabeled_images else []
    train = load_coco(dataset.train_json, dataset.images, check_files=False)
    findings = []
    try:
        check_prompts(dataset, [category.name for category in train.categories])
    except ValueError as error:
        findings.append(Finding("error", "dataset.json", str(error)))
    return findings + check_data(
        train,
        load_coco(dataset.val_json, dataset.val_images, check_files=False),
        extra,
        queries=queries,
        label_fraction=label_fraction,
        short_side=short_side,
        progress=progress,
    )


def draw(dataset: DataSet, path: Path, *, count: int, seed: int) -> None:
    """Write a PNG contact sheet of training images with their masks.

    Raises:
        ValueError: If ``count`` is not positive or an image is unreadable.
    """
    train = load_coco(dataset.train_json, dataset.images, check_files=False)
    draw_sheet(train, path, count=count, seed=seed)


def _open_toycity(home: Path, progress: Progress | None) -> DataSet:
    from sskd.data import toycity

    counts, size = toycity.DEFAULT_COUNTS, _TOYCITY_SIZE
    sha256 = digest([TOYCITY, toycity.TOYCITY_VERSION, repr(counts), size, _TOYCITY_SEED])
    parent = (home / "data").absolute()
    final = parent / TOYCITY
    if _hash_of(final) == sha256:
        return read_dataset(final / "dataset.json")
    parent.mkdir(parents=True, exist_ok=True)
    with FileLock(parent / f"{TOYCITY}.lock"):
        if _hash_of(final) != sha256:  # another process may have drawn it meanwhile
            partial = parent / f".{TOYCITY}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            toycity.generate(
                partial, seed=_TOYCITY_SEED, counts=counts, size=size, progress=progress
            )
            description = Description(
                name=TOYCITY,
                train_json="train.json",
                val_json="val.json",
                images="images",
                val_images="images",
                unlabeled_images=None,
                source_json="source.json",
                source_images="images",
                sha256=sha256,
                generated=True,
            )
            write_description(partial / "dataset.json", description)
            shutil.rmtree(final, ignore_errors=True)  # of an earlier version
            partial.rename(final)
    return read_dataset(final / "dataset.json")


def _hash_of(folder: Path) -> str | None:
    try:
        return read_dataset(folder / "dataset.json").sha256
    except ValueError:
        return None


def _checked(path: Path) -> DataSet:
    """Read a description and hold its hash against the files."""
    dataset = read_dataset(path)
    if not read_description(path).generated and content_hash(dataset) != dataset.sha256:
        changed = f"data set {dataset.name!r} has changed since it was added"
        try:
            check_pictures(dataset)
        except ValueError as error:
            raise ValueError(f"{changed}: {error}") from None
        raise ValueError(
            f"{changed} ({path}); "
            "add it again with --force, so that old results are not taken for new ones"
        )
    return dataset


def _place(path: Path, folder: Path) -> str:
    """Relative in the data set's own folder, so that a home may move; else as it is."""
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def _check_pair(train: CocoData, val: CocoData) -> None:
    if not train.by_image:
        raise ValueError(f"{train.path}: no annotations; there is nothing to learn from")
    if not val.by_image:
        raise ValueError(f"{val.path}: no annotations; there is nothing to evaluate on")
    if train.categories != val.categories:
        ours = {(c.id, c.name) for c in train.categories}
        theirs = {(c.id, c.name) for c in val.categories}
        odd = sorted(ours ^ theirs)[0]
        place = train.path.name if odd in ours else val.path.name
        raise ValueError(
            f"{val.path}: other categories than {train.path}: "
            f"{odd[0]} {odd[1]!r} is only in {place}"
        )


def _check_headers(
    sets: tuple[CocoData, ...], extra: list[Path], progress: Progress | None
) -> None:
    total = sum(len(data.images) for data in sets) + len(extra)
    done = 0
    for data in sets:
        for image in data.images:
            try:
                check_header(data.file(image.id), height=image.height, width=image.width)
            except ValueError as error:
                raise ValueError(f"{data.path}: image {image.id}: {error}") from None
            done += 1
            if progress is not None:
                progress("checking images", done, total)
    for path in extra:
        upright_size(path)
        done += 1
        if progress is not None:
            progress("checking images", done, total)
