"""A report is written again if, and only if, it would be another one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_home import Home

from sskd.reporting import receipts

AP = {"uniform": 0.2, "mask": 0.24, "class": 0.26, "fusion": 0.25}


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sskd.reporting.style.DPI", 40)


@pytest.fixture
def filled(home: Home, street: str) -> Home:
    """Two seeds of every variant, with histories and predictions."""
    for cell in home.plan(2):
        rows = [{"step": s, "margin": AP[cell.variant] * s} for s in (10, 20, 30)]
        found = [home.detection(1, home.box(4, 4, 16, 16), 0.9)] if cell.variant == "mask" else []
        ap = AP[cell.variant] + 0.01 * cell.seed
        home.write(cell, ap, sha256=street, history=rows, predictions=found)
    return home


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Each file's time and bytes."""
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def test_what_did_not_change_is_left_alone(filled: Home, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert filled.report(out, command="c", formats=("md", "tex")).changed
    before = contents(out)
    assert len(before) == 8
    again = filled.report(out, command="c", formats=("md", "tex"))
    assert again == (out / "negatives.md", False)
    assert contents(out) == before
    forced = filled.report(out, command="c", formats=("md", "tex"), force=True)
    assert forced.changed
    after = contents(out)
    assert all(after[name][0] > before[name][0] for name in before)
    assert {name: text for name, (_, text) in after.items()} == {
        name: text for name, (_, text) in before.items()
    }


@pytest.mark.parametrize("name", ["negatives.md", "negatives-images.png"])
@pytest.mark.parametrize("how", ["deleted", "edited"])
def test_a_file_that_is_gone_or_edited_comes_back(
    filled: Home, tmp_path: Path, name: str, how: str
) -> None:
    path = filled.report(tmp_path, command="c").path.parent / name
    before = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(before + b" ")
    assert filled.report(tmp_path, command="c").changed
    assert path.read_bytes() == before


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cell_file(home: Home, name: str) -> Path:
    return home.path / "cells" / home.cell("mask", 1).fingerprint[:16] / name


def unlink_result(home: Home) -> None:
    cell_file(home, "result.json").unlink()


def change_result(home: Home) -> None:
    edit(cell_file(home, "result.json"), lambda result: result["final"].update(mask_ap=0.3))


def change_cost(home: Home) -> None:
    edit(cell_file(home, "result.json"), lambda result: result["stages"][1].update(seconds=61.0))


def change_spec(home: Home) -> None:
    edit(cell_file(home, "spec.json"), lambda spec: spec.update(sha256="f" * 64))


def add_history(home: Home) -> None:
    with next((home.path / "store").glob("transfer-*/metrics.jsonl")).open("a") as file:
        file.write('{"step": 40, "margin": 9.0}\n')


def change_predictions(home: Home) -> None:
    for path in (home.path / "store").glob("evaluate_transfer-*/predictions.json"):
        path.write_text(json.dumps([home.detection(2, home.box(2, 40, 8, 6), 0.8)]))


def remove_picture(home: Home) -> None:
    (home.path.parent / "street" / "2.png").unlink()


def move_pictures(home: Home) -> None:
    (home.path.parent / "street").rename(home.path.parent / "elsewhere")


def add_note(home: Home) -> None:
    notes = (*home.ablation.notes, "Another note.")
    home.ablation = home.ablation.model_copy(update={"notes": notes})


def add_deviation(home: Home) -> None:
    cell = home.cells[0]
    config = cell.config.model_copy(update={"deviations": ("It is another one.",)})
    home.cells[0] = type(cell)(cell.variant, cell.seed, config, cell.fingerprint)


def add_seed(home: Home) -> None:
    home.plan(3)


@pytest.mark.parametrize(
    "change",
    [
        unlink_result,
        change_result,
        change_cost,
        change_spec,
        add_history,
        change_predictions,
        remove_picture,
        move_pictures,
        add_note,
        add_deviation,
        add_seed,
    ],
)
def test_whatever_a_report_reads_makes_it_another_one(
    filled: Home, tmp_path: Path, change: Callable[[Home], None]
) -> None:
    out = tmp_path / "out"
    filled.report(out, command="c", formats=("csv",))
    assert not filled.report(out, command="c", formats=("csv",)).changed
    change(filled)
    assert filled.report(out, command="c", formats=("csv",)).changed
    assert not filled.report(out, command="c", formats=("csv",)).changed


def test_words_folder_format_and_code_count_too(
    filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(out: str = "out", command: str = "c", form: str = "csv", **facts: object) -> bool:
        folder = tmp_path / out
        return filled.report(folder, command=command, formats=(form,), **facts).changed

    assert changed()
    assert not changed()
    assert changed(command="another")
    assert changed()
    assert changed(failures={filled.cells[0].fingerprint: "no luck"})
    assert changed()
    assert changed(out="elsewhere")
    assert changed(form="md")
    assert not changed()
    assert not changed(form="md")
    monkeypatch.setattr(receipts, "_code", lambda: "another version")
    assert changed()


def test_a_home_that_cannot_be_written_costs_no_report(filled: Home, tmp_path: Path) -> None:
    (filled.path / "reports").write_text("a file where the folder should be")
    for _ in range(2):
        assert filled.report(tmp_path / "out", command="c", formats=("csv",)).changed
    assert (tmp_path / "out" / "negatives.csv").is_file()


def test_a_damaged_receipt_is_none(filled: Home, tmp_path: Path) -> None:
    filled.report(tmp_path / "out", command="c", formats=("csv",))
    (receipt,) = (filled.path / "reports").rglob("*.json")
    for damaged in ("", "[]", '{"made_of": "x"}', '{"files": 3}'):
        receipt.write_text(damaged)
        assert filled.report(tmp_path / "out", command="c", formats=("csv",)).changed
