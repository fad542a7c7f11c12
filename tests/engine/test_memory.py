"""What a run says when memory runs out, and how it finds out beforehand."""

import pytest
import torch
from torch import nn

from sskd.config import base_for, build_config
from sskd.engine.errors import RunStopped
from sskd.engine.memory import enough_memory, try_out
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.negatives import Locations
from sskd.models.build import build_model
from sskd.models.recompute import recompute_activations

VIT = {
    "student.encoder": {"name": "tiny-vit", "width": 8, "depth": 2},
    "student.head": {"name": "dpt", "width": 16},
    "student.decoder": {"queries": 4, "layers": 1, "heads": 2, "width": 16, "feedforward": 16},
}


def test_memory_that_runs_out_is_one_line():
    with (
        pytest.raises(RunStopped) as error,
        enough_memory("transfer", "lower stages.transfer.labeled_batch"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand so on")
    assert str(error.value) == (
        "transfer: the GPU has not enough memory; lower stages.transfer.labeled_batch; "
        "what is computed so far is kept"
    )


def test_trying_out_leaves_no_trace():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    bank = MemoryBank(size=10, dim=2)
    some = Locations(
        torch.randn(4, 2), torch.ones(4, 3), torch.ones(4, 2), torch.zeros(4).long(), torch.ones(4)
    )
    bank.push(some, generator=torch.Generator())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []

    def learn() -> None:
        model(torch.randn(2, 3, 4, 4)).sum().backward()
        bank.push(some, generator=torch.Generator())
        seen.append(float(model[1].running_mean.abs().sum()))

    try_out(learn, model, bank)
    assert seen[0] > 0
    assert len(bank) == 4
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def student(**changes):
    config = build_config(base_for("tiny", "toycity"), changes).student
    generator = torch.Generator().manual_seed(0)
    return build_model(config, classes=("car", "person"), generator=generator)


def gradients(model):
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    predictions = model(images)
    (predictions.mask_logits.sin().sum() + predictions.pixel_embeddings.sin().sum()).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def saved_by(model):
    """The gradients, and how many numbers were kept for them."""
    numbers = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda kept: numbers.append(kept.numel()) or kept, lambda kept: kept
    ):
        return gradients(model), sum(numbers)


def test_recomputed_activations_give_the_same_gradients():
    plain, frugal = student(**VIT), student(**VIT)
    recompute_activations(frugal)
    expected, kept = saved_by(plain)
    found, less = saved_by(frugal)
    assert less < kept
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    state, other = plain.state_dict(), frugal.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_a_model_without_transformer_layers_says_so():
    with pytest.raises(ValueError, match=r"runtime\.gradient_checkpointing: the model has no"):
        recompute_activations(student())
