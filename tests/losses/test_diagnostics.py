"""Which negatives are false."""

import torch

from sskd.losses.diagnostics import same_instance


def test_pairs_that_can_be_judged():
    # Anchor: instance 3 of image 0; nothing in image 0; unknown in image 1.
    anchors = (torch.tensor([3, -1, -2]), torch.tensor([0, 0, 1]))
    instances = torch.tensor([3, 4, -1, -2, -2, -2]).expand(3, -1)
    images = torch.tensor([0, 0, 0, 0, 1, -1]).expand(3, -1)
    same, judged = same_instance(*anchors, instances, images)
    yes, no = True, False
    assert judged.tolist() == [[yes, yes, yes, no, yes, no], [yes, yes, yes, no, no, no], [no] * 6]
    assert same.tolist() == [[yes, no, no, no, no, no], [no, no, yes, no, no, no], [no] * 6]
