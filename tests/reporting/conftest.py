"""An ablation, a home without cells, and a data set of three images."""

from pathlib import Path

import numpy as np
import pytest
from made_home import SIZE, Home, dump, encode
from PIL import Image

from sskd.data.datasets import add_dataset
from sskd.studies.declaration import Ablation, Variant

PAPER = {"uniform": 29.4, "mask": 30.6, "class": 31.1, "fusion": 32.2}


@pytest.fixture
def ablation() -> Ablation:
    return Ablation.model_validate(
        {
            "name": "negatives",
            "path": Path("experiments/negatives.yaml"),
            "question": "Which negatives?",
            "source": {"paper": "arXiv 2604.03841", "table": 4, "setting": "Cityscapes val"},
            "claim": "All three stay below their fusion.",
            "base": "student-transfer",
            "variants": {
                name: Variant(
                    label=name.capitalize(),
                    changes={"contrast.negatives.score": name},
                    paper={"mask_ap": ap},
                )
                for name, ap in PAPER.items()
            },
            "reference": "fusion",
            "expected_order": ("fusion", "class", "mask", "uniform"),
            "diagnostics": ("margin", "false_negative_rate"),
            "notes": ("Uniform lies below no contrast at all.",),
        }
    )


@pytest.fixture
def home(tmp_path: Path, ablation: Ablation) -> Home:
    return Home(tmp_path / "runs", ablation)


@pytest.fixture
def street(home: Home, tmp_path: Path) -> str:
    """A data set of three images with three cars each; its hash."""
    folder = tmp_path / "street"
    folder.mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in (1, 2, 3):
        name = f"{image_id}.png"
        pixels = rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
        images.append({"id": image_id, "file_name": name, "height": SIZE, "width": SIZE})
        for number, mask in enumerate(
            (Home.box(4, 4, 16, 16), Home.box(26, 24, 20, 10), Home.box(2, 40, 8, 6))
        ):
            annotations.append(
                {
                    "id": 10 * image_id + number,
                    "image_id": image_id,
                    "category_id": 26,
                    "segmentation": encode(mask),
                    "area": int(mask.sum()),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": 26, "name": "car"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    dump(folder / "all.json", content)
    both = folder / "all.json"
    dataset = add_dataset(home.path, "street", train=both, val=both, images=folder)
    return dataset.sha256
