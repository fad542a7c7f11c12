"""``sskd bench step``: a training step of a scale, and how its time divides.

The real loop on drawn scenes, their ground truth in the place of pseudo-labels; what is timed is
marked in the code itself by ``record_function("sskd ...")``.
"""

import os
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from sskd.bench.architecture import without_weights
from sskd.bench.assembled import LibraryDecoder, build_assembled_step
from sskd.config import Config, TrainingConfig
from sskd.data.coco import CocoData, load_coco
from sskd.data.loader import Loader
from sskd.data.toycity import ToycityCounts, generate
from sskd.engine.environment import environment, peak_memory_bytes, settle_process
from sskd.engine.fit import Step, derive_seed, fit
from sskd.engine.materials import make_accelerator
from sskd.engine.stages import Stage, plan_stages
from sskd.engine.step import build_step
from sskd.losses.memory_bank import MemoryBank
from sskd.models.parameters import num_parameters
from sskd.models.student import build
from sskd.types import Progress

__all__ = ["PARTS", "WARM", "measure"]

MARK = "sskd "
INSIDE = {"views": "data", "matching": "set loss"}
"""Parts that lie within another one, whose time is given without them."""

PARTS = (
    "data",
    "views",
    "forward",
    "strong view",
    "matching",
    "set loss",
    "contrastive term",
    "backward",
    "optimizer",
    "logging",
)
"""In the order of a step."""

WARM = 3
"""Steps before those that are timed, if nobody says how many."""

TURNS = 3
"""Of a comparison."""

os.environ.setdefault("KINETO_LOG_LEVEL", "9")  # it calls the lack of a GPU an error


def measure(
    config: Config,
    *,
    steps: int,
    progress: Progress,
    warm_up: int = WARM,
    compare: bool = False,
) -> dict[str, Any]:
    """Time steps of the transfer stage, first as they are, then under the profiler.

    Args:
        config: Of the scale; its stage ``transfer`` is run, on scenes as large as its views.
        steps: How many are timed.
        progress: Receives every step.
        warm_up: Steps before them that are not; with none, the first one's costs are in the time.
        compare: Whether to time, in turns with ours, the same step put together from the libraries'
            own parts (``assembled``).

    Returns:
        ``seconds`` a step, ``images_per_second``, ``shares`` of the step by part, ``losses`` as the
        timed steps last logged them, and the rest of what a reader needs; ``assembled_seconds`` a
        step if that was compared.

    Raises:
        ValueError: If negatives from elsewhere than the batch are to be compared.
        RunStopped: If a loss is not finite.
    """
    if compare and config.contrast.negatives.scope != "batch":
        raise ValueError(
            "--compare takes negatives of the batch only: contrast.negatives.scope=batch"
        )
    settle_process(config.numerics.threads)
    (stage,) = (s for s in plan_stages(config, data_sha="", split_sha="") if s.name == "transfer")
    assert stage.training is not None
    training = stage.training
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes, loader = _draw_scenes(config, training, folder)
        bank = _bank(stage, config)
        generator = torch.Generator().manual_seed(0)
        model = build(
            without_weights(config.student),
            num_classes=len(scenes.categories),
            generator=generator,
        )
        accelerator = make_accelerator(config)
        step = build_step(stage, config, bank=bank)

        logged: dict[str, float] = {}

        def run(count: int, place: str, model: Any = model, step: Step = step) -> float:
            (folder / place).mkdir()
            return fit(
                model,
                loader,
                step,
                name=place,
                training=training.model_copy(update={"steps": count}),
                runtime=config.runtime.model_copy(update={"checkpoint_every": count + 1}),
                accelerator=accelerator,
                seed=0,
                folder=folder / place,
                bank=bank,
                log=lambda _step, values: logged.update(values),
                progress=progress,
            ).seconds

        if warm_up:
            run(warm_up, "warm-up")
        turns = [run(steps, "steps") / steps]
        losses = {name: value for name, value in logged.items() if name.startswith("loss")}
        peak = peak_memory_bytes(str(accelerator.device))  # before anything else takes memory
        other_turns: list[float] = []
        if compare:
            other: Any = deepcopy(model)
            other.decoder = LibraryDecoder(other.decoder)
            theirs = build_assembled_step(stage, config, num_classes=len(scenes.categories))
            if warm_up:
                run(warm_up, "assembled, warm-up", other, theirs)
            for turn in range(TURNS):
                other_turns.append(run(steps, f"assembled {turn}", other, theirs) / steps)
                turns.append(run(steps, f"steps {turn}") / steps)
        seconds = median(turns)
        with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
            run(steps, "profiled steps")
    totals = _marked(profiler)
    images = (training.labeled_batch + training.unlabeled_batch) * steps
    return {
        "scale": config.scale,
        "crop": list(config.views.crop),
        "precision": config.numerics.precision,
        "images_a_step": images // steps,
        "parameters": num_parameters(model),
        "seconds": seconds,
        "images_per_second": images / steps / seconds,
        "profiled_seconds": sum(totals[part] for part in totals if part not in INSIDE) / steps,
        "shares": _shares(totals),
        "losses": losses,
        "peak_memory_bytes": peak,
        "environment": environment(str(accelerator.device), config.numerics.threads),
    } | ({"assembled_seconds": median(other_turns)} if compare else {})


def _draw_scenes(config: Config, training: TrainingConfig, folder: Path) -> tuple[CocoData, Loader]:
    """Scenes as large as the views, labeled and unlabeled ones alike, and batches of them."""
    counts = ToycityCounts(source=0, train=16, val=0)
    generate(folder, seed=0, counts=counts, size=config.views.crop)
    scenes = load_coco(folder / "train.json", folder / "images")
    loader = Loader(
        scenes,
        scenes,
        views=config.views,
        labeled_batch=training.labeled_batch,
        unlabeled_batch=training.unlabeled_batch,
        seed=derive_seed("data", 0),
    )
    return scenes, loader


def _bank(stage: Stage, config: Config) -> MemoryBank | None:
    negatives = stage.contrast.negatives if stage.contrast is not None else None
    if negatives is None or negatives.scope != "memory-bank":
        return None
    return MemoryBank(size=negatives.bank_size, dim=config.student.projection.dim)


def _marked(profiler: profile) -> dict[str, float]:
    """Seconds of each part, over all profiled steps."""
    return {
        event.key.removeprefix(MARK): event.cpu_time_total / 1e6
        for event in profiler.key_averages()
        if event.key.startswith(MARK)
    }


def _shares(totals: Mapping[str, float]) -> dict[str, float]:
    """Of the marked time, without what lies inside another part."""
    whole = sum(seconds for part, seconds in totals.items() if part not in INSIDE)
    own = dict(totals)
    for part, outer in INSIDE.items():
        if part in totals:
            own[outer] = own[outer] - totals[part]
    return {part: own[part] / whole for part in PARTS if part in own}
