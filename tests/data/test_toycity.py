"""Toycity: the same bytes from the same seed, honest annotations, two domains, crowds."""

import itertools
import json
from collections import Counter
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from sskd.data.toycity import ToycityCounts, generate
from sskd.data.toycity_domains import SOURCE, TARGET
from sskd.data.toycity_scene import CATEGORIES, render

SETS = ("source", "train", "val")


def read(folder: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / f"{name}.json").read_text("utf-8"))
    return content


def decode(annotation: dict[str, Any]) -> NDArray[np.bool_]:
    decoded: NDArray[np.uint8] = coco_mask.decode(annotation["segmentation"])
    return decoded.astype(bool)


def by_image(content: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The annotations of each image, images without any included."""
    groups: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        groups[annotation["image_id"]].append(annotation)
    return list(groups.values())


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toycity")
    generate(folder, seed=3, counts=ToycityCounts(source=24, train=24, val=3))
    return folder


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    city: Path, tmp_path: Path
) -> None:
    for name, seed in (("again", 3), ("other", 4)):
        generate(tmp_path / name, seed=seed, counts=ToycityCounts(2, 2, 2))
    first = "images/train_000001.png"
    assert (tmp_path / "again" / first).read_bytes() == (city / first).read_bytes()
    assert (tmp_path / "other" / first).read_bytes() != (city / first).read_bytes()
    generate(tmp_path / "third", seed=3, counts=ToycityCounts(2, 2, 2))
    files = [path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.*")]
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "third" / file).read_bytes()


def test_more_images_do_not_change_the_first_ones(city: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=3, counts=ToycityCounts(source=2, train=3, val=1))
    for name, count in zip(SETS, (2, 3, 1), strict=True):
        few, many = read(tmp_path, name), read(city, name)
        assert few["images"] == many["images"][:count]
        assert few["annotations"] == many["annotations"][: len(few["annotations"])]
        for image in few["images"]:
            file = Path("images") / image["file_name"]
            assert (tmp_path / file).read_bytes() == (city / file).read_bytes()


def test_train_and_val_are_different_pictures(city: Path) -> None:
    images = {(city / f"images/{name}_000001.png").read_bytes() for name in SETS}
    assert len(images) == 3


def test_annotations_agree_with_their_masks(city: Path) -> None:
    for name in SETS:
        content = read(city, name)
        for annotations in by_image(content):
            masks = [decode(annotation) for annotation in annotations]
            assert np.sum(masks, axis=0).max(initial=0) <= 1, "visible masks are disjoint"
            for annotation, mask in zip(annotations, masks, strict=True):
                assert annotation["area"] == mask.sum() >= 12
                rows, columns = np.nonzero(mask)
                left, top = columns.min(), rows.min()
                box = [left, top, columns.max() - left + 1, rows.max() - top + 1]
                assert annotation["bbox"] == box
                assert annotation["iscrowd"] == 0
                assert isinstance(annotation["segmentation"]["counts"], str)


def test_ids_are_unique_over_all_files_and_fit_32_bits(city: Path) -> None:
    contents = [read(city, name) for name in SETS]
    for key in ("images", "annotations"):
        ids = [entry["id"] for content in contents for entry in content[key]]
        assert len(set(ids)) == len(ids)
        assert min(ids) > 0
        assert max(ids) < 2**31


def test_files_and_provenance(city: Path) -> None:
    for name, domain in zip(SETS, ("source", "target", "target"), strict=True):
        content = read(city, name)
        assert content["info"]["domain"] == domain
        assert content["info"]["version"] >= 1
        assert {c["name"]: c["id"] for c in content["categories"]} == CATEGORIES
        for image in content["images"]:
            with Image.open(city / "images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"]) == (96, 96)
                assert picture.mode == "RGB"


def test_every_class_appears_in_both_domains(city: Path) -> None:
    for name in ("source", "train"):
        content = read(city, name)
        images = Counter(
            category
            for annotations in by_image(content)
            for category in {annotation["category_id"] for annotation in annotations}
        )
        assert set(images) == set(CATEGORIES.values())
        common = {category for category, _ in images.most_common(2)}
        assert common == {CATEGORIES["person"], CATEGORIES["car"]}


def test_most_instances_are_of_medium_size(city: Path) -> None:
    sides = [max(annotation["bbox"][2:]) for annotation in read(city, "train")["annotations"]]
    assert np.mean([16 <= side <= 45 for side in sides]) > 0.6
    assert min(sides) < 16
    assert max(sides) > 45
    assert 4 <= len(sides) / 24 <= 9


def test_domains_differ_in_colour_and_in_noise(city: Path) -> None:
    saturation, noise = {}, {}
    for name in ("source", "train"):
        files = [city / "images" / image["file_name"] for image in read(city, name)["images"]]
        images = np.stack([np.asarray(Image.open(file), dtype=np.float64) for file in files])
        saturation[name] = (images.max(axis=3) - images.min(axis=3)).mean()
        # The median of second differences sees the sensor's noise, not the edges.
        noise[name] = np.median(np.abs(np.diff(images, n=2, axis=2)))
    assert saturation["source"] > 1.2 * saturation["train"]
    assert noise["train"] > 1.5 * noise["source"]


def test_things_of_one_class_stand_side_by_side_more_so_in_the_target(city: Path) -> None:
    share = {}
    for name in ("source", "train"):
        pairs = [
            sum(
                first["category_id"] == second["category_id"] and touch(first, second)
                for first, second in itertools.combinations(annotations, 2)
            )
            for annotations in by_image(read(city, name))
        ]
        share[name] = np.mean([count > 0 for count in pairs])
    assert share["train"] > 0.5
    assert share["train"] > share["source"]


def touch(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two visible masks have neighbouring pixels."""
    a, b = np.pad(decode(first), 1), np.pad(decode(second), 1)
    grown = a.copy()
    for axis in (0, 1):
        for step in (-1, 1):
            grown |= np.roll(a, step, axis=axis)
    return bool((grown & b).any())


def test_a_rider_sits_on_a_vehicle_of_its_own() -> None:
    vehicles = {"bicycle", "motorcycle"}
    riders = 0
    for index in range(12):
        generator = np.random.Generator(np.random.PCG64([0, index]))
        names = render(TARGET, size=(96, 96), generator=generator).names
        riders += names.count("rider")
        assert names.count("rider") == 0 or vehicles & set(names)
    assert riders > 0


@pytest.mark.parametrize("size", [(96, 192), (64, 50)])
def test_other_sizes(size: tuple[int, int]) -> None:
    generator = np.random.Generator(np.random.PCG64(1))
    scene = render(SOURCE, size=size, generator=generator)
    assert scene.image.shape == (*size, 3)
    assert scene.ids.shape == size
    assert set(np.unique(scene.ids)) - {0} == set(range(1, len(scene.names) + 1))


def test_progress_counts_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        calls.append((done, total))

    generate(tmp_path, seed=0, counts=ToycityCounts(1, 1, 0), progress=progress)
    assert calls == [(1, 2), (2, 2)]
    assert read(tmp_path, "val")["images"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"size": (96, 16)}, "size must be at least 32x32 pixels, got 96x16"),
        ({"counts": ToycityCounts(1, -2, 1)}, "train must be between 0 and 99999, got -2"),
    ],
)
def test_what_is_out_of_range_is_named(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    valid: dict[str, Any] = {"seed": 0, "counts": ToycityCounts(1, 1, 1), "size": (96, 96)}
    with pytest.raises(ValueError, match=message):
        generate(tmp_path, **(valid | arguments))
    assert not list(tmp_path.iterdir())


def test_a_domain_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TARGET.name = "other"  # type: ignore[misc]
