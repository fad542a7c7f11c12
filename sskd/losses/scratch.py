"""Memory for what one tile needs and the next one overwrites."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Scratch"]


class Scratch:
    """Results of tiles, each kind in the same place as before.

    Fresh memory has to be mapped page by page when it is first written. For tables as large as a
    tile's, on a processor, that takes a tenth of the time of the whole term.

    Args:
        like: Of the type and on the device of all results.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._kept: dict[str, Tensor] = {}

    def room(self, name: str, *shape: int) -> Tensor:
        """Memory with anything in it, the same that the name had before if that was enough."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.numel() < size:
            kept = self._kept[name] = self._like.new_empty(size)
        return kept[:size].view(shape)

    def take(
        self, name: str, table: Float[Tensor, "n c"], rows: Int[Tensor, "g t"]
    ) -> Float[Tensor, "g t c"]:
        """Rows of a table; also several times quicker than to index it on a processor."""
        out = self.room(name, rows.numel(), table.shape[1])
        return torch.index_select(table, 0, rows.flatten(), out=out).view(*rows.shape, -1)

    def product(
        self,
        name: str,
        left: Float[Tensor, "g a b"],
        right: Float[Tensor, "g b c"],
        *,
        scale: float = 1.0,
    ) -> Float[Tensor, "g a c"]:
        """The matrix product of each group, scaled on the way."""
        out = self.room(name, *left.shape[:2], right.shape[2])
        return torch.baddbmm(out, left, right, beta=0, alpha=scale, out=out)
