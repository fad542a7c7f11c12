"""Sweeps around cells that take no time: an AP by the temperature, written at once."""

import json
import shutil
from types import SimpleNamespace

import pytest

from sskd.cli import running
from sskd.engine.run import plan_cell
from sskd.studies.databases import open_mlflow, open_optuna
from sskd.studies.shown import description

QUICK = ("--seeds", "1", "--label-fraction", "0.3", "--workers", "1")


@pytest.fixture(scope="session")
def databases(tmp_path_factory):
    """Fresh databases: making them takes seconds."""
    home = tmp_path_factory.mktemp("databases")
    open_mlflow(home)
    storage = open_optuna(home)
    storage.remove_session()
    storage.engine.dispose()
    return home


@pytest.fixture
def quick_cells(with_toycity, databases, monkeypatch):
    """The temperatures of the cells that were computed; ``quick_cells.stop_at`` is a Ctrl-C."""
    home = with_toycity / "runs"
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(databases / name, home / name)
    computed = SimpleNamespace(taus=[], stop_at=None)

    def run_cell(config, *, home, log, progress):
        plan = plan_cell(config, home=home)
        tau = config.contrast.temperature
        if len(computed.taus) == computed.stop_at:
            raise KeyboardInterrupt
        computed.taus.append(tau)
        ap = 0.3 - abs(tau - 0.25)
        plan.folder.mkdir(parents=True, exist_ok=True)
        spec = {
            "fingerprint": plan.fingerprint,
            "config": config.model_dump(mode="json"),
            "stages": [],
            "dataset": "toycity",
            "sha256": "d" * 64,
            "split_sha256": "5" * 64,
        }
        final = {f"mask_ap{end}": ap for end in ("", "50", "75", "_small", "_medium", "_large")}
        result = {
            "fingerprint": plan.fingerprint,
            "final": final,
            "evaluations": {"transfer": final | {"per_class": {"car": ap}}},
            "stages": [],
            "seconds": 1.0,
            "environment": {},
        }
        (plan.folder / "spec.json").write_text(json.dumps(spec))
        (plan.folder / "result.json").write_text(json.dumps(result))
        return SimpleNamespace(result=result)

    monkeypatch.setattr(running, "run_cell", run_cell)
    monkeypatch.setattr("sskd.engine.run.run_cell", run_cell)  # as a search imports it
    return computed


def rows(done) -> dict[str, list[str]]:
    """The lines of a command's output by their first word."""
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}


def test_a_sweep_is_an_ablation_over_the_declared_values(sskd, quick_cells, with_toycity):
    done = sskd("sweep", "--param", "tau", *QUICK)
    assert done.exit_code == 0, done.output
    assert "sweep-tau: 3 cells, 3 values x 1 seeds" in done.stdout
    shown = rows(done)
    assert [shown[f"tau={tau}"] for tau in (0.1, 0.2, 0.4)] == [["15.0"], ["25.0"], ["15.0"]]
    report = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3" / "sweep-tau.md"
    text = report.read_text("utf-8")
    assert "sskd sweep --param tau --seeds 1 --label-fraction 0.3" in text
    assert "| tau = 0.1 |" in text
    # By its name it is the same sweep, and by values that it shares it shares the cells.
    assert sskd("sweep", "tau", *QUICK).exit_code == 0
    assert sskd("report", "sweep-tau", *QUICK[:4]).stdout.endswith("sweep-tau.md (unchanged)\n")
    assert "cells: 3, done: 3" in sskd("plan", "sweep-tau", *QUICK[:4]).stdout
    assert sskd("sweep", "--param", "contrast.temperature", *QUICK).exit_code == 0
    assert quick_cells.taus == [0.1, 0.2, 0.4]
    assert sskd("sweep", "--param", "tau", "--values", "0.2,0.3", *QUICK).exit_code == 0
    assert quick_cells.taus == [0.1, 0.2, 0.4, 0.3]
    own = with_toycity / "reports" / "tiny-toycity+label-fraction=0.3+tau=0.2,0.3" / "sweep-tau.md"
    assert "| tau = 0.3 |" in own.read_text("utf-8")
    assert "tau = 0.3" not in report.read_text("utf-8")
    states = [line.split() for line in sskd("status").stdout.splitlines()[1:]]
    assert sorted(state[1:] for state in states) == [["2", *"000"], ["3", *"000"]]
    assert all(state[0].startswith("ablate/sweep-tau@tiny-toycity#") for state in states)


def test_an_interrupted_sweep_goes_on_with_the_same_trials(sskd, quick_cells, with_toycity):
    command = ("sweep", "--param", "tau", "--range", "0.05:0.8:log", "--trials", "4", *QUICK)
    planned = sskd(*command, "--dry-run").stdout
    trials = [line.split()[:2] for line in planned.splitlines() if line.startswith("tau=")]
    quick_cells.stop_at = 2
    assert sskd(*command).exit_code == 130
    assert quick_cells.taus == [0.05, 0.126]
    quick_cells.stop_at = None
    assert sskd(*command).exit_code == 0
    # The interrupted cell went to the end of the queue; none was computed twice.
    assert sorted(quick_cells.taus) == [0.05, 0.126, 0.317, 0.8]
    after = sskd(*command, "--dry-run").stdout
    assert [line.split()[:2] for line in after.splitlines() if line.startswith("tau=")] == trials
    assert "cells: 4, done: 4" in after


def test_a_file_of_ones_own_declares_values_by_scale(sskd, quick_cells, with_toycity):
    folder = with_toycity / "sweeps"
    folder.mkdir()
    (folder / "warm.yaml").write_text(
        "question: Warmer?\nparam: contrast.temperature\nvalues: [1, 2]\n"
        "scales: {tiny: [0.5, 0.6]}\n"
    )
    (folder / "tau.yaml").write_text("param: tau\nvalue: [1, 2]")
    assert rows(sskd("list"))["warm"] == ["contrast.temperature:", "2", "values", "Warmer?"]
    assert "broken: " in sskd("list").stdout
    assert sskd("sweep", "warm", *QUICK).exit_code == 0
    assert quick_cells.taus == [0.5, 0.6]
    done = sskd("sweep", "--param", "tau", *QUICK)
    assert done.exit_code == 2
    assert "tau.yaml: " in done.stderr


def test_a_search_goes_on_and_ends_in_a_report(sskd, quick_cells, with_toycity):
    command = ("sweep", "contrast", "--label-fraction", "0.5")
    planned = sskd(*command, "--trials", "2", "--dry-run")
    assert planned.exit_code == 0, planned.output
    assert "contrast: 2 trials over contrast.temperature, contrast.weight" in planned.stdout
    assert quick_cells.taus == []
    quick_cells.stop_at = 1
    assert sskd(*command, "--trials", "2").exit_code == 130
    quick_cells.stop_at = None
    assert sskd(*command, "--trials", "2").exit_code == 0
    rest = sskd(*command, "--trials", "4", "--dry-run")
    assert "trials: 4, ended: 2; stages left: 12" in rest.stdout
    done = sskd(*command, "--trials", "4")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("(finished before)") == 2
    assert quick_cells.taus[0] == 0.2
    assert len(quick_cells.taus) == len(set(quick_cells.taus)) == 4
    report = with_toycity / "reports" / "tiny-toycity+label-fraction=0.5" / "sweep-contrast.md"
    text = report.read_text("utf-8")
    assert done.stdout.splitlines()[-1] == f"report: {report.relative_to(with_toycity)}"
    assert (report.parent / "sweep-contrast-slices.png").is_file()
    assert "sskd sweep contrast --trials 4 --label-fraction 0.5" in text
    assert "[the 4 runs of this report, compared](http" in text
    shown = description(with_toycity / "runs", "sweep/contrast@tiny-toycity")
    assert shown.startswith("**Which temperature")
    assert "4 of 4 trials are complete:" in shown
    state = sskd("status").stdout.splitlines()[1].split()
    assert state == ["sweep/contrast@tiny-toycity", "4", "0", "0", "0"]
    again = sskd("report", "sweep-contrast", *command[2:], "--format", "md,tex", "--out", "again")
    assert again.stdout == "report: again/sweep-contrast.md\n"
    assert (with_toycity / "again" / "sweep-contrast.md").read_text("utf-8") == text
    assert r"\begin{tabular}" in (with_toycity / "again" / "sweep-contrast.tex").read_text()

    best = min(quick_cells.taus, key=lambda tau: abs(tau - 0.25))
    if best == 0.2:
        assert "the base's own values won" in text
        return
    single, paired = (
        line.split()[1:] for line in text.splitlines() if line.startswith(("sskd t", "sskd a"))
    )
    assert f"contrast.temperature={best}" in single
    assert sskd(*single, "--dry-run").exit_code == 0
    (with_toycity / "experiments").mkdir()
    declaration = text.partition("```yaml\n")[2].partition("```")[0]
    (with_toycity / "experiments" / "contrast-winner.yaml").write_text(declaration)
    assert sskd(*paired, "--dry-run").exit_code == 0


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("contrast --seeds 2", "--seeds: a search"),
        ("contrast --workers 2", "--workers: a search"),
        ("contrast --values 1,2", "--values goes with --param"),
        (
            "contrast --set tau=0.1",
            "error: contrast.temperature: contrast searches over tau itself",
        ),
        ("contrast --set data.held_out=0", "never measures on val"),
        (
            "contrast --label-fraction 0.3 --set data.held_out=0.05",
            "raise data.held_out or data.label_fraction",
        ),
        ("tau --trials 3", "--trials: tau has declared values"),
        ("--param tau --set data.held_out=0.2", "numbers are of val"),
        ("", "say one of a NAME and --param"),
        ("tau --param tau", "say one of a NAME and --param"),
        ("tua", "no sweep 'tua'; did you mean 'tau'?"),
        ("tau --values 1,2", "--values goes with --param"),
        ("--param tua", "unknown key 'tua'; did you mean 'tau'?"),
        ("--param tua --range 1:2", "unknown key 'tua'; did you mean 'tau'?"),
        ("--param contrast.wieght --values 1,2", "did you mean 'contrast.weight'?"),
        ("--param views.flip", "no file in sweeps/ has values for it"),
        ("--param contrast --values 1,2", "contrast: a group of settings"),
        ("--param seed --values 1,2", "--seeds"),
        ("--param data.name --values a,b", "--data"),
        ("--param tau --values 0.1,0.2 --range 1:2", "--values and --range"),
        ("--param tau --values 0,0.1", "contrast.temperature: input should be greater than 0"),
        ("--param tau --values hot,cold", "contrast.temperature: "),
        ("--param tau --values 0.1", "at least two values"),
        ("--param tau --values 1,1.0", "the value 1.0 stands there twice"),
        ("--param tau --values [1", "expected values with commas"),
        ("--param tau --range 2:1", "2 must be below 1"),
        ("--param tau --range 1:1", "1 must be below 1"),
        ("--param tau --range 0:1:log", "a logarithmic range begins above 0"),
        ("--param tau --range 0:1", "contrast.temperature: input should be greater than 0"),
        ("--param tau --range 1:x", "expected LO:HI or LO:HI:log"),
        ("--param tau --range 1:2:lgo", "expected LO:HI or LO:HI:log"),
        ("--param tau --range nan:1", "expected LO:HI or LO:HI:log"),
        ("--param tau --range 1:2 --trials 1", "--trials 1"),
        ("--param tau --trials 3", "--trials goes with --range"),
        ("--param contrast.loss --range 1:2", "the setting is no number but 'info-nce'"),
        ("--param contrast.negatives.replacement --range 0:1", "no number but True"),
        ("--param num-negatives --range 1:3 --trials 5", "has not 5 different values"),
        ("--param num-negatives --range 1.5:3", "whole numbers"),
        ("--param tau --set tau=0.3", "varies contrast.temperature itself"),
        ("--param label-fraction --label-fraction 0.3", "varies data.label_fraction itself"),
        ("--param contrast.margin --values 0.1,0.3", "come to the same computation"),
        ("--param label-fraction --values 0.01,0.3", "has no labeled image at label fraction 0.01"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_computed(sskd, quick_cells, command, says):
    done = sskd("sweep", *command.split())
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert quick_cells.taus == []
