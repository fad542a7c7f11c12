from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from torch.nn import functional
from transformers import Mask2FormerImageProcessor

from sskd.data.views import to_model_input
from sskd.engine import predict
from sskd.engine.predict import InferenceRules, predict_batch, predict_data

# pycocotools decodes through an interface that numpy 2 calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RULES = InferenceRules(short_side=32, max_dets=1000, mask_threshold=0.5)


def random_logits(seed, queries=6, num_classes=3, grid=(8, 8)):
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(queries, 3, 3, generator=generator) * 4
    masks = functional.interpolate(coarse[None], size=grid, mode="bicubic")[0]
    return masks, torch.randn(queries, num_classes + 1, generator=generator) * 2


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def decode(detections):
    return [coco_mask.decode(rle).astype(bool) for rle in detections.rles]


def by_definition(mask_logits, class_logits, *, padded, seen, size, max_dets, threshold):
    """Pair by pair: probability, mask, mean probability inside."""
    probabilities = class_logits.softmax(-1)
    pairs = [
        (float(probabilities[q, c]), q, c)
        for q in range(len(class_logits))
        for c in range(class_logits.shape[1] - 1)
    ]
    found = []
    for probability, q, c in sorted(pairs, reverse=True)[:max_dets]:
        logits = mask_logits[q][None, None]
        logits = functional.interpolate(logits, size=padded, mode="bilinear")
        logits = logits[..., : seen[0], : seen[1]]
        soft = functional.interpolate(logits, size=size, mode="bilinear")[0, 0].sigmoid().numpy()
        mask = soft > threshold
        if mask.any():
            found.append((probability * soft[mask].mean(), q, c, mask))
    return sorted(found, key=lambda item: -item[0])


@pytest.mark.parametrize(
    ("size", "seen", "padded"),
    [
        ((32, 32), (32, 32), (32, 32)),
        ((64, 96), (32, 48), (32, 64)),
        ((50, 30), (53, 32), (64, 32)),
        ((20, 33), (32, 53), (32, 64)),
    ],
)
@pytest.mark.parametrize(("max_dets", "threshold"), [(1000, 0.5), (5, 0.5), (1000, 0.3)])
def test_detections_are_those_of_the_definition(scripted, size, seen, padded, max_dets, threshold):
    logits = random_logits(sum(size), grid=(padded[0] // 4, padded[1] // 4))
    model = scripted([logits])
    rules = InferenceRules(short_side=32, max_dets=max_dets, mask_threshold=threshold)
    [detections] = predict_batch(model, [picture(*size)], rules, device="cpu")
    expected = by_definition(
        *logits, padded=padded, seen=seen, size=size, max_dets=max_dets, threshold=threshold
    )
    assert model.inputs[0].shape == (1, 3, *padded)
    assert len(detections) == len(expected) > 3
    np.testing.assert_allclose(detections.scores, [score for score, *_ in expected], rtol=1e-5)
    assert detections.queries.tolist() == [q for _, q, _, _ in expected]
    assert detections.classes.tolist() == [c for _, _, c, _ in expected]
    assert detections.areas.tolist() == [mask.sum() for *_, mask in expected]
    for mask, (*_, expected_mask) in zip(decode(detections), expected, strict=True):
        assert np.array_equal(mask, expected_mask)


def test_equal_to_transformers_post_processing(scripted):
    # Theirs always works at 384 x 384 and keeps as many pairs as there are queries.
    masks, classes = random_logits(3, queries=7, grid=(96, 96))
    outputs = SimpleNamespace(class_queries_logits=classes[None], masks_queries_logits=masks[None])
    theirs = Mask2FormerImageProcessor().post_process_instance_segmentation(
        outputs, threshold=0.0, return_binary_maps=True
    )[0]
    rules = InferenceRules(short_side=384, max_dets=7, mask_threshold=0.5)
    model = scripted([(masks, classes)])
    [ours] = predict_batch(model, [picture(384, 384)], rules, device="cpu")
    order = sorted(range(7), key=lambda i: -theirs["segments_info"][i]["score"])
    segments = [theirs["segments_info"][i] for i in order]
    assert ours.classes.tolist() == [segment["label_id"] for segment in segments]
    np.testing.assert_allclose(ours.scores, [s["score"] for s in segments], atol=2e-6)
    for mask, i in zip(decode(ours), order, strict=True):
        assert np.array_equal(mask, theirs["segmentation"][i].numpy().astype(bool))


def test_the_model_sees_the_normalised_image_resized_and_padded(scripted):
    image = picture(32, 40)
    model = scripted([random_logits(0, grid=(8, 16))] * 2)
    predict_batch(model, [image], RULES, device="cpu")
    assert torch.equal(model.inputs[0][0, :, :, :40], to_model_input(image))
    assert not model.inputs[0][0, :, :, 40:].any()
    predict_batch(model, [np.repeat(np.repeat(image, 2, 0), 2, 1)], RULES, device="cpu")
    inside = (slice(2, -2), slice(2, 36))
    blurred = model.inputs[1][0, :, :, :40]
    correlation = np.corrcoef(
        blurred[:, *inside].flatten(), to_model_input(image)[:, *inside].flatten()
    )[0, 1]
    assert correlation > 0.9


def test_an_empty_mask_is_no_detection(scripted):
    masks, classes = random_logits(1)
    masks[:, 4, 4] = 5.0
    masks[2] = -5.0
    (found,) = predict_batch(scripted([(masks, classes)]), [picture(32, 32)], RULES, device="cpu")
    assert set(found.queries.tolist()) == {0, 1, 3, 4, 5}
    nothing = torch.full_like(masks, -5.0)
    (empty,) = predict_batch(scripted([(nothing, classes)]), [picture(32, 32)], RULES, device="cpu")
    assert len(empty) == 0
    assert empty.scores.shape == empty.classes.shape == empty.areas.shape == (0,)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 1.0])
def test_the_score_threshold_only_leaves_out(scripted, threshold):
    logits = random_logits(4)
    rules = InferenceRules(
        short_side=32, max_dets=1000, mask_threshold=0.5, score_threshold=threshold
    )
    (everything,) = predict_batch(scripted([logits]), [picture(32, 32)], RULES, device="cpu")
    (sure,) = predict_batch(scripted([logits]), [picture(32, 32)], rules, device="cpu")
    keep = everything.scores > threshold
    assert np.array_equal(sure.scores, everything.scores[keep])
    assert sure.rles == tuple(r for r, kept in zip(everything.rles, keep, strict=True) if kept)


def test_one_class_keeps_the_best_pair_of_each_query(scripted):
    logits = random_logits(5)
    rules = InferenceRules(short_side=32, max_dets=1000, mask_threshold=0.5, one_class=True)
    (everything,) = predict_batch(scripted([logits]), [picture(32, 32)], RULES, device="cpu")
    (single,) = predict_batch(scripted([logits]), [picture(32, 32)], rules, device="cpu")
    best = {}
    for score, query, index in zip(
        everything.scores, everything.queries, everything.classes, strict=True
    ):
        best.setdefault(int(query), (float(score), int(index)))
    assert len(single) == len(best) < len(everything)
    for score, query, index in zip(single.scores, single.queries, single.classes, strict=True):
        assert best[int(query)] == (float(score), int(index))


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_extreme_mask_thresholds(scripted, threshold):
    rules = InferenceRules(short_side=32, max_dets=9, mask_threshold=threshold)
    model = scripted([random_logits(0)])
    (detections,) = predict_batch(model, [picture(32, 32)], rules, device="cpu")
    assert detections.areas.tolist() == ([32 * 32] * 9 if threshold == 0 else [])


def test_chunks_of_queries_give_the_same_masks(scripted, monkeypatch):
    logits = random_logits(6, queries=9)
    (whole,) = predict_batch(scripted([logits]), [picture(40, 40)], RULES, device="cpu")
    monkeypatch.setattr(predict, "_CHUNK_PIXELS", 2 * 64 * 64)
    (chunked,) = predict_batch(scripted([logits]), [picture(40, 40)], RULES, device="cpu")
    assert chunked.rles == whole.rles
    assert np.array_equal(chunked.scores, whole.scores)


@pytest.mark.parametrize("fails", [False, True])
def test_every_module_returns_to_its_mode(scripted, fails):
    model = scripted([] if fails else [random_logits(0)])
    model.train()
    model.frozen.eval()
    try:
        predict_batch(model, [picture(32, 32)], RULES, device="cpu")
    except IndexError:
        assert fails
    assert model.training
    assert model.learning.training
    assert not model.frozen.training


def test_images_of_a_data_set_in_order_in_batches_of_one_size(scripted, coco_data):
    sizes = {3: (32, 32), 1: (32, 32), 2: (32, 32), 9: (32, 64), 7: (32, 64), 11: (32, 32)}
    data = coco_data(sizes, [], {1: "car"})
    grids = [(8, 8)] * 3 + [(8, 16)] * 2 + [(8, 8)]
    script = [random_logits(i, grid=grid) for i, grid in enumerate(grids)]
    model = scripted(script)
    predicted = dict(predict_data(model, data, replace(RULES, batch=2), device="cpu"))
    assert list(predicted) == [1, 2, 3, 7, 9, 11]
    assert [len(images) for images in model.inputs] == [2, 1, 2, 1]
    for (image_id, detections), logits in zip(predicted.items(), script, strict=True):
        (alone,) = predict_batch(
            scripted([logits]), [data.read_image(image_id)], RULES, device="cpu"
        )
        assert alone.rles == detections.rles
    limited = predict_data(scripted(script), data, RULES, device="cpu", limit=2)
    assert [image_id for image_id, _ in limited] == [1, 2]
