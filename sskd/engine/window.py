"""The values of a training between two lines of its log."""

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sskd import processes

__all__ = ["Window"]


class Window:
    """Means of the logged values between two log lines, kept as tensors until then."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor | float]] = defaultdict(list)
        self._images, self._began = 0, time.perf_counter()
        self.shown: dict[str, float] = {}
        """What the progress bar shows: of the last closed window."""

    def add(self, values: Mapping[str, Tensor | float]) -> None:
        """Values of a step or of a micro-batch; nan where nothing was measured."""
        for key, value in values.items():
            self._values[key].append(value.detach() if isinstance(value, Tensor) else value)

    def count(self, images: int) -> None:
        """Images that a step has seen, in this process."""
        self._images += images

    def close(self, device: torch.device) -> dict[str, float]:
        """The means, over all processes too, of what was measured; then nothing is left."""
        now = time.perf_counter()
        means = {}
        for key, values in self._values.items():
            numbers = [x for x in map(float, values) if not math.isnan(x)]
            means[key] = math.fsum(numbers) / len(numbers) if numbers else math.nan
        means["images_per_second"] = processes.number() * self._images / (now - self._began)
        shared = processes.mean_numbers([*means.values()], device)
        means = {k: x for k, x in zip(means, shared, strict=True) if not math.isnan(x)}
        self._values.clear()
        self._images, self._began = 0, now
        self.shown = {k: means[k] for k in ("loss", "images_per_second") if k in means}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The values since the last line, for a checkpoint; the time is not kept."""
        return {key: [float(x) for x in values] for key, values in self._values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self._values = defaultdict(list, {key: [*values] for key, values in state.items()})
