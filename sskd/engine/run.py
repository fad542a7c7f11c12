"""A cell from its config to its result: the stages in order, each through the store.

What trains is imported where a cell is run: it takes seconds, and a plan needs none of it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from sskd.config import Config, DataConfig, GroundedSamConfig, digest
from sskd.data.coco import CocoData, load_coco
from sskd.data.datasets import DataSet, open_dataset
from sskd.data.descriptions import check_prompts
from sskd.data.labeled_lists import find_images, read_list
from sskd.data.splits import Split, make_listed_split, make_split, write_split
from sskd.engine.cityscapes import OFFICIAL_KEYS, check_official
from sskd.engine.imported_labels import check_pseudo_labels, file_hash
from sskd.engine.stages import FINAL_STAGE, Role, Stage, fingerprint, plan_stages
from sskd.engine.store import Store, write_json_atomic
from sskd.models.sources import known_as
from sskd.models.text_prompt import phrases
from sskd.types import Progress

if TYPE_CHECKING:
    from sskd.engine.perform import Outcome, StageLog

__all__ = [
    "CellPlan",
    "CellResult",
    "PlannedStage",
    "assume_cell",
    "check_cell",
    "plan_cell",
    "run_cell",
]

AP_KEYS = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium", "mask_ap_large")


@dataclass(frozen=True)
class PlannedStage:
    """A stage of a cell and whether the store has it."""

    name: str
    key: str
    done: bool
    role: Role
    """Whose stage it is."""
    steps: int | None = None
    """Of a training."""
    builds: bool = True
    """Whether it needs the role's model: labels from a file need none."""


@dataclass(frozen=True)
class CellPlan:
    """What a cell consists of."""

    fingerprint: str
    stages: tuple[PlannedStage, ...]
    folder: Path
    """Where the cell's ``spec.json`` and ``result.json`` are or will be."""

    @property
    def done(self) -> bool:
        """Whether the cell has its result."""
        return (self.folder / "result.json").is_file()


@dataclass(frozen=True)
class CellResult:
    """What a finished cell yields."""

    fingerprint: str
    folder: Path
    result: dict[str, Any]


@dataclass(frozen=True)
class _Cell:
    config: Config
    dataset: DataSet
    train: CocoData
    split: Split
    stages: tuple[Stage, ...]
    fingerprint: str
    folder: Path


def plan_cell(config: Config, *, home: Path, progress: Progress | None = None) -> CellPlan:
    """The stages of a cell and which of them exist; computes nothing but the data set's files.

    Raises:
        ValueError: If the data set or the split is not as the config needs it.
    """
    cell = _open_cell(config, home, progress)
    store = Store(home / "store")
    stages = tuple(
        _planned(stage, done=store.read(stage.name, stage.key) is not None) for stage in cell.stages
    )
    return CellPlan(cell.fingerprint, stages, cell.folder)


def check_cell(config: Config, *, home: Path) -> None:
    """Find before anything is computed what would stop a cell here.

    Raises:
        ValueError: If its device is not there, or its file of pseudo-labels is not of its data set.
    """
    from sskd.engine.materials import check_device

    check_device(config)
    if config.pseudo_labels.file is not None:
        cell = _open_cell(config, home, None)
        check_pseudo_labels(Path(config.pseudo_labels.file), cell.train)


def assume_cell(config: Config) -> CellPlan:
    """The plan of a cell whose data set is not here: keys are made up, what is shared is right."""
    data = config.data
    stages = plan_stages(
        config,
        data_sha=digest(data.name),
        split_sha=digest(
            data.model_dump(mode="json", include={"label_fraction", "split_seed", "labeled_list"})
        ),
        labels_sha=None if config.pseudo_labels.file is None else digest(config.pseudo_labels.file),
    )
    name = fingerprint(config, stages)
    planned = tuple(_planned(stage, done=False) for stage in stages)
    return CellPlan(name, planned, Path("cells") / name[:16])


def run_cell(config: Config, *, home: Path, log: "StageLog", progress: Progress) -> CellResult:
    """Run what a cell still needs and write its result.

    Args:
        config: The cell.
        home: The folder with ``data``, ``store`` and ``cells``.
        log: Receives the metric history of the stages that are computed now.
        progress: Receives steps and, at the end of an evaluation, its AP.

    Returns:
        The result, as ``result.json`` in the cell's folder has it.

    Raises:
        ValueError: For a user's mistake, or a run that was stopped for a stated reason.
    """
    cell = _open_cell(config, home, progress)
    finished = _read_result(cell.folder)
    if finished is not None:
        return CellResult(cell.fingerprint, cell.folder, finished)
    from sskd.engine.environment import environment, settle_process
    from sskd.engine.materials import Materials, make_accelerator
    from sskd.engine.perform import perform
    from sskd.engine.samples import draw_samples

    began = time.perf_counter()
    settle_process(config.numerics.threads)
    # Two data sets may number their images alike, and then split alike.
    split_name = digest([cell.dataset.sha256, cell.split.sha256])[:16]
    files = write_split(cell.dataset, cell.split, home / "data/splits" / split_name)
    _write_spec(cell)
    materials = Materials(
        config=config,
        dataset=cell.dataset,
        labeled=files.labeled,
        unlabeled=files.unlabeled,
        held_out=files.held_out,
        classes=tuple(category.name for category in cell.train.categories),
        store=Store(home / "store"),
        stages={stage.name: stage for stage in cell.stages},
    )
    outcomes = [perform(stage, materials, log=log, progress=progress) for stage in cell.stages]
    device = str(make_accelerator(config, training=False).device)
    result = _result(cell, outcomes) | {
        "environment": environment(device, config.numerics.threads),
        "seconds": time.perf_counter() - began,
    }
    evaluation = materials.stored(f"evaluate_{FINAL_STAGE[config.pipeline.final]}")
    draw_samples(materials.measured(), evaluation.folder / "predictions.json", cell.folder)
    write_json_atomic(cell.folder / "result.json", result)
    return CellResult(cell.fingerprint, cell.folder, result)


def _planned(stage: Stage, *, done: bool) -> PlannedStage:
    steps = None if stage.training is None else stage.training.steps
    builds = stage.file_sha is None
    return PlannedStage(stage.name, stage.key, done, stage.role, steps, builds)


def _open_cell(config: Config, home: Path, progress: Progress | None) -> _Cell:
    dataset = open_dataset(home, config.data.name, progress=progress)
    if config.evaluation.cityscapes:
        check_official(dataset)
    data = config.data
    names = read_list(data.labeled_file) if data.labeled_file is not None else None
    train, split = _split(dataset, data, names)
    config = _with_prompts(config, dataset, [category.name for category in train.categories])
    file = config.pseudo_labels.file
    stages = plan_stages(
        config,
        data_sha=dataset.sha256,
        split_sha=split.sha256,
        labels_sha=None if file is None else file_hash(Path(file)),
        known_as=known_as,
    )
    name = fingerprint(config, stages)
    return _Cell(config, dataset, train, split, stages, name, home / "cells" / name[:16])


def _with_prompts(config: Config, dataset: DataSet, classes: Sequence[str]) -> Config:
    """With the data set's own words for classes that the config does not name.

    They are part of the cell from here on: of its keys, where the teacher reads them, and of what
    its folder says about it.
    """
    if not isinstance(config.teacher, GroundedSamConfig):
        return config
    check_prompts(dataset, classes)
    prompts = {**dataset.prompts, **config.teacher.prompts}
    phrases(classes, prompts)  # a mistake is told before anything is computed
    teacher = config.teacher.model_copy(update={"prompts": prompts})
    return config.model_copy(update={"teacher": teacher})


@lru_cache(maxsize=4)
def _split(
    dataset: DataSet, data: DataConfig, names: tuple[str, ...] | None
) -> tuple[CocoData, Split]:
    """The cells of a study share it, and reading a large COCO file takes seconds."""
    train = load_coco(dataset.train_json, dataset.images)
    if names is not None:
        assert data.labeled_file is not None
        listed = find_images(names, train, data.labeled_file)
        return train, make_listed_split(train, listed, seed=data.split_seed, held_out=data.held_out)
    return train, make_split(
        train, fraction=data.label_fraction, seed=data.split_seed, held_out=data.held_out
    )


def _read_result(folder: Path) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
    except FileNotFoundError:
        return None
    return result


def _write_spec(cell: _Cell) -> None:
    cell.folder.mkdir(parents=True, exist_ok=True)
    dump = cell.config.model_dump(mode="json")
    write_json_atomic(
        cell.folder / "spec.json",
        {
            "fingerprint": cell.fingerprint,
            "config": dump,
            "stages": [{"name": s.name, "key": s.key} for s in cell.stages],
            "dataset": cell.dataset.name,
            "sha256": cell.dataset.sha256,
            "split_sha256": cell.split.sha256,
            "labeled_images": len(cell.split.labeled),
            "unlabeled_images": len(cell.split.unlabeled),
            "held_out_images": len(cell.split.held_out),
        },
    )
    (cell.folder / "config.yaml").write_text(yaml.safe_dump(dump, sort_keys=False), "utf-8")


def _result(cell: _Cell, outcomes: "list[Outcome]") -> dict[str, Any]:
    evaluations = {
        outcome.stage.start: outcome.result["metrics"]
        for outcome in outcomes
        if outcome.stage.kind == "evaluation"
    }
    final = evaluations[FINAL_STAGE[cell.config.pipeline.final]]
    return {
        "fingerprint": cell.fingerprint,
        "final": {key: final[key] for key in (*AP_KEYS, *OFFICIAL_KEYS) if key in final},
        "evaluations": evaluations,
        "pseudo_labels": {
            outcome.stage.name: outcome.result["labels"]
            for outcome in outcomes
            if outcome.stage.kind == "pseudo-labels"
        },
        "stages": [
            {
                "name": outcome.stage.name,
                "key": outcome.stage.key,
                "reused": outcome.reused,
                "seconds": outcome.result["seconds"],
                "steps": outcome.result.get("steps"),
                "peak_memory_bytes": outcome.result.get("peak_memory_bytes"),
            }
            for outcome in outcomes
        ],
    }
