"""Published lists of labeled images, in the place of a seeded split."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_files import content

from sskd.data.coco import CocoData, load_coco
from sskd.data.labeled_lists import find_images, read_list
from sskd.data.splits import make_listed_split, make_split

Write = Callable[..., tuple[Path, Path]]


@pytest.fixture
def city(tmp_path: Path) -> CocoData:
    """Images that are called as those of Cityscapes are; their files are not looked at."""
    coco: dict[str, Any] = content(4)
    for image in coco["images"]:
        name = f"train/aachen/aachen_{image['id']:06d}_000019_leftImg8bit.png"
        image["file_name"] = name
    path = tmp_path / "train.json"
    path.write_text(json.dumps(coco))
    return load_coco(path, tmp_path, check_files=False)


@pytest.mark.parametrize(
    "name",
    [
        "train/aachen/aachen_000003_000019_leftImg8bit.png",
        "leftImg8bit/train/aachen/aachen_000003_000019_leftImg8bit.png",
        "aachen_000003_000019_leftImg8bit.png",
        "aachen_000003_000019_leftImg8bit",
        "aachen_000003_000019",
        "gtFine/train/aachen/aachen_000003_000019_gtFine_instanceIds.png",
        "3",
    ],
)
def test_an_image_is_found_however_a_list_calls_it(city: CocoData, name: str) -> None:
    assert find_images([name], city, Path("x.txt")) == (3,)


def test_a_list_is_read_without_comments_and_counts_an_image_once(
    city: CocoData, tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# of somebody\n\naachen_000004_000019\r\n 2  # an id\naachen_000004_000019\n")
    names = read_list(path)
    assert names == ("aachen_000004_000019", "2", "aachen_000004_000019")
    assert find_images(names, city, path) == (2, 4)


def test_an_unknown_name_hints_at_the_nearest(city: CocoData) -> None:
    with pytest.raises(
        ValueError, match=r"x\.txt: no image 'aachen_000003_00019' in .*train\.json;"
    ) as e:
        find_images(["aachen_000003_00019"], city, Path("x.txt"))
    assert str(e.value).endswith("did you mean 'aachen_000003_000019'?")
    with pytest.raises(ValueError, match="the images are called like 'aachen_000001_000019'"):
        find_images(["9"], city, Path("x.txt"))


def test_a_name_of_two_images_is_refused_and_folders_tell_them_apart(write: Write) -> None:
    coco = content(2)
    (train := write(coco))[1].joinpath("b").mkdir()
    coco["images"][0]["file_name"], coco["images"][1]["file_name"] = "a/same.png", "b/same.png"
    train[0].write_text(json.dumps(coco))
    data = load_coco(*train, check_files=False)
    with pytest.raises(ValueError, match="2 images are called 'same'; give file names with their"):
        find_images(["same"], data, Path("x.txt"))
    assert find_images(["b/same.png"], data, Path("x.txt")) == (2,)


def test_lists_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt: no such list of labeled images"):
        read_list(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(ValueError, match="lists no image"):
        read_list(empty)
    empty.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="not UTF-8 text at byte 0"):
        read_list(empty)
    with pytest.raises(ValueError, match="cannot be read: "):
        read_list(tmp_path)


def test_a_split_of_a_list_is_the_list_and_hashes_its_content(write: Write) -> None:
    data = load_coco(*write(content(20)))
    seeded = make_split(data, fraction=0.2, seed=3)
    listed = make_listed_split(data, seeded.labeled[::-1], seed=7)
    assert (listed.labeled, listed.unlabeled) == (seeded.labeled, seeded.unlabeled)
    assert listed.sha256 == seeded.sha256
    assert listed.fraction == 0.2
    one_class = make_listed_split(data, [1], seed=0)  # cats alone: a list is taken as it is
    assert one_class.labeled == (1,)
    assert one_class.sha256 != listed.sha256


def test_some_of_a_list_can_be_held_out(write: Write) -> None:
    data = load_coco(*write(content(20)))
    ids = tuple(range(1, 11))
    split = make_listed_split(data, ids, seed=0, held_out=0.3)
    assert len(split.held_out) == 3
    assert tuple(sorted(split.labeled + split.held_out)) == ids
    assert split.unlabeled == tuple(range(11, 21))
    assert make_listed_split(data, ids, seed=1, held_out=0.3).held_out != split.held_out
    with pytest.raises(ValueError, match=r"raise data\.held_out"):
        make_listed_split(data, ids[:3], seed=0, held_out=0.1)
