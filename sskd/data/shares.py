"""Which images of a batch a process has, where several share it."""

from typing import NamedTuple

__all__ = ["WHOLE", "Share"]


class Share(NamedTuple):
    """One process's part of every batch: as many images as any other's."""

    process: int
    processes: int
    parts: int
    """Micro-batches that a batch is cut into: each is shared by all processes."""

    def of(self, size: int) -> list[int]:
        """Places, among so many images, of one's own: one micro-batch's after another's.

        Args:
            size: A multiple of ``parts`` times ``processes``.
        """
        assert size % (self.parts * self.processes) == 0, "a batch is shared equally"
        own = size // self.parts // self.processes
        starts = [part * (size // self.parts) + self.process * own for part in range(self.parts)]
        return [place for start in starts for place in range(start, start + own)]


WHOLE = Share(process=0, processes=1, parts=1)
"""All of it."""
