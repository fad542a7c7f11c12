"""The ``sskd`` command, assembled from its groups.

Nothing heavy is imported here or in the groups: each command imports what it needs when it runs,
so that ``sskd --help`` answers at once.
"""

from typing import Annotated

import typer

import sskd
from sskd.cli import bench, data
from sskd.cli.doctor import doctor
from sskd.cli.errors import Commands
from sskd.cli.evaluate import evaluate
from sskd.cli.launch import ablate, plan, train
from sskd.cli.options import examples
from sskd.cli.report import report
from sskd.cli.studies import list_, status, ui
from sskd.cli.sweep import sweep

__all__ = ["app", "main"]

app = typer.Typer(
    name="sskd",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # the same plain help on a terminal and in a pipe
    pretty_exceptions_enable=False,  # `Commands` ends every exception
    epilog=examples("sskd doctor", "sskd ablate negatives --seeds 1"),
)

app.command("list", epilog=examples("sskd list", "sskd list --models"))(list_)
app.command(
    epilog=examples(
        "sskd ablate negatives",
        "sskd ablate negatives --seeds 1 --label-fraction 0.05",
        "sskd ablate negatives --data mine --set contrast.weight=0.1 --dry-run",
    )
)(ablate)
app.command(
    epilog=examples(
        "sskd sweep --param tau",
        "sskd sweep --param lambda --values 0.05,0.1,0.2 --seeds 1",
        "sskd sweep --param stages.transfer.optimizer.learning_rate --range 5e-4:4e-3:log",
        "sskd sweep contrast --trials 12",
    )
)(sweep)
app.command(epilog=examples("sskd plan negatives", "sskd plan negatives --seeds 5"))(plan)
app.command(epilog=examples("sskd status", "sskd status --home /data/runs"))(status)
app.command(
    epilog=examples(
        "sskd report",
        "sskd report negatives --format md,tex,html",
        "sskd report negatives --seeds 1 --out report/",
    )
)(report)
app.command(
    epilog=examples(
        "sskd train",
        "sskd train --seed 1 --set tau=0.1",
        "sskd train --set pipeline.teacher=none --set pipeline.final=transfer",
    )
)(train)
app.command(
    epilog=examples(
        "sskd evaluate 1f3c9a2b",
        "sskd evaluate runs/store/pretraining-0a1b2c3d4e5f6071 --data toycity",
    )
)(evaluate)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
app.command(epilog=examples("sskd ui", "sskd ui --port 5001 --home /data/runs"))(ui)
app.command(epilog=examples("sskd doctor", "sskd doctor --scale tiny --data toycity"))(doctor)


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"sskd {sskd.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Distil foundation models into compact instance segmenters, and ablate how."""


def main() -> None:
    """Run the command line; the entry point of the console script."""
    app()
