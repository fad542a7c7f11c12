"""``sskd bench models``: what teacher and student cost on one image at test time."""

import multiprocessing
import time
from statistics import quantiles

import torch
from torch import Tensor, nn

from sskd.bench.architecture import CLASSES, class_names, describe, input_size, without_weights
from sskd.config import Config, GroundedSamConfig, ModelConfig, Precision
from sskd.engine.environment import environment, peak_memory_bytes, settle_process
from sskd.engine.predict import in_precision
from sskd.models.build import build_model
from sskd.models.contract import InstanceModel
from sskd.studies.measurements import Measurement, ModelCost, Spread, models_digest
from sskd.types import Progress

__all__ = ["measure"]

AnyModel = ModelConfig | GroundedSamConfig

WARMUP = 3


def measure(
    config: Config, *, device: str, size: tuple[int, int] | None, repeats: int, progress: Progress
) -> Measurement:
    """Time both models in turns, and take the memory of each in a process of its own.

    The forward pass alone, of one image that is there already: reading, resizing and the masks'
    way back to the image's size belong to no model.

    Args:
        config: Whose teacher and student, with random weights, and whose threads and precision
            of evaluation.
        device: ``cpu`` or a CUDA device that is there.
        size: Height and width of the image; what evaluation sees if ``None``.
        repeats: Timed turns, at least 2, after some that are not.
        progress: Called after each turn.

    Raises:
        ValueError: If the package that holds an encoder is missing.
    """
    height, width = size or input_size(config)
    precision, threads = config.evaluation.precision, config.numerics.threads
    settle_process(threads)
    configs: dict[str, AnyModel] = {"teacher": config.teacher, "student": config.student}
    models = {role: _model(model, device) for role, model in configs.items()}
    images = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    images = images.to(device)
    times: dict[str, list[float]] = {role: [] for role in models}
    for turn in range(WARMUP + repeats):
        for role, model in models.items():
            seconds = _time(model, images, precision)
            if turn >= WARMUP:
                times[role].append(seconds)
        progress("turns", turn + 1, WARMUP + repeats)
    del models
    costs = {}
    for role, model_config in configs.items():
        told = describe(model_config, size=(height, width))
        lower, median, upper = quantiles(times[role], n=4, method="inclusive")
        costs[role] = ModelCost(
            name=model_config.title,
            parameters=told.parameters,
            flops=told.flops,
            seconds=Spread(median=median, lower=lower, upper=upper),
            peak_memory_bytes=_memory(model_config, (height, width), device, precision, threads),
        )
        progress(f"memory of the {role}", 1, 1)
    return Measurement(
        models=models_digest(config),
        size=(height, width),
        precision=precision,
        classes=CLASSES,
        warmup=WARMUP,
        repeats=repeats,
        teacher=costs["teacher"],
        student=costs["student"],
        environment=environment(device, threads),
    )


def _model(config: AnyModel, device: str) -> InstanceModel:
    """As it predicts: in evaluation mode, the projection dropped."""
    generator = torch.Generator().manual_seed(0)
    model = build_model(
        without_weights(config), classes=class_names(CLASSES), generator=generator
    ).eval()
    del model.projection
    return model.to(device)


def _predict(model: InstanceModel, images: Tensor, precision: Precision) -> None:
    with torch.no_grad(), in_precision(precision, images.device):
        model(images, embeddings=False)


def _time(model: InstanceModel, images: Tensor, precision: Precision) -> float:
    _wait(images)
    begin = time.perf_counter()
    _predict(model, images, precision)
    _wait(images)
    return time.perf_counter() - begin


def _wait(images: Tensor) -> None:
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


def _memory(
    config: AnyModel, size: tuple[int, int], device: str, precision: Precision, threads: int
) -> int:
    """In a process of its own: a process never gets less than its peak."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_bytes, (config, size, device, precision, threads))


def _peak_bytes(
    config: AnyModel, size: tuple[int, int], device: str, precision: Precision, threads: int
) -> int:
    """The most memory for weights and one forward pass, beyond what the process took before."""
    settle_process(threads)
    nn.Conv2d(3, 8, 3).to(device)(torch.zeros(1, 3, 64, 64, device=device))  # the libraries' own
    before = peak_memory_bytes(device)
    _predict(_model(config, device), torch.zeros(1, 3, *size, device=device), precision)
    return peak_memory_bytes(device) - before
