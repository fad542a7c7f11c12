"""Whether the checkpoints that a launch needs are in reach is known before anything is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
