"""A user's mistake: exit code 2, nothing computed, one line that says what would be right."""

import subprocess
import sys

import pytest


def one_line(done) -> str:
    assert done.exit_code == 2, done.output
    assert done.stdout in ("", "negatives: 4 cells, 4 variants x 1 seeds\n") or (
        done.stdout == "negatives: 12 cells, 4 variants x 3 seeds\n"
    )
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ablate negative", "no ablation 'negative'; did you mean 'negatives'?"),
        ("ablate negatives --scale tinny", "unknown scale 'tinny'; did you mean 'tiny'?"),
        ("ablate negatives --set contrast.wieght=1", "did you mean 'contrast.weight'?"),
        ("ablate negatives --set contrast.weight=-1", "contrast.weight: "),
        ("ablate negatives --set contrast.weight=often", "contrast.weight: "),
        ("ablate negatives --set contrast.weight", "expected key=value"),
        ("ablate negatives --set contrast.negatives.score=mask", "varies"),
        ("ablate negatives --set seed=3", "--seeds"),
        ("ablate all negtives", "no ablation 'negtives'; did you mean 'negatives'?"),
        ("report all negtives", "no ablation 'negtives'; did you mean 'negatives'?"),
        ("ablate all --set contrast.weight=-1", "error: contrast.weight: "),
        ("ablate all --set seed=3", "error: seed: "),
        (
            "ablate replacement --set contrast.negatives.scope=memory-bank",
            "error: replacement does not go with the command's own contrast.negatives.scope: "
            "variants.without.changes: contrast.negatives: scope 'memory-bank' draws with",
        ),
        (
            "ablate tau --set pipeline.final=transfer",
            "error: tau does not go with the command's own pipeline.final: ",
        ),
        (
            "ablate teacher-adaptation --pseudo-labels x.json",
            "error: teacher-adaptation does not go with the command's own pseudo_labels.file: ",
        ),
        ("ablate efficiency", "efficiency: a figure, not an ablation; `sskd bench models --re"),
        ("plan efficiency", "efficiency: a figure, not an ablation; `sskd bench models --report`"),
        ("ablate negatives --label-fraction 0", "data.label_fraction: "),
        ("ablate negatives --label-fraction 1.5", "data.label_fraction: "),
        ("ablate negatives --label-fraction nan", "data.label_fraction: "),
        ("ablate negatives --data toycty", "unknown data set 'toycty'"),
        ("ablate negatives --data gone/dataset.json", "no such data set description"),
        ("ablate negatives --label-fraction 0.01", "has no labeled image at label fraction 0.01"),
        ("plan negative", "did you mean 'negatives'?"),
        ("report negative", "did you mean 'negatives'?"),
        ("plan contrast", "contrast: a search, not an ablation; `sskd sweep contrast --dry-run`"),
        ("ablate sweep-tau", "sweep-tau: a sweep, not an ablation; `sskd sweep tau` runs it"),
        ("report negatives --format md,pdf", "--format: no format 'pdf'"),
        ("train --set tua=0.1", "did you mean 'tau'?"),
        ("train --set seed=1", "--seed"),
        ("evaluate 0123abcd", "no checkpoint '0123abcd'"),
        ("evaluate *", "no checkpoint '*'"),
        ("evaluate .", "neither a cell"),
        ("data audit toycity 0123abcd", "no pseudo-labels '0123abcd'"),
        ("data audit toycity . --iou 1.5", "--iou 1.5: must be above 0 and at most 1"),
        ("data check toycty", "unknown data set 'toycty'"),
        ("data show toycty", "unknown data set 'toycty'"),
        ("data make city", "only toycity can be made"),
        ("data split toycity --label-fraction 2", "label fraction must lie in (0, 1], got 2"),
        ("data split toycity --labeled-list no.txt", "no.txt: no such list of labeled images"),
        ("data split toycity --labeled-list .", ".: cannot be read"),
        ("data split toycity", "either --label-fraction P or --labeled-list FILE is needed"),
        ("data split toycity --label-fraction 1 --labeled-list no.txt", "either --label-fraction"),
        ("ablate negatives --set data.labeled_list=no.txt", "no.txt: no such list"),
        ("train --set data.labeled_list=no_{percent}.txt", "no_10.txt: no such list"),
        ("ablate label-fractions --set data.labeled_list=no.txt", "write {percent} for the share"),
        ("ablate negatives --pseudo-labels no.json", "no.json: no such file of pseudo-labels"),
        ("train --pseudo-labels .", ".: cannot be read"),
        (
            "train --pseudo-labels x --set pipeline.teacher=none --set pipeline.final=transfer",
            "pseudo_labels.file is not read with pipeline.teacher 'none'",
        ),
        ("ablate negatives --set data.labeled_list=296", "data.labeled_list: "),
        ("data add mine --train no.json --val no.json --images .", "no.json"),
        ("ui", "there is no mlflow.db"),
    ],
)
def test_mistakes_are_one_line(sskd, with_toycity, command, says):
    assert says in one_line(sskd(*command.split()))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ablate", "NAME"),
        ("ablat negatives", "ablat"),
        ("ablate negatives --seed 3", "--seed"),
        ("ablate negatives --seeds 0", "--seeds"),
        ("ablate negatives --seeds few", "--seeds"),
        ("ablate negatives --workers 0", "--workers"),
        ("ui --port 70000", "--port"),
    ],
)
def test_usage_errors_name_the_option(sskd, command, says):
    done = sskd(*command.split())
    assert done.exit_code == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("setting", "left_out", "kept"),
    [
        (
            "pipeline.final=transfer",
            {"tau": "the same configuration as variant"},
            "negatives",
        ),
        (
            "contrast.negatives.scope=memory-bank",
            {
                "replacement": "draws with replacement",
                "negative-scope": "varies contrast.negatives.scope itself",
            },
            "negatives",
        ),
        (
            "contrast.weight=0",
            {
                "negatives": "uniform/s0 and mask/s0 come to the same computation",
                "losses": "varies contrast.weight itself",
            },
            "teacher-choice",
        ),
    ],
)
def test_all_leaves_out_what_the_settings_make_impossible(
    sskd, with_toycity, setting, left_out, kept
):
    done = sskd("plan", "all", "--seeds", "1", "--label-fraction", "0.3", "--set", setting)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    told = [line for line in lines if line.startswith("left out: ")]
    for name, why in left_out.items():
        assert [line for line in told if name in line and why in line], (name, told)
    planned = {line.partition(":")[0] for line in lines if " variants x " in line}
    assert kept in planned
    assert not planned & left_out.keys()


def test_more_threads_than_cores_are_refused_by_name(sskd, with_toycity, monkeypatch):
    monkeypatch.setattr("sskd.cli.resolve.available_cores", lambda: 4)
    command = ["ablate", "negatives", "--seeds", "1", "--dry-run", "--set", "numerics.threads=2"]
    line = one_line(sskd(*command, "--workers", "3"))
    assert "--workers 3" in line
    assert "numerics.threads 2" in line
    assert "6 cores, but there are 4" in line
    for fitting in (["--workers", "2"], ["--workers", "3", "--oversubscribe"]):
        assert sskd(*command, *fitting).exit_code == 0


def test_more_gpus_than_there_are_is_found_before_computing(sskd, with_toycity, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    command = ["ablate", "negatives", "--seeds", "1", "--set", "runtime.processes=2"]
    line = one_line(sskd(*command, "--workers", "3", "--oversubscribe"))
    assert "--workers 3 with runtime.processes 2 needs 6 GPUs, and 4 are here" in line
    assert not (with_toycity / "runs" / "cells").exists()


def test_a_home_that_cannot_be_made_is_a_mistake(sskd, workplace):
    (workplace / "file").write_text("")
    line = one_line(sskd("plan", "negatives", "--home", "file/home"))
    assert "--home" in line


def test_a_report_folder_that_cannot_be_made_is_found_before_computing(sskd, with_toycity):
    (with_toycity / "file").write_text("")
    done = sskd("ablate", "negatives", "--seeds", "1", "--out", "file/reports")
    assert "--out file/reports" in one_line(done)
    assert not (with_toycity / "runs" / "cells").exists()


def test_a_mistyped_name_is_told_before_torch_is_imported(workplace):
    probe = (
        "import sys; from typer.testing import CliRunner; from sskd.cli.app import app\n"
        "done = CliRunner().invoke(app, ['ablate', 'negative', '--set', 'tau=1'])\n"
        "assert done.exit_code == 2, done.output\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_a_users_broken_declaration_names_file_and_field(sskd, workplace):
    folder = workplace / "experiments"
    folder.mkdir()
    (folder / "mine.yaml").write_text("question: Why?\nbase: student-transfer\nvariant: {}\n")
    line = one_line(sskd("ablate", "mine"))
    assert "mine.yaml" in line
    assert "variant" in line
    listed = sskd("list")
    assert listed.exit_code == 0  # one broken file does not hide the others
    assert "broken: " in listed.stdout
    assert "negatives" in listed.stdout
