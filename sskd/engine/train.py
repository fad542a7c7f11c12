"""One training stage: its model, its data and what its step remembers, handed to the loop."""

import logging
import warnings
from pathlib import Path
from typing import Any

from sskd import processes
from sskd.config import Config
from sskd.data.coco import CocoData, load_coco
from sskd.data.loader import Loader
from sskd.data.shares import Share
from sskd.engine.checkpoint import save_weights
from sskd.engine.environment import peak_memory_bytes, settle_process
from sskd.engine.fit import derive_seed, fit
from sskd.engine.materials import Materials, load_model, make_accelerator
from sskd.engine.stages import Stage
from sskd.engine.step import build_step
from sskd.engine.together import train_together
from sskd.losses.memory_bank import MemoryBank
from sskd.models.recompute import can_recompute
from sskd.types import Log, Progress

__all__ = ["train"]

_log = logging.getLogger(__name__)


def train(
    stage: Stage, folder: Path, materials: Materials, *, log: Log, progress: Progress
) -> dict[str, Any]:
    """Train a stage's model into its folder; in several processes, if the config says so.

    Returns:
        What it cost.

    Raises:
        ValueError: For a user's mistake, or a run that was stopped for a stated reason.
    """
    count = materials.config.runtime.processes
    if count == 1:
        return _train(stage, folder, materials, log=log, progress=progress)
    result: dict[str, Any] = train_together(
        _train,
        stage,
        folder,
        materials,
        count=count,
        threads=materials.config.numerics.threads,
        log=log,
        progress=progress,
    )
    return result


def _train(
    stage: Stage, folder: Path, materials: Materials, *, log: Log, progress: Progress
) -> dict[str, Any]:
    """This process's part of it."""
    config, training = materials.config, stage.training
    assert training is not None
    # Images come with the channels innermost, and so do some gradients.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    accelerator = make_accelerator(config)
    settle_process(config.numerics.threads)
    model = load_model(materials, stage, stage.start)
    wanted = config.runtime.gradient_checkpointing
    if wanted and not can_recompute(model) and accelerator.is_main_process:
        _log.warning(
            "%s: runtime.gradient_checkpointing changes nothing here: the %s (%s) has no "
            "transformer layers that learn and can be computed again",
            stage.name,
            stage.role,
            getattr(config, stage.role).title,
        )
    labeled, unlabeled = _images(stage, materials)
    loader = Loader(
        labeled,
        unlabeled,
        views=config.views,
        labeled_batch=training.labeled_batch,
        unlabeled_batch=training.unlabeled_batch if unlabeled is not None else 0,
        seed=derive_seed("data", stage.seed),
        share=Share(processes.index(), processes.number(), training.accumulation),
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
        log=log,
        progress=progress,
    )
    if accelerator.is_main_process:
        save_weights(folder / "weights.safetensors", accelerator.unwrap_model(model))
    return {
        "seconds": fitted.seconds,
        "steps": fitted.steps,
        "peak_memory_bytes": peak_memory_bytes(str(accelerator.device)),
    }


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
