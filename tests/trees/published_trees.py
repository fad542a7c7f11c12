"""Small Cityscapes and ADE20K trees in the publishers' own formats."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (64, 128)
CITIES = {"train": ("aachen", "zurich"), "val": ("frankfurt",)}


def city_ids(seed: int) -> np.ndarray:
    """Official ids: a car in two parts, people, groups, a caravan, a bicycle of one row."""
    ids = np.full(SIZE, 7, np.uint16)
    ids[:20] = 23
    ids[30:50, 10:40] = 26000
    ids[30:50, 22:26] = 17  # a pole that cuts the car in two
    ids[10:60, 60:70] = 24000 + seed % 3
    ids[12:58, 71:80] = 24005
    ids[40:52, 82:100] = 24  # a crowd of people
    ids[0:8, 120:128] = 26  # a group of cars in a corner
    ids[55:63, 100:120] = 29000
    ids[63, :] = 33001
    ids[5 + seed, 50] = 32000  # one pixel
    return ids


def _colours(ids: np.ndarray) -> np.ndarray:
    """Each id in a colour of its own, so that there is something to learn."""
    ids = ids.astype(np.int64)
    return np.stack([ids * factor % 199 for factor in (37, 71, 113)], axis=-1).astype(np.uint8)


def write_cityscapes(root: Path, *, images: int = 3) -> Path:
    """``images`` a city, two cities for training and one for validation."""
    for name, cities in CITIES.items():
        for city in cities:
            pictures = root / "leftImg8bit" / name / city
            maps = root / "gtFine" / name / city
            pictures.mkdir(parents=True, exist_ok=True)
            maps.mkdir(parents=True, exist_ok=True)
            for number in range(images):
                stem = f"{city}_{number:06d}_000019"
                generator = np.random.default_rng([number, *stem.encode()])
                ids = city_ids(number)
                noise = generator.integers(0, 56, (*SIZE, 3), np.uint8)
                Image.fromarray(_colours(ids) + noise).save(pictures / f"{stem}_leftImg8bit.png")
                Image.fromarray(ids).save(maps / f"{stem}_gtFine_instanceIds.png")
                Image.fromarray(city_ids(0).astype(np.uint8)).save(
                    maps / f"{stem}_gtFine_labelIds.png"  # lies beside it, is not read
                )
    return root


def room_pixels(seed: int) -> np.ndarray:
    """R class, G instance: two beds, one of them in two parts, a flag, and unnumbered lamps."""
    pixels = np.zeros((40 + seed, 60, 3), np.uint8)
    pixels[5:15, 5:25, :2] = (1, 1)
    pixels[5:15, 30:50, :2] = (1, 2)
    pixels[5:15, 38:40] = 0
    pixels[20:39, 0:9, :2] = (100, 255)
    pixels[20:39, 20:29, :2] = (19, 0)
    return pixels


def write_ade20k(root: Path, *, images: int = 2) -> Path:
    """``images`` for training and for validation each."""
    for name, short in (("training", "train"), ("validation", "val")):
        for part in ("images", "annotations_instance"):
            (root / part / name).mkdir(parents=True, exist_ok=True)
        for number in range(1, images + 1):
            stem = f"ADE_{short}_{number:08d}"
            pixels = room_pixels(number)
            Image.fromarray(pixels * 2).save(root / "images" / name / f"{stem}.jpg")
            Image.fromarray(pixels).save(root / "annotations_instance" / name / f"{stem}.png")
    return root
