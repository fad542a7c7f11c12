"""Locations of earlier steps, to draw negatives from (arXiv 2604.03841, table 13)."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from sskd.losses.negatives import Locations

__all__ = ["MemoryBank"]


class MemoryBank:
    """The newest ``size`` of all embeddings pushed, with their score vectors; first in, first out.

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
        self._entries: dict[str, Tensor] = {}  # (at most size, ...) each, oldest first
        self._pushes = 0
        self._device: torch.device | str = "cpu"

    def __len__(self) -> int:
        """Entries held, at most ``size``."""
        return len(self._entries["stored_at"]) if self._entries else 0

    def ages(self) -> Int[Tensor, " n"]:
        """Pushes after that of each entry, >= 0, oldest first; a step or micro-batch pushes once.

        Raises:
            ValueError: If nothing has been stored yet.
        """
        return self._pushes - 1 - self._stored("stored_at")

    def locations(self) -> Locations:
        """All entries, oldest first, as a pool of negatives; a later push leaves it alone.

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
            new = {name: values[kept] for name, values in new.items()}
        # New tensors rather than writes: the backward pass still reads the old ones.
        self._entries = {
            name: torch.cat([self._entries.get(name, values[:0]), values])[-self.size :]
            for name, values in new.items()
        }
        self._pushes += 1

    def to(self, device: torch.device | str) -> None:
        """Keep the entries there from now on."""
        self._device = device
        self._entries = {name: values.to(device) for name, values in self._entries.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs: numbers, and tensors by name."""
        entries = {name: values.clone() for name, values in self._entries.items()}
        return {"size": self.size, "dim": self.dim, "pushes": self._pushes, "entries": entries}

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
        self._pushes = state["pushes"]
        entries: dict[str, Tensor] = state["entries"]
        self._entries = {name: values.clone().to(self._device) for name, values in entries.items()}

    def _stored(self, name: str) -> Tensor:
        if not self._entries:
            raise ValueError("the memory bank is empty: push before reading it")
        return self._entries[name]
