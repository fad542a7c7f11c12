"""A whole cell at the smallest size: computed, shared, resumed to the last bit, stopped in time."""

import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sskd.config import Config, base_for, build_config
from sskd.data import toycity
from sskd.data.datasets import add_dataset
from sskd.engine.errors import RunStopped
from sskd.engine.run import CellResult, plan_cell, run_cell

SMALL_MODEL = {
    "encoder": {"width": 8},
    "head": {"width": 16},
    "decoder": {"queries": 6, "layers": 1, "heads": 2, "width": 16, "feedforward": 16},
    "projection": {"dim": 8, "hidden": 8, "stride": 16},
}
STAGES = ("pretraining", "supervised", "self_training", "transfer", "refinement")
CHANGES: dict[str, Any] = {
    "teacher": SMALL_MODEL,
    "student": SMALL_MODEL,
    "student.decoder.dropout": 0.1,
    "contrast.num_negatives": 4,
    "teacher_contrast.num_negatives": 4,
    "data.label_fraction": 0.5,
    "pseudo_labels.score_threshold": 0.0,
    "pseudo_labels.min_mean": 0.0,
    "set_loss.points": 32,
    "runtime.device": "cpu",
    "runtime.log_every": 1,
    "runtime.checkpoint_every": 2,
    **{f"stages.{name}.steps": 5 for name in STAGES},
    **{f"stages.{name}.labeled_batch": 2 for name in STAGES},
    "stages.self_training.unlabeled_batch": 2,
    "stages.transfer.unlabeled_batch": 2,
}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a small toycity, to be copied."""
    home = tmp_path_factory.mktemp("city")
    counts = toycity.ToycityCounts(source=8, train=24, val=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toycity, "DEFAULT_COUNTS", counts)
        plan_cell(config(), home=home)
    return home


@pytest.fixture
def home(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    counts = toycity.ToycityCounts(source=8, train=24, val=4)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    (tmp_path / "data").symlink_to(city / "data")
    return tmp_path


def config(**changes: Any) -> Config:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return build_config(base_for("tiny", "toycity"), CHANGES | dotted)


def silent(what: str, done: int, total: int, **facts: float) -> None:
    pass


def run(settings: Config, home: Path, progress: Callable[..., None] = silent) -> CellResult:
    threads = torch.get_num_threads()
    try:
        return run_cell(settings, home=home, log=lambda *_: None, progress=progress)
    finally:
        torch.set_num_threads(threads)


def folder(home: Path, name: str) -> Path:
    (found,) = (home / "store").glob(f"{name}-{'[0-9a-f]' * 16}")
    return found


def test_a_cell_yields_the_ap_of_every_model(home: Path) -> None:
    cell = run(config(), home)
    assert list(cell.result["evaluations"]) == list(STAGES)
    assert cell.result["final"]["mask_ap"] == cell.result["evaluations"]["refinement"]["mask_ap"]
    assert all(0 <= ap["mask_ap"] <= 1 for ap in cell.result["evaluations"].values())
    assert not any(stage["reused"] for stage in cell.result["stages"])
    labels = cell.result["pseudo_labels"]["pseudo_labels_adapted"]
    assert sum(labels["per_class"].values()) == labels["labels"] == sum(labels["score_histogram"])
    assert json.loads((cell.folder / "result.json").read_text())["final"] == cell.result["final"]
    assert (cell.folder / "samples.png").stat().st_size > 0
    spec = json.loads((cell.folder / "spec.json").read_text())
    assert spec["config"]["student"]["encoder"]["width"] == 8
    lines = (folder(home, "transfer") / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert {"loss_sup", "loss_semi", "loss_pxl", "margin"} <= json.loads(lines[-1]).keys()


def test_a_second_arm_computes_only_what_differs(home: Path) -> None:
    changes = {"pipeline__final": "transfer"}
    run(config(**changes), home)
    plan = plan_cell(config(**changes, contrast__negatives__score="mask"), home=home)
    assert [s.name for s in plan.stages if not s.done] == ["transfer", "evaluate_transfer"]
    second = run(config(**changes, contrast__negatives__score="mask"), home)
    computed = [s["name"] for s in second.result["stages"] if not s["reused"]]
    assert computed == ["transfer", "evaluate_transfer"]


def test_a_finished_cell_is_not_run_again(home: Path) -> None:
    settings = config(pipeline__teacher="none", pipeline__final="transfer")
    first = run(settings, home)

    def fail(what: str, done: int, total: int, **facts: float) -> None:
        raise AssertionError(what)

    assert run(settings, home, fail).result == first.result


@pytest.mark.parametrize("scope", ["batch", "memory-bank"])
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_killed_run_resumes_to_the_same_bits(
    home: Path, tmp_path_factory: pytest.TempPathFactory, stop: int, scope: str
) -> None:
    settings = config(
        pipeline__teacher="none", pipeline__final="transfer", contrast__negatives__scope=scope
    )
    run(settings, home)
    other = tmp_path_factory.mktemp("killed")
    (other / "data").symlink_to((home / "data").resolve())

    def kill(what: str, done: int, total: int, **facts: float) -> None:
        if (what, done) == ("transfer", stop):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(settings, other, kill)
    run(settings, other)
    assert_same_training(home, other)


def assert_same_training(home: Path, other: Path) -> None:
    one, two = (load_file(folder(h, "transfer") / "weights.safetensors") for h in (home, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    histories = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("time", "images_per_second")}
            for line in (folder(h, "transfer") / "metrics.jsonl").read_text().splitlines()
        ]
        for h in (home, other)
    ]
    assert histories[0] == histories[1]


def test_a_signal_loses_no_step(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = config(
        pipeline__teacher="none",
        pipeline__final="transfer",
        runtime__log_every=2,
        runtime__checkpoint_every=4,
    )
    run(settings, home)
    other = tmp_path_factory.mktemp("stopped")
    (other / "data").symlink_to((home / "data").resolve())

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupted)

    def ask(what: str, done: int, total: int, **facts: float) -> None:
        if (what, done) == ("transfer", 3):
            signal.raise_signal(signal.SIGTERM)

    try:
        with pytest.raises(KeyboardInterrupt):
            run(settings, other, ask)
    finally:
        signal.signal(signal.SIGTERM, before)
    (kept,) = (other / "store").glob("transfer-*.partial/checkpoint.pt")
    assert torch.load(kept, weights_only=True)["step"] == 3
    steps = []

    def watch(what: str, done: int, total: int, **facts: float) -> None:
        if what == "transfer":
            steps.append(done)

    run(settings, other, watch)
    assert steps == [4, 5]
    assert_same_training(home, other)


def test_accumulation_takes_as_many_steps_with_the_same_data(home: Path) -> None:
    changes = {"pipeline__teacher": "none", "pipeline__final": "transfer"}
    cell = run(config(**changes, stages__transfer__accumulation=2), home)
    (stage,) = (s for s in cell.result["stages"] if s["name"] == "transfer")
    assert stage["steps"] == 5


def test_a_stage_with_nothing_to_recompute_says_so_and_trains(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {
        "pipeline__teacher": "supervised",
        "pipeline__final": "transfer",
        "stages__pretraining": None,
        "teacher__encoder": {"name": "tiny-vit", "weights": "none", "width": 8, "depth": 2},
        "teacher__head__name": "dpt",
        "runtime__gradient_checkpointing": True,
    }
    with caplog.at_level(logging.WARNING, logger="sskd"):
        cell = run(config(**changes), home)
    assert list(cell.result["evaluations"]) == ["supervised", "transfer"]
    (said,) = (
        record.getMessage() for record in caplog.records if record.name == "sskd.engine.train"
    )
    assert said == (
        "transfer: runtime.gradient_checkpointing changes nothing here: the student "
        "(tiny-conv, fpn) has no transformer layers that learn and can be computed again"
    )


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(home: Path) -> None:
    settings = config(
        pipeline__teacher="none",
        pipeline__final="transfer",
        stages__transfer__optimizer__learning_rate=1e30,
    )
    with pytest.raises(RunStopped, match="transfer: the loss is not finite at step") as error:
        run(settings, home)
    assert "\n" not in str(error.value)
    (kept,) = (home / "store").glob("transfer-*.partial/failed_batch.pt")
    state = torch.load(kept, weights_only=True)
    assert state["batch"]["weak"].shape == (4, 3, 96, 96)
    assert state["step"] > 0


def test_a_data_set_without_source_cannot_pretrain(home: Path) -> None:
    images = home / "data" / "toycity" / "images"
    other = home / "other"
    annotations = images.parent
    add_dataset(
        other,
        "mine",
        train=annotations / "train.json",
        val=annotations / "val.json",
        images=images,
    )
    with pytest.raises(ValueError, match="'mine' has no source domain") as error:
        run(config(data__name="mine"), other)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scope", ["batch", "other-images", "same-image", "memory-bank"])
@pytest.mark.parametrize("number", [128, 256, 512])
def test_every_pool_trains_with_many_negatives_and_no_warning(
    home: Path, number: int, scope: str
) -> None:
    changes: dict[str, Any] = {
        "contrast__num_negatives": number,
        "contrast__negatives__scope": scope,
        "pipeline__final": "transfer",
        "pipeline__teacher": "none",
    }
    run(config(**changes), home)
    lines = (folder(home, "transfer") / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    assert last["loss_pxl"] > 0
    assert ("bank_age" in last) == (scope == "memory-bank")
