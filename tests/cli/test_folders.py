"""Reports on other settings lie beside each other; declared settings have the plain folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from sskd.cli.folders import efficiency_folder, report_folder, search_folder
from sskd.config import base_for, build_config, parse_overrides
from sskd.studies.cells import cells
from sskd.studies.declaration import find_declarations, load_declaration
from sskd.studies.grid import as_ablation
from sskd.studies.search_plan import plan_search
from sskd.studies.sweep_files import load_sweep

NOWHERE = Path("/nowhere")
ABLATIONS = find_declarations(NOWHERE)


def folder(name: str, *settings: str, scale: str = "tiny", data: str = "toycity") -> str:
    ablation = load_declaration(ABLATIONS[name])
    planned = cells(ablation, base_for(scale, data), parse_overrides(settings), range(1))
    return report_folder(SimpleNamespace(ablation=ablation, cells=planned)).name


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize(("scale", "data"), [("tiny", "toycity"), ("paper", "ade20k")])
def test_what_is_declared_needs_no_folder_of_its_own(name: str, scale: str, data: str) -> None:
    assert folder(name, scale=scale, data=data) == f"{scale}-{data}"


@pytest.mark.parametrize(
    ("settings", "ending"),
    [
        (["label-fraction=0.1", "runtime.device=cpu"], ""),  # the scale's own, and no number's
        (["label-fraction=0.05"], "+label-fraction=0.05"),
        (["tau=0.1", "label-fraction=5e-2"], "+label-fraction=0.05+tau=0.1"),
        (["views.scale=[1.6, 2.4]"], "+views.scale=1.6,2.4"),
    ],
)
def test_settings_of_ones_own_are_in_the_folders_name(settings: list[str], ending: str) -> None:
    assert folder("negatives", *settings) == f"tiny-toycity{ending}"


def test_a_long_or_odd_name_ends_in_a_digest_and_still_tells_settings_apart() -> None:
    many = [f"stages.{stage}.optimizer.learning_rate" for stage in ("transfer", "refinement")]
    names = [
        folder("negatives", f"{many[0]}=0.003", f"{many[1]}={rate}") for rate in (0.004, 0.005)
    ]
    start = "tiny-toycity+stages.transfer.optimizer.learning_rate=0.003+"
    assert all(name.startswith(start) and len(name) == len(start) + 8 for name in names)
    assert names[0] != names[1]
    lists = [folder("negatives", f"data.labeled_list={where}/l.txt") for where in ("a", "b")]
    assert all(name.startswith("tiny-toycity+data.labeled_list=l.txt+") for name in lists)
    assert lists[0] != lists[1]


def test_values_that_no_file_declares_are_settings_of_a_sweep() -> None:
    raw = base_for("tiny", "toycity")
    for path, ending in ((Path("sweeps/tau.yaml"), ""), (None, "+tau=0.2,0.3")):
        ablation = as_ablation("tau", [0.2, 0.3], raw=raw, changes={}, path=path)
        study = SimpleNamespace(ablation=ablation, cells=cells(ablation, raw, {}, range(1)))
        assert report_folder(study) == Path("reports") / f"tiny-toycity{ending}"


def test_searches_and_costs_have_their_settings_in_the_folder_too() -> None:
    raw = base_for("tiny", "toycity")
    for changes, ending in (({}, ""), ({"data.label_fraction": 0.5}, "+label-fraction=0.5")):
        planned = plan_search(load_sweep("contrast", NOWHERE), raw, changes)
        assert search_folder(planned) == Path("reports") / f"tiny-toycity{ending}"
    config = build_config(raw, {"student.head.width": 32})
    assert efficiency_folder(config).name == "tiny-toycity+student.head.width=32"
    assert efficiency_folder(build_config(raw, {})).name == "tiny-toycity"
