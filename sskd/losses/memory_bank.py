"""Locations of earlier steps, to draw negatives from (arXiv 2604.03841, table 13)."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sskd.losses.negatives import Locations

__all__ = ["MemoryBank"]


class MemoryBank:
    """A ring of the newest ``size`` embeddings pushed, with their score vectors.

    Entries carry no gradient. They belong to no image of the current step and to no known
    instance: their slot scores count as those of another image, and nothing is said about false
    negatives among them.

    Args:
        size: Entries kept, > 0.
        dim: Of an embedding.
    """

    def __init__(self, *, size: int, dim: int) -> None:
        self.size = size
        self.dim = dim
        self._ring: dict[str, Tensor] = {}  # (size, ...) each, made by the first push
        self._next = 0
        self._count = 0
        self._pushes = 0
        self._device: torch.device | str = "cpu"

    def __len__(self) -> int:
        """Entries held, at most ``size``."""
        return self._count

    def ages(self) -> Int[Tensor, " n"]:
        """Pushes after that of each entry, >= 0; a step or micro-batch pushes once.

        Raises:
            ValueError: If nothing has been stored yet.
        """
        return self._pushes - 1 - self._stored("stored_at")

    def locations(self) -> Locations:
        """All entries as a pool of negatives, the ring itself: good until the next push.

        Raises:
            ValueError: If nothing has been stored yet.
        """
        stored_at = self._stored("stored_at")
        return Locations(
            embeddings=self._stored("embeddings"),
            slot_scores=self._stored("slot_scores"),
            class_scores=self._stored("class_scores"),
            images=torch.full_like(stored_at, -1),
            instances=torch.full_like(stored_at, -2),
        )

    @torch.no_grad()
    def push(self, locations: Locations, *, generator: torch.Generator) -> None:
        """Store a step's locations in place of the oldest.

        Args:
            locations: Their images and instances are not kept.
            generator: Chooses uniformly which locations are stored, where they outnumber
                ``size``: else the last images only would be.
        """
        assert locations.embeddings.shape[1] == self.dim, "a bank keeps embeddings of one dimension"
        new = {
            "embeddings": locations.embeddings.detach(),
            "slot_scores": locations.slot_scores,
            "class_scores": locations.class_scores,
            "stored_at": torch.full_like(locations.images, self._pushes),
        }
        count = len(locations.images)
        if count > self.size:
            order = torch.randperm(count, generator=generator, device=generator.device)
            kept = order[: self.size].to(locations.images.device)
            new, count = {name: values[kept] for name, values in new.items()}, self.size
        if not self._ring:
            self._ring = {
                name: values.new_zeros(self.size, *values.shape[1:]) for name, values in new.items()
            }
        before_end = min(count, self.size - self._next)
        for name, values in new.items():
            self._ring[name][self._next : self._next + before_end] = values[:before_end]
            self._ring[name][: count - before_end] = values[before_end:]
        self._next = (self._next + count) % self.size
        self._count = min(self.size, self._count + count)
        self._pushes += 1

    def to(self, device: torch.device | str) -> None:
        """Keep the entries there from now on."""
        self._device = device
        self._ring = {name: values.to(device) for name, values in self._ring.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: numbers, and tensors by name."""
        return {
            "size": self.size,
            "dim": self.dim,
            "next": self._next,
            "count": self._count,
            "pushes": self._pushes,
            "ring": {name: values.clone() for name, values in self._ring.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` gave, from any device.

        Raises:
            ValueError: If the state is of a bank of another size or dimension.
        """
        for name, own in (("size", self.size), ("dim", self.dim)):
            if state[name] != own:
                raise ValueError(
                    f"memory bank: the saved {name} is {state[name]}, this bank's is {own}"
                )
        self._next, self._count = state["next"], state["count"]
        self._pushes = state["pushes"]
        ring: dict[str, Tensor] = state["ring"]
        self._ring = {name: values.clone().to(self._device) for name, values in ring.items()}

    def _stored(self, name: str) -> Tensor:
        if not self._ring:
            raise ValueError("the memory bank is empty: push before reading it")
        return self._ring[name][: self._count]
