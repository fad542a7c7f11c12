import os
import signal
import subprocess
import sys
import time

import pytest


def test_an_unexpected_error_leaves_its_traceback_in_the_home_folder(sskd, workplace, monkeypatch):
    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no such luck\nreally")

    monkeypatch.setattr("sskd.studies.ledger.study_status", explode)
    done = sskd("status", "--home", "here")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("unexpected RuntimeError: no such luck really")
    (log,) = (workplace / "here" / "errors").iterdir()
    assert str(log) in line
    text = log.read_text()
    assert "Traceback" in text
    assert "explode" in text


def test_a_home_that_cannot_be_written_does_not_hide_the_error(sskd, workplace, monkeypatch):
    def explode(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr("sskd.studies.ledger.study_status", explode)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(workplace / "tmp"))
    (workplace / "file").write_text("")
    done = sskd("status", "--home", "file/home")
    assert done.exit_code == 1
    (log,) = (workplace / "tmp" / "sskd-errors").iterdir()
    assert str(log) in done.stderr


def test_an_interrupt_is_one_line_and_130(sskd, monkeypatch):
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sskd.studies.ledger.study_status", interrupt)
    done = sskd("status")
    assert done.exit_code == 130
    assert done.stderr == "interrupted; the same command resumes where it stopped\n"


def test_a_closed_pipe_is_silent(workplace):
    done = subprocess.run(
        f"{sys.executable} -m sskd list | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_ctrl_c_while_drawing_ends_in_one_line(workplace):
    process = subprocess.Popen(
        [sys.executable, "-m", "sskd", "data", "make", "toycity"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it draws
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines() == ["interrupted; the same command resumes where it stopped"]
