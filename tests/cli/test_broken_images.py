"""An image that breaks after it was added: the run names it, keeps what it has, and goes on."""

import pytest
from published_trees import write_cityscapes

SETTINGS = {
    "student": "{encoder: {name: tiny-conv, weights: none, width: 8}, head: {width: 16}}",
    "student.decoder": "{queries: 6, layers: 1, heads: 2, width: 16, feedforward: 16}",
    "stages.transfer": "{steps: 2, labeled_batch: 4, unlabeled_batch: 0, contrast: false}",
    "views.crop": "[32, 32]",
    "set_loss.points": "32",
    "pipeline": "{teacher: none, final: transfer}",
    "evaluation.short_side": "32",
    "data.label_fraction": "1.0",
}
TRAIN = "leftImg8bit/train/zurich/zurich_000001_000019_leftImg8bit.png"
MAP = "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_instanceIds.png"
VAL = "leftImg8bit/val/frankfurt/frankfurt_000001_000019_leftImg8bit.png"


def command(**changes):
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["train", "--data", "cityscapes", *chosen]


def mistake(done) -> str:
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def trained(workplace) -> dict:
    """When the training was finished, if it was."""
    found = (workplace / "runs" / "store").glob("transfer-*/result.json")
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(("file", "kept"), [(TRAIN, False), (VAL, True)])
def test_an_image_that_is_broken_inside(sskd, workplace, one_thread, file, kept, workers):
    path = write_cityscapes(workplace / "city", images=2) / file
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 255
    path.write_bytes(damaged)
    line = mistake(sskd(*command(runtime__data_workers=workers)))
    assert line.startswith(f"error: {path}: unreadable image: ")
    before = trained(workplace)
    assert bool(before) is kept
    path.write_bytes(content)
    mended = sskd(*command(runtime__data_workers=workers))
    assert mended.exit_code == 0, mended.output
    assert not kept or trained(workplace) == before


def test_an_image_that_is_cut_off_or_gone(sskd, workplace):
    path = write_cityscapes(workplace / "city", images=2) / TRAIN
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    said = "error: data set 'cityscapes' has changed since it was added: "
    line = mistake(sskd(*command()))
    assert line.startswith(f"{said}{path}: truncated PNG: its end is missing; ")
    path.unlink()
    assert mistake(sskd(*command())) == f"{said}{path}: no such image file"
    assert not (workplace / "runs" / "store").exists()
    path.write_bytes(content)
    assert sskd(*command(), "--dry-run").exit_code == 0


def test_an_id_map_that_is_cut_off(sskd, workplace, one_thread):
    path = write_cityscapes(workplace / "city", images=2) / MAP
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    line = mistake(sskd(*command(evaluation__cityscapes="true")))
    assert line.startswith(f"error: {path}: truncated PNG: its end is missing; ")
    before = trained(workplace)
    path.write_bytes(content)
    mended = sskd(*command(evaluation__cityscapes="true"))
    assert mended.exit_code == 0, mended.output
    assert trained(workplace) == before != {}
