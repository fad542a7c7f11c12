"""``sskd data add-cityscapes`` and ``add-ade20k``: what they print, and every mistake in a line."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_trees import city_ids, write_ade20k, write_cityscapes

from sskd.data.conversion import Pair, Source
from sskd.data.datasets import list_datasets

CITY_MAP = "gtFine/val/frankfurt/frankfurt_000001_000019_gtFine_instanceIds.png"
CITY_IMAGE = "leftImg8bit/train/zurich/zurich_000000_000019_leftImg8bit.png"
ROOM_MAP = "annotations_instance/training/ADE_train_00000002.png"


def mistake(done) -> str:
    """The last line on stderr, of a command that has registered nothing."""
    assert done.exit_code == 2, done.output
    *warnings, line = done.stderr.splitlines()
    assert all(w.startswith("warning: ") for w in warnings)
    assert len(warnings) < 2
    assert line.startswith("error: ")
    assert list_datasets(Path("runs")) == ("toycity",)
    return line


def test_cityscapes_is_added_with_one_warning_about_its_counts(sskd, workplace):
    write_cityscapes(workplace / "city")
    done = sskd("data", "add-cityscapes", "city")
    assert done.exit_code == 0
    assert done.stderr.splitlines() == [
        "warning: 6 training and 3 val images; the whole of Cityscapes has 2,975 and 500; "
        "fine if a part of it is meant"
    ]
    assert "  checking files 1/9" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "added cityscapes: 6 training and 3 val images, 8 classes; next: sskd data check cityscapes"
    )
    assert "cityscapes" in sskd("list").stdout
    assert sskd("data", "check", "cityscapes").exit_code == 0
    twice = sskd("data", "add-cityscapes", "city")
    assert twice.exit_code == 2
    assert "'cityscapes' exists already; --force" in twice.stderr
    assert sskd("data", "add-cityscapes", "city", "--force").exit_code == 0
    assert sskd("data", "add-cityscapes", "city", "--name", "again").exit_code == 0


def test_ade20k_is_added_under_a_name(sskd, workplace):
    write_ade20k(workplace / "ADEChallengeData2016")
    done = sskd("data", "add-ade20k", "ADEChallengeData2016", "--name", "rooms")
    assert done.exit_code == 0
    assert "added rooms: 2 training and 2 val images, 100 classes" in done.stdout
    assert "the whole of ADE20K has 20,210 and 2,000" in done.stderr


def test_the_whole_data_set_gives_no_warning():
    pair = Pair(Path(), Path())
    source = Source("x", Path(), [pair] * 3, [pair] * 2, (3, 2), {}, "L", lambda ids: (ids, {}))
    assert source.unusual_counts() is None


@pytest.mark.parametrize(
    ("root", "says"),
    [
        ("nowhere", "nowhere: not the folder of Cityscapes: there is no leftImg8bit/train in it"),
        (".", "there is no leftImg8bit/train in it; unpack leftImg8bit_trainvaltest.zip there"),
        ("city/gtFine", "there is no leftImg8bit/train in it; give its parent "),
    ],
)
def test_a_wrong_folder_says_what_was_expected_where(sskd, workplace, root, says):
    write_cityscapes(workplace / "city", images=1)
    assert says in mistake(sskd("data", "add-cityscapes", root))


def test_a_cityscapes_without_its_maps(sskd, workplace):
    root = write_cityscapes(workplace / "city", images=1)
    (root / "gtFine").rename(root / "gtCoarse")
    line = mistake(sskd("data", "add-cityscapes", "city"))
    assert "there is no gtFine/train in it; unpack gtFine_trainvaltest.zip there" in line


def test_an_ade20k_without_its_maps(sskd, workplace):
    root = write_ade20k(workplace / "rooms")
    (root / "annotations_instance").rename(root / "annotations")
    line = mistake(sskd("data", "add-ade20k", "rooms"))
    assert "no annotations_instance/training in it; unpack annotations_instance.tar there" in line


def test_a_folder_within_ade20k(sskd, workplace):
    root = write_ade20k(workplace / "rooms")
    line = mistake(sskd("data", "add-ade20k", "rooms/images"))
    assert line.endswith(f"there is no images/training in it; give its parent {root}")


def test_a_folder_without_images(sskd, workplace):
    root = write_cityscapes(workplace / "city", images=1)
    for path in (root / "leftImg8bit" / "val").glob("*/*.png"):
        path.unlink()
    assert "no images */*_leftImg8bit.png of Cityscapes" in mistake(
        sskd("data", "add-cityscapes", "city")
    )


def _save(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _damage(path: Path) -> None:
    """Broken inside, whole at its end."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(bytes(content))


def _relabel(path: Path, label: int) -> None:
    ids = city_ids(0)
    ids[0, 0] = label
    _save(path, ids)


def _room(path: Path, *pixel: int) -> None:
    pixels = np.asarray(Image.open(path)).copy()
    pixels[0, 0] = pixel
    _save(path, pixels)


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        (CITY_MAP, Path.unlink, "image without its annotation"),
        (CITY_MAP, lambda p: _save(p, city_ids(0)[:, 1:]), "annotation is 127x64, but its image"),
        (CITY_MAP, _cut, "truncated PNG: its end is missing"),
        (CITY_IMAGE, _cut, "truncated PNG: its end is missing"),
        (CITY_MAP, _damage, "truncated or broken PNG: "),
        (CITY_IMAGE, _damage, "unreadable image: "),
        (CITY_MAP, lambda p: p.write_text("<html>"), "truncated PNG: its end is missing"),
        (CITY_MAP, lambda p: _relabel(p, 40), "id 40, label 40: not in the list of Cityscapes'"),
        (CITY_MAP, lambda p: _relabel(p, 34001), "id 34001, label 34: not in the list"),
        (CITY_MAP, lambda p: _relabel(p, 7001), "id 7001, label 7: not in the list"),
        (CITY_MAP, lambda p: _save(p, np.zeros((64, 128, 3), np.uint8)), "mode 'RGB'; one channel"),
    ],
)
def test_mistakes_in_cityscapes_name_the_file(sskd, workplace, file, change, says):
    root = write_cityscapes(workplace / "city")
    change(root / file)
    line = mistake(sskd("data", "add-cityscapes", "city"))
    assert says in line
    assert str(root / file) in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Path.unlink, "image without its annotation"),
        (lambda p: _save(p, np.zeros((9, 9, 3), np.uint8)), "the annotation is 9x9, but its image"),
        (_cut, "truncated PNG: its end is missing"),
        (lambda p: _room(p, 101, 9, 0), "instance 9 of class 101: not in the list of ADE20K's"),
        (lambda p: _room(p, 130, 0, 0), "instance 0 of class 130: not in the list of ADE20K's"),
        (lambda p: _room(p, 0, 9, 0), "instance 9 of class 0: not in the list of ADE20K's"),
        (lambda p: _room(p, 7, 255, 0), "instance 255 is of two classes, 7 and 100"),
        (lambda p: _save(p, np.zeros((42, 60), np.uint8)), "mode 'L'; the channels red, green"),
    ],
)
def test_mistakes_in_ade20k_name_the_file(sskd, workplace, change, says):
    root = write_ade20k(workplace / "rooms")
    change(root / ROOM_MAP)
    line = mistake(sskd("data", "add-ade20k", "rooms"))
    assert says in line
    assert str(root / ROOM_MAP) in line


def test_a_picture_of_ade20k_that_is_cut_off(sskd, workplace):
    (path, *_) = (write_ade20k(workplace / "rooms") / "images" / "training").iterdir()
    _cut(path)
    line = mistake(sskd("data", "add-ade20k", "rooms"))
    assert line.startswith(f"error: {path}: truncated JPEG: its end is missing; ")


def test_a_repaired_tree_goes_on_and_leaves_nothing_behind(sskd, workplace):
    root = write_cityscapes(workplace / "city")
    _relabel(root / CITY_MAP, 40)
    mistake(sskd("data", "add-cityscapes", "city"))
    assert list((workplace / "runs/data/cityscapes/parts").glob("*.json"))
    _relabel(root / CITY_MAP, 11)
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    assert not (workplace / "runs/data/cityscapes/parts").exists()


def test_train_and_evaluate_give_both_aps_and_keep_the_predictions(sskd, workplace):
    write_cityscapes(workplace / "city", images=2)
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    settings = {
        "student": "{encoder: {name: tiny-conv, weights: none, width: 8}, head: {width: 16}}",
        "student.decoder": "{queries: 6, layers: 1, heads: 2, width: 16, feedforward: 16}",
        "stages.transfer": "{steps: 1, labeled_batch: 2, unlabeled_batch: 0, contrast: false}",
        "views.crop": "[32, 32]",
        "set_loss.points": "32",
        "pipeline": "{teacher: none, final: transfer}",
        "evaluation": "{short_side: 32, cityscapes: true}",
        "data.label_fraction": "1.0",
    }
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    trained = sskd("train", "--data", "cityscapes", *chosen)
    assert trained.exit_code == 0, trained.output
    assert "evaluate_transfer, AP " in trained.stdout
    assert ", Cityscapes AP " in trained.stdout
    (cell,) = (workplace / "runs" / "cells").iterdir()
    done = sskd("evaluate", cell.name, "--cityscapes-results", "results")
    assert done.exit_code == 0, done.output
    assert "COCO mask AP" in done.stdout
    assert "by cityscapesscripts" in done.stdout
    assert done.stdout.splitlines()[-1] == (
        "wrote the predictions to results; cityscapesscripts on them: AP 0.000000, AP50 0.000000"
    )
    assert len(list((workplace / "results").glob("frankfurt_*_000019.txt"))) == 2
    (workplace / "runs" / "note.md").write_text("not a prediction")
    refused = sskd("evaluate", cell.name, "--cityscapes-results", "runs")
    assert refused.exit_code == 2
    assert "error: runs: holds other files than predictions" in refused.stderr
