"""The documents are run: a command that is in the README works."""

import re
import shlex
from pathlib import Path

import pytest

from sskd.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
LINES = [line.partition("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("sskd ")]

HELP = ["--help"]
LONG = {
    "ablate": ["--dry-run"],
    "sweep": ["--dry-run"],
    "train": ["--dry-run"],
    "evaluate": HELP,
    "ui": HELP,
    "bench": HELP,
    "list": HELP,
}
"""What keeps a command from computing or serving, and still has its options parsed."""


def block_after(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n```bash\n(.*?)\n```", README, flags=re.S)
    assert found is not None, marker
    return found[1]


def test_every_command_of_the_readme_works(sskd, own_data, with_toycity, monkeypatch):
    monkeypatch.setattr("sskd.cli.resolve.available_cores", lambda: 16)
    assert len(COMMANDS) > 15
    for command in COMMANDS:
        _, name, *rest = shlex.split(command)
        options = LONG.get(name, [])
        if (
            name in ("ablate", "sweep", "plan", "train", "report")
            and "--label-fraction" not in rest
        ):
            options = ["--label-fraction", "0.3", *options]  # this toycity has few images
        done = sskd(name, *(part.replace("0.05", "0.3") for part in rest), *options)
        assert done.exit_code == 0, f"{command}\n{done.output}"


@pytest.mark.parametrize("option", sorted(set(re.findall(r"(?<!SBATCH )--[a-z][a-z-]+", README))))
def test_every_option_of_the_readme_exists(sskd, option):
    commands = (
        "",
        "list ",
        "ablate ",
        "sweep ",
        "train ",
        "report ",
        "ui ",
        "data add ",
        "data show ",
        "data split ",
        "evaluate ",
        "bench models ",
        "bench step ",
    )
    helps = [sskd(*f"{command}--help".split()).stdout for command in commands]
    assert any(re.search(rf"(^|\s){option}\b", text) for text in helps)


def test_every_command_is_in_the_readme():
    names = {command.name for command in app.registered_commands if command.name}
    names |= {command.callback.__name__ for command in app.registered_commands if not command.name}
    groups = {group.name for group in app.registered_groups}
    assert names | groups == {shlex.split(command)[1] for command in COMMANDS}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text("utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_folders_of_the_readme_exist():
    (layout,) = re.findall(r"```\n(experiments/.*?)```", README, flags=re.S)
    for line in layout.splitlines():
        place = line.split()[0]
        assert place in ("runs/", "reports/") or (ROOT / place).exists(), place


def test_first_command_and_test_command_start_from_a_fresh_clone():
    fresh = "python3 -m venv .venv && . .venv/bin/activate && "
    first, test = block_after("first-command"), block_after("test-command")
    assert first.startswith(fresh)
    assert first.endswith("pip install -e . && sskd ablate negatives")
    assert test.startswith(fresh)
    assert test.endswith("pip install -e '.[dev]' && .ci/check")
    assert "<!-- test-command -->" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_contributing_stays_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 60


def test_the_licence_is_whole():
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
