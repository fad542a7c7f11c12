"""One optimisation: batches in, a trained model out, exactly resumable.

Everything random at a step is derived from (seed, step), the learning rate is a function of the
step, and a batch is too; so a run that is killed and resumed takes the same steps, bit for bit.
"""

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.profiler import record_function

from sskd.config import RuntimeConfig, TrainingConfig
from sskd.data.loader import Loader
from sskd.engine.checkpoint import load_checkpoint, rng_state, save_checkpoint, set_rng_state
from sskd.engine.errors import RunStopped
from sskd.engine.schedule import learning_rate_factor
from sskd.engine.store import MetricLog
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.objective import LossTerms
from sskd.models.contract import InstanceModel
from sskd.models.parameters import parameter_groups
from sskd.types import Batch, Log, Progress

__all__ = ["FitResult", "Step", "derive_seed", "fit"]

Step = Callable[[nn.Module, Batch, torch.Generator], LossTerms]
"""One forward pass: the losses of a batch."""


@dataclass(frozen=True)
class FitResult:
    """What an optimisation cost."""

    steps: int
    seconds: float
    """Over all attempts, as far as checkpoints remember them."""


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from names and numbers; the same parts give the same seed everywhere."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def fit(
    model: InstanceModel,
    loader: Loader,
    step: Step,
    *,
    name: str,
    training: TrainingConfig,
    runtime: RuntimeConfig,
    accelerator: Accelerator,
    seed: int,
    folder: Path,
    bank: MemoryBank | None,
    log: Log,
    progress: Progress,
) -> FitResult:
    """Train ``model`` in place for ``training.steps`` steps.

    Args:
        model: On the CPU; left on the accelerator's device.
        loader: Gives the batch of a step.
        step: Gives the losses of a batch.
        name: The stage, for messages and seeds.
        training: Length, batch, optimizer, schedule.
        runtime: How often to log and to write a checkpoint.
        accelerator: Device and precision.
        seed: Of the cell.
        folder: Where ``checkpoint.pt`` and ``metrics.jsonl`` are; a checkpoint there is resumed.
        bank: State of the step beyond the model, saved with it.
        log: Receives the mean of each loss term since the last call.
        progress: Receives every step.

    Returns:
        Steps and seconds.

    Raises:
        RunStopped: If the loss is not finite; the batch is kept in ``folder``.
    """
    optimizer = torch.optim.AdamW(
        parameter_groups(
            model,
            learning_rate=training.optimizer.learning_rate,
            encoder_factor=training.optimizer.encoder_factor,
            weight_decay=training.optimizer.weight_decay,
        ),
        betas=training.optimizer.betas,
        fused=True,  # one kernel instead of hundreds of small ones
    )
    base_rates = [group["lr"] for group in optimizer.param_groups]
    model, optimizer = accelerator.prepare(model, optimizer)
    if bank is not None:
        bank.to(accelerator.device)
    metrics = MetricLog(folder / "metrics.jsonl")
    start, spent = _resume(folder, accelerator, model, optimizer, bank, metrics)
    began = time.perf_counter()
    model.train()
    window = _Window()
    batches = loader.batches(start, training.steps, workers=runtime.data_workers)
    for index in range(start, training.steps):
        with record_function("sskd data"):
            batch = next(batches)
        factor = learning_rate_factor(training.schedule, index, training.steps)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        # Dropout reads the global generator; everything else is handed its own.
        torch.manual_seed(derive_seed("dropout", seed, name, index))
        generator = torch.Generator(accelerator.device)
        generator.manual_seed(derive_seed("step", seed, name, index))
        optimizer.zero_grad(set_to_none=True)
        for micro in _micro_batches(batch.to(accelerator.device), training.accumulation):
            with accelerator.autocast():
                terms = step(model, micro, generator)  # marks its own parts
            if not math.isfinite(float(terms.total.detach())):
                _keep_batch(folder, batch, index, accelerator, model)
                raise RunStopped(
                    f"{name}: the loss is not finite at step {index}; the batch and the weights "
                    f"are kept in {folder / 'failed_batch.pt'}; a lower learning rate "
                    f"(stages.{name}.optimizer.learning_rate) or clip_norm may help"
                )
            with record_function("sskd backward"):
                accelerator.backward(terms.total / training.accumulation)
            window.add(terms.metrics())
        with record_function("sskd optimizer"):
            norm = _clip(accelerator, model, training.optimizer.clip_norm)
            optimizer.step()
        window.add({"grad_norm": norm})
        window.images += batch.weak.shape[0]
        done = index + 1
        with record_function("sskd logging"):
            if done % runtime.log_every == 0 or done == training.steps:
                values = window.close() | {"learning_rate": base_rates[-1] * factor}
                metrics.append(done, values)
                log(done, values)
            progress(name, done, training.steps, **window.shown)
        if done % runtime.checkpoint_every == 0 and done < training.steps:
            seconds = spent + time.perf_counter() - began
            _save(folder, accelerator, model, optimizer, bank, metrics, done, seconds)
    return FitResult(training.steps, spent + time.perf_counter() - began)


class _Window:
    """Means of the logged values between two log lines, kept as tensors until then."""

    def __init__(self) -> None:
        self.values: dict[str, list[Tensor | float]] = defaultdict(list)
        self.images, self.began = 0, time.perf_counter()
        self.shown: dict[str, float] = {}

    def add(self, values: dict[str, Tensor | float]) -> None:
        for key, value in values.items():
            self.values[key].append(value.detach() if isinstance(value, Tensor) else value)

    def close(self) -> dict[str, float]:
        means: dict[str, float] = {}
        for key, values in self.values.items():
            numbers = [x for x in map(float, values) if not math.isnan(x)]
            if numbers:
                means[key] = math.fsum(numbers) / len(numbers)
        now = time.perf_counter()
        means["images_per_second"] = self.images / (now - self.began)
        self.values.clear()
        self.images, self.began = 0, now
        self.shown = {k: means[k] for k in ("loss", "images_per_second") if k in means}
        return means


def _micro_batches(batch: Batch, count: int) -> Iterator[Batch]:
    """Equal parts, each with its share of labeled images first."""
    if count == 1:
        yield batch
        return
    total = batch.weak.shape[0]
    labeled = list(range(batch.num_labeled))
    unlabeled = list(range(batch.num_labeled, total))
    for part in range(count):
        mine = [
            *labeled[part * len(labeled) // count : (part + 1) * len(labeled) // count],
            *unlabeled[part * len(unlabeled) // count : (part + 1) * len(unlabeled) // count],
        ]
        yield Batch(
            batch.weak[mine],
            batch.strong[mine],
            batch.weak_to_strong[mine],
            tuple(batch.targets[i] for i in mine),
            sum(i < batch.num_labeled for i in mine),
            tuple(batch.image_ids[i] for i in mine),
        )


def _clip(accelerator: Accelerator, model: nn.Module, limit: float | None) -> Tensor | float:
    """Clip the gradient; returns its norm before clipping."""
    norm = accelerator.clip_grad_norm_(model.parameters(), math.inf if limit is None else limit)
    return norm if norm is not None else math.nan


def _save(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    bank: MemoryBank | None,
    metrics: MetricLog,
    step: int,
    seconds: float,
) -> None:
    save_checkpoint(
        folder / "checkpoint.pt",
        {
            "step": step,  # also the data cursor and the place in the schedule
            "seconds": seconds,
            "metrics_offset": metrics.offset,
            "model": accelerator.unwrap_model(model).state_dict(),
            "optimizer": optimizer.state_dict(),
            "bank": bank.state_dict() if bank is not None else None,
            "rng": rng_state(),
        },
    )


def _resume(
    folder: Path,
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Any,
    bank: MemoryBank | None,
    metrics: MetricLog,
) -> tuple[int, float]:
    """Restore everything from a checkpoint; returns the next step and the seconds spent."""
    state = load_checkpoint(folder / "checkpoint.pt")
    if state is None:
        metrics.truncate(0)
        return 0, 0.0
    accelerator.unwrap_model(model).load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if bank is not None:
        bank.load_state_dict(state["bank"])
    set_rng_state(state["rng"])
    metrics.truncate(state["metrics_offset"])
    return int(state["step"]), float(state["seconds"])


def _keep_batch(
    folder: Path, batch: Batch, step: int, accelerator: Accelerator, model: nn.Module
) -> None:
    save_checkpoint(
        folder / "failed_batch.pt",
        {
            "step": step,
            "batch": batch._asdict() | {"targets": [tuple(t) for t in batch.targets]},
            "model": accelerator.unwrap_model(model).state_dict(),
        },
    )
