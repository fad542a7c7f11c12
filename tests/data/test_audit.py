import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_files import content, square

from sskd.data.audit import audit
from sskd.data.coco import load_coco

Write = Callable[..., tuple[Path, Path]]


def _label(number: int, image: int, place: list[list[float]], score: float) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": image,
        "category_id": 3,
        "segmentation": place,
        "score": score,
    }


def _pseudo(path: Path, coco: dict[str, Any], labels: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps({**coco, "annotations": labels}))
    return path


def test_precision_and_recall_of_hand_made_labels(write: Write, tmp_path: Path) -> None:
    coco = content(3)
    coco["annotations"][2] |= {"iscrowd": 1, "segmentation": square(0, 0, 20)}
    truth = load_coco(*write(coco))  # a cat at (4, 5), a dog, a crowd of cats
    labels = [
        _label(1, 1, square(5, 5, 8), 0.9),  # IoU 7/9
        _label(2, 1, square(4, 5, 8), 0.8),  # better, but its cat is taken
        _label(3, 1, square(20, 5, 8), 0.7),  # nothing there
        _label(4, 2, square(4, 5, 8), 0.9),  # a dog, not a cat
        _label(5, 3, square(2, 2, 5), 0.9),  # in the crowd: does not count
    ]
    found = audit(_pseudo(tmp_path / "p.json", coco, labels), truth)
    assert (found.classes, found.images) == (("cat", "dog"), 3)
    cat, dog = (found.agreement(name=name) for name in found.classes)
    assert (cat.matched, cat.predicted, cat.hidden) == (1, 4, 1)
    assert (cat.precision, cat.recall) == (0.25, 1.0)
    assert (dog.matched, dog.predicted, dog.hidden) == (0, 0, 1)
    assert math.isnan(dog.precision)
    assert dog.recall == 0.0
    assert found.agreement() == (0.25, 0.5, 1, 4, 2)
    strict = audit(tmp_path / "p.json", truth, iou_threshold=0.9)
    assert strict.agreement(name="cat").matched == 1  # the exact one, though its score is lower


def test_a_higher_threshold_keeps_what_a_file_without_the_rest_would_hold(
    write: Write, tmp_path: Path
) -> None:
    coco = content(3)
    truth = load_coco(*write(coco))
    labels = [
        _label(1, 1, square(5, 5, 8), 0.5),
        _label(2, 1, square(4, 5, 8), 0.7),
        _label(3, 2, square(4, 5, 8), 0.9),
    ]
    found = audit(_pseudo(tmp_path / "all.json", coco, labels), truth)
    for above in (0.0, 0.5, 0.6, 0.7, 0.95):
        kept = [label for label in labels if label["score"] > above]
        alone = audit(_pseudo(tmp_path / "kept.json", coco, kept), truth).agreement()
        assert found.agreement(above=above)[2:] == alone[2:]


def test_only_images_of_the_pseudo_label_file_count(write: Write, tmp_path: Path) -> None:
    coco = content(3)
    truth = load_coco(*write(coco))
    extra = {"id": 99, "file_name": "/new.png", "height": 24, "width": 32}
    part = {**coco, "images": [coco["images"][0], extra]}
    labels = [_label(1, 1, square(4, 5, 8), 0.9), _label(2, 99, square(4, 5, 8), 0.9)]
    result = audit(_pseudo(tmp_path / "p.json", part, labels), truth)
    assert result.agreement(name="cat")[:3] == (1.0, 1.0, 1)
    with pytest.raises(ValueError, match="no image in common"):
        audit(_pseudo(tmp_path / "q.json", {**coco, "images": [extra]}, []), truth)
    other = {**coco, "categories": coco["categories"][:1]}
    with pytest.raises(ValueError, match="other categories"):
        audit(_pseudo(tmp_path / "r.json", other, []), truth)
