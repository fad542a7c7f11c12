"""``list``, ``data`` and ``ui``: what they print, and that it is so."""

import json
import os
import sys
from urllib.parse import unquote

import pytest
from PIL import Image

from sskd.data.datasets import list_datasets
from sskd.studies.databases import open_mlflow

FILES = ["--train", "train.json", "--val", "val.json", "--images", "images"]
ADD = ["data", "add", "mine", *FILES, "--unlabeled-images", "more"]


def test_list_shows_ablations_data_sets_and_scales(sskd, own_data):
    assert sskd(*ADD).exit_code == 0
    lines = [line.split() for line in sskd("list").stdout.splitlines() if line]
    first = {line[0]: line for line in lines}
    assert first["negatives"][1:5] == ["table", "4", "4", "4"]
    assert first["label-fractions"][1:5] == ["table", "6", "18", "9"]  # nine are not run
    assert first["efficiency"][1:5] == ["figure", "2", "2", "0"]
    assert ["`sskd", "bench", "models", "--report`", "measures", "efficiency,"] in [
        line[:6] for line in lines
    ]
    assert {"toycity", "mine"} <= first.keys()
    assert set(list_datasets(own_data / "runs")) == {"toycity", "mine"}
    assert {"tiny", "small", "paper"} <= first.keys()


def test_home_comes_from_the_environment_too(sskd, own_data, monkeypatch):
    monkeypatch.setenv("SSKD_HOME", str(own_data / "elsewhere"))
    assert sskd(*ADD).exit_code == 0
    assert (own_data / "elsewhere" / "data" / "mine" / "dataset.json").is_file()
    assert not (own_data / "runs").exists()


def test_own_data_is_added_checked_split_and_shown(sskd, own_data):
    added = sskd(*ADD)
    assert "added mine: 10 training images, 2 classes" in added.stdout
    twice = sskd(*ADD)
    assert twice.exit_code == 2
    assert "--force" in twice.stderr
    assert sskd(*ADD, "--force").exit_code == 0

    assert sskd("data", "check", "mine").exit_code == 0
    split = sskd("data", "split", "mine", "--label-fraction", "0.3").stdout
    assert "mine: 3 labeled and 7 unlabeled images" in split
    assert ["nut", "3"] in [line.split() for line in split.splitlines()]

    (own_data / "list.txt").write_text("train4\nimages/train2.png\n7\n")
    listed = sskd("data", "split", "mine", "--labeled-list", "list.txt").stdout
    assert "mine: 3 labeled and 7 unlabeled images" in listed
    (own_data / "list.txt").write_text("train4\ntrian2\n")
    unknown = sskd("data", "split", "mine", "--labeled-list", "list.txt")
    assert unknown.exit_code == 2
    assert "list.txt: no image 'trian2' in " in unknown.stderr
    assert unknown.stderr.endswith("; did you mean 'train2'?\n")

    shown = sskd("data", "show", "mine", "--count", "2", "--out", "sheet.png")
    assert shown.stdout == "wrote sheet.png\n"
    with Image.open(own_data / "sheet.png") as picture:
        assert picture.width > 64


def test_pseudo_labels_are_held_against_hidden_truth(sskd, own_data):
    assert sskd(*ADD).exit_code == 0
    labels = json.loads((own_data / "train.json").read_text())
    for annotation in labels["annotations"]:  # a nut and a bolt on each of ten images
        annotation["score"] = 0.9 if annotation["image_id"] <= 6 else 0.45
        if annotation["image_id"] > 6 and annotation["category_id"] == 7:
            annotation["segmentation"] = [[0, 0, 9, 0, 9, 9, 0, 9]]
    (own_data / "labels.json").write_text(json.dumps(labels))
    rows = sskd("data", "audit", "mine", "labels.json").stdout.splitlines()
    assert rows[0] == (
        "labels.json: 20 pseudo-labels and 20 instances on 10 images of mine; "
        "one is right from IoU 0.5 on"
    )
    values = [row.split() for row in rows]
    for row in (
        ["all", "20", "20", "80.0", "80.0"],
        ["nut", "10", "10", "100.0", "100.0"],
        ["bolt", "10", "10", "60.0", "60.0"],
        ["0.4", "20", "80.0", "80.0"],
        ["0.5", "12", "100.0", "60.0"],
        ["0.9", "0", "-", "0.0"],
    ):
        assert row in values
    stage = own_data / "runs" / "store" / f"pseudo_labels_adapted-{'5' * 16}"
    stage.mkdir(parents=True)
    (stage / "pseudo_labels.json").write_text(json.dumps(labels))
    key = {"stage": "pseudo_labels_adapted", "key": "5" * 64}
    (stage / "result.json").write_text(json.dumps(key))
    cell = own_data / "runs" / "cells" / ("a" * 16)
    cell.mkdir(parents=True)
    stages = [{"name": key["stage"], "key": key["key"]}, {"name": "transfer", "key": "7" * 64}]
    (cell / "spec.json").write_text(json.dumps({"stages": stages}))
    for name in (str(stage), str(cell), "aaaa"):
        again = sskd("data", "audit", "mine", name).stdout.splitlines()
        assert again[1:] == rows[1:]
    (cell / "spec.json").write_text(json.dumps({"stages": stages[1:]}))
    without = sskd("data", "audit", "mine", "aaaa")
    assert without.exit_code == 2
    assert without.stderr.endswith("this cell has no pseudo-labels\n")


def test_a_data_set_that_would_hurt_training_exits_with_1(sskd, own_data):
    train = json.loads((own_data / "train.json").read_text())
    train["annotations"] = [a for a in train["annotations"] if a["category_id"] == 3]
    (own_data / "train.json").write_text(json.dumps(train))
    assert sskd(*ADD).exit_code == 0
    done = sskd("data", "check", "mine")
    assert done.exit_code == 1
    assert "'bolt' has instances in val only" in done.stdout


@pytest.mark.slow
def test_toycity_can_be_made_ahead(sskd, workplace):
    done = sskd("data", "make", "toycity")
    assert done.exit_code == 0
    assert (workplace / "runs" / "data" / "toycity" / "dataset.json").is_file()


def test_ui_prints_a_link_to_the_comparison_of_each_study(sskd, workplace, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *args: None)
    home = workplace / "runs"
    home.mkdir()
    client = open_mlflow(home)
    ids = {}
    for name, runs in (("sskd/ablate/two@tiny-toycity", 2), ("sskd/one", 1), ("foreign", 2)):
        experiment = client.create_experiment(name)
        found = [
            client.create_run(experiment, start_time=n).info.run_id for n in range(1, runs + 1)
        ]
        for run in found:
            client.set_terminated(run, "FINISHED")
        ids[name] = (experiment, found)
    done = sskd("ui", "--port", "5123")
    assert done.exit_code == 0
    links = [line.strip() for line in done.stdout.splitlines() if "compare-runs" in line]
    assert done.stdout.count("compared:") == len(links) == 1
    assert "runs of ablate/two@tiny-toycity, compared:" in done.stdout
    (experiment, (first, second)) = ids["sskd/ablate/two@tiny-toycity"]
    expected = f'runs=["{second}","{first}"]&experiments=["{experiment}"]'
    assert unquote(links[0]) == f"http://127.0.0.1:5123/#/compare-runs?{expected}"


def test_ui_is_mlflow_the_light_way(sskd, workplace, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "execve", lambda *args: calls.append(args))
    home = workplace / "runs"
    home.mkdir()
    (home / "mlflow.db").write_bytes(b"")
    done = sskd("ui", "--port", "5123")
    assert done.exit_code == 0
    assert "http://127.0.0.1:5123" in done.stdout
    ((program, command, environment),) = calls
    assert program == sys.executable
    text = " ".join(command)
    assert "-m mlflow ui --workers 1 --host 127.0.0.1 --port 5123" in text
    assert f"--backend-store-uri sqlite:///{home}/mlflow.db" in text
    assert str(home).startswith("/")  # four slashes: absolute, whatever the working directory
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
