"""Sizes that are told without weights."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Sam2VideoConfig, Sam2VideoModel

from sskd.bench.architecture import describe, input_size, saved_bytes, without_weights
from sskd.config import ModelConfig, build_config, load_scale
from sskd.models.encoders import build_encoder
from sskd.models.foundation import load_foundation
from sskd.models.parameters import num_parameters
from sskd.models.student import InstanceSegmenter
from sskd.studies.efficiency import load_efficiency


def model_of(scale: str, role: str, **encoder) -> ModelConfig:
    raw = load_scale(scale)[role]
    raw["encoder"] |= encoder
    return ModelConfig.model_validate_json(json.dumps(raw))


def test_a_linear_map_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU()).to("meta")
    images = torch.empty(2, 3, 4, 6, device="meta")
    # The convolution keeps its input, ReLU its output; neither keeps a parameter anew.
    assert saved_bytes(model, images) == 4 * (2 * 3 * 4 * 6 + 2 * 5 * 4 * 6)


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_the_meta_device_tells_what_the_processor_does(role):
    config = model_of("tiny", role)
    told = describe(config, size=(64, 96), classes=5)
    model = InstanceSegmenter(config, num_classes=5)
    assert told.encoder_parameters == num_parameters(model.encoder)
    assert told.head_parameters == num_parameters(model.head)
    assert told.activation_bytes == saved_bytes(model, torch.zeros(1, 3, 64, 96))
    del model.projection
    assert told.parameters == num_parameters(model)


def test_operations_without_the_projection_and_twice_a_multiply_add():
    config = model_of("tiny", "student")
    small, large = (describe(config, size=(s, s)).flops for s in (64, 128))
    # Convolutions grow with the pixels, the queries' own layers do not.
    assert 3 * small < large < 4 * small
    wide = config.model_copy(
        update={"projection": config.projection.model_copy(update={"hidden": 999})}
    )
    assert describe(wide, size=(64, 64)).flops == small


def test_the_papers_student_stands_beside_the_papers_number():
    told = describe(model_of("paper", "student"), size=(56, 56))
    assert told.parameters == 54_521_929
    assert told.parameters / load_efficiency(Path("/nowhere")).paper.student.parameters < 1.06


@pytest.mark.parametrize("encoder", ["resnet50", "sam2-hiera-small", "dinov2-small"])
def test_encoders_have_the_parameters_of_table_5(encoder):
    model = model_of("paper", "student", name=encoder)
    paper = load_efficiency(Path("/nowhere")).encoders[encoder].paper_parameters
    with torch.device("meta"):
        ours = num_parameters(build_encoder(without_weights(model).encoder))
    assert ours == pytest.approx(paper, rel=0.04)


def test_no_reading_gives_the_heads_the_parameters_of_table_5():
    """The FPN's are fewer than its encoder's; neither the head alone nor the student has them."""
    declared = load_efficiency(Path("/nowhere"))
    encoder = declared.encoders["dinov2-small"].paper_parameters
    assert declared.heads["fpn"].paper_parameters < encoder
    assert declared.heads["dpt"].paper_parameters == encoder
    config = model_of("paper", "student")
    for name, alone, whole in (("fpn", 8_366_272, 44_883_785), ("dpt", 18_004_416, 54_521_929)):
        head = config.head.model_copy(update={"name": name})
        told = describe(config.model_copy(update={"head": head}), size=(56, 56))
        assert (told.head_parameters, told.parameters) == (alone, whole)
        assert alone < declared.heads[name].paper_parameters < whole


def test_the_size_at_test_time():
    def of(scale: str, **changes) -> tuple[int, int]:
        return input_size(build_config(load_scale(scale), changes))

    assert of("tiny") == (96, 96)
    assert of("paper") == (1024, 2048)
    assert of("paper", **{"evaluation.window": 640}) == (640, 640)
    assert of("paper", **{"views.crop": [1024, 512]}) == (2048, 1024)


def test_weights_are_not_looked_for():
    config = model_of("paper", "student", weights="/nowhere/at/all")
    assert without_weights(config).encoder.weights == "none"
    describe(config, size=(64, 64))


def test_the_papers_teacher_has_the_papers_parameters():
    teacher = build_config(load_scale("paper"), {}).teacher
    told = describe(teacher, size=(64, 128))
    paper = load_efficiency(Path("/nowhere")).paper.teacher.parameters
    assert told.parameters == 559_980_568
    assert told.parameters == pytest.approx(paper, rel=0.02)
    with torch.device("meta"):
        detector, segmenter, _ = load_foundation(without_weights(teacher))
        video = Sam2VideoModel(Sam2VideoConfig(vision_config=segmenter.config.vision_config))
    # The paper counts all of SAM 2.1, with the memory that only a video needs.
    assert num_parameters(detector) + num_parameters(video) == pytest.approx(paper, rel=0.001)


def test_the_small_teacher_is_of_the_same_families():
    told = describe(build_config(load_scale("small"), {}).teacher, size=(64, 64))
    assert told.parameters == 204_354_414
    assert told.head_parameters is None
    assert told.flops > 0
    assert told.activation_bytes > 0
