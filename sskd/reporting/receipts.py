"""What a report was made of, kept in the home, so that it is not made again from the same.

``home/reports/`` has a file for each format of a report, with a digest of everything that the
report shows or is drawn from, and the hash of each file that was written. It can be deleted: the
report is then made anew, with the same bytes.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from sskd import __version__
from sskd.config import digest
from sskd.engine.store import write_json_atomic
from sskd.reporting.analysis import Analysis, Arm
from sskd.reporting.pictured import choose_predictions, val_pictures
from sskd.reporting.records import history_file
from sskd.studies.shown import Shown

__all__ = ["Receipt", "made_of"]

_LIBRARIES = ("faster-coco-eval", "jinja2", "matplotlib", "numpy", "pillow", "scipy")
"""They compute, draw and render; another version may do it otherwise."""


class Receipt:
    """Of one format of a report in one folder.

    Args:
        home: Where it is kept.
        out: The report's folder.
        name: The report's.
        form: The ending of its format.
        made_of: What the report would be made of now.
    """

    def __init__(self, home: Path, out: Path, name: str, form: str, made_of: str) -> None:
        folder = digest(str(out.resolve()))[:16]
        self._path = home / "reports" / folder / f"{name}.{form}.json"
        self._out, self._made_of = out, made_of

    def holds(self) -> bool:
        """Whether the report is there as it was written, and would be written the same."""
        try:
            kept = json.loads(self._path.read_text("utf-8"))
            return bool(kept["made_of"] == self._made_of) and all(
                _hash_now(self._out / name) == known for name, known in kept["files"].items()
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False

    def write(self, names: Iterable[str]) -> None:
        """Keep what was written: the names of the report's files.

        A home that cannot be written costs the receipt, not the report.
        """
        files = {name: _hash_now(self._out / name) for name in names}
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self._path, {"made_of": self._made_of, "files": files})


def made_of(
    analysis: Analysis,
    *,
    home: Path,
    command: str,
    failures: Mapping[str, str],
    shown: Shown | None,
) -> str:
    """A digest of all that a report is made of, whatever its format.

    The declaration, the cells with their configs and records, the files that the figures are drawn
    from, the words that the caller adds, the runs in MLflow, and the code that makes a report of
    all that.
    """
    content = {
        "code": _code(),
        "ablation": analysis.ablation.model_dump(mode="json", exclude={"path"}),
        "metrics": analysis.metrics,
        "looks": analysis.looks and analysis.looks.model_dump(mode="json"),
        "earlier": analysis.earlier,
        "arms": [_arm(arm) for arm in analysis.rows],
        "histories": _histories(analysis, home),
        "pictures": _pictures(analysis, home),
        "command": command,
        "failures": dict(failures),
        "shown": shown and [shown.experiment, shown.page],
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "name": arm.name,
        "titles": [arm.label, arm.title, arm.group],
        "cells": [[c.seed, c.fingerprint, c.config.model_dump(mode="json")] for c in arm.cells],
        "records": [[s, r.model_dump(mode="json")] for s, r in arm.records.items()],
        "paper": arm.paper,
        "remarks": [arm.absent, arm.stand_in],
        "ends": arm.ends,
    }


def _histories(analysis: Analysis, home: Path) -> list[str | None]:
    trained = [record.trained for record in analysis.records]
    return [_hash(history_file(home, stage)) for stage in trained if stage is not None]


def _pictures(analysis: Analysis, home: Path) -> Any:
    """Predictions by content; pictures, of which there may be many, by size and time."""
    try:
        seed, files = choose_predictions(analysis, home)
        data, pictures = val_pictures(analysis, seed, home)
    except (ValueError, OSError) as error:
        return str(error)
    predictions = {name: _hash(path) for name, path in files.items()}
    return [seed, predictions, data, [[path.name, *_stamp(path)] for path in pictures]]


def _hash(path: Path) -> str | None:
    """Of a file that does not change once it is there: each is read once a launch."""
    size, time = _stamp(path)
    return None if size is None else _hash_at(path, size, time)


@cache
def _hash_at(path: Path, _size: int, _time: int | None) -> str | None:
    return _hash_now(path)


def _hash_now(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _stamp(path: Path) -> tuple[int | None, int | None]:
    """Bytes, and nanoseconds of the last change; nothing where there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None, None
    return found.st_size, found.st_mtime_ns


@cache
def _code() -> str:
    """Whatever makes a report: our own files by content, libraries by version."""
    folder = Path(str(resources.files("sskd"))) / "reporting"
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".j2"))
    own = [[path.relative_to(folder).as_posix(), _hash_now(path)] for path in files]
    return digest([__version__, own, [metadata.version(name) for name in _LIBRARIES]])
