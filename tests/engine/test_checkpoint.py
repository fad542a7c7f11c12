import logging
import random

import numpy as np
import pytest
import torch
from torch import nn

from sskd.engine.checkpoint import (
    load_checkpoint,
    load_weights,
    rng_state,
    save_checkpoint,
    save_weights,
    set_rng_state,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 1))


def train(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        noise = random.gauss(0, 1) + float(np.random.normal())
        loss = (model(torch.randn(6, 4)) - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def test_a_resumed_training_repeats_the_uninterrupted_one_to_the_bit(tmp_path):
    path = tmp_path / "checkpoint.pt"
    model = network()
    optimizer = adamw(model)
    train(model, optimizer, 3)
    random.gauss(0, 1)  # leaves the spare value of a pair in the state
    save_checkpoint(
        path,
        {
            "step": 3,
            "best": None,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": rng_state(),
        },
    )
    uninterrupted = train(model, optimizer, 5)

    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    resumed = network()
    resumed_optimizer = adamw(resumed)
    state = load_checkpoint(path)
    resumed.load_state_dict(state["model"])
    resumed_optimizer.load_state_dict(state["optimizer"])
    set_rng_state(state["rng"])
    assert state["step"] == 3
    assert state["best"] is None
    assert train(resumed, resumed_optimizer, 5) == uninterrupted


def test_values_keep_their_type(tmp_path):
    path = tmp_path / "checkpoint.pt"
    state = {"a": [1, (2.5, "x")], "b": {"c": torch.arange(3), 7: True}, "d": b"raw"}
    save_checkpoint(path, state | {"n": np.float64(0.5), "m": np.int64(3)})
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["b"].pop("c"), state["b"].pop("c"))
    assert loaded == state | {"n": 0.5, "m": 3}
    assert type(loaded["n"]) is float


def test_what_could_not_be_loaded_safely_is_not_saved(tmp_path):
    with pytest.raises(AssertionError, match=r"state\.optimizer\.path"):
        save_checkpoint(tmp_path / "checkpoint.pt", {"optimizer": {"path": tmp_path}})


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_broken_file_counts_as_none_and_is_reported(tmp_path, caplog, share):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"model": network().state_dict()})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(path) is None
    assert "unreadable checkpoint" in caplog.text


def test_a_missing_file_is_no_news(tmp_path, caplog):
    assert load_checkpoint(tmp_path / "checkpoint.pt") is None
    assert not caplog.text


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"model": nn.Linear(1, 1)}, path)
    assert load_checkpoint(path) is None


def test_a_save_that_dies_midway_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def die(state, file):
        file.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", die)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}
    save_checkpoint(path, {"step": 3})
    assert load_checkpoint(path) == {"step": 3}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(3)


def test_weights_survive_with_buffers_and_shared_tensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    model, other = Tied(), Tied()
    model.norm(model.first(torch.randn(5, 3)))
    save_weights(path, model)
    load_weights(path, other)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert other.second.weight is other.first.weight
    assert other.norm.num_batches_tracked == 1


def test_weights_of_another_model_are_refused_in_one_line(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, nn.Linear(3, 3))
    cases = {
        "size mismatch for weight": nn.Linear(3, 4),
        "0 missing, 1 unexpected .bias.": nn.Linear(3, 3, bias=False),
        "2 missing .0.bias, ....*, 2 unexpected": nn.Sequential(nn.Linear(3, 3)),
    }
    for message, model in cases.items():
        with pytest.raises(ValueError, match=message) as caught:
            load_weights(path, model)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_or_foreign_weights_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such weights file"):
        load_weights(tmp_path / "absent.safetensors", nn.Linear(1, 1))
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"PK not safetensors at all")
    with pytest.raises(ValueError, match="not a safetensors file"):
        load_weights(path, nn.Linear(1, 1))
