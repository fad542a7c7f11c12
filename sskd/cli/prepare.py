"""From valid configs to a plan: data set and split are met, and what exists is looked up.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sskd.cli.doctor import available_cores
from sskd.cli.progress import open_display
from sskd.config import Config
from sskd.data.datasets import TOYCITY, list_datasets
from sskd.engine.run import CellPlan, assume_cell, check_cell, plan_cell
from sskd.studies.cells import PlannedCell, experiment_name, identify
from sskd.studies.declaration import Ablation

__all__ = [
    "PreparedStudy",
    "check_launch",
    "check_models",
    "data_is_here",
    "default_workers",
    "prepare",
    "prepare_single",
    "report_folder",
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


def prepare_single(cell: PlannedCell, home: Path) -> tuple[PlannedCell, CellPlan]:
    """Plan one cell; gives it identified.

    Raises:
        ValueError: If the data set or the split is not as the config needs it, or something that
            the cell needs is not here.
    """
    (plan,) = _plan([cell.config], home)
    check_launch([cell], [plan], home)
    (identified,) = identify([cell], lambda _: plan.fingerprint)
    return identified, plan


def data_is_here(cells: Sequence[PlannedCell], home: Path) -> bool:
    """Whether the cells' data set is there, or will be drawn; not whether it is sound."""
    name = cells[0].config.data.name
    return name == TOYCITY or name.endswith(".json") or name in list_datasets(home)


def stages_left(studies: Sequence[PreparedStudy]) -> list[str]:
    """The name of every stage that is not in the store, shared stages once."""
    plans = [plan for study in studies for plan in study.plans]
    return list({s.key: s.name for plan in plans for s in plan.stages if not s.done}.values())


def check_launch(cells: Sequence[PlannedCell], plans: Sequence[CellPlan], home: Path) -> None:
    """Find before anything is computed what would stop the cells that are left.

    Raises:
        ValueError: If a device, published weights, or sound pseudo-labels of a file are not here;
            one line.
    """
    left = [cell.config for cell, plan in zip(cells, plans, strict=True) if not plan.done]
    # Of cells that differ in other things alone, one is enough: a file of labels may be large.
    apart = {(c.runtime, c.pseudo_labels.file, c.data): c for c in left}
    for config in apart.values():
        check_cell(config, home=home)
    check_models(cells, plans)


def check_models(cells: Sequence[PlannedCell], plans: Sequence[CellPlan]) -> None:
    """Make sure that the published weights which the cells still need are in reach.

    Raises:
        ValueError: If some are not; one line says which, and where they can be had.
    """
    roles = ("teacher", "student")
    needed = [
        getattr(cell.config, role)
        for role in roles
        for cell, plan in zip(cells, plans, strict=True)
        if any(stage.role == role and stage.builds and not stage.done for stage in plan.stages)
    ]
    if not needed:
        return  # importing the models takes seconds
    from sskd.models.build import check_weights

    for number, model in enumerate(needed):
        if model not in needed[:number]:
            check_weights(model)


def default_workers(studies: Sequence[PreparedStudy]) -> int:
    """Cells at once if nobody says how many: what the cores carry; one where a GPU is used."""
    import torch

    configs = [cell.config for study in studies for cell in study.cells]
    left = len({p.fingerprint for study in studies for p in study.plans if not p.done})
    if torch.cuda.is_available() and any(c.runtime.device != "cpu" for c in configs):
        return 1
    threads = max(config.numerics.threads for config in configs)
    return max(1, min(available_cores() // threads, left))


def report_folder(study: PreparedStudy) -> Path:
    """Where the report goes if nobody says otherwise: ``reports/<scale>-<data>``."""
    experiment = experiment_name(study.ablation.name, study.cells[0].config)
    return Path("reports") / experiment.partition("@")[2]


def _plan(configs: Sequence[Config], home: Path) -> list[CellPlan]:
    """Draws the embedded data set if it is not there yet, hence the display."""
    with open_display() as display:
        return [plan_cell(config, home=home, progress=display) for config in configs]
