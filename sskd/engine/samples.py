"""What a cell's final model sees in the first validation images, as one picture for the tracker."""

import json
from pathlib import Path

from sskd.data.coco import CocoData, load_coco
from sskd.data.sheet import draw_sheet
from sskd.engine.store import write_json_atomic

__all__ = ["draw_samples"]

IMAGES = 6
MIN_SCORE = 0.3


def draw_samples(val: CocoData, predictions: Path, folder: Path) -> Path:
    """Draw the detections in the first validation images that show an instance.

    The images are the same for every cell of a data set, so that cells can be compared.

    Args:
        val: The validation images.
        predictions: COCO's result list, as an evaluation stage keeps it.
        folder: Gets ``samples.png``, and ``samples.json`` with what it shows.

    Returns:
        The picture.
    """
    ids = [image.id for image in val.images if val.annotations(image.id)][:IMAGES]
    shown = [
        {
            "id": number,
            "image_id": result["image_id"],
            "category_id": result["category_id"],
            "segmentation": result["segmentation"],
            "score": result["score"],
            "iscrowd": 0,
        }
        for number, result in enumerate(json.loads(predictions.read_text("utf-8")))
        if result["score"] > MIN_SCORE and result["image_id"] in ids
    ]
    images = [val.image(image_id) for image_id in ids]
    write_json_atomic(
        folder / "samples.json",
        {
            "images": [
                {"id": i.id, "file_name": i.file_name, "height": i.height, "width": i.width}
                for i in images
            ],
            "categories": [{"id": c.id, "name": c.name} for c in val.categories],
            "annotations": shown,
        },
    )
    detected = load_coco(folder / "samples.json", val.images_dir)
    path = folder / "samples.png"
    draw_sheet(detected, path, count=IMAGES, seed=0, image_ids=ids)
    return path
