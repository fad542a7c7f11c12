"""Comparisons, verdicts, cost and curves of hand-made cells."""

from pathlib import Path

import numpy as np
import pytest
from made_home import Home
from scipy import stats

from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.captions import power_caption, result_caption
from sskd.reporting.cost import cost_of
from sskd.reporting.curves import MAX_POINTS, collect_curves, join
from sskd.reporting.prose import answer
from sskd.reporting.statistics import minimum_detectable_difference, pooled_deviation
from sskd.reporting.tables import power_rows
from sskd.studies.declaration import Pair, load_ablation

AP = {
    "uniform": [0.200, 0.210, 0.205],
    "mask": [0.240, 0.251, 0.239],
    "class": [0.260, 0.241, 0.252],
    "fusion": [0.250, 0.260, 0.256],
}


def finished(home: Home, seeds: int = 3) -> Analysis:
    for cell in home.plan(seeds):
        home.write(cell, AP[cell.variant][cell.seed])
    return analyse(home.ablation, home.cells, home=home.path)


def test_comparisons_equal_scipys_paired_test(home: Home) -> None:
    analysis = finished(home)
    raw = {}
    for comparison in analysis.of("mask_ap"):
        pairs = 100 * np.array(AP[comparison.arm.name]), 100 * np.array(AP["fusion"])
        theirs = stats.ttest_rel(*pairs)
        raw[comparison.arm.name] = theirs.pvalue
        assert comparison.difference is not None
        assert comparison.difference.p == pytest.approx(theirs.pvalue)
        assert comparison.difference.mean == pytest.approx((pairs[0] - pairs[1]).mean())
    smallest = min(raw, key=lambda name: raw[name])
    adjusted = {c.arm.name: c.adjusted for c in analysis.of("mask_ap")}
    assert adjusted[smallest] == pytest.approx(3 * raw[smallest])


def test_verdicts_follow_the_papers_sign(home: Home) -> None:
    analysis = finished(home)
    assert {c.arm.name: (c.claimed, c.verdict) for c in analysis.of("mask_ap")} == {
        "uniform": (-2.8, "agrees"),
        "mask": (-1.6, "undecided"),
        "class": (-1.1, "undecided"),
    }
    # The declaration prints no AP50 of the paper's.
    assert {c.verdict for c in analysis.of("mask_ap50")} == {"not comparable"}


def test_a_further_claim_is_tested_with_the_others(home: Home) -> None:
    further = Pair(variant="class", against="uniform"), Pair(variant="mask", against="class")
    home.ablation = home.ablation.model_copy(update={"further": further})
    analysis = finished(home)
    comparisons = analysis.of("mask_ap")
    first, second = comparisons[3:]
    assert (first.arm.name, first.other.name) == ("class", "uniform")
    assert (first.claimed, first.direction) == (1.7, "above")
    assert (second.claimed, second.direction) == (-0.5, "below")
    # One family: the smallest p of the five is taken five times.
    smallest = min(comparisons, key=lambda c: c.adjusted or 1)
    raw = stats.ttest_rel(AP[smallest.arm.name], AP[smallest.other.name]).pvalue
    assert smallest.adjusted == pytest.approx(5 * raw)
    assert [c.arm.name for c in analysis.own("mask_ap").values()] == ["uniform", "mask", "class"]
    assert [arm.name for arm in analysis.counterparts] == ["fusion"]


def test_words_are_about_the_first_metric(home: Home) -> None:
    variants = {
        name: variant.model_copy(update={"paper": None})
        for name, variant in home.ablation.variants.items()
    }
    further = (Pair(variant="class", against="uniform", claimed="above"),)
    home.ablation = home.ablation.model_copy(update={"variants": variants, "further": further})
    analysis = finished(home)
    assert (analysis.of("mask_ap")[-1].direction, analysis.of("mask_ap50")[-1].direction) == (
        "above",
        None,
    )


def test_a_clear_opposite_differs(home: Home) -> None:
    for cell in home.plan(3):
        home.write(cell, AP[cell.variant][cell.seed] + 0.2 * (cell.variant == "uniform"))
    analysis = analyse(home.ablation, home.cells, home=home.path)
    by_name = {c.arm.name: c.verdict for c in analysis.of("mask_ap")}
    assert by_name["uniform"] == "differs"
    assert analysis.bold["mask_ap"] == ("uniform",)


def test_nothing_is_bold_that_is_not_separated(home: Home) -> None:
    assert finished(home).bold["mask_ap"] == ()


def test_only_shared_seeds_are_paired(home: Home) -> None:
    for cell in home.plan(3):
        if (cell.variant, cell.seed) != ("uniform", 0):
            home.write(cell, AP[cell.variant][cell.seed])
    analysis = analyse(home.ablation, home.cells, home=home.path)
    difference = analysis.of("mask_ap")[0].difference
    assert difference is not None
    assert difference.n == 2
    assert difference.mean == pytest.approx((21.0 - 26.0 + 20.5 - 25.6) / 2)
    assert [cell.name for cell in analysis.missing] == ["uniform/s0"]


def test_no_cell_of_the_reference_is_an_error(home: Home) -> None:
    others = [cell for cell in home.plan(1) if cell.variant != "fusion"]
    with pytest.raises(ValueError, match="no cell of the reference 'fusion'"):
        analyse(home.ablation, others, home=home.path)


def test_shared_stages_cost_once(home: Home) -> None:
    cost = cost_of(finished(home).arms)
    # Three seeds of one teacher (300 s) for four variants; transfer 60 s and evaluation 4 s each.
    assert cost.alone == pytest.approx(12 * 364)
    assert cost.shared == pytest.approx(3 * 300 + 12 * 64)
    assert cost.factor == pytest.approx(cost.alone / cost.shared)
    teacher = cost.stages[0]
    assert (teacher.name, teacher.computed, teacher.used) == ("supervised", 3, 12)
    assert teacher.peak_memory_bytes == 700 * 2**20
    assert cost.stages[2].peak_memory_bytes is None
    assert [variant.own for variant in cost.variants] == [pytest.approx(192.0)] * 4
    assert cost_of([]).factor == 1.0


def test_joined_curve_is_mean_and_range_where_all_seeds_are() -> None:
    first = np.array([0, 10, 20]), np.array([1.0, 2.0, 3.0])
    second = np.array([10, 20, 30]), np.array([4.0, 9.0, 7.0])
    curve = join([first, second])
    assert curve.steps.tolist() == [10, 20]
    assert curve.mean.tolist() == [3.0, 6.0]
    assert (curve.low.tolist(), curve.high.tolist()) == ([2.0, 3.0], [4.0, 9.0])
    assert curve.n == 2


def test_long_curves_are_averaged_over_spans() -> None:
    steps = np.arange(10 * MAX_POINTS)
    curve = join([(steps, steps.astype(float))])
    assert len(curve.steps) == MAX_POINTS
    assert curve.mean[0] == pytest.approx(4.5)
    np.testing.assert_allclose(curve.steps, curve.mean)


def test_curves_are_of_what_was_asked_for_and_logged(home: Home) -> None:
    rows = [{"step": s, "margin": s / 10, "loss": 1.0} for s in (1, 2)]
    for cell in home.plan(2):
        home.write(cell, 0.2, history=rows if cell.variant != "mask" else None)
    analysis = analyse(home.ablation, home.cells, home=home.path)
    (curves,) = collect_curves(analysis, ["margin", "bank_age"], home=home.path)
    assert curves.stage == "transfer"
    assert list(curves.by_metric) == ["margin"]
    assert list(curves.by_metric["margin"]) == ["uniform", "class", "fusion"]


def test_curves_of_teacher_and_student_are_apart(home: Home) -> None:
    home.ablation = load_ablation("teacher-choice", Path.cwd())
    for cell in home.plan(2):
        home.write(cell, 0.2, history=[{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
    analysis = analyse(home.ablation, home.cells, home=home.path)
    found = collect_curves(analysis, ["loss"], home=home.path)
    assert {curves.stage: curves.names for curves in found} == {
        "pretraining": ["teacher-zero-shot"],
        "self_training": ["teacher-adapted"],
        "transfer": ["student-zero-shot", "student-adapted"],
    }


def test_what_seeds_can_tell_goes_by_the_pairs_that_there_are(home: Home) -> None:
    """Two seeds of the outer variants, three of the inner ones; nobody planned more."""
    planned = [c for c in home.plan(3) if c.seed < 2 or c.variant in ("mask", "fusion")]
    for cell in planned:
        home.write(cell, 0.2 + 0.01 * cell.seed**2 * (cell.variant != "fusion"))
    analysis = analyse(home.ablation, planned, home=home.path)
    assert analysis.pairs("mask_ap") == [2, 3]
    caption = result_caption(analysis)
    assert (
        "(planned: seeds 0 and 1 of Uniform and Class; seeds 0, 1 and 2 of Mask and Fusion)"
        in caption
    )
    assert "With 2 seeds (comparisons have 2 to 3) a true difference" in answer(analysis)
    (row,) = (row for row in power_rows(analysis) if row[0] == "AP (points)")
    sd = pooled_deviation([c.difference for c in analysis.of("mask_ap") if c.difference])
    assert sd is not None
    found = minimum_detectable_difference(sd, 2)
    assert (row[3], row[4]) == ("2", f"{found:.2f}")
    assert "the fewest of any" in power_caption(analysis, power=0.8)


def test_a_planned_number_that_is_not_there_promises_nothing(home: Home) -> None:
    for cell in home.plan(3):
        if cell.seed < 2:
            home.write(cell, 0.2 + 0.01 * cell.seed * (cell.variant != "fusion"))
    analysis = analyse(home.ablation, home.cells, home=home.path)
    assert "(planned: seeds 0, 1 and 2)" in result_caption(analysis)
    assert "With 2 seeds a true difference" in answer(analysis)
    assert [row[3] for row in power_rows(analysis)[1:]] == ["2", "2"]
    assert "fewest" not in power_caption(analysis, power=0.8)
