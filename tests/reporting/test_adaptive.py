"""Which variants get more seeds."""

import pytest
from made_home import Home

from sskd.reporting.adaptive import undecided
from sskd.reporting.analysis import Analysis, analyse

AP = {
    "uniform": [0.200, 0.210, 0.205],  # 5.0 below fusion with hardly any spread: decided
    "mask": [0.240, 0.251, 0.239],  # 1.2 below, half width 1.9
    "class": [0.252, 0.2605, 0.2575],  # 0.13 above, half width 0.19: undecided, but narrow
    "fusion": [0.250, 0.260, 0.256],
}


def finished(home: Home, seeds: int = 3) -> Analysis:
    for cell in home.plan(seeds):
        home.write(cell, AP[cell.variant][cell.seed])
    return analyse(home.ablation, home.cells, home=home.path)


def test_only_what_is_undecided_and_wide_gets_seeds_with_its_counterpart(home: Home) -> None:
    analysis = finished(home)
    verdicts = {c.arm.name: c.verdict for c in analysis.of("mask_ap")}
    assert verdicts == {"uniform": "agrees", "mask": "undecided", "class": "undecided"}
    assert undecided(analysis, 0.5) == ("mask", "fusion")
    assert undecided(analysis, 0.05) == ("mask", "class", "fusion")
    assert undecided(analysis, 5.0) == ()


def test_a_single_pair_is_undecided_at_any_width(home: Home) -> None:
    assert undecided(finished(home, 1), 100.0) == tuple(AP)
    assert undecided(finished(home, 2), 100.0) == ()


def test_missing_cells_are_undecided(home: Home) -> None:
    home.plan(2)
    assert undecided(analyse(home.ablation, home.cells, home=home.path), 0.5) == tuple(AP)


def test_pairs_without_spread_ask_for_nothing(home: Home) -> None:
    for cell in home.plan(2):
        home.write(cell, 0.2)
    assert undecided(analyse(home.ablation, home.cells, home=home.path), 0.5) == ()


def test_questions_without_a_claim_get_seeds_too(home: Home) -> None:
    bare = {name: v.model_copy(update={"paper": None}) for name, v in home.ablation.run.items()}
    home.ablation = home.ablation.model_copy(update={"variants": bare})
    assert undecided(finished(home), 0.5) == ("mask", "fusion")


def test_a_width_must_be_above_zero(home: Home) -> None:
    with pytest.raises(ValueError, match="above 0, got 0"):
        undecided(finished(home), 0.0)
