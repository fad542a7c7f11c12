"""The step that ours is held against is the same step."""

import torch

from sskd.bench.assembled import LibraryDecoder, build_assembled_step
from sskd.config import build_config, load_scale
from sskd.data.coco import load_coco
from sskd.data.loader import Loader
from sskd.data.toycity import ToycityCounts, generate
from sskd.engine.stages import plan_stages
from sskd.engine.step import build_step
from sskd.models.student import build


def test_both_steps_have_the_same_loss(tmp_path):
    config = build_config(load_scale("tiny"), {})
    generate(tmp_path, seed=0, counts=ToycityCounts(source=0, train=4, val=0), size=(96, 96))
    scenes = load_coco(tmp_path / "train.json", tmp_path / "images")
    loader = Loader(scenes, scenes, views=config.views, labeled_batch=2, unlabeled_batch=2, seed=0)
    model = build(
        config.student,
        num_classes=len(scenes.categories),
        generator=torch.Generator().manual_seed(0),
    )
    (stage,) = (s for s in plan_stages(config, data_sha="", split_sha="") if s.name == "transfer")
    ours = build_step(stage, config, bank=None)
    assembled = build_assembled_step(stage, config, num_classes=len(scenes.categories))
    batch = loader.batch(0)
    with torch.no_grad():
        mine = [float(ours(model, batch, torch.Generator().manual_seed(i)).total) for i in range(8)]
        model.decoder = LibraryDecoder(model.decoder)
        torch.manual_seed(0)  # transformers' points
        theirs = [
            float(assembled(model, batch, torch.Generator().manual_seed(i)).total) for i in range(8)
        ]
    # Points and negatives are drawn; what they estimate is the same.
    mine_mean, theirs_mean = torch.tensor(mine).mean(), torch.tensor(theirs).mean()
    spread = torch.tensor([mine, theirs]).std(dim=1).max()
    assert abs(mine_mean - theirs_mean) < 3 * spread / 2 + 0.01 * mine_mean, (mine, theirs)
