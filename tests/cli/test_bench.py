"""The benchmarks on problems too small to mean anything."""

import json
import math
import os
import subprocess
import sys

import pytest

from sskd.bench import contrastive as contrastive_bench
from sskd.bench.step import PARTS


@pytest.fixture
def in_this_process(monkeypatch):
    """Memory is measured in processes of their own, which take seconds to begin."""
    monkeypatch.setattr(contrastive_bench, "_memory", lambda name, problem: 2**20)


@pytest.mark.usefixtures("in_this_process")
def test_the_contrastive_bench_compares_with_the_literal_term(sskd, tmp_path):
    done = sskd(
        "bench", "contrastive", "--pixels", "128", "--negatives", "8", "--dim", "4",
        "--instances", "5", "--threads", "1", "--no-noise", "--json", "out.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert set(numbers["seconds"]) == {"literal", "sskd", "products"}
    assert set(numbers["growth"]) == {"4", "16"}
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()}
    assert rows["sskd"][3] == "1.00"
    assert float(rows["literal"][3]) == pytest.approx(
        numbers["seconds"]["literal"] / numbers["seconds"]["sskd"], abs=0.006
    )
    assert {"512", "2048"} <= set(rows)


def test_sharing_proposals_among_few_adds_no_noise():
    problem = contrastive_bench.Problem(256, 8, dim=4, instances=6, images=4, threads=1)
    noise = contrastive_bench.measure_noise(problem, groups=(1, 256), draws=40)
    assert noise[1] == pytest.approx(1, abs=0.2)
    assert noise[256] > 1.5


def test_what_is_measured_equals_what_it_is_measured_against():
    """The literal term and ours agree on the benchmark's own problem."""
    problem = contrastive_bench.Problem(256, 32, dim=4, instances=6, images=4, threads=1)
    ours = contrastive_bench.STEPS["sskd"](problem)
    literal = contrastive_bench.STEPS["literal"](problem)
    mean_ours = sum(ours() for _ in range(240)) / 240
    mean_literal = sum(literal() for _ in range(240)) / 240
    assert (mean_ours - mean_literal).norm() < 0.15 * mean_literal.norm()


def test_a_step_divides_into_its_parts(sskd, tmp_path):
    done = sskd("bench", "step", "--steps", "1", "--compare", "--json", "out.json")
    assert done.exit_code == 0, done.output
    numbers = json.loads((tmp_path / "out.json").read_text())
    shares = numbers["shares"]
    assert list(shares) == [
        "data", "views", "forward", "strong view", "matching", "set loss", "contrastive term",
        "backward", "optimizer", "logging",
    ]  # fmt: skip
    assert sum(shares.values()) == pytest.approx(1)
    assert min(shares.values()) > 0
    assert list(numbers["losses"]) == ["loss", "loss_sup", "loss_semi", "loss_pxl"]
    assert all(map(math.isfinite, numbers["losses"].values()))
    assert numbers["images_a_step"] == 8
    assert "8 images of 96x96 a step" in done.stdout
    assert numbers["assembled_seconds"] > 0
    assert "of the libraries' own parts" in done.stdout


@pytest.mark.slow
def test_a_step_of_the_papers_student_fits_into_12_gb(tmp_path):
    """On two cores, in a process of its own, where no hub can be reached: minutes."""
    settings = (
        *("stages.transfer.labeled_batch=1", "stages.transfer.unlabeled_batch=1"),
        *("runtime.device=cpu", "numerics.threads=2"),
        "runtime.data_workers=0",  # the memory of all of it is that of one process
    )
    command = [
        *(sys.executable, "-m", "sskd", "bench", "step", "--scale", "paper", "--json", "out.json"),
        *("--steps", "1", "--warm-up", "0"),
        *(word for setting in settings for word in ("--set", setting)),
    ]
    nowhere = {"HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | nowhere, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert (numbers["crop"], numbers["images_a_step"]) == ([512, 1024], 2)
    assert list(numbers["losses"]) == ["loss", "loss_sup", "loss_semi", "loss_pxl"]
    assert all(0 < loss < math.inf for loss in numbers["losses"].values())
    assert numbers["peak_memory_bytes"] < 12e9
    parts = [line.split("  ")[0] for line in done.stdout.splitlines() if line.endswith("%")]
    assert parts == list(PARTS)


def test_a_step_is_compared_with_negatives_of_the_batch_only(sskd):
    done = sskd("bench", "step", "--compare", "--set", "contrast.negatives.scope=memory-bank")
    assert done.exit_code == 2
    assert "negatives.scope=batch" in done.stderr


def test_a_gpu_that_is_not_there(sskd, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = sskd("bench", "contrastive", "--device", "cuda")
    assert done.exit_code == 2
    assert "no CUDA device here" in done.stderr
