"""The detector and SAM 2 as one model, tiny and random, out of checkpoints on the disk."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertTokenizer,
    MMGroundingDinoForObjectDetection,
    Sam2Model,
    Sam2VideoModel,
)

from sskd.config import GroundedSamConfig
from sskd.models.build import build_model
from sskd.models.grounded_sam import GroundedSam
from sskd.models.parameters import parameter_groups
from sskd.models.text_detector import encoded_image

Settings = Callable[..., dict[str, Any]]
Make = Callable[..., GroundedSam]

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = ("person", "motorcycle", "traffic light")
MORE = (*CLASSES, "car", "bus", "train", "truck")
"""With those of a sentence of 11 tokens first."""


@pytest.fixture
def make(grounded: Settings) -> Make:
    def _make(classes: Sequence[str] = CLASSES, **changes: Any) -> GroundedSam:
        config = GroundedSamConfig.model_validate(grounded(**changes), strict=False)
        generator = torch.Generator().manual_seed(0)
        model = build_model(config, classes=classes, generator=generator)
        assert isinstance(model, GroundedSam)
        return model

    return _make


def pictures(height: int = 64, width: int = 96) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def same(masks: torch.Tensor, expected: torch.Tensor) -> None:
    """Masks of random weights are about 1e-5."""
    torch.testing.assert_close(masks, expected, rtol=1e-4, atol=1e-9)


def test_boxes_and_scores_are_the_detectors_of_the_library(
    make: Make, foundation_folders: tuple[Path, Path]
) -> None:
    model = make().eval()
    folder = foundation_folders[0]
    theirs = MMGroundingDinoForObjectDetection.from_pretrained(folder).eval()
    text = BertTokenizer.from_pretrained(folder)(
        ["person . motorcycle . traffic light ."] * 2, return_tensors="pt"
    )
    assert torch.equal(model.input_ids, text.input_ids[:1])
    with torch.no_grad():
        expected = theirs(pixel_values=pictures(), **text)
        (layer,) = model._layers(model.detect(pictures()))
    torch.testing.assert_close(layer.boxes[:, 0], expected.pred_boxes)
    logits = expected.logits[..., : text.input_ids.shape[1]]
    torch.testing.assert_close(layer.token_logits[:, 0], logits)


def test_every_layer_keeps_its_own_head_though_the_published_file_does_not_say_so(
    make: Make, foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for file in foundation_folders[0].iterdir():
        lines = file.read_bytes().splitlines(keepends=True)
        silent = [line for line in lines if b"_embed_share" not in line]
        (tmp_path / file.name).write_bytes(b"".join(silent if file.suffix == ".json" else lines))
    model, other = make(), make(detector=str(tmp_path))
    assert not torch.equal(
        model.detector.bbox_embed[0].layers[-1].weight,
        model.detector.bbox_embed[1].layers[-1].weight,
    )
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_sentence_of_a_long_list_is_read_as_if_it_were_alone(
    make: Make, short_text: Path
) -> None:
    alone = make(box_threshold=0.0).eval()
    short, model = (make(c, detector=str(short_text)).eval() for c in (CLASSES, MORE))
    with torch.no_grad():
        expected, fits = alone(pictures(), embeddings=False), short(pictures(), embeddings=False)
        assert torch.equal(fits.class_logits, expected.class_logits)
        assert torch.equal(fits.mask_logits, expected.mask_logits)
        (wanted,), (layer,) = (
            alone._layers(alone.detect(pictures())),
            model._layers(model.detect(pictures())),
        )
        scores = model._scores(layer)
    assert layer.boxes.shape == (2, 2, 12, 4)
    torch.testing.assert_close(layer.boxes[:, 0], wanted.boxes[:, 0])
    torch.testing.assert_close(scores[:, :12, :3], alone._scores(wanted))
    assert (scores[:, :12, 3:] == 0).all()
    assert (scores[:, 12:, :3] == 0).all()
    assert (scores[:, 12:, 3:] > 0).all()


def test_a_long_list_gives_one_score_a_class_and_box(make: Make, short_text: Path) -> None:
    model = make(MORE, detector=str(short_text), max_detections=24, nms_iou=1.0).eval()
    with torch.no_grad():
        found = model(pictures(), embeddings=False)
        scores = model.probabilities(found.class_logits)
        assert model.embed(pictures()).shape == (2, 8, 4, 6)
    assert scores.shape == (2, 24, 7)
    of_first, of_second = (scores[..., part].amax(-1) > 0 for part in (slice(3), slice(3, 7)))
    assert torch.equal(of_first, ~of_second)
    assert of_first.any()
    assert of_second.any()


def test_the_backbone_sees_an_image_once_for_all_sentences_and_learns_from_all(
    make: Make, short_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = []
    for calls_expected in (1, 2):
        model = make(MORE, detector=str(short_text))
        calls: list[int] = []
        encoder = model.detector.model.backbone.conv_encoder
        encoder.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        found = model(pictures())
        total = found.pixel_embeddings.square().sum()
        for layer in found.detection.layers:
            own = layer.boxes[layer.boxes.isfinite()]
            total = total + own.sum() + layer.token_logits.sigmoid().sum()
        total.backward()
        assert len(calls) == calls_expected
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
        monkeypatch.setattr("sskd.models.text_detector._asked_once", lambda _: nullcontext())
    assert len(gradients[0]) > 10
    for mine, other in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_masks_are_sam2s_of_the_boxes(make: Make, foundation_folders: tuple[Path, Path]) -> None:
    model = make().eval()
    theirs = Sam2Model.from_pretrained(foundation_folders[1]).eval()
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.25], [0.25, 0.25, 0.25, 0.25]]])
    images = pictures(128, 128)[:1]
    with torch.no_grad():
        expected = theirs(
            pixel_values=images,
            input_boxes=torch.tensor([[[32.0, 48.0, 96.0, 80.0], [16.0, 16.0, 48.0, 48.0]]]),
            multimask_output=False,
        )
        same(model.draw(images, boxes), expected.pred_masks[:, :, 0])


@pytest.mark.parametrize("size", [(64, 96), (33, 40)])
def test_predictions_have_the_contracts_shapes(make: Make, size: tuple[int, int]) -> None:
    model = make().eval()
    with torch.no_grad():
        found = model(pictures(*size), embeddings=False)
    assert found.pixel_embeddings is None
    assert found.detection is None
    count = found.class_logits.shape[1]
    assert 1 <= count <= 5
    assert found.class_logits.shape == (2, count, 4)
    assert found.mask_logits.shape == (2, count, 32, 32)
    scores = model.probabilities(found.class_logits)
    assert scores.shape == (2, count, 3)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (scores.amax(-1).diff(dim=1) <= 0).all(), "the surest first"


def test_nothing_is_predicted_where_nothing_scores_enough(make: Make) -> None:
    model = make(box_threshold=0.999).eval()
    with torch.no_grad():
        found = model(pictures(), embeddings=False)
    assert (model.probabilities(found.class_logits) == 0).all()
    assert (found.mask_logits < 0).all()


def test_an_image_is_encoded_once_for_all_its_boxes(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sskd.models.grounded_sam._BOXES_AT_ONCE", 2)
    model = make().eval()
    calls = []
    model.segmenter.vision_encoder.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        found = model(pictures(), embeddings=False)
    assert found.mask_logits.shape[1] > 2
    assert len(calls) == 1


def test_embeddings_lie_on_the_projections_grid(make: Make) -> None:
    for stride, grid in ((4, (16, 24)), (16, (4, 6)), (32, (2, 3))):
        projection = {"dim": 8, "hidden": 16, "layers": 3, "stride": stride}
        model = make(projection=projection).eval()
        with torch.no_grad():
            embedded = model.embed(pictures())
            torch.testing.assert_close(model(pictures()).pixel_embeddings, embedded)
        assert embedded.shape == (2, 8, *grid)


def test_the_level_that_is_projected_is_that_of_its_stride(make: Make) -> None:
    model = make().eval()
    counts = [8 * 12, 4 * 6, 2 * 3, 1 * 2]
    memory = torch.cat([torch.full((1, n, 1), float(k)) for k, n in enumerate(counts)], dim=1)
    assert model.strides == (8, 16, 32, 64)
    for level in range(4):
        part = model._level(memory, pictures(), level)
        assert (part == level).all()
    with torch.no_grad():
        assert encoded_image(model.detect(pictures())).shape[1] == sum(counts)


@pytest.mark.parametrize(
    ("changes", "frozen"),
    [
        ({}, ("segmenter", "detector.model.text_backbone")),
        ({"freeze_text": False}, ("segmenter",)),
        ({"freeze_segmenter": False}, ("detector.model.text_backbone",)),
        ({"freeze_segmenter": False, "freeze_text": False}, ()),
        (
            {"freeze_backbone": True},
            ("segmenter", "detector.model.text_backbone", "detector.model.backbone"),
        ),
    ],
)
def test_what_is_frozen_neither_learns_nor_drops_anything(
    make: Make, changes: dict[str, Any], frozen: tuple[str, ...]
) -> None:
    model = make(**changes).train()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad is not name.startswith(frozen), name
    assert set(model.reloaded()) == set(frozen)
    for name, module in model.named_modules():
        assert module.training is not (name + ".").startswith(tuple(f"{f}." for f in frozen)), name


@pytest.mark.parametrize("freeze_segmenter", [True, False])
def test_the_encoders_learn_at_their_own_rate_and_the_frozen_not_at_all(
    make: Make, freeze_segmenter: bool
) -> None:
    model = make(freeze_segmenter=freeze_segmenter)
    encoders = ("detector.model.backbone", "segmenter.vision_encoder")
    groups = parameter_groups(model, 1.0, 0.1, 0.01)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates)
    for name, parameter in model.named_parameters():
        expected = 0.1 if name.startswith(encoders) else 1.0
        if parameter.requires_grad:
            assert rates[id(parameter)] == expected, name
        else:
            assert id(parameter) not in rates


def test_every_part_that_may_learn_does(make: Make) -> None:
    model = make(freeze_text=False)
    found = model(pictures())
    total = found.pixel_embeddings.square().sum()
    for layer in found.detection.layers:
        own = layer.boxes[layer.boxes.isfinite()]
        total = total + own.square().sum() + layer.token_logits.square().sum()
    total.backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    # Of Swin's last stage only the normalised map is read; the pooler of BERT is not there.
    assert [n for n in idle if "layernorm" not in n] == []


def test_without_the_contrastive_term_no_mask_is_drawn_in_training(make: Make) -> None:
    model = make()
    model.segmenter.register_forward_pre_hook(lambda *_: pytest.fail("SAM 2 was asked"))
    found = model(pictures(), embeddings=False)
    assert found.mask_logits.shape[:2] == (2, 0)
    assert len(found.detection.layers) == 3  # the proposals and two decoder layers


@pytest.mark.parametrize("embeddings", [True, False])
def test_a_sam2_that_learns_draws_in_training_with_gradient_and_says_in_which_boxes(
    make: Make, embeddings: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sskd.models.grounded_sam._BOXES_AT_ONCE", 2)
    model, frozen = make(freeze_segmenter=False), make()
    found = model(pictures(), embeddings=embeddings)
    prompts = found.detection.prompts
    assert prompts.shape[1] > 2, "in several parts"
    assert not prompts.requires_grad
    same(model.draw(pictures(), prompts), found.mask_logits)
    found.mask_logits.square().mean().backward()
    touched = {name for name, p in model.named_parameters() if p.grad is not None}
    assert all(name.startswith("segmenter.") for name in touched), "boxes learn from boxes"
    encoder = model.segmenter.vision_encoder
    assert all(p.grad is not None for p in encoder.backbone.patch_embed.parameters())
    assert model.segmenter.mask_decoder.mask_tokens.weight.grad.abs().sum() > 0
    other = frozen(pictures())
    assert other.detection.prompts is None
    assert not other.mask_logits.requires_grad
    with torch.no_grad():
        same(model.eval()(pictures()).mask_logits, frozen.eval()(pictures()).mask_logits)


def test_a_box_that_detects_nothing_prompts_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = torch.zeros(2, 12, 3)
    scores[0, :2, 0] = 0.5
    monkeypatch.setattr(GroundedSam, "_scores", lambda *_: scores)
    found = make(freeze_segmenter=False, nms_iou=1.0)(pictures())
    extents = found.detection.prompts[..., 2:].prod(-1) > 0
    assert extents.tolist() == [[True, True], [False, False]]
    assert (found.mask_logits[1] < -10).all()


def test_mixed_precision_gives_finite_predictions(make: Make) -> None:
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        found = model(pictures())
        assert found.mask_logits.isfinite().all()
        assert all(layer.boxes.isfinite().all() for layer in found.detection.layers)
        found.detection.layers[-1].token_logits.square().mean().backward()
        model.eval()
        with torch.no_grad():
            assert model(pictures(), embeddings=False).mask_logits.isfinite().all()


def test_the_same_generator_gives_the_same_model_and_the_global_one_is_left(make: Make) -> None:
    state = torch.get_rng_state()
    one, two = make(), make()
    assert torch.equal(torch.get_rng_state(), state)
    for mine, other in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("key", ["detector", "segmenter"])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nobody/nothing", "`hf download nobody/nothing --local-dir DIR`, bring DIR here and set"),
        ("./missing", "neither a hub id .owner/name., nor an existing folder"),
    ],
)
def test_a_checkpoint_out_of_reach_is_one_line(
    make: Make, key: str, source: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        make(**{key: source})
    assert str(caught.value).startswith(f"teacher.{key} {source!r}")
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_one_line(
    make: Make, foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    detector, segmenter = map(str, foundation_folders)
    with pytest.raises(ValueError, match=r"^teacher.detector .* holds 'sam2_video' weights"):
        make(detector=segmenter)
    with pytest.raises(ValueError, match=r"^teacher.segmenter .* holds 'mm-grounding-dino' weig"):
        make(segmenter=detector)
    with pytest.raises(ValueError, match=r"it must hold config.json, model.safetensors and the to"):
        make(detector=str(tmp_path))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((foundation_folders[0] / name).read_bytes())
    with pytest.raises(ValueError, match="tokenizer"):
        make(detector=str(tmp_path))


def test_a_sam2_image_model_is_read_as_well(
    make: Make, foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    video = Sam2VideoModel.from_pretrained(foundation_folders[1])
    make().segmenter.save_pretrained(tmp_path)
    state = video.state_dict()
    for name, tensor in make(segmenter=str(tmp_path)).segmenter.state_dict().items():
        assert torch.equal(tensor, state[name]), name
