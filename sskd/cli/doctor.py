"""``sskd doctor``: is this installation able to run a study?"""

import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from sskd.cli.console import print_table
from sskd.cli.errors import USER_MISTAKE
from sskd.cli.options import Data, Home, LaunchOptions, Settings

__all__ = ["MISSING", "Check", "available_cores", "doctor"]

MISSING = "missing"
"""State of what a launch would not find."""

MIN_FREE_BYTES = 2 * 1024**3
"""Less than this is no fault yet, but checkpoints may soon fill the disk."""


class Check(NamedTuple):
    """One thing looked at."""

    name: str
    state: str
    """``ok``, ``warning`` (works, worth knowing), ``fault`` (repair it first), or ``missing``."""
    detail: str


def available_cores() -> int:
    """Cores that this process may use, which in a container are fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def doctor(
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="tiny|small|paper",
            help="Also look for the data set and the checkpoints that a launch would need.",
        ),
    ] = None,
    data: Data = None,
    settings: Settings = None,
    home: Home = Path("runs"),
) -> None:
    """Check the installation.

    Versions, extras, threads, the home folder, its databases, the disk. With --scale, --data or
    --set also what such a launch would need: data set and checkpoints, which are looked for on
    this machine and not loaded. Exits with 1 if there is a fault, with 2 if something is missing.
    """
    from sskd.config import load_scale

    threads = int(load_scale("tiny")["numerics"]["threads"])
    checks = [
        _python(),
        *_packages(),
        _torch(),
        _threads(threads, available_cores()),
        _home(home),
        *(_database(home / name) for name in ("mlflow.db", "optuna.db")),
        _disk(home),
    ]
    if scale is not None or data is not None or settings:
        from sskd.cli.reach import launch_checks

        options = LaunchOptions(
            home=home, scale=scale or "tiny", data=data, settings=tuple(settings or ())
        )
        checks += launch_checks(options)
    print_table(("check", "state", "detail"), checks)
    states = {check.state for check in checks}
    if states & {"fault", MISSING}:
        raise typer.Exit(1 if "fault" in states else USER_MISTAKE)


def _python() -> Check:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Check("python", "ok", f"{version} at {sys.executable}")


def _packages() -> list[Check]:
    """What the project's own metadata asks for: each requirement, then each extra as a whole."""
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(text) for text in metadata.requires("sskd") or ()]
        checks = [Check("sskd", "ok", metadata.version("sskd"))]
    except metadata.PackageNotFoundError:
        return [Check("sskd", "fault", "not installed; run: pip install -e .")]
    problems = {}
    for requirement in requirements:
        name, wanted = requirement.name, requirement.specifier
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems[name] = "missing"
        else:
            if not wanted.contains(version, prereleases=True):
                problems[name] = f"{version}, but {wanted} is needed"
        if requirement.marker is None:
            problem = problems.get(name)
            detail = f"{problem}; run: pip install '{name}{wanted}'" if problem else version
            checks.append(Check(name, "fault" if problem else "ok", detail))
    for extra in metadata.metadata("sskd").get_all("Provides-Extra") or ():
        mine = [r.name for r in requirements if r.marker and r.marker.evaluate({"extra": extra})]
        lacks = ", ".join(f"{name} {problems[name]}" for name in mine if name in problems)
        detail = f"optional: {lacks}; pip install 'sskd[{extra}]'" if lacks else "installed"
        checks.append(Check(f"extra {extra}", "ok", detail))
    return checks


def _torch() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return Check("compute", "fault", f"torch does not import: {' '.join(str(error).split())}")
    if torch.cuda.is_available():
        return Check("compute", "ok", f"CUDA: {torch.cuda.get_device_name()}")
    return Check("compute", "ok", "CPU only")


def _threads(threads: int, cores: int) -> Check:
    """Whether one cell of the default scale fits, and how many do."""
    detail = f"a tiny cell computes with {threads}; cores: {cores}"
    if threads > cores:
        return Check("threads", "warning", f"{detail}, so it takes longer")
    return Check("threads", "ok", f"{detail}, so --workers up to {cores // threads}")


def _home(home: Path) -> Check:
    """Writable, found out by writing; a home that is not there yet is left so."""
    place = home
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("home", "fault", f"{place} cannot be written: {error.strerror}")
    return Check("home", "ok", f"{home}{'' if place == home else ' (made on first use)'}")


def _database(path: Path) -> Check:
    if not path.exists():
        return Check(path.name, "ok", "not there yet")
    try:
        # Read only: a look must never make, repair or migrate anything.
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=20)
        try:
            (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return Check(path.name, "fault", f"{error}; the cells' files hold everything: move it away")
    return Check(path.name, "ok" if answer == "ok" else "fault", f"integrity: {answer}")


def _disk(home: Path) -> Check:
    place = home
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    state = "ok" if free >= MIN_FREE_BYTES else "warning"
    return Check("disk", state, f"{free / 1024**3:.1f} GB free")
