import json

import pytest
from pycocotools import mask as coco_mask

import sskd
from sskd.config import EvaluationConfig, PseudoLabelConfig
from sskd.data.coco import load_coco
from sskd.engine.errors import RunStopped
from sskd.engine.pseudo_labels import make_pseudo_labels

# pycocotools decodes through an interface that numpy 2 calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

INFERENCE = EvaluationConfig(short_side=32, window=None, max_dets=100, mask_threshold=0.5)
SETTINGS = {
    "score_threshold": 0.3,
    "mask_threshold": 0.5,
    "min_area": 10,
    "max_per_image": 3,
    "min_mean": 0.0,
    "max_mean": 100.0,
}


@pytest.fixture
def label(scripted, say, coco_data, tmp_path):
    """Label 32 x 32 images with prepared predictions; returns the statistics and the file."""

    def run(*predictions, calls=None, **changes):
        sizes = {10 * i: (32, 32) for i in range(1, len(predictions) + 1)}
        data = coco_data(sizes, [], {24: "person", 26: "car", 33: "bicycle"}, name="pool")
        script = [say(p, grid=(32, 32), num_classes=3) for p in predictions]
        queries = max(len(masks) for masks, _ in script)
        assert all(len(masks) == queries for masks, _ in script), "as many queries an image"
        out = tmp_path / "pseudo_labels.json"
        stats = make_pseudo_labels(
            scripted(script),
            data,
            out,
            config=PseudoLabelConfig(**(SETTINGS | changes)),
            inference=INFERENCE,
            device="cpu",
            provenance={"teacher": "supervised", "key": "abc"},
            progress=None if calls is None else lambda *a, **facts: calls.append((a, facts)),
        )
        return stats, json.loads(out.read_text()), load_coco(out, data.images_dir)

    return run


def test_the_sure_and_large_become_labels(label, box):
    sure = box(32, 32, 0, 0, 8, 8)
    stats, file, _ = label(
        [
            (sure, 1, 0.9),
            (box(32, 32, 10, 10, 5, 4), 0, 0.4),
            (box(32, 32, 20, 20, 8, 8), 0, 0.2),  # unsure, a near miss
            (box(32, 32, 20, 0, 3, 3), 2, 0.9),  # small
        ],
    )
    kept = [(a["image_id"], a["category_id"], a["score"], a["area"]) for a in file["annotations"]]
    assert kept == [(10, 26, 0.9, 64), (10, 24, 0.4, 20)]
    assert file["annotations"][0]["bbox"] == [0, 0, 8, 8]
    assert (coco_mask.decode(file["annotations"][0]["segmentation"]) == sure).all()
    assert stats.to_dict() == {
        "images": 1,
        "images_without": 0,
        "labels": 2,
        "labels_per_image": 2.0,
        "per_class": {"person": 1, "car": 1, "bicycle": 0},
        "score_histogram": (0, 0, 0, 0, 1, 0, 0, 0, 0, 1),
        "near_misses": 1,
    }


def test_the_threshold_itself_is_not_enough(label, box):
    prediction = [(box(32, 32, 0, 0, 8, 8), 0, 0.625)]
    _, file, _ = label(prediction)
    score = file["annotations"][0]["score"]
    assert score == 0.625
    assert label(prediction, score_threshold=score)[0].labels == 0
    assert label(prediction, score_threshold=score - 1e-6)[0].labels == 1


def test_a_query_gives_one_label_of_its_best_class(label, box):
    # The other two classes are left .2 each, which is more than the threshold.
    stats, file, _ = label([(box(32, 32, 0, 0, 8, 8), 1, 0.4)], score_threshold=0.1)
    assert stats.labels == 1
    assert file["annotations"][0]["category_id"] == 26


def test_the_surest_are_kept_where_there_are_too_many(label, box):
    scores = [0.5, 0.9, 0.6, 0.8, 0.7]
    stats, file, _ = label(
        [(box(32, 32, 6 * i, 0, 5, 20), 0, score) for i, score in enumerate(scores)]
    )
    assert [annotation["score"] for annotation in file["annotations"]] == [0.9, 0.8, 0.7]
    assert stats.labels_per_image == 3


def test_the_file_is_a_data_set_with_every_image(label, box):
    calls = []
    stats, _, data = label(
        [(box(32, 32, 0, 0, 8, 8), 2, 0.8)],
        [(box(32, 32, 0, 0, 8, 8), 2, 0.1)],
        [(box(32, 32, 4, 4, 8, 8), 0, 0.7)],
        calls=calls,
    )
    assert [image.id for image in data.images] == [10, 20, 30]
    assert [category.name for category in data.categories] == ["person", "car", "bicycle"]
    assert [len(data.annotations(image.id)) for image in data.images] == [1, 0, 1]
    assert data.annotations(30)[0].score == pytest.approx(0.7)
    assert data.instances(10).classes.tolist() == [2]
    assert stats.images_without == 1
    assert stats.labels_per_image == pytest.approx(2 / 3)
    assert [c[0] for c in calls] == [("pseudo-labels", i, 3) for i in (1, 2, 3)]
    assert calls[-1][1] == {"labels_per_image": pytest.approx(2 / 3)}


def test_the_file_says_where_it_comes_from(label, box):
    _, file, _ = label([(box(32, 32, 0, 0, 8, 8), 0, 0.8)])
    assert file["info"]["provenance"] == {
        "teacher": "supervised",
        "key": "abc",
        "score_threshold": 0.3,
        "mask_threshold": 0.5,
        "min_area": 10,
        "max_per_image": 3,
        "input_short_side": 32,
        "input_window": None,
        "precision": "no",
        "sskd": sskd.__version__,
    }


def test_collapse_and_flood_stop_the_run(label, box, tmp_path):
    unsure = [(box(32, 32, 0, 0, 8, 8), 0, 0.2)]
    with pytest.raises(RunStopped, match="pseudo-labels collapsed: 0 labels") as caught:
        label(unsure, min_mean=0.5)
    message = str(caught.value)
    assert "\n" not in message
    assert "0 an image, less than pseudo_labels.min_mean 0.5" in message
    assert "pseudo_labels.score_threshold (1 more score above 0.15)" in message
    assert not (tmp_path / "pseudo_labels.json").exists()


def test_a_flood_stops_the_run(label, box):
    many = [(box(32, 32, 8 * i, 0, 6, 20), 0, 0.9) for i in range(3)]
    with pytest.raises(RunStopped, match=r"flood: 3 labels .*3 an image.*max_mean 2; raise"):
        label(many, max_mean=2.0)


def test_nothing_to_label(label):
    with pytest.raises(ValueError, match="max"):
        label()
