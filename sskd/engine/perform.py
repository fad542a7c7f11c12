"""One stage through the store: taken from it, or computed and committed to it."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from sskd.data.coco import load_coco
from sskd.engine.checkpoint import save_weights
from sskd.engine.cityscapes import OFFICIAL_KEYS, Exporter, check_official, official_ap
from sskd.engine.environment import environment, peak_memory_bytes
from sskd.engine.evaluate import evaluate
from sskd.engine.imported_labels import file_hash, import_pseudo_labels
from sskd.engine.materials import Materials, load_model, make_accelerator
from sskd.engine.memory import enough_memory
from sskd.engine.pseudo_labels import make_pseudo_labels
from sskd.engine.stages import Stage
from sskd.engine.store import Slot, StoredStage, write_json_atomic
from sskd.engine.train import train
from sskd.types import Progress

__all__ = ["Outcome", "StageLog", "perform"]

StageLog = Callable[[str, int, Mapping[str, float]], None]
"""Called with the stage, the optimizer step and named values."""

_LESS_MEMORY = (
    "lower runtime.inference_batch, let nothing else run on it, or set runtime.device to cpu; "
    "finished stages are kept"
)


@dataclass(frozen=True)
class Outcome:
    """A finished stage of a cell."""

    stage: Stage
    result: dict[str, Any]
    reused: bool


def perform(stage: Stage, materials: Materials, *, log: StageLog, progress: Progress) -> Outcome:
    """Take a stage from the store, or compute it there.

    Raises:
        ValueError: For a user's mistake, or a run that was stopped for a stated reason.
    """
    with materials.store.stage(
        stage.name, stage.key, waiting=lambda name: progress(f"waiting for {name}", 0, 1)
    ) as slot:
        if slot.stage is not None:
            reused, stored = True, slot.stage
        else:
            reused, stored = False, _compute(stage, slot, materials, log, progress)
    facts = stored.result.get("metrics", {})
    keys = ("mask_ap", "mask_ap50", *OFFICIAL_KEYS)
    shown = {key: facts[key] for key in keys if facts.get(key) is not None}
    progress(f"finished {stage.name}", 1, 1, reused=float(reused), **shown)
    return Outcome(stage, stored.result, reused)


def _compute(
    stage: Stage, slot: Slot, materials: Materials, log: StageLog, progress: Progress
) -> StoredStage:
    accelerator = make_accelerator(materials.config, training=False)
    device = str(accelerator.device)
    began = time.perf_counter()
    if stage.kind == "train":
        result = train(
            stage,
            slot.folder,
            materials,
            log=lambda step, values: log(stage.name, step, values),
            progress=progress,
        )
    else:
        work = {"checkpoint": _bring, "pseudo-labels": _label, "evaluation": _evaluate}[stage.kind]
        with enough_memory(stage.name, _LESS_MEMORY):
            result = work(stage, slot.folder, materials, accelerator, progress)
    write_json_atomic(
        slot.folder / "environment.json",
        environment(device, materials.config.numerics.threads),
        indent=2,
    )
    (slot.folder / "checkpoint.pt").unlink(missing_ok=True)
    costs = {
        "seconds": time.perf_counter() - began,
        "peak_memory_bytes": peak_memory_bytes(device),
    }
    return slot.commit(costs | result)


def _bring(
    stage: Stage,
    folder: Path,
    materials: Materials,
    accelerator: Accelerator,  # noqa: ARG001
    progress: Progress,
) -> dict[str, Any]:
    """A published model into the store, where the stages that start from it look."""
    progress(stage.name, 0, 1)
    save_weights(folder / "weights.safetensors", load_model(materials, stage, stage.start))
    return {}


def _label(
    stage: Stage,
    folder: Path,
    materials: Materials,
    accelerator: Accelerator,
    progress: Progress,
) -> dict[str, Any]:
    config = materials.config
    if config.pseudo_labels.file is not None:
        return _import_labels(stage, Path(config.pseudo_labels.file), folder, materials)
    assert stage.start is not None
    model = load_model(materials, stage, stage.start).to(accelerator.device)
    stats = make_pseudo_labels(
        model,
        load_coco(materials.unlabeled, materials.dataset.images),
        folder / "pseudo_labels.json",
        config=config.pseudo_labels,
        inference=config.evaluation,
        device=accelerator.device,
        batch=config.runtime.inference_batch,
        provenance={"teacher": stage.start, "key": materials.stages[stage.start].key},
        progress=progress,
    )
    return {"labels": stats.to_dict()}


def _import_labels(stage: Stage, file: Path, folder: Path, materials: Materials) -> dict[str, Any]:
    dataset = materials.dataset
    if file_hash(file) != stage.file_sha:
        raise ValueError(f"{file}: has changed since the run began; start it again")
    stats = import_pseudo_labels(
        file,
        load_coco(materials.unlabeled, dataset.images),
        [image.id for image in load_coco(dataset.train_json, dataset.images).images],
        folder / "pseudo_labels.json",
        config=materials.config.pseudo_labels,
        provenance={"file": file.name, "sha256": stage.file_sha},
    )
    return {"labels": stats.to_dict()}


def _evaluate(
    stage: Stage,
    folder: Path,
    materials: Materials,
    accelerator: Accelerator,
    progress: Progress,
) -> dict[str, Any]:
    config, data = materials.config, materials.measured()
    model = load_model(materials, stage, stage.start).to(accelerator.device)
    export = Exporter(data, folder / "cityscapes") if config.evaluation.cityscapes else None
    result = evaluate(
        model,
        data,
        config=config.evaluation,
        device=accelerator.device,
        batch=config.runtime.inference_batch,
        progress=progress,
        export=export,
    )
    metrics = result.to_dict()
    if export is not None:
        root = check_official(materials.dataset)
        metrics |= official_ap(data, export, root, progress=progress).to_dict()
        shutil.rmtree(export.folder)  # a file a detection; `sskd evaluate` writes them again
    write_json_atomic(folder / "predictions.json", result.detections)
    return {"metrics": metrics}
