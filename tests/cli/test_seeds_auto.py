"""``--seeds auto``: more seeds only of what is undecided, around cells that take no time."""

import json
import re

import pytest
from test_launch import databases, quick_cells  # noqa: F401 - fixtures

from sskd.cli import running

FRACTION = ("--label-fraction", "0.3")
SCATTER = {"uniform": 0.0005, "mask": 0.03, "class": 0.0005, "fusion": 0.0}
"""By variant: of the AP, up at even seeds and down at odd ones."""


@pytest.fixture
def scattered_cells(quick_cells, monkeypatch):  # noqa: F811
    """The means differ by 1 point and more, but mask's seeds hide that."""
    quick = running.run_cell

    def run_cell(config, **rest):
        done = quick(config, **rest)
        score = config.contrast.negatives.score
        done.result["final"]["mask_ap"] += SCATTER[score] * (1 if config.seed % 2 else -1)
        for path in (rest["home"] / "cells").glob("*/result.json"):
            if json.loads(path.read_text())["fingerprint"] == done.result["fingerprint"]:
                path.write_text(json.dumps(done.result))
        return done

    monkeypatch.setattr(running, "run_cell", run_cell)
    return quick_cells


def counts(text: str) -> dict[str, int]:
    """Seeds by variant, from the report's table of results."""
    rows = re.findall(r"^\| \*{0,2}([A-Z][a-z-]+)\*{0,2} \| (\d+)\b", text, flags=re.M)
    return {label: int(number) for label, number in rows[:4]}


def test_seeds_are_added_to_what_is_undecided_up_to_the_cap(sskd, scattered_cells, with_toycity):
    auto = ("--seeds", "auto", "--until", "0.2", "--max-seeds", "5")
    done = sskd("ablate", "negatives", "--workers", "1", *auto, *FRACTION)
    assert done.exit_code == 0, done.output
    assert "negatives: at most 20 cells, 4 variants x at most 5 seeds" in done.stdout
    said = [line for line in done.stdout.splitlines() if line.startswith("negatives: ")][1:]
    assert said == [
        "negatives: one more seed of mask, fusion",
        "negatives: one more seed of mask, fusion",
        "negatives: undecided at 5 seeds: mask, fusion",
    ]
    text = (
        with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    ).read_text("utf-8")
    assert counts(text) == {"Uniform": 3, "Mask-only": 5, "Class-only": 3, "Fusion": 5}
    assert "--seeds auto --until 0.2 --max-seeds 5" in text
    again = sskd("ablate", "negatives", "--workers", "1", *auto, *FRACTION)
    assert "begins" not in again.stdout


def test_what_fails_gets_no_more_seeds(sskd, scattered_cells, with_toycity):
    scattered_cells.append("mask")
    done = sskd("ablate", "negatives", "--workers", "1", "--seeds", "auto", *FRACTION)
    assert done.exit_code == 3
    assert "one more seed" not in done.stdout


@pytest.mark.parametrize("option", ["--until", "--max-seeds"])
def test_its_options_need_auto(sskd, option):
    done = sskd("ablate", "negatives", option, "4")
    assert done.exit_code == 2
    assert "--until and --max-seeds go with --seeds auto" in done.stderr
