"""From valid configs to a plan: data set and split are met, and what exists is looked up.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sskd.cli.doctor import available_cores
from sskd.cli.progress import open_display
from sskd.config import Config
from sskd.engine.run import CellPlan, plan_cell
from sskd.studies.cells import PlannedCell, experiment_name, identify
from sskd.studies.declaration import Ablation

__all__ = ["PreparedStudy", "default_workers", "prepare", "prepare_single", "report_folder"]


@dataclass(frozen=True)
class PreparedStudy:
    """An ablation whose every cell is known to be valid, with what each still needs."""

    ablation: Ablation
    cells: tuple[PlannedCell, ...]
    """Identified."""
    plans: tuple[CellPlan, ...]
    """Of the cells, in their order."""

    @property
    def stages_left(self) -> list[str]:
        """The name of every stage that is not in the store, shared stages once."""
        left = {s.key: s.name for plan in self.plans for s in plan.stages if not s.done}
        return list(left.values())


def prepare(ablation: Ablation, planned: Sequence[PlannedCell], home: Path) -> PreparedStudy:
    """Plan the cells of a study.

    Raises:
        ValueError: If a data set or a split is not as a config needs it, or two cells come to the
            same computation.
    """
    plans = _plan([cell.config for cell in planned], home)
    fingerprints = iter(plan.fingerprint for plan in plans)
    identified = identify(planned, lambda _: next(fingerprints))
    return PreparedStudy(ablation, tuple(identified), tuple(plans))


def prepare_single(cell: PlannedCell, home: Path) -> tuple[PlannedCell, CellPlan]:
    """Plan one cell; gives it identified.

    Raises:
        ValueError: If the data set or the split is not as the config needs it.
    """
    (plan,) = _plan([cell.config], home)
    (identified,) = identify([cell], lambda _: plan.fingerprint)
    return identified, plan


def default_workers(study: PreparedStudy) -> int:
    """Cells at once if nobody says how many: what the cores carry; one where a GPU is used."""
    configs = [cell.config for cell in study.cells]
    left = sum(not plan.done for plan in study.plans)
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
