"""Rows without cells, counterparts of one's own, claims in words, stand-ins, other data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_home import Home
from scipy import stats

from sskd.config import base_for, digest
from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.metrics import METRICS
from sskd.reporting.prose import answer, headline
from sskd.reporting.statistics import holm
from sskd.studies.cells import cells, identify
from sskd.studies.declaration import Ablation, Metric, load_ablation

TWO_TABLES: dict[str, Any] = {
    "name": "weights",
    "path": "experiments/weights.yaml",
    "question": "How much?",
    "base": "student-transfer",
    "reference": "student-on",
    "metrics": ["mask_ap", "margin"],
    "variants": {
        "teacher-off": {
            "group": "Teacher",
            "label": "weight = {teacher_contrast.weight}",
            "base": "teacher-self-training",
            "changes": {"teacher_contrast.weight": 0.0},
            "against": "teacher-on",
            "claimed": "below",
        },
        "teacher-on": {
            "group": "Teacher",
            "label": "weight = 0.5",
            "base": "teacher-self-training",
            "changes": {"teacher_contrast.weight": 0.5},
            "against": "teacher-on",
        },
        "student-off": {
            "group": "Student",
            "label": "weight = {contrast.weight}",
            "changes": {"contrast.weight": 0.0},
            "scales": {"tiny": {"stand_in": "no such thing here"}},
            "paper": {"mask_ap": 30.7},
            "paper_on": {"street": {"mask_ap": 12.5}},
        },
        "student-half": {
            "group": "Student",
            "label": "weight = {contrast.weight}",
            "changes": {"contrast.weight": 0.25},
            "paper": {"mask_ap": 31.7},
        },
        "student-on": {
            "group": "Student",
            "label": "weight = {contrast.weight}",
            "changes": {"contrast.weight": 0.5},
            "paper": {"mask_ap": 32.2},
            "paper_on": {"street": {"mask_ap": 14.0}},
        },
        "rival": {
            "group": "Student",
            "label": "Rival",
            "not_run": "another method",
            "paper": {"mask_ap": 30.8},
        },
    },
}
AP = {
    "teacher-off": [0.20, 0.21, 0.22],
    "teacher-on": [0.30, 0.32, 0.31],
    "student-off": [0.15, 0.17, 0.16],
    "student-half": [0.25, 0.24, 0.26],
    "student-on": [0.26, 0.27, 0.25],
}


@pytest.fixture
def ablation() -> Ablation:
    return Ablation.model_validate({**TWO_TABLES, "path": Path("weights.yaml")}, strict=False)


def finished(home: Home) -> Analysis:
    for cell in home.plan(3):
        rows = [{"step": s, "margin": float(s > 18)} for s in range(1, 21)]
        home.write(cell, AP[cell.variant][cell.seed], history=rows)
    return analyse(home.ablation, home.cells, home=home.path)


def test_every_arm_is_held_against_its_own_counterpart(home: Home) -> None:
    found = finished(home).of("mask_ap")
    pairs = {c.arm.name: c.other.name for c in found}
    assert pairs == {
        "teacher-off": "teacher-on",
        "student-off": "student-on",
        "student-half": "student-on",
    }
    raw = [stats.ttest_rel(AP[mine], AP[other]).pvalue for mine, other in pairs.items()]
    # One family: Holm runs over both halves of the table.
    assert [c.adjusted for c in found] == [pytest.approx(p) for p in holm(raw)]
    assert [a.name for a in finished(home).counterparts] == ["teacher-on", "student-on"]


def test_words_and_stand_ins_rule_the_verdict(home: Home) -> None:
    by_name = {c.arm.name: c for c in finished(home).of("mask_ap")}
    assert (by_name["teacher-off"].direction, by_name["teacher-off"].claimed) == ("below", None)
    assert by_name["teacher-off"].verdict == "agrees"
    assert by_name["student-off"].direction == "below"
    assert by_name["student-off"].verdict == "not comparable"
    assert by_name["student-off"].obstacle == "no such thing here"
    # Words are about the first metric alone.
    assert {c.direction for c in finished(home).of("margin")} == {None}


def test_the_papers_numbers_are_those_of_the_data_at_hand(home: Home) -> None:
    papers = {arm.name: arm.paper for arm in finished(home).rows}
    assert papers["student-on"] == {"mask_ap": 14.0}
    assert papers["rival"] == papers["student-half"] == {}  # not Cityscapes' numbers beside these
    planned = identify(
        cells(home.ablation, base_for("tiny", "toycity"), {}, [0]),
        lambda config: digest(config.identity()),
    )
    elsewhere = analyse(home.ablation, planned, home=home.path)
    assert {arm.name: arm.paper for arm in elsewhere.rows}["rival"] == {"mask_ap": 30.8}


def test_rows_without_cells_say_why(home: Home) -> None:
    analysis = finished(home)
    assert [arm.name for arm in analysis.rows] == list(TWO_TABLES["variants"])
    assert analysis.rows[-1].absent == "not run: another method"
    assert "rival" not in [arm.name for arm in analysis.arms]
    # Without a source domain to pretrain on, no teacher knows the classes beforehand.
    choice = load_ablation("teacher-choice", Path.cwd())
    base = base_for("tiny", "street")
    planned = identify(cells(choice, base, {}, [0]), lambda config: digest(config.identity()))
    reasons = {arm.name: arm.absent for arm in analyse(choice, planned, home=home.path).rows}
    assert {name for name, reason in reasons.items() if reason} == {
        "teacher-zero-shot",
        "student-zero-shot",
    }
    assert str(reasons["teacher-zero-shot"]).startswith("not applicable: ")


def test_equal_labels_are_told_apart_by_their_group(home: Home) -> None:
    titles = {arm.name: arm.title for arm in finished(home).rows}
    assert titles["teacher-on"] == "Teacher: weight = 0.5"
    assert titles["student-on"] == "Student: weight = 0.5"
    assert titles["student-half"] == "weight = 0.25"


def test_the_best_of_each_group_is_bold(home: Home) -> None:
    # By 10.0 +- 1 points over the teacher's other arm; the student's best is not separated.
    assert finished(home).bold["mask_ap"] == ("teacher-on",)


def test_metrics_of_training_are_means_over_its_last_tenth(home: Home) -> None:
    arm = finished(home).reference
    # Twenty steps: the last tenth are 19 and 20, where the margin is 1.
    assert arm.values("margin") == {0: 1.0, 1: 1.0, 2: 1.0}
    cell = home.cell("student-on", 0)
    home.write(cell, 0.2, history=[{"step": s, "margin": s / 100} for s in (50, 90, 95, 100)])
    arm = analyse(home.ablation, home.cells, home=home.path).reference
    assert arm.values("margin")[0] == pytest.approx(0.975)
    assert METRICS["margin"].factor == 1  # as the paper prints it, while AP is in per cent
    assert arm.values("mask_ap")[0] == pytest.approx(20.0)


def test_every_metric_of_a_declaration_can_be_shown() -> None:
    assert set(METRICS) == set(Metric.__args__)  # type: ignore[attr-defined]


def test_the_answer_names_several_counterparts(home: Home) -> None:
    text = answer(finished(home))
    assert "Teacher: weight = 0.5 reaches 31.0 ± 1.0 AP over 3 seeds; " in text
    assert "; Student: weight = 0.5 reaches 26.0 ± 1.0 AP over 3 seeds." in text
    assert "puts Teacher: weight = 0 below Teacher: weight = 0.5 (" in text.replace("**", "")
    assert headline(finished(home)) == "The paper's one claim: agrees."


def test_an_order_of_some_variants_is_held_against_those_alone(home: Home) -> None:
    home.ablation = home.ablation.model_copy(
        update={"expected_order": ("student-on", "teacher-on")}
    )
    assert (
        "the order is Teacher: weight = 0.5 > Student: weight = 0.5; "
        "the paper's is Student: weight = 0.5 > Teacher: weight = 0.5."
    ) in answer(finished(home))


def test_where_lower_is_better_the_lowest_is_bold(home: Home) -> None:
    home.ablation = home.ablation.model_copy(update={"metrics": ("false_negative_rate",)})
    for cell in home.plan(3):
        noise = 1e-4 * np.random.default_rng(len(cell.variant) + cell.seed).normal()
        rate = 0.1 + noise - 0.05 * (cell.variant == "student-half")
        home.write(cell, 0.2, history=[{"step": 1, "false_negative_rate": rate}])
    analysis = analyse(home.ablation, home.cells, home=home.path)
    assert analysis.bold["false_negative_rate"] == ("student-half",)
