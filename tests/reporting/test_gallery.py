"""Which images are shown, and what their scores mean."""

import numpy as np
import pytest
from made_home import Home
from PIL import Image

from sskd.data.coco import CocoData, load_coco
from sskd.data.datasets import open_dataset
from sskd.reporting.analysis import analyse
from sskd.reporting.gallery import draw_gallery
from sskd.reporting.scores import extremes, match, score_images


@pytest.fixture
def data(home: Home, street: str) -> CocoData:
    dataset = open_dataset(home.path, "street")
    return load_coco(dataset.val_json, dataset.val_images)


def test_score_is_the_mean_best_overlap_by_hand(home: Home, data: CocoData) -> None:
    found = [
        home.detection(1, home.box(4, 4, 16, 16), 0.9),  # the first instance, exactly
        home.detection(1, home.box(4, 4, 16, 8), 0.95),  # half of it: not the best
        home.detection(1, home.box(26, 24, 10, 10), 0.31),  # half of the second
        home.detection(1, home.box(2, 40, 8, 6), 0.3),  # the third, not above the threshold
        home.detection(2, home.box(4, 4, 16, 16), 0.9, category=27),  # of another class
    ]
    assert score_images(data, found) == {1: pytest.approx((1 + 0.5 + 0) / 3), 2: 0.0, 3: 0.0}
    assert score_images(data, []) == {1: 0.0, 2: 0.0, 3: 0.0}


def test_largest_loss_and_gain_ties_by_id() -> None:
    mine = {4: 0.3, 1: 0.1, 3: 0.2, 2: 0.2, 9: 0.9}
    other = {1: 0.1, 2: 0.7, 3: 0.7, 4: 0.0}
    assert extremes(mine, other, among=[1, 2, 3, 4]) == (2, 4)
    assert extremes(mine, other, among=[3, 1]) == (3, None)
    assert extremes(mine, other, among=[]) == (2, 4)
    assert extremes(mine, mine, among=[1]) == (None, None)
    assert extremes({}, other, among=[1]) == (None, None)


def test_detections_are_matched_one_to_one() -> None:
    overlaps = np.array([[0.9, 0.0], [0.8, 0.6], [0.7, 0.0], [0.0, 0.49]])
    assert match(overlaps) == [0, 1, None, None]
    assert match(np.zeros((2, 0))) == [None, None]


def test_gallery_is_of_the_first_seed_with_pictures(home: Home, street: str) -> None:
    more, less = home.box(4, 4, 16, 16), home.box(4, 4, 16, 10)
    for cell in home.plan(2):
        # Against fusion, uniform loses on image 1 and gains on image 2; class is its equal.
        masks = {1: less, 2: more} if cell.variant == "uniform" else {1: more, 2: less}
        found = [home.detection(image, mask, 0.9) for image, mask in masks.items()]
        kept = found if cell.seed == 1 and cell.variant != "mask" else None
        home.write(cell, 0.2, sha256=street, predictions=kept)
    analysis = analyse(home.ablation, home.cells, home=home.path)
    gallery = draw_gallery(analysis, home.path / "gallery", home=home.path)
    assert gallery.seed == 1
    assert gallery.file_names == ("1.png", "2.png")
    assert gallery.missing == ("Mask", "Class")
    with Image.open(home.path / "gallery.png") as picture:
        assert picture.width > 1000
        assert picture.info.keys() <= {"dpi"}  # neither date nor software


@pytest.mark.parametrize("trouble", ["no predictions", "other data", "no image", "no data set"])
def test_why_there_is_no_picture_is_one_line(
    home: Home, street: str, trouble: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sha256 = "0" * 64 if trouble == "other data" else street
    for cell in home.plan(1):
        hit = [home.detection(2, home.box(4, 4, 16, 16), 0.9)] if cell.variant == "fusion" else []
        found = None if trouble == "no predictions" else hit
        home.write(cell, 0.2, sha256=sha256, predictions=found)
    if trouble == "no image":
        folder = open_dataset(home.path, "street").val_images
        (folder / "2.png").unlink()
    if trouble == "no data set":
        (home.path / "data" / "street" / "dataset.json").unlink()
    analysis = analyse(home.ablation, home.cells, home=home.path)
    with pytest.raises(ValueError, match=r".") as error:
        draw_gallery(analysis, home.path / "gallery", home=home.path)
    assert "\n" not in str(error.value)
    assert not (home.path / "gallery.png").exists()
