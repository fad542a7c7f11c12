"""What the processes of a data-parallel training tell each other; for one alone, all is free.

Each process has its share of a batch and a loss of it, and the processes' gradients are averaged.
So the losses are made such that their mean is the loss of the whole batch: a sum is divided by the
mean of the processes' normalisers, and what needs the whole batch gathers it.

Axes: k values, b rows of a process, B rows of all processes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed

__all__ = ["gather", "index", "largest", "mean", "mean_numbers", "number", "total"]


def number() -> int:
    """How many processes share a batch; 1 outside a data-parallel training."""
    running = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if running else 1


def index() -> int:
    """Which of them this is, from 0 on; 0 alone writes and is heard."""
    return distributed.get_rank() if number() > 1 else 0


def mean(values: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """The mean over the processes, without gradient; the same tensor where there is one."""
    if number() == 1:
        return values
    values = values.detach().clone()
    distributed.all_reduce(values)
    return values / number()


def mean_numbers(values: Sequence[float], device: torch.device) -> list[float]:
    """The mean over the processes of plain numbers, which travel by way of a device."""
    if number() == 1:
        return [*values]
    means: list[float] = mean(torch.tensor(values, dtype=torch.float64, device=device)).tolist()
    return means


def largest(value: int, device: torch.device) -> int:
    """The largest of the processes' numbers, which travel by way of a device."""
    if number() == 1:
        return value
    values = torch.tensor(value, device=device)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return int(values)


def total(values: Float[Tensor, "*k"]) -> Float[Tensor, "*k"]:
    """The sum over the processes, with gradient: that of the sum of the processes' losses."""
    if number() == 1:
        return values
    result: Tensor = _Total.apply(values)
    return result


def gather(values: Shaped[Tensor, "b *k"]) -> Shaped[Tensor, "B *k"]:
    """The rows of all processes, one process's after another's.

    Gradient flows to one's own rows, as many times as there are processes: that of the sum of the
    processes' losses, if each computes the same loss of the rows of all.

    Args:
        values: Of one shape in all processes.
    """
    if number() == 1:
        return values
    if values.dtype == torch.bool:
        return gather(values.to(torch.uint8)).bool()
    result: Tensor = _Gather.apply(values)
    return result


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        values = values.clone()
        distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:  # noqa: ARG004
        slope = slopes[0].clone()
        distributed.all_reduce(slope)
        return slope


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.rows = len(values)
        values = values.contiguous()
        parts = [torch.empty_like(values) for _ in range(number())]
        distributed.all_gather(parts, values)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        return slopes[0][index() * ctx.rows :][: ctx.rows] * number()
