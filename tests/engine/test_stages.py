"""Which stages a cell has, and when two cells share one."""

from typing import Any

import pytest

from sskd.config import base_for, build_config, canonical, digest
from sskd.engine.stages import Stage, fingerprint, plan_stages


def plan(changes: dict[str, Any], data: str = "toycity") -> dict[str, Stage]:
    config = build_config(base_for("tiny", data), changes)
    split = f"s{config.data.label_fraction}"
    if config.data.held_out:
        split += f" without {config.data.held_out}"
    stages = plan_stages(config, data_sha="d", split_sha=split)
    return {stage.name: stage for stage in stages}


def trained(stages: dict[str, Stage]) -> list[str]:
    return [name for name, stage in stages.items() if stage.kind != "evaluation"]


def test_the_whole_method_in_order() -> None:
    assert trained(plan({})) == [
        "pretraining",
        "supervised",
        "pseudo_labels_supervised",
        "self_training",
        "pseudo_labels_adapted",
        "transfer",
        "refinement",
    ]


def test_guards_change_no_label_and_no_identity() -> None:
    looser = plan({"pseudo_labels.max_mean": 150.0, "pseudo_labels.min_mean": 0.0})
    assert {s.key for s in looser.values()} == {s.key for s in plan({}).values()}
    other = plan({"pseudo_labels.score_threshold": 0.5})
    assert other["pseudo_labels_adapted"].key != plan({})["pseudo_labels_adapted"].key


def test_self_training_starts_from_the_pretrained_weights_again() -> None:
    stages = plan({})
    assert stages["self_training"].start == "pretraining"
    assert stages["refinement"].start == "transfer"
    assert stages["transfer"].start is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pipeline.teacher": "none", "pipeline.final": "transfer"}, ["transfer"]),
        (
            {"pipeline.teacher": "zero-shot", "pipeline.final": "transfer"},
            ["pretraining", "pseudo_labels_zero_shot", "transfer"],
        ),
        ({"pipeline.teacher": "zero-shot", "pipeline.final": "zero-shot"}, ["pretraining"]),
        ({"stages.transfer.semi_weight": 0.0}, ["transfer", "refinement"]),
        (
            {"pipeline.teacher": "supervised", "pipeline.final": "supervised"},
            ["pretraining", "supervised"],
        ),
    ],
)
def test_only_what_the_final_model_needs(changes: dict[str, Any], expected: list[str]) -> None:
    assert trained(plan(changes)) == expected


def test_a_real_pretrained_teacher_has_no_pretraining() -> None:
    assert trained(plan({}, data="mine"))[0] == "supervised"
    assert plan({}, data="mine")["supervised"].start is None


def test_every_trained_model_is_evaluated() -> None:
    stages = plan({})
    evaluated = {s.start for s in stages.values() if s.kind == "evaluation"}
    assert evaluated == {n for n, s in stages.items() if s.kind == "train"}


@pytest.mark.parametrize(
    ("changes", "first_different"),
    [
        ({"contrast.negatives.score": "mask"}, "transfer"),
        ({"stages.transfer.semi_weight": 0.5}, "transfer"),
        ({"stages.refinement.steps": 7}, "refinement"),
        ({"teacher_contrast.weight": 0.1}, "supervised"),
        ({"pseudo_labels.score_threshold": 0.5}, "pseudo_labels_supervised"),
        ({"data.label_fraction": 0.3}, "supervised"),
        ({"seed": 1}, "supervised"),
        ({"numerics.threads": 3}, "pretraining"),
        ({"evaluation.max_dets": 50}, "evaluate_pretraining"),
    ],
)
def test_a_change_touches_what_reads_it_and_what_follows(
    changes: dict[str, Any], first_different: str
) -> None:
    before, after = plan({}), plan(changes)
    different = [name for name in before if before[name].key != after[name].key]
    assert different[0] == first_different
    if first_different == "transfer":
        assert different == ["transfer", "evaluate_transfer", "refinement", "evaluate_refinement"]


@pytest.mark.parametrize(
    "changes",
    [
        {"contrast.margin": 0.5},  # info-nce has no margin
        {"contrast.negatives.bank_size": 5},  # no memory bank
        {"views.strong_scale": [0.9, 1.0]},  # shared geometry has no second crop
        {"runtime.log_every": 5},
        {"runtime.device": "cpu"},
    ],
)
def test_a_key_that_nobody_reads_changes_no_identity(changes: dict[str, Any]) -> None:
    before, after = plan({}), plan(changes)
    assert {n: s.key for n, s in before.items()} == {n: s.key for n, s in after.items()}


def test_without_weight_the_contrastive_settings_are_not_read() -> None:
    off = {"contrast.weight": 0.0}
    other = off | {"contrast.negatives.score": "uniform", "contrast.temperature": 0.1}
    assert plan(off)["transfer"].key == plan(other)["transfer"].key
    assert plan(off)["transfer"].contrast is None


def test_labels_alone_means_no_unlabeled_images() -> None:
    alone = plan({"pipeline.teacher": "none", "contrast.weight": 0.0})["transfer"]
    assert not alone.uses_unlabeled
    assert plan({"pipeline.teacher": "none"})["transfer"].uses_unlabeled


def test_cells_differ_by_seed_even_where_their_stages_do_not() -> None:
    zero_shot = {"pipeline.teacher": "zero-shot", "pipeline.final": "zero-shot"}
    names = set()
    for seed in (0, 1):
        config = build_config(base_for("tiny", "toycity"), zero_shot | {"seed": seed})
        names.add(fingerprint(config, plan_stages(config, data_sha="d", split_sha="s")))
    assert len(names) == 2


@pytest.mark.parametrize("since", ["held_out", '"kind"'])
def test_a_setting_that_came_later_changes_no_key_by_its_default(
    since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []

    def spy(value: object) -> str:
        hashed.append(canonical(value))
        return digest(value)

    monkeypatch.setattr("sskd.engine.stages.digest", spy)
    plan({})
    assert hashed
    assert not any(since in text for text in hashed)


def test_held_out_images_touch_whatever_trains_on_the_rest_and_every_evaluation() -> None:
    before, after = plan({}), plan({"data.held_out": 0.25})
    same = [name for name in before if before[name].key == after[name].key]
    assert same == ["pretraining"]  # it reads the source domain alone
    other = plan({"data.held_out": 0.5})
    assert after["evaluate_pretraining"].key != other["evaluate_pretraining"].key


def test_the_second_evaluator_touches_evaluations_alone_and_is_in_no_key_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, after = plan({}), plan({"evaluation.cityscapes": True})
    different = {name for name in before if before[name].key != after[name].key}
    assert different == {s.name for s in before.values() if s.kind == "evaluation"}
    hashed = []

    def spy(value: object) -> str:
        hashed.append(canonical(value))
        return digest(value)

    monkeypatch.setattr("sskd.engine.stages.digest", spy)
    plan({})
    assert hashed
    assert not any("cityscapes" in text or "labeled_list" in text for text in hashed)
