"""Two processes that share every batch train as one does."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn

from sskd import processes
from sskd.config import Config, base_for, build_config
from sskd.data import toycity
from sskd.data.shares import Share
from sskd.engine.checkpoint import load_checkpoint
from sskd.engine.errors import RunStopped
from sskd.engine.run import plan_cell, run_cell
from sskd.engine.stop_requests import StopRequests
from sskd.engine.store import read_metrics
from sskd.engine.together import train_together
from sskd.models.shared_norm import share_statistics
from sskd.studies.workers import Pool, Progressed


def nothing(*_: Any, **__: Any) -> None:
    pass


def join() -> None:
    distributed.init_process_group("gloo")


def test_shares_are_disjoint_equal_and_one_micro_batch_after_the_other():
    assert Share(0, 2, 1).of(4) == [0, 1]
    assert Share(1, 2, 1).of(4) == [2, 3]
    assert Share(0, 2, 2).of(8) == [0, 1, 4, 5]
    assert Share(1, 2, 2).of(8) == [2, 3, 6, 7]
    assert Share(0, 1, 2).of(4) == [0, 1, 2, 3]


def say_who(word: str, *, log: Callable[..., None], progress: Callable[..., None]) -> str:
    join()
    log(3, {"index": float(processes.index())})
    progress(word, 1, 2, ap=0.5)
    return f"{word} of {processes.index()}"


def test_the_first_process_is_heard_and_answers():
    heard: list[Any] = []
    result = train_together(
        say_who,
        "greetings",
        count=2,
        threads=1,
        log=lambda *args: heard.append(args),
        progress=lambda *args, **facts: heard.append((*args, facts)),
    )
    assert result == "greetings of 0"
    assert heard == [(3, {"index": 0.0}), ("greetings", 1, 2, {"ap": 0.5})]


def learn_a_little(path: Path, *, log: Any, progress: Any) -> None:
    """Sums and norms over two processes against one process that sees everything."""
    join()
    assert processes.number() == 2
    images = torch.load(path, weights_only=True)
    own = images[processes.index() * 2 :][:2].clone().requires_grad_()
    whole = images.clone().requires_grad_()

    shared = share_statistics(nn.BatchNorm2d(3), torch.device("cpu"))
    single = nn.BatchNorm2d(3)
    for norm in (shared, single):
        nn.init.constant_(norm.weight, 1.5)
    # The mean of the processes' losses is that of all.
    loss = (shared(own) * own.detach().sin()).sum() * 2
    (single(whole) * whole.detach().sin()).sum().backward()
    loss.backward()
    mine = slice(processes.index() * 2, processes.index() * 2 + 2)
    torch.testing.assert_close(own.grad / 2, whole.grad[mine])
    torch.testing.assert_close(processes.mean(shared.weight.grad), single.weight.grad)
    torch.testing.assert_close(shared.running_mean, single.running_mean)
    torch.testing.assert_close(shared.running_var, single.running_var)

    rows = own.detach().flatten(1).requires_grad_()
    everything = processes.gather(rows)
    torch.testing.assert_close(everything.detach(), images.flatten(1))
    everything.square().sum().backward()
    torch.testing.assert_close(rows.grad / 2, 2 * rows.detach())
    assert processes.gather(torch.tensor([processes.index() == 0])).tolist() == [True, False]
    assert processes.mean_numbers([float(processes.index())], torch.device("cpu")) == [0.5]


def test_norms_and_gathered_rows_are_those_of_one_process(tmp_path: Path):
    torch.save(torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)), tmp_path / "x")
    train_together(
        learn_a_little, tmp_path / "x", count=2, threads=1, log=nothing, progress=nothing
    )


def complain(*, log: Any, progress: Any) -> None:
    join()
    if processes.index() == 1:
        raise RunStopped("image 7 is broken")
    distributed.barrier()


def test_an_error_of_any_process_is_everybodys():
    with pytest.raises(ValueError, match="image 7 is broken"):
        train_together(complain, count=2, threads=1, log=nothing, progress=nothing)


def die(*, log: Any, progress: Any) -> None:
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def test_a_process_that_dies_does_not_leave_the_others_waiting():
    with pytest.raises(RunStopped, match=r"died \(SIGKILL\); the last checkpoint is kept"):
        train_together(die, count=2, threads=1, log=nothing, progress=nothing)


class Asked(Exception):
    pass


@pytest.fixture
def outer_handler():
    """A stop raises, as it does around a plain training."""

    def receive(*_: Any) -> None:
        raise Asked

    before = signal.signal(signal.SIGTERM, receive)
    yield
    signal.signal(signal.SIGTERM, before)


def work_until_stopped(path: Path, *, log: Any, progress: Callable[..., None]) -> None:
    with StopRequests() as stop:
        progress("work", 1, 2)
        while not stop.asked:
            time.sleep(0.01)
        if os.environ["RANK"] == "0":
            path.write_text("checkpoint")
        stop.obey()


def test_a_stop_waits_for_the_first_process(tmp_path: Path, outer_handler: None):
    file = tmp_path / "checkpoint"
    with pytest.raises(Asked):
        train_together(
            work_until_stopped,
            file,
            count=2,
            threads=1,
            log=nothing,
            progress=lambda *_, **__: signal.raise_signal(signal.SIGTERM),
        )
    assert file.read_text() == "checkpoint"


def insist(*, log: Any, progress: Callable[..., None]) -> None:
    with StopRequests() as stop:
        progress("work", 1, 2)
        while not stop.asked:
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(50)


def test_a_second_stop_does_not_wait(outer_handler: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sskd.signals.REPEAT_SECONDS", 0.0)
    began = time.monotonic()
    with pytest.raises(Asked):
        train_together(
            insist,
            count=2,
            threads=1,
            log=nothing,
            progress=lambda *_, **__: signal.raise_signal(signal.SIGTERM),
        )
    assert not multiprocessing.active_children()
    assert time.monotonic() - began < 50


SMALL_MODEL = {
    "encoder": {"width": 8},
    "head": {"width": 16},
    "decoder": {"queries": 6, "layers": 2, "heads": 2, "width": 16, "feedforward": 16},
    "projection": {"dim": 8, "hidden": 8, "stride": 16},
}


def config(number: int, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "teacher": SMALL_MODEL,
        "student": SMALL_MODEL,
        "contrast.num_negatives": 8,
        "data.label_fraction": 0.5,
        "pipeline": {"teacher": "zero-shot", "final": "transfer"},
        "pseudo_labels.score_threshold": 0.0,
        "pseudo_labels.min_mean": 0.0,
        "set_loss.points": 64,
        "runtime.device": "cpu",
        "runtime.log_every": 1,
        "runtime.checkpoint_every": 8,
        "runtime.processes": number,
        **{f"stages.{name}.labeled_batch": 4 for name in ("pretraining", "transfer")},
        "stages.pretraining.steps": 5,
        "stages.transfer.steps": 20,
        "stages.transfer.unlabeled_batch": 4,
        "stages.transfer.optimizer.learning_rate": 1e-5,
    }
    return build_config(base_for("tiny", "toycity"), settings | changes)


def history(home: Path, stage: str = "transfer") -> list[dict[str, Any]]:
    (file,) = (home / "store").glob(f"{stage}-*/metrics.jsonl")
    return [dict(row) for row in read_metrics(file)]


class Killed(Exception):
    pass


@pytest.fixture
def published(dinov2_folder: Path) -> dict[str, Any]:
    """The classes of the paper's student, around a tiny random checkpoint on the disk."""
    return {
        "teacher.encoder": {"name": "dinov2-small", "weights": str(dinov2_folder)},
        "teacher.head": {"name": "dpt", "width": 16},
    }


def self_training(number: int, **changes: Any) -> Config:
    """With all three losses, from a model that has learned a little.

    The queries of a fresh one are all but equal, so that rounding decides which of them is matched.
    """
    settings = {
        "pipeline": {"teacher": "adapted", "final": "self-training"},
        "teacher_contrast.num_negatives": 64,
        "pseudo_labels.max_per_image": 3,
        "stages.pretraining.steps": 60,
        "stages.pretraining.optimizer.learning_rate": 3e-3,
        "stages.supervised": {"steps": 5, "labeled_batch": 4},
        "stages.self_training": {"steps": 20, "labeled_batch": 4, "unlabeled_batch": 4},
        # At a larger one rounding grows within 20 steps: a point or a negative more or less.
        "stages.self_training.optimizer.learning_rate": 1e-5,
    }
    return config(number, **settings | changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"stages.self_training.accumulation": 2, "views.geometry": "mapped"},
        {
            "teacher_contrast.negatives.scope": "memory-bank",
            "teacher_contrast.negatives.bank_size": 100,
        },
        "published",
    ],
    ids=["plain", "accumulated", "memory-bank", "dinov2"],
)
def test_two_processes_have_the_losses_of_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    changes: dict[str, Any] | str,
):
    if isinstance(changes, str):
        changes = request.getfixturevalue(changes)
    counts = toycity.ToycityCounts(source=8, train=24, val=4)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    alone, both, resumed = (tmp_path / name for name in ("alone", "both", "resumed"))
    # The same start and the same pseudo-labels for all.
    first = {"pipeline": {"teacher": "supervised", "final": "transfer"}, "stages.transfer.steps": 1}
    model = {k: v for k, v in changes.items() if k.startswith("teacher.")}
    run_cell(self_training(1, **first, **model), home=alone, log=nothing, progress=nothing)
    for home in (both, resumed):
        shutil.copytree(alone, home)
    run_cell(self_training(1, **changes), home=alone, log=nothing, progress=nothing)
    run_cell(self_training(2, **changes), home=both, log=nothing, progress=nothing)

    def kill(what: str, done: int, *_: Any, **__: Any) -> None:
        if what == "self_training" and done == 11:
            raise Killed

    with pytest.raises(Killed):
        run_cell(self_training(2, **changes), home=resumed, log=nothing, progress=kill)
    run_cell(self_training(2, **changes), home=resumed, log=nothing, progress=nothing)
    expected = history(alone, "self_training")
    assert [row["step"] for row in expected] == list(range(1, 21))
    for home in (both, resumed):
        rows = history(home, "self_training")
        assert len(rows) == 20
        for row, want in zip(rows, expected, strict=True):
            for key in ("loss", "loss_sup", "loss_semi"):
                assert row[key] == pytest.approx(want[key], rel=1e-5), (row["step"], key)
            # One negative of all may be another, where a probability and a draw are all but equal.
            assert row["loss_pxl"] == pytest.approx(want["loss_pxl"], rel=1e-3), row["step"]
            assert row["valid_anchors"] == want["valid_anchors"]


COUNTS = toycity.ToycityCounts(source=8, train=24, val=4)


def run_small_cell(*args: Any, **kwargs: Any) -> None:
    """In a process of its own, for which nothing was patched."""
    toycity.DEFAULT_COUNTS = COUNTS
    run_cell(*args, **kwargs)


@pytest.mark.slow
def test_a_pool_worker_that_is_stopped_waits_for_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", COUNTS)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    cell = config(2, **{"pipeline.teacher": "none", "runtime.checkpoint_every": 1000})
    plan_cell(cell, home=whole)  # draws the data
    shutil.copytree(whole, stopped)
    run_cell(cell, home=whole, log=nothing, progress=nothing)

    with Pool(run_small_cell, stopped, 1) as pool:
        pool.submit("cell", cell)
        messages: list[Any] = []
        while not any(isinstance(m, Progressed) and m.what == "transfer" for m in messages):
            messages = pool.wait(300.0)
            assert messages
    (file,) = (stopped / "store").glob("**/checkpoint.pt")
    state = load_checkpoint(file)
    assert state is not None
    assert 0 < state["step"] < 20

    steps: list[int] = []
    run_cell(cell, home=stopped, log=lambda _, step, __: steps.append(step), progress=nothing)
    assert steps[0] == state["step"] + 1
    for row, want in zip(history(stopped), history(whole), strict=True):
        assert row["step"] == want["step"]
        assert row["loss"] == pytest.approx(want["loss"], rel=1e-5), row["step"]


COMPILE = nn.Module.compile


def losses_of(home: Path, *, compiled: bool) -> list[float]:
    """In a process of its own: what checks the types in tests cannot be compiled."""
    # What is captured is compared; to make machine code of it takes minutes.
    nn.Module.compile = lambda self: COMPILE(self, backend="eager")  # type: ignore[assignment, method-assign]
    settings = {"runtime.compile": compiled, "pipeline.teacher": "none", "stages.transfer.steps": 3}
    run_cell(config(1, **settings), home=home, log=nothing, progress=nothing)
    return [float(row["loss"]) for row in history(home)]


@pytest.mark.slow
def test_a_compiled_model_has_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    counts = toycity.ToycityCounts(source=8, train=24, val=4)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    plain, compiled = tmp_path / "plain", tmp_path / "compiled"
    settings = {"pipeline.teacher": "none"}
    plan_cell(config(1, **settings), home=plain)  # draws the data
    shutil.copytree(plain, compiled)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        expected = pool.apply(losses_of, (plain,), {"compiled": False})
        found = pool.apply(losses_of, (compiled,), {"compiled": True})
    assert len(found) == 3
    assert found == pytest.approx(expected, rel=1e-4)
