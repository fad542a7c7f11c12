import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_files import content, square
from torch.utils.data._utils import pin_memory

from sskd.config import ViewsConfig
from sskd.data.coco import CocoData, load_coco
from sskd.data.loader import Loader
from sskd.data.shares import Share
from sskd.types import Batch

Write = Callable[..., tuple[Path, Path]]

VIEWS = ViewsConfig(
    geometry="mapped",
    crop=(24, 24),
    scale=(0.8, 1.5),
    flip=0.5,
    jitter=(0.4, 0.4, 0.4, 0.1),
    jitter_probability=0.8,
    grayscale=0.2,
    blur_kernel=5,
    blur_sigma=(0.1, 2.0),
    blur_probability=0.5,
    strong_scale=(0.5, 1.0),
)


@pytest.fixture
def sets(write: Write) -> tuple[CocoData, CocoData]:
    pseudo = content(7, first=20)
    for annotation in pseudo["annotations"]:
        annotation["score"] = 0.5
    return load_coco(*write(content(5))), load_coco(*write(pseudo, "pseudo"))


def _loader(labeled: CocoData | None, pseudo: CocoData | None, **changes: int) -> Loader:
    sizes = {"labeled_batch": 2, "unlabeled_batch": 3, "seed": 0, **changes}
    return Loader(labeled, pseudo, views=VIEWS, **sizes)


def _same(one: Batch, two: Batch) -> bool:
    return (
        one.image_ids == two.image_ids
        and one.num_labeled == two.num_labeled
        and torch.equal(one.weak, two.weak)
        and torch.equal(one.strong, two.strong)
        and torch.equal(one.weak_to_strong, two.weak_to_strong)
        and all(
            torch.equal(a.masks, b.masks) and torch.equal(a.classes, b.classes)
            for a, b in zip(one.targets, two.targets, strict=True)
        )
    )


def test_labeled_images_come_first(sets: tuple[CocoData, CocoData]) -> None:
    batch = _loader(*sets).batch(4)
    assert batch.num_labeled == 2
    assert all(image_id < 20 for image_id in batch.image_ids[:2])
    assert all(image_id >= 20 for image_id in batch.image_ids[2:])
    assert batch.weak.shape == batch.strong.shape == (5, 3, 24, 24)
    for image_id, targets in zip(batch.image_ids, batch.targets, strict=True):
        assert targets.classes.tolist() in ([], [0 if image_id % 2 else 1])
        assert targets.masks.shape[1:] == (24, 24)
    alone = _loader(sets[0], None).batch(4)
    assert alone.image_ids == batch.image_ids[:2]
    assert torch.equal(alone.weak, batch.weak[:2])


def test_a_batch_depends_on_seed_and_step_alone(sets: tuple[CocoData, CocoData]) -> None:
    loader = _loader(*sets)
    later = loader.batch(7)
    assert _same(later, _loader(*sets).batch(7))
    assert _same(later, loader.batch(7))
    assert not _same(later, loader.batch(8))
    assert not _same(later, _loader(*sets, seed=1).batch(7))
    assert _same(later, _loader(*sets, cache_bytes=0).batch(7))


def test_epochs_show_every_image_once_in_a_new_order(sets: tuple[CocoData, CocoData]) -> None:
    loader = _loader(*sets)
    ids = [batch.image_ids for batch in loader.batches(0, 35, workers=0)]
    for part, size, known in (
        ([i for batch in ids for i in batch[:2]], 5, range(1, 6)),
        ([i for batch in ids for i in batch[2:]], 7, range(20, 27)),
    ):
        epochs = [tuple(part[at : at + size]) for at in range(0, len(part), size)]
        assert all(sorted(epoch) == list(known) for epoch in epochs)
        assert len(set(epochs)) > len(epochs) / 2


def test_a_batch_larger_than_the_set_wraps_round(sets: tuple[CocoData, CocoData]) -> None:
    batch = _loader(sets[0], None, labeled_batch=12).batch(1)
    counts = Counter(batch.image_ids)
    assert len(batch.image_ids) == 12
    assert set(counts) == set(range(1, 6))
    assert max(counts.values()) <= 4


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_give_the_same_batches(sets: tuple[CocoData, CocoData], workers: int) -> None:
    loader = _loader(*sets)
    state = torch.random.get_rng_state()
    parallel = list(loader.batches(3, 9, workers=workers))
    assert torch.equal(state, torch.random.get_rng_state())
    assert len(parallel) == 6
    for step, batch in enumerate(parallel, start=3):
        assert _same(batch, loader.batch(step))


def _tensors(batch: Batch) -> list[torch.Tensor]:
    views = [batch.weak, batch.strong, batch.weak_to_strong]
    return views + [tensor for targets in batch.targets for tensor in targets]


def test_pinning_reaches_every_tensor_of_a_batch(
    sets: tuple[CocoData, CocoData], monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's own walk through a batch, which a CPU alone would leave out."""
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    batch = _loader(*sets).batch(0)
    assert _same(pin_memory.pin_memory(batch), batch)
    assert [*map(id, pinned)] == [*map(id, _tensors(batch))]


@pytest.mark.parametrize("pinned", [False, True])
def test_workers_pin_when_they_are_asked_to(
    sets: tuple[CocoData, CocoData], monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    batch = _loader(*sets).batch(0)
    asked = []

    def ahead(*_: object, **options: Any) -> list[Batch]:
        asked.append(options["pin_memory"])
        lists: Any = batch._replace(targets=[*batch.targets], image_ids=[*batch.image_ids])
        return [lists]

    monkeypatch.setattr("sskd.data.loader.DataLoader", ahead)
    (given,) = _loader(*sets).batches(0, 1, workers=1, pinned=pinned)
    assert asked == [pinned]
    assert isinstance(given.targets, tuple)
    assert _same(given, batch)


@pytest.mark.gpu
def test_pinned_batches_of_workers_arrive_on_the_gpu(sets: tuple[CocoData, CocoData]) -> None:
    loader = _loader(*sets)
    for step, batch in enumerate(loader.batches(0, 4, workers=2, pinned=True)):
        assert all(tensor.is_pinned() for tensor in _tensors(batch) if tensor.numel())
        moved = batch.to(torch.device("cuda"))
        assert all(tensor.is_cuda for tensor in _tensors(moved))
        assert _same(moved.to(torch.device("cpu")), loader.batch(step))


def test_workers_leave_a_jobs_signals_to_the_training(sets: tuple[CocoData, CocoData]) -> None:
    loader = _loader(*sets)
    batches = loader.batches(0, 8, workers=1)
    found = [next(batches)]
    (worker,) = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        assert worker.pid is not None
        os.kill(worker.pid, number)
    found += batches
    assert len(found) == 8
    assert all(_same(batch, loader.batch(step)) for step, batch in enumerate(found))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_one_line_in_every_process(
    sets: tuple[CocoData, CocoData], workers: int
) -> None:
    for path in sets[0].images_dir.glob("im?.png"):
        path.write_text("no picture")
    with pytest.raises(ValueError, match="unreadable image") as caught:
        list(_loader(sets[0], None).batches(0, 2, workers=workers))
    assert "\n" not in str(caught.value)


def test_crowds_and_specks_are_no_targets(write: Write) -> None:
    coco = content(1)
    base = coco["annotations"][0]
    coco["annotations"] = [
        {**base, "id": 1, "segmentation": square(0, 0, 24)},
        {**base, "id": 2, "segmentation": square(5, 5, 10), "iscrowd": 1},
        {**base, "id": 3, "segmentation": square(12, 12, 1)},
    ]
    views = VIEWS.model_copy(update={"scale": (0.8, 1.0)})  # a speck stays one
    data = load_coco(*write(coco))
    loader = Loader(data, None, views=views, labeled_batch=1, unlabeled_batch=0, seed=0)
    for batch in loader.batches(0, 20, workers=0):
        masks = batch.targets[0].masks
        assert len(masks) == 1
        assert (masks.flatten(1).sum(1) >= 4).all()


def test_the_fullest_batch_has_the_images_with_the_most_instances(write: Write) -> None:
    def crowded(coco: dict[str, Any], counts: dict[int, int], *, crowd: int) -> dict[str, Any]:
        """So many instances an image, and one image with nothing but crowds."""
        (base, *_) = coco["annotations"]
        images = [i for i, count in counts.items() for _ in range(count)] + [crowd] * 9
        coco["annotations"] = [
            {**base, "id": number, "image_id": i, "iscrowd": int(i == crowd)}
            for number, i in enumerate(images, start=1)
        ]
        return coco

    labeled = load_coco(*write(crowded(content(5), {1: 1, 2: 3, 4: 4, 5: 2}, crowd=3)))
    few = crowded(content(3, first=20), {20: 1, 21: 2}, crowd=22)
    pseudo = load_coco(*write(few, "pseudo"))
    sizes = {"labeled_batch": 4, "unlabeled_batch": 4}
    batch = _loader(labeled, pseudo, **sizes).fullest()
    assert batch.image_ids == (4, 2, 5, 1, 21, 20, 22, 21)  # a small set comes round again
    assert batch.num_labeled == 4
    assert batch.weak.shape == (8, 3, 24, 24)
    assert _same(batch, _loader(labeled, pseudo, **sizes).fullest())
    shares = [Share(process, processes=2, parts=2) for process in range(2)]
    ids = [Loader(labeled, pseudo, views=VIEWS, seed=0, share=s, **sizes).fullest() for s in shares]
    assert [part.image_ids for part in ids] == [(4, 5, 21, 22), (2, 1, 20, 21)]
    assert torch.equal(ids[1].weak, batch.weak[[1, 3, 5, 7]])


def test_pseudo_labels_are_left_out_with_a_batch_of_none(sets: tuple[CocoData, CocoData]) -> None:
    assert len(_loader(*sets, unlabeled_batch=0).batch(0).image_ids) == 2
    only = _loader(None, sets[1], labeled_batch=0).batch(0)
    assert only.num_labeled == 0
    assert len(only.image_ids) == 3


def test_what_cannot_be_loaded(sets: tuple[CocoData, CocoData], write: Write) -> None:
    with pytest.raises(ValueError, match="but no labeled set"):
        _loader(None, sets[1])
    with pytest.raises(ValueError, match="both are left out"):
        _loader(sets[0], None, labeled_batch=0)
    empty = load_coco(*write({**content(0)}, "empty"))
    with pytest.raises(ValueError, match=r"empty\.json: no images, but 3 a batch"):
        _loader(sets[0], empty)
    other = content(2)
    other["categories"] = [{"id": 3, "name": "lion"}, {"id": 17, "name": "dog"}]
    with pytest.raises(ValueError, match=r"other\.json: other categories than"):
        _loader(sets[0], load_coco(*write(other, "other")))
