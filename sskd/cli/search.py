"""A declared search space behind ``sskd sweep NAME``: from options to its report."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.errors import SOME_FAILED
from sskd.cli.options import LaunchOptions
from sskd.studies.sweep_files import Search

if TYPE_CHECKING:
    from sskd.studies.search_ledger import Entry
    from sskd.studies.search_plan import PlannedSearch

__all__ = ["report_search", "search_space"]


def search_space(
    search: Search, options: LaunchOptions, *, trials: int | None, dry_run: bool, out: Path | None
) -> None:
    """Bring a search to its number of trials, then write its report.

    Args:
        search: The declaration.
        options: Of the command; ``seeds`` are those of the commands that confirm the winner.
        trials: From the beginning of the sequence; the declared number, if not said.
        dry_run: Only check and show.
        out: The report's folder.

    Raises:
        Exit: If a trial failed, twice.
    """
    from sskd.cli.resolve import base_and_changes, check_folder, check_threads
    from sskd.studies.search_plan import DEVELOPMENT_SEED, foreseen_cells, plan_search

    raw, changes = base_and_changes(options)
    planned = plan_search(search, raw, changes)
    check_threads([planned.config], options)
    check_folder(options.home, "--home")
    count = trials or search.trials
    say(f"{search.name}: {count} trials over {', '.join(planned.space.dimensions)}")
    if not planned.space.holds_default:
        say("the base's own values lie outside of the space: they are not tried first")

    from sskd.cli.plan_view import print_trials
    from sskd.cli.prepare import prepare_single
    from sskd.cli.progress import StudyState, open_display
    from sskd.engine.run import plan_cell, run_cell
    from sskd.reporting.search_winner import best_place
    from sskd.studies.cells import PlannedCell
    from sskd.studies.search import TrialEvent, ended_trials, run_search

    base = prepare_single(PlannedCell("base", DEVELOPMENT_SEED, planned.config), options.home)
    if dry_run:
        ended = min(count, ended_trials(options.home, planned, base[1].fingerprint))
        cells = foreseen_cells(planned, range(ended, count))
        plans = [plan_cell(cell.config, home=options.home) for cell in cells]
        print_trials(base, cells, plans, options.home, trials=count, ended=ended)
        return
    folder = _folder(planned, out)
    state = StudyState(count)
    with open_display(state) as display:

        def show(event: TrialEvent) -> None:
            name = f"trial-{event.place}"
            if event.state == "started":
                said = ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}"
                                 for k, v in event.params.items())  # fmt: skip
                display.line(f"{name}: {said}")
            elif event.state == "failed" and event.again:
                display.line(f"{name}: failed ({event.error}), once more")
            else:
                entry = event.entry
                known = entry.values[0] if entry is not None and entry.values else None
                note = event.error or ("finished before" if event.state == "known" else "")
                if entry is not None and entry.state == "pruned":
                    known, note = entry.early, "given up after the short schedule"
                display.finish_cell(name, DEVELOPMENT_SEED, mask_ap=known, note=note)

        outcome = run_search(
            planned,
            trials=count,
            home=options.home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            progress=display,
            on_trial=show,
        )
    if outcome.tracking_error is not None:
        text = f"MLflow does not show everything ({outcome.tracking_error}); the results are safe"
        typer.echo(f"warning: {text}", err=True)
    path = _write(planned, outcome.entries, options, folder, trials=count)
    _show(planned, outcome.entries, options.home)
    best = best_place(outcome.entries)
    print_table(
        ("trial", *planned.space.dimensions, "AP (%)", "best"),
        [
            (
                str(place),
                *(str(entry.params[key]) for key in planned.space.dimensions),
                percent(entry.values[0] if entry.values else None),
                "*" if place == best else "",
            )
            for place, entry in outcome.entries.items()
        ],
    )
    say("AP on held-out images, for choosing; the report says how to measure the winner on val")
    say(f"report: {path}")
    if any(entry.place < count for entry in outcome.failed):
        raise typer.Exit(SOME_FAILED)


def report_search(
    search: Search, options: LaunchOptions, *, formats: Sequence[str], out: Path | None
) -> Path:
    """Write the report of a search from the trials that were made; computes nothing.

    Args:
        search: The declaration.
        options: As for the search itself.
        formats: One or more of those of reports.
        out: The report's folder.

    Raises:
        ValueError: One line on the first mistake.
    """
    from sskd.cli.resolve import base_and_changes
    from sskd.engine.run import plan_cell
    from sskd.studies.search_ledger import recorded_trials
    from sskd.studies.search_plan import plan_search

    planned = plan_search(search, *base_and_changes(options))
    plan = planned.identity(plan_cell(planned.config, home=options.home).fingerprint)
    entries = recorded_trials(options.home, planned.experiment, plan)
    trials = len(entries) or search.trials
    return _write(planned, entries, options, _folder(planned, out), trials=trials, formats=formats)


def _folder(planned: "PlannedSearch", out: Path | None) -> Path:
    from sskd.cli.folders import search_folder
    from sskd.cli.resolve import check_folder

    folder = out or search_folder(planned)
    check_folder(folder, "--out")
    return folder


def _write(
    planned: "PlannedSearch",
    entries: "Mapping[int, Entry]",
    options: LaunchOptions,
    folder: Path,
    *,
    trials: int,
    formats: Sequence[str] = ("md",),
) -> Path:
    from sskd.reporting.search_report import write_search_report
    from sskd.reporting.search_winner import winner_settings

    return write_search_report(
        planned,
        entries,
        home=options.home,
        out=folder,
        command=options.spell("sweep", planned.search.name, "--trials", str(trials)),
        confirm=_confirm(planned.search, options, winner_settings(entries)),
        formats=formats,
    )


def _show(planned: "PlannedSearch", entries: "Mapping[int, Entry]", home: Path) -> None:
    """Put a search's results above its runs in MLflow."""
    from sskd.reporting.search_sections import search_summary
    from sskd.studies.tracking import show_results
    from sskd.studies.workers import describe

    try:
        show_results(home, planned.experiment, search_summary(planned, entries))
    except Exception as error:  # a view: it must not cost a report
        text = f"MLflow does not show the results ({describe(error)}); the report has them"
        typer.echo(f"warning: {text}", err=True)


def _confirm(search: Search, options: LaunchOptions, settings: list[str]) -> list[str]:
    """Commands that measure the winner on val: one cell, and an ablation against the base."""
    from sskd.studies.declaration import PRESETS

    own = tuple(s for s in options.settings if not s.startswith("data.held_out"))
    preset = tuple(f"{key}={value}" for key, value in PRESETS[search.base].items())
    single = replace(options, settings=(*preset, *own, *settings))
    paired = replace(options, settings=own)
    return [
        single.spell("train", "--seed", "0"),
        paired.spell("ablate", f"{search.name}-winner"),
    ]
