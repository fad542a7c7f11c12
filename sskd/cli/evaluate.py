"""``sskd evaluate``: one checkpoint on one data set."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.options import Data, Home

if TYPE_CHECKING:
    from sskd.cli.checkpoints import Checkpoint
    from sskd.config import Config
    from sskd.data.coco import CocoData
    from sskd.engine.cityscapes import OfficialResult
    from sskd.engine.evaluate import EvaluationResult
    from sskd.models.contract import InstanceModel

__all__ = ["evaluate"]

PLACES = ("teacher.detector", "teacher.segmenter", "student.encoder.weights")
"""Settings that say where a published checkpoint lies, which may have moved."""


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="The beginning of a cell's fingerprint, a cell's folder, or a stage's folder.",
        ),
    ],
    data: Data = None,
    cityscapes_results: Annotated[
        Path | None,
        typer.Option(
            "--cityscapes-results",
            metavar="DIR",
            help="Keep the predictions as Cityscapes' server takes them; measure its AP.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=FOLDER",
            help=f"Where a published checkpoint lies now: {', '.join(PLACES)}; repeatable.",
        ),
    ] = None,
    home: Home = Path("runs"),
) -> None:
    """Measure the mask AP of a trained model.

    On the val images of a data set; without --data it is the one that the model was trained on.
    COCO's AP; for Cityscapes also the benchmark's own, if asked for here or by the model's
    evaluation.cityscapes.
    """
    from sskd.cli.checkpoints import find_checkpoint
    from sskd.cli.progress import open_display
    from sskd.data.coco import load_coco
    from sskd.data.datasets import open_dataset
    from sskd.engine.cityscapes import Exporter, check_official, official_ap
    from sskd.engine.environment import settle_process
    from sskd.engine.evaluate import evaluate as measure
    from sskd.engine.materials import make_accelerator
    from sskd.engine.memory import enough_memory

    found = find_checkpoint(checkpoint, home=home)
    config = _moved(found.config, settings or [])
    dataset = open_dataset(home, data or config.data.name)
    official = cityscapes_results is not None or (
        config.evaluation.cityscapes and dataset.cityscapes is not None
    )
    root = check_official(dataset) if official else None
    val = load_coco(dataset.val_json, dataset.val_images)
    if data is not None and data != config.data.name:
        _check_classes(val, dataset.name, config.data.name, home)
    settle_process(config.numerics.threads)
    device = make_accelerator(config, training=False).device
    model = _load_model(found, config, val)
    with tempfile.TemporaryDirectory() as folder, open_display() as display:
        place = cityscapes_results or Path(folder) / "predictions"
        export = Exporter(val, place) if root is not None else None
        with enough_memory("evaluation", "let nothing else run on it, or use another"):
            result = measure(
                model.to(device),
                val,
                config=config.evaluation,
                device=device,
                batch=config.runtime.inference_batch,
                progress=display,
                export=export,
            )
        benchmark = None
        if root is not None and export is not None:
            benchmark = official_ap(val, export, root, progress=display)
    say(f"{found.stage.name} ({found.stage.key[:16]}) on {dataset.name}, {len(val.images)} images")
    _print(result, benchmark)
    if cityscapes_results is not None:
        line = f"wrote the predictions to {cityscapes_results}"
        if benchmark is not None and benchmark.ap is not None and benchmark.ap50 is not None:
            # To the digits that a run of the benchmark's own script can be held against.
            line += f"; cityscapesscripts on them: AP {benchmark.ap:.6f}, AP50 {benchmark.ap50:.6f}"
        say(line)


def _check_classes(val: "CocoData", name: str, trained_on: str, home: Path) -> None:
    from sskd.data.coco import load_coco
    from sskd.data.datasets import open_dataset

    own = open_dataset(home, trained_on)
    known = [c.name for c in load_coco(own.train_json, own.images).categories]
    names = [category.name for category in val.categories]
    if names != known:
        raise ValueError(
            f"{name} has the classes {', '.join(names)}; the model predicts {', '.join(known)}"
        )


def _load_model(found: "Checkpoint", config: "Config", val: "CocoData") -> "InstanceModel":
    import torch

    from sskd.engine.checkpoint import load_weights
    from sskd.models.build import build_model

    model = build_model(
        getattr(config, found.role),
        classes=[category.name for category in val.categories],
        generator=torch.Generator().manual_seed(0),  # its weights are loaded next
    )
    load_weights(found.stage.weights, model)
    return model


def _print(result: "EvaluationResult", benchmark: "OfficialResult | None") -> None:
    values = {
        "AP": result.mask_ap,
        "AP50": result.mask_ap50,
        "AP75": result.mask_ap75,
        "AP small": result.mask_ap_small,
        "AP medium": result.mask_ap_medium,
        "AP large": result.mask_ap_large,
    }
    print_table(
        ("COCO mask AP", "%"),
        [(name, percent(value)) for name, value in (values | result.per_class).items()],
    )
    if benchmark is not None:
        values = {"Cityscapes AP": benchmark.ap, "Cityscapes AP50": benchmark.ap50}
        print_table(
            ("by cityscapesscripts", "%"),
            [(name, percent(value)) for name, value in (values | benchmark.per_class).items()],
        )


def _moved(config: "Config", settings: list[str]) -> "Config":
    """The model's own config; only where its published checkpoints lie can be said anew."""
    from sskd.config import build_config, nearest, parse_overrides

    changes = parse_overrides(settings)
    for key in changes:
        if key not in PLACES:
            raise ValueError(f"--set {key}: not where a checkpoint lies{nearest(key, PLACES)}")
    return build_config(config.model_dump(mode="json"), changes) if changes else config
