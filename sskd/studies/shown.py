"""What MLflow shows already, read from its file without importing it, which takes seconds."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sskd.studies.cells import PlannedCell
from sskd.studies.lock import study_folder

__all__ = ["NOTE", "comparison_pages", "description", "in_order", "receipt"]

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as Markdown."""

MOST_RUNS = 60
"""Of a comparison: more make MLflow's page slow, and nobody reads them."""


def receipt(home: Path, experiment: str, cell: PlannedCell) -> Path:
    """Written when a cell's run is complete; names the run."""
    name = f"{cell.variant}-{cell.fingerprint[:16]}.json"
    return study_folder(home, experiment) / "shown" / name


def in_order(home: Path, experiment: str, cells: Iterable[PlannedCell]) -> bool:
    """Whether MLflow shows all these finished cells already, and no run of theirs is open.

    ``False`` if in doubt: then MLflow is opened and asked.
    """
    try:
        with closing(_open(home)) as database:
            rows = database.execute(
                "SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id)"
                " WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'",
                (f"sskd/{experiment}",),
            ).fetchall()
        status = dict(rows)
        runs = [
            json.loads(receipt(home, experiment, cell).read_text("utf-8"))["run_id"]
            for cell in cells
        ]
    except (sqlite3.Error, OSError, ValueError, KeyError):
        return False
    return "RUNNING" not in status.values() and all(status.get(r) == "FINISHED" for r in runs)


def description(home: Path, experiment: str) -> str:
    """What stands above a study's runs; nothing where there is no such study."""
    try:
        with closing(_open(home)) as database:
            row = database.execute(
                "SELECT value FROM experiment_tags JOIN experiments USING (experiment_id)"
                " WHERE experiments.name = ? AND key = ?",
                (f"sskd/{experiment}", NOTE),
            ).fetchone()
    except sqlite3.Error:
        return ""
    return "" if row is None else str(row[0])


def comparison_pages(home: Path) -> dict[str, str]:
    """The page of MLflow that compares a study's finished runs, newest first, by study.

    Returns:
        Name, such as ``ablate/negatives@tiny-toycity``, to the part of the address after the
        server's. Studies with fewer than two finished runs have none; nor has a file that cannot
        be read.
    """
    try:
        with closing(_open(home)) as database:
            rows = database.execute(
                "SELECT experiments.name, experiment_id, run_uuid FROM runs"
                " JOIN experiments USING (experiment_id) WHERE experiments.name LIKE 'sskd/%'"
                " AND runs.lifecycle_stage = 'active' AND runs.status = 'FINISHED'"
                " ORDER BY runs.start_time DESC"
            ).fetchall()
    except sqlite3.Error:
        return {}
    runs: dict[tuple[str, str], list[str]] = {}
    for name, experiment, run in rows:
        runs.setdefault((name.removeprefix("sskd/"), str(experiment)), []).append(run)
    return {
        name: f"/#/compare-runs?runs={_listed(found[:MOST_RUNS])}&experiments={_listed([identity])}"
        for (name, identity), found in sorted(runs.items())
        if len(found) > 1
    }


def _open(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(home / 'mlflow.db').resolve().as_uri()}?mode=ro", uri=True)


def _listed(names: list[str]) -> str:
    return quote(json.dumps(names, separators=(",", ":")), safe="[],")
