"""The launching commands around a cell that takes no time: the engine has its own tests."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest

from sskd.cli import running
from sskd.engine.run import plan_cell
from sskd.studies.databases import open_mlflow, open_optuna
from sskd.studies.shown import description

QUICK = ("--seeds", "1", "--label-fraction", "0.3")


@pytest.fixture(scope="session")
def databases(tmp_path_factory):
    """Fresh databases: making them takes seconds."""
    home = tmp_path_factory.mktemp("databases")
    open_mlflow(home)
    storage = open_optuna(home)
    storage.remove_session()
    storage.engine.dispose()
    return home


@pytest.fixture
def quick_cells(with_toycity, databases, monkeypatch):
    """Cells get an AP by their variant at once; the names in the list that this gives fail."""
    home, failing = with_toycity / "runs", []
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(databases / name, home / name)

    def run_cell(config, *, home, log, progress):
        plan = plan_cell(config, home=home)
        score = config.contrast.negatives.score
        if score in failing:
            raise ValueError(f"no luck with {score}")
        ap = {"uniform": 0.29, "mask": 0.306, "class": 0.311, "fusion": 0.322}[score]
        plan.folder.mkdir(parents=True, exist_ok=True)
        progress("transfer", 1, 2, loss=1.5)
        progress("finished evaluate_transfer", 1, 1, reused=0.0, mask_ap=ap, mask_ap50=0.5)
        final = {f"mask_ap{end}": ap for end in ("", "50", "75", "_small", "_medium", "_large")}
        spec = {
            "fingerprint": plan.fingerprint,
            "config": config.model_dump(mode="json"),
            "stages": [],
            "dataset": "toycity",
            "sha256": "d" * 64,
            "split_sha256": "5" * 64,
        }
        result = {
            "fingerprint": plan.fingerprint,
            "final": final,
            "evaluations": {"transfer": final | {"per_class": {"car": ap}}},
            "stages": [],
            "seconds": 1.0,
            "environment": {},
        }
        (plan.folder / "spec.json").write_text(json.dumps(spec))
        (plan.folder / "result.json").write_text(json.dumps(result))
        return SimpleNamespace(result=result)

    monkeypatch.setattr(running, "run_cell", run_cell)
    return failing


def test_a_dry_run_prints_the_plan_and_computes_nothing(sskd, with_toycity):
    before = sorted(with_toycity.rglob("*"))
    done = sskd("ablate", "negatives", "--seeds", "2", "--label-fraction", "0.3", "--dry-run")
    assert done.exit_code == 0, done.output
    assert sorted(with_toycity.rglob("*")) == before
    words = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert words["pretraining"] == ["1", "0", "1", "1"]  # needed, exist, left, shared
    assert words["self_training"] == ["2", "0", "2", "2"]
    assert words["transfer"] == ["8", "0", "8", "0"]
    assert len(words["fusion/s1"][0]) == 16
    assert "cells: 8, done: 0; stages left: 30" in done.stdout
    plan = sskd("plan", "negatives", "--seeds", "2", "--label-fraction", "0.3")
    assert plan.stdout == done.stdout


def test_an_ablation_ends_in_a_table_and_a_report_and_is_not_run_twice(
    sskd, quick_cells, with_toycity
):
    done = sskd("ablate", "negatives", "--workers", "1", *QUICK)
    assert done.exit_code == 0, done.output
    assert "  evaluate_transfer, AP 32.2, AP50 50.0" in done.stdout
    assert "[4/4]" in done.stdout
    *_, uniform, mask, class_, fusion, last = done.stdout.splitlines()
    assert [line.split() for line in (uniform, mask, class_, fusion)] == [
        ["uniform", "29.0"],
        ["mask", "30.6"],
        ["class", "31.1"],
        ["fusion", "32.2"],
    ]
    report = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    assert last == f"report: {report.relative_to(with_toycity)}"
    text = report.read_bytes()
    assert b"sskd ablate negatives --seeds 1 --label-fraction 0.3" in text

    shown = description(with_toycity / "runs", "ablate/negatives@tiny-toycity")
    assert shown.startswith("**Do mask and class scores")
    assert "**Results**" in shown
    assert re.search(r"^\| Mask-only +\| 1 \| 30\.6 ", shown, flags=re.M)

    again = sskd("ablate", "negatives", "--workers", "1", *QUICK)
    assert again.exit_code == 0
    assert description(with_toycity / "runs", "ablate/negatives@tiny-toycity") == shown
    assert again.stdout.count("(finished before)") == 4
    assert again.stdout.splitlines()[-1] == f"{last} (unchanged)"

    assert sskd("report", "negatives", *QUICK).stdout == f"{last} (unchanged)\n"
    report.write_bytes(text + b"edited")
    assert sskd("report", "negatives", *QUICK).stdout == f"{last}\n"
    assert sskd("report", "negatives", *QUICK, "--force").stdout == f"{last}\n"
    assert report.read_bytes() == text
    status = sskd("status").stdout.splitlines()
    assert status[1].split() == ["ablate/negatives@tiny-toycity", "4", "0", "0", "0"]
    assert "cells: 4, done: 4" in sskd("plan", "negatives", *QUICK).stdout


def test_a_failed_cell_costs_only_itself_and_the_exit_code(sskd, quick_cells, with_toycity):
    quick_cells.append("mask")
    done = sskd("ablate", "negatives", "--workers", "1", *QUICK, "--out", "here")
    assert done.exit_code == 3, done.output
    assert "mask seed 0: failed (no luck with mask)" in done.stdout
    assert ["mask", "failed"] in [line.split() for line in done.stdout.splitlines()]
    assert (with_toycity / "here" / "negatives.md").is_file()
    status = sskd("status").stdout
    assert "mask/s0: no luck with mask" in status
    text = (with_toycity / "here" / "negatives.md").read_bytes()
    assert b"Mask-only, seed 0: failed: no luck with mask" in text
    # The report knows from the ledger what the launch knew itself.
    assert sskd("report", "negatives", *QUICK, "--out", "again").exit_code == 0
    assert (with_toycity / "again" / "negatives.md").read_bytes() == text

    quick_cells.clear()
    assert sskd("ablate", "negatives", "--workers", "1", *QUICK, "--out", "here").exit_code == 0


def test_reports_of_all_that_has_begun_and_an_index(sskd, quick_cells, with_toycity):
    command = ("ablate", "negatives", "--workers", "1", *QUICK)
    assert sskd(*command, "--dry-run").exit_code == 0
    empty = sskd("report", *QUICK)
    assert empty.exit_code == 0, empty.output
    folder = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3"
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert "No cell has finished yet." in (folder / "README.md").read_text()

    assert sskd(*command).exit_code == 0
    # Without pictures, which take a second each: the cell of fused negatives is in most tables.
    done = sskd("report", *QUICK, "--format", "csv")
    assert done.exit_code == 0, done.output
    assert (folder / "negatives.csv").is_file()
    assert "(negatives.csv)" in (folder / "README.md").read_text()
    assert not (folder / "decoders.csv").exists()


def test_train_runs_one_cell_and_tracks_it(sskd, quick_cells, with_toycity):
    command = ("train", "--seed", "3", "--set", "tau=0.1", "--label-fraction", "0.3")
    planned = sskd(*command, "--dry-run")
    assert "cells: 1, done: 0" in planned.stdout
    assert "train/s3" in planned.stdout
    done = sskd(*command)
    assert done.exit_code == 0, done.output
    assert "transfer  32.2    32.2" in done.stdout
    (cell,) = (with_toycity / "runs" / "cells").iterdir()
    config = json.loads((cell / "spec.json").read_text())["config"]
    assert (config["seed"], config["contrast"]["temperature"]) == (3, 0.1)
    assert done.stdout.splitlines()[-1] == f"cell: {cell}"
    client = open_mlflow(with_toycity / "runs")
    experiment = client.get_experiment_by_name("sskd/train")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED", done.stderr
    assert run.data.metrics["final/mask_ap"] == pytest.approx(0.322)


def test_an_interrupted_train_is_closed_in_mlflow(sskd, quick_cells, with_toycity, monkeypatch):
    def interrupt(config, *, home, log, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "run_cell", interrupt)
    done = sskd("train", "--label-fraction", "0.3")
    assert done.exit_code == 130
    client = open_mlflow(with_toycity / "runs")
    experiment = client.get_experiment_by_name("sskd/train")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
