"""The content of small COCO files, to be broken in one way at a time."""

from typing import Any

CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 17, "name": "dog"}]


def square(left: float, top: float, side: float) -> list[list[float]]:
    """A polygon around a square of pixels."""
    right, bottom = left + side, top + side
    return [[left, top, right, top, right, bottom, left, bottom]]


def content(images: int = 4, *, first: int = 1, prefix: str = "im") -> dict[str, Any]:
    """A valid COCO file: odd images show a cat, even ones a dog; one 24 x 32 (h, w) each."""
    ids = range(first, first + images)
    return {
        "categories": CATEGORIES,
        "images": [
            {"id": i, "file_name": f"{prefix}{i}.png", "height": 24, "width": 32} for i in ids
        ],
        "annotations": [
            {
                "id": 100 + i,
                "image_id": i,
                "category_id": 3 if i % 2 else 17,
                "segmentation": square(4, 5, 8),
                "area": 64,
                "bbox": [4, 5, 8, 8],
                "iscrowd": 0,
            }
            for i in ids
        ],
    }
