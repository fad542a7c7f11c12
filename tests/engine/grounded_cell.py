"""A cell with a tiny grounded teacher, its stages, and a batch."""

from typing import Any

import torch

from sskd.config import Config, base_for, build_config
from sskd.engine.stages import Stage, plan_stages
from sskd.types import Batch, Targets

CLASSES = ("person", "car")


def config(teacher: dict[str, Any], **changes: Any) -> Config:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    base = {"teacher": teacher, "stages.pretraining": None, "teacher_contrast.num_negatives": 8}
    return build_config(base_for("tiny", "toycity"), base | dotted)


def stages_of(settings: Config) -> dict[str, Stage]:
    return {s.name: s for s in plan_stages(settings, data_sha="d", split_sha="s")}


def batch() -> Batch:
    """One labeled image with two squares, one pseudo-labeled image with one."""
    masks = torch.zeros(2, 64, 96, dtype=torch.bool)
    masks[0, 8:40, 8:40] = True
    masks[1, 30:60, 50:90] = True
    generator = torch.Generator().manual_seed(0)
    return Batch(
        weak=torch.randn(2, 3, 64, 96, generator=generator),
        strong=torch.randn(2, 3, 64, 96, generator=generator),
        weak_to_strong=torch.eye(3).expand(2, 3, 3),
        targets=(Targets(masks, torch.tensor([0, 1])), Targets(masks[:1], torch.tensor([1]))),
        num_labeled=1,
        image_ids=(1, 2),
    )
