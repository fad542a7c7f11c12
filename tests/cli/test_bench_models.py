"""Measuring teacher and student, and the report of what was measured."""

import json

import pytest

from sskd.bench import models as models_bench
from sskd.config import build_config, load_scale

SMALL = [
    *("--set", "student.encoder.width=4", "--set", "student.decoder.queries=5"),
    *("--set", "teacher.decoder.layers=1", "--set", "student.decoder.layers=1"),
]


@pytest.fixture
def in_this_process(monkeypatch):
    """Memory is measured in processes of their own, which take seconds to begin."""
    monkeypatch.setattr(models_bench, "_memory", lambda *_: 2**20)


@pytest.mark.usefixtures("in_this_process")
def test_both_models_are_measured_kept_and_reported(sskd, workplace):
    done = sskd(
        "bench", "models", "--device", "cpu", "--size", "32x64", "--repeats", "3", *SMALL,
        "--json", "out.json", "--report", "--out", "here",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    numbers = json.loads((workplace / "out.json").read_text())
    assert (numbers["size"], numbers["precision"], numbers["repeats"]) == ([32, 64], "no", 3)
    for role in ("teacher", "student"):
        seconds = numbers[role]["seconds"]
        assert 0 < seconds["lower"] <= seconds["median"] <= seconds["upper"]
    assert numbers["teacher"]["parameters"] > numbers["student"]["parameters"]
    assert "tiny: one image of 32x64, float32" in done.stdout
    (kept,) = (workplace / "runs" / "bench").iterdir()
    assert json.loads(kept.read_text()) == numbers
    first = (workplace / "here" / "efficiency.md").read_bytes()
    (workplace / "here" / "efficiency.md").unlink()
    done = sskd("report", "efficiency", *SMALL, "--out", "here", "--format", "md,tex,html,csv")
    assert done.exit_code == 0, done.output
    for form in ("tex", "html", "csv"):
        assert (workplace / "here" / f"efficiency.{form}").is_file()
    assert (workplace / "here" / "efficiency.md").read_bytes() == first
    assert b"One image of 32x64 pixels" in first


@pytest.mark.slow
def test_memory_is_that_of_the_weights_and_one_pass():
    # Of the grounded teacher, which sees a picture at sizes of its own, the pass takes more.
    config = build_config(load_scale("paper"), {}).student
    told = models_bench.describe(config, size=(64, 64))
    peak = models_bench._memory(config, (64, 64), "cpu", "no", 1)
    assert 4 * told.parameters < peak < 4 * told.parameters + 2**26


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--size", "32"), "--size 32: expected height x width"),
        (("--size", "16x16"), "32 or more"),
        (("--device", "tpu"), "--device tpu: known: auto, cpu, cuda"),
        (("--set", "student.encoder.nam=x"), "unknown key"),
    ],
)
def test_a_mistake_is_one_line(sskd, option, words):
    done = sskd("bench", "models", *option)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_report_before_any_measurement_names_the_command(sskd, workplace):
    done = sskd("report", "efficiency", "--scale", "small")
    assert done.exit_code == 0, done.output
    text = (workplace / "reports" / "small-toycity" / "efficiency.md").read_text()
    assert "`sskd bench models --scale small --report` measures" in text
