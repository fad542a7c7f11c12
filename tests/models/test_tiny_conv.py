"""The residual encoder against blocks of plain convolutions."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from sskd.config import EncoderConfig
from sskd.models.tiny_conv import TinyConv

# Memory that a pass breaks is noticed by a later one.
MANY_PASSES = """
import torch
from sskd.config import EncoderConfig
from sskd.models.tiny_conv import TinyConv
torch.set_num_threads(1)
encoder = TinyConv(EncoderConfig(name="tiny-conv", weights="none", width=8, depth=1))
for _ in range(20):
    images = torch.rand(2, 3, 96, 96).to(memory_format=torch.channels_last)
    sum(features.square().sum() for features in encoder(images)).backward()
"""


@pytest.mark.parametrize("width", [8, 16])
def test_shortcuts_are_strided_convolutions(width: int) -> None:
    torch.manual_seed(0)
    encoder = TinyConv(EncoderConfig(name="tiny-conv", weights="none", width=width, depth=1)).eval()
    shortcuts = [stage[0].shortcut[0] for stage in encoder.stages]
    assert [s.in_channels for s in shortcuts] == [width, width, 2 * width, 4 * width]
    for shortcut in shortcuts:
        assert isinstance(shortcut, nn.Conv2d)
        assert shortcut.weight.shape[2:] == (1, 1)
        features = torch.rand(2, shortcut.in_channels, 7, 10, dtype=torch.float64)
        expected = functional.conv2d(features, shortcut.weight.double(), stride=2)
        assert torch.allclose(shortcut.double()(features), expected)


def test_few_channels_train_without_breaking_memory() -> None:
    done = subprocess.run([sys.executable, "-c", MANY_PASSES], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
