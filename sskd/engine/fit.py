"""One optimisation: batches in, a trained model out, exactly resumable.

Everything random at a step is derived from (seed, step), the learning rate is a function of the
step, and a batch is too; so a run that is killed and resumed takes the same steps, bit for bit.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.profiler import record_function

from sskd import processes
from sskd.config import RuntimeConfig, TrainingConfig
from sskd.data.loader import Loader
from sskd.engine.errors import RunStopped
from sskd.engine.memory import enough_memory, try_out
from sskd.engine.schedule import learning_rate_factor
from sskd.engine.stop_requests import StopRequests
from sskd.engine.store import MetricLog
from sskd.engine.training_state import TrainingState
from sskd.engine.window import Window
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.objective import LossTerms
from sskd.models.contract import InstanceModel
from sskd.models.parameters import parameter_groups
from sskd.models.recompute import can_recompute, recompute_activations
from sskd.models.shared_norm import share_statistics
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
        runtime: How often to log and to write a checkpoint; what saves memory or time.
        accelerator: Device and precision.
        seed: Of the cell.
        folder: Where ``checkpoint.pt`` and ``metrics.jsonl`` are; a checkpoint there is resumed.
        bank: State of the step beyond the model, saved with it.
        log: Receives the mean of each loss term since the last call.
        progress: Receives every step.

    Returns:
        Steps and seconds.

    Raises:
        RunStopped: If the loss is not finite; the batch is kept in ``folder``. If the GPU has not
            enough memory; the last checkpoint is kept there.
        KeyboardInterrupt: If it was asked to stop, after a checkpoint.
    """
    if runtime.gradient_checkpointing:
        recompute_activations(model)
    if runtime.compile:
        model.compile()
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
    rates = tuple(group["lr"] for group in optimizer.param_groups)
    frugal = runtime.gradient_checkpointing or not can_recompute(model)
    with enough_memory(name, _remedy(name, frugal=frugal)):
        model, optimizer = accelerator.prepare(
            share_statistics(model, accelerator.device), optimizer
        )
        if bank is not None:
            bank.to(accelerator.device)
        metrics = MetricLog(folder / "metrics.jsonl")
        state = TrainingState(folder, accelerator, model, optimizer, bank, metrics)
        work = _Training(state, loader, step, name, training, runtime, seed, rates)
        try:
            if accelerator.device.type == "cuda":
                work.try_out()
            state.resume()
            return work.run(log, progress)
        finally:  # its forward pass without what gives it a precision
            accelerator.unwrap_model(model, keep_fp32_wrapper=False)


def _remedy(name: str, *, frugal: bool) -> str:
    """What takes less memory; a frugal model recomputes already, or has nothing to recompute."""
    less = f"lower stages.{name}.labeled_batch or unlabeled_batch"
    if frugal:
        less += ", or raise its accumulation"
    else:
        less += ", raise its accumulation, or set runtime.gradient_checkpointing to true"
    return f"{less}; finished stages and the last checkpoint are kept"


@dataclass(frozen=True)
class _Training:
    state: TrainingState
    loader: Loader
    step: Step
    name: str
    training: TrainingConfig
    runtime: RuntimeConfig
    seed: int
    rates: tuple[float, ...]
    """Learning rate of each group of parameters, before the schedule."""

    def try_out(self) -> None:
        """Meet the largest batch first, and not in the middle of the night."""
        state = self.state
        state.model.train()
        try_out(lambda: self.learn(self.loader.fullest(), 0), state.model, state.bank)
        state.window = Window()

    def run(self, log: Log, progress: Progress) -> FitResult:
        """All steps that are left."""
        state, training, runtime = self.state, self.training, self.runtime
        groups, device = state.optimizer.param_groups, state.accelerator.device
        began = time.perf_counter() - state.seconds
        state.model.train()
        batches = self.loader.batches(
            state.step,
            training.steps,
            workers=runtime.data_workers,
            pinned=device.type == "cuda",
        )
        with StopRequests() as stop:
            for index in range(state.step, training.steps):
                with record_function("sskd data"):
                    batch = next(batches)
                factor = learning_rate_factor(training.schedule, index, training.steps)
                for group, rate in zip(groups, self.rates, strict=True):
                    group["lr"] = rate * factor
                state.optimizer.zero_grad(set_to_none=True)
                self.learn(batch, index)
                with record_function("sskd optimizer"):
                    norm = _clip(state.accelerator, state.model, training.optimizer.clip_norm)
                    state.optimizer.step()
                state.window.add({"grad_norm": norm})
                state.window.count(batch.weak.shape[0])
                done = index + 1
                with record_function("sskd logging"):
                    if done % runtime.log_every == 0 or done == training.steps:
                        values = state.window.close(device)
                        values["learning_rate"] = groups[-1]["lr"]
                        if processes.index() == 0:
                            state.metrics.append(done, values)
                            log(done, values)
                    progress(self.name, done, training.steps, **state.window.shown)
                stopping = any(processes.mean_numbers([float(stop.asked)], device))
                if stopping or (done % runtime.checkpoint_every == 0 and done < training.steps):
                    state.save(done, time.perf_counter() - began)
                if stopping:
                    stop.obey()
        return FitResult(training.steps, time.perf_counter() - began)

    def learn(self, batch: Batch, index: int) -> None:
        """The gradient of a batch, one micro-batch after another; processes meet at the last."""
        state, parts = self.state, self.training.accumulation
        accelerator = state.accelerator
        generator = _seed(self.seed, self.name, index, accelerator.device)
        for number, micro in enumerate(_micro_batches(batch.to(accelerator.device), parts), 1):
            with nullcontext() if number == parts else accelerator.no_sync(state.model):
                with accelerator.autocast():
                    terms = self.step(state.model, micro, generator)  # marks its own parts
                if not processes.mean(terms.total).isfinite():
                    kept = state.keep_batch(batch, index)
                    raise RunStopped(
                        f"{self.name}: the loss is not finite at step {index}; the batch and the "
                        f"weights are kept in {kept}; a lower learning rate "
                        f"(stages.{self.name}.optimizer.learning_rate) or clip_norm may help"
                    )
                with record_function("sskd backward"):
                    accelerator.backward(terms.total / parts)
            state.window.add(terms.metrics())


def _seed(seed: int, name: str, step: int, device: torch.device) -> torch.Generator:
    """Everything random at a step: dropout reads the global generator, the losses this one."""
    # Dropout of different images is different; what the losses draw is for the images of all.
    own = () if processes.index() == 0 else (processes.index(),)
    torch.manual_seed(derive_seed("dropout", seed, name, step, *own))
    return torch.Generator(device).manual_seed(derive_seed("step", seed, name, step))


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
    """Clip the gradient; returns its norm before clipping, nan where fp16 overflowed."""
    norm = accelerator.clip_grad_norm_(model.parameters(), math.inf if limit is None else limit)
    if norm is None:
        return math.nan
    if accelerator.scaler is not None:  # which leaves such a step out and scales less from then on
        norm = norm.where(norm.isfinite(), math.nan)
    result: Tensor = norm
    return result
