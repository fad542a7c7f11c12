import contextlib
import copy
import io
import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sskd.config import EvaluationConfig
from sskd.engine.evaluate import evaluate, mask_ap
from sskd.engine.store import write_json_atomic

# pycocotools decodes through an interface that numpy 2 calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CONFIG = EvaluationConfig(short_side=32, window=None, max_dets=100, mask_threshold=0.5)


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def pycocotools_ap(truth, results, max_dets):
    """The reference: pycocotools' arrays, averaged by hand (its summary hard-codes 100)."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        if results:
            found = coco.loadRes(copy.deepcopy(results))
        else:
            found = COCO()
            found.dataset = {**copy.deepcopy(truth), "annotations": []}
            found.createIndex()
        evaluator = COCOeval(coco, found, "segm")
        evaluator.params.maxDets = [max_dets]
        evaluator.evaluate()
        evaluator.accumulate()
    precision = evaluator.eval["precision"][..., -1]

    def mean(values):
        return float(values[values > -1].mean()) if (values > -1).any() else None

    return {
        "mask_ap": mean(precision[..., 0]),
        "mask_ap50": mean(precision[0, ..., 0]),
        "mask_ap75": mean(precision[5, ..., 0]),
        "mask_ap_small": mean(precision[..., 1]),
        "mask_ap_medium": mean(precision[..., 2]),
        "mask_ap_large": mean(precision[..., 3]),
        "per_class": {
            category["name"]: mean(precision[:, :, k, 0])
            for k, category in enumerate(sorted(truth["categories"], key=lambda c: c["id"]))
        },
    }


def same(ours, reference):
    ours = ours.to_dict()
    assert list(ours) == list(reference)
    for key, value in reference.items():
        assert ours[key] == pytest.approx(value, abs=1e-12), key


def ellipse(rng, h, w, largest):
    rows, columns = np.mgrid[:h, :w]
    y, x = rng.uniform(0, h), rng.uniform(0, w)
    a, b = rng.uniform(3, largest, 2)
    return ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1


def scenes(seed):
    """Images with crowds, small to large instances, a class without instances, and ties."""
    rng = np.random.default_rng(seed)
    sizes = {5: (120, 160), 2: (160, 120), 40: (200, 300), 7: (40, 40)}
    names = {24: "person", 26: "car", 33: "bicycle", 28: "bus"}
    annotations, results = [], []
    for image_id, (h, w) in sizes.items():
        for _ in range(rng.integers(0, 12)):
            mask = ellipse(rng, h, w, rng.choice([10, 30, 100]))
            if not mask.any():
                continue
            category = int(rng.choice([24, 26, 33]))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "segmentation": rle(mask),
                    "area": float(mask.sum()),
                    "bbox": [0, 0, 1, 1],
                    "iscrowd": int(rng.random() < 0.2),
                }
            )
            for _ in range(rng.integers(0, 4)):  # several near hits of one instance
                shifted = np.roll(mask, rng.integers(-4, 5, 2), (0, 1))
                wrong = rng.random() < 0.2
                results.append(
                    (image_id, int(rng.choice(list(names))) if wrong else category, shifted)
                )
        for _ in range(rng.integers(0, 8)):
            elsewhere = ellipse(rng, h, w, 50)
            results.append((image_id, int(rng.choice(list(names))), elsewhere))
    truth = {
        "images": [{"id": i, "height": h, "width": w} for i, (h, w) in sizes.items()],
        "categories": [{"id": i, "name": n} for i, n in names.items()],
        "annotations": annotations,
    }
    results = [
        {
            "image_id": i,
            "category_id": c,
            "segmentation": rle(mask),
            "score": float(np.round(rng.random(), 2)),  # rounded: some scores are equal
        }
        for i, c, mask in results
        if mask.any()
    ]
    return truth, results


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_dets", [1, 3, 10, 100])
def test_equal_to_pycocotools(seed, max_dets):
    truth, results = scenes(seed)
    ours = mask_ap(truth, results, max_dets=max_dets)
    reference = pycocotools_ap(truth, results, max_dets)
    same(ours, reference)
    assert ours.per_class["bus"] is None
    assert 0 < ours.mask_ap < 1


def test_equal_to_pycocotools_own_summary_at_100():
    truth, results = scenes(4)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    ours = mask_ap(truth, results, max_dets=100)
    values = [
        ours.mask_ap,
        ours.mask_ap50,
        ours.mask_ap75,
        ours.mask_ap_small,
        ours.mask_ap_medium,
        ours.mask_ap_large,
    ]
    theirs = [None if value == -1 else value for value in evaluator.stats[:6]]
    assert values == pytest.approx(theirs, abs=1e-12)


def test_no_detection_at_all_is_zero_and_what_is_given_stays_unchanged():
    truth, results = scenes(0)
    before = copy.deepcopy((truth, results))
    nothing = mask_ap(truth, [], max_dets=100)
    same(nothing, pycocotools_ap(truth, [], 100))
    assert nothing.mask_ap == 0
    mask_ap(truth, results, max_dets=100)
    assert (truth, results) == before


def by_hand(box, truths, results, max_dets=100):
    """Boxes of a 100 x 100 image, one class: (corner, side, crowd) and (corner, side, score)."""
    annotations = [
        {
            "id": i,
            "image_id": 1,
            "category_id": 5,
            "segmentation": rle(box(100, 100, corner, corner, side, side)),
            "area": float(side**2),
            "iscrowd": crowd,
        }
        for i, (corner, side, crowd) in enumerate(truths, start=1)
    ]
    truth = {
        "images": [{"id": 1, "height": 100, "width": 100}],
        "categories": [{"id": 5, "name": "car"}],
        "annotations": annotations,
    }
    found = [
        {
            "image_id": 1,
            "category_id": 5,
            "segmentation": rle(box(100, 100, corner, corner, side, side)),
            "score": score,
        }
        for corner, side, score in results
    ]
    result = mask_ap(truth, found, max_dets=max_dets)
    same(result, pycocotools_ap(truth, found, max_dets))
    return result


def test_closed_forms(box):
    # One of two found: precision 1 up to recall .5, which is 51 of 101 recall thresholds.
    half = by_hand(box, [(0, 20, 0), (50, 40, 0)], [(0, 20, 0.9)])
    assert half.mask_ap == pytest.approx(51 / 101)
    assert half.mask_ap_small == 1
    assert half.mask_ap_medium == 0
    assert half.mask_ap_large is None
    # A false alarm that is surer than the hit halves the precision.
    late = by_hand(box, [(0, 20, 0)], [(60, 20, 0.9), (0, 20, 0.8)])
    assert late.mask_ap == pytest.approx(0.5)
    # IoU 16^2 / 20^2 = .64 passes .5, .55 and .6 of the ten thresholds.
    loose = by_hand(box, [(0, 20, 0)], [(0, 16, 0.9)])
    assert (loose.mask_ap, loose.mask_ap50, loose.mask_ap75) == (pytest.approx(0.3), 1, 0)
    # What lies in a crowd region is neither a hit nor a false alarm.
    crowd = by_hand(box, [(0, 20, 0), (40, 50, 1)], [(45, 10, 0.9), (60, 10, 0.8), (0, 20, 0.7)])
    assert crowd.mask_ap == 1
    # Only the surest count.
    one = by_hand(box, [(0, 20, 0)], [(60, 20, 0.9), (0, 20, 0.8)], max_dets=1)
    assert one.mask_ap == 0


# --- models on data


@pytest.fixture
def street(coco_data, box):
    """Sparse category ids, an annotation id 0, sizes that count at the original resolution."""
    return coco_data(
        {4: (128, 128), 9: (128, 128)},
        [
            (4, 26, box(128, 128, 0, 0, 112, 112), False),
            (9, 24, box(128, 128, 16, 32, 32, 48), False),
            (9, 24, box(128, 128, 64, 64, 48, 48), True),
        ],
        {24: "person", 26: "car", 33: "bicycle"},
    )


def answers(say, box, confidence=0.9):
    """What a perfect model says at an input of 32 x 32, with masks at stride 4."""
    return [
        say([(box(32, 32, 0, 0, 28, 28), 1, confidence)], grid=(32, 32), num_classes=3),
        say([(box(32, 32, 4, 8, 8, 12), 0, confidence)], grid=(32, 32), num_classes=3),
    ]


def test_a_perfect_model(scripted, say, street, box):
    calls = []
    result = evaluate(
        scripted(answers(say, box)),
        street,
        config=CONFIG,
        device="cpu",
        progress=lambda what, done, total, **facts: calls.append((what, done, total)),
    )
    assert result.mask_ap == 1
    assert result.mask_ap_large == result.mask_ap_medium == 1
    assert result.mask_ap_small is None
    assert result.per_class == {"person": 1.0, "car": 1.0, "bicycle": None}
    assert calls == [("evaluation", 1, 2), ("evaluation", 2, 2)]


def test_a_limit_evaluates_the_first_images(scripted, say, street, box):
    result = evaluate(scripted(answers(say, box)[:1]), street, config=CONFIG, device="cpu", limit=1)
    assert result.per_class == {"person": None, "car": 1.0, "bicycle": None}


def test_the_predictions_file(scripted, say, street, box, tmp_path):
    result = evaluate(
        scripted(answers(say, box, confidence=0.123456789)), street, config=CONFIG, device="cpu"
    )
    write_json_atomic(tmp_path / "predictions.json", result.detections)
    detections = json.loads((tmp_path / "predictions.json").read_text())
    best = detections[0]
    assert set(best) == {"image_id", "category_id", "segmentation", "score"}
    assert all(d["score"] == round(d["score"], 5) >= 0.01 for d in detections)
    assert {d["category_id"] for d in detections} <= {24, 26, 33}
    assert coco_mask.decode(best["segmentation"]).shape == (128, 128)
    assert "detections" not in result.to_dict()


def test_images_without_instances_have_no_ap(scripted, say, coco_data, box):
    only_crowd = coco_data({1: (32, 32)}, [(1, 5, box(32, 32, 0, 0, 9, 9), True)], {5: "car"})
    model = scripted([say([], grid=(8, 8), num_classes=1)])
    with pytest.raises(ValueError, match=r"instances\.json: no instance in 1 images"):
        evaluate(model, only_crowd, config=CONFIG, device="cpu")
