"""One training step: the only file that knows the path of a batch from views to losses."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import record_function

from sskd import processes
from sskd.config import Config, ContrastConfig
from sskd.engine.fit import Step
from sskd.engine.set_losses import build_set_loss
from sskd.engine.stages import Stage
from sskd.losses.contrastive import ContrastTerms, contrastive_term, match_positives
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.objective import LossTerms, objective
from sskd.types import Batch, Predictions

__all__ = ["build_step", "instance_ids"]

NO_INSTANCE, UNKNOWN = -1, -2
MOST_INSTANCES = 2**20
"""Of a process's share of a batch: instances of different processes have different numbers."""


def build_step(stage: Stage, config: Config, *, bank: MemoryBank | None) -> Step:
    """The step of a training stage: its terms and their weights, from the table's row."""
    training, contrast = stage.training, stage.contrast
    assert training is not None
    semi_weight = training.semi_weight if stage.pseudo_labels is not None else 0.0
    set_loss = build_set_loss(config, stage.role)

    def step(model: nn.Module, batch: Batch, generator: torch.Generator) -> LossTerms:
        with record_function("sskd forward"):
            predictions: Predictions = model(batch.weak, embeddings=contrast is not None)
        with record_function("sskd set loss"):
            sup, semi = set_loss(predictions, batch, generator)
        pxl = None
        if contrast is not None:
            pxl = _contrast(model, batch, predictions, contrast, bank, generator)
        return objective(
            sup if batch.num_labeled else None,
            semi if semi_weight > 0 else None,
            pxl,
            semi_weight=semi_weight,
            pxl_weight=contrast.weight if contrast is not None else 0.0,
        )

    return step


def _contrast(
    model: nn.Module,
    batch: Batch,
    predictions: Predictions,
    contrast: ContrastConfig,
    bank: MemoryBank | None,
    generator: torch.Generator,
) -> ContrastTerms:
    """L_pxl: the weak view learns, the strong view only answers."""
    weak = predictions.pixel_embeddings
    assert weak is not None
    grid = (weak.shape[2], weak.shape[3])
    with torch.no_grad(), record_function("sskd strong view"):
        strong = _embed_without_learning(model, batch.strong)
    height, width = batch.weak.shape[2:]
    positives, valid = match_positives(strong, batch.weak_to_strong, (height, width), grid)
    ids = instance_ids(batch, grid)
    ids = torch.where(ids < 0, ids, ids + processes.index() * MOST_INSTANCES)
    of_all = _order_of_all(batch)
    settings = contrast.model_dump(exclude={"weight", "negatives"})
    settings |= contrast.negatives.model_dump(exclude={"bank_size"})
    with record_function("sskd contrastive term"):
        return contrastive_term(
            of_all(weak.flatten(2).transpose(1, 2)),
            of_all(positives),
            of_all(valid),
            of_all(predictions.mask_logits.detach()),
            of_all(predictions.class_logits.detach()),
            grid=grid,
            instance_ids=of_all(ids),
            bank=bank,
            generator=generator,
            **settings,
        )


def _order_of_all(batch: Batch) -> Callable[[Tensor], Tensor]:
    """Gathers rows, one an image, of the batch that processes share, its labeled images first.

    Each process computes the term of all of it: that is little beside their forward passes, and
    every anchor meets the negatives that it would meet in one process.
    """
    count = processes.number()
    if count == 1:
        return lambda rows: rows
    places = torch.arange(count * len(batch.targets), device=batch.weak.device).view(count, -1)
    labeled, others = places[:, : batch.num_labeled], places[:, batch.num_labeled :]
    order = torch.cat([labeled.flatten(), others.flatten()])
    return lambda rows: processes.gather(rows).index_select(0, order)


def _embed_without_learning(model: nn.Module, images: Tensor) -> Tensor:
    """Embeddings of a second view, leaving the running statistics to the first.

    Batch statistics normalise both views alike; only the weak view, which is what the model sees
    at test time, is remembered.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    tracking = [norm.track_running_stats for norm in norms]
    for norm in norms:
        norm.track_running_stats = False
    try:
        # Not through the wrapper for several processes, which waits for a gradient.
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        embeddings: Tensor = inner.embed(images)  # type: ignore[operator]
    finally:
        for norm, kept in zip(norms, tracking, strict=True):
            norm.track_running_stats = kept
    return embeddings


def instance_ids(batch: Batch, grid: tuple[int, int]) -> Int[Tensor, "b n"]:
    """Which ground-truth instance lies at the centre of each location, for the diagnostics.

    Returns:
        A number unique in the batch; -1 for no instance; -2 throughout images without ground
        truth, whose pseudo-labels prove nothing.
    """
    height, width = batch.weak.shape[2:]
    device = batch.weak.device
    rows = ((torch.arange(grid[0], device=device) + 0.5) * height / grid[0]).long()
    columns = ((torch.arange(grid[1], device=device) + 0.5) * width / grid[1]).long()
    ids = torch.full((len(batch.targets), grid[0] * grid[1]), UNKNOWN, device=device)
    first = 0
    for image, target in enumerate(batch.targets[: batch.num_labeled]):
        ids[image] = NO_INSTANCE
        if len(target.classes):
            masks = target.masks[:, rows[:, None], columns].flatten(1)  # (n, locations)
            found, instance = masks.max(dim=0)
            ids[image] = torch.where(found, first + instance, NO_INSTANCE)
        first += len(target.classes)
    return ids
