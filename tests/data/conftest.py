"""A small COCO data set on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Write a COCO file and random pictures for it; gives the JSON's path and the images folder."""

    def write_coco(coco: dict[str, Any], name: str = "train") -> tuple[Path, Path]:
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        for image in coco["images"]:
            generator = np.random.default_rng(image["id"])
            pixels = generator.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
            Image.fromarray(pixels).save(folder / image["file_name"])
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(coco), "utf-8")
        return path, folder

    return write_coco
