"""The list of models; what its numbers are is tested beside where they come from, and once here."""

import re
from pathlib import Path

import pytest

from sskd.bench.architecture import Architecture
from sskd.cli import models
from sskd.studies.efficiency import load_efficiency


def columns(text: str) -> list[list[str]]:
    return [re.split(r" {2,}", line) for line in text.splitlines()]


@pytest.fixture
def describe(monkeypatch):
    def tell(config, *, size):
        if config.kind == "segmenter" and config.encoder.name.startswith("efficientnet"):
            raise ValueError("needs a package")
        head = 700_000 if config.kind == "segmenter" else None
        return Architecture(10_400_000, 9_600_000, head, 7 * size[0] * 10**9, 2**24)

    monkeypatch.setattr(models, "describe", tell)


@pytest.mark.usefixtures("describe")
def test_every_scale_and_variant_has_a_row_beside_the_papers_number(sskd):
    done = sskd("list", "--models")
    assert done.exit_code == 0, done.output
    rows = columns(done.stdout)
    labels = [row[0] for row in rows if len(row) > 2]
    assert labels[1:7] == [f"{s} {r}" for s in ("tiny", "small", "paper")
                           for r in ("teacher", "student")]  # fmt: skip
    assert ["paper student", "dinov2-small, dpt", "512x1024", "10.4M (52M)", "9.6M (22M)",
            "0.7M (22M)", "3584.0", "16 MiB"] in rows  # fmt: skip
    assert ["paper student with", "sam2-hiera-small, dpt", "512x1024", "10.4M", "9.6M (35M)",
            "0.7M", "3584.0", "16 MiB"] in rows  # fmt: skip
    assert ["paper student with", "dinov2-small, fpn", "512x1024", "10.4M", "9.6M (22M)",
            "0.7M (18M)", "3584.0", "16 MiB"] in rows  # fmt: skip
    assert ["tiny student", "tiny-conv, fpn", "96x96", "10.4M", "9.6M", "0.7M", "672.0",
            "16 MiB"] in rows  # fmt: skip
    assert ["paper teacher", "grounded-sam", "512x1024", "10.4M (568M)", "9.6M", "3584.0",
            "16 MiB"] in rows  # fmt: skip
    variants = [row[1] for row in rows if row[0] == "paper student with"]
    assert variants == [
        *("resnet50, dpt", "sam2-hiera-small, dpt", "dinov2-base, dpt", "dinov2-large, dpt"),
        "dinov2-small, fpn",
    ]
    assert (
        "paper teacher, grounded-sam: mm_grounding_dino_large_all, sam2.1-hiera-large"
        in done.stdout.splitlines()
    )
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.usefixtures("describe")
def test_a_missing_package_costs_one_row(sskd):
    rows = columns(sskd("list", "--models").stdout)
    assert ["small student", "efficientnet-lite0, fpn", "needs a package"] in rows


def counts(output: str) -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """By model and parts: whole, encoder and head in millions, each with the paper's if any."""
    rows = [row for row in columns(output) if len(row) > 4 and row[2] != "input"]
    return {
        (row[0], row[1]): [tuple(map(float, re.findall(r"[\d.]+(?=M)", c))) for c in row[3:6]]
        for row in rows
    }


def test_the_real_list_of_the_tiny_scale_and_a_student_of_the_papers(sskd, monkeypatch):
    declared = load_efficiency(Path("/nowhere"))
    shorter = declared.model_copy(
        update={"encoders": {"dinov2-small": declared.encoders["dinov2-small"]}}
    )
    monkeypatch.setattr(models, "SCALES", ("tiny",))
    monkeypatch.setattr(models, "load_efficiency", lambda cwd: shorter)
    done = sskd("list", "--models")
    assert done.exit_code == 0, done.output
    assert counts(done.stdout) == {
        ("tiny teacher", "tiny-conv, fpn"): [(2.1,), (1.4,), (0.3,)],
        ("tiny student", "tiny-conv, fpn"): [(0.9,), (0.6,), (0.1,)],
        ("paper student with", "dinov2-small, fpn"): [(44.9,), (22.1, 22), (8.4, 18)],
    }


@pytest.mark.slow
def test_the_real_list_stands_beside_the_papers_counts(sskd):
    """Half a minute: everything on the meta device, where no weights are."""
    done = sskd("list", "--models")
    assert done.exit_code == 0, done.output
    found = counts(done.stdout)
    (teacher, printed), _, _ = found["paper teacher", "grounded-sam"]
    assert printed == 568
    assert teacher == pytest.approx(printed, rel=0.02)
    assert found["paper student", "dinov2-small, dpt"] == [(54.5, 52), (22.1, 22), (18.0, 22)]
    variants = {parts: sizes for (model, parts), sizes in found.items() if "with" in model}
    assert variants["resnet50, dpt"][1] == (23.5, 24)
    assert variants["sam2-hiera-small, dpt"][1] == (33.9, 35)
    assert variants["dinov2-small, fpn"] == [(44.9,), (22.1, 22), (8.4, 18)]
    assert {("tiny student", "tiny-conv, fpn"), ("small teacher", "grounded-sam")} < set(found)
