import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from fake_cell import mask_ap, plan_cell, run_cell, said, set_options
from safetensors.numpy import save_file

from sskd.reporting.search_figures import draw_search
from sskd.reporting.search_report import write_search_report
from sskd.reporting.search_sections import search_summary
from sskd.studies.databases import open_mlflow
from sskd.studies.ledger import study_status
from sskd.studies.proposals import Found, importance, pareto_front, propose
from sskd.studies.search import _parameters, found_so_far, run_search
from sskd.studies.search_ledger import Entry, recorded_trials
from sskd.studies.search_plan import plan_search
from sskd.studies.shown import comparison_pages
from sskd.studies.sweep_files import Search, load_sweep, load_sweep_file

SPACE = {
    "tau": {"low": 0.05, "high": 0.8, "log": True},
    "num-negatives": {"low": 16, "high": 512, "log": True},
    "contrast.negatives.score": {"values": ["mask", "class", "fusion"]},
}


def declared(**fields) -> dict:
    return {
        "question": "Which?",
        "base": "student-transfer",
        "space": SPACE,
        "trials": 12,
        "startup": 4,
        "held_out": 0.25,
    } | fields


def make(**fields) -> Search:
    fields = declared(**fields) | {"name": "mine", "path": "sweeps/mine.yaml"}
    return Search.model_validate_json(json.dumps(fields))


@pytest.fixture
def launch(home, tiny, monkeypatch):
    """One launch with fake cells and without MLflow, which takes seconds."""

    def launch(trials, *, where=home, run=run_cell, changes=None, **fields):
        planned = plan_search(make(**fields), tiny, changes or {})
        launch.events, launch.planned = [], planned
        return run_search(
            planned,
            trials=trials,
            home=where,
            run_cell=run,
            plan_cell=plan_cell,
            progress=lambda *_, **__: None,
            on_trial=launch.events.append,
        ).entries

    nothing = SimpleNamespace(
        id="", mirror=lambda: 0, finish=lambda _: None, fail=lambda _: None, interrupt=lambda: None
    )
    tracker = SimpleNamespace(close_orphans=lambda: None, open_run=lambda *_: nothing)
    monkeypatch.setattr("sskd.studies.search_view.Tracker", lambda *_, **__: tracker)
    return launch


def sequence(entries) -> list[dict]:
    assert [*entries] == [*range(len(entries))]
    return [dict(entry.params) for entry in entries.values()]


def test_twelve_trials_are_five_and_then_seven(launch, home, tmp_path):
    whole = launch(12, where=tmp_path / "whole")
    assert len({str(params) for params in sequence(whole)}) == 12
    first = launch(5)
    assert sequence(first) == sequence(whole)[:5]
    both = launch(12)
    assert sequence(both) == sequence(whole)
    assert [e.values for e in both.values()] == [e.values for e in whole.values()]
    assert [event.state for event in launch.events] == ["known"] * 5 + ["started", "complete"] * 7
    assert len(said(home, "start")) == 12
    (status,) = study_status(home)
    assert (status.name, status.done, status.pending) == ("sweep/mine@tiny-toycity", 12, 0)


def test_the_base_comes_first_and_the_sampler_learns(launch, tmp_path, tiny):
    entries = launch(6)
    assert sequence(entries)[0] == {
        "contrast.temperature": 0.2,
        "contrast.num_negatives": 64,
        "contrast.negatives.score": "fusion",
    }
    planned = launch.planned
    found = [Found(e.params, e.values) for e in entries.values()]
    turned = [Found(f.params, (1 - f.values[0],)) for f in found]
    ask = [propose(planned.search, planned.space, history, place=6) for history in (found, turned)]
    assert ask[0] != ask[1]
    # Random trials know nothing of what was found.
    for place in (1, 2, 3):
        known = [history[:place] for history in (found, turned)]
        early = [propose(planned.search, planned.space, h, place=place) for h in known]
        assert early[0] == early[1] == sequence(entries)[place]
    other = launch(6, where=tmp_path / "other", sampler_seed=1)
    assert sequence(other)[1:] != sequence(entries)[1:]


def test_the_sampler_finds_what_is_best(tiny):
    planned = plan_search(make(), tiny, {})
    history: list[Found] = []
    for place in range(40):
        params = propose(planned.search, planned.space, history, place=place)
        off = abs(np.log(params["contrast.temperature"] / 0.5))
        history.append(Found(params, (float(1 - off),)))
    late = [abs(np.log(f.params["contrast.temperature"] / 0.5)) for f in history[25:]]
    assert np.median(late) < 0.3  # a random one is off by 0.9
    shares = importance(planned.space, history)
    assert next(iter(shares)) == "contrast.temperature"
    turned = [Found(f.params, (-f.values[0], 7.0)) for f in history]
    assert importance(planned.space, turned) != shares  # what makes AP high, not what makes it low


def test_trials_are_cells_on_held_out_labels_under_a_seed_of_their_own(launch, home):
    configs = []

    def run(config, **rest):
        configs.append(config)
        run_cell(config, **rest)

    entries = launch(3, run=run, changes={"contrast.weight": 0.5})
    for config, entry in zip(configs, entries.values(), strict=True):
        assert (config.data.held_out, config.seed) == (0.25, 1000)
        assert config.contrast.weight == 0.5
        assert config.contrast.temperature == entry.params["contrast.temperature"]
        assert entry.values == (mask_ap(config),)
        assert entry.fingerprint == plan_cell(config, home=home).fingerprint


@pytest.mark.parametrize("step", [1, 12])
def test_an_interrupted_search_goes_on_with_the_same_trial(launch, home, tmp_path, step):
    whole = launch(6, where=tmp_path / "whole")
    launch(2)
    score = whole[2].params["contrast.negatives.score"]
    set_options(home, stop_at=[f"{score}/s1000", "transfer", step])
    with pytest.raises(KeyboardInterrupt):
        launch(6)
    assert study_status(home)[0].pending == 1
    set_options(home)
    assert sequence(launch(6)) == sequence(whole)
    assert len(said(home, "finish")) == 6


def test_a_lost_ledger_is_made_again_from_the_cells(launch, home):
    before = launch(7)
    (home / "optuna.db").unlink()
    after = launch(7)
    assert sequence(after) == sequence(before)
    assert [e.values for e in after.values()] == [e.values for e in before.values()]
    assert len(said(home, "start")) == 7


def test_another_space_or_setting_is_another_search(launch, home):
    launch(2)
    launch(2, changes={"contrast.weight": 0.5})
    launch(2, startup=5)
    launch(3)  # how many is no part of what it is about
    assert len(study_status(home)) == 3


def test_a_failed_trial_is_tried_once_more_and_then_left_out(launch, home, tmp_path):
    whole = launch(6, where=tmp_path / "whole")
    bad, attempts = whole[2].fingerprint, []

    def run(config, *, home, log, progress):
        if plan_cell(config, home=home).fingerprint == bad:
            attempts.append(config)
            if len(attempts) < run.good_from:
                raise RuntimeError("no memory\nleft")
        run_cell(config, home=home, log=log, progress=progress)

    run.good_from = 2
    assert sequence(launch(6, where=tmp_path / "once", run=run)) == sequence(whole)
    assert len(attempts) == 2

    attempts.clear()
    run.good_from = 4
    entries = launch(6, run=run)
    assert entries[2].state == "failed"
    assert entries[2].error == "RuntimeError: no memory left"
    assert sequence(entries)[:3] == sequence(whole)[:3]
    assert [e.state for e in entries.values()].count("complete") == 5
    (status,) = study_status(home)
    assert status.failures == (("trial-2", "RuntimeError: no memory left"),)
    again = launch(6, run=run)  # a later launch tries it again; the others stay what they were
    assert again[2].state == "complete"
    assert sequence(again) == sequence(entries)


def test_a_hopeless_trial_is_given_up_after_its_short_schedule(launch, home, tmp_path, tiny):
    runs = []

    def run(config, **rest):
        runs.append(config.stages.transfer.steps)
        run_cell(config, **rest)

    pruning = {"share": 0.25, "startup": 3}
    entries = launch(10, run=run, pruning=pruning)
    steps = tiny["stages"]["transfer"]["steps"]
    assert set(runs) == {steps, round(steps / 4)}
    states = [e.state for e in entries.values()]
    assert states[:3] == ["complete"] * 3
    assert "pruned" in states
    assert runs.count(steps) == states.count("complete")
    for place, entry in entries.items():
        rivals = [e.early for p, e in entries.items() if p < place and e.state == "complete"]
        low = len(rivals) >= 3 and entry.early < np.median(rivals)
        assert (entry.state == "pruned") == low
    half = launch(4, where=tmp_path / "half", pruning=pruning)
    assert sequence(half) == sequence(entries)[:4]
    rest = launch(10, where=tmp_path / "half", pruning=pruning)
    assert [e.state for e in rest.values()] == states
    assert sequence(rest) == sequence(entries)
    assert study_status(home)[0].done == 10


def test_two_objectives_have_a_front(launch):
    entries = launch(6, objectives=["mask_ap", "seconds"])
    assert all(entry.values[1] == 0.5 for entry in entries.values())
    values = {0: (0.5, 9.0), 1: (0.4, 3.0), 2: (0.3, 4.0), 3: (0.2, 1.0), 4: None}
    found = {place: Found({}, value) for place, value in values.items()}
    assert pareto_front(found) == [0, 1, 3]


@pytest.mark.parametrize("objectives", [["mask_ap"], ["mask_ap", "parameters"]])
def test_the_pictures_have_a_panel_for_each_objective_and_setting(
    tiny, tmp_path, monkeypatch, objectives
):
    planned = plan_search(make(objectives=objectives), tiny, {})
    entries = {}
    for place in range(9):
        score = ("mask", "class", "fusion")[place % 3]
        params = {"contrast.temperature": 0.1 + place / 20, "contrast.num_negatives": 16 + place}
        params["contrast.negatives.score"] = score
        # AP rises with the temperature, and is bought with parameters but for the last trial's.
        values = (0.1 + place / 100, 1e6 * (place + 1 if place < 8 else 2.5))[: len(objectives)]
        entries[place] = Entry(place, place, "complete", params, f"{place:016}", values)
    drawn = {}

    def keep(canvas, path, endings):
        drawn[path.name] = canvas

    monkeypatch.setattr("sskd.reporting.search_figures.save", keep)
    figures = draw_search(planned, entries, tmp_path)
    assert [figure.stem for figure in figures] == [*drawn]
    axes = drawn["sweep-mine-slices"].axes
    names = ["tau", "num-negatives", "score"]
    rest = names if len(objectives) > 1 else []
    assert [a.get_xlabel() for a in axes] == [*names, "share of importance", *rest]
    assert [round(line.get_ydata()[0]) for line in axes[0].lines] == [*range(10, 19)]
    shares = importance(planned.space, [*found_so_far(entries).values()])
    assert [bar.get_width() for bar in axes[3].patches] == [*shares.values()]
    assert axes[3].texts[0].get_text() == "tau"
    if rest:
        assert [line.get_ydata()[0] for line in axes[4].lines] == [*map(float, range(1, 9)), 2.5]
        (front,) = drawn["sweep-mine-front"].axes
        assert [text.get_text() for text in front.texts] == ["0", "1", "8"]
    assert draw_search(planned, {}, tmp_path) == []


def test_the_summary_has_the_best_trials_and_says_what_they_are(launch):
    entries = launch(12, run=failing_at(3))
    text = search_summary(launch.planned, entries)
    assert "on the held-out images" in text
    assert "11 of 12 trials are complete; the best 10 of them:" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][2:]
    found = [float(row[4]) for row in rows]
    assert len(found) == 10
    assert found == sorted(found, reverse=True)
    assert search_summary(launch.planned, {}) == "No trial is complete yet."


def test_parameters_are_those_of_the_model_in_use(tmp_path):
    weights = {"encoder.a": np.zeros((2, 3), np.float32), "head.b": np.zeros(5, np.float32)}
    projection = {"projection.c": np.zeros(100, np.float32)}
    save_file(weights | projection, tmp_path / "weights.safetensors")
    assert _parameters(tmp_path) == 11


def test_the_report_says_what_the_numbers_are_and_how_to_confirm_them(launch, home, tmp_path):
    entries = launch(8, run=failing_at(3))
    assert importance(launch.planned.space, []) == {}
    facts = {"home": home, "command": "sskd sweep mine", "confirm": ["sskd train", "sskd ablate"]}
    path = write_search_report(launch.planned, entries, out=tmp_path / "a", **facts)
    text = path.read_text("utf-8")
    assert path.name == "sweep-mine.md"
    assert "not on val" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert sum("complete |" in row for row in rows) == 7
    assert "failed: RuntimeError: broken" in text
    best = max((e for e in entries.values() if e.values), key=lambda e: e.values)
    assert f"number {best.place}: " in text
    assert f"{100 * best.values[0]:.1f} AP on the held-out images" in text
    declaration = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    assert declaration["variants"]["winner"]["changes"] == dict(best.params)
    again = write_search_report(launch.planned, entries, out=tmp_path / "b", **facts)
    for name in ("sweep-mine.md", "sweep-mine-slices.png"):
        assert f"({name})" in text or name.endswith(".md")
        assert (tmp_path / "a" / name).read_bytes() == (again.parent / name).read_bytes()


def test_the_report_says_the_same_in_every_format(launch, home, tmp_path):
    entries = launch(8, run=failing_at(3), objectives=["mask_ap", "seconds"])
    assert (launch.planned.experiment, entries[3].state) == ("sweep/mine@tiny-toycity", "failed")
    facts = {"home": home, "command": "sskd sweep mine", "confirm": ["sskd train", "sskd ablate"]}
    formats = ("md", "tex", "html", "csv")
    for folder in ("a", "b"):
        out = tmp_path / folder
        write_search_report(launch.planned, entries, out=out, formats=formats, **facts)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    kinds = ("slices", "front")
    figures = {f"sweep-mine-{kind}.{ending}" for kind in kinds for ending in ("png", "pdf")}
    assert files.keys() == {f"sweep-mine.{form}" for form in formats} | figures
    for entry in entries.values():
        shown = f"{100 * entry.values[0]:.1f}" if entry.values else "RuntimeError: broken"
        assert all(shown in files[f"sweep-mine.{form}"].decode() for form in formats[:3])
    rows = list(csv.DictReader(io.StringIO(files["sweep-mine.csv"].decode())))
    assert [int(row["trial"]) for row in rows] == [*entries]
    for row, entry in zip(rows, entries.values(), strict=True):
        assert row["state"] == entry.state
        assert row["contrast.num_negatives"] == str(entry.params["contrast.num_negatives"])
        known = (float(row["mask_ap"]), float(row["seconds"])) if row["mask_ap"] else None
        assert known == entry.values
    assert rows[3]["error"] == "RuntimeError: broken"


def test_recorded_trials_are_those_of_the_launch_and_reading_makes_nothing(launch, home, tmp_path):
    assert recorded_trials(tmp_path, "sweep/mine@tiny-toycity", "0") == {}
    assert not (tmp_path / "optuna.db").exists()
    entries = launch(3)
    planned = launch.planned
    plan = planned.identity(plan_cell(planned.config, home=home).fingerprint)
    assert recorded_trials(home, planned.experiment, plan) == entries
    assert recorded_trials(home, planned.experiment, "other") == {}
    assert len(study_status(home)) == 1


def failing_at(number: int):
    """A cell that fails at its ``number``-th configuration, always."""
    seen: list[str] = []

    def run(config, *, home, log, progress):
        fingerprint = plan_cell(config, home=home).fingerprint
        if fingerprint not in seen:
            seen.append(fingerprint)
        if seen.index(fingerprint) == number:
            raise RuntimeError("broken")
        run_cell(config, home=home, log=log, progress=progress)

    return run


@pytest.mark.parametrize("name", ["contrast", "learning-rates", "student-size"])
@pytest.mark.parametrize("scale", ["tiny", "small", "paper"])
def test_every_shipped_space_fits_every_scale_and_holds_its_base(name, scale):
    from sskd.config import load_scale

    planned = plan_search(load_sweep(name, Path("/nowhere")), load_scale(scale), {})
    assert planned.space.holds_default


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spaces": {}}, ["unknown field 'spaces'", "'space'"]),
        ({"space": {}}, ["space", "at least 1"]),
        ({"space": {"tau": {"low": 1}}}, ["space.tau", "both low and high"]),
        ({"space": {"tau": {"low": 2, "high": 1}}}, ["space.tau", "low 2 must be below high 1"]),
        ({"space": {"tau": {"low": 0, "high": 1, "log": True}}}, ["begins above 0"]),
        ({"space": {"tau": {"low": 1, "high": 2, "values": [1, 2]}}}, ["either low and high"]),
        ({"space": {"tau": {"lov": 1, "high": 2}}}, ["'space.tau.lov'", "did you mean 'low'?"]),
        ({"space": {"tau": {"values": [1, 1]}}}, ["stands there twice"]),
        ({"space": {"tau": SPACE["tau"], "contrast.temperature": SPACE["tau"]}}, ["twice"]),
        ({"held_out": 0}, ["held_out", "greater than 0"]),
        ({"objectives": ["seconds"]}, ["the first must be 'mask_ap'"]),
        ({"objectives": ["mask_ap", "latency"]}, ["objectives.1"]),
        ({"pruning": {"share": 1, "startup": 2}}, ["pruning.share"]),
        ({"pruning": {"share": 0.5, "startup": 2}, "objectives": ["mask_ap", "seconds"]},
         ["one objective"]),
    ],
)  # fmt: skip
def test_a_broken_declaration_is_one_line(tmp_path, change, words):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(declared(**change)))
    with pytest.raises(ValueError) as error:
        load_sweep_file(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    ("space", "changes", "says"),
    [
        ({"tua": {"values": [1, 2]}}, {}, "space.tua: unknown key 'tua'; did you mean 'tau'?"),
        ({"tau": {"low": 0, "high": 1}}, {}, "space.tau: contrast.temperature: input should be"),
        ({"num-negatives": {"low": 1.5, "high": 3}}, {}, "takes whole numbers"),
        ({"contrast.loss": {"low": 0, "high": 1}}, {}, "a range needs a number"),
        ({"contrast": {"values": [1, 2]}}, {}, "a group of settings"),
        ({"data.held_out": {"low": 0.1, "high": 0.2}}, {}, "sets it itself"),
        (
            SPACE,
            {"contrast.temperature": 0.3},
            "contrast.temperature: mine searches over tau itself",
        ),
        (SPACE, {"data.held_out": 0.0}, "never measures on val"),
        (SPACE, {"seed": 1}, "one seed of its own"),
    ],
)
def test_a_space_that_does_not_fit_is_one_line(tiny, space, changes, says):
    with pytest.raises(ValueError) as error:
        plan_search(make(space=space), tiny, changes)
    assert says in str(error.value)


def test_a_killed_search_gives_the_same_sequence_and_leaves_no_open_run(home, tmp_path, databases):
    script = [sys.executable, str(Path(__file__).with_name("launch_search.py"))]
    set_options(home, seconds=0.02)
    process = subprocess.Popen([*script, str(home), "5"], stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("started 2"):
            time.sleep(0.3)  # in the middle of its training
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    set_options(home)
    done = subprocess.run([*script, str(home), "5"], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["known 0", "known 1", "started 2"]
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    for name in ("mlflow.db", "optuna.db"):
        (fresh / name).write_bytes((databases / name).read_bytes())
    subprocess.run([*script, str(fresh), "5"], capture_output=True, check=True)
    cells = [sorted(p.name for p in (h / "cells").iterdir()) for h in (home, fresh)]
    assert cells[0] == cells[1]
    assert len(said(home, "finish")) == 5
    client = open_mlflow(home)
    experiment = client.get_experiment_by_name("sskd/sweep/contrast@tiny-toycity")
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in runs) == [f"trial-{n}/s1000" for n in range(5)]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["sskd.plan"] for run in runs} == {study_status(home)[0].plan}
    page = comparison_pages(home)["sweep/contrast@tiny-toycity"]
    places = [page.index(run.info.run_id) for run in sorted(runs, key=lambda r: r.info.run_name)]
    assert places == sorted(places)
