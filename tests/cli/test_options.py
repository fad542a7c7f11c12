"""The command that a report prints does what was done when it is typed where that was."""

import shlex
from pathlib import Path

import pytest

from sskd.cli.options import LaunchOptions


def spelled(home: Path) -> list[str]:
    return shlex.split(LaunchOptions(home=home.resolve()).command("negatives"))


def test_the_usual_home_is_not_spelled(workplace):
    assert spelled(Path("runs")) == ["sskd", "ablate", "negatives"]
    assert spelled(workplace / "runs") == ["sskd", "ablate", "negatives"]


@pytest.mark.parametrize("way", ["other runs", "./other runs", "runs/../other runs"])
def test_another_home_is_spelled_shortly_and_always_alike(workplace, way):
    assert spelled(Path(way)) == ["sskd", "ablate", "negatives", "--home", "other runs"]
    assert spelled(workplace / way) == spelled(Path(way))


def test_a_home_elsewhere_is_spelled_whole(workplace, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert spelled(elsewhere)[-2:] == ["--home", str(elsewhere)]


def test_what_the_environment_says_is_not_said_again(workplace, monkeypatch):
    monkeypatch.setenv("SSKD_HOME", "other")
    assert spelled(Path("other")) == ["sskd", "ablate", "negatives"]
    # Without it the command would look in the other one.
    assert spelled(Path("runs")) == ["sskd", "ablate", "negatives", "--home", "runs"]
