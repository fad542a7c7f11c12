"""The view of a study in MLflow: an experiment a study, a run a cell, made from the cell's files.

Everything goes through ``MlflowClient`` with explicit ids and an absolute URI; the fluent API keeps
state in threads and in the environment. A metric point is never stored twice, although MLflow would
keep both: its own last step of a stage is asked for when a run is opened, and earlier points are
left out. One level only, without parent runs: MLflow's charts take a parent for one more arm.
"""

import json
import math
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sskd import __version__
from sskd.config import flatten
from sskd.engine.stages import FINAL_STAGE
from sskd.engine.store import write_json_atomic
from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell
from sskd.studies.databases import open_mlflow
from sskd.studies.lock import study_folder
from sskd.studies.shown import NOTE, description, receipt

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["TRAINING_METRICS", "CellRun", "Tracker", "show_results"]

TRAINING_METRICS = (
    "loss",
    "loss_sup",
    "loss_semi",
    "loss_pxl",
    "grad_norm",
    "learning_rate",
    "margin",
    "false_negative_rate",
    "images_per_second",
)
"""What of a stage's history is shown. MLflow draws a chart a key, and more than 60 drown a page."""

MAX_POINTS = 2000
"""Of a curve; a longer history is thinned."""

BATCH = 1000
"""Metrics that MLflow stores in one transaction."""

RESULTS = "**Results**"
"""Stands above them in an experiment's description."""

MOST_CHARACTERS = 7900
"""MLflow cuts a tag at 8,000."""

Point = tuple[str, float, int, int]
"""Key, value, time in milliseconds, step."""


class Tracker:
    """The MLflow experiment of a study."""

    def __init__(self, home: Path, experiment: str, *, tags: Mapping[str, str]) -> None:
        """Open or make the experiment; call under the study's lock.

        Args:
            home: Of the study.
            experiment: See ``experiment_name``; MLflow's has ``sskd/`` before it.
            tags: Of the experiment; ``mlflow.note.content`` is shown as Markdown.

        Raises:
            ValueError: If MLflow's file cannot be used, or the user deleted the experiment.
        """
        self.client = open_mlflow(home)
        self._home, self._experiment = home, experiment
        name = f"sskd/{experiment}"
        known = self.client.get_experiment_by_name(name)
        if known is not None and known.lifecycle_stage == "deleted":
            self.client.restore_experiment(known.experiment_id)
        artifacts = home.resolve() / "artifacts" / study_folder(home, experiment).name
        self.experiment_id: str = (
            known.experiment_id
            if known is not None
            # Without a location of our own it depends on where the first command was started.
            else self.client.create_experiment(name, artifact_location=artifacts.as_uri())
        )
        shown = known.tags if known is not None else {}
        wanted = {"sskd.kind": "ablation", "sskd.home": str(home.resolve()), **tags}
        for key, value in wanted.items():
            if shown.get(key) != value:
                self.client.set_experiment_tag(self.experiment_id, key, value)

    def close_orphans(self) -> None:
        """Mark as killed every run that is still open: we hold the lock, so nobody works on it."""
        for run in self._search("attributes.status = 'RUNNING'"):
            self.client.set_tag(run.info.run_id, "sskd.fail_reason", "its controller was killed")
            self.client.set_terminated(run.info.run_id, "KILLED")

    def open_run(self, cell: PlannedCell, tags: Mapping[str, str]) -> "CellRun":
        """The run of a cell, made if there is none: one for all attempts.

        Args:
            cell: Identified.
            tags: What is true of this attempt.
        """
        tags = {
            "sskd.role": "cell",
            "sskd.study": self._experiment,
            "sskd.fingerprint": cell.fingerprint,
            "sskd.variant": cell.variant,
            "sskd.version": __version__,
            "sskd.host": socket.gethostname(),
            "sskd.owner": f"{socket.gethostname()}:{os.getpid()}",
            "sskd.device": cell.config.runtime.device,
            "sskd.folder": str((self._home / "cells" / cell.fingerprint[:16]).resolve()),
            "mlflow.source.name": f"sskd {self._experiment.replace('/', ' ')}",
            "mlflow.source.type": "LOCAL",
            **tags,
        }
        runs = self._search(
            f"tags.`sskd.fingerprint` = '{cell.fingerprint}'"
            f" and tags.`sskd.variant` = '{cell.variant}'"
        )
        if runs:
            run = runs[0]
            self.client.update_run(run.info.run_id, status="RUNNING")
            self._log_params(run.info.run_id, cell, known=run.data.params)
            # The reason of an earlier attempt is none of this one's.
            _log(self.client, run.info.run_id, tags={**tags, "sskd.fail_reason": ""})
        else:
            run = self.client.create_run(self.experiment_id, run_name=cell.name, tags=tags)
            self._log_params(run.info.run_id, cell, known={})
        return CellRun(
            self.client, run, cell, self._home, receipt(self._home, self._experiment, cell)
        )

    def _log_params(self, run_id: str, cell: PlannedCell, known: Mapping[str, str]) -> None:
        """Constant ones too: only then do runs of several launches compare fully."""
        values = flatten(cell.config.identity()) | {
            "scale": cell.config.scale,
            "variant": cell.variant,
        }
        params = {key: _spell(value) for key, value in values.items() if key not in known}
        _log(self.client, run_id, params=params)

    def _search(self, query: str) -> list[Any]:
        found: list[Any] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], query, page_token=token)
            found += page
            token = page.token
            if not token:
                return found


class CellRun:
    """The MLflow run of one cell, open from its making to ``finish``, ``fail`` or ``interrupt``."""

    def __init__(
        self, client: "MlflowClient", run: Any, cell: PlannedCell, home: Path, receipt: Path
    ) -> None:
        self.id: str = run.info.run_id
        self._client, self._cell, self._receipt = client, cell, receipt
        self._files = CellFiles(home, cell.fingerprint)
        self._known = set(run.data.metrics)
        self._steps: dict[str, int] = {}
        self._described = False

    def mirror(self) -> int:
        """Bring over what the cell's stages have logged since the last call.

        Stages that came from the store bring the history of when they were computed.

        Returns:
            The number of new points.
        """
        self._describe()
        points = 0
        for stage, rows in self._files.histories():
            training = getattr(self._cell.config.stages, stage, None)
            steps = training.steps if training is not None else rows[-1]["step"]
            gap = math.ceil(steps / MAX_POINTS)
            batch: list[Point] = []
            last = self._last_step(stage)
            for row in rows:
                # A resumed stage repeats steps after its checkpoint, with the same values.
                if row["step"] - last < gap:
                    continue
                shown = _shown(stage, row)
                if len(batch) + len(shown) > BATCH:  # a step whole or not at all
                    self._send(stage, batch, last)
                    batch = []
                batch += shown
                last = row["step"]
                points += len(shown)
            self._send(stage, batch, last)
        return points

    def finish(self, result: Mapping[str, Any]) -> None:
        """Log the cell's result and close the run.

        Args:
            result: The content of ``result.json``.
        """
        self.mirror()
        now = time.time_ns() // 1_000_000
        values = {f"final/{name}": value for name, value in result["final"].items()}
        for stage, metrics in result.get("evaluations", {}).items():
            values[f"eval/{stage}_mask_ap"] = metrics.get("mask_ap")
        values["cost/seconds"] = sum(stage["seconds"] for stage in result.get("stages", ()))
        new = {k: float(v) for k, v in values.items() if _finite(v) and k not in self._known}
        stages = result.get("stages", ())
        environment = result.get("environment", {})
        tags = {"sskd.reused_stages": ", ".join(s["name"] for s in stages if s.get("reused"))}
        if "torch" in environment:
            tags["sskd.torch"] = str(environment["torch"])
        _log(self._client, self.id, metrics=[(k, v, now, 0) for k, v in new.items()], tags=tags)
        for name in ("result.json", "samples.png"):
            path = self._files.folder / name
            if path.is_file():
                self._client.log_artifact(self.id, str(path))
        self._offer_model(result)
        self._client.set_terminated(self.id, "FINISHED")
        self._receipt.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(self._receipt, {"run_id": self.id, "fingerprint": self._cell.fingerprint})

    def _offer_model(self, result: Mapping[str, Any]) -> None:
        """The final model under MLflow's models: where its weights are, not a copy of them."""
        from mlflow.entities import LoggedModelOutput

        run = self._client.get_run(self.id)
        final = FINAL_STAGE[self._cell.config.pipeline.final]
        stage = next((s for s in result.get("stages", ()) if s["name"] == final), None)
        if stage is None or (run.outputs and run.outputs.model_outputs):
            return
        model = self._client.create_logged_model(
            run.info.experiment_id,
            # MLflow refuses points and other marks, which values such as 0.1 bring into names.
            name=re.sub(r"[^A-Za-z0-9_-]+", "-", self._cell.name),
            source_run_id=self.id,
            params={"stage": final, "fingerprint": self._cell.fingerprint},
            tags={"sskd.weights": str(self._files.weights(stage["name"], stage["key"]))},
            model_type="instance-segmenter",
        )
        self._client.finalize_logged_model(model.model_id, "READY")
        self._client.log_outputs(self.id, [LoggedModelOutput(model.model_id, step=0)])

    def fail(self, error: str) -> None:
        """Close the run with the line that says why."""
        self._end("FAILED", error)

    def interrupt(self) -> None:
        """Close the run; the cell goes on in a later launch, and so does the run."""
        self._end("KILLED", "interrupted")

    def _end(self, status: str, reason: str) -> None:
        self.mirror()
        self._client.set_tag(self.id, "sskd.fail_reason", reason[:5000])
        self._client.set_terminated(self.id, status)

    def _last_step(self, stage: str) -> int:
        """MLflow's own answer, not ours: a kill may have come between its file and any of ours."""
        if stage not in self._steps:
            keys = [key for key in self._known if key.startswith(f"{stage}/")]
            steps = [
                point.step
                for key in keys
                for point in self._client.get_metric_history(self.id, key)
            ]
            self._steps[stage] = max(steps, default=0)
        return self._steps[stage]

    def _send(self, stage: str, points: list[Point], last: int) -> None:
        _log(self._client, self.id, metrics=points)
        self._steps[stage] = last

    def _describe(self) -> None:
        """Config and data set, once the cell has written them."""
        spec = None if self._described else self._files.spec()
        if spec is None:
            return
        from mlflow.entities import Dataset, DatasetInput, InputTag

        config = self._files.folder / "config.yaml"
        if config.is_file():
            self._client.log_artifact(self.id, str(config))
        source = json.dumps({"tags": {"split_sha256": str(spec.get("split_sha256"))}})
        digest = str(spec["sha256"])[:32]
        measured = "held-out" if spec.get("held_out_images") else "val"
        # Two names: MLflow keeps one use of a data set a run.
        inputs = [
            DatasetInput(
                Dataset(f"{spec['dataset']}-{part}", digest, "code", source),
                tags=[InputTag("mlflow.data.context", context)],
            )
            for part, context in (("train", "train"), (measured, "eval"))
        ]
        self._client.log_inputs(self.id, inputs)
        self._described = True


def show_results(home: Path, experiment: str, table: str) -> None:
    """Put a study's results below its description; MLflow is opened only if they are not there.

    Args:
        home: Of the study.
        experiment: See ``experiment_name``.
        table: Markdown.
    """
    shown = description(home, experiment)
    head = shown.partition(RESULTS)[0]
    wanted = f"{head.strip()}\n\n{RESULTS}\n\n{table.strip()}"[:MOST_CHARACTERS]
    if shown == wanted:
        return
    client = open_mlflow(home)
    known = client.get_experiment_by_name(f"sskd/{experiment}")
    if known is not None:
        client.set_experiment_tag(known.experiment_id, NOTE, wanted)


def _shown(stage: str, row: Mapping[str, Any]) -> list[Point]:
    when = int(row["time"] * 1000)
    return [
        (f"{stage}/{name}", float(row[name]), when, row["step"])
        for name in TRAINING_METRICS
        if _finite(row.get(name))
    ]


def _finite(value: object) -> bool:
    """MLflow would store infinity as the largest number there is."""
    return isinstance(value, int | float) and math.isfinite(value)


def _spell(value: object) -> str:
    """One spelling for a value: MLflow refuses a parameter that changes when it is logged again."""
    return value if isinstance(value, str) else json.dumps(value)


def _log(
    client: "MlflowClient",
    run_id: str,
    *,
    metrics: Iterable[Point] = (),
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
) -> None:
    """In one transaction of each kind: one by one, a thousand points take seconds."""
    from mlflow.entities import Metric, Param, RunTag

    points = [Metric(*point) for point in metrics]
    assert len(points) <= BATCH
    if points:
        client.log_batch(run_id, metrics=points)
    if params or tags:
        client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in (params or {}).items()],
            tags=[RunTag(key, value) for key, value in (tags or {}).items()],
        )
