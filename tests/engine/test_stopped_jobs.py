"""A scheduler's signal goes to all processes of a job, often more than once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sskd.engine.checkpoint import load_checkpoint

LIMIT_SECONDS = 300.0
"""For a machine that is busy with other work."""


class Job:
    """``stopped.py`` in a process group of its own."""

    def __init__(self, folder: Path, *args: Path) -> None:
        self.folder = folder
        script = Path(__file__).with_name("stopped.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder), *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # What never comes must not be waited for: without the job, the pipe ends.
        self.limit = threading.Timer(LIMIT_SECONDS, self.signal_all, [signal.SIGKILL])
        self.limit.daemon = True
        self.limit.start()

    def read(self, word: str) -> str:
        """What follows ``word`` on the next line that begins with it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(f"{word} "):
                return line.removeprefix(word).strip()
        pytest.fail(f"it never said {word!r}: {self.end()}")

    def let(self, word: str, process: int) -> None:
        """Let a process that waits after ``word`` go on."""
        (self.folder / f"{word}-{process}").touch()

    def signal_all(self, *numbers: int) -> None:
        for number in numbers:
            os.killpg(self.process.pid, number)

    def end(self) -> tuple[int, str, str]:
        output, complaints = self.process.communicate()
        self.limit.cancel()
        return self.process.returncode, output.strip(), complaints


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    one = Job(tmp_path)
    yield one
    if one.process.poll() is None:
        one.signal_all(signal.SIGKILL)
        one.end()


def begin(job: Job) -> list[int]:
    """Until both processes train."""
    importing = [int(job.read("importing")) for _ in range(2)]
    for process in importing:
        job.let("importing", process)
    return [int(job.read("training")) for _ in range(2)]


@pytest.mark.parametrize(
    ("first", "again"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)],
    ids=["twice", "ctrl-c-too"],
)
def test_a_whole_group_that_is_signalled_twice_keeps_its_checkpoint(
    job: Job, first: int, again: int
):
    begin(job)
    job.signal_all(first, again)
    saving = int(job.read("saving"))
    job.signal_all(again)
    job.let("saving", saving)
    assert job.end() == (130, "", "")
    assert (job.folder / "checkpoint").read_text() == "0"


def test_what_reaches_the_children_alone_changes_nothing(job: Job):
    """While they import, and while they train, be it the first of them or another."""
    importing = [int(job.read("importing")) for _ in range(2)]
    for process in importing:
        os.kill(process, signal.SIGTERM)
        job.let("importing", process)
    training = [int(job.read("training")) for _ in range(2)]
    assert {*training} == {*importing}
    for process in training:
        os.kill(process, signal.SIGTERM)
    (job.folder / "done").touch()
    assert job.end() == (0, "trained", "")


def test_a_group_that_is_signalled_during_imports_was_only_stopped(job: Job):
    for _ in range(2):
        job.read("importing")
    job.signal_all(signal.SIGTERM, signal.SIGTERM)
    assert job.end() == (130, "", "")


@pytest.mark.slow
def test_a_real_training_goes_on_where_its_job_was_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from test_together import COUNTS, config, history, nothing

    from sskd.data import toycity
    from sskd.engine.run import run_cell

    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", COUNTS)
    changes: dict[str, Any] = {
        "pipeline.teacher": "none",
        "stages.transfer.steps": 60,
        "runtime.checkpoint_every": 1000,
        "runtime.data_workers": 1,
    }
    cell = config(2, **changes)
    (tmp_path / "cell.json").write_text(cell.model_dump_json())
    job = Job(tmp_path, tmp_path / "cell.json")
    while job.read("transfer") != "3":
        pass
    job.signal_all(signal.SIGTERM, signal.SIGTERM)
    code, output, complaints = job.end()
    assert code == 130
    assert "Traceback" not in complaints
    assert "trained" not in output

    (file,) = (tmp_path / "store").glob("**/checkpoint.pt")
    state = load_checkpoint(file)
    assert state is not None
    assert 3 <= state["step"] < 60
    steps: list[int] = []
    run_cell(cell, home=tmp_path, log=lambda _, step, __: steps.append(step), progress=nothing)
    assert steps == [*range(state["step"] + 1, 61)]
    assert [row["step"] for row in history(tmp_path)] == [*range(1, 61)]
