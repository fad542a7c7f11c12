"""A home with hand-made cells: no training, no model, every number chosen by the test."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle

from sskd.config import digest, load_scale
from sskd.engine.stages import FINAL_STAGE
from sskd.reporting.analysis import analyse
from sskd.reporting.report import Written, write_report
from sskd.studies.cells import PlannedCell, cells, experiment_name, identify
from sskd.studies.declaration import Ablation
from sskd.studies.shown import receipt

SIZE = 48


@dataclass
class Home:
    """Writes records as the engine would."""

    path: Path
    ablation: Ablation
    cells: list[PlannedCell] = field(default_factory=list)

    def plan(
        self, seeds: int, *, scale: str = "tiny", data: str = "street", **changes: Any
    ) -> list[PlannedCell]:
        base = load_scale(scale)
        own = {key.replace("__", "."): value for key, value in changes.items()}
        planned = cells(self.ablation, base, {"data.name": data} | own, range(seeds))
        self.cells = identify(planned, lambda config: digest(config.identity()))
        return self.cells

    @staticmethod
    def box(left: int, top: int, width: int, height: int) -> np.ndarray:
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[top : top + height, left : left + width] = 1
        return mask

    @staticmethod
    def detection(image: int, mask: np.ndarray, score: float, category: int = 26) -> dict[str, Any]:
        segmentation = encode(mask)
        return {
            "image_id": image,
            "category_id": category,
            "segmentation": segmentation,
            "score": score,
        }

    def cell(self, variant: str, seed: int) -> PlannedCell:
        return next(c for c in self.cells if (c.variant, c.seed) == (variant, seed))

    def write(
        self,
        cell: PlannedCell,
        ap: float | None,
        *,
        ap50: float | None = None,
        sha256: str = "d" * 64,
        environment: Mapping[str, Any] | None = None,
        history: list[dict[str, float]] | None = None,
        predictions: list[dict[str, Any]] | None = None,
        official: float | None = None,
    ) -> None:
        final = FINAL_STAGE[cell.config.pipeline.final]
        teacher, trained = digest(["teacher", cell.seed]), digest([final, cell.fingerprint])
        evaluation = digest(["evaluate", cell.fingerprint])
        stages = [
            stage("supervised", teacher, seconds=300.0, steps=200, peak=700 * 2**20),
            stage(final, trained, seconds=60.0, steps=400, peak=500 * 2**20),
            stage(f"evaluate_{final}", evaluation, seconds=4.0),
        ]
        keys = ("mask_ap", "mask_ap50", "mask_ap75", "mask_ap_small", "mask_ap_medium")
        values = [ap, ap50 if ap50 is not None else ap, ap, ap, ap]
        metrics = dict(zip(keys, values, strict=True)) | {"mask_ap_large": None}
        if official is not None:
            metrics |= {"cityscapes_ap": official, "cityscapes_ap50": 2 * official}
        dump(
            self.path / "cells" / cell.fingerprint[:16] / "spec.json",
            {
                "fingerprint": cell.fingerprint,
                "config": cell.config.model_dump(mode="json"),
                "stages": [{"name": s["name"], "key": s["key"]} for s in stages],
                "dataset": "street",
                "sha256": sha256,
                "split_sha256": "e" * 64,
            },
        )
        per_class = {"car": ap, "train": None}
        dump(
            self.path / "cells" / cell.fingerprint[:16] / "result.json",
            {
                "fingerprint": cell.fingerprint,
                "final": metrics,
                "stages": stages,
                "evaluations": {final: metrics | {"per_class": per_class}},
                "seconds": 70.0,
                "environment": environment or {"torch": "2.8.0", "python": "3.11", "threads": 2},
            },
        )
        if history is not None:
            path = self.path / "store" / f"{final}-{trained[:16]}" / "metrics.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in history))
        if predictions is not None:
            folder = self.path / "store" / f"evaluate_{final}-{evaluation[:16]}"
            dump(folder / "predictions.json", predictions)

    def show(self, cells: Sequence[PlannedCell], *, status: str = "FINISHED") -> list[str]:
        """Runs of cells, as far as MLflow's file is read; gives their identities."""
        experiment = experiment_name(self.ablation.name, cells[0].config)
        with closing(sqlite3.connect(self.path / "mlflow.db")) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS experiments (experiment_id, name)")
            database.execute(
                "CREATE TABLE IF NOT EXISTS"
                " runs (run_uuid, experiment_id, status, lifecycle_stage, start_time)"
            )
            database.execute("DELETE FROM experiments")
            database.execute("INSERT INTO experiments VALUES (7, ?)", (f"sskd/{experiment}",))
            for cell in cells:
                run = digest(["run", cell.fingerprint, status])[:32]
                row = (run, 7, status, "active", cell.seed)
                database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?)", row)
                dump(receipt(self.path, experiment, cell), {"run_id": run})
        return [digest(["run", cell.fingerprint, status])[:32] for cell in cells]

    def report(self, out: Path, **facts: Any) -> Written:
        """What is planned and written so far, as a report."""
        analysis = analyse(self.ablation, self.cells, home=self.path)
        return write_report(analysis, home=self.path, out=out, **facts)


def stage(name: str, key: str, *, seconds: float, **facts: int) -> dict[str, Any]:
    return {
        "name": name,
        "key": key,
        "reused": False,
        "seconds": seconds,
        "steps": facts.get("steps"),
        "peak_memory_bytes": facts.get("peak"),
    }


def dump(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def encode(mask: np.ndarray) -> dict[str, Any]:
    code = rle.encode(np.asfortranarray(mask))
    return {"size": code["size"], "counts": code["counts"].decode()}
