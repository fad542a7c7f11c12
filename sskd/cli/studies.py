"""Commands that look at what there is: ``list``, ``status``, ``ui``."""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from sskd.cli.console import print_table, say
from sskd.cli.options import Home

__all__ = ["list_", "status", "ui"]


def list_(
    models: Annotated[
        bool, typer.Option("--models", help="Models and their sizes instead; no weights needed.")
    ] = False,
    home: Home = Path("runs"),
) -> None:
    """Ablations with the paper's table, sweeps, data sets, and scales.

    Add your own by adding a file to experiments/ or sweeps/ in the working directory.
    """
    if models:
        from sskd.cli.models import print_models

        print_models(Path.cwd())
        return
    from sskd.config import SCALES, load_scale
    from sskd.studies.declaration import find_declarations
    from sskd.studies.efficiency import EFFICIENCY, load_efficiency

    figure = load_efficiency(Path.cwd())
    rows = [_ablation_row(name, path) for name, path in find_declarations(Path.cwd()).items()]
    # Teacher and student, measured without any cell.
    rows.append((EFFICIENCY, figure.source.place, "2", "0", figure.question))
    print_table(("ablation", "paper", "variants", "cells a seed", "question"), sorted(rows))
    say(f"`sskd bench models --report` measures {EFFICIENCY}, `sskd ablate` every other one")
    say("")
    sweeps = sorted(find_declarations(Path.cwd(), "sweeps").items())
    print_table(("sweep", "varies", "question"), [_sweep_row(name, path) for name, path in sweeps])
    say("")
    # As `sskd.data.datasets.list_datasets` says, which takes seconds to import.
    added = {path.parent.name: str(path.parent) for path in home.glob("data/*/dataset.json")}
    print_table(
        ("data set", "where"),
        sorted(({"toycity": "made on first use"} | added).items()),
    )
    say("")
    bases = {name: load_scale(name) for name in SCALES}
    print_table(
        ("scale", "data", "deviations and readings"),
        [
            (name, str(base["data"]["name"]), str(len(base["deviations"])))
            for name, base in bases.items()
        ],
    )


def _ablation_row(name: str, path: Path) -> tuple[str, ...]:
    from sskd.studies.declaration import load_declaration

    try:
        ablation = load_declaration(path)
    except ValueError as error:  # one broken file must not hide the others
        return name, "-", "-", "-", f"broken: {error}"
    table = ablation.source.place if ablation.source else "-"
    counts = (str(len(ablation.variants)), str(len(ablation.run)))
    return name, table, *counts, ablation.question


def _sweep_row(name: str, path: Path) -> tuple[str, str, str]:
    from sskd.studies.sweep_files import Grid, load_sweep_file

    try:
        sweep = load_sweep_file(path)
    except ValueError as error:
        return name, "-", f"broken: {error}"
    if isinstance(sweep, Grid):
        return name, f"{sweep.param}: {len(sweep.values)} values", sweep.question
    short = ", ".join(key.rpartition(".")[2] for key in sweep.space)
    return name, f"{short}: {sweep.trials} trials", sweep.question


def status(home: Home = Path("runs")) -> None:
    """Studies: cells done, running, pending, failed."""
    from sskd.studies.ledger import study_status

    studies = study_status(home)
    if not studies:
        say(f"no study in {home} yet; begin one with `sskd ablate negatives`")
        return
    print_table(
        ("study", "done", "running", "pending", "failed"),
        [(s.name, str(s.done), str(s.running), str(s.pending), str(s.failed)) for s in studies],
    )
    for study in studies:
        for cell, reason in study.failures:
            say(f"failed: {study.name} {cell}: {reason}")


def ui(
    port: Annotated[
        int, typer.Option("--port", min=1, max=65535, metavar="N", help="On this machine only.")
    ] = 5000,
    home: Home = Path("runs"),
) -> None:
    """Open MLflow on what was tracked, the light way.

    Prints a link to the comparison of each study's runs: those of the settings it was last launched
    with. Each report links to the comparison of its own.
    """
    from sskd.studies.shown import comparison_pages

    database = home / "mlflow.db"
    if not database.is_file():
        raise ValueError(f"nothing was tracked in {home} yet: there is no {database.name}")
    say(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it); from another machine:")
    say(f"  ssh -L {port}:localhost:{port} {socket.gethostname()}")
    for name, page in comparison_pages(home).items():
        say(f"runs of {name}, compared:\n  http://127.0.0.1:{port}{page}")
    # Four workers and the job runner would take over a gigabyte for one reader.
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--backend-store-uri", f"sqlite:///{database}"]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted
