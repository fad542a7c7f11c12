"""The command ``report``: tables and pictures from records, without computing a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sskd.cli.console import say
from sskd.cli.options import (
    SEEDS,
    Data,
    Home,
    LabelFraction,
    LaunchOptions,
    Out,
    Scale,
    Settings,
)

if TYPE_CHECKING:
    from sskd.cli.prepare import PreparedStudy
    from sskd.reporting.report import Written
    from sskd.studies.ledger import StudyStatus

__all__ = ["report", "say_report"]


def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME...]",
            help="Ablations (see `sskd list`), sweep-NAME, or efficiency. Default: all ablations "
            "that have a finished cell.",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", metavar="md,tex,csv,html", help="One or more, with commas."),
    ] = "md",
    scale: Scale = "tiny",
    data: Data = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            min=1,
            metavar="N",
            help="Seeds 0 to N-1 of every variant. Default: of each those that were last launched; "
            "without a launch those that have a record, or 3.",
            show_default=False,
        ),
    ] = None,
    label_fraction: LabelFraction = None,
    settings: Settings = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write and draw what has not changed, too.")
    ] = False,
    out: Out = None,
    home: Home = Path("runs"),
) -> None:
    """Write reports; computes nothing.

    From the records that exist: a cell that is missing prints as missing, with the command that
    fills it. Give the same options as to `sskd ablate`; the number of seeds is known from the last
    launch. Without a name, every ablation that has a finished cell is reported on, and README.md
    beside the reports has all verdicts on one page.
    A report that is there, and would be written the same, is left as it is.
    """
    from sskd.cli.resolve import find_search
    from sskd.reporting.formats import parse_formats
    from sskd.studies.efficiency import EFFICIENCY

    chosen = parse_formats(formats)
    options = LaunchOptions(
        home=home,
        scale=scale,
        data=data,
        seeds=seeds or 1,  # one seed is enough to find what was launched
        label_fraction=label_fraction,
        settings=tuple(settings or ()),
    )
    asked = list(dict.fromkeys(names or []))
    others = []
    for name in asked:
        if name == EFFICIENCY:
            from sskd.cli.efficiency import write_efficiency

            path = write_efficiency(scale, data, options.settings, home, out, chosen)
            say(f"report: {path}")
        elif search := find_search(name):
            from sskd.cli.search import report_search

            own = replace(options, seeds=SEEDS)
            say(f"report: {report_search(search, own, formats=chosen, out=out)}")
        else:
            others.append(name)
    if others or not asked:
        _report_studies(others, options, seeds=seeds, formats=chosen, force=force, out=out)


def _report_studies(
    names: Sequence[str],
    options: LaunchOptions,
    *,
    seeds: int | None,
    formats: Sequence[str],
    force: bool,
    out: Path | None,
) -> None:
    """Report on ablations and declared sweeps, or on all ablations and the page of their verdicts.

    Args:
        names: None for all.
        options: That find what was launched.
        seeds: As they were asked for.
        formats: Of the reports.
        force: Write and draw what has not changed, too.
        out: Folder of the reports, if not the usual one.
    """
    from sskd.cli.folders import report_folder
    from sskd.cli.launched import analyse_study, as_launched
    from sskd.cli.prepare import prepare
    from sskd.cli.resolve import ALL, check_folder, command_of, resolve_studies
    from sskd.reporting.index import write_index
    from sskd.reporting.report import write_report

    home = options.home
    everything = not names or ALL in names
    studies = [
        as_launched(prepare(ablation, planned, home), home, seeds=seeds)
        for ablation, planned in resolve_studies(names or [ALL], options, sweeps=True)
    ]
    begun = [s for s in studies if not everything or any(plan.done for plan in s.plans)]
    folders = {study.ablation.name: out or report_folder(study) for study in studies}
    for folder in folders.values():
        check_folder(folder, "--out")
    ledger = _ledger(home)
    analyses = []
    for study in begun:
        analyses.append(analyse_study(study, home))
        written = write_report(
            analyses[-1],
            home=home,
            out=folders[study.ablation.name],
            command=command_of(study.ablation, _as_asked(study, options, seeds)),
            failures=_failures(study, ledger),
            formats=formats,
            force=force,
        )
        say_report(written)
    if everything:
        rest = [study.ablation.name for study in studies if study not in begun]
        suffix = next((form for form in ("md", "html") if form in formats), formats[0])
        for folder in dict.fromkeys(folders.values()):
            here = [a for a in analyses if folders[a.ablation.name] == folder]
            others = [name for name in rest if folders[name] == folder]
            say(f"index: {write_index(here, out=folder, suffix=suffix, not_begun=others)}")


def _as_asked(study: "PreparedStudy", options: LaunchOptions, seeds: int | None) -> LaunchOptions:
    """The options of the launch that a report is of."""
    if seeds is None and study.looks is not None:
        return replace(options, seeds=study.looks.cap, until=study.looks.until)
    return replace(options, seeds=seeds or 1 + max(cell.seed for cell in study.cells))


def say_report(written: "Written") -> None:
    """Say where a report is, and whether it is older than the command."""
    say(f"report: {written.path}{'' if written.changed else ' (unchanged)'}")


def _ledger(home: Path) -> "Sequence[StudyStatus]":
    """What failed, and why; a report is made of records, and can do without."""
    from sskd.studies.ledger import study_status

    try:
        return study_status(home)
    except ValueError as error:
        typer.echo(f"warning: failed cells are shown as missing ({error})", err=True)
        return []


def _failures(study: "PreparedStudy", ledger: "Sequence[StudyStatus]") -> Mapping[str, str]:
    """Fingerprint to reason, of cells that failed when they were last tried."""
    from sskd.studies.cells import experiment_name
    from sskd.studies.ledger import plan_id

    experiment = experiment_name(study.ablation.name, study.cells[0].config)
    plan = plan_id({c.variant: c.fingerprint for c in study.cells if c.seed == 0})
    reasons = {
        name: reason
        for status in ledger
        if status.plan == plan and status.name.partition("#")[0] == experiment
        for name, reason in status.failures
    }
    return {c.fingerprint: reasons[c.name] for c in study.cells if c.name in reasons}
