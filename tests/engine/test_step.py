"""What the step hands from one layer to the next."""

import torch

from sskd.config import base_for, build_config
from sskd.engine.stages import plan_stages
from sskd.engine.step import build_step, instance_ids
from sskd.models.student import build
from sskd.types import Batch, Targets


def batch() -> Batch:
    """One labeled image with two squares, one pseudo-labeled image with one."""
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :8, :8] = True
    masks[1, 24:, 24:] = True
    generator = torch.Generator().manual_seed(0)
    return Batch(
        weak=torch.randn(2, 3, 32, 32, generator=generator),
        strong=torch.randn(2, 3, 32, 32, generator=generator) * 3 + 1,
        weak_to_strong=torch.eye(3).expand(2, 3, 3),
        targets=(Targets(masks, torch.tensor([1, 2])), Targets(masks[:1], torch.tensor([0]))),
        num_labeled=1,
        image_ids=(1, 2),
    )


def test_instance_ids_are_read_at_the_centres_of_the_locations() -> None:
    ids = instance_ids(batch(), (4, 4))
    assert ids[0].view(4, 4).tolist() == [[0, -1, -1, -1], [-1] * 4, [-1] * 4, [-1, -1, -1, 1]]
    assert (ids[1] == -2).all(), "a pseudo-label proves nothing"


def test_a_labeled_image_may_hold_no_instance() -> None:
    full = batch()
    nothing = Targets(torch.zeros(0, 32, 32, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))
    empty = full._replace(targets=(nothing, full.targets[1]))
    assert (instance_ids(empty, (4, 4))[0] == -1).all()
    step, model = step_and_model()
    terms = step(model, empty, torch.Generator().manual_seed(0))
    assert terms.contrast is not None
    assert terms.contrast.loss > 0
    assert terms.contrast.false_negative_rate.isnan(), "no anchor lies on a known instance"
    assert terms.total.isfinite()


def step_and_model(**changes: object):
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    config = build_config(base_for("tiny", "toycity"), dotted)
    stages = plan_stages(config, data_sha="d", split_sha="s")
    (stage,) = (s for s in stages if s.name == "transfer")
    model = build(config.student, num_classes=8, generator=torch.Generator().manual_seed(0))
    return build_step(stage, config, bank=None), model


def test_the_strong_view_leaves_no_trace_in_the_running_statistics() -> None:
    quiet, model = step_and_model(contrast__weight=0.0)
    quiet(model, batch(), torch.Generator().manual_seed(0))
    expected = {k: v.clone() for k, v in model.state_dict().items() if "running" in k}
    step, model = step_and_model()
    step(model, batch(), torch.Generator().manual_seed(0))
    projection_free = {k: v for k, v in expected.items() if not k.startswith("projection")}
    state = model.state_dict()
    assert projection_free
    assert all(torch.equal(state[k], v) for k, v in projection_free.items())


def test_the_total_is_equation_3() -> None:
    step, model = step_and_model(contrast__weight=0.3, stages__transfer__semi_weight=0.5)
    terms = step(model, batch(), torch.Generator().manual_seed(0))
    assert terms.contrast is not None
    expected = terms.sup + 0.5 * terms.semi + 0.3 * terms.contrast.loss
    torch.testing.assert_close(terms.total, expected)


def test_the_strong_view_carries_no_gradient() -> None:
    step, model = step_and_model()
    views = batch()
    strong = views.strong.clone().requires_grad_()
    weak = views.weak.clone().requires_grad_()
    terms = step(model, views._replace(strong=strong, weak=weak), torch.Generator().manual_seed(0))
    terms.total.backward()
    assert strong.grad is None
    assert weak.grad is not None
    assert all(p.grad is not None for p in model.projection.parameters())


def test_without_pseudo_labels_the_semi_term_is_absent() -> None:
    step, model = step_and_model(pipeline__teacher="none")
    terms = step(model, batch(), torch.Generator().manual_seed(0))
    assert terms.semi is None
    assert "loss_semi" not in terms.metrics()
