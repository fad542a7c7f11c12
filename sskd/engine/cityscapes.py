"""Cityscapes' own AP: predictions in the benchmark's folder format, and its evaluator on them.

``cityscapesscripts`` (github.com/mcordts/cityscapesScripts) computes it from gtFine's id maps, not
from our COCO file. It differs from COCO's: an IoU must exceed its threshold, the area under the
measured precision-recall steps is taken, instances under 100 pixels and groups are ignored, and a
prediction on pixels that the benchmark ignores is no miss.
"""

import copy
import importlib
import importlib.util
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from sskd.data.cityscapes import CLASSES, instance_ids_of
from sskd.data.coco import CocoData
from sskd.data.descriptions import DataSet
from sskd.data.images import check_end
from sskd.data.segmentations import decode
from sskd.engine.predict import Detections
from sskd.types import Progress

__all__ = ["OFFICIAL_KEYS", "Exporter", "OfficialResult", "check_official", "official_ap"]

OFFICIAL_KEYS = ("cityscapes_ap", "cityscapes_ap50")

_PACKAGE = "cityscapesscripts"
_EVALUATOR = f"{_PACKAGE}.evaluation.evalInstanceLevelSemanticLabeling"


@dataclass(frozen=True)
class OfficialResult:
    """The benchmark's AP in [0, 1]; ``None`` where nothing of it is annotated."""

    ap: float | None
    ap50: float | None
    per_class: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """As plain data, under the names of the project's metrics."""
        return {
            "cityscapes_ap": self.ap,
            "cityscapes_ap50": self.ap50,
            "cityscapes_per_class": dict(self.per_class),
        }


def check_official(dataset: DataSet) -> Path:
    """Check that the benchmark's evaluator can run on a data set; gives its root folder.

    Raises:
        ValueError: If the data set is not made from Cityscapes, or the package is missing.
    """
    if dataset.cityscapes is None:
        raise ValueError(
            f"Cityscapes' own AP (evaluation.cityscapes): data set {dataset.name!r} is not made by "
            "sskd data add-cityscapes, so that there is no gtFine to evaluate on"
        )
    if importlib.util.find_spec(_PACKAGE) is None:
        raise ValueError(
            f"Cityscapes' own AP (evaluation.cityscapes) needs the package {_PACKAGE}; "
            "run: pip install 'sskd[cityscapes]'"
        )
    if not (dataset.cityscapes / "gtFine").is_dir():
        raise ValueError(f"{dataset.cityscapes}: there is no gtFine in it any more")
    return dataset.cityscapes


class Exporter:
    """Writes detections as the benchmark takes them, one image at a time.

    A text file an image, ``CITY_SEQUENCE_FRAME.txt``, with a line a detection: the path of its mask
    from there, the label's official id, the score to the last digit.
    """

    def __init__(self, data: CocoData, folder: Path) -> None:
        """Empty the folder, or make it.

        Args:
            data: The images that are predicted, of a data set that is made from Cityscapes.
            folder: For the text files; masks go to a folder within.

        Raises:
            ValueError: If something else than an earlier export is in the folder.
        """
        assert {c.id: c.name for c in data.categories} == CLASSES, "other classes"
        self.folder, self._data = folder, data
        if folder.exists():
            if any(path.name != "masks" and path.suffix != ".txt" for path in folder.iterdir()):
                raise ValueError(f"{folder}: holds other files than predictions; name a new folder")
            shutil.rmtree(folder)
        (folder / "masks").mkdir(parents=True)

    def __call__(self, image_id: int, detections: Detections) -> None:
        """Write the detections of one image."""
        image = self._data.image(image_id)
        path = self.text(image_id)
        lines = []
        for number, rle in enumerate(detections.rles):
            name = f"masks/{path.stem}_{number:04d}.png"
            (mask,) = decode([rle], height=image.height, width=image.width)
            Image.fromarray(np.ascontiguousarray(mask)).save(self.folder / name, compress_level=1)
            label = self._data.categories[int(detections.classes[number])].id
            lines.append(f"{name} {label} {float(detections.scores[number])!r}\n")
        path.write_text("".join(lines), "utf-8")

    def text(self, image_id: int) -> Path:
        """The text file of an image."""
        stem = Path(self._data.image(image_id).file_name).stem
        return self.folder / f"{stem.removesuffix('_leftImg8bit')}.txt"


def official_ap(
    data: CocoData, exported: Exporter, root: Path, *, progress: Progress | None = None
) -> OfficialResult:
    """What ``cityscapesscripts`` says of exported predictions.

    Args:
        data: The images; all must have been exported.
        exported: The predictions.
        root: The folder with ``gtFine``.
        progress: Called after each image.

    Raises:
        ValueError: If an id map is gone or cut off.
    """
    truths = [instance_ids_of(root, image.file_name) for image in data.images]
    gone = [path for path in truths if not path.is_file()]
    if gone:
        raise ValueError(f"{gone[0]}: no such id map ({len(gone)} of {len(truths)} are missing)")
    for path in truths:
        check_end(path)  # the script would not say which one it is
    official = _evaluator()
    arguments = copy.copy(official.args)
    arguments.quiet = True
    arguments.predictionPath = os.path.abspath(exported.folder)  # noqa: PTH100 - as the script does
    official.setInstanceLabels(arguments)
    assert set(arguments.instLabels) == set(CLASSES.values()), "other classes than the benchmark's"
    matches: dict[str, Any] = {}
    for done, (image, truth) in enumerate(zip(data.images, truths, strict=True), start=1):
        instances = official.instances2dict([str(truth)])
        predicted = [os.path.abspath(exported.text(image.id))]  # noqa: PTH100
        matches |= official.matchGtWithPreds(predicted, [str(truth)], instances, arguments)
        if progress is not None:
            progress("Cityscapes' evaluation", done, len(truths))
    averages = official.computeAverages(official.evaluateMatches(matches, arguments), arguments)
    return OfficialResult(
        ap=_measured(averages["allAp"]),
        ap50=_measured(averages["allAp50%"]),
        per_class={name: _measured(averages["classes"][name]["ap"]) for name in CLASSES.values()},
    )


def _evaluator() -> Any:
    """The script as a module.

    Version 2.3.0 calls ``numpy.in1d``, which NumPy 2.4 no longer has: the module alone is given a
    NumPy with its successor under that name.
    """
    official: Any = importlib.import_module(_EVALUATOR)
    if not hasattr(official.np, "in1d"):
        official.np = SimpleNamespace(**(vars(np) | {"in1d": np.isin}))
    return official


def _measured(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
