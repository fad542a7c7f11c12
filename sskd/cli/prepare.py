"""From valid configs to a plan: data set and split are met, and what exists is looked up.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from sskd.cli.doctor import available_cores
from sskd.cli.progress import open_display
from sskd.config import Config
from sskd.data.datasets import TOYCITY, list_datasets
from sskd.engine.run import CellPlan, assume_cell, check_cell, plan_cell
from sskd.models.sources import known_as, sources
from sskd.studies.cells import PlannedCell, identify
from sskd.studies.declaration import Ablation
from sskd.studies.launches import Looks

__all__ = [
    "PreparedStudy",
    "check_launch",
    "check_models",
    "choose_workers",
    "data_is_here",
    "prepare",
    "prepare_launch",
    "prepare_single",
    "stages_left",
]


@dataclass(frozen=True)
class PreparedStudy:
    """An ablation whose every cell is known to be valid, with what each still needs."""

    ablation: Ablation
    cells: tuple[PlannedCell, ...]
    """Identified."""
    plans: tuple[CellPlan, ...]
    """Of the cells, in their order."""
    looks: Looks | None = None
    """If seeds are, or were, added as needed."""
    earlier: tuple[int, ...] = ()
    """Other numbers of seeds that a variant of it was launched with; see ``sskd.cli.launched``."""


def prepare(
    ablation: Ablation, planned: Sequence[PlannedCell], home: Path, *, assume: bool = False
) -> PreparedStudy:
    """Plan the cells of a study.

    Args:
        ablation: The declaration.
        planned: Its cells.
        home: Of data set and store.
        assume: Nothing exists, and the data set need not be here: for a plan, not for a launch.

    Raises:
        ValueError: If a data set or a split is not as a config needs it, or two cells come to the
            same computation.
    """
    configs = [cell.config for cell in planned]
    plans = [assume_cell(config) for config in configs] if assume else _plan(configs, home)
    fingerprints = iter(plan.fingerprint for plan in plans)
    identified = identify(planned, lambda _: next(fingerprints))
    return PreparedStudy(ablation, tuple(identified), tuple(plans))


def prepare_launch(
    resolved: Sequence[tuple[Ablation, Sequence[PlannedCell]]], home: Path
) -> list[PreparedStudy]:
    """Plan studies that are about to run: what they still need is here.

    Raises:
        ValueError: As ``prepare`` does, or if something that a cell needs is not here.
    """
    studies = [prepare(ablation, planned, home) for ablation, planned in resolved]
    told = [check_launch(study.cells, study.plans, home) for study in studies]
    if any(told):
        studies = [prepare(ablation, planned, home) for ablation, planned in resolved]
    return studies


def prepare_single(cell: PlannedCell, home: Path) -> tuple[PlannedCell, CellPlan]:
    """Plan one cell; gives it identified.

    Raises:
        ValueError: If the data set or the split is not as the config needs it, or something that
            the cell needs is not here.
    """
    plans = _plan([cell.config], home)
    if check_launch([cell], plans, home):
        plans = _plan([cell.config], home)
    (identified,) = identify([cell], lambda _: plans[0].fingerprint)
    return identified, plans[0]


def data_is_here(cells: Sequence[PlannedCell], home: Path) -> bool:
    """Whether the cells' data set is there, or will be drawn; not whether it is sound."""
    name = cells[0].config.data.name
    return name == TOYCITY or name.endswith(".json") or name in list_datasets(home)


def stages_left(studies: Sequence[PreparedStudy]) -> list[str]:
    """The name of every stage that is not in the store, shared stages once."""
    plans = [plan for study in studies for plan in study.plans]
    return list({s.key: s.name for plan in plans for s in plan.stages if not s.done}.values())


def check_launch(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> bool:
    """Find before anything is computed what would stop the cells that are left.

    Returns:
        Whether a hub has told the version of a checkpoint, which changes the plans.

    Raises:
        ValueError: If a device, published weights, or sound pseudo-labels of a file are not here;
            one line.
    """
    left = [cell.config for cell, plan in zip(cells, plans, strict=True) if not plan.done]
    # Of cells that differ in other things alone, one is enough: a file of labels may be large.
    apart = {(c.runtime, c.numerics, c.pseudo_labels.file, c.data): c for c in left}
    for config in apart.values():
        check_cell(config, home=home)
    told = check_models(cells, plans)
    _warn_of_imitation(left)
    return told


def _warn_of_imitation(configs: Sequence[Config]) -> None:
    if not any("bf16" in (c.numerics.precision, c.evaluation.precision) for c in configs):
        return
    import torch

    from sskd.engine.environment import emulates_bf16

    gpu = torch.cuda.is_available() and all(c.runtime.device != "cpu" for c in configs)
    other = "fp16" if gpu else "no"
    if emulates_bf16("cuda" if gpu else "cpu"):
        typer.echo(
            f"warning: bfloat16 is imitated {'by this GPU' if gpu else 'here'} and slow; "
            f"--set numerics.precision={other} --set evaluation.precision={other} does without",
            err=True,
        )


def check_models(cells: Sequence[PlannedCell], plans: Sequence[CellPlan]) -> bool:
    """Make sure that the published weights which the cells still need are in reach.

    Returns:
        Whether a hub has told the version of one, which changes the plans.

    Raises:
        ValueError: If some are not; one line says which, and where they can be had.
    """
    needed = []
    for role in ("teacher", "student"):
        for cell, plan in zip(cells, plans, strict=True):
            model = getattr(cell.config, role)
            left = any(s.role == role and s.builds and not s.done for s in plan.stages)
            if left and model not in needed:
                needed.append(model)
    if not needed:
        return False  # importing the models takes seconds
    from sskd.models.build import check_weights

    names = [source for model in needed for source in sources(model).values()]
    before = [known_as(name) for name in names]
    for model in needed:
        check_weights(model)
    return [known_as(name) for name in names] != before


def choose_workers(studies: Sequence[PreparedStudy], asked: int | None) -> int:
    """Cells at once: if nobody says how many, what the cores carry, or one for each cell's GPUs.

    Raises:
        ValueError: If they would need more GPUs than there are, of which each cell has its own.
    """
    import torch

    configs = [cell.config for study in studies for cell in study.cells]
    left = len({p.fingerprint for study in studies for p in study.plans if not p.done})
    gpus = torch.cuda.device_count() if any(c.runtime.device != "cpu" for c in configs) else 0
    if gpus:
        processes = max(config.runtime.processes for config in configs)
        if processes > 1 and asked is not None and asked * processes > gpus:
            raise ValueError(
                f"--workers {asked} with runtime.processes {processes} needs {asked * processes} "
                f"GPUs, and {gpus} are here; lower one of the two"
            )
        return asked or max(1, min(gpus // processes, left))
    threads = max(config.numerics.threads for config in configs)
    return asked or max(1, min(available_cores() // threads, left))


def _plan(configs: Sequence[Config], home: Path) -> list[CellPlan]:
    """Draws the embedded data set if it is not there yet, hence the display."""
    with open_display() as display:
        return [plan_cell(config, home=home, progress=display) for config in configs]
