import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published_trees import write_ade20k, write_cityscapes
from typer.testing import CliRunner

from sskd.cli.app import app
from sskd.data import toycity
from sskd.data.datasets import open_dataset


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty working directory with its own home, and a toycity of few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSKD_HOME", raising=False)
    counts = toycity.ToycityCounts(source=4, train=40, val=4)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    return tmp_path


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """That toycity, drawn once."""
    home = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        counts = toycity.ToycityCounts(source=4, train=40, val=4)
        patch.setattr(toycity, "DEFAULT_COUNTS", counts)
        return open_dataset(home, "toycity").folder


@pytest.fixture
def with_toycity(workplace, drawn) -> Path:
    """A working directory in whose home toycity is drawn already."""
    shutil.copytree(drawn, workplace / "runs" / "data" / "toycity")
    return workplace


@pytest.fixture
def sskd():
    """Run a command line in this process; gives exit code, stdout and stderr."""

    def run(*args: str):
        return CliRunner().invoke(app, list(args), prog_name="sskd", catch_exceptions=False)

    return run


@pytest.fixture
def own_data(workplace) -> Path:
    """What the README's commands name: two classes of rectangles, and two published data sets."""
    write_cityscapes(workplace / "cityscapes", images=1)
    write_ade20k(workplace / "ADEChallengeData2016", images=1)
    for name in ("images", "more"):
        (workplace / name).mkdir()
    generator = np.random.default_rng(0)

    def picture(path: Path) -> None:
        Image.fromarray(generator.integers(0, 256, (48, 64, 3), np.uint8)).save(path)

    for split, count in (("train", 10), ("val", 3)):
        images, annotations = [], []
        for i in range(1, count + 1):
            picture(workplace / "images" / f"{split}{i}.png")
            images.append({"id": i, "file_name": f"{split}{i}.png", "height": 48, "width": 64})
            for j, category in enumerate((3, 7)):
                x, y, w, h = 4 + 30 * j, 5, 20, 25
                annotations.append(
                    {
                        "id": 2 * i + j,
                        "image_id": i,
                        "category_id": category,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
                    }
                )
        categories = [{"id": 3, "name": "nut"}, {"id": 7, "name": "bolt"}]
        coco = {"images": images, "annotations": annotations, "categories": categories}
        (workplace / f"{split}.json").write_text(json.dumps(coco))
    picture(workplace / "more" / "a.png")
    return workplace
