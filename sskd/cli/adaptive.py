"""Seeds only where they decide something: rounds of a launch until nothing is left open.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sskd.cli.console import say
from sskd.cli.options import LaunchOptions
from sskd.cli.prepare import PreparedStudy, choose_workers, prepare
from sskd.cli.running import StudyResult, run_studies
from sskd.reporting.adaptive import undecided
from sskd.reporting.analysis import analyse
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation

__all__ = ["FIRST_SEEDS", "Adaptive", "run_until_decided"]

FIRST_SEEDS = 3
"""Of every variant: fewer say next to nothing of a spread."""


@dataclass(frozen=True)
class Adaptive:
    """When to stop adding seeds."""

    until: float
    """Points: half the width of an interval that is narrow enough, although it holds 0."""
    cap: int
    """Seeds of a variant at most."""


def run_until_decided(
    resolved: Sequence[tuple[Ablation, Sequence[PlannedCell]]],
    options: LaunchOptions,
    adaptive: Adaptive,
) -> tuple[list[PreparedStudy], list[StudyResult]]:
    """Run every variant under the first seeds, then one more of what is undecided, and so on.

    Deciding by looks at the data makes a test's error larger than its level, the more so the more
    often one looks: what is reported as separated after many rounds deserves fresh seeds.

    Args:
        resolved: Ablations with their cells, for as many seeds as the cap.
        options: Of the launch.
        adaptive: When to stop.

    Returns:
        The studies with the cells that were wanted in the end, and what became of them.
    """
    wanted = {
        ablation.name: dict.fromkeys((cell.variant for cell in cells), FIRST_SEEDS)
        for ablation, cells in resolved
    }
    while True:
        studies = [
            prepare(
                ablation,
                [cell for cell in cells if cell.seed < wanted[ablation.name][cell.variant]],
                options.home,
            )
            for ablation, cells in resolved
        ]
        workers = choose_workers(studies, options.workers)
        results = run_studies(studies, home=options.home, workers=workers)
        if any(result.failures for result in results):
            return studies, results  # more seeds of what fails would fail, too
        more = False
        for study in studies:
            seeds = wanted[study.ablation.name]
            analysis = analyse(study.ablation, study.cells, home=options.home)
            open_ = undecided(analysis, adaptive.until)
            growing = [name for name in open_ if seeds[name] < adaptive.cap]
            for name in growing:
                seeds[name] += 1
            if growing:
                say(f"{study.ablation.name}: one more seed of {', '.join(growing)}")
            elif open_:
                say(f"{study.ablation.name}: undecided at {adaptive.cap} seeds: {', '.join(open_)}")
            more = more or bool(growing)
        if not more:
            return studies, results
