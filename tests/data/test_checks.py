import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_files import content, square
from PIL import Image

from sskd.data.checks import Finding, check_data
from sskd.data.coco import load_coco
from sskd.data.images import picture_files

Write = Callable[..., tuple[Path, Path]]


@pytest.fixture
def find(write: Write, tmp_path: Path) -> Callable[..., list[Finding]]:
    """Check a training and a validation set, changed after their pictures were written."""

    def run(
        change: Callable[[dict[str, Any], dict[str, Any], Path], None], **options: Any
    ) -> list[Finding]:
        train, val = content(4), content(4, first=50)
        paths = [write(train), write(val, "val")]
        images = paths[0][1]
        change(train, val, images)
        for (path, _), coco in zip(paths, (train, val), strict=True):
            path.write_text(json.dumps(coco))
        extra = tmp_path / "extra"
        settings = {"queries": 10, "label_fraction": 0.25, "progress": None, **options}
        loaded = [load_coco(path, folder) for path, folder in paths]
        return check_data(*loaded, picture_files(extra) if extra.is_dir() else [], **settings)

    return run


def _only(findings: list[Finding], severity: str, *words: str) -> None:
    assert len(findings) == 1, findings
    assert findings[0].severity == severity
    for word in words:
        assert word in findings[0].message


Find = Callable[..., list[Finding]]


def test_nothing_to_say(find: Find) -> None:
    assert find(lambda train, val, images: None) == []


def test_an_unreadable_image(find: Find) -> None:
    findings = find(lambda train, val, images: (images / "im2.png").write_bytes(b"x"))
    _only(findings, "error", "image 2", "unreadable")


def test_an_unreadable_unlabeled_picture(find: Find, tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "a.png").write_bytes(b"x")
    _only(find(lambda train, val, images: None), "error", "a.png", "unreadable")


def test_a_tiny_instance_is_named(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        speck = {**train["annotations"][0], "id": 7, "segmentation": square(3, 3, 1)}
        train["annotations"].append(speck)

    _only(find(change), "warning", "fewer than 4 pixels", "annotation 7")


def test_a_box_without_area(find: Find) -> None:
    findings = find(lambda train, val, images: train["annotations"][1].update(bbox=[1, 1, 0, 4]))
    _only(findings, "warning", "box without area", "annotation 102")


def test_classes_that_are_missing_somewhere(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        for coco in (train, val):
            coco["categories"] = [*coco["categories"], {"id": 20, "name": "cow"}]
            coco["categories"].append({"id": 21, "name": "bird"})
        val["annotations"][0]["category_id"] = 20
        for annotation in train["annotations"]:
            annotation["category_id"] = 17
        train["annotations"][0]["category_id"] = 3
        for annotation in val["annotations"][1:]:
            annotation["category_id"] = 17

    messages = [(f.severity, f.message) for f in find(change)]
    assert messages == [
        ("error", "class 'cow' has instances in val only: its AP will be 0"),
        ("warning", "class 'cat' has no instance in val: it has no AP"),
        ("warning", "class 'bird' has no instance in train"),
    ]


def test_pictures_of_val_among_those_to_train_on(find: Find, tmp_path: Path) -> None:
    def copy(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        shutil.copy(images / "im1.png", images / "im50.png")

    _only(find(copy), "error", "in train and val", "im50.png")

    def unlabeled(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        (tmp_path / "extra").mkdir()
        shutil.copy(images / "im51.png", tmp_path / "extra" / "other.png")

    _only(find(unlabeled), "error", "in train and val", "im51.png")


def test_other_pictures_of_the_same_name(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        (images / "sub").mkdir()
        (images / "im50.png").rename(images / "sub" / "im1.png")
        val["images"][0]["file_name"] = "sub/im1.png"

    _only(find(change), "warning", "file names of train", "sub/im1.png")


def test_a_picture_listed_twice(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        train["images"][1]["file_name"] = "im1.png"

    _only(find(change), "warning", "several ids", "im1.png")


def test_more_instances_than_queries(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        base = train["annotations"][0]
        train["annotations"] += [{**base, "id": 500 + k} for k in range(3)]

    _only(find(change, queries=3), "warning", "queries (3)", "image 1", "has 4")
    assert find(change, queries=4) == []


def test_instances_too_small_at_the_models_input(find: Find) -> None:
    _only(
        find(lambda train, val, images: None, short_side=16),
        "warning",
        "half of the instances are at most",
        "at a short side of 16",
        "evaluation.window",
    )


def test_images_with_crowds_only_and_with_nothing(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        train["annotations"][0]["iscrowd"] = 1
        del train["annotations"][1]

    crowd, empty = find(change)
    assert crowd.severity == empty.severity == "info"
    assert "only crowd regions, so no target: image 1" in crowd.message
    assert "no annotation" in empty.message
    assert "image 2" in empty.message


def test_too_few_unlabeled_images(find: Find) -> None:
    findings = find(lambda train, val, images: None, label_fraction=0.75)
    _only(findings, "warning", "1 unlabeled images, fewer than the 3 labeled")


def test_dark_and_huge_pictures(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        Image.new("I;16", (32, 24), 2000).save(images / "im1.png")
        Image.new("L", (4100, 4000), 200).save(images / "im2.png")
        train["images"][1] |= {"width": 4100, "height": 4000}

    dark, huge = find(change)
    assert "nearly black" in dark.message
    assert "image 1" in dark.message
    assert "16 million" in huge.message
    assert "image 2 (im2.png), 4100x4000" in huge.message


def test_many_places_are_told_as_one_finding(find: Find) -> None:
    def change(train: dict[str, Any], val: dict[str, Any], images: Path) -> None:
        for annotation in train["annotations"]:
            annotation["bbox"] = [0, 0, 0, 0]

    _only(find(change), "warning", "annotation 101, annotation 102, annotation 103 and 1 more")
