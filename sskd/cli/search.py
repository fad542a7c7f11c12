"""A declared search space behind ``sskd sweep NAME``: from options to its report."""

from dataclasses import replace
from pathlib import Path

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.errors import SOME_FAILED
from sskd.cli.options import LaunchOptions
from sskd.studies.sweep_files import Search

__all__ = ["search_space"]


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
    from sskd.reporting.search_report import best_place, winner_settings, write_search_report
    from sskd.studies.cells import PlannedCell
    from sskd.studies.search import TrialEvent, ended_trials, run_search

    base = prepare_single(PlannedCell("base", DEVELOPMENT_SEED, planned.config), options.home)
    if dry_run:
        ended = min(count, ended_trials(options.home, planned, base[1].fingerprint))
        cells = foreseen_cells(planned, range(ended, count))
        plans = [plan_cell(cell.config, home=options.home) for cell in cells]
        print_trials(base, cells, plans, options.home, trials=count, ended=ended)
        return
    folder = out or Path("reports") / planned.experiment.partition("@")[2]
    check_folder(folder, "--out")
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
    path = write_search_report(
        planned,
        outcome.entries,
        home=options.home,
        out=folder,
        command=options.spell("sweep", search.name, "--trials", str(count)),
        confirm=_confirm(search, options, winner_settings(outcome.entries)),
    )
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
