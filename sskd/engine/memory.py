"""What becomes of a run for which a GPU's memory does not suffice, and how it shows early."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sskd.engine.errors import RunStopped
from sskd.losses.memory_bank import MemoryBank

__all__ = ["enough_memory", "try_out"]


@contextmanager
def enough_memory(what: str, remedy: str) -> Iterator[None]:
    """Say in one line what a GPU had no memory for.

    Args:
        what: Was going on.
        remedy: What takes less of it.

    Raises:
        RunStopped: In the place of PyTorch's error. What is on the disk is kept.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise RunStopped(
            f"{what}: the GPU has not enough memory; {remedy}; what is computed so far is kept"
        ) from None


def try_out(learn: Callable[[], None], model: nn.Module, bank: MemoryBank | None) -> None:
    """Run a step's passes for their memory alone, and leave everything as it was.

    Args:
        learn: Adds to the gradients of ``model``, and to ``bank`` if there is one.
        model: Its gradients are dropped; its running statistics are put back.
        bank: Is put back.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    stored = bank.state_dict() if bank is not None else None
    learn()
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    if bank is not None and stored is not None:
        bank.load_state_dict(stored)
