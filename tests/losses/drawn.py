"""Which negatives each anchor got from tiles."""

import torch
from jaxtyping import Int
from torch import Tensor


def negatives_of(tiles, count, law) -> Int[Tensor, "n k"]:
    """In the order of the candidates; -1 for an anchor without."""
    indices = torch.full((count, law.num_negatives), -1)
    for tile in tiles:
        owners = torch.arange(count)[tile.anchors].view(tile.complete.shape)
        for anchors, candidates, kept, complete in zip(
            owners, tile.candidates, tile.kept, tile.complete, strict=True
        ):
            for anchor, row, whole in zip(anchors.tolist(), kept, complete, strict=True):
                if whole:
                    assert (indices[anchor] == -1).all(), "an anchor comes once"
                    indices[anchor] = candidates[row > 0]
    return indices
