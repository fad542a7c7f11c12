"""A whole cell on a Cityscapes tree, with both evaluators."""

from pathlib import Path
from typing import Any

import pytest
import torch
from published_trees import write_cityscapes

from sskd.config import Config, base_for, build_config
from sskd.data.cityscapes import cityscapes
from sskd.data.conversion import add_converted
from sskd.engine.run import plan_cell, run_cell

CHANGES: dict[str, Any] = {
    "student": {
        "encoder": {"name": "tiny-conv", "weights": "none", "width": 8},
        "head": {"width": 16},
        "decoder": {"queries": 6, "layers": 1, "heads": 2, "width": 16, "feedforward": 16},
    },
    "views.crop": [32, 32],
    "evaluation.short_side": 32,
    "pipeline.teacher": "none",
    "pipeline.final": "transfer",
    "data.label_fraction": 1.0,
    "set_loss.points": 32,
    "runtime.device": "cpu",
    "stages.transfer": {"steps": 1, "labeled_batch": 2, "unlabeled_batch": 0, "contrast": False},
}


def config(data: str, **changes: object) -> Config:
    own = {key.replace("__", "."): value for key, value in changes.items()}
    return build_config(base_for("tiny", data), CHANGES | own)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    add_converted(tmp_path, "city", cityscapes(write_cityscapes(tmp_path / "root")))
    return tmp_path


def test_both_evaluators_measure_the_same_model(home: Path) -> None:
    told: dict[str, dict[str, float]] = {}

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        told[what] = facts

    threads = torch.get_num_threads()
    both = config("city", evaluation__cityscapes=True)
    cell = run_cell(both, home=home, log=lambda *_: None, progress=progress)
    alone = run_cell(config("city"), home=home, log=lambda *_: None, progress=progress)
    torch.set_num_threads(threads)
    final = cell.result["final"]
    assert 0 <= final["cityscapes_ap"] <= final["cityscapes_ap50"] <= 1
    per_class = cell.result["evaluations"]["transfer"]["cityscapes_per_class"]
    assert list(per_class)[:3] == ["person", "rider", "car"]
    assert per_class["truck"] is None
    assert "Cityscapes' evaluation" in told
    assert alone.fingerprint != cell.fingerprint
    assert alone.result["final"] == {k: v for k, v in final.items() if "city" not in k}
    reused = {stage["name"]: stage["reused"] for stage in alone.result["stages"]}
    assert reused == {"transfer": True, "evaluate_transfer": False}
    assert not list((home / "store").rglob("*.txt"))  # no file a detection is kept


def test_a_data_set_that_is_not_cityscapes_is_refused_before_anything_is_trained(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sskd.data import toycity

    counts = toycity.ToycityCounts(source=1, train=4, val=1)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    with pytest.raises(ValueError, match="'toycity' is not made by sskd data add-cityscapes"):
        plan_cell(config("toycity", evaluation__cityscapes=True), home=home)
