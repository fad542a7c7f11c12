"""Published data sets become COCO files that hold exactly the pixels of their id maps."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_trees import CITIES, city_ids, room_pixels, write_ade20k, write_cityscapes
from pycocotools import mask as coco_mask

from sskd.data import conversion
from sskd.data.ade20k import CLASSES as ROOM_CLASSES
from sskd.data.ade20k import ade20k
from sskd.data.cityscapes import CLASSES, cityscapes, instance_ids_of
from sskd.data.coco import load_coco
from sskd.data.conversion import add_converted
from sskd.data.datasets import DataSet, check_dataset, list_datasets, open_dataset
from sskd.data.instance_maps import Region, encode_regions


def _add_city(home: Path, root: Path, **options: object) -> DataSet:
    return add_converted(home, "city", cityscapes(root), **options)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_cityscapes_read_back_is_the_id_maps_pixel_by_pixel(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "root")
    added = _add_city(tmp_path / "home", root)
    assert added == open_dataset(tmp_path / "home", "city")
    assert added.cityscapes == root
    for name, path in (("train", added.train_json), ("val", added.val_json)):
        data = load_coco(path, added.images)
        assert [c.id for c in data.categories] == [24, 25, 26, 27, 28, 31, 32, 33]
        assert data.class_names[2] == "car"
        assert len(data.images) == 3 * len(CITIES[name])
        for number, image in enumerate(data.images):
            ids = city_ids(number % 3)
            with Image.open(instance_ids_of(root, image.file_name)) as picture:
                assert (np.asarray(picture) == ids).all()
            assert data.read_image(image.id).shape == (64, 128, 3)
            annotations, decoded = data.annotations(image.id), data.instances(image.id)
            things = [i for i in np.unique(ids) if (i // 1000 if i >= 1000 else i) in CLASSES]
            assert len(things) == 7  # the caravan is none
            for thing, annotation, mask in zip(things, annotations, decoded.masks, strict=True):
                assert (mask == (ids == thing)).all()
                assert annotation.crowd == (thing < 1000)
                assert annotation.category_id == (thing if thing < 1000 else thing // 1000)
                rows, columns = np.nonzero(mask)
                width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
                assert annotation.bbox == (columns.min(), rows.min(), width, height)
                assert annotation.area == mask.sum()
    assert {f.severity for f in check_dataset(added)} <= {"info", "warning"}


def test_ade20k_read_back_is_the_instances_pixel_by_pixel(tmp_path: Path) -> None:
    root = write_ade20k(tmp_path / "ADEChallengeData2016")
    added = add_converted(tmp_path / "home", "rooms", ade20k(tmp_path))  # its parent does too
    assert added.images == root / "images"
    assert added.cityscapes is None
    data = load_coco(added.val_json, added.val_images)
    assert [c.id for c in data.categories] == list(range(1, 101))
    assert (ROOM_CLASSES[1], ROOM_CLASSES[35], ROOM_CLASSES[100]) == ("bed", "screen door", "flag")
    assert len(set(ROOM_CLASSES.values())) == 100
    for number, image in enumerate(data.images, start=1):
        pixels = room_pixels(number)
        assert image.file_name == f"validation/ADE_val_{number:08d}.jpg"
        annotations = data.annotations(image.id)
        assert [a.category_id for a in annotations] == [1, 1, 100]
        assert not any(a.crowd for a in annotations)
        for one, mask in zip((1, 2, 255), data.instances(image.id).masks, strict=True):
            assert (mask == (pixels[:, :, 1] == one)).all()


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_of_the_reference_encoder(seed: int) -> None:
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 4, (1 + seed, 7)) * generator.integers(0, 2, (1 + seed, 7))
    regions = {int(i): Region(int(i), crowd=False) for i in np.unique(ids)}
    for entry, one in zip(encode_regions(ids, regions), regions, strict=True):
        mask = np.asfortranarray(ids == one, np.uint8)
        assert entry["segmentation"]["counts"] == coco_mask.encode(mask)["counts"].decode()
        assert entry["area"] == mask.sum()
    assert encode_regions(ids, {}) == []


def test_the_same_tree_gives_the_same_files_and_a_taken_name_is_kept(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "root")
    first = _add_city(tmp_path / "home", root)
    before = _contents(first.folder)
    assert before.keys() == {"dataset.json", "train.json", "val.json"}
    with pytest.raises(ValueError, match="'city' exists already; --force"):
        _add_city(tmp_path / "home", root)
    again = _add_city(tmp_path / "home", root, force=True)
    assert again.sha256 == first.sha256
    assert _contents(again.folder) == before
    assert sorted(path.name for path in first.folder.iterdir()) == sorted(before)
    elsewhere = tmp_path / "moved"
    root.rename(elsewhere)
    assert _add_city(tmp_path / "other", elsewhere).sha256 == first.sha256


def test_what_was_converted_before_an_interruption_is_not_converted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_cityscapes(tmp_path / "root")
    whole = _contents(_add_city(tmp_path / "reference", root).folder)
    decoded: list[int] = []
    decode = conversion.decode_map

    def counting(content: bytes, *, mode: str) -> np.ndarray:
        decoded.append(len(content))
        return decode(content, mode=mode)

    def stop(what: str, done: int, total: int, **_: float) -> None:
        if (what, done) == ("reading annotations", 2):
            raise KeyboardInterrupt

    monkeypatch.setattr(conversion, "decode_map", counting)
    home = tmp_path / "home"
    with pytest.raises(KeyboardInterrupt):
        _add_city(home, root, progress=stop)
    assert len(decoded) == 2
    assert list_datasets(home) == ("toycity",)
    for path in (home / "data" / "city").rglob("*.json"):
        json.loads(path.read_text())  # whole
    # A kill may leave a temporary file; a changed map is read again.
    (home / "data/city/parts/.x.json.1.tmp").write_text('[{"category')
    added = _add_city(home, root)
    assert len(decoded) == 3  # the maps of one number are equal: three contents in all
    assert {k: v for k, v in _contents(added.folder).items() if k != "dataset.json"} == {
        k: v for k, v in whole.items() if k != "dataset.json"
    }
    changed = root / "gtFine/val/frankfurt/frankfurt_000000_000019_gtFine_instanceIds.png"
    Image.fromarray(city_ids(9)).save(changed)
    assert _add_city(home, root, force=True).sha256 != added.sha256


def test_a_home_may_move(tmp_path: Path) -> None:
    root = write_cityscapes(tmp_path / "root", images=1)
    added = _add_city(tmp_path / "home", root)
    (tmp_path / "home").rename(tmp_path / "house")
    assert open_dataset(tmp_path / "house", "city").sha256 == added.sha256


def test_progress_tells_of_every_image(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    root = write_cityscapes(tmp_path / "root", images=1)
    _add_city(
        tmp_path, root, progress=lambda what, done, total, **_: told.append((what, done, total))
    )
    for what in ("checking files", "reading annotations", "checking images"):
        assert [entry for entry in told if entry[0] == what] == [(what, n, 3) for n in (1, 2, 3)]
