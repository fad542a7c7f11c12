"""Batches as a pure function of the seed and the step.

Which images stand in a batch, and how their views are drawn, follows from (seed, step) alone: a
resumed run needs no state, and the arms of an ablation see the same data. Images come in epochs,
each a permutation of its own; a batch may reach from one epoch into the next.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch.profiler import record_function
from torch.utils.data import DataLoader, Dataset, get_worker_info

from sskd.config import ViewsConfig
from sskd.data.checks import MIN_PIXELS
from sskd.data.coco import CocoData
from sskd.data.segmentations import RunLengths, decode
from sskd.data.shares import WHOLE, Share
from sskd.data.views import make_views
from sskd.signals import ignore_stops
from sskd.types import Batch, Targets

__all__ = ["CACHE_BYTES", "Loader"]

CACHE_BYTES = 512 * 1024**2
"""Memory for decoded images, over all worker processes together."""

_LABELED, _PSEUDO, _VIEWS = range(3)
"""Independent streams of random numbers under one seed."""


class Loader:
    """Labeled and pseudo-labeled images as batches of weak and strong views.

    Args:
        labeled: Images with ground truth; needed if ``labeled_batch`` is positive.
        pseudo: Images with pseudo-labels; if ``None``, batches hold labeled images only.
        views: How the views are drawn.
        labeled_batch: Labeled images a batch.
        unlabeled_batch: Pseudo-labeled images a batch; they follow the labeled ones.
        seed: Non-negative.
        share: The part of every batch that this process has.
        cache_bytes: Decoded images are kept up to this, then no more are added.

    Raises:
        ValueError: If a set that is asked for is absent or empty, nothing is asked for, or the two
            sets have different categories.
    """

    def __init__(
        self,
        labeled: CocoData | None,
        pseudo: CocoData | None,
        *,
        views: ViewsConfig,
        labeled_batch: int,
        unlabeled_batch: int,
        seed: int,
        share: Share = WHOLE,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._views = views
        self._seed = seed
        parts: list[_Part] = []
        if labeled_batch:
            if labeled is None:
                raise ValueError(f"{labeled_batch} labeled images a batch, but no labeled set")
            parts.append(_Part(labeled, labeled_batch, _LABELED))
        if unlabeled_batch and pseudo is not None:
            parts.append(_Part(pseudo, unlabeled_batch, _PSEUDO))
        if not parts:
            raise ValueError("a batch needs labeled or pseudo-labeled images; both are left out")
        for part in parts:
            if not part.data.images:
                raise ValueError(f"{part.data.path}: no images, but {part.batch} a batch")
        if parts[0].data.categories != parts[-1].data.categories:
            raise ValueError(f"{parts[-1].data.path}: other categories than {parts[0].data.path}")
        self._parts = tuple(parts)
        self._share = share
        self._num_labeled = len(share.of(labeled_batch))
        self._cache = _Cache(cache_bytes)

    def batch(self, step: int) -> Batch:
        """The batch of a step, the same whenever it is asked for.

        Args:
            step: From 0 on.

        Raises:
            ValueError: If an image is missing, unreadable, or of another size than stated.
        """
        return self._make([self._image_ids(part, step) for part in self._parts], step)

    def fullest(self) -> Batch:
        """A batch of the images with the most instances: what takes the most memory.

        Raises:
            ValueError: As ``batch`` does.
        """
        ids = []
        for part in self._parts:
            data = part.data
            order = sorted(
                data.images,
                key=lambda image: -sum(not a.crowd for a in data.annotations(image.id)),
            )
            ids.append([order[place % len(order)].id for place in range(part.batch)])
        return self._make(ids, 0)

    def _make(self, ids: Sequence[Sequence[int]], step: int) -> Batch:
        """This process's share of a batch, from the images of each part."""
        places: list[int] = []
        chosen = []
        before = 0
        for part, image_ids in zip(self._parts, ids, strict=True):
            mine = self._share.of(part.batch)
            places += [before + place for place in mine]
            chosen += [(part, image_ids[place]) for place in mine]
            before += part.batch
        items = [self._cache.get(part, image_id) for part, image_id in chosen]
        with record_function("sskd views"):
            views = make_views(
                [item.image for item in items],
                [item.masks() for item in items],
                config=self._views,
                generator=_generator(self._seed, _VIEWS, step),
                places=places,
            )
        targets = []
        for item, masks in zip(items, views.masks, strict=True):
            visible = masks.flatten(1).sum(1) >= MIN_PIXELS
            targets.append(Targets(masks[visible], torch.from_numpy(item.classes)[visible]))
        return Batch(
            weak=views.weak,
            strong=views.strong,
            weak_to_strong=views.weak_to_strong,
            targets=tuple(targets),
            num_labeled=self._num_labeled,
            image_ids=tuple(image_id for _, image_id in chosen),
        )

    def batches(
        self, start: int, stop: int, *, workers: int, pinned: bool = False
    ) -> Iterator[Batch]:
        """The batches of the steps ``start <= step < stop``, in order.

        Args:
            start: First step.
            stop: Step after the last.
            workers: Processes that prepare batches ahead, one thread each; 0 prepares each batch
                here when it is asked for. The batches do not depend on it.
            pinned: Whether workers' batches come in pinned memory, from which ``Batch.to`` copies
                to a CUDA device without waiting; needs one. A batch that is prepared here does
                not: pinning it would be another copy to wait for.

        Raises:
            ValueError: As ``batch`` does.
        """
        if workers == 0:
            yield from map(self.batch, range(start, stop))
            return
        ahead = DataLoader(
            _Steps(self, start, stop),
            batch_size=None,
            num_workers=workers,
            collate_fn=_unchanged,
            pin_memory=pinned,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # otherwise it draws from the global one
        )
        for batch in ahead:
            if isinstance(batch, str):
                raise ValueError(batch)
            # Pinning makes lists of the tuples inside in older versions of PyTorch.
            yield batch._replace(targets=tuple(batch.targets), image_ids=tuple(batch.image_ids))

    def _image_ids(self, part: "_Part", step: int) -> list[int]:
        size = len(part.data.images)
        places = range(step * part.batch, (step + 1) * part.batch)
        return [
            part.data.images[
                _permutation(self._seed, part.stream, place // size, size)[place % size]
            ].id
            for place in places
        ]


class _Part(NamedTuple):
    """One of the sets that a batch draws from."""

    data: CocoData
    batch: int
    stream: int


class _Item(NamedTuple):
    """A decoded image; its masks stay run lengths, which are far smaller and quick to decode."""

    image: UInt8[np.ndarray, "h w 3"]
    rles: Sequence[RunLengths]
    classes: np.ndarray

    def masks(self) -> np.ndarray:
        height, width = self.image.shape[:2]
        return decode(self.rles, height=height, width=width)

    def size(self) -> int:
        return self.image.nbytes + sum(len(rle["counts"]) + 200 for rle in self.rles)


class _Cache:
    """Keeps what was decoded first: with whole epochs, evicting would only make room for misses."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._items: dict[tuple[int, int], _Item] = {}

    def get(self, part: _Part, image_id: int) -> _Item:
        key = (part.stream, image_id)
        if key not in self._items:
            item = _read(part.data, image_id)
            if self._used + item.size() > self.limit:
                return item
            self._used += item.size()
            self._items[key] = item
        return self._items[key]


def _read(data: CocoData, image_id: int) -> _Item:
    """An image with its instances; crowd regions are no targets."""
    annotations = [a for a in data.annotations(image_id) if not a.crowd]
    return _Item(
        image=data.read_image(image_id),
        rles=[data.rle(annotation) for annotation in annotations],
        classes=np.array([data.class_index(a.category_id) for a in annotations], np.int64),
    )


def _generator(*words: int) -> torch.Generator:
    """A generator of its own for each combination of words."""
    seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(seed >> 1)


@lru_cache(maxsize=8)
def _permutation(seed: int, stream: int, epoch: int, size: int) -> tuple[int, ...]:
    order = torch.randperm(size, generator=_generator(seed, stream, epoch))
    return tuple(order.tolist())


class _Steps(Dataset["Batch | str"]):
    """A range of steps as PyTorch's worker processes want it."""

    def __init__(self, loader: Loader, start: int, stop: int) -> None:
        self.loader = loader
        self._steps = range(start, stop)

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, place: int) -> Batch | str:
        """A batch, or what is wrong with the data: PyTorch would wrap an error in its traceback."""
        try:
            return self.loader.batch(self._steps[place])
        except ValueError as error:
            return str(error)


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    ignore_stops()  # one that died of a job's SIGTERM would fail the step that is to be finished
    torch.set_num_threads(1)  # workers times threads must not exceed the cores
    worker = get_worker_info()
    assert worker is not None
    cache = worker.dataset.loader._cache  # type: ignore[attr-defined]
    cache.limit //= worker.num_workers
