"""Half precision in training and in prediction: what runs in it, what does not, what is kept."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from grounded_cell import CLASSES, batch, stages_of
from torch import Tensor, nn

from sskd.config import Config, base_for, build_config
from sskd.data import toycity
from sskd.engine.materials import check_device, make_accelerator
from sskd.engine.predict import InferenceRules, predict_batch
from sskd.engine.run import run_cell
from sskd.engine.step import build_step
from sskd.engine.store import MetricLog, read_metrics
from sskd.engine.training_state import TrainingState
from sskd.models.build import build_model
from sskd.types import Predictions

pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes: Any) -> Config:
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return build_config(base_for("tiny", "toycity"), {"runtime.device": "cpu", **dotted})


class Linear(FakeModel):
    """One linear map makes masks and classes; remembers in which type it was computed."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(6 * (64 + 3), 3, generator=generator) * 3)
        self.types: list[torch.dtype] = []

    def forward(self, images: Tensor, *, embeddings: bool = True) -> Predictions:
        assert not embeddings
        out = images.mean((2, 3)) @ self.weight.T
        self.types.append(out.dtype)
        masks, classes = out.view(len(images), 6, 67).split([64, 3], dim=2)
        return Predictions(masks.unflatten(2, (8, 8)), classes, None, ())


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("no", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_forward_pass_has_the_precision_that_is_asked_for(precision: Any, dtype: Any) -> None:
    model = Linear()
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    rules = InferenceRules(short_side=32, max_dets=5, mask_threshold=0.5)
    (exact,) = predict_batch(model, [image], rules, device="cpu")
    half = InferenceRules(short_side=32, max_dets=5, mask_threshold=0.5, precision=precision)
    (found,) = predict_batch(model, [image], half, device="cpu")
    assert model.types == [torch.float32, dtype]
    assert found.classes.tolist() == exact.classes.tolist()
    np.testing.assert_allclose(found.scores, exact.scores, rtol=0.02)
    # Scores are not rounded to half precision: what is made of the logits is in float32.
    scores = torch.from_numpy(found.scores)
    assert torch.equal(scores.to(dtype).to(scores.dtype), scores) == (precision == "no")


def dinov2_student(folder: Path) -> dict[str, Any]:
    return {
        "encoder": {"name": "dinov2-small", "weights": str(folder)},
        "head": {"name": "dpt", "width": 32},
        "decoder": {"queries": 6, "layers": 2, "heads": 2, "width": 32, "feedforward": 32},
        "projection": {"dim": 8, "hidden": 16},
    }


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_the_real_classes_learn_in_bfloat16(
    grounded: Callable[..., dict[str, Any]], dinov2_folder: Path, role: str
) -> None:
    """The terms of a step are those of float32 but for rounding, and so is their gradient."""
    settings = config(
        teacher=grounded(),
        stages__pretraining=None,
        student=dinov2_student(dinov2_folder),
        set_loss__points=256,
        **{f"{name}__num_negatives": 8 for name in ("contrast", "teacher_contrast")},
    )
    stage = stages_of(settings)["self_training" if role == "teacher" else "transfer"]
    step = build_step(stage, settings, bank=None)

    def learn(*, half: bool) -> tuple[dict[str, float], Tensor]:
        model = build_model(
            getattr(settings, role), classes=CLASSES, generator=torch.Generator().manual_seed(0)
        ).train()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            terms = step(model, batch(), torch.Generator().manual_seed(0))
        for term in (terms.total, terms.sup, terms.semi, terms.contrast and terms.contrast.loss):
            assert term is not None
            assert term.dtype == torch.float32
        terms.total.backward()
        slopes = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        assert {slope.dtype for slope in slopes} == {torch.float32}
        return {k: float(v) for k, v in terms.metrics().items()}, torch.cat(slopes)

    exact, slope = learn(half=False)
    found, other = learn(half=True)
    assert found["loss"] != exact["loss"]
    for key in ("loss", "loss_sup", "loss_semi", "loss_pxl"):
        assert found[key] == pytest.approx(exact[key], rel=0.05), key
    assert torch.cosine_similarity(slope, other, dim=0) > 0.9


def test_16_bits_of_a_small_range_train_on_gpus_only() -> None:
    with pytest.raises(ValueError, match=r"^numerics\.precision 'fp16' needs a GPU; use 'bf16'"):
        check_device(config(numerics__precision="fp16"))
    # What was trained so elsewhere can be measured here.
    accelerator = make_accelerator(config(numerics__precision="fp16"), training=False)
    assert accelerator.device.type == "cpu"
    assert check_device(config(evaluation__precision="fp16")) == 0


def test_a_process_can_train_in_one_precision_after_the_other() -> None:
    for precision in ("bf16", "no", "bf16"):
        accelerator = make_accelerator(config(numerics__precision=precision))
        with accelerator.autocast():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_the_scale_of_16_bit_gradients_survives_a_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())

    def state() -> tuple[TrainingState, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
        accelerator = make_accelerator(config())
        accelerator.scaler = scaler  # as it makes one itself on a GPU
        metrics = MetricLog(tmp_path / "metrics.jsonl")
        return TrainingState(tmp_path, accelerator, model, optimizer, None, metrics), scaler

    first, scaler = state()
    for _ in range(2):
        scaler.scale(model(torch.full((1, 2), torch.inf)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() == 256.0
    first.save(2, 1.0)
    again, other = state()
    again.resume()
    assert other.state_dict() == scaler.state_dict()
    assert again.step == 2


def test_each_stage_reads_its_own_precision() -> None:
    plain = {name: stage.key for name, stage in stages_of(config()).items()}

    def different(**changes: Any) -> list[str]:
        return [n for n, s in stages_of(config(**changes)).items() if s.key != plain[n]]

    predicted = different(evaluation__precision="bf16")
    assert predicted[0] == "evaluate_pretraining"
    assert "supervised" not in predicted
    assert {"pseudo_labels_supervised", "self_training", "transfer"} <= {*predicted}
    assert different(numerics__precision="bf16") == [*plain]
    assert different(runtime__inference_batch=3) == []


SMALL = {
    "encoder": {"width": 8},
    "head": {"width": 16},
    "decoder": {"queries": 6, "layers": 2, "heads": 2, "width": 16, "feedforward": 16},
    "projection": {"dim": 8, "hidden": 8, "stride": 16},
}


class Killed(Exception):
    pass


@pytest.mark.slow
def test_a_cell_in_bfloat16_learns_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = toycity.ToycityCounts(source=8, train=24, val=4)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)

    def settings(precision: str) -> Config:
        return config(
            numerics__precision=precision,
            evaluation__precision=precision,
            data__label_fraction=0.5,
            pipeline={"teacher": "zero-shot", "final": "transfer"},
            stages__pretraining__steps=5,
            stages__transfer__steps=20,
            **{f"stages__{name}__labeled_batch": 4 for name in ("pretraining", "transfer")},
            stages__transfer__unlabeled_batch=4,
            teacher=SMALL,
            student=SMALL,
            set_loss__points=64,
            pseudo_labels__min_mean=0.0,
            contrast__num_negatives=8,
            pseudo_labels__score_threshold=0.0,
            runtime__log_every=1,
            runtime__checkpoint_every=4,
        )

    def run(place: str, precision: str, progress: Any = lambda *_, **__: None) -> None:
        home = tmp_path / place
        run_cell(settings(precision), home=home, log=lambda *_, **__: None, progress=progress)

    def losses(place: str) -> list[float]:
        (file,) = (tmp_path / place / "store").glob("transfer-*/metrics.jsonl")
        return [float(row["loss"]) for row in read_metrics(file)]

    run("exact", "no")
    run("half", "bf16")
    assert losses("half") != losses("exact")
    # Other pseudo-labels, too: the teacher was trained in another precision.
    assert np.mean(losses("half")) == pytest.approx(np.mean(losses("exact")), rel=0.05)

    def kill(what: str, done: int, *_: Any, **__: Any) -> None:
        if what == "transfer" and done == 11:
            raise Killed

    with pytest.raises(Killed):
        run("resumed", "bf16", kill)
    run("resumed", "bf16")
    assert losses("resumed") == losses("half")
