"""What would stop a cell after hours is told before anything is computed, in one line."""

import json
from pathlib import Path

import pytest
import torch

from sskd.cli.prepare import check_launch
from sskd.config import base_for, build_config
from sskd.engine.run import CellPlan
from sskd.studies.cells import PlannedCell

CHOSEN = "{name: dinov2-small, weights: %s}"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    """No hub and no GPU."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def launch(sskd, with_toycity):
    """Launches at a scale; gives the one line that says why not."""

    def run(*options, names=("ablate", "negatives", "--seeds", "1")):
        done = sskd(*names, *options)
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert not (with_toycity / "runs" / "store").exists()
        return line

    return run


@pytest.fixture
def teacher(foundation_folders):
    detector, segmenter = foundation_folders
    return ["--set", f"teacher.detector={detector}", "--set", f"teacher.segmenter={segmenter}"]


def test_a_teacher_that_no_hub_gives(launch):
    line = launch("--scale", "small")
    assert "teacher.detector 'openmmlab-community/mm_grounding_dino_tiny" in line
    assert "--local-dir DIR`, bring DIR here and set teacher.detector to it" in line


def test_a_wrong_folder_of_the_teacher(launch, teacher, workplace):
    (workplace / "other").mkdir()
    line = launch("--scale", "small", *teacher, "--set", "teacher.detector=other")
    assert "teacher.detector 'other' cannot be loaded: it must hold config.json" in line


def test_a_detector_without_its_tokenizer(launch, teacher, workplace, foundation_folders):
    (workplace / "bare").mkdir()
    for name in ("config.json", "model.safetensors"):
        (workplace / "bare" / name).write_bytes((foundation_folders[0] / name).read_bytes())
    line = launch("--scale", "small", *teacher, "--set", "teacher.detector=bare")
    assert "'bare' cannot be loaded: it must hold config.json, model.safetensors and the " in line
    assert "tokenizer's files" in line


@pytest.mark.parametrize("command", [("ablate", "negatives", "--seeds", "1"), ("train",)])
def test_an_encoder_of_the_student_that_no_hub_gives(launch, teacher, command):
    encoder = f"student.encoder={CHOSEN % 'facebook/dinov2-small'}"
    line = launch("--scale", "small", *teacher, "--set", encoder, names=command)
    assert "encoder.weights 'facebook/dinov2-small' cannot be loaded: the hub does not answer" in (
        line
    )


def test_an_encoder_in_a_wrong_folder(launch, workplace):
    (workplace / "other").mkdir()
    line = launch("--set", f"student.encoder={CHOSEN % 'other'}")
    assert "encoder.weights 'other' cannot be loaded: it must hold config.json" in line


def test_a_gpu_that_is_not_there(launch):
    line = launch("--set", "runtime.device=cuda")
    assert line == (
        "error: runtime.device 'cuda': no CUDA device is available; use 'cpu' or 'auto'"
    )


def test_a_precision_that_needs_a_gpu(launch):
    line = launch("--set", "numerics.precision=fp16")
    assert line == "error: numerics.precision 'fp16' needs a GPU; use 'bf16' or 'no'"


@pytest.mark.parametrize(("capability", "slow"), [("AVX2", True), ("AVX512", False)])
def test_a_processor_that_imitates_a_precision(monkeypatch, capsys, capability, slow):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)

    def said(**changes):
        settings = {key.replace("__", "."): value for key, value in changes.items()}
        config = build_config(base_for("tiny", "toycity"), settings)
        plan = CellPlan("f", (), Path("f"))
        check_launch([PlannedCell("adapted", 0, config)], [plan], Path())
        return capsys.readouterr().err

    assert said() == said(numerics__precision=False) == ""  # YAML's reading of no
    for key in ("numerics__precision", "evaluation__precision"):
        warned = said(**{key: "bf16"}).startswith("warning: bfloat16 is imitated here and slow; ")
        assert warned is slow


@pytest.mark.parametrize(
    ("image", "category", "says"),
    [
        (77777, 24, "entry 1: image_id 77777 is no training image of the data set"),
        (None, 3, "entry 1: category_id 3 is none of 24, 25, 26"),
    ],
)
def test_pseudo_labels_of_another_data_set(launch, workplace, with_toycity, image, category, says):
    train = json.loads((with_toycity / "runs/data/toycity/train.json").read_text())
    first = train["images"][0]["id"]
    entry = {"segmentation": [[1, 1, 20, 1, 20, 20]], "score": 0.9}
    good = entry | {"image_id": first, "category_id": 24}
    bad = entry | {"image_id": image or first, "category_id": category}
    (workplace / "labels.json").write_text(json.dumps([good, bad]))
    line = launch("--pseudo-labels", "labels.json")
    assert f"labels.json: {says}" in line


def test_who_has_labels_needs_no_teacher(sskd, with_toycity):
    train = json.loads((with_toycity / "runs/data/toycity/train.json").read_text())
    entry = {"category_id": 24, "segmentation": [[1, 1, 20, 1, 20, 20]], "score": 0.9}
    labels = [entry | {"image_id": image["id"]} for image in train["images"]]
    (with_toycity / "labels.json").write_text(json.dumps(labels))
    encoder = "student.encoder={name: tiny-conv, weights: none}"
    options = ["--scale", "small", "--pseudo-labels", "labels.json", "--set", encoder, "--dry-run"]
    done = sskd("train", *options)
    assert done.exit_code == 0, done.output
    assert "pseudo_labels_imported" in done.stdout
