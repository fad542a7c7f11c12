"""How a batch travels; what its values are is tested where they are made."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from sskd.types import Batch, Targets


def make_batch() -> Batch:
    views = torch.rand(2, 2, 3, 4, 6)
    targets = tuple(
        Targets(torch.rand(n, 4, 6) > 0.5, torch.arange(n)) for n in (3, 0)
    )  # the second image shows nothing
    return Batch(*views, torch.eye(3).repeat(2, 1, 1), targets, 1, (7, 9))


def tensors(batch: Batch) -> list[Tensor]:
    views = [batch.weak, batch.strong, batch.weak_to_strong]
    return views + [tensor for targets in batch.targets for tensor in targets]


class Copies(TorchFunctionMode):
    """Stands for a CUDA device: notes each copy, whether it is waited for, and makes none."""

    def __init__(self, *, pinned: bool):
        self.pinned = pinned
        self.made = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.is_pinned:
            return self.pinned
        if func is Tensor.to:
            self.made.append((args[1], kwargs["non_blocking"]))
            return args[0]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("device", "pinned", "goes_on"),
    [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)],
)
def test_only_copies_from_pinned_memory_to_a_gpu_are_not_waited_for(device, pinned, goes_on):
    place = torch.device(device)
    with Copies(pinned=pinned) as copies:
        make_batch().to(place)
    assert copies.made == [(place, goes_on)] * 7


def test_a_batch_stays_itself_on_its_way():
    batch = make_batch()
    moved = batch.to(torch.device("cpu"))
    assert all(a is b for a, b in zip(tensors(moved), tensors(batch), strict=True))
    assert (moved.num_labeled, moved.image_ids) == (1, (7, 9))
    assert {x.device.type for x in tensors(batch.to(torch.device("meta")))} == {"meta"}


@pytest.mark.gpu
def test_a_pinned_batch_arrives_on_the_gpu():
    batch = make_batch()
    pinned = batch._replace(
        weak=batch.weak.pin_memory(),
        targets=tuple(Targets(*(x.pin_memory() for x in t)) for t in batch.targets),
    )
    moved = pinned.to(torch.device("cuda"))
    assert all(x.is_cuda for x in tensors(moved))
    assert all(torch.equal(a.cpu(), b) for a, b in zip(tensors(moved), tensors(batch), strict=True))
