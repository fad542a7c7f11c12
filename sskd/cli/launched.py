"""How the number of seeds of a study came about, and its analysis, which depends on that.

Imported by the commands when they run: this module needs the whole package.
"""

from dataclasses import replace
from itertools import count
from pathlib import Path

from sskd.cli.options import SEEDS
from sskd.cli.prepare import PreparedStudy, prepare
from sskd.engine.run import plan_cell
from sskd.reporting.analysis import Analysis, analyse
from sskd.studies.cells import PlannedCell, experiment_name
from sskd.studies.launches import read_launches

__all__ = ["analyse_study", "as_launched", "with_earlier"]


def as_launched(study: PreparedStudy, home: Path, *, seeds: int | None) -> PreparedStudy:
    """A study under the seeds that were last launched, of each variant its own.

    A variant of which no launch is known has the seeds of its records, or the usual number.

    Args:
        study: Under seed 0 at least.
        home: Of data set, store and launches.
        seeds: Of every variant instead, from 0 on, in a study that has them.

    Raises:
        ValueError: If the record of launches is broken; one line.
    """
    experiment = experiment_name(study.ablation.name, study.cells[0].config)
    launches = read_launches(home, experiment)
    firsts = [cell for cell in study.cells if cell.seed == 0]
    known = {c.variant: found for c in firsts if (found := launches.get(c.fingerprint))}
    looks = max(
        (found.looks for found in known.values() if found.looks),
        key=lambda looks: looks.count,
        default=None,
    )
    if seeds is None:
        numbers = {
            cell.variant: known[cell.variant].seeds
            if cell.variant in known
            else _recorded(cell, home) or SEEDS
            for cell in firsts
        }
        planned = [
            _under(cell, seed)
            for seed in range(max(numbers.values()))
            for cell in firsts
            if seed < numbers[cell.variant]
        ]
        study = prepare(study.ablation, planned, home)
    return with_earlier(replace(study, looks=looks), home)


def with_earlier(study: PreparedStudy, home: Path) -> PreparedStudy:
    """A study with the numbers of seeds that could be looked at before it had its own.

    Numbers that its looks are corrected for are none of them, nor is a single seed, which allows no
    test.

    Raises:
        ValueError: If the record of launches is broken; one line.
    """
    experiment = experiment_name(study.ablation.name, study.cells[0].config)
    launches = read_launches(home, experiment)
    earlier: set[int] = set()
    for first in study.cells:
        if first.seed == 0 and (found := launches.get(first.fingerprint)):
            own = 1 + max(cell.seed for cell in study.cells if cell.variant == first.variant)
            earlier |= found.looked_at() - set(study.looks.at if study.looks else (own,))
    return replace(study, earlier=tuple(sorted(earlier - {1})))


def analyse_study(study: PreparedStudy, home: Path) -> Analysis:
    """What its records say, and how its number of seeds came about.

    Raises:
        ValueError: If a record is broken.
    """
    return analyse(study.ablation, study.cells, home=home, looks=study.looks, earlier=study.earlier)


def _recorded(first: PlannedCell, home: Path) -> int:
    """One more than the last seed of a variant that has a record, unless it lies far off."""
    number = 0
    for seed in count():
        if plan_cell(_under(first, seed).config, home=home).done:
            number = seed + 1
        elif seed >= SEEDS:
            return number
    raise AssertionError("there are only so many records")


def _under(cell: PlannedCell, seed: int) -> PlannedCell:
    return PlannedCell(cell.variant, seed, cell.config.model_copy(update={"seed": seed}))
