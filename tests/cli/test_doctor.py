import json
import shutil
import sqlite3
from importlib import metadata

import pytest

from sskd.cli import doctor, reach


def test_a_sound_installation_exits_with_0(sskd):
    done = sskd("doctor")
    assert done.exit_code == 0, done.stdout
    assert "fault" not in done.stdout
    for name in ("python", "torch", "typer", "threads", "home", "mlflow.db", "disk"):
        assert any(line.split()[0] == name for line in done.stdout.splitlines())


def test_looking_makes_nothing(sskd, workplace):
    sskd("doctor", "--home", "new/home")
    assert list(workplace.iterdir()) == []


def test_a_broken_database_is_a_fault_and_a_sound_one_is_not(sskd, workplace):
    home = workplace / "runs"
    home.mkdir()
    with sqlite3.connect(home / "optuna.db") as connection:
        connection.execute("create table t (a)")
    connection.close()
    (home / "mlflow.db").write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 16)
    done = sskd("doctor")
    assert done.exit_code == 1
    states = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}
    assert states["mlflow.db"] == "fault"
    assert states["optuna.db"] == "ok"


def test_a_missing_package_is_a_fault_with_its_command(sskd, monkeypatch):
    real = metadata.version

    def version(name: str) -> str:
        if name == "kornia":
            raise metadata.PackageNotFoundError(name)
        if name == "optuna":
            return "4.0.0"
        return real(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    done = sskd("doctor")
    assert done.exit_code == 1
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "pip install 'kornia>=" in lines["kornia"]
    assert "4.0.0, but" in lines["optuna"]


def test_fewer_cores_than_threads_are_a_warning():
    assert doctor._threads(2, 1).state == "warning"
    check = doctor._threads(2, 7)
    assert check.state == "ok"
    assert "--workers up to 3" in check.detail


@pytest.mark.parametrize("free", [1024, 100 * 1024**3])
def test_a_nearly_full_disk_is_a_warning(monkeypatch, tmp_path, free):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("U", (), {"free": free})())
    check = doctor._disk(tmp_path / "not" / "there")
    assert check.state == ("warning" if free == 1024 else "ok")


def rows(done):
    lines = (line.split(maxsplit=2) for line in done.stdout.splitlines())
    return {line[0]: line[1:] for line in lines if len(line) == 3}


def test_what_a_launch_needs_is_looked_for_when_it_is_named(sskd, foundation_folders):
    names = ("detector", "segmenter")
    folders = [f"teacher.{n}={f}" for n, f in zip(names, foundation_folders, strict=True)]
    asked = ("doctor", "--scale", "small", "--set", "student.encoder.weights=none")
    done = sskd(*asked, "--set", folders[0], "--set", folders[1])
    assert done.exit_code == 0, done.stdout
    assert rows(done)["teacher.detector"] == ["ok", f"{foundation_folders[0]}, in this folder"]
    assert rows(done)["student"][0] == "ok"
    assert "toycity, drawn on first use" in done.stdout
    swapped = [f"teacher.{n}={f}" for n, f in zip(names, foundation_folders[::-1], strict=True)]
    done = sskd(*asked, "--set", swapped[0], "--set", swapped[1])
    assert done.exit_code == 2
    assert "holds 'sam2_video' weights" in " ".join(rows(done)["teacher"])


def test_what_a_launch_would_not_find_is_one_line_each_and_exit_code_2(
    sskd, workplace, foundation_folders, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "cache"))
    cut = workplace / "cut"
    shutil.copytree(foundation_folders[1], cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    done = sskd("doctor", "--scale", "paper", "--set", f"teacher.segmenter={cut}")
    assert done.exit_code == 2
    found = rows(done)
    assert found["teacher.detector"][0] == "missing"
    fetch = "run `hf download openmmlab-community/mm_grounding_dino_large_all`, or"
    assert fetch in found["teacher.detector"][1]
    assert found["teacher.segmenter"] == [
        "missing",
        f"{cut}, in this folder, lacks a part of model.safetensors",
    ]
    assert "set student.encoder.weights to it" in found["student.encoder.weights"][1]
    assert "unknown data set 'cityscapes'" in done.stdout
    listed = "data.labeled_list=lists/{percent}.txt"
    done = sskd("doctor", "--data", "toycity", "--set", listed, "--set", "label-fraction=0.05")
    assert done.exit_code == 2
    assert rows(done)["data.labeled_list"] == ["missing", "lists/5.txt: no such file"]
    (workplace / "lists").mkdir()
    (workplace / "lists" / "5.txt").write_text("1\n")
    assert sskd("doctor", "--set", listed, "--set", "label-fraction=0.05").exit_code == 0


def test_a_half_fetched_checkpoint_in_the_hubs_cache_is_not_there(
    workplace, foundation_folders, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(workplace / "cache"))
    place = workplace / "cache" / "models--owner--name"
    snapshot = place / "snapshots" / ("1" * 40)
    shutil.copytree(foundation_folders[1], snapshot)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("1" * 40)
    assert reach._checkpoint("teacher.segmenter", "owner/name") == (
        "teacher.segmenter",
        "ok",
        "owner/name, in the hub's cache",
    )
    index = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    (snapshot / "model.safetensors").rename(snapshot / "model-1-of-2.safetensors")
    check = reach._checkpoint("teacher.segmenter", "owner/name")
    assert check.state == "missing"
    assert "lacks model-2-of-2.safetensors: run `hf download owner/name` again" in check.detail
