"""What a bank keeps, forgets and restores."""

import io

import pytest
import torch

from sskd.losses.memory_bank import MemoryBank
from sskd.losses.negatives import Locations


def step(first, count):
    """Locations numbered from ``first``; the number is in every tensor."""
    numbers = torch.arange(first, first + count)
    values = numbers.float()[:, None]
    return Locations(values.expand(-1, 2), values + 0.5, values + 0.25, numbers * 0, numbers)


def push(bank, *steps, seed=0):
    for locations in steps:
        bank.push(locations, generator=torch.Generator().manual_seed(seed))


def held(bank):
    return bank.locations().embeddings[:, 0].int().tolist()


def test_oldest_give_way():
    bank = MemoryBank(size=7, dim=2)
    push(bank, step(0, 3), step(3, 3))
    assert held(bank) == [0, 1, 2, 3, 4, 5]
    assert bank.ages().tolist() == [1, 1, 1, 0, 0, 0]
    push(bank, step(6, 3))
    assert held(bank) == [7, 8, 2, 3, 4, 5, 6]
    assert bank.ages().tolist() == [0, 0, 2, 1, 1, 1, 0]
    for first in range(9, 60, 3):
        push(bank, step(first, 3))
    assert sorted(held(bank)) == list(range(53, 60))
    assert len(bank) == 7


def test_scores_stay_with_their_embeddings_and_images_are_forgotten():
    bank = MemoryBank(size=4, dim=2)
    push(bank, step(0, 3), step(3, 3))
    pool = bank.locations()
    assert torch.equal(pool.slot_scores, pool.embeddings[:, :1] + 0.5)
    assert torch.equal(pool.class_scores, pool.embeddings[:, :1] + 0.25)
    assert pool.images.tolist() == [-1] * 4
    assert pool.instances.tolist() == [-2] * 4


def test_step_larger_than_the_bank_is_thinned_at_random():
    counts = torch.zeros(10)
    for seed in range(600):
        bank = MemoryBank(size=3, dim=2)
        push(bank, step(0, 10), seed=seed)
        assert len(set(held(bank))) == 3
        counts[held(bank)] += 1
    assert ((counts - 180).abs() < 5 * (600 * 0.3 * 0.7) ** 0.5).all()


def test_a_push_writes_in_place():
    bank = MemoryBank(size=3, dim=2)
    push(bank, step(0, 3))
    place = bank.locations().embeddings.data_ptr()
    push(bank, step(3, 2))
    assert bank.locations().embeddings.data_ptr() == place
    assert held(bank) == [3, 4, 2]


def test_no_gradient_is_kept():
    bank = MemoryBank(size=3, dim=2)
    locations = step(0, 2)
    push(bank, locations._replace(embeddings=locations.embeddings.clone().requires_grad_() * 2))
    assert not bank.locations().embeddings.requires_grad


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_state_goes_through_a_file(steps):
    bank = MemoryBank(size=5, dim=2)
    push(bank, *(step(3 * i, 3) for i in range(steps)))
    file = io.BytesIO()
    torch.save(bank.state_dict(), file)
    file.seek(0)
    restored = MemoryBank(size=5, dim=2)
    restored.load_state_dict(torch.load(file, weights_only=True))
    for one in (bank, restored):
        push(one, step(90, 2))
    assert held(bank) == held(restored)
    assert torch.equal(bank.ages(), restored.ages())


def test_state_of_another_bank_is_refused():
    bank = MemoryBank(size=5, dim=2)
    with pytest.raises(ValueError, match=r"saved size is 6, this bank's is 5"):
        bank.load_state_dict(MemoryBank(size=6, dim=2).state_dict())


def test_empty_bank_has_nothing_to_give():
    bank = MemoryBank(size=5, dim=2)
    assert len(bank) == 0
    with pytest.raises(ValueError, match="empty"):
        bank.locations()
