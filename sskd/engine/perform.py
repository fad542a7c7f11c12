"""One stage through the store: taken from it, or computed and committed to it."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from sskd.config import Config
from sskd.data.coco import CocoData, load_coco
from sskd.data.datasets import DataSet
from sskd.data.loader import Loader
from sskd.engine.checkpoint import load_weights, save_weights
from sskd.engine.cityscapes import OFFICIAL_KEYS, Exporter, check_official, official_ap
from sskd.engine.environment import environment, peak_memory_bytes
from sskd.engine.evaluate import evaluate
from sskd.engine.fit import derive_seed, fit
from sskd.engine.imported_labels import file_hash, import_pseudo_labels
from sskd.engine.pseudo_labels import make_pseudo_labels
from sskd.engine.stages import Stage
from sskd.engine.step import build_step
from sskd.engine.store import Slot, Store, StoredStage, write_json_atomic
from sskd.losses.memory_bank import MemoryBank
from sskd.models.build import build_model
from sskd.models.contract import InstanceModel
from sskd.types import Progress

__all__ = ["Materials", "Outcome", "StageLog", "load_model", "make_accelerator", "perform"]

StageLog = Callable[[str, int, Mapping[str, float]], None]
"""Called with the stage, the optimizer step and named values."""


@dataclass(frozen=True)
class Materials:
    """What the stages of a cell have in common."""

    config: Config
    dataset: DataSet
    labeled: Path
    """COCO JSON of the labeled images, with their annotations."""
    unlabeled: Path
    """COCO JSON of the unlabeled images; it holds no annotation."""
    held_out: Path | None
    """COCO JSON of the images that AP is measured on in the place of val, if there are any."""
    classes: tuple[str, ...]
    """Names, in the order of the category ids."""
    store: Store
    stages: Mapping[str, Stage]

    def stored(self, name: str) -> StoredStage:
        """A stage that an earlier one of the same cell has finished."""
        stage = self.stages[name]
        stored = self.store.read(stage.name, stage.key)
        assert stored is not None, f"{name} must be finished first"
        return stored

    def measured(self) -> CocoData:
        """The images that AP is measured on."""
        if self.held_out is not None:
            return load_coco(self.held_out, self.dataset.images)
        return load_coco(self.dataset.val_json, self.dataset.val_images)


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


def make_accelerator(config: Config) -> Accelerator:
    """Device and precision as the config says.

    Raises:
        ValueError: If the device is not there.
    """
    device = config.runtime.device
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device 'cuda': no CUDA device is available; use 'cpu' or 'auto'")
    return Accelerator(cpu=device == "cpu", mixed_precision=config.numerics.precision)


def load_model(materials: Materials, stage: Stage, weights_of: str | None) -> InstanceModel:
    """A stage's model, with the weights of another stage or fresh ones.

    Fresh weights depend on the role and the seed alone, so that the arms of an ablation start from
    the same ones.
    """
    generator = torch.Generator().manual_seed(derive_seed("weights", stage.role, stage.seed))
    config = getattr(materials.config, stage.role)
    model = build_model(config, classes=materials.classes, generator=generator)
    if weights_of is not None:
        load_weights(materials.stored(weights_of).weights, model)
    return model


def _compute(
    stage: Stage, slot: Slot, materials: Materials, log: StageLog, progress: Progress
) -> StoredStage:
    accelerator = make_accelerator(materials.config)
    device = str(accelerator.device)
    began = time.perf_counter()
    if stage.kind == "train":
        result = _train(stage, slot.folder, materials, accelerator, log, progress)
    else:
        work = {"checkpoint": _bring, "pseudo-labels": _label, "evaluation": _evaluate}[stage.kind]
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


def _train(
    stage: Stage,
    folder: Path,
    materials: Materials,
    accelerator: Accelerator,
    log: StageLog,
    progress: Progress,
) -> dict[str, Any]:
    config, training = materials.config, stage.training
    assert training is not None
    model = load_model(materials, stage, stage.start)
    labeled, unlabeled = _images(stage, materials)
    loader = Loader(
        labeled,
        unlabeled,
        views=config.views,
        labeled_batch=training.labeled_batch,
        unlabeled_batch=training.unlabeled_batch if unlabeled is not None else 0,
        seed=derive_seed("data", stage.seed),
    )
    bank = _memory_bank(stage, config)
    fitted = fit(
        model,
        loader,
        build_step(stage, config, bank=bank),
        name=stage.name,
        training=training,
        runtime=config.runtime,
        accelerator=accelerator,
        seed=stage.seed,
        folder=folder,
        bank=bank,
        log=lambda step, values: log(stage.name, step, values),
        progress=progress,
    )
    save_weights(folder / "weights.safetensors", accelerator.unwrap_model(model))
    return {"seconds": fitted.seconds, "steps": fitted.steps}


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


def _images(stage: Stage, materials: Materials) -> tuple[CocoData, CocoData | None]:
    """What a training stage sees: labels only where the method has them."""
    dataset = materials.dataset
    if stage.name == "pretraining":
        if dataset.source_json is None or dataset.source_images is None:
            raise ValueError(
                f"data set {dataset.name!r} has no source domain to pretrain the teacher on; "
                "set stages.pretraining to null and teacher.encoder.weights to pretrained ones"
            )
        return load_coco(dataset.source_json, dataset.source_images), None
    labeled = load_coco(materials.labeled, dataset.images)
    if not stage.uses_unlabeled:
        return labeled, None
    if stage.pseudo_labels is None:
        return labeled, load_coco(materials.unlabeled, dataset.images)
    labels = materials.stored(stage.pseudo_labels).folder / "pseudo_labels.json"
    return labeled, load_coco(labels, dataset.images)


def _memory_bank(stage: Stage, config: Config) -> MemoryBank | None:
    if stage.contrast is None or stage.contrast.negatives.scope != "memory-bank":
        return None
    model = getattr(config, stage.role)
    return MemoryBank(
        size=stage.contrast.negatives.bank_size,
        dim=model.projection.dim,
    )


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
    with accelerator.autocast():
        stats = make_pseudo_labels(
            model,
            load_coco(materials.unlabeled, materials.dataset.images),
            folder / "pseudo_labels.json",
            config=config.pseudo_labels,
            input_short_side=config.evaluation.short_side,
            input_window=config.evaluation.window,
            device=accelerator.device,
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
    with accelerator.autocast():
        result = evaluate(
            model,
            data,
            config=config.evaluation,
            device=accelerator.device,
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
