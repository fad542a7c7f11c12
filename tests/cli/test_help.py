import subprocess
import sys

import pytest

PROBE = """
import sys, time
from typer.testing import CliRunner
from sskd.cli.app import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0, result.output
print(sorted({name.partition(".")[0] for name in sys.modules}))
print(time.process_time())
"""


def test_help_imports_nothing_heavy_and_answers_at_once():
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    modules, seconds = done.stdout.splitlines()
    for heavy in ("torch", "transformers", "mlflow", "optuna", "numpy", "pydantic", "rich"):
        assert f"'{heavy}'" not in modules, heavy
    # Seconds of CPU, which a busy machine stretches less than the clock's; idle it is about 0.2.
    assert float(seconds) < 1.0


def test_python_m_sskd_is_the_same_command(workplace):
    done = subprocess.run(
        [sys.executable, "-m", "sskd", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("sskd 0.")


@pytest.mark.parametrize(
    "command",
    [
        *(
            "list",
            "ablate",
            "sweep",
            "plan",
            "status",
            "report",
            "train",
            "evaluate",
            "ui",
            "doctor",
        ),
        *("data add", "data make", "data check", "data split", "data show"),
        *("data add-cityscapes", "data add-ade20k"),
    ],
)
def test_each_command_has_help_with_examples_and_takes_a_home(sskd, command):
    done = sskd(*command.split(), "--help")
    assert done.exit_code == 0
    assert f"\n  Examples:\n    sskd {command}" in done.stdout
    assert "--home DIR" in done.stdout


@pytest.mark.parametrize("command", ["ablate", "sweep"])
def test_launching_commands_take_the_shared_options(sskd, command):
    text = sskd(command, "--help").stdout
    for option in ("--scale", "--data", "--seeds", "--label-fraction", "--set", "--workers"):
        assert f"\n  {option} " in text
    assert "--dry-run" in text
    assert "[default: 3]" in text


def test_help_fits_a_line_a_command(sskd):
    commands = sskd("--help").stdout.partition("Commands:")[2]
    assert commands.count("\n  ") > 10
    assert "..." not in commands
