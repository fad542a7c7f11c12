"""The grounded teacher in the engine: its stages, its steps, its checkpoint, the whole pipeline."""

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from grounded_cell import CLASSES, batch, config, stages_of
from safetensors.torch import load_file, save_file

from sskd.config import base_for, build_config
from sskd.data import toycity
from sskd.data.datasets import open_dataset
from sskd.engine.checkpoint import load_weights, save_weights
from sskd.engine.errors import RunStopped
from sskd.engine.run import plan_cell, run_cell
from sskd.engine.stages import plan_stages
from sskd.engine.step import build_step
from sskd.engine.store import read_metrics
from sskd.models.build import build_model
from sskd.models.parameters import parameter_groups
from sskd.models.recompute import can_recompute, recompute_activations
from sskd.models.sources import known_as
from sskd.types import Targets

Settings = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_published_teacher_takes_the_place_of_the_pretrained_one(grounded: Settings) -> None:
    stages = stages_of(config(grounded()))
    assert [n for n, s in stages.items() if s.kind != "evaluation"] == [
        "pretraining",
        "supervised",
        "pseudo_labels_supervised",
        "self_training",
        "pseudo_labels_adapted",
        "transfer",
        "refinement",
    ]
    assert stages["pretraining"].kind == "checkpoint"
    assert stages["pretraining"].training is None
    assert stages["supervised"].start == stages["self_training"].start == "pretraining"
    zero_shot = config(grounded(), pipeline__teacher="zero-shot", pipeline__final="zero-shot")
    assert list(stages_of(zero_shot)) == ["pretraining", "evaluate_pretraining"]


@pytest.mark.parametrize(
    ("changes", "first_different"),
    [
        ({"teacher.prompts": {"car": "automobile"}}, "pretraining"),
        ({"set_loss.dice_weight": 1.0}, "transfer"),
        ({"teacher_contrast.weight": 0.1}, "supervised"),
        ({"teacher.freeze_segmenter": False}, "pretraining"),
    ],
)
def test_a_change_touches_what_reads_it(
    grounded: Settings, changes: dict[str, Any], first_different: str
) -> None:
    before, after = stages_of(config(grounded())), stages_of(config(grounded(), **changes))
    different = [name for name in before if before[name].key != after[name].key]
    assert different[0] == first_different


@pytest.mark.parametrize(
    "name", ["supervised", pytest.param("self_training", marks=pytest.mark.slow)]
)
def test_steps_lower_the_loss_and_leave_the_frozen_alone(grounded: Settings, name: str) -> None:
    settings = config(grounded(weights="pretrained"))
    stage = stages_of(settings)[name]
    model = build_model(
        settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(0)
    ).train()
    frozen = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    step = build_step(stage, settings, bank=None)
    optimizer = torch.optim.AdamW(parameter_groups(model, 5e-3, 0.1, 0.01))
    losses = []
    for index in range(6):
        terms = step(model, batch(), torch.Generator().manual_seed(index))
        assert (terms.semi is not None) is (name == "self_training")
        assert terms.contrast is not None
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        losses.append(float(terms.sup.detach()))
    assert losses[-1] < 0.9 * losses[0]
    for parameter, values in frozen.items():
        assert torch.equal(model.get_parameter(parameter), values)
    assert frozen
    assert all(p.grad is not None for p in model.projection.parameters())


@pytest.mark.parametrize(
    ("freeze_text", "freeze_segmenter"), [(True, True), (False, True), (True, False)]
)
def test_computing_activations_again_changes_no_number(
    grounded: Settings, freeze_text: bool, freeze_segmenter: bool
) -> None:
    settings = config(grounded(freeze_text=freeze_text, freeze_segmenter=freeze_segmenter))
    step = build_step(stages_of(settings)["self_training"], settings, bank=None)

    def learn(*, again: bool) -> tuple[dict[str, Any], dict[str, torch.Tensor], set[str], int]:
        """Metrics, gradients, parts that ran in the backward pass, numbers kept for it."""
        model = build_model(
            settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(0)
        ).train()
        assert can_recompute(model)
        if again:
            recompute_activations(model)
        torch.manual_seed(0)  # BERT has dropout where it learns
        kept: list[int] = []
        ran: set[str] = set()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            terms = step(model, batch(), torch.Generator().manual_seed(0))
        for name, module in model.named_modules():
            if name.startswith("detector.model.") and not [*module.children()]:
                module.register_forward_hook(lambda *_, name=name: ran.add(name.split(".")[2]))
        terms.total.backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        return terms.metrics(), gradients, ran, sum(kept)

    metrics, gradients, ran, kept = learn(again=False)
    found, others, ran_again, less = learn(again=True)
    assert not ran
    assert ran_again == ({"backbone"} if freeze_text else {"backbone", "text_backbone"})
    assert less < kept
    torch.testing.assert_close(found, metrics, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(others, gradients)


def test_a_step_over_a_list_that_needs_two_sentences_lowers_the_loss_of_both(
    grounded: Settings, short_text: Path
) -> None:
    settings = config(grounded(detector=str(short_text)))
    classes = ("person", "motorcycle", "traffic light", "car", "bus", "train", "truck")
    model = build_model(
        settings.teacher, classes=classes, generator=torch.Generator().manual_seed(0)
    ).train()
    views = batch()
    masks = views.targets[0].masks
    step = build_step(stages_of(settings)["supervised"], settings, bank=None)
    optimizer = torch.optim.AdamW(parameter_groups(model, 5e-3, 0.1, 0.01))
    for numbers in ([0, 6], [5, 6], [0, 1]):  # of both sentences, of one of them
        targets = Targets(masks, torch.tensor(numbers))
        images = views._replace(targets=(targets, views.targets[1]))
        losses = []
        for _ in range(4):
            terms = step(model, images, torch.Generator().manual_seed(0))
            optimizer.zero_grad()
            terms.total.backward()
            optimizer.step()
            losses.append(float(terms.sup.detach()))
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("freeze_segmenter", [True, False])
def test_a_trained_teacher_comes_back_from_the_stores_file(
    grounded: Settings, tmp_path: Path, freeze_segmenter: bool
) -> None:
    settings = config(grounded(freeze_segmenter=freeze_segmenter))
    one, two = (
        build_model(settings.teacher, classes=CLASSES, generator=torch.Generator().manual_seed(s))
        for s in (0, 1)
    )
    with torch.no_grad():
        for parameter in one.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    save_weights(tmp_path / "weights.safetensors", one)
    load_weights(tmp_path / "weights.safetensors", two)
    stored = load_file(tmp_path / "weights.safetensors")
    kept = {"detector", "projection"} | (set() if freeze_segmenter else {"segmenter"})
    assert {name.partition(".")[0] for name in stored} == kept
    assert not any("text_backbone" in name for name in stored)
    assert any(name.startswith("segmenter.") for name in one.state_dict()), "saving changes nothing"
    images = batch().weak
    one.eval()
    two.eval()
    with torch.no_grad():
        mine, other = one(images, embeddings=False), two(images, embeddings=False)
    for name, values in one.state_dict().items():
        assert torch.equal(two.state_dict()[name], values), name
    assert torch.equal(mine.mask_logits, other.mask_logits)
    assert torch.equal(mine.class_logits, other.class_logits)


def test_weights_are_refused_beside_another_checkpoint_than_they_were_trained_with(
    grounded: Settings, foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    def build(**changes: Any) -> torch.nn.Module:
        settings = config(grounded(**changes)).teacher
        return build_model(settings, classes=CLASSES, generator=torch.Generator().manual_seed(0))

    file = tmp_path / "weights.safetensors"
    save_weights(file, build())
    moved, other = tmp_path / "moved", tmp_path / "other"
    for folder in (moved, other):
        shutil.copytree(foundation_folders[1], folder)
    changed = load_file(other / "model.safetensors")
    changed["mask_decoder.iou_token.weight"] += 0.01
    save_file(changed, other / "model.safetensors", {"format": "pt"})
    load_weights(file, build(segmenter=str(moved)))
    with pytest.raises(ValueError, match="saved beside another published checkpoint") as caught:
        load_weights(file, build(segmenter=str(other)))
    assert "\n" not in str(caught.value)
    save_weights(file, build(freeze_text=False))  # then the text encoder may have learned
    assert any("text_backbone" in name for name in load_file(file))


def test_a_checkpoint_counts_by_its_content(
    grounded: Settings, foundation_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    def keys(**changes: Any) -> dict[str, str]:
        stages = plan_stages(
            config(grounded(**changes)), data_sha="d", split_sha="s", known_as=known_as
        )
        return {s.name: s.key for s in stages}

    before = keys()
    moved = tmp_path / "moved"
    shutil.copytree(foundation_folders[0], moved)
    (moved / "README.md").write_text("not read")
    assert keys(detector=str(moved)) == before
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        content = (moved / name).read_bytes()
        (moved / name).write_bytes(content + b" ")
        assert keys(detector=str(moved))["pretraining"] != before["pretraining"], name
        (moved / name).write_bytes(content)
    assert keys(detector=str(moved)) == before
    named = keys(detector=str(tmp_path / "gone"))
    assert named["pretraining"] != before["pretraining"]


def test_the_words_of_the_data_sets_file_are_used_unless_the_config_says_others(
    grounded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = toycity.ToycityCounts(source=2, train=12, val=2)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    file = open_dataset(tmp_path, "toycity").folder / "dataset.json"

    def keys(in_file: dict[str, str], **in_config: str) -> dict[str, str]:
        file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": in_file}))
        settings = config(grounded(prompts=in_config), data__label_fraction=0.5)
        return {s.name: s.key for s in plan_cell(settings, home=tmp_path).stages}

    none, said = keys({}), keys({"car": "automobile"})
    assert said["pretraining"] != none["pretraining"]
    assert said == keys({}, car="automobile")
    assert keys({"car": "street", "bus": "big car"}, car="automobile") == keys(
        {}, car="automobile", bus="big car"
    )
    with pytest.raises(ValueError, match=r"'toycity': prompts: 'cra' is no class; did you .*'car'"):
        keys({"cra": "automobile"})
    with pytest.raises(ValueError, match=r"classes 'car' and 'truck' are both called 'truck'"):
        keys({"car": "truck"})
    plain = build_config(base_for("tiny", "toycity"), {"data.label_fraction": 0.5})
    keys_of_others = {s.key for s in plan_cell(plain, home=tmp_path).stages}
    keys({})
    assert keys_of_others == {s.key for s in plan_cell(plain, home=tmp_path).stages}


@pytest.mark.slow
def test_the_whole_method_with_a_tiny_grounded_teacher(
    grounded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = toycity.ToycityCounts(source=2, train=16, val=3)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    changes: dict[str, Any] = {
        "student": {
            "encoder": {"width": 8},
            "head": {"width": 16},
            "decoder": {"queries": 6, "layers": 1, "heads": 2, "width": 16, "feedforward": 16},
            "projection": {"dim": 8, "hidden": 8, "stride": 16},
        },
        "contrast.num_negatives": 4,
        "data.label_fraction": 0.5,
        "pseudo_labels.score_threshold": 0.0,
        "pseudo_labels.min_mean": 0.0,
        "set_loss.points": 32,
        "runtime.device": "cpu",
        "runtime.log_every": 1,
        "runtime.checkpoint_every": 2,
    }
    for name in ("supervised", "self_training", "transfer", "refinement"):
        changes |= {f"stages.{name}.steps": 4, f"stages.{name}.labeled_batch": 2}
    for name in ("self_training", "transfer"):
        changes[f"stages.{name}.unlabeled_batch"] = 2
    settings = config(grounded(), **changes)
    logged: dict[str, dict[str, float]] = {}

    def log(stage: str, step: int, values: Any) -> None:
        logged[stage] = dict(values)

    def progress(what: str, done: int, total: int, **facts: float) -> None:
        pass

    cell = run_cell(settings, home=tmp_path, log=log, progress=progress)
    assert list(cell.result["evaluations"]) == [
        *("pretraining", "supervised", "self_training", "transfer", "refinement"),
    ]
    assert {"loss_sup", "loss_semi", "loss_pxl"} <= logged["self_training"].keys()
    labels = cell.result["pseudo_labels"]["pseudo_labels_adapted"]
    assert labels["labels"] > 0
    (folder,) = (tmp_path / "store").glob("pseudo_labels_adapted-" + "[0-9a-f]" * 16)
    file = json.loads((folder / "pseudo_labels.json").read_text())
    assert {a["category_id"] for a in file["annotations"]} <= {c["id"] for c in file["categories"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{}, {"prompts": {"car": "street " * 30}}, {"freeze_segmenter": False}],
    ids=["one text", "two texts", "SAM 2 learns"],
)
def test_two_processes_have_the_losses_of_one(
    grounded: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    counts = toycity.ToycityCounts(source=2, train=16, val=3)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)

    def nothing(*_: Any, **__: Any) -> None:
        pass

    def kill(what: str, done: int, *_: Any, **__: Any) -> None:
        if what == "supervised" and done == 3:
            for process in multiprocessing.active_children():
                process.kill()

    steps: list[int] = []

    def run(name: str, number: int, progress: Callable[..., None] = nothing) -> list[Any]:
        steps.clear()
        settings = config(
            grounded(**changes),
            **{
                "pipeline.teacher": "supervised",
                "pipeline.final": "supervised",
                "data.label_fraction": 0.5,
                "stages.supervised.steps": 4,
                "stages.supervised.labeled_batch": 4,
                "stages.supervised.optimizer.learning_rate": 1e-5,
                "runtime.device": "cpu",
                "runtime.log_every": 1,
                "runtime.checkpoint_every": 2,
                "runtime.processes": number,
            },
        )
        run_cell(
            settings,
            home=tmp_path / name,
            log=lambda _, step, __: steps.append(step),
            progress=progress,
        )
        (file,) = (tmp_path / name / "store").glob("supervised-*/metrics.jsonl")
        return [dict(row) for row in read_metrics(file)]

    alone, both = run("alone", 1), run("both", 2)
    # The detector takes those queries that score most. With random weights many score all but the
    # same, so that after a step the last bit of a weight can make one query another: up to 1e-3.
    for one, two, tolerance in zip(alone, both, (1e-6, 1e-2, 1e-2, 1e-2), strict=True):
        assert two["loss_sup"] == pytest.approx(one["loss_sup"], rel=tolerance)
        assert two["loss_pxl"] == pytest.approx(one["loss_pxl"], rel=tolerance)
        assert two["valid_anchors"] == one["valid_anchors"]
    with pytest.raises(RunStopped, match="SIGKILL"):
        run("resumed", 2, kill)
    resumed = run("resumed", 2)
    assert steps == [3, 4]
    for one, two in zip(resumed, both, strict=True):
        for key in ("loss", "loss_sup", "loss_pxl", "valid_anchors"):
            assert one[key] == two[key], (one["step"], key)
