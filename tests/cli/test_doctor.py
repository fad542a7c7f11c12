import sqlite3
from importlib import metadata

import pytest

from sskd.cli import doctor


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
