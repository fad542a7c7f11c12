import os
import signal
import sqlite3
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from sskd.studies.databases import bootstrap, open_mlflow, open_optuna

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="spares an import a process")


def in_process(work: Callable[[], None]) -> int:
    """Do something in a child that has imported everything already; returns its id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there is no other thread
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def open_both(home: Path) -> None:
    open_mlflow(home).create_run("0")
    study = optuna.create_study(study_name="s", storage=open_optuna(home), load_if_exists=True)
    study.enqueue_trial({"x": 1})


def check(home: Path, *, runs: int) -> None:
    """Both files are whole, and nothing is left beside them."""
    for name in ("mlflow.db", "optuna.db"):
        with closing(sqlite3.connect(home / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(open_mlflow(home).search_runs(["0"])) == runs
    names = {path.name for path in home.iterdir()} - {"artifacts"}
    assert names == {"mlflow.db", "mlflow.db.lock", "optuna.db", "optuna.db.lock"}


@fork
@pytest.mark.parametrize("count", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_several_processes_may_open_a_fresh_home_at_once(tmp_path, databases, count):
    home = tmp_path / "my runs 100%"
    children = [in_process(lambda: open_both(home)) for _ in range(count)]
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count
    check(home, runs=count)


@fork
@pytest.mark.parametrize(
    "delay", [0.5, *(pytest.param(0.2 * i, marks=pytest.mark.slow) for i in range(16))]
)
def test_a_kill_while_the_tables_are_made_does_no_harm(tmp_path, databases, delay):
    home = tmp_path / "runs"
    child = in_process(lambda: open_both(home))
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    runs = len(open_mlflow(home).search_runs(["0"]))
    assert os.waitpid(in_process(lambda: open_both(home)), 0)[1] == 0
    check(home, runs=runs + 1)


def test_a_file_is_made_once_and_whole(tmp_path):
    path, calls = tmp_path / "deep" / "x.db", []

    def make(file: Path) -> None:
        assert not path.exists()
        calls.append(file)
        file.write_text("whole")

    def fail(file: Path) -> None:
        file.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        bootstrap(path, fail)
    assert not path.exists()
    (path.parent / "x.db.init-1-journal").write_text("of a kill")
    bootstrap(path, make)
    bootstrap(path, make)
    assert path.read_text() == "whole"
    assert len(calls) == 1
    assert {p.name for p in path.parent.iterdir()} == {"x.db", "x.db.lock"}


def set_revision(home: Path, revision: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def test_a_file_of_a_newer_mlflow_is_left_alone(home):
    set_revision(home, "0123456789ab")
    with pytest.raises(ValueError, match=r"mlflow.db: written by a newer MLflow") as error:
        open_mlflow(home)
    assert "\n" not in str(error.value)
    assert not list(home.glob("*.bak-*"))


def test_a_file_of_an_older_mlflow_is_copied_before_it_is_migrated(home, monkeypatch):
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    scripts = ScriptDirectory.from_config(utils._get_alembic_config("sqlite://"))
    newest = scripts.get_current_head()
    older = scripts.get_revision(newest).down_revision
    set_revision(home, older)
    migrated = []

    def upgrade(engine) -> None:
        migrated.append(str(engine.url))
        set_revision(home, newest)

    monkeypatch.setattr(utils, "_upgrade_db", upgrade)
    open_mlflow(home)
    (copy,) = home.glob("mlflow.db.bak-*")
    assert copy.name.endswith(older)
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == (older,)
    assert migrated == [f"sqlite:///{home / 'mlflow.db'}"]


@pytest.mark.parametrize(
    ("name", "opened"), [("mlflow.db", open_mlflow), ("optuna.db", open_optuna)]
)
def test_a_broken_file_is_one_line(home, name, opened):
    (home / name).write_bytes(b"not a database, not at all" * 100)
    with pytest.raises(ValueError, match=name) as error:
        opened(home)
    assert "\n" not in str(error.value)


def test_telemetry_is_off_and_the_current_directory_does_not_matter(home, tmp_path, monkeypatch):
    # A folder of MLflow's old file store would change its default store, or make it raise.
    old = tmp_path / "mlruns" / "0"
    old.mkdir(parents=True)
    (old / "meta.yaml").write_text("experiment_id: '0'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_RUN_ID", "somebody-elses")
    client = open_mlflow(home)
    run = client.create_run("0")
    assert run.info.run_id != "somebody-elses"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("SELECT run_uuid FROM runs").fetchall() == [(run.info.run_id,)]
