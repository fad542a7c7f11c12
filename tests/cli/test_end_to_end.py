"""The real engine behind the commands, two steps a stage: what it says, not how well it learns."""

import json
import shutil
import subprocess
import sys

import pytest

STAGES = ("pretraining", "supervised", "self_training", "transfer", "refinement")
SETTINGS = [
    *(f"--set=stages.{stage}.steps=2" for stage in STAGES),
    "--set=pseudo_labels.min_mean=0",
    "--label-fraction=0.3",
]


@pytest.mark.slow
def test_ablate_then_everything_that_reads_it(sskd, with_toycity):
    command = ["negatives", "--seeds", "1", *SETTINGS]
    done = sskd("ablate", *command, "--workers", "1")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    first_ap = next(line for line in lines if ", AP " in line)
    assert "evaluate_pretraining" in first_ap
    assert sum("evaluate_transfer, AP" in line for line in lines) == 4
    (report,) = (with_toycity / "reports").glob("tiny-toycity+*/negatives.md")
    text = report.read_bytes()
    assert sskd("report", *command).exit_code == 0
    assert report.read_bytes() == text

    plan = sskd("plan", *command).stdout
    assert "cells: 4, done: 4; stages left: 0" in plan
    fingerprint = next(line.split()[1] for line in plan.splitlines() if "fusion/s0" in line)
    result = json.loads((with_toycity / f"runs/cells/{fingerprint}/result.json").read_text())
    measured = sskd("evaluate", fingerprint[:12])
    assert measured.exit_code == 0, measured.output
    shown = next(line.split()[1] for line in measured.stdout.splitlines() if line[:3] == "AP ")
    assert float(shown) == pytest.approx(100 * result["final"]["mask_ap"], abs=0.051)
    (teacher,) = (with_toycity / "runs" / "store").glob("pretraining-" + "?" * 16)
    again = sskd("evaluate", str(teacher), "--data", "toycity")
    assert again.exit_code == 0, again.output
    assert f"{teacher.name.replace('-', ' (')})" in again.stdout

    trained = sskd("train", *SETTINGS)
    assert trained.exit_code == 0, trained.output
    assert "refinement" in trained.stdout
    assert "supervised, loss" not in trained.stdout  # the ablation's teacher is taken again


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_with_the_same_cells(sskd, with_toycity):
    labels = "--label-fraction=0.5"
    command = ["sweep", "contrast", *SETTINGS[:-1], labels, "--trials"]
    script = (
        "import sys; from sskd.data import toycity; from sskd.cli.app import main;"
        "toycity.DEFAULT_COUNTS = toycity.ToycityCounts(source=4, train=40, val=4); main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command, "3"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "trial-1: " in line:
            process.kill()
            break
    process.communicate()
    assert process.returncode == -9
    done = sskd(*command, "3")
    assert done.exit_code == 0, done.output
    assert "trial-0 seed 1000: AP" in done.stdout
    runs = with_toycity / "runs"
    cells = sorted(path.name for path in (runs / "cells").iterdir())
    specs = [json.loads((runs / "cells" / cell / "spec.json").read_text()) for cell in cells]
    assert {spec["held_out_images"] for spec in specs} == {5}
    assert {spec["labeled_images"] for spec in specs} == {15}

    fresh = with_toycity / "fresh"
    shutil.copytree(runs / "data" / "toycity", fresh / "data" / "toycity")
    again = sskd(*command, "3", "--home", str(fresh))
    assert again.exit_code == 0, again.output
    assert sorted(path.name for path in (fresh / "cells").iterdir()) == cells


@pytest.mark.slow
def test_a_checkpoint_is_not_measured_on_other_classes(sskd, own_data, with_toycity):
    student = ["--set=pipeline.teacher=none", "--set=pipeline.final=transfer"]
    done = sskd("train", *SETTINGS, *student)
    assert done.exit_code == 0, done.output
    added = sskd("data", "add", "mine", "--train=train.json", "--val=val.json", "--images=images")
    assert added.exit_code == 0
    (cell,) = (with_toycity / "runs" / "cells").iterdir()
    wrong = sskd("evaluate", str(cell), "--data", "mine")
    assert wrong.exit_code == 2
    assert "error: mine has the classes nut, bolt; the model predicts person" in wrong.stderr
