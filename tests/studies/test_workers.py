"""What a worker may use of the machine."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from sskd.config import base_for, build_config
from sskd.engine.children import share_of_gpus
from sskd.engine.stop_requests import StopRequests
from sskd.studies.workers import Ended, Pool


@pytest.mark.parametrize(
    ("known", "number", "places", "shares"),
    [
        (None, 0, 2, [None, None]),
        (None, 1, 2, [None, None]),
        (None, 2, 2, ["0", "1"]),
        (None, 4, 2, ["0,1", "2,3"]),
        (None, 2, 3, ["0", "1", "0"]),
        ("5,7,9", 3, 3, ["5", "7", "9"]),
        ("GPU-a,GPU-b", 2, 2, ["GPU-a", "GPU-b"]),
    ],
)
def test_children_share_the_gpus(monkeypatch, known, number, places, shares):
    monkeypatch.setattr("torch.cuda.device_count", lambda: number)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if known is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", known)
    assert [share_of_gpus(place, places) for place in range(places)] == shares


def note_gpus(config, *, home: Path, log, progress) -> None:
    (home / f"{config.seed}-{os.getpid()}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
    if config.seed == 0:
        os._exit(7)


def test_a_worker_that_dies_leaves_its_gpu_to_the_next(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    configs = [build_config(base_for("tiny", "toycity"), {"seed": seed}) for seed in range(3)]
    with Pool(note_gpus, tmp_path, 2) as pool:
        for seed in (0, 1):
            pool.submit(str(seed), configs[seed])
        ended: list[Ended] = []
        deadline = time.monotonic() + 60
        while len(ended) < 2 and time.monotonic() < deadline:
            ended += [m for m in pool.wait(1.0) if isinstance(m, Ended)]
        assert {e.key: e.error for e in ended} == {
            "0": "its process died (exit code 7)",
            "1": None,
        }
        pool.submit("1", configs[1])
        pool.submit("2", configs[2])
        while len(ended) < 4 and time.monotonic() < deadline:
            ended += [m for m in pool.wait(1.0) if isinstance(m, Ended)]
    said = {(path.name.partition("-")[0], path.read_text()) for path in tmp_path.iterdir()}
    assert said == {("0", "0"), ("1", "1"), ("2", "0")}


def never_end(config, *, home: Path, log, progress) -> None:
    with StopRequests():
        progress("work", 1, 1)
        while True:
            time.sleep(0.1)


class Insisted(Exception):
    pass


def test_who_insists_does_not_wait_for_workers(tmp_path):
    def insist(*_):
        raise Insisted

    def work() -> None:
        with Pool(never_end, tmp_path, 1) as pool:
            pool.submit("cell", build_config(base_for("tiny", "toycity"), {}))
            assert pool.wait(60.0)
            signal.setitimer(signal.ITIMER_REAL, 0.1)

    before = signal.signal(signal.SIGALRM, insist)
    try:
        with pytest.raises(Insisted):
            work()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()
