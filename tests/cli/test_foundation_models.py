"""Whether the checkpoints that a launch needs are in reach is known before anything is computed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from sskd.cli.prepare import check_models
from sskd.config import base_for, build_config
from sskd.engine.run import CellPlan, PlannedStage
from sskd.studies.cells import PlannedCell


def launch(teacher: dict[str, Any], *, teacher_done: bool) -> None:
    changes = {"teacher": teacher, "stages.pretraining": None}
    cell = PlannedCell("adapted", 0, build_config(base_for("tiny", "toycity"), changes))
    stages = (
        PlannedStage("supervised", "k", teacher_done, "teacher"),
        PlannedStage("transfer", "k", False, "student"),
    )
    check_models([cell], [CellPlan("f", stages, Path("f"))])


def test_a_checkpoint_out_of_reach_stops_a_launch_with_one_line(
    grounded: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    launch(grounded(), teacher_done=False)
    with pytest.raises(ValueError, match="`hf download a/b --local-dir DIR`") as caught:
        launch(grounded(segmenter="a/b"), teacher_done=False)
    assert str(caught.value).startswith("teacher.segmenter 'a/b' cannot be loaded: ")
    assert "\n" not in str(caught.value)


def test_a_folder_without_weights_stops_a_launch(
    grounded: Callable[..., dict[str, Any]], foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for file in foundation_folders[0].iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"^teacher\.detector .* it must hold config\.json"):
        launch(grounded(detector=str(tmp_path)), teacher_done=False)


def test_a_teacher_that_has_done_its_part_is_not_asked_for(
    grounded: Callable[..., dict[str, Any]],
) -> None:
    launch(grounded(segmenter="a/b"), teacher_done=True)


def test_a_stage_of_the_teacher_is_evaluated_with_the_checkpoint_that_it_was_trained_with(
    sskd: Callable[..., Any],
    with_toycity: Path,
    grounded: Callable[..., dict[str, Any]],
    foundation_folders: tuple[Path, Path],
) -> None:
    segmenter, moved, other = (with_toycity / name for name in ("segmenter", "moved", "other"))
    shutil.copytree(foundation_folders[1], segmenter)
    shutil.copytree(foundation_folders[1], other)
    weights = load_file(other / "model.safetensors")
    weights["mask_decoder.iou_token.weight"] += 0.01
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    asked = ["train", "--set", f"teacher={json.dumps(grounded(segmenter=str(segmenter)))}"]
    for setting in (
        *("stages.pretraining=null", "pipeline.teacher=zero-shot", "pipeline.final=zero-shot"),
        *("runtime.device=cpu", "label-fraction=0.3"),
    ):
        asked += ["--set", setting]
    assert sskd(*asked).exit_code == 0
    (stage,) = (with_toycity / "runs" / "store").glob("pretraining-" + "[0-9a-f]" * 16)
    segmenter.rename(moved)

    def evaluate(*options: str) -> Any:
        return sskd("evaluate", str(stage), *options)

    gone = evaluate()
    assert gone.exit_code == 2
    assert f"teacher.segmenter {str(segmenter)!r}" in gone.stderr
    found = evaluate("--set", f"teacher.segmenter={moved}")
    assert found.exit_code == 0, found.output
    assert "on toycity, 4 images" in found.stdout
    changed = evaluate("--set", f"teacher.segmenter={other}")
    assert changed.exit_code == 2
    assert "saved beside another published checkpoint" in changed.stderr
    wrong = evaluate("--set", "teacher.nms_iou=0.1")
    assert wrong.exit_code == 2
    assert "not where a checkpoint lies; known: " in wrong.stderr
    asked[2] = f"teacher={json.dumps(grounded(segmenter=str(moved)))}"
    again = sskd(*asked, "--dry-run")
    assert again.exit_code == 0
    assert "cells: 1, done: 1; stages left: 0" in again.stdout
