"""Pseudo-labels of somebody else's teacher: kept by our rules, identified by their content."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_trees import city_ids, write_cityscapes
from pycocotools import mask as coco_mask

from sskd.config import Config, PseudoLabelConfig, base_for, build_config
from sskd.data.cityscapes import cityscapes
from sskd.data.coco import load_coco
from sskd.data.conversion import add_converted
from sskd.engine.imported_labels import file_hash, import_pseudo_labels
from sskd.engine.run import plan_cell, run_cell
from sskd.engine.stages import plan_stages

SETTINGS = PseudoLabelConfig(
    score_threshold=0.3,
    mask_threshold=0.5,
    min_area=10,
    max_per_image=2,
    min_mean=0.0,
    max_mean=100.0,
)


def entry(image: int, mask: np.ndarray, score: float = 0.9, category: int = 26) -> dict[str, Any]:
    code = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    segmentation = {"size": code["size"], "counts": code["counts"].decode()}
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        "score": score,
    }


@pytest.fixture
def keep(coco_data, tmp_path):
    """Import entries for images 1 and 2, where image 3 is labeled; statistics, file, data."""

    def run(entries: object):
        pool = coco_data({1: (32, 32), 2: (32, 32)}, [], {24: "person", 26: "car"}, name="pool")
        path, out = tmp_path / "mine.json", tmp_path / "out.json"
        path.write_text(json.dumps(entries))
        origin = {"sha256": "abc"}
        stats = import_pseudo_labels(path, pool, (1, 3), out, config=SETTINGS, provenance=origin)
        return stats, json.loads(out.read_text()), load_coco(out, pool.images_dir)

    return run


def test_thresholds_and_limits_are_ours(keep, box) -> None:
    masks = [box(32, 32, 4 * k, 2 * k, 6, 5) for k in range(5)]
    stats, file, data = keep(
        [
            entry(1, masks[0], 0.4),
            entry(1, masks[1], 0.9, category=24),
            entry(1, masks[2], 0.8),  # the surest two of an image stay
            entry(2, masks[3], 0.2),  # a near miss
            entry(2, box(32, 32, 0, 0, 3, 3), 0.9),  # small
            entry(2, np.zeros((32, 32)), 1.0),  # empty
            entry(3, masks[4], 0.9),  # of a labeled image
        ]
    )
    assert (stats.labels, stats.images, stats.images_without, stats.near_misses) == (2, 2, 1, 1)
    assert stats.per_class == {"person": 1, "car": 1}
    assert [a.score for a in data.annotations(1)] == [0.9, 0.8]
    assert (data.instances(1).masks == np.stack([masks[1], masks[2]])).all()
    assert file["info"]["provenance"]["sha256"] == "abc"
    assert [image.id for image in data.images] == [1, 2]


def test_polygons_do_too(keep) -> None:
    square = [[4.0, 4.0, 20.0, 4.0, 20.0, 20.0, 4.0, 20.0]]
    _, _, data = keep([entry(1, np.ones((32, 32))) | {"segmentation": square}])
    assert data.instances(1).masks.sum() == 256


GOOD = entry(1, np.ones((32, 32)))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ({"annotations": []}, "a COCO result list is needed, this is a dict"),
        ([GOOD, GOOD | {"image_id": 9}], "entry 1: image_id 9 is no training image"),
        ([GOOD | {"category_id": 3}], "entry 0: category_id 3 is none of 24, 26"),
        ([GOOD | {"score": 7.5}], "entry 0: score: "),
        ([{k: v for k, v in GOOD.items() if k != "score"}], "entry 0: score: field required"),
        ([entry(1, np.ones((16, 16)))], r"entry 0: RLE of size \[16, 16\], but the image is"),
        ([GOOD | {"segmentation": []}], "entry 0: no segmentation"),
    ],
)
def test_mistakes_name_file_and_entry(keep, entries, says) -> None:
    with pytest.raises(ValueError, match=rf"mine\.json: {says}"):
        keep(entries)


def config(file: Path | None, **changes: object) -> Config:
    own = {key.replace("__", "."): value for key, value in changes.items()}
    small = {
        "encoder": {"name": "tiny-conv", "weights": "none", "width": 8},
        "head": {"width": 16},
        "decoder": {"queries": 6, "layers": 1, "heads": 2, "width": 16, "feedforward": 16},
    }
    transfer = {"steps": 1, "labeled_batch": 1, "unlabeled_batch": 1, "contrast": False}
    base = {
        "student": small,
        "teacher": small,
        "views.crop": [32, 32],
        "evaluation.short_side": 32,
        "pipeline.final": "transfer",
        "data.label_fraction": 0.5,
        "set_loss.points": 32,
        "runtime.device": "cpu",
        "stages.transfer": transfer,
        "pseudo_labels.file": None if file is None else str(file),
    }
    return build_config(base_for("tiny", "city"), base | own)


def test_a_student_learns_from_them_and_no_teacher_is_trained(tmp_path: Path) -> None:
    added = add_converted(tmp_path, "city", cityscapes(write_cityscapes(tmp_path / "root")))
    train = load_coco(added.train_json, added.images)
    entries = [entry(image.id, city_ids(k % 3) == 26000) for k, image in enumerate(train.images)]
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(entries))
    threads = torch.get_num_threads()
    cell = run_cell(
        config(path), home=tmp_path, log=lambda *_: None, progress=lambda *_, **__: None
    )
    torch.set_num_threads(threads)
    names = [stage["name"] for stage in cell.result["stages"]]
    assert names == ["pseudo_labels_imported", "transfer", "evaluate_transfer"]
    assert cell.result["pseudo_labels"]["pseudo_labels_imported"]["labels"] == 3
    renamed = path.rename(tmp_path / "renamed.json")
    assert plan_cell(config(renamed), home=tmp_path).fingerprint == cell.fingerprint
    renamed.write_text(json.dumps(entries[1:]))
    assert plan_cell(config(renamed), home=tmp_path).fingerprint != cell.fingerprint
    with pytest.raises(ValueError, match=r"theirs\.json: no such file of pseudo-labels"):
        plan_cell(config(path), home=tmp_path)


def test_a_file_that_nothing_reads_is_refused() -> None:
    teacher = {"pipeline__teacher": "supervised", "pipeline__final": "supervised"}
    with pytest.raises(ValueError, match=r"pseudo_labels\.file is for a student"):
        config(Path("x.json"), **teacher)
    with pytest.raises(ValueError, match=r"is not read with pipeline\.teacher 'none'"):
        config(Path("x.json"), pipeline__teacher="none")


def test_thresholds_are_part_of_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("[]")

    def keys(**changes: object) -> dict[str, str]:
        stages = plan_stages(
            config(path, **changes), data_sha="d", split_sha="s", labels_sha=file_hash(path)
        )
        return {stage.name: stage.key for stage in stages}

    assert keys() != keys(pseudo_labels__score_threshold=0.5)
    assert keys() == keys(pseudo_labels__mask_threshold=0.6)  # masks are masks already
    assert keys() == keys(pipeline__teacher="supervised")  # no teacher of ours takes part
