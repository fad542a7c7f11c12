import shutil
import threading
from collections import Counter
from pathlib import Path

import pytest
from fake_cell import STEPS, mask_ap, plan_cell, run_cell, said, set_options

from sskd.studies.cells import cells
from sskd.studies.controller import Study, StudyOutcome, run_ablations
from sskd.studies.databases import open_mlflow
from sskd.studies.declaration import Ablation, Variant
from sskd.studies.launches import Launched, Looks, read_launches
from sskd.studies.ledger import study_status
from sskd.studies.lock import StudyLocked, study_lock
from sskd.studies.shown import comparison_pages, description
from sskd.studies.tracking import TRAINING_METRICS

EXPERIMENT = "ablate/negatives@tiny-toycity"


@pytest.fixture
def two(negatives) -> Ablation:
    """Half of the shipped ablation: ``mask`` and ``fusion``."""
    variants = {name: negatives.variants[name] for name in ("mask", "fusion")}
    return negatives.model_copy(update={"variants": variants})


@pytest.fixture
def launch(home, two, tiny):
    """One launch with fake cells; the events are kept."""

    def launch(
        seeds: int = 1, *, changes=None, workers: int = 1, run=run_cell, where=home
    ) -> StudyOutcome:
        launch.events = []
        (outcome,) = run_ablations(
            [Study(two, cells(two, tiny, changes or {}, range(seeds)))],
            home=where,
            run_cell=run,
            plan_cell=plan_cell,
            workers=workers,
            progress=lambda what, done, total, **facts: launch.steps.append((what, done)),
            on_cell=launch.events.append,
        )
        assert outcome.tracking_error is None
        return outcome

    launch.steps = []
    return launch


def all_runs(home: Path) -> list:
    client = open_mlflow(home)
    experiment = client.get_experiment_by_name(f"sskd/{EXPERIMENT}")
    return list(client.search_runs([experiment.experiment_id]))


def runs(home: Path) -> dict:
    """MLflow's runs by name; each name stands once."""
    found = all_runs(home)
    by_name = {run.info.run_name: run for run in found}
    assert len(by_name) == len(found)
    return by_name


def history(home: Path, run, key: str) -> list[tuple[int, float]]:
    points = open_mlflow(home).get_metric_history(run.info.run_id, key)
    return [(point.step, point.value) for point in points]


def assert_whole(home: Path, found: dict) -> None:
    """Every run is finished, and has every step of every stage once, in order."""
    for run in found.values():
        assert run.info.status == "FINISHED"
        for stage in ("supervised", "transfer"):
            steps = [step for step, _ in history(home, run, f"{stage}/loss")]
            assert steps == list(range(1, STEPS + 1))
        assert len(history(home, run, "final/mask_ap")) == 1


def test_mlflow_says_where_in_the_paper_the_numbers_stand(home, two, tiny):
    assert two.source is not None
    source = two.source.model_copy(update={"table": "figure 3"})
    ablation = two.model_copy(update={"source": source})
    run_ablations(
        [Study(ablation, cells(ablation, tiny, {}, [0]))],
        home=home,
        run_cell=run_cell,
        plan_cell=plan_cell,
        progress=lambda *_, **__: None,
        on_cell=lambda _: None,
    )
    assert f"\n{source.paper}, figure 3: " in description(home, EXPERIMENT)


def test_every_cell_runs_once_and_is_shown_whole(home, launch, two, tiny):
    outcome = launch(seeds=2)
    assert (outcome.name, outcome.done, outcome.reused, outcome.failed) == (EXPERIMENT, 4, 0, [])
    names = [f"{variant}/s{seed}" for seed in range(2) for variant in two.variants]
    assert said(home, "finish") == names
    assert [event.cell.name for event in launch.events if event.state == "done"] == names
    assert [event.settled for event in launch.events if event.state == "done"] == [1, 2, 3, 4]
    shown = runs(home)
    assert set(shown) == set(names)
    assert_whole(home, shown)
    planned = {cell.name: cell for cell in cells(two, tiny, {}, range(2))}
    for name, run in shown.items():
        config = planned[name].config
        assert run.data.metrics["final/mask_ap"] == mask_ap(config)
        assert run.data.metrics["eval/supervised_mask_ap"] == mask_ap(config)
        assert "final/mask_ap_small" not in run.data.metrics  # undefined: no small instance
        assert run.data.params["variant"] == planned[name].variant
        assert run.data.params["seed"] == str(config.seed)
        assert run.data.params["contrast.negatives.score"] == planned[name].variant
        assert run.data.params["contrast.temperature"] == "0.2"
        assert run.data.tags["sskd.is_reference"] == str(planned[name].variant == "fusion").lower()
        datasets = {d.dataset.name: d.tags[0].value for d in run.inputs.dataset_inputs}
        assert datasets == {"toycity-train": "train", "toycity-val": "eval"}
    differing = {
        key
        for key in shown["mask/s0"].data.params
        if len({run.data.params[key] for run in shown.values()}) > 1
    }
    assert differing == {"variant", "seed", "contrast.negatives.score"}
    run_id = shown["mask/s0"].info.run_id
    artifacts = {artifact.path for artifact in open_mlflow(home).list_artifacts(run_id)}
    assert artifacts == {"config.yaml", "result.json", "samples.png"}
    assert len(list((home / "artifacts").rglob(f"{run_id}/artifacts/*"))) == 3


def test_the_comparison_is_of_the_settings_that_were_launched_last(home, launch):
    launch(seeds=2)
    before = comparison_pages(home)[EXPERIMENT]
    launch(changes={"contrast.weight": 0.5})
    page = comparison_pages(home)[EXPERIMENT]
    assert sum(run.info.run_id in page for run in all_runs(home)) == 2
    assert not any(run.info.run_id in page and run.info.run_id in before for run in all_runs(home))
    launch()  # nothing is left to run, and one seed of two is asked for
    assert comparison_pages(home)[EXPERIMENT] == before


def test_a_shared_stage_is_replayed_into_every_run_that_reuses_it(home, launch):
    launch()
    shown = runs(home)
    reused = {name: run.data.tags["sskd.reused_stages"] for name, run in shown.items()}
    assert reused == {"mask/s0": "", "fusion/s0": "supervised"}
    assert_whole(home, shown)
    first, second = (history(home, run, "supervised/loss") for run in shown.values())
    assert first == second


def test_the_final_model_is_offered_once_where_its_weights_are(home, launch):
    launch()
    (home / "studies" / "ablate-negatives@tiny-toycity" / "shown").rename(home / "forgotten")
    launch()  # finishes every run again
    client = open_mlflow(home)
    experiment = client.get_experiment_by_name(f"sskd/{EXPERIMENT}")
    models = client.search_logged_models([experiment.experiment_id])
    assert {model.source_run_id for model in models} == {r.info.run_id for r in runs(home).values()}
    assert sorted(model.name for model in models) == ["fusion-s0", "mask-s0"]
    for model in models:
        place = Path(model.tags["sskd.weights"])
        assert place.name == "weights.safetensors"
        assert place.parent.is_dir()
        assert place.parent.name.startswith("transfer-")
        assert model.status.value == "READY"


def test_few_metric_keys_and_only_finite_values(home, launch):
    launch()
    run = runs(home)["mask/s0"]
    stages = 5  # pretraining to refinement
    assert stages * len(TRAINING_METRICS) + len(run.data.metrics) - 6 <= 60
    assert "transfer/valid_anchors" not in run.data.metrics
    assert [step for step, _ in history(home, run, "transfer/margin")] == [*range(2, STEPS + 1)]


def test_a_finished_study_ends_at_once(home, launch, monkeypatch):
    launch()
    monkeypatch.setattr("sskd.studies.tracking.open_mlflow", None)  # would fail if it were called
    outcome = launch()
    assert (outcome.done, outcome.reused) == (2, 2)
    assert {event.state for event in launch.events} == {"reused"}
    assert all(event.result["final"]["mask_ap"] >= 0 for event in launch.events)
    assert len(said(home, "start")) == 2


def test_more_seeds_run_only_the_new_ones(home, launch):
    launch(seeds=1)
    outcome = launch(seeds=3)
    assert (outcome.done, outcome.reused) == (6, 2)
    assert Counter(said(home, "start")) == dict.fromkeys(runs(home), 1)
    (status,) = study_status(home)
    assert (status.name, status.done, status.pending) == (EXPERIMENT, 6, 0)
    assert launch(seeds=2).total == 4
    assert len(said(home, "start")) == 6


def test_a_failed_cell_stops_no_other_and_is_tried_again(home, launch):
    set_options(home, fail=["mask/s0"])
    outcome = launch()
    assert (outcome.done, len(outcome.failed)) == (1, 1)
    assert outcome.failed[0].error == "RuntimeError: the card melted"
    run = runs(home)["mask/s0"]
    assert run.info.status == "FAILED"
    assert run.data.tags["sskd.fail_reason"] == "RuntimeError: the card melted"
    (status,) = study_status(home)
    assert (status.done, status.failed, status.pending) == (1, 1, 0)
    assert status.failures == (("mask/s0", "RuntimeError: the card melted"),)
    log = home / "studies" / "ablate-negatives@tiny-toycity" / "controller.log"
    assert 'raise RuntimeError("the card' in log.read_text()

    assert len(launch().failed) == 1  # once a launch
    assert Counter(said(home, "start"))["mask/s0"] == 2
    set_options(home)
    assert (launch().done, study_status(home)[0].failed) == (2, 0)
    again = runs(home)["mask/s0"]
    assert again.info.run_id == run.info.run_id
    assert again.data.tags["sskd.fail_reason"] == ""
    assert again.data.tags["sskd.attempt"] == "3"
    assert_whole(home, runs(home))


def test_an_interrupted_cell_waits_and_goes_on_in_the_same_run(home, launch):
    set_options(home, stop_at=["mask/s0", "transfer", 13])
    with pytest.raises(KeyboardInterrupt):
        launch()
    killed = runs(home)["mask/s0"]
    assert killed.info.status == "KILLED"
    assert [step for step, _ in history(home, killed, "transfer/loss")] == [*range(1, 13)]
    (status,) = study_status(home)
    assert (status.done, status.running, status.pending, status.failed) == (0, 0, 2, 0)
    set_options(home)
    assert launch().done == 2
    assert_whole(home, runs(home))
    assert runs(home)["mask/s0"].info.run_id == killed.info.run_id
    assert max(Counter(said(home, "stage")).values()) == 1


def test_what_a_smaller_launch_does_not_want_leaves_the_queue(home, launch):
    set_options(home, stop_at=["mask/s0", "transfer", 1])
    with pytest.raises(KeyboardInterrupt):
        launch(seeds=2)
    assert study_status(home)[0].pending == 4
    set_options(home)
    assert launch(seeds=1).done == 2
    assert (study_status(home)[0].done, study_status(home)[0].pending) == (2, 0)
    assert launch(seeds=2).done == 4
    assert len(said(home, "finish")) == 4


def test_files_come_first(home, launch, databases, tmp_path):
    """A deleted result is wanted again; what ledger and view forgot is entered from the files."""
    launch()
    (Path(runs(home)["mask/s0"].data.tags["sskd.folder"]) / "result.json").unlink()
    outcome = launch()
    assert (outcome.done, outcome.reused) == (2, 1)
    assert_whole(home, runs(home))

    moved = tmp_path / "moved"
    shutil.copytree(home, moved)
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(databases / name, moved / name)
    assert launch(where=moved).reused == 2
    assert_whole(moved, runs(moved))
    assert study_status(moved)[0].done == 2
    assert len(said(moved, "start")) == 3


def test_a_second_controller_is_refused(home, launch):
    ready, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with study_lock(home, EXPERIMENT):
            ready.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    ready.wait(30)
    try:
        with pytest.raises(StudyLocked, match=rf"{EXPERIMENT} is already running \(process \d+"):
            launch()
    finally:
        leave.set()
        thread.join()
    assert not said(home, "start")


def test_other_settings_are_another_plan_in_the_same_experiment(home, launch):
    launch()
    launch(changes={"contrast.weight": 0.5})
    statuses = study_status(home)
    assert len(statuses) == 2
    assert all(status.name == f"{EXPERIMENT}#{status.plan}" for status in statuses)
    assert [status.done for status in statuses] == [2, 2]
    client = open_mlflow(home)
    experiment = client.get_experiment_by_name(f"sskd/{EXPERIMENT}")
    found = client.search_runs([experiment.experiment_id])
    assert Counter(run.data.params["contrast.weight"] for run in found) == {"0.2": 2, "0.5": 2}


def test_trouble_with_mlflow_costs_no_result(home, launch, monkeypatch):
    def broken(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("sskd.studies.tracking.CellRun.finish", broken)
        with pytest.raises(AssertionError, match="disk full"):
            launch()
    assert study_status(home)[0].done == 2
    assert launch().reused == 2
    assert_whole(home, runs(home))


@pytest.mark.parametrize(
    "place",
    [
        "sskd.studies.ledger.Ledger.complete",
        "sskd.studies.tracking.CellRun.finish",
        "sskd.studies.tracking.write_json_atomic",
    ],
)
def test_a_kill_between_result_and_books_is_made_good(home, launch, monkeypatch, place):
    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, die)
        with pytest.raises(Killed):
            launch()
    # A launch of another plan finds the orphans too.
    launch(changes={"contrast.weight": 0.5})
    assert all(status.running == 0 for status in study_status(home))
    assert launch().done == 2
    client = open_mlflow(home)
    experiment = client.get_experiment_by_name(f"sskd/{EXPERIMENT}")
    found = client.search_runs([experiment.experiment_id])
    assert_whole(home, {run.info.run_id: run for run in found})
    assert len(found) == len(said(home, "start")) == len(said(home, "finish")) == 4


def test_a_running_cell_is_mirrored_and_nothing_twice(home, launch, monkeypatch):
    monkeypatch.setattr("sskd.studies.mirror.SECONDS", 0.0)
    monkeypatch.setattr("sskd.studies.mirror.SHARE", 1e9)
    seen = []

    def watched(config, *, home, log, progress):
        def look(stage, step, metrics):
            log(stage, step, metrics)
            if step == 10:
                (run,) = (r for r in runs(home).values() if r.info.status == "RUNNING")
                seen.append(len(history(home, run, f"{stage}/loss")))

        run_cell(config, home=home, log=look, progress=progress)

    launch(run=watched)
    assert seen == [10] * 3  # one teacher, two students
    assert_whole(home, runs(home))


def test_workers_run_several_cells_and_share_stages(home, launch):
    set_options(home, die=["mask/s0"], fail=["fusion/s1"], seconds=0.002)
    outcome = launch(seeds=2, workers=2)
    assert outcome.done == 2
    assert {event.cell.name: event.error for event in outcome.failed} == {
        "mask/s0": "its process died (exit code 7)",
        "fusion/s1": "RuntimeError: the card melted",
    }
    assert max(Counter(said(home, "stage")).values()) == 1
    assert {what.split(": ")[1] for what, _ in launch.steps} == {"supervised", "transfer"}
    set_options(home)
    assert launch(seeds=2, workers=2).done == 4
    assert_whole(home, runs(home))


def test_a_cell_without_result_is_a_failed_cell(home, launch):
    outcome = launch(run=lambda config, **_: None)
    assert [event.error for event in outcome.failed] == ["it ended without a result"] * 2


@pytest.mark.parametrize(("seeds", "workers", "words"), [(0, 1, "seeds"), (1, 0, "workers")])
def test_a_users_mistake_is_one_line(launch, seeds, workers, words):
    with pytest.raises(ValueError, match=words):
        launch(seeds, workers=workers)


def test_workers_begin_with_different_seeds(home, launch):
    """Cells of one seed share a teacher: the second worker takes another seed's."""
    set_options(home, seconds=0.01)
    launch(seeds=2, workers=2)
    begun = [event.cell.seed for event in launch.events if event.state == "started"]
    assert sorted(begun[:2]) == [0, 1]
    assert max(Counter(said(home, "stage")).values()) == 1


@pytest.fixture
def both(home, two, tiny):
    """One launch of two ablations that share ``fusion`` and nothing else."""
    other = two.model_copy(update={"name": "other", "variants": dict(two.variants)})
    del other.variants["mask"]
    other.variants["class"] = Variant(label="C", changes={"contrast.negatives.score": "class"})

    def both(*, workers: int = 1) -> tuple[list[StudyOutcome], list]:
        events = []
        outcomes = run_ablations(
            [Study(ablation, cells(ablation, tiny, {}, [0])) for ablation in (two, other)],
            home=home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            workers=workers,
            progress=lambda what, done, total, **facts: None,
            on_cell=events.append,
        )
        return outcomes, events

    return both


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cell_of_two_ablations_runs_once_and_stands_in_both(home, both, workers):
    outcomes, events = both(workers=workers)
    assert [(o.name, o.done, o.failed) for o in outcomes] == [
        (EXPERIMENT, 2, []),
        ("ablate/other@tiny-toycity", 2, []),
    ]
    assert Counter(said(home, "start")) == {"mask/s0": 1, "fusion/s0": 1, "class/s0": 1}
    done = [(e.study, e.cell.name) for e in events if e.state == "done"]
    assert sorted(done) == [
        ("negatives", "fusion/s0"),
        ("negatives", "mask/s0"),
        ("other", "class/s0"),
        ("other", "fusion/s0"),
    ]
    assert [status.done for status in study_status(home)] == [2, 2]
    client = open_mlflow(home)
    for name in ("negatives", "other"):
        experiment = client.get_experiment_by_name(f"sskd/ablate/{name}@tiny-toycity")
        found = client.search_runs([experiment.experiment_id])
        assert_whole(home, {run.info.run_name: run for run in found})
        assert len(found) == 2


def test_an_interrupted_launch_of_two_puts_the_cell_back_in_both(home, both):
    set_options(home, stop_at=["fusion/s0", "transfer", 7])
    with pytest.raises(KeyboardInterrupt):
        both()
    assert [(s.done, s.running, s.pending) for s in study_status(home)] == [(1, 0, 1), (0, 0, 2)]
    set_options(home, fail=["fusion/s0"])
    outcomes, _ = both()
    assert [[event.error for event in o.failed] for o in outcomes] == [
        ["RuntimeError: the card melted"]
    ] * 2
    assert Counter(said(home, "start"))["fusion/s0"] == 2
    set_options(home)
    assert [outcome.done for outcome in both()[0]] == [2, 2]
    assert [outcome.reused for outcome in both()[0]] == [2, 2]
    assert Counter(said(home, "finish")) == {"mask/s0": 1, "fusion/s0": 1, "class/s0": 1}


def test_cells_that_are_planned_are_not_planned_again(home, two, tiny):
    planned = cells(two, tiny, {}, [0])
    plans = [plan_cell(cell.config, home=home) for cell in planned]

    def refuse(config, *, home):
        raise AssertionError("planned again")

    (outcome,) = run_ablations(
        [Study(two, planned, plans)],
        home=home,
        run_cell=run_cell,
        plan_cell=refuse,
        progress=lambda *_, **__: None,
        on_cell=lambda _: None,
    )
    assert (outcome.done, outcome.failed) == (2, [])


def test_what_is_wanted_is_known_later_and_what_failed_just_now_is_left(home, two, tiny):
    looks = Looks.up_to(10, until=0.5)
    set_options(home, fail=["mask/s1"])

    def again(seeds, failed):
        (outcome,) = run_ablations(
            [Study(two, cells(two, tiny, {}, range(seeds)), looks=looks, failed=failed)],
            home=home,
            run_cell=run_cell,
            plan_cell=plan_cell,
            progress=lambda *_, **__: None,
            on_cell=lambda _: None,
        )
        assert [event.cell.name for event in outcome.failed] == ["mask/s1"]
        return {event.cell.fingerprint: event.error for event in outcome.failed}

    failed = again(2, {})
    assert again(3, failed) == failed
    assert Counter(said(home, "start"))["mask/s1"] == 1
    assert Counter(said(home, "finish"))["mask/s2"] == 1
    first = plan_cell(cells(two, tiny, {}, [0])[0].config, home=home).fingerprint
    assert read_launches(home, EXPERIMENT)[first] == Launched(seeds=3, looks=looks)
    (status,) = study_status(home)
    assert (status.done, status.failed) == (5, 1)
