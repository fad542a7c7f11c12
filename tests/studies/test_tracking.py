import json
from collections import Counter
from dataclasses import replace

import pytest
from fake_cell import STEPS, plan_cell, run_cell

from sskd.config import build_config
from sskd.engine.cityscapes import OFFICIAL_KEYS
from sskd.engine.run import AP_KEYS
from sskd.engine.stages import plan_stages
from sskd.studies import tracking
from sskd.studies.cell_files import CellFiles
from sskd.studies.cells import PlannedCell, cells, identify
from sskd.studies.tracking import TRAINING_METRICS, Tracker

EXPERIMENT = "ablate/negatives@tiny-toycity"


@pytest.fixture
def cell(home, negatives, tiny):
    """A finished cell on disk, of which MLflow knows nothing."""
    planned = cells(negatives, tiny, {}, [0])[:1]
    (cell,) = identify(planned, lambda config: plan_cell(config, home=home).fingerprint)
    run_cell(cell.config, home=home, log=lambda *_: None, progress=lambda *_, **__: None)
    return cell


@pytest.fixture
def tracker(home) -> Tracker:
    return Tracker(home, EXPERIMENT, tags={"mlflow.note.content": "why"})


def steps(tracker: Tracker, run_id: str, key: str) -> list[int]:
    return [point.step for point in tracker.client.get_metric_history(run_id, key)]


def test_a_run_opened_again_takes_only_what_it_lacks(tracker, cell):
    first = tracker.open_run(cell, {"sskd.attempt": "1"})
    assert first.mirror() == 2 * STEPS * 3 - 2  # loss, learning rate, margin without its first
    assert first.mirror() == 0
    again = tracker.open_run(cell, {"sskd.attempt": "2"})  # as a new process would
    assert again.id == first.id
    assert again.mirror() == 0
    assert steps(tracker, first.id, "transfer/loss") == [*range(1, STEPS + 1)]


@pytest.mark.parametrize("sent", [1, 2, 3])
def test_a_kill_between_two_batches_loses_no_point_and_doubles_none(
    tracker, cell, monkeypatch, sent
):
    class Killed(BaseException):
        pass

    log, calls = tracking._log, Counter()

    def dying(client, run_id, *, metrics=(), params=None, tags=None):
        calls["metrics"] += bool(metrics)
        if calls["metrics"] > sent:
            raise Killed
        log(client, run_id, metrics=metrics, params=params, tags=tags)

    run = tracker.open_run(cell, {})
    monkeypatch.setattr(tracking, "BATCH", 40)  # 13 steps of three metrics, and one metric over
    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_log", dying)
        with pytest.raises(Killed):
            run.mirror()
    assert steps(tracker, run.id, "supervised/loss")
    tracker.open_run(cell, {}).mirror()
    for stage in ("supervised", "transfer"):
        for name in ("loss", "learning_rate"):
            assert steps(tracker, run.id, f"{stage}/{name}") == [*range(1, STEPS + 1)]


def test_a_long_history_is_thinned(tracker, cell, monkeypatch):
    gap = 4
    planned = cell.config.stages.transfer.steps
    monkeypatch.setattr(tracking, "MAX_POINTS", planned // gap)
    run = tracker.open_run(cell, {})
    run.mirror()
    tracker.open_run(cell, {}).mirror()
    assert steps(tracker, run.id, "transfer/loss") == [*range(gap, STEPS + 1, gap)]


def test_a_run_left_open_is_closed_and_goes_on(tracker, cell, home):
    run = tracker.open_run(cell, {})
    again = Tracker(home, EXPERIMENT, tags={})
    again.close_orphans()
    info = again.client.get_run(run.id)
    assert info.info.status == "KILLED"
    assert info.data.tags["sskd.fail_reason"] == "its controller was killed"
    assert again.open_run(cell, {}).id == run.id
    info = again.client.get_run(run.id)
    assert (info.info.status, info.data.tags["sskd.fail_reason"]) == ("RUNNING", "")


def test_an_experiment_that_was_deleted_in_the_ui_comes_back(tracker, cell, home):
    run = tracker.open_run(cell, {})
    tracker.client.delete_experiment(tracker.experiment_id)
    again = Tracker(home, EXPERIMENT, tags={})
    assert again.experiment_id == tracker.experiment_id
    assert again.client.get_run(again.open_run(cell, {}).id).info.lifecycle_stage == "active"
    assert run.id


def test_the_experiment_says_what_it_is_about(tracker):
    experiment = tracker.client.get_experiment(tracker.experiment_id)
    assert experiment.name == f"sskd/{EXPERIMENT}"
    assert experiment.tags["mlflow.note.content"] == "why"
    assert experiment.artifact_location.startswith("file:///")


def test_a_value_in_a_variants_name_costs_no_model(home, tracker, cell):
    cell = replace(cell, variant="tau=0.1")
    tracker.open_run(cell, {}).finish(CellFiles(home, cell.fingerprint).result())
    (model,) = tracker.client.search_logged_models([tracker.experiment_id])
    assert model.name == "tau-0-1-s0"


def test_a_run_never_has_more_than_60_charts(home, tiny, tracker):
    deepest = {
        "pipeline.teacher": "adapted",
        "pipeline.final": "refinement",
        "evaluation.cityscapes": True,
    }
    config = build_config(tiny, deepest)
    stages = plan_stages(config, data_sha="d" * 64, split_sha="5" * 64)
    trained = [stage for stage in stages if stage.kind == "train"]
    assert [s.name for s in trained] == list(type(config.stages).model_fields)  # every one there is
    fingerprint = "f" * 64
    folder = home / "cells" / fingerprint[:16]
    folder.mkdir(parents=True)
    logged = dict.fromkeys((*TRAINING_METRICS, "background_rate", "sampling_entropy"), 0.5)
    for stage in trained:
        done = home / "store" / f"{stage.name}-{stage.key[:16]}"
        done.mkdir(parents=True)
        (done / "metrics.jsonl").write_text(json.dumps({"step": 1, "time": 1.0, **logged}) + "\n")
    known = [{"name": stage.name, "key": stage.key, "seconds": 1.0} for stage in trained]
    spec = {"fingerprint": fingerprint, "stages": known, "dataset": "city", "sha256": "d" * 64}
    (folder / "spec.json").write_text(json.dumps(spec))
    metrics = dict.fromkeys((*AP_KEYS, *OFFICIAL_KEYS), 0.3)
    evaluations = {stage.name: metrics for stage in trained}
    result = {"final": metrics, "evaluations": evaluations, "stages": known}

    run = tracker.open_run(PlannedCell("deep", 0, config, fingerprint), {})
    run.finish(result)
    shown = tracker.client.get_run(run.id).data.metrics
    assert {"pretraining/loss", "final/cityscapes_ap50", "cost/seconds"} <= set(shown)
    assert len(shown) <= 60, sorted(shown)
