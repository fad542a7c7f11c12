"""From options to valid configs: the mistakes that need no data set to be found.

It imports no torch, so that a mistyped name is told at once. ``sskd.cli.prepare`` goes on.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sskd.cli.console import say
from sskd.cli.doctor import available_cores
from sskd.cli.options import LaunchOptions
from sskd.config import Config, base_for, build_config, load_scale, parse_overrides
from sskd.studies.cells import Conflict, PlannedCell, cells, identify
from sskd.studies.declaration import Ablation, find_declarations, load_ablation
from sskd.studies.efficiency import EFFICIENCY
from sskd.studies.grid import as_ablation
from sskd.studies.sweep_files import Search, load_sweep_file

__all__ = [
    "ALL",
    "base_and_changes",
    "check_folder",
    "check_threads",
    "command_of",
    "find_search",
    "resolve_ablation",
    "resolve_single",
    "resolve_studies",
]

ALL = "all"
"""In the place of names: every ablation."""

SWEEP = "sweep-"
"""Before a sweep's name in the name of its report: an ablation may have the same name."""


def resolve_studies(
    names: Sequence[str], options: LaunchOptions, *, sweeps: bool = False
) -> list[tuple[Ablation, list[PlannedCell]]]:
    """Ablations, each once, with their cells, not yet identified.

    Of all ablations, those that do not go with the options are left out, and the user is told.

    Args:
        names: Of ablations; ``ALL`` stands for those that there are.
        options: Of the command.
        sweeps: Whether a name may be that of a sweep of declared values.

    Raises:
        ValueError: One line on the first mistake in declarations, settings, threads or home.
    """
    everything = ALL in names
    if everything:
        others = [name for name in names if name != ALL]
        names = [*sorted(find_declarations(Path.cwd())), *others]
    studies = []
    for ablation in [_load(name, options, sweeps=sweeps) for name in dict.fromkeys(names)]:
        try:
            planned = resolve_ablation(ablation, options)
            if everything and options.settings:
                _tell_apart(ablation, planned)
        except Conflict as error:
            if not everything:
                raise
            say(f"left out: {error}")
        else:
            studies.append((ablation, planned))
    if not studies:
        raise ValueError("no ablation goes with these options; leave one of them out")
    return studies


def find_search(name: str) -> Search | None:
    """The search whose report has that name; none if it is another thing's.

    Raises:
        ValueError: If its file is broken; one line.
    """
    cwd = Path.cwd()
    path = find_declarations(cwd, "sweeps").get(name.removeprefix(SWEEP))
    if path is None or name in find_declarations(cwd):
        return None
    declared = load_sweep_file(path)
    return declared if isinstance(declared, Search) else None


def command_of(ablation: Ablation, options: LaunchOptions) -> str:
    """What computes an ablation, or a sweep of declared values, as the reader would type it."""
    if ablation.name.startswith(SWEEP) and ablation.path.parent.name == "sweeps":
        return options.spell("sweep", ablation.path.stem)
    return options.command(ablation.name)


def resolve_ablation(ablation: Ablation, options: LaunchOptions) -> list[PlannedCell]:
    """The cells of an ablation, not yet identified.

    Raises:
        ValueError: One line on the first mistake in settings, threads or home.
    """
    base, changes = base_and_changes(options)
    planned = cells(ablation, base, changes, range(options.seeds))
    check_threads((cell.config for cell in planned), options)
    check_folder(options.home, "--home")
    return planned


def resolve_single(options: LaunchOptions, seed: int) -> PlannedCell:
    """One cell as the base has it, not yet identified; checked like an ablation's.

    Raises:
        ValueError: One line on the first mistake.
    """
    base, changes = base_and_changes(options)
    if "seed" in changes:
        raise ValueError("seed: say it with --seed")
    config = build_config(base, changes | {"seed": seed})
    check_threads([config], options)
    check_folder(options.home, "--home")
    return PlannedCell("train", seed, config)


def check_folder(folder: Path, option: str) -> None:
    """Make a folder, before there is anything that must not be lost for want of it.

    Raises:
        ValueError: If it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option} {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{option} {folder}: cannot be written")


def base_and_changes(options: LaunchOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scale's base for the data set, and the user's own changes of it, by dotted key.

    Raises:
        ValueError: If the scale is unknown, or a setting is not a key and a value.
    """
    changes = parse_overrides(options.settings)
    default = load_scale(options.scale)["data"]["name"]
    data = str(changes.pop("data.name", None) or options.data or default)
    if data.endswith(".json"):
        data = str(Path(data).expanduser().resolve())
    base = base_for(options.scale, data)
    if options.label_fraction is not None:
        changes = {"data.label_fraction": options.label_fraction} | changes
    return base, changes


def check_threads(configs: Iterable[Config], options: LaunchOptions) -> None:
    """Refuse what would run several times slower than one cell after the other.

    Raises:
        ValueError: If workers and threads need more cores than there are.
    """
    threads, cores = max(config.numerics.threads for config in configs), available_cores()
    workers = options.workers or 1
    if threads * workers > cores and workers > 1 and not options.oversubscribe:
        raise ValueError(
            f"--workers {workers} with numerics.threads {threads} needs "
            f"{threads * workers} cores, but there are {cores}; lower one of the two "
            "(numerics.threads is part of a run's identity), or add --oversubscribe"
        )


def _tell_apart(ablation: Ablation, planned: Sequence[PlannedCell]) -> None:
    """Find before any data set is met that the options make two variants the same computation.

    Raises:
        Conflict: If they do; one line.
    """
    from sskd.engine.run import assume_cell

    try:
        identify(planned, lambda config: assume_cell(config).fingerprint)
    except ValueError as error:
        raise Conflict(f"{ablation.name}: {error}") from None


def _load(name: str, options: LaunchOptions, *, sweeps: bool) -> Ablation:
    cwd = Path.cwd()
    own, known = name.removeprefix(SWEEP), find_declarations(cwd, "sweeps")
    ablations = find_declarations(cwd)
    if name == EFFICIENCY and name not in ablations:
        raise ValueError(
            f"{name}: a figure, not an ablation; `sskd bench models --report` measures it and "
            "writes its report"
        )
    if name in ablations or own not in known:
        return load_ablation(name, cwd)
    declared = load_sweep_file(known[own])
    if isinstance(declared, Search):
        raise ValueError(
            f"{name}: a search, not an ablation; `sskd sweep {own} --dry-run` plans it, and "
            f"`sskd sweep {own}` runs what is left and writes its report"
        )
    if not sweeps:
        raise ValueError(f"{name}: a sweep, not an ablation; `sskd sweep {own}` runs it")
    base, changes = base_and_changes(options)
    return as_ablation(
        declared.param,
        declared.at(options.scale),
        raw=base,
        changes=changes,
        base=declared.base,
        question=declared.question,
        path=declared.path,
    )
