"""What a cell leaves on disk while it runs: the truth that ledger and view are made from.

``home/cells/<fingerprint[:16]>/`` has ``spec.json`` from the start and ``result.json`` at the end;
``home/store/<stage>-<key[:16]>/`` has ``metrics.jsonl``, with ``.partial`` behind its name until
the stage is finished.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sskd.engine.store import WEIGHTS, Store, read_metrics

__all__ = ["CellFiles"]

METRICS = "metrics.jsonl"


class CellFiles:
    """The files of one cell, read anew at every call."""

    def __init__(self, home: Path, fingerprint: str) -> None:
        self.folder = home / "cells" / fingerprint[:16]
        self._fingerprint = fingerprint
        self._store = Store(home / "store")

    def spec(self) -> dict[str, Any] | None:
        """What the cell was started with; ``None`` before it has been."""
        return self._read("spec.json")

    def result(self) -> dict[str, Any] | None:
        """The result of a finished cell, with a finite ``final.mask_ap``; ``None`` of any other."""
        result = self._read("result.json")
        if result is None:
            return None
        final = result.get("final")
        ap = final.get("mask_ap") if isinstance(final, dict) else None
        return result if isinstance(ap, int | float) and math.isfinite(ap) else None

    def histories(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Each stage's name and the lines of its metric history so far, in the order of stages."""
        for stage in (self.spec() or {}).get("stages", ()):
            final = self._store.path(stage["key"], stage["name"])
            # A stage that is committed between the two looks is found at the next call.
            folder = final if final.is_dir() else final.with_name(f"{final.name}.partial")
            rows = read_metrics(folder / METRICS)
            if rows:
                yield stage["name"], list(rows)

    def weights(self, name: str, key: str) -> Path:
        """Where a stage's weights are once it has finished."""
        return (self._store.path(key, name) / WEIGHTS).resolve()

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        mine = isinstance(content, dict) and content.get("fingerprint") == self._fingerprint
        return content if mine else None
