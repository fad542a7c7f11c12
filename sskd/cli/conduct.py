"""From resolved ablations to reports: what is missing is computed, each thing once.

Imported by the commands when they run: this module needs the whole package.
"""

from collections.abc import Sequence
from pathlib import Path

import typer

from sskd.cli.adaptive import run_until_decided
from sskd.cli.console import print_table, say
from sskd.cli.errors import SOME_FAILED
from sskd.cli.folders import report_folder
from sskd.cli.launched import analyse_study, with_earlier
from sskd.cli.options import LaunchOptions
from sskd.cli.plan_view import print_plan
from sskd.cli.prepare import choose_workers, prepare_launch
from sskd.cli.report import say_report
from sskd.cli.resolve import check_folder
from sskd.cli.running import run_studies, show_table
from sskd.reporting.index import write_index
from sskd.reporting.report import write_report
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation
from sskd.studies.launches import Looks

__all__ = ["conduct"]


def conduct(
    resolved: Sequence[tuple[Ablation, Sequence[PlannedCell]]],
    options: LaunchOptions,
    commands: Sequence[str],
    *,
    out: Path | None,
    dry_run: bool,
    index: bool = False,
    looks: Looks | None = None,
) -> None:
    """Run what ablations still need and write their reports.

    Args:
        resolved: Ablations with their cells.
        options: Of the launch.
        commands: What computes each ablation, for its report.
        out: Folder of the reports, if not the usual one.
        dry_run: Print the plan instead.
        index: Write the page of all verdicts, too.
        looks: Add seeds to what is undecided; the cells are then for as many as the cap.

    Raises:
        ValueError: For a user's mistake; one line.
        typer.Exit: If some cells failed.
    """
    home = options.home
    studies = prepare_launch(resolved, home)
    if dry_run:
        print_plan(studies, home, workers=options.workers)
        return
    folders = [out or report_folder(study) for study in studies]
    for folder in folders:
        check_folder(folder, "--out")
    if looks is not None:
        studies, results = run_until_decided(resolved, options, looks)
    else:
        workers = choose_workers(studies, options.workers)
        results = run_studies(studies, home=home, workers=workers)
    studies = [with_earlier(study, home) for study in studies]
    analyses = []
    for study, result, command, folder in zip(studies, results, commands, folders, strict=True):
        analyses.append(analyse_study(study, home))
        written = write_report(
            analyses[-1], home=home, out=folder, command=command, failures=result.failures
        )
        show_table(study, analyses[-1], home)
        if len(studies) == 1:
            seeds = sorted({cell.seed for cell in study.cells})
            print_table(("variant", *(f"seed {seed}" for seed in seeds)), result.rows)
        say_report(written)
    if index:
        for folder in dict.fromkeys(folders):
            here = [a for a, its in zip(analyses, folders, strict=True) if its == folder]
            say(f"index: {write_index(here, out=folder, suffix='md', not_begun=())}")
    if any(result.failures for result in results):
        raise typer.Exit(SOME_FAILED)
