"""The benchmark's own AP: what cityscapesscripts says, of our export, by hand and directly."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from official_script import run_directly
from PIL import Image
from published_trees import SIZE, city_ids, write_cityscapes

from sskd.config import EvaluationConfig
from sskd.data.cityscapes import CLASSES, cityscapes
from sskd.data.coco import CocoData, load_coco
from sskd.data.conversion import add_converted
from sskd.data.datasets import DataSet
from sskd.engine.cityscapes import Exporter, check_official, official_ap
from sskd.engine.evaluate import evaluate
from sskd.types import Predictions

CONFIG = EvaluationConfig(
    short_side=64, window=None, max_dets=100, mask_threshold=0.5, cityscapes=True
)
RANK = {label: rank for rank, label in enumerate(CLASSES)}


@pytest.fixture
def city(tmp_path: Path) -> DataSet:
    root = write_cityscapes(tmp_path / "root")
    return add_converted(tmp_path / "home", "city", cityscapes(root))


def val(dataset: DataSet) -> CocoData:
    return load_coco(dataset.val_json, dataset.val_images)


class Guessing(FakeModel):
    """Says the true instances of each val image in turn, more or less, and things that are not."""

    def __init__(self, *, exact: bool) -> None:
        super().__init__()
        self.number, self.exact = 0, exact

    def forward(self, images: torch.Tensor, *, embeddings: bool) -> Predictions:
        parts = [self._guess() for _ in images]
        most = max(len(masks) for masks, _ in parts)
        masks = torch.full((len(parts), most, *SIZE), -20.0)
        classes = torch.zeros(len(parts), most, len(CLASSES) + 1)
        classes[..., -1] = 30.0
        for k, (mask, label) in enumerate(parts):
            masks[k, : len(mask)], classes[k, : len(mask)] = mask, label
        return Predictions(masks, classes, None, ())

    def _guess(self) -> tuple[torch.Tensor, torch.Tensor]:
        ids = city_ids(self.number)
        generator = np.random.default_rng(self.number)
        self.number += 1
        things = [(one // 1000, ids == one) for one in np.unique(ids) if one >= 24000]
        guesses = [(label, mask) for label, mask in things if label in CLASSES]
        if not self.exact:
            guesses = [
                (
                    label,
                    np.roll(mask, (generator.integers(-3, 4), generator.integers(-2, 3)), (0, 1)),
                )
                for label, mask in guesses
            ]
            guesses += [(26, ids == 26), (24, ids == 7), (24, ids == 24000 + (self.number - 1) % 3)]
        masks = torch.stack([torch.from_numpy(mask).float() * 40 - 20 for _, mask in guesses])
        logits = torch.full((len(guesses), len(CLASSES) + 1), -9.0)
        for row, (label, _) in enumerate(guesses):
            logits[row, RANK[label]] = float(generator.uniform(0, 6)) if not self.exact else 9.0
            logits[row, -1] = 0.0
        return masks, logits


def export(dataset: DataSet, folder: Path, *, exact: bool) -> tuple[CocoData, Exporter]:
    data = val(dataset)
    exporter = Exporter(data, folder)
    evaluate(Guessing(exact=exact), data, config=CONFIG, device="cpu", export=exporter)
    return data, exporter


def test_the_benchmarks_own_script_gives_the_ap_that_we_give(city: DataSet, tmp_path: Path) -> None:
    data, exported = export(city, tmp_path / "predictions", exact=False)
    ours = official_ap(data, exported, check_official(city))
    theirs = run_directly(city.cityscapes, exported.folder, tmp_path / "theirs")
    assert 0.1 < ours.ap < ours.ap50 < 0.9
    assert ours.ap == pytest.approx(theirs["allAp"], abs=1e-6)
    assert ours.ap50 == pytest.approx(theirs["allAp50%"], abs=1e-6)
    for name, value in ours.per_class.items():
        expected = theirs["classes"][name]["ap"]
        assert (value is None) == (expected != expected)
        assert value is None or value == pytest.approx(expected, abs=1e-6)
    assert ours.per_class["truck"] is None
    assert not list(tmp_path.glob("*.json"))  # the script's own files are not left anywhere


def test_true_instances_are_worth_one_by_both_evaluators(city: DataSet, tmp_path: Path) -> None:
    data = val(city)
    exported = Exporter(data, tmp_path / "predictions")
    result = evaluate(Guessing(exact=True), data, config=CONFIG, device="cpu", export=exported)
    told = []
    official = official_ap(
        data, exported, city.cityscapes, progress=lambda what, done, total, **_: told.append(done)
    )
    assert result.mask_ap == pytest.approx(1)
    # The two sizes that the benchmark does not look at: one pixel, and one row of pixels.
    assert official.per_class["person"] == pytest.approx(1)
    assert official.per_class["car"] == pytest.approx(1)
    assert told == [1, 2, 3]
    keys = official.to_dict()
    assert set(keys) == {"cityscapes_ap", "cityscapes_ap50", "cityscapes_per_class"}


def test_the_export_is_in_the_benchmarks_format(city: DataSet, tmp_path: Path) -> None:
    _, exported = export(city, tmp_path / "predictions", exact=True)
    names = sorted(path.name for path in exported.folder.glob("*.txt"))
    assert names == [f"frankfurt_{n:06d}_000019.txt" for n in range(3)]
    ids = city_ids(1)
    found = {}
    for line in (exported.folder / names[1]).read_text().splitlines():
        path, label, score = line.split(" ")
        assert 0 < float(score) <= 1
        with Image.open(exported.folder / path) as picture:
            found[int(label), float(score)] = np.asarray(picture.convert("L")) != 0
    masks = [(label, mask) for (label, _), mask in found.items()]
    assert (26, True) in [(label, bool((mask == (ids == 26000)).all())) for label, mask in masks]
    again, exported = export(city, tmp_path / "predictions", exact=True)  # over an earlier one
    (exported.folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="holds other files than predictions; name a new folder"):
        Exporter(again, exported.folder)
    assert (exported.folder / "thesis.tex").exists()


def test_what_is_missing_is_told_in_a_line(
    city: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="'city' is not made by sskd data add-cityscapes"):
        check_official(replace(city, cityscapes=None))
    with pytest.raises(ValueError, match="there is no gtFine in it any more"):
        check_official(replace(city, cityscapes=tmp_path))
    data, exported = export(city, tmp_path / "predictions", exact=True)
    with pytest.raises(ValueError, match=r"no such id map \(3 of 3 are missing\)"):
        official_ap(data, exported, tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"cityscapesscripts; run: pip install 'sskd\[cityscapes"):
        check_official(city)
