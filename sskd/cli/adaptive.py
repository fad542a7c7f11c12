"""Seeds only where they decide something: rounds of a launch until nothing is left open.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from dataclasses import replace

from sskd.cli.console import say
from sskd.cli.launched import analyse_study
from sskd.cli.options import LaunchOptions
from sskd.cli.prepare import PreparedStudy, choose_workers, prepare
from sskd.cli.running import StudyResult, run_studies
from sskd.reporting.adaptive import undecided
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation
from sskd.studies.launches import Looks

__all__ = ["run_until_decided"]


def run_until_decided(
    resolved: Sequence[tuple[Ablation, Sequence[PlannedCell]]],
    options: LaunchOptions,
    looks: Looks,
) -> tuple[list[PreparedStudy], list[StudyResult]]:
    """Run every variant under the first seeds, then what is undecided under more, and so on.

    To decide by looks at growing data makes a test's error larger than its level: the looks are
    few, they are part of each study, and its analysis corrects for all that there could be.

    Args:
        resolved: Ablations with their cells, for as many seeds as the cap.
        options: Of the launch.
        looks: When to look, and when to stop.

    Returns:
        The studies with the cells that were wanted in the end, and what became of them.
    """
    adding = [_Adding(ablation, cells, looks) for ablation, cells in resolved]
    left = adding
    while left:
        studies = [part.prepare(options) for part in left]
        workers = choose_workers(studies, options.workers)
        known = [part.failures for part in left]
        results = run_studies(studies, home=options.home, workers=workers, failed=known)
        left = [
            part
            for part, study, result in zip(left, studies, results, strict=True)
            if part.grow(study, result, options)
        ]
    return [part.study for part in adding], [part.result for part in adding]


class _Adding:
    """One ablation while seeds are added."""

    study: PreparedStudy
    result: StudyResult

    def __init__(self, ablation: Ablation, cells: Sequence[PlannedCell], looks: Looks) -> None:
        self._ablation, self._cells, self._looks = ablation, cells, looks
        self._wanted = dict.fromkeys((cell.variant for cell in cells), looks.at[0])
        self._failed: tuple[str, ...] = ()
        self.failures: dict[str, str] = {}

    def prepare(self, options: LaunchOptions) -> PreparedStudy:
        """The study under the seeds that are wanted by now."""
        cells = [cell for cell in self._cells if cell.seed < self._wanted[cell.variant]]
        return replace(prepare(self._ablation, cells, options.home), looks=self._looks)

    def grow(self, study: PreparedStudy, result: StudyResult, options: LaunchOptions) -> bool:
        """Take what became of a round, want more of what is open, and say so; whether any is."""
        self.study, self.result, self.failures = study, result, result.failures
        name = self._ablation.name
        failed = tuple(
            variant
            for variant in self._wanted
            if any(c.variant == variant and c.fingerprint in result.failures for c in study.cells)
        )
        if failed != self._failed:
            self._failed = failed
            say(f"{name}: cells failed, so no more seeds for comparisons of {', '.join(failed)}")
        analysis = analyse_study(study, options.home)
        open_ = undecided(analysis, self._looks.until, failed=failed)
        growing = [variant for variant in open_ if self._wanted[variant] < self._looks.cap]
        for variant in growing:
            self._wanted[variant] = self._looks.after(self._wanted[variant])
        if growing:
            shown = (f"{self._wanted[variant]} of {variant}" for variant in growing)
            say(f"{name}: undecided, so more seeds: {', '.join(shown)}")
        elif open_:
            say(f"{name}: undecided at {self._looks.cap} seeds: {', '.join(open_)}")
        return bool(growing)
