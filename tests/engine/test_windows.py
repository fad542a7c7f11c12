"""Windows over an image, and one list of detections from all of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from torch import nn

from sskd.engine.predict import InferenceRules, encode_masks, predict_batch
from sskd.engine.windows import corners, is_cut, merge, paste
from sskd.types import Predictions


def rle(rows, columns, size=(20, 20)):
    mask = torch.zeros(1, *size, dtype=torch.bool)
    mask[0, rows[0] : rows[1], columns[0] : columns[1]] = True
    return encode_masks(mask)[0]


@pytest.mark.parametrize(
    ("length", "window"), [(100, 40), (41, 40), (40, 40), (7, 40), (1000, 3), (256, 128)]
)
def test_windows_cover_a_side_and_overlap_by_a_third(length, window):
    starts = corners(length, window)
    assert starts[0] == 0
    assert max(starts) + window >= length
    assert all(0 <= s <= max(0, length - window) for s in starts)
    steps = np.diff(starts)
    assert (steps > 0).all()
    assert (steps <= np.ceil(2 * window / 3) + 1).all()


def test_a_mask_is_pasted_where_its_window_was():
    whole = paste(rle((1, 3), (2, 5), size=(4, 6)), (10, 7), (20, 20))
    assert whole == rle((11, 13), (9, 12))


def test_cut_is_what_reaches_an_inner_edge():
    size, window = (20, 20), (8, 8)
    assert not is_cut(rle((0, 3), (0, 3), window), (0, 0), size)  # the image's own edge
    assert is_cut(rle((0, 3), (2, 3), window), (5, 0), size)
    assert is_cut(rle((5, 8), (2, 3), window), (5, 0), size)
    assert not is_cut(rle((5, 8), (5, 8), window), (12, 12), size)
    assert is_cut(rle((2, 3), (5, 8), window), (12, 3), size)


def test_of_one_thing_in_several_windows_the_best_detection_stands():
    thing, part, other = rle((2, 8), (2, 8)), rle((2, 8), (2, 4)), rle((12, 15), (12, 15))
    rles = [part, thing, thing, other]
    # The part is surest, but cut off; of the two whole ones the surer stands.
    kept = merge(rles, [0.9, 0.6, 0.7, 0.1], [0] * 4, [0, 1, 2, 0], [True, False, False, False])
    assert kept == [2, 3]
    assert merge([thing, thing], [0.9, 0.8], [0, 1], [0, 1], [False] * 2) == [0, 1]  # classes
    assert merge([thing, thing], [0.9, 0.8], [0, 0], [3, 3], [False] * 2) == [0, 1]  # one window
    assert merge([], [], [], [], []) == []


class Bright(FakeModel):
    """One query: what is brighter than the mean colour."""

    def forward(self, images, *, embeddings=True):
        logits = 20 * (images.mean(1, keepdim=True) - 0.5)
        return Predictions(
            mask_logits=nn.functional.avg_pool2d(logits, 4),
            class_logits=torch.tensor([4.0, 0.0]).expand(len(images), 1, 2),
            pixel_embeddings=None,
            auxiliary=(),
        )


@pytest.mark.parametrize("short_side", [64, 128])
def test_a_query_a_window_finds_more_than_one_of_the_whole(short_side):
    """Two bright squares in the dark, one across the windows' edges."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[8:24, 8:24] = image[24:40, 56:72] = 255
    rules = InferenceRules(short_side=short_side, max_dets=10, mask_threshold=0.5)
    (whole,) = predict_batch(Bright(), [image], rules, device="cpu")
    assert whole.areas.tolist() == pytest.approx([512], rel=0.05)  # both squares in one mask
    rules = replace(rules, window=short_side // 2)
    (found,) = predict_batch(Bright(), [image], rules, device="cpu")
    assert found.areas.tolist() == pytest.approx([256, 256], rel=0.15)
    assert len(set(found.queries.tolist())) == 2
    assert {r["size"][0] for r in found.rles} == {64}
