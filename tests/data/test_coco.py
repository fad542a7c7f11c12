import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_files import content, square

from sskd.data.coco import load_coco

Write = Callable[..., tuple[Path, Path]]


def _first(change: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    return lambda coco: coco["annotations"][0].update(change)


DEFECTS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("no such image", _first({"image_id": 77}), "annotation 101: image 77 is not among the images"),
    ("no such class", _first({"category_id": 9}), "annotation 101: category 9 is not in the list"),
    (
        "odd polygon",
        _first({"segmentation": [[1, 2, 3, 4, 5, 6, 7]]}),
        "annotation 101: polygon 1 has 7 numbers; pairs x, y are needed",
    ),
    ("two points", _first({"segmentation": [[1, 2, 3, 4]]}), "polygon 1 has 2 points; at least 3"),
    ("no mask", _first({"segmentation": []}), "annotation 101: no segmentation"),
    ("far away", _first({"segmentation": square(900, 0, 5)}), "reaches x = 905, far outside"),
    ("negative box", _first({"bbox": [1, 1, -3, 4]}), "annotation 101: bbox .* negative side"),
    ("text for a number", _first({"area": "big"}), "annotation 101: area: input should be a valid"),
    ("not finite", _first({"segmentation": [[1, 2, float("nan"), 4, 5, 6]]}), "finite number"),
    (
        "other size",
        _first({"segmentation": {"size": [32, 24], "counts": [768]}}),
        r"annotation 101: RLE of size \[32, 24\], but the image is \[24, 32\]",
    ),
    (
        "short runs",
        _first({"segmentation": {"size": [24, 32], "counts": [3, 5]}}),
        "annotation 101: RLE covers 8 pixels, but the image has 768",
    ),
    (
        "short string",
        _first({"segmentation": {"size": [24, 32], "counts": "kQe1"}}),
        "annotation 101: RLE covers",
    ),
    (
        "no string",
        _first({"segmentation": {"size": [24, 32], "counts": "~~"}}),
        "annotation 101: RLE counts are no compressed",
    ),
    ("image twice", lambda c: c["images"].append(c["images"][0]), "image 1 stands there twice"),
    (
        "annotation twice",
        lambda c: c["annotations"].append(c["annotations"][0]),
        "annotation 101 stands there twice",
    ),
    (
        "category twice",
        lambda c: c.update(categories=[*c["categories"], {"id": 3, "name": "cow"}]),
        "category 3 stands there twice",
    ),
    (
        "name twice",
        lambda c: c.update(categories=[*c["categories"], {"id": 4, "name": "cat"}]),
        "category name 'cat' stands there twice",
    ),
    ("no height", lambda c: c["images"][0].pop("height"), "image 1: height: field required"),
    ("no id", lambda c: c["images"][0].pop("id"), r"images\[0\]: id: field required"),
    ("no images", lambda c: c.pop("images"), "images: field required"),
    ("no categories", lambda c: c.update(categories=[]), "categories: list should have at least 1"),
    (
        "no file",
        lambda c: c["images"].append({"id": 9, "file_name": "lost.png", "height": 2, "width": 2}),
        r"image 9: no such image file: .*lost.png \(1 of 5 are missing\)",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [d[1:] for d in DEFECTS], ids=[d[0] for d in DEFECTS]
)
def test_a_defect_is_one_line_with_file_and_entry(
    write: Write, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    coco = content()
    path, images = write(coco)
    change(coco)
    path.write_text(json.dumps(coco))
    with pytest.raises(ValueError, match=message) as caught:
        load_coco(path, images)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_broken_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json: no such file$"):
        load_coco(tmp_path / "none.json", tmp_path)
    path = tmp_path / "broken.json"
    path.write_text('{"images": [],\n "categories" [')
    with pytest.raises(ValueError, match="broken JSON at line 2, column 15"):
        load_coco(path, tmp_path)
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"not a COCO file: .* this is a list"):
        load_coco(path, tmp_path)
    path.write_bytes(b'{"images": "\xff"}')
    with pytest.raises(ValueError, match="not UTF-8 text at byte 12"):
        load_coco(path, tmp_path)
    with pytest.raises(ValueError, match="cannot be read"):
        load_coco(tmp_path, tmp_path)


def _runs(mask: np.ndarray) -> list[int]:
    """Uncompressed run lengths of a mask, columns first, counted one pixel after the other."""
    runs, value = [0], False
    for pixel in mask.T.ravel():
        if bool(pixel) != value:
            runs.append(0)
            value = not value
        runs[-1] += 1
    return runs


def _letters(runs: list[int]) -> str:
    """COCO's compressed spelling, transcribed from its description number by number."""
    text = ""
    for place, run in enumerate(runs):
        number = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            digit, number = number & 31, number >> 5
            more = number != (-1 if digit & 16 else 0)
            text += chr(48 + digit + (32 if more else 0))
    return text


def test_every_spelling_of_a_mask_gives_its_pixels(write: Write) -> None:
    mask = np.zeros((24, 32), bool)
    mask[5:13, 4:12] = True
    mask[20:23, 25:31] = True
    coco = content(1)
    base = coco["annotations"][0]
    size = [24, 32]
    parts = [*square(4, 5, 8), [25, 20, 31, 20, 31, 23, 25, 23]]
    spellings = [
        parts,
        {"size": size, "counts": _runs(mask)},
        {"size": size, "counts": _letters(_runs(mask))},
    ]
    coco["annotations"] = [
        {**base, "id": 9 - number, "segmentation": spelling, "iscrowd": number % 2}
        for number, spelling in enumerate(spellings)
    ]
    instances = load_coco(*write(coco)).instances(1)
    assert instances.annotation_ids == (7, 8, 9)
    assert instances.crowd.tolist() == [False, True, False]
    for decoded in instances.masks:
        np.testing.assert_array_equal(decoded, mask)


def test_random_masks_pass_as_strings_and_lose_that_with_one_letter_less(write: Write) -> None:
    generator = np.random.default_rng(0)
    coco = content(1)
    base = coco["annotations"][0]
    masks = [generator.random((24, 32)) < share for share in (0.01, 0.3, 0.5, 0.99)]
    masks += [np.zeros((24, 32), bool), np.ones((24, 32), bool)]
    texts = [_letters(_runs(mask)) for mask in masks]
    coco["annotations"] = [
        {**base, "id": i, "segmentation": {"size": [24, 32], "counts": text}}
        for i, text in enumerate(texts)
    ]
    path, images = write(coco)
    np.testing.assert_array_equal(load_coco(path, images).instances(1).masks, masks)
    for text in texts:
        coco["annotations"] = [{**base, "segmentation": {"size": [24, 32], "counts": text[:-1]}}]
        path.write_text(json.dumps(coco))
        with pytest.raises(ValueError, match="annotation 101: RLE"):
            load_coco(path, images)


def test_sparse_categories_become_ranks_and_images_may_be_empty(write: Write) -> None:
    coco = content(3)
    coco["categories"] = list(reversed(coco["categories"]))
    coco["images"].reverse()
    del coco["annotations"][2]
    data = load_coco(*write(coco))
    assert [image.id for image in data.images] == [1, 2, 3]
    assert data.class_names == ("cat", "dog")
    assert data.instances(1).classes.tolist() == [0]
    assert data.instances(2).classes.tolist() == [1]
    empty = data.instances(3)
    assert empty.masks.shape == (0, 24, 32)
    assert empty.classes.shape == (0,)
    assert data.annotations(3) == ()
    with pytest.raises(ValueError, match="no image 4"):
        data.annotations(4)


def test_areas_are_counted_where_the_file_is_silent(write: Write) -> None:
    coco = content(2)
    coco["annotations"][0]["area"] = 12.5
    del coco["annotations"][1]["area"]
    del coco["annotations"][1]["iscrowd"]
    data = load_coco(*write(coco))
    assert data.instances(1).areas.tolist() == [12.5]
    assert data.instances(2).areas.tolist() == [64.0]


def test_scores_provenance_and_unknown_keys(write: Write) -> None:
    coco = content(1)
    coco["info"] = {"provenance": {"teacher": "abc"}}
    coco["annotations"][0] |= {"score": 0.75, "attributes": {"occluded": True}}
    data = load_coco(*write(coco))
    assert data.annotations(1)[0].score == 0.75
    assert data.info["provenance"] == {"teacher": "abc"}


def test_an_absolute_file_name_stands_for_itself(write: Write, tmp_path: Path) -> None:
    coco = content(1)
    path, images = write(coco)
    coco["images"][0]["file_name"] = str(images / "im1.png")
    path.write_text(json.dumps(coco))
    assert load_coco(path, tmp_path / "elsewhere").read_image(1).shape == (24, 32, 3)


def test_files_are_not_asked_for_when_told_so(write: Write) -> None:
    path, images = write(content(1))
    (images / "im1.png").unlink()
    data = load_coco(path, images, check_files=False)
    with pytest.raises(ValueError, match=r"im1\.png: no such image file"):
        data.read_image(1)
