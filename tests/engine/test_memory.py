"""What a run says when memory runs out, and how it finds out beforehand."""

import gc
import random
from collections import Counter
from itertools import repeat

import numpy as np
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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand so on"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
    ],
)
def test_memory_that_runs_out_is_one_line(error):
    with (
        pytest.raises(RunStopped) as stopped,
        enough_memory("transfer", "lower stages.transfer.labeled_batch"),
    ):
        raise error
    assert str(stopped.value) == (
        "transfer: the GPU has not enough memory; lower stages.transfer.labeled_batch"
    )


def test_another_error_stays_what_it_is():
    with pytest.raises(RuntimeError, match="shapes"), enough_memory("transfer", "lower it"):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_trying_out_leaves_no_trace():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    bank = MemoryBank(size=10, dim=2)
    some = Locations(
        torch.randn(4, 2), torch.ones(4, 3), torch.ones(4, 2), torch.zeros(4).long(), torch.ones(4)
    )
    bank.push(some, generator=torch.Generator())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    seen = []
    random.seed(0)
    drawn = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()

    def learn() -> None:
        torch.manual_seed(random.randrange(1000) + np.random.randint(1000))
        model(torch.randn(2, 3, 4, 4)).sum().backward()
        bank.push(some, generator=torch.Generator())
        seen.append(float(model[1].running_mean.abs().sum()))

    try_out(learn, model, bank)
    assert seen[0] > 0
    assert len(bank) == 4
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), drawn[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == drawn[1:]


def test_trying_out_takes_what_the_optimizer_will_keep():
    model = nn.Sequential(nn.Linear(37, 41), nn.Linear(41, 43))
    model[1].requires_grad_(False)
    kinds = {"trained": (41, 37), "frozen": (43, 41)}

    def alive() -> Counter[str]:
        shapes = [tuple(o.shape) for o in gc.get_objects() if type(o) is torch.Tensor]
        return Counter({kind: shapes.count(shape) for kind, shape in kinds.items()})

    def learn() -> None:
        during.update(alive())

    during: Counter[str] = Counter()
    before = alive()
    try_out(learn, model, None)
    model(torch.ones(1, 37)).sum().backward()
    optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    optimizer.step()
    (kept,) = [s for p, s in optimizer.state.items() if p.shape == kinds["trained"]]
    assert during - before == Counter(trained=sum(v.dim() > 0 for v in kept.values()))
    del optimizer, kept
    model.zero_grad()
    assert alive() == before


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
