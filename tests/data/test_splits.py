import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import content
from PIL import Image

from sskd.config import digest
from sskd.data.coco import load_coco
from sskd.data.datasets import add_dataset
from sskd.data.splits import make_split, write_split

Write = Callable[..., tuple[Path, Path]]


def _long_tailed(images: int = 60) -> dict[str, Any]:
    """Cats everywhere, one dog, one cow in crowds only, no bird at all."""
    coco = content(images)
    coco["categories"] = [
        *coco["categories"],
        {"id": 20, "name": "cow"},
        {"id": 21, "name": "bird"},
    ]
    for annotation in coco["annotations"]:
        annotation["category_id"] = 3
    coco["annotations"][41]["category_id"] = 17
    coco["annotations"][7] |= {"category_id": 20, "iscrowd": 1}
    return coco


@pytest.mark.parametrize("seed", range(5))
def test_splits_are_nested_disjoint_complete_and_show_every_class(write: Write, seed: int) -> None:
    data = load_coco(*write(_long_tailed()))
    splits = [make_split(data, fraction=f, seed=seed) for f in (0.05, 0.1, 0.3, 0.31, 1.0)]
    assert [len(split.labeled) for split in splits] == [3, 6, 18, 19, 60]
    for small, large in pairwise(splits):
        assert set(small.labeled) < set(large.labeled)
    for split in splits:
        assert 42 in split.labeled  # the only dog
        assert sorted(split.labeled + split.unlabeled) == list(range(1, 61))
    assert make_split(data, fraction=0.1, seed=seed) == splits[1]


def test_the_seed_changes_the_split_and_close_fractions_share_it(write: Write) -> None:
    data = load_coco(*write(_long_tailed()))
    hashes = {make_split(data, fraction=0.3, seed=seed).sha256 for seed in range(10)}
    assert len(hashes) == 10
    near = make_split(data, fraction=0.301, seed=0)
    assert near.sha256 == make_split(data, fraction=0.3, seed=0).sha256


def test_beyond_the_cover_every_image_is_equally_likely(write: Write) -> None:
    data = load_coco(*write(content(40)))
    counts = np.zeros(41)
    for seed in range(200):
        counts[list(make_split(data, fraction=0.5, seed=seed).labeled)] += 1
    # binomial(200, 1/2) has a standard deviation of 7
    assert np.abs(counts[1:] - 100).max() < 32


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_is_nested_too_and_costs_no_class(write: Write, seed: int) -> None:
    data = load_coco(*write(_long_tailed()))
    fractions = (0.1, 0.3, 0.31, 1.0)
    splits = [make_split(data, fraction=f, seed=seed, held_out=0.3) for f in fractions]
    assert [len(split.held_out) for split in splits] == [1, 5, 5, 18]
    for small, large in pairwise(splits):
        assert set(small.held_out) <= set(large.held_out)
        assert set(small.labeled) < set(large.labeled)
    for fraction, split in zip(fractions, splits, strict=True):
        whole = make_split(data, fraction=fraction, seed=seed)
        assert 42 in split.labeled  # the only dog
        assert sorted(split.labeled + split.held_out) == list(whole.labeled)
        assert split.unlabeled == whole.unlabeled
        assert split.sha256 != whole.sha256


def test_without_held_out_images_the_hash_is_of_the_two_lists(write: Write) -> None:
    split = make_split(load_coco(*write(content(20))), fraction=0.5, seed=0)
    assert split.held_out == ()
    assert split.sha256 == digest({"labeled": split.labeled, "unlabeled": split.unlabeled})


def test_nothing_to_measure_on_is_an_error_that_says_what_to_raise(write: Write) -> None:
    data = load_coco(*write(content(20)))
    with pytest.raises(ValueError, match=r"raise data.held_out or data.label_fraction"):
        make_split(data, fraction=0.2, seed=0, held_out=0.2)
    assert len(make_split(data, fraction=0.5, seed=0, held_out=0.1).held_out) == 1


def test_held_out_images_are_in_no_file_that_training_opens(write: Write, tmp_path: Path) -> None:
    train, images = write(content(12))
    val, _ = write(content(2, first=50), "val")
    dataset = add_dataset(tmp_path / "home", "pets", train=train, val=val, images=images)
    data = load_coco(train, images)
    split = make_split(data, fraction=0.5, seed=0, held_out=0.4)
    files = write_split(dataset, split, tmp_path / "split")
    assert files.held_out is not None
    held_out = load_coco(files.held_out, images)
    assert [image.id for image in held_out.images] == list(split.held_out)
    assert [held_out.annotations(i) for i in split.held_out] == [
        data.annotations(i) for i in split.held_out
    ]
    for path in (files.labeled, files.unlabeled):
        shown = {image.id for image in load_coco(path, images).images}
        assert shown
        assert not shown & set(split.held_out)
    assert write_split(dataset, split, tmp_path / "split") == files
    files.held_out.unlink()
    assert write_split(dataset, split, tmp_path / "split") == files
    assert files.held_out.is_file()


def test_a_class_without_a_labeled_image_names_class_and_fraction(write: Write) -> None:
    data = load_coco(*write(_long_tailed()))
    with pytest.raises(ValueError, match="class 'cat' has no labeled image") as caught:
        make_split(data, fraction=0.01, seed=0)
    end = "at label fraction 0.01 (1 of 60 images); use at least 0.034"
    assert str(caught.value).endswith(end)
    make_split(data, fraction=0.034, seed=0)
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got 1.5"):
        make_split(data, fraction=1.5, seed=0)


def test_labels_of_unlabeled_images_are_in_no_written_file(write: Write, tmp_path: Path) -> None:
    train, images = write(content(6))
    val, _ = write(content(2, first=50), "val")
    dataset = add_dataset(tmp_path / "home", "pets", train=train, val=val, images=images)
    data = load_coco(train, images)
    split = make_split(data, fraction=0.5, seed=1)
    folder = tmp_path / "split"
    labeled, unlabeled, _ = write_split(dataset, split, folder)
    assert json.loads(unlabeled.read_text())["annotations"] == []
    pool = load_coco(unlabeled, images)
    assert tuple(image.id for image in pool.images) == split.unlabeled
    assert pool.categories == data.categories
    known = load_coco(labeled, images)
    assert tuple(image.id for image in known.images) == split.labeled
    for image_id in split.labeled:
        assert known.annotations(image_id) == data.annotations(image_id)
    hidden = {a.id for image_id in split.unlabeled for a in data.annotations(image_id)}
    for path in folder.iterdir():
        assert not any(f'"id": {i}' in path.read_text() for i in hidden)


def test_written_files_are_reused_until_the_split_or_the_data_changes(
    write: Write, tmp_path: Path
) -> None:
    train, images = write(content(6))
    val, _ = write(content(2, first=50), "val")
    dataset = add_dataset(tmp_path / "home", "pets", train=train, val=val, images=images)
    data = load_coco(train, images)
    folder = tmp_path / "split"
    labeled, unlabeled, _ = write_split(dataset, make_split(data, fraction=0.5, seed=1), folder)
    paths = labeled, unlabeled
    before = [path.stat().st_mtime_ns for path in paths]
    write_split(dataset, make_split(data, fraction=0.5, seed=1), folder)
    assert [path.stat().st_mtime_ns for path in paths] == before
    write_split(dataset, make_split(data, fraction=0.8, seed=1), folder)
    assert len(load_coco(paths[0], images).images) == 5
    write_split(replace(dataset, sha256="other"), make_split(data, fraction=0.8, seed=1), folder)
    assert not list(folder.glob("*.tmp"))
    other = make_split(load_coco(val, images), fraction=1.0, seed=1)
    with pytest.raises(ValueError, match="the split lists other images"):
        write_split(dataset, other, folder)


def test_pictures_of_the_unlabeled_folder_join_the_pool(write: Write, tmp_path: Path) -> None:
    train, images = write(content(4))
    val, _ = write(content(2, first=50), "val")
    extra = tmp_path / "more"
    extra.mkdir()
    Image.new("RGB", (9, 5)).save(extra / "x.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 5)).save(extra / "y.jpg", exif=exif)
    dataset = add_dataset(
        tmp_path / "home", "pets", train=train, val=val, images=images, unlabeled_images=extra
    )
    split = make_split(load_coco(train, images), fraction=0.5, seed=0)
    unlabeled = write_split(dataset, split, tmp_path / "split").unlabeled
    pool = load_coco(unlabeled, images)
    assert [image.id for image in pool.images] == [*split.unlabeled, 5, 6]
    assert pool.read_image(5).shape == (5, 9, 3)
    assert pool.read_image(6).shape == (9, 5, 3)
