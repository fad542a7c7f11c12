"""The list of models; what its numbers are is tested beside where they come from."""

import re

import pytest

from sskd.bench.architecture import Architecture
from sskd.cli import models


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
