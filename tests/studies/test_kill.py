import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from fake_cell import STEPS, said, set_options

from sskd.studies.ledger import study_status

SCRIPT = Path(__file__).with_name("launch.py")


def start(home: Path, *, seeds: int, workers: int, **options: bool) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(home), str(seeds), str(workers)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def logged(home: Path) -> int:
    files = [*home.glob("store/*/metrics.jsonl")]
    with suppress(FileNotFoundError):  # a stage is committed between the two looks
        return sum(len(path.read_text().splitlines()) for path in files)
    return 0


def wait_for_metrics(home: Path, process: subprocess.Popen, *, more_than: int) -> None:
    """Until some stage has logged, so that the signal finds the study at work."""
    while process.poll() is None:
        if logged(home) > more_than:
            return
        time.sleep(0.01)


def stop(process: subprocess.Popen, number: signal.Signals) -> None:
    children = psutil.Process(process.pid).children() if process.poll() is None else []
    process.send_signal(number)
    _, complaints = process.communicate(timeout=120)
    expected = -signal.SIGKILL if number == signal.SIGKILL else 130
    assert process.returncode in (expected, 0)
    assert complaints == ""
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "workers outlive their controller"


def statuses(home: Path) -> Counter:
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        return Counter(status for (status,) in database.execute("SELECT status FROM runs"))


def finish(home: Path, *, seeds: int, workers: int) -> str:
    process = start(home, seeds=seeds, workers=workers)
    output, complaints = process.communicate(timeout=300)
    assert (process.returncode, complaints) == (0, "")
    return output


def check(home: Path, *, cells: int) -> None:
    """Every cell and stage done once, every run finished, every metric step once."""
    (status,) = study_status(home)
    assert (status.done, status.running, status.pending, status.failed) == (cells, 0, 0, 0)
    assert statuses(home) == {"FINISHED": cells}
    assert Counter(said(home, "finish")).total() == cells
    assert max(Counter(said(home, "finish")).values()) == 1
    assert max(Counter(said(home, "stage")).values()) == 1
    with closing(sqlite3.connect(home / "mlflow.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        points = database.execute(
            "SELECT run_uuid, key, COUNT(*), COUNT(DISTINCT step), MAX(step) FROM metrics"
            " WHERE key LIKE '%/loss' GROUP BY run_uuid, key"
        ).fetchall()
    assert len(points) == 2 * cells
    assert {point[2:] for point in points} == {(STEPS, STEPS, STEPS)}
    with closing(sqlite3.connect(home / "optuna.db")) as database:
        trials = database.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall()
    assert dict(trials)["COMPLETE"] == cells
    assert "RUNNING" not in dict(trials)
    assert "WAITING" not in dict(trials)


def test_killed_and_interrupted_launches_leave_nothing_behind(home):
    set_options(home, seconds=0.05)
    process = start(home, seeds=1, workers=2)
    wait_for_metrics(home, process, more_than=STEPS + 4)
    stop(process, signal.SIGKILL)  # its workers end with it
    assert statuses(home)["RUNNING"] >= 1  # nobody was left to close it
    (status,) = study_status(home)
    assert (status.running, status.pending + status.done) == (0, 4)

    process = start(home, seeds=1, workers=1)
    wait_for_metrics(home, process, more_than=logged(home))
    stop(process, signal.SIGINT)
    assert "RUNNING" not in statuses(home)
    assert study_status(home)[0].running == 0

    set_options(home)
    assert finish(home, seeds=1, workers=1).splitlines()[-1] == "True 4 0"
    check(home, cells=4)
    # MLflow is not even imported where there is nothing to do.
    assert finish(home, seeds=1, workers=1).splitlines()[-1] == "False 4 0"


def test_a_group_that_is_signalled_twice_has_no_failed_cells(home):
    """Workers leave it to their controller, whoever gets the signal first."""
    set_options(home, seconds=0.05)
    process = start(home, seeds=1, workers=2, start_new_session=True)
    wait_for_metrics(home, process, more_than=4)
    workers = [
        child
        for child in psutil.Process(process.pid).children()
        if "spawn_main" in str(child.cmdline())
    ]
    assert len(workers) == 2
    for worker in workers:
        worker.terminate()
    wait_for_metrics(home, process, more_than=logged(home) + 4)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGTERM)
    output, complaints = process.communicate(timeout=120)
    assert (process.returncode, complaints) == (130, "")
    assert "failed" not in output
    assert "RUNNING" not in statuses(home)
    (status,) = study_status(home)
    assert (status.running, status.failed) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("fresh", [False, True])
def test_ten_signals_at_random_moments(tmp_path, home, workers, fresh):
    """Also while modules are imported and, in a fresh home, while the databases are made."""
    home = tmp_path / "fresh" if fresh else home
    home.mkdir(exist_ok=True)
    set_options(home, seconds=0.03)
    chance = random.Random(workers)
    signals = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]
    for attempt in range(10):
        process = start(home, seeds=2, workers=workers)
        if attempt % 2:
            wait_for_metrics(home, process, more_than=logged(home))
        time.sleep(chance.uniform(0, 3))
        number = chance.choice(signals)
        process.send_signal(number)
        process.communicate(timeout=120)
        if number != signal.SIGKILL and (home / "mlflow.db").exists() and attempt % 2:
            assert "RUNNING" not in statuses(home)
    set_options(home)
    finish(home, seeds=2, workers=workers)
    check(home, cells=8)
