"""The whole method on a Cityscapes tree by commands alone, with the real classes of every model.

The checkpoints are tiny and random, saved as published ones are. A random detector finds rubbish:
the thresholds are opened, so that there are pseudo-labels, and the guards stay as they are. The
refinement is long enough for a student to learn the coloured rectangles.
"""

import json
import re

import pytest
from official_script import run_directly
from published_trees import write_cityscapes

from sskd.config import load_scale

pytestmark = pytest.mark.usefixtures("one_thread")

SETTINGS = {
    "teacher.detector_size": "[64, 96]",
    "teacher.box_threshold": "0.0",
    "teacher.max_detections": "5",
    "teacher.projection": "{dim: 8, hidden: 16}",
    "pseudo_labels.score_threshold": "0.0",
    "student.encoder.name": "dinov2-small",
    "student.head": "{name: dpt, width: 32}",
    "student.decoder": "{queries: 10, layers: 2, heads: 2, width: 32, feedforward: 32, dropout: 0}",
    "student.projection": "{dim: 8, hidden: 16}",
    "contrast.num_negatives": "8",
    "teacher_contrast.num_negatives": "8",
    "set_loss.points": "256",
    "views.crop": "[64, 128]",
    "views.scale": "[1, 1]",
    "evaluation": "{short_side: 64, cityscapes: true}",
    "stages.supervised.steps": "2",
    "stages.self_training.steps": "2",
    "stages.transfer.steps": "2",
    "stages.refinement": "{steps: 50, labeled_batch: 4}",
    "stages.refinement.optimizer": "{learning_rate: 3e-3, encoder_factor: 1.0, clip_norm: 1.0}",
    "runtime": "{device: cpu, data_workers: 0}",
    "numerics.threads": "1",
}
ARMS = ("full", "no-refinement", "no-adaptation", "distillation-only", "no-distillation")


@pytest.mark.slow
def test_the_stages_of_the_method_on_cityscapes(sskd, workplace, foundation_folders, dinov2_folder):
    root = write_cityscapes(workplace / "city")
    assert sskd("data", "add-cityscapes", "city").exit_code == 0
    detector, segmenter = foundation_folders
    settings = SETTINGS | {
        "teacher.detector": str(detector),
        "teacher.segmenter": str(segmenter),
        "student.encoder.weights": str(dinov2_folder),
    }
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    base = ["--scale", "small", "--data", "cityscapes", "--seeds", "1", "--label-fraction", "0.5"]
    command = ["stages", *base, *chosen]
    done = sskd("ablate", *command, "--workers", "1")
    assert done.exit_code == 0, done.output
    table = done.stdout.splitlines()[-len(ARMS) - 1 :]
    assert tuple(line.split()[0] for line in table[:-1]) == ARMS
    assert "failed" not in done.stdout
    made = re.findall(r"(pseudo_labels_\w+), labels per image ([\d.]+)", done.stdout)
    assert {name for name, _ in made} == {
        *("pseudo_labels_zero_shot", "pseudo_labels_supervised", "pseudo_labels_adapted"),
    }
    assert all(float(count) > 0 for _, count in made)

    (report,) = (workplace / "reports").glob("small-cityscapes+*/stages.md")
    text = report.read_text()
    assert "AP is COCO mask AP as pycocotools defines it, computed by faster-coco-eval" in text
    assert (
        "Cityscapes AP is the benchmark's own, of the same detections, by cityscapesscripts" in text
    )
    assert "The paper's levels come from another scale and other settings: compare" in text
    for deviation in load_scale("small")["deviations"]:
        assert (f"- {deviation}" in text) is not deviation.startswith("Data: "), deviation
    assert "`student.encoder.name` dinov2-small (efficientnet-lite0)" in text
    assert "50 % of the training images labeled (split seed 0): 3, beside 3 unlabeled" in text
    assert "Missing cells" not in text

    cells = {path.name: path for path in (workplace / "runs" / "cells").iterdir()}
    results = {name: json.loads((path / "result.json").read_text()) for name, path in cells.items()}
    best = max(results, key=lambda name: results[name]["final"]["cityscapes_ap"])
    measured = sskd("evaluate", best, "--cityscapes-results", "predictions")
    assert measured.exit_code == 0, measured.output
    said = re.search(r"AP ([\d.]+), AP50 ([\d.]+)$", measured.stdout.strip())
    theirs = run_directly(root, workplace / "predictions", workplace / "theirs")
    printed = [float(value) for value in said.groups()]
    assert printed == pytest.approx([theirs["allAp"], theirs["allAp50%"]], abs=1e-6)
    assert results[best]["final"]["cityscapes_ap"] == pytest.approx(theirs["allAp"], abs=1e-6)
    assert theirs["allAp"] > 0.1  # of something that was learned, not of nothing

    store = {path: path.stat().st_mtime_ns for path in (workplace / "runs/store").rglob("*.*")}
    content = report.read_bytes()
    again = sskd("ablate", *command, "--workers", "1")
    assert again.exit_code == 0, again.output
    assert again.stdout.count("finished before") == len(ARMS)
    assert store == {
        path: path.stat().st_mtime_ns for path in (workplace / "runs/store").rglob("*.*")
    }
    assert "stages left: 0" in sskd("plan", *command).stdout
    assert sskd("report", *command).exit_code == 0
    assert report.read_bytes() == content
