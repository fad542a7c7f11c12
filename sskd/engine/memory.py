"""What becomes of a run for which a GPU's memory does not suffice, and how it shows early."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from sskd.engine.checkpoint import rng_state, set_rng_state
from sskd.engine.errors import RunStopped
from sskd.losses.memory_bank import MemoryBank

__all__ = ["enough_memory", "try_out"]


@contextmanager
def enough_memory(what: str, remedy: str) -> Iterator[None]:
    """Say in one line what a GPU had no memory for.

    Args:
        what: Was going on.
        remedy: What takes less of it, and what is kept meanwhile.

    Raises:
        RunStopped: In the place of PyTorch's error, or of CUDA's own, which comes where others
            have left nothing of the GPU.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error):
            raise RunStopped(f"{what}: the GPU has not enough memory; {remedy}") from None
        raise


def try_out(learn: Callable[[], None], model: nn.Module, bank: MemoryBank | None) -> None:
    """Run a step's passes for their memory alone, and leave everything as it was.

    Meanwhile as much memory is taken as AdamW keeps from the first step on: two numbers for each
    that is trained.

    Args:
        learn: Adds to the gradients of ``model``, and to ``bank`` if there is one.
        model: Its gradients are dropped; its running statistics are put back, and so are the
            global generators.
        bank: Is put back.
    """
    random = rng_state()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    stored = bank.state_dict() if bank is not None else None
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    moments = [torch.empty_like(parameter) for parameter in trained for _ in range(2)]
    learn()
    del moments
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    if bank is not None and stored is not None:
        bank.load_state_dict(stored)
    set_rng_state(random)
