"""What MLflow shows already, read from its file without importing it, which takes seconds."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sskd.engine.store import write_json_atomic
from sskd.studies.cells import PlannedCell
from sskd.studies.lock import study_folder

__all__ = [
    "NOTE",
    "PORT",
    "Shown",
    "comparison_pages",
    "description",
    "in_order",
    "keep_plan",
    "receipt",
    "shown_cells",
]

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as Markdown."""

PORT = 5000
"""Of ``sskd ui``, unless its user says another one."""

MOST_RUNS = 60
"""Of a comparison: more make MLflow's page slow, and nobody reads them."""


@dataclass(frozen=True)
class Shown:
    """Finished cells as MLflow has them."""

    experiment: str
    """As MLflow calls it: ``sskd/ablate/negatives@tiny-toycity``."""
    identity: str
    """MLflow's, of the experiment."""
    runs: tuple[str, ...]
    """MLflow's identities, in the order of the cells; one or more."""

    @property
    def page(self) -> str:
        """The page that compares them: the part of the address after the server's.

        The part after ``#`` never reaches a server, so that nothing but the browser bounds it.
        """
        return f"/#/compare-runs?runs={_listed(self.runs)}&experiments={_listed([self.identity])}"


def receipt(home: Path, experiment: str, cell: PlannedCell) -> Path:
    """Written when a cell's run is complete; names the run."""
    return _receipts(home, experiment) / _name(cell)


def in_order(home: Path, experiment: str, cells: Sequence[PlannedCell]) -> bool:
    """Whether MLflow shows all these finished cells already, and no run of theirs is open.

    ``False`` if in doubt: then MLflow is opened and asked.
    """
    try:
        _, status = _runs(home, experiment)
    except sqlite3.Error:
        return False
    finished = _finished(home, experiment, map(_name, cells), status)
    return "RUNNING" not in status.values() and len(finished) == len(cells)


def shown_cells(home: Path, experiment: str, cells: Iterable[PlannedCell]) -> Shown | None:
    """The cells' finished runs; ``None`` where there is none, or the file cannot be read."""
    return _shown(home, experiment, map(_name, cells))


def keep_plan(home: Path, experiment: str, plan: str, cells: Iterable[PlannedCell]) -> None:
    """Write down which cells the last launch's plan has, earlier launches of the plan included.

    A cell's run cannot say it: one run may stand in several plans. Call under the study's lock.
    """
    path = _plans_file(home, experiment)
    kept = _read(path)
    plans = dict(kept.get("plans", {}))
    plans[plan] = [*dict.fromkeys([*plans.get(plan, []), *map(_name, cells)])]
    wanted = {"last": plan, "plans": plans}
    if kept != wanted:
        write_json_atomic(path, wanted)


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
    """The page of MLflow that compares the finished runs of a study's last plan, by study.

    Where no plan is known, as of single cells, those of all finished runs, the newest first.

    Returns:
        Name, such as ``ablate/negatives@tiny-toycity``, to ``Shown.page``. Studies with fewer than
        two such runs have none; nor has a file that cannot be read.
    """
    try:
        with closing(_open(home)) as database:
            rows = database.execute(
                "SELECT name FROM experiments WHERE name LIKE 'sskd/%' ORDER BY name"
            ).fetchall()
    except sqlite3.Error:
        return {}
    pages = {}
    for experiment in (name.removeprefix("sskd/") for (name,) in rows):
        kept = _read(_plans_file(home, experiment))
        shown = _shown(home, experiment, kept.get("plans", {}).get(kept.get("last")))
        if shown is not None and len(shown.runs) > 1:
            # The first seeds are whole comparisons.
            pages[experiment] = replace(shown, runs=shown.runs[:MOST_RUNS]).page
    return pages


def _shown(home: Path, experiment: str, names: Iterable[str] | None) -> Shown | None:
    """Of cells by the names of their receipts; without names, of all."""
    try:
        identity, status = _runs(home, experiment)
    except sqlite3.Error:
        return None
    if names is None:
        runs = [run for run, state in status.items() if state == "FINISHED"]
    else:
        runs = _finished(home, experiment, names, status)
    return Shown(f"sskd/{experiment}", identity, tuple(runs)) if runs else None


def _runs(home: Path, experiment: str) -> tuple[str, dict[str, str]]:
    """MLflow's identity of an experiment, empty where it has no run; each run's status by run.

    The newest run first.
    """
    with closing(_open(home)) as database:
        rows = database.execute(
            "SELECT experiment_id, run_uuid, status FROM runs JOIN experiments USING"
            " (experiment_id) WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'"
            " ORDER BY runs.start_time DESC",
            (f"sskd/{experiment}",),
        ).fetchall()
    return str(rows[0][0]) if rows else "", {run: status for _, run, status in rows}


def _finished(
    home: Path, experiment: str, names: Iterable[str], status: Mapping[str, str]
) -> list[str]:
    """The runs that receipts name and MLflow has as finished."""
    folder = _receipts(home, experiment)
    runs = [str(_read(folder / name).get("run_id")) for name in names]
    return [run for run in runs if status.get(run) == "FINISHED"]


def _read(path: Path) -> dict[str, Any]:
    """What a file of ours says; nothing where it is broken or not there."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _receipts(home: Path, experiment: str) -> Path:
    return study_folder(home, experiment) / "shown"


def _plans_file(home: Path, experiment: str) -> Path:
    return study_folder(home, experiment) / "plans.json"


def _name(cell: PlannedCell) -> str:
    return f"{cell.variant}-{cell.fingerprint[:16]}.json"


def _open(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{(home / 'mlflow.db').resolve().as_uri()}?mode=ro", uri=True)


def _listed(names: Sequence[str]) -> str:
    return quote(json.dumps(names, separators=(",", ":")), safe="[],")
