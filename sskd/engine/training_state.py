"""All that changes while a model trains: what a checkpoint holds, and how it comes back."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from sskd import processes
from sskd.engine.checkpoint import load_checkpoint, rng_state, save_checkpoint, set_rng_state
from sskd.engine.store import MetricLog
from sskd.engine.window import Window
from sskd.losses.memory_bank import MemoryBank
from sskd.types import Batch

__all__ = ["TrainingState"]


@dataclass
class TrainingState:
    """What a step changes; where processes share a batch, all have the same, and the first writes.

    Learning rate, data and random numbers are functions of the step: they need no state.
    """

    folder: Path
    accelerator: Accelerator
    model: nn.Module
    optimizer: Any
    bank: MemoryBank | None
    metrics: MetricLog
    window: Window = field(default_factory=Window)
    step: int = 0
    """Steps done."""
    seconds: float = 0.0
    """Spent by earlier attempts, as far as checkpoints remember them."""

    def save(self, step: int, seconds: float) -> None:
        """Replace the checkpoint.

        Args:
            step: Steps done.
            seconds: Spent on them.
        """
        window, scaler = self.window.state_dict(), self.accelerator.scaler
        if processes.index() != 0:
            return
        save_checkpoint(
            self.folder / "checkpoint.pt",
            {
                "step": step,
                "seconds": seconds,
                "metrics_offset": self.metrics.offset,
                "window": window,
                "model": self.accelerator.unwrap_model(self.model).state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "bank": self.bank.state_dict() if self.bank is not None else None,
                "rng": rng_state(),
            },
        )

    def resume(self) -> None:
        """Restore everything from the checkpoint, if there is one that can be read."""
        state = load_checkpoint(self.folder / "checkpoint.pt")
        if state is not None:
            self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if state.get("scaler") is not None and self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            if self.bank is not None:
                self.bank.load_state_dict(state["bank"])
            set_rng_state(state["rng"])
            self.window.load_state_dict(state.get("window", {}))
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.accelerator.wait_for_everyone()  # nobody reads any more what the first now cuts
        if processes.index() == 0:
            self.metrics.truncate(0 if state is None else state["metrics_offset"])

    def keep_batch(self, batch: Batch, step: int) -> Path:
        """Write a batch and the weights that it was too much for, for a look; returns where."""
        path = self.folder / "failed_batch.pt"
        if processes.index() == 0:
            save_checkpoint(
                path,
                {
                    "step": step,
                    "batch": batch._asdict() | {"targets": [tuple(t) for t in batch.targets]},
                    "model": self.accelerator.unwrap_model(self.model).state_dict(),
                },
            )
        return path
