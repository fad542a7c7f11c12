"""Numbers of seeds, added as needed or given, and what a later report knows of them."""

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
        "negatives: undecided, so more seeds: 5 of mask, 5 of fusion",
        "negatives: undecided at 5 seeds: mask, fusion",
    ]
    path = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    text = path.read_text("utf-8")
    assert counts(text) == {"Uniform": 3, "Mask-only": 5, "Class-only": 3, "Fusion": 5}
    assert "--seeds auto --until 0.2 --max-seeds 5" in text
    assert "(looks at the numbers: 2 of at most 2)" in text
    assert "p (Holm, 2 looks)" in text
    # Made later, without a word about seeds, it is the same; databases are not needed for it.
    ledger = with_toycity / "runs" / "optuna.db"
    ledger.rename(ledger.with_suffix(".away"))
    path.unlink()
    assert sskd("report", "negatives", *FRACTION).exit_code == 0
    assert path.read_text("utf-8") == text
    ledger.with_suffix(".away").rename(ledger)
    again = sskd("ablate", "negatives", "--workers", "1", *auto, *FRACTION)
    assert "begins" not in again.stdout


def test_what_fails_ends_only_its_own_comparisons(sskd, scattered_cells, with_toycity, monkeypatch):
    monkeypatch.setitem(SCATTER, "class", 0.03)
    scattered_cells.append("mask")
    auto = ("--seeds", "auto", "--max-seeds", "5")
    done = sskd("ablate", "negatives", "--workers", "1", *auto, *FRACTION)
    assert done.exit_code == 3
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("negatives: ")][1:] == [
        "negatives: cells failed, so no more seeds for comparisons of mask",
        "negatives: undecided, so more seeds: 5 of class, 5 of fusion",
        "negatives: undecided at 5 seeds: class, fusion",
    ]
    begun = [line for line in lines if line.endswith("begins")]
    assert sum("mask seed" in line for line in begun) == 3  # each is tried once
    assert len(begun) == 4 * 3 + 2 * 2
    path = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    text = path.read_text("utf-8")
    assert "Mask-only, seed 0: failed: no luck with mask" in text
    assert sskd("report", "negatives", *FRACTION).stdout.endswith("(unchanged)\n")


def test_where_the_reference_fails_nothing_can_be_compared(sskd, scattered_cells, with_toycity):
    scattered_cells.append("fusion")
    done = sskd("ablate", "negatives", "--workers", "1", "--seeds", "auto", *FRACTION)
    assert done.exit_code == 3
    assert "no more seeds for comparisons of fusion" in done.stdout
    assert "so more seeds" not in done.stdout


def test_a_report_has_the_seeds_that_were_launched(sskd, quick_cells, with_toycity):  # noqa: F811
    path = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    assert sskd("ablate", "negatives", "--workers", "1", "--seeds", "2", *FRACTION).exit_code == 0
    text = path.read_text("utf-8")
    assert "sskd ablate negatives --seeds 2 " in text
    later = ("report", "negatives", *FRACTION)
    assert sskd(*later).stdout.endswith("(unchanged)\n")
    # Of an older home only records tell.
    launched = with_toycity / "runs/studies/ablate-negatives@tiny-toycity/launched.json"
    launched.unlink()
    assert sskd(*later).stdout.endswith("(unchanged)\n")
    # Another number is had by asking for it.
    assert sskd(*later, "--seeds", "1").exit_code == 0
    assert counts(path.read_text("utf-8"))["Fusion"] == 1
    assert sskd(*later, "--seeds", "3").exit_code == 0
    assert "4 of 12 cells are missing" in path.read_text("utf-8")
    # What was never launched, and has no record, is planned under the usual number.
    assert sskd("report", "negatives", "--label-fraction", "0.5").exit_code == 0
    other = path.parents[1] / "tiny-toycity+label-fraction=0.5" / path.name
    assert "12 of 12 are missing" in other.read_text("utf-8")


def test_what_could_be_looked_at_before_is_said(sskd, quick_cells, with_toycity):  # noqa: F811
    path = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "negatives.md"
    launch = ("ablate", "negatives", "--workers", "1", *FRACTION, "--seeds")
    said = "launched before with {} seeds a variant; p-values make no allowance"
    for seeds, expected in [("1", None), ("3", None), ("2", "3"), ("3", "2"), ("4", "2 and 3")]:
        assert sskd(*launch, seeds).exit_code == 0
        text = path.read_text("utf-8")
        assert ("launched before" in text) == (expected is not None)
        assert expected is None or said.format(expected) in text
        assert sskd("report", "negatives", *FRACTION).stdout.endswith("(unchanged)\n")
    assert sskd("report", "negatives", *FRACTION, "--seeds", "3").exit_code == 0
    assert said.format("2 and 4") in path.read_text("utf-8")
    # Adaptive looks are corrected for, the rest is not.
    assert sskd(*launch, "auto", "--max-seeds", "5", "--until", "50").exit_code == 0
    assert said.format("2 and 4") in path.read_text("utf-8")


@pytest.mark.parametrize("option", ["--until", "--max-seeds"])
def test_its_options_need_auto(sskd, option):
    done = sskd("ablate", "negatives", option, "4")
    assert done.exit_code == 2
    assert "--until and --max-seeds go with --seeds auto" in done.stderr
