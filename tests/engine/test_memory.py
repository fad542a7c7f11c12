"""What a run says when memory runs out, and how it finds out beforehand."""

from itertools import repeat

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from sskd.config import base_for, build_config
from sskd.data.loader import Loader
from sskd.engine.errors import RunStopped
from sskd.engine.fit import fit
from sskd.engine.memory import enough_memory, try_out
from sskd.losses.memory_bank import MemoryBank
from sskd.losses.negatives import Locations
from sskd.models.build import build_model
from sskd.models.recompute import can_recompute, recompute_activations
from sskd.types import Batch

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


@pytest.mark.parametrize(
    ("encoder", "possible"),
    [("tiny-conv", False), ("tiny-vit", True), ("resnet50", False), ("sam2-hiera-small", False)],
)
def test_which_students_can_recompute(encoder, possible):
    model = student(**VIT | {"student.encoder": {"name": encoder, "width": 8, "depth": 2}})
    assert can_recompute(model) is possible
    recompute_activations(model)  # no error either way


@pytest.mark.parametrize(
    ("model", "on", "helps"), [(VIT, False, True), (VIT, True, False), ({}, False, False)]
)
def test_the_key_is_recommended_only_where_it_would_help(tmp_path, monkeypatch, model, on, helps):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    changes = {"runtime.gradient_checkpointing": on, "runtime.data_workers": 0}
    config = build_config(base_for("tiny", "toycity"), changes)
    batch = Batch(*[torch.zeros(1, 3, 32, 32)] * 2, torch.eye(3)[None], (), 1, (1,))
    monkeypatch.setattr(Loader, "batches", lambda *_, **__: repeat(batch))
    with pytest.raises(RunStopped) as error:
        fit(
            student(**model),
            Loader.__new__(Loader),
            step,
            name="transfer",
            training=config.stages.transfer.model_copy(update={"accumulation": 1}),
            runtime=config.runtime,
            accelerator=Accelerator(cpu=True),
            seed=0,
            folder=tmp_path,
            bank=None,
            log=lambda *_: None,
            progress=lambda *_, **__: None,
        )
    assert "raise its accumulation" in str(error.value)
    assert ("runtime.gradient_checkpointing" in str(error.value)) is helps
