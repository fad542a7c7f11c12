"""Options that several commands share, so that they read and behave alike everywhere.

Nothing here imports the rest of the package: ``sskd --help`` has to answer at once.
"""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "SEEDS",
    "Data",
    "DryRun",
    "Home",
    "LabelFraction",
    "LaunchOptions",
    "Out",
    "Oversubscribe",
    "PseudoLabels",
    "Scale",
    "Seeds",
    "Settings",
    "Workers",
    "examples",
    "with_labels",
]

SEEDS = 3
"""Of every variant, if nobody says otherwise."""

_HOME, _HOME_VARIABLE = "runs", "SSKD_HOME"


def _remember_home(ctx: Any, value: Path) -> Path:  # Typer gives a parent class of its Context
    home = value.expanduser().resolve()
    ctx.find_root().obj = home  # an unexpected error writes its log there
    return home


Home = Annotated[
    Path,
    typer.Option(
        "--home",
        metavar="DIR",
        envvar=_HOME_VARIABLE,
        callback=_remember_home,
        help="Where data sets, finished stages, cells and databases are kept.",
    ),
]
Scale = Annotated[
    str,
    typer.Option(
        "--scale",
        metavar="tiny|small|paper",
        help="The base of every setting: for a CPU, one GPU, or as the paper has it.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|FILE",
        help="A data set by name (see `sskd list`), or its dataset.json. Default: the scale's.",
    ),
]
Seeds = Annotated[
    int, typer.Option("--seeds", min=1, metavar="N", help="Run seeds 0 to N-1 of every variant.")
]
LabelFraction = Annotated[
    float | None,
    typer.Option(
        "--label-fraction",
        metavar="P",
        help="Share of the training images that keeps its labels, 0 < P <= 1.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a setting, such as contrast.weight=0.1 or tau=0.2; repeatable.",
    ),
]
PseudoLabels = Annotated[
    Path | None,
    typer.Option(
        "--pseudo-labels",
        metavar="FILE",
        help="A COCO result list of another teacher, for students to learn from instead of ours.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        metavar="N",
        help="Cells at the same time. Default: as many as the cores, or the GPUs, allow.",
    ),
]
Oversubscribe = Annotated[
    bool, typer.Option("--oversubscribe", help="Allow more threads than there are cores.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything, print the plan, compute nothing.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder of the report. Default: reports/<scale>-<data>, and settings other than the "
        "scale's own after it, such as +tau=0.1.",
    ),
]


def with_labels(settings: list[str] | None, labels: Path | None) -> tuple[str, ...]:
    """The user's settings, with ``--pseudo-labels`` as the setting that it stands for."""
    given = tuple(settings or ())
    return given if labels is None else (*given, f"pseudo_labels.file={labels}")


def examples(*commands: str) -> str:
    """The end of a command's help; a test runs or parses each."""
    return "\n".join(("\b", "Examples:", *(f"  {command}" for command in commands)))


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What the options of a launching command say, before anything is checked."""

    home: Path
    scale: str = "tiny"
    data: str | None = None
    label_fraction: float | None = None
    settings: tuple[str, ...] = ()
    seeds: int = SEEDS
    """At most, where they are added as needed."""
    until: float | None = None
    """Points of half an interval, where seeds are added as needed."""
    workers: int | None = None
    oversubscribe: bool = False

    def command(self, name: str) -> str:
        """The command that computes an ablation's cells, without what changes no number.

        ``ablate`` and ``report`` print the same one, so that their reports are equal.
        """
        return self.spell("ablate", name)

    def spell(self, *command: str) -> str:
        """A command with these options, without what changes no number."""
        words = ["sskd", *command]
        if self.scale != "tiny":
            words += ["--scale", self.scale]
        if self.data is not None:
            words += ["--data", self.data]
        if self.until is not None:
            words += ["--seeds", "auto", "--until", f"{self.until:g}"]
            words += ["--max-seeds", str(self.seeds)]
        elif self.seeds != SEEDS:
            words += ["--seeds", str(self.seeds)]
        if self.label_fraction is not None:
            words += ["--label-fraction", f"{self.label_fraction:g}"]
        for setting in self.settings:
            words += ["--set", setting]
        return shlex.join([*words, *self._spell_home()])

    def _spell_home(self) -> list[str]:
        """The home, if it is not where the command would look, and shortly where it can be."""
        cwd, home = Path.cwd(), self.home.expanduser().resolve()
        if home == Path(os.environ.get(_HOME_VARIABLE) or _HOME).expanduser().resolve():
            return []
        return ["--home", str(home.relative_to(cwd) if home.is_relative_to(cwd) else home)]
