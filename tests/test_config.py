"""Base, overrides, identity, and the one-line answers to mistakes."""

from typing import Any

import pytest

from sskd.config import (
    SCALES,
    SHORT_NAMES,
    base_for,
    build_config,
    canonical,
    digest,
    flatten,
    load_scale,
    load_yaml,
    parse_overrides,
)


def base() -> dict[str, Any]:
    return base_for("tiny", "toycity")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("data", ["toycity", "mine"])
def test_every_base_is_complete_and_valid(scale: str, data: str) -> None:
    config = build_config(base_for(scale, data), {})
    assert config.scale == scale
    assert config.data.name == data


def test_own_data_has_no_source_domain_to_pretrain_on() -> None:
    config = build_config(base_for("tiny", "mine"), {})
    assert config.stages.pretraining is None
    assert config.teacher.encoder.weights == "imagenet"


def test_overrides_read_numbers_as_people_write_them() -> None:
    changes = parse_overrides(["tau=1e-1", "contrast.num_negatives=8", "views.crop=[64, 96]"])
    config = build_config(base(), changes)
    assert config.contrast.temperature == 0.1
    assert config.contrast.num_negatives == 8
    assert config.views.crop == (64, 96)


def test_a_mapping_keeps_the_keys_that_it_does_not_name() -> None:
    config = build_config(base(), {"student.encoder": {"width": 8}})
    assert config.student.encoder.width == 8
    assert config.student.encoder.name == build_config(base(), {}).student.encoder.name


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"contrast.temprature": 0.1}, "temprature'; did you mean 'contrast.temperature'?"),
        ({"temperature": 0.1}, "did you mean 'contrast.temperature'?"),
        ({"student.encoder.widht": 8}, "did you mean 'student.encoder.width'?"),
        ({"contrast.temperature": -1}, "temperature: input should be greater than 0, got -1"),
        ({"contrast.num_negatives": 1.5}, "contrast.num_negatives: "),
        ({"contrast.negatives.score": "maks"}, "'class' or 'fusion', got 'maks'"),
        ({"views.blur_kernel": 4}, "blur_kernel must be odd"),
        ({"student.decoder.heads": 3}, "must be a multiple of heads 3"),
        ({"pipeline.final": "supervised"}, "needs teacher 'supervised'"),
        ({"stages.transfer.labeled_batch": 0}, "L_sup needs labels"),
        ({"runtime.checkpoint_every": 7}, "multiple of log_every"),
        ({"stages.pretraining": None, "pipeline.teacher": "zero-shot"}, "needs stages.pretraining"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as error:
        build_config(base(), changes)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_override_needs_a_value() -> None:
    with pytest.raises(ValueError, match="expected key=value"):
        parse_overrides(["contrast.weight"])


def test_an_unknown_scale_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'tiny'"):
        base_for("tinny", "toycity")


def test_identity_leaves_out_names_and_the_machine() -> None:
    one = build_config(base(), {"runtime.device": "cpu", "scale": "mine", "deviations": []})
    assert digest(one.identity()) == digest(build_config(base(), {}).identity())
    other = build_config(base(), {"contrast.temperature": 0.3})
    assert digest(one.identity()) != digest(other.identity())


def test_canonical_form_knows_one_spelling() -> None:
    assert canonical({"b": 1.0, "a": [1, None]}) == '{"a":[1,null],"b":1.0}'
    whole = build_config(base(), {"contrast.weight": 1})
    assert canonical(whole.identity()) == canonical(
        build_config(base(), {"contrast.weight": 1.0}).identity()
    )


def test_short_names_are_keys() -> None:
    assert set(SHORT_NAMES.values()) <= set(flatten(base()))


def test_yaml_errors_are_one_line() -> None:
    with pytest.raises(ValueError, match="not YAML") as error:
        load_yaml("a: [1,\nb: }")
    assert "\n" not in str(error.value)


def test_the_kind_of_a_segmenter_is_not_written_and_may_be_left_out() -> None:
    config = build_config(base(), {})
    assert config.teacher.kind == "segmenter"
    assert "kind" not in config.model_dump(mode="json")["teacher"]
    assert "kind" not in config.identity()["student"]
    said = base()
    said["teacher"]["kind"] = "segmenter"
    assert build_config(said, {}) == config


def test_another_kind_of_teacher_replaces_the_whole_of_it() -> None:
    own = load_scale("paper")["teacher"]
    config = build_config(base(), {"teacher": own, "stages.pretraining": None})
    assert config.teacher.kind == "grounded-sam"
    again = build_config(config.model_dump(mode="json"), {})
    assert again == config
    back = build_config(
        config.model_dump(mode="json"), {"teacher": base()["teacher"] | {"kind": "segmenter"}}
    )
    assert back.teacher == build_config(base(), {}).teacher


def test_prompts_are_free_names_and_replaced_as_a_whole() -> None:
    paper = load_scale("paper")
    changes = {"teacher.prompts": {"car": "automobile", "bus": "coach"}}
    one = build_config(paper, changes)
    two = build_config(one.model_dump(mode="json"), {"teacher.prompts": {"car": "vehicle"}})
    assert two.teacher.prompts == {"car": "vehicle"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.nms_iou": 2}, r"^teacher\.nms_iou: .* got 2$"),
        ({"teacher.box_treshold": 0.1}, r"did you mean 'teacher\.box_threshold'"),
        ({"teacher": {"kind": "grounded"}}, r"^teacher\.kind: unknown 'grounded'; did you mean"),
        ({"teacher.freeze_segmenter": "no"}, r"^teacher\.freeze_segmenter: .* got 'no'$"),
    ],
)
def test_mistakes_about_a_grounded_teacher_are_one_line(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build_config(load_scale("paper"), changes)
    assert "\n" not in str(caught.value)


def test_a_published_teacher_is_not_pretrained_again() -> None:
    training = load_scale("tiny")["stages"]["pretraining"]
    with pytest.raises(ValueError, match=r"stages\.pretraining must be null"):
        build_config(load_scale("paper"), {"stages.pretraining": training})
    zero_shot = {"pipeline.teacher": "zero-shot", "pipeline.final": "zero-shot"}
    assert build_config(load_scale("paper"), zero_shot).pipeline.final == "zero-shot"
