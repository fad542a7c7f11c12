"""A GPU whose memory runs out: one line, and the next launch goes on with what was computed."""

import pytest
import torch

from sskd.engine.step import build_step

MODEL = "{encoder: {name: tiny-conv, weights: none, width: 8}, head: {width: 16}}"
DECODER = "{queries: 6, layers: 1, heads: 2, width: 16, feedforward: 16}"
SETTINGS = {
    "teacher": MODEL,
    "teacher.decoder": DECODER,
    "student": MODEL,
    "student.decoder": DECODER,
    "stages.pretraining": "null",
    "stages.supervised": "{steps: 1, labeled_batch: 2, contrast: false}",
    "stages.transfer": "{steps: 5, labeled_batch: 2, unlabeled_batch: 2, contrast: false}",
    "views.crop": "[32, 32]",
    "set_loss.points": "32",
    "pipeline": "{teacher: supervised, final: transfer}",
    "pseudo_labels": "{score_threshold: 0.0, min_mean: 0.0}",
    "evaluation.short_side": "32",
    "runtime.device": "cpu",
    "runtime.log_every": "1",
    "runtime.checkpoint_every": "2",
    "runtime.data_workers": "0",
}
TRAIN = [
    "train",
    *(part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")),
]

TRAINING = (
    "lower stages.{}.labeled_batch or unlabeled_batch, or raise its accumulation; "
    "finished stages and the last checkpoint are kept"
)
PREDICTING = (
    "lower runtime.inference_batch, let nothing else run on it, or set runtime.device to cpu; "
    "finished stages are kept"
)


def run_out(*args: object, **kwargs: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB\nand so on")


def refused(sskd, monkeypatch, command, place, instead=run_out) -> str:
    """The one line of a command for which memory runs out in a place."""
    with monkeypatch.context() as patch:
        patch.setattr(place, instead)
        done = sskd(*command)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert "Traceback" not in done.output
    return line


@pytest.fixture
def store(with_toycity):
    return with_toycity / "runs" / "store"


def finished(store) -> dict[str, int]:
    """When each stage was."""
    return {
        path.parent.name.rpartition("-")[0]: path.stat().st_mtime_ns
        for path in store.glob("*/result.json")
    }


def test_each_launch_goes_on_where_memory_ran_out(sskd, store, one_thread, monkeypatch):
    steps: list[str] = []

    def limited(stage, config, *, bank):
        step = build_step(stage, config, bank=bank)

        def counted(model, batch, generator):
            steps.append(stage.name)
            if len(steps) == 4:
                run_out()
            return step(model, batch, generator)

        return counted

    evaluating, labelling = (f"sskd.engine.{m}.predict_data" for m in ("evaluate", "pseudo_labels"))
    before: dict[str, int] = {}
    for stage, place, instead, remedy, new in (
        ("supervised", "accelerate.Accelerator.prepare", run_out, TRAINING, []),
        ("evaluate_supervised", evaluating, run_out, PREDICTING, ["supervised"]),
        ("pseudo_labels_supervised", labelling, run_out, PREDICTING, ["evaluate_supervised"]),
        (
            "transfer",
            "sskd.engine.train.build_step",
            limited,
            TRAINING,
            ["pseudo_labels_supervised"],
        ),
    ):
        line = refused(sskd, monkeypatch, TRAIN, place, instead)
        assert line == f"error: {stage}: the GPU has not enough memory; {remedy.format(stage)}"
        now = finished(store)
        assert now.items() >= before.items()
        assert sorted(now.keys() - before.keys()) == new
        before = now
    (kept,) = store.glob("transfer-*.partial/checkpoint.pt")
    assert torch.load(kept, weights_only=True)["step"] == 2

    steps.clear()
    monkeypatch.setattr("sskd.engine.train.build_step", limited)
    done = sskd(*TRAIN)
    assert done.exit_code == 0, done.output
    assert steps == ["transfer"] * 3  # two were in the checkpoint
    assert finished(store).items() >= before.items()


def test_evaluating_a_checkpoint(sskd, store, one_thread, monkeypatch):
    done = sskd(*TRAIN, "--set", "pipeline.teacher=none", "--set", "stages.transfer.steps=1")
    assert done.exit_code == 0, done.output
    (weights,) = store.glob("transfer-*/weights.safetensors")
    folder = weights.parent
    for place in ("torch.nn.Module.to", "sskd.engine.evaluate.predict_data"):
        line = refused(sskd, monkeypatch, ["evaluate", str(folder)], place)
        assert line == (
            "error: evaluation: the GPU has not enough memory; let nothing else run on it, or use "
            "another"
        )
    assert sskd("evaluate", str(folder)).exit_code == 0
