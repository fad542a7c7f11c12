"""A segmenter that says what it is told, and small COCO data sets on the disk."""

import json

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from PIL import Image
from pycocotools import mask as coco_mask
from torch import nn

from sskd.data.coco import load_coco
from sskd.types import Predictions


class ScriptedSegmenter(FakeModel):
    """Gives prepared (mask logits, class logits), image after image, whatever the images show."""

    def __init__(self, script):
        super().__init__()
        self.script = list(script)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.learning = nn.Dropout()
        self.inputs = []

    def forward(self, images, *, embeddings=True):
        assert not embeddings
        assert not any(module.training for module in self.modules())
        assert not torch.is_grad_enabled()
        self.inputs.append(images.clone())
        parts = [self.script.pop(0) for _ in images]
        return Predictions(
            torch.stack([mask for mask, _ in parts]), torch.stack([c for _, c in parts]), None, ()
        )


@pytest.fixture
def scripted():
    return ScriptedSegmenter


@pytest.fixture
def say():
    """Logits of queries that mean a mask (at the logits' resolution), a class and a probability."""

    def logits(instances, *, grid, num_classes, sharpness=20.0):
        masks, classes = [], []
        for mask, index, probability in instances:
            masks.append((torch.as_tensor(mask).float() * 2 - 1) * sharpness)
            rest = (1 - probability) / num_classes
            row = torch.full((num_classes + 1,), rest)
            row[index] = probability
            classes.append(row.log())
        if not masks:
            return torch.full((1, *grid), -sharpness), torch.zeros(1, num_classes + 1)
        return torch.stack(masks), torch.stack(classes)

    return logits


@pytest.fixture
def coco_data(tmp_path):
    """``make(images, annotations, categories)`` writes pictures and a JSON and loads it."""

    def make(sizes, annotations, categories, name="data"):
        """``sizes``: id to (h, w); annotations: (image id, category id, mask, crowd)."""
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for image_id, (height, width) in sizes.items():
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{image_id}.png")
        entries = []
        for number, (image_id, category_id, mask, crowd) in enumerate(annotations):
            rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
            entries.append(
                {
                    "id": number,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                    "area": int(mask.sum()),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": int(crowd),
                }
            )
        file = folder / "instances.json"
        file.write_text(
            json.dumps(
                {
                    "images": [
                        {"id": i, "file_name": f"{i}.png", "height": h, "width": w}
                        for i, (h, w) in sizes.items()
                    ],
                    "categories": [{"id": i, "name": n} for i, n in categories.items()],
                    "annotations": entries,
                }
            )
        )
        return load_coco(file, folder)

    return make


@pytest.fixture
def box():
    """``box(h, w, top, left, height, width)``: a rectangle as a mask."""

    def draw(h, w, top, left, height, width):
        mask = np.zeros((h, w), bool)
        mask[top : top + height, left : left + width] = True
        return mask

    return draw
