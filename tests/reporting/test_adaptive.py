"""Which variants get more seeds, and what the looks at the numbers cost."""

import numpy as np
import pytest
from made_home import Home
from scipy import stats

from sskd.reporting.adaptive import is_open, narrow_enough, undecided
from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.captions import comparison_caption, looks_caption
from sskd.reporting.prose import answer
from sskd.reporting.statistics import Difference, holm, verdict
from sskd.reporting.tables import comparison_rows
from sskd.studies.launches import Looks

AP = {
    "uniform": [0.200, 0.210, 0.205],  # 5.0 below fusion with hardly any spread: decided
    "mask": [0.240, 0.251, 0.239],  # 1.2 below, half width 1.9
    "class": [0.252, 0.2605, 0.2575],  # 0.13 above, half width 0.19: undecided, but narrow
    "fusion": [0.250, 0.260, 0.256],
}


LOOKS = Looks.up_to(10, until=0.5)


def finished(home: Home, seeds: int = 3, looks: Looks | None = None) -> Analysis:
    for cell in home.plan(seeds):
        home.write(cell, AP[cell.variant][cell.seed])
    return analyse(home.ablation, home.cells, home=home.path, looks=looks)


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


def test_what_fails_takes_its_comparisons_with_it_and_no_others(home: Home) -> None:
    analysis = finished(home)
    assert undecided(analysis, 0.05, failed=["mask"]) == ("class", "fusion")
    assert undecided(analysis, 0.05, failed=["fusion"]) == ()


def test_a_point_of_a_margin_is_a_hundredth(home: Home) -> None:
    assert narrow_enough("mask_ap", 0.5) == 0.5
    assert narrow_enough("margin", 0.5) == pytest.approx(0.005)
    home.ablation = home.ablation.model_copy(update={"metrics": ("margin", "mask_ap")})
    for cell in home.plan(3):
        # The AP as a margin: mask's half width is 0.019, class's 0.0019.
        row = {"step": 10, "margin": AP[cell.variant][cell.seed]}
        home.write(cell, 0.3, history=[row])
    analysis = analyse(home.ablation, home.cells, home=home.path, looks=LOOKS)
    assert undecided(analysis, 1.0) == ("mask", "fusion")
    assert undecided(analysis, 2.0) == ()
    assert "known to ± 0.005;" in looks_caption(analysis)


def test_verdicts_and_bold_are_corrected_for_every_look_there_could_be(home: Home) -> None:
    fixed, looked = finished(home), finished(home, looks=LOOKS)
    for before, after in zip(fixed.comparisons, looked.comparisons, strict=True):
        assert before.adjusted is not None
        assert after.adjusted == pytest.approx(min(1.0, 4 * before.adjusted))
        assert after.difference == before.difference
    # Uniform's p is 4.4e-5 by hand, 1.3e-4 after Holm: 400 looks are more than it can bear.
    many = Looks(at=tuple(range(3, 403)), until=0.5)
    verdicts = {c.arm.name: c.verdict for c in finished(home, looks=many).of("mask_ap")}
    assert verdicts["uniform"] == "undecided"
    home.ablation = home.ablation.model_copy(
        update={
            "variants": {name: home.ablation.run[name] for name in ("uniform", "fusion")},
            "expected_order": None,
        }
    )
    assert finished(home, looks=LOOKS).bold["mask_ap"] == ("fusion",)
    assert finished(home, looks=Looks(at=tuple(range(3, 1503)), until=0.5)).bold["mask_ap"] == ()


def test_a_report_says_how_often_the_numbers_were_looked_at(home: Home) -> None:
    fixed, looked = finished(home), finished(home, looks=LOOKS)
    assert "looks" not in answer(fixed) + comparison_caption(fixed) + looks_caption(fixed)
    assert "(looks at the numbers: 1 of at most 4)" in answer(looked)
    caption = looks_caption(looked)
    assert "after 3, 5, 7 or 10 a variant" in caption
    assert "known to ± 0.5 points; 1 of these 4 looks" in caption
    assert "multiplied by 4" in caption
    assert comparison_rows(looked)[0][5] == "p (Holm, 4 looks)"


TRIALS = 2000


def share_of_false_tables(comparisons: int, looks: Looks, corrected_for: int) -> float:
    """Experiments with a verdict although nothing differs; differences have sd 1, in points."""
    draws = np.random.default_rng(comparisons).normal(0, 1, (TRIALS, comparisons, looks.cap))
    columns = {n: columns_of(draws[:, :, :n]) for n in looks.at}
    false = 0
    for trial in range(TRIALS):
        seeds = [looks.at[0]] * comparisons
        growing = [0]
        while growing:
            parts = [Difference(n, *columns[n][trial][i]) for i, n in enumerate(seeds)]
            adjusted = holm([d.p or 0.0 for d in parts], looks=corrected_for)
            growing = [
                i
                for i, (part, p) in enumerate(zip(parts, adjusted, strict=True))
                if is_open(part, p, looks.until) and seeds[i] < looks.cap
            ]
            for i in growing:
                seeds[i] = looks.after(seeds[i])
        pairs = zip(parts, adjusted, strict=True)
        false += any(verdict(1.0, d.mean, p) != "undecided" for d, p in pairs)
    return false / TRIALS


def columns_of(draws: np.ndarray) -> list[list[list[float]]]:
    """By experiment and comparison: mean, sd, interval and p over the last axis."""
    n, mean, sd = draws.shape[2], draws.mean(2), draws.std(2, ddof=1)
    error = sd / n**0.5
    half = stats.t.ppf(0.975, n - 1) * error
    p = 2 * stats.t.sf(np.abs(mean / error), n - 1)
    found: list[list[list[float]]] = np.stack([mean, sd, mean - half, mean + half, p], 2).tolist()
    return found


@pytest.mark.parametrize("comparisons", [1, 3])
def test_one_table_in_twenty_at_most_has_a_false_verdict_whenever_it_stops(
    comparisons: int,
) -> None:
    limit = stats.binom.ppf(0.9999, TRIALS, 0.05) / TRIALS
    assert share_of_false_tables(comparisons, LOOKS, LOOKS.count) <= limit
    # The simulation would see it.
    assert share_of_false_tables(comparisons, LOOKS, 1) > limit + 0.03
