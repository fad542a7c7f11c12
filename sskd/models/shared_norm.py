"""Batch normalisation over the batch of all processes.

Axes: b images, c channels.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sskd import processes

__all__ = ["SharedBatchNorm", "share_statistics"]


def share_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with statistics of all processes' images, where there are several.

    Args:
        model: Its parameters, buffers and their names stay.
        device: On a GPU the norm is PyTorch's own, which knows no CPU.
    """
    if processes.number() == 1:
        return model
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return converted
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm
    return model


class SharedBatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` whose batch is that of all processes, each with as many images."""

    def forward(self, input: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c _ _"]:  # noqa: A002
        """As ``nn.BatchNorm2d``; float32 inside."""
        if not self.training:
            return super().forward(input)
        with torch.autocast(input.device.type, enabled=False):
            values = input.float()
            size = processes.number() * values.numel() // values.shape[1]
            mean = processes.total(values.sum((0, 2, 3))) / size
            centred = values - mean[:, None, None]
            variance = processes.total(centred.square().sum((0, 2, 3))) / size
            if self.track_running_stats:
                self._remember(mean, variance * (size / (size - 1)))
            normed = centred * (variance + self.eps).rsqrt()[:, None, None]
            if self.affine:
                normed = torch.addcmul(self.bias[:, None, None], normed, self.weight[:, None, None])
        return normed.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        assert self.momentum is not None, "a mean over all batches is not kept"
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
