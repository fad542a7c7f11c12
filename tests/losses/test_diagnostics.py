"""Which negatives are false."""

import torch

from sskd.losses.diagnostics import same_instance


def test_pairs_that_can_be_judged():
    # Anchor: instance 3 of image 0; nothing in image 0; unknown in image 1.
    anchors = (torch.tensor([3, -1, -2]), torch.tensor([0, 0, 1]))
    instances = torch.tensor([3, 4, -1, -2, -2, -2])
    images = torch.tensor([0, 0, 0, 0, 1, -1])
    pairs = (*anchors, instances, images)
    same, judged = (x[0] for x in same_instance(*(x[None] for x in pairs)))
    yes, no = True, False
    assert judged.tolist() == [[yes, yes, yes, no, yes, no], [yes, yes, yes, no, no, no], [no] * 6]
    assert same.tolist() == [[yes, no, no, no, no, no], [no, no, yes, no, no, no], [no] * 6]
