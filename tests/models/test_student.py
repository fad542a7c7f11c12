"""Building, initial weights and the optimizer's groups."""

from collections.abc import Callable

import pytest
import torch

from sskd.config import ModelConfig, load_scale
from sskd.models.parameters import num_parameters, parameter_groups
from sskd.models.student import InstanceSegmenter

Configure = Callable[..., ModelConfig]
Build = Callable[..., InstanceSegmenter]


@pytest.mark.parametrize("head", ["fpn", "dpt"])
@pytest.mark.parametrize("encoder", ["tiny-conv", "tiny-vit"])
def test_initial_weights_depend_on_config_and_generator_alone(
    encoder: str, head: str, configure: Configure, build_model: Build
) -> None:
    config = configure(encoder, head)
    torch.manual_seed(1)
    first = build_model(config).state_dict()
    torch.manual_seed(2)
    torch.randn(5)
    state = torch.get_rng_state()
    second = build_model(config).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], second[name]) for name in first)
    third = build_model(config, seed=1).state_dict()
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_the_projection_does_not_change_the_other_initial_weights(
    configure: Configure, build_model: Build
) -> None:
    small, large = build_model(configure(dim=8)), build_model(configure(dim=32))
    others = [name for name in small.state_dict() if not name.startswith("projection")]
    state = large.state_dict()
    assert all(torch.equal(small.state_dict()[name], state[name]) for name in others)


@pytest.mark.parametrize("encoder", ["tiny-conv", "tiny-vit"])
def test_groups_hold_every_parameter_once(
    encoder: str, configure: Configure, build_model: Build
) -> None:
    model = build_model(configure(encoder))
    groups = parameter_groups(model, 1e-3, 0.1, 0.05)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())
    place = {id(p): group for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        group = place[id(parameter)]
        assert group["lr"] == (1e-4 if name.startswith("encoder.") else 1e-3)
    decayed = {n for n, p in model.named_parameters() if place[id(p)]["weight_decay"]}
    assert {place[id(p)]["weight_decay"] for p in model.parameters()} == {0.0, 0.05}
    assert "decoder.class_head.weight" in decayed
    assert "decoder.transformer.decoder.layers.0.cross_attn.in_proj_weight" in decayed
    for kept in ("bias", "norm", "embedder.weight", "features.weight", "token", "position_emb"):
        assert not [name for name in decayed if kept in name]
    torch.optim.AdamW(groups)


def test_num_parameters_counts_by_hand(configure: Configure, build_model: Build) -> None:
    model = build_model(configure())
    # Three linear maps with biases: 32 channels at stride 8, 16 hidden, 8 out.
    assert num_parameters(model.projection) == 32 * 16 + 16 + 16 * 16 + 16 + 16 * 8 + 8


def test_the_students_of_the_scales_have_the_sizes_that_we_tell(build_model: Build) -> None:
    sizes = {
        "tiny": (0.3e6, 1.2e6),
        "paper": (52e6, 57e6),  # the paper's 52M; our natural reading of it is a little larger
    }
    for scale, (low, high) in sizes.items():
        raw = load_scale(scale)["student"]
        raw["encoder"]["weights"] = "none"
        model = build_model(ModelConfig.model_validate(raw))
        assert low < num_parameters(model) < high
