"""What the pictures of a report are drawn of: one seed's predictions, and validation images."""

import json
from functools import lru_cache
from pathlib import Path

from sskd.data.datasets import open_dataset
from sskd.data.descriptions import DataSet
from sskd.reporting.analysis import Analysis
from sskd.reporting.records import predictions_file

__all__ = ["choose_predictions", "val_dataset", "val_pictures"]


def choose_predictions(analysis: Analysis, home: Path) -> tuple[int, dict[str, Path]]:
    """The first seed under which any variant and its counterpart both have kept predictions.

    Returns:
        The seed, and by variant's name the file of its predictions.

    Raises:
        ValueError: If there is none.
    """
    for seed in analysis.seeds:
        found = {}
        for arm in analysis.arms:
            if seed in arm.records:
                path = predictions_file(home, arm.records[seed])
                if path is not None and path.is_file():
                    found[arm.name] = path
        if any({c.arm.name, c.other.name} <= set(found) for c in analysis.comparisons):
            return seed, found
    raise ValueError("no variant and its counterpart have both kept their predictions")


def val_dataset(analysis: Analysis, seed: int, home: Path, *, check: bool = True) -> DataSet:
    """The data set that the cells of a seed were measured on.

    Args:
        analysis: What was measured.
        seed: With a record.
        home: Of the data set.
        check: Whether its files are held against its hash, which reads all of its annotations.

    Raises:
        ValueError: If it is gone, or has changed since.
    """
    record = next(arm.records[seed] for arm in analysis.arms if seed in arm.records)
    dataset = open_dataset(home, record.config["data"]["name"], check=check)
    if dataset.sha256 != record.sha256:
        raise ValueError(f"the data set {dataset.name!r} has changed since the cells were run")
    return dataset


def val_pictures(analysis: Analysis, seed: int, home: Path) -> tuple[str, list[Path]]:
    """The data set's hash, and where its validation images are or should be.

    Raises:
        ValueError: If the data set is gone, or has changed since.
        OSError: If its annotations are gone.
    """
    dataset = val_dataset(analysis, seed, home, check=False)
    file = dataset.val_json
    names = _file_names(file, file.stat().st_mtime_ns)
    return dataset.sha256, [dataset.val_images / name for name in names]


@lru_cache(maxsize=4)
def _file_names(path: Path, _time: int) -> tuple[str, ...]:
    """The reports of a launch share them."""
    try:
        return tuple(str(image["file_name"]) for image in json.loads(path.read_bytes())["images"])
    except (KeyError, TypeError):
        raise ValueError(f"{path}: no COCO file") from None
