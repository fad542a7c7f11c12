"""The whole report of hand-made cells."""

import re
import shutil
from pathlib import Path

import pytest
from made_home import Home

from sskd.reporting.analysis import analyse
from sskd.reporting.tables import summary_rows


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sskd.reporting.style.DPI", 60)


COMMAND = "sskd ablate negatives --scale tiny --seeds 3"
AP = {
    "uniform": [0.200, 0.210, 0.205],
    "mask": [0.240, 0.251, 0.239],
    "class": [0.260, 0.241, 0.252],
    "fusion": [0.250, 0.260, 0.256],
}


def fill(home: Home, seeds: int, sha256: str = "d" * 64) -> None:
    for cell in home.plan(seeds):
        ap = AP[cell.variant][cell.seed]
        rows = [{"step": s, "margin": ap * s, "false_negative_rate": ap / s} for s in (10, 20, 30)]
        found = [home.detection(1, home.box(4, 4, 16, 16), 0.9)] if cell.variant == "mask" else []
        home.write(cell, ap, ap50=2 * ap, sha256=sha256, history=rows, predictions=found)


def report(home: Home, out: Path, **facts: dict[str, str]) -> str:
    path = home.report(out, command=COMMAND, **facts).path
    assert path == out / "negatives.md"
    text = path.read_text("utf-8")
    # Typographic there, plain here.
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "-")


def tables(text: str) -> list[list[list[str]]]:
    """Every pipe table as rows of cells; fails where one is not well-formed."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
        rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        assert len({len(row) for row in rows}) == 1, block
        assert all(re.fullmatch(r":?-{3,}:?", cell) for cell in rows[1]), block
        found.append([rows[0], *rows[2:]])
    return found


def row(text: str, first: str) -> list[str]:
    return next(line for table in tables(text) for line in table if line[0] == first)


def test_full_report(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, 3, street)
    text = report(home, tmp_path / "out")
    # 20.5 +- .5 by hand; the paper's 29.4; AP50 is twice AP and not in the declaration.
    assert row(text, "Uniform") == [
        "Uniform",
        "3",
        "20.5 ± 0.5",
        "29.4",
        "-8.9",
        "41.0 ± 1.0",
    ]
    # Differences -5.0, -5.0, -5.1: mean -5.0333, s.d. .057735, half width 4.302653 * .033333.
    comparison = row(text, "Uniform - Fusion")
    assert comparison[:4] == ["Uniform - Fusion", "3", "-5.03", "[-5.18, -4.89]"]
    assert comparison[-2:] == ["-2.8", "agrees"]
    # s.d. of the reference .25, .26, .256: in points .5033.
    assert row(text, "AP (points)")[1] == "0.50"
    for figure in re.findall(r"\((negatives-\w+\.png)\)", text):
        assert (tmp_path / "out" / figure).stat().st_size > 4_000
    assert len(re.findall(r"^!\[", text, flags=re.MULTILINE)) == 3
    for part in (
        "Which negatives?",
        "table 4",
        COMMAND,
        "last checkpoint",
        "pycocotools",
        "ddof 1",
    ):
        assert part in text
    for part in ("short side 96", "Uniform lies below", home.cells[0].config.deviations[0]):
        assert part in text
    assert "Missing cells" not in text
    assert "**20.5" not in text
    assert "\n\n\n" not in text
    assert str(tmp_path) not in text


def test_the_training_loss_needs_no_declaration(home: Home, tmp_path: Path) -> None:
    home.ablation = home.ablation.model_copy(update={"diagnostics": ()})
    for cell in home.plan(2):
        rows = [{"step": s, "loss": 9.0 - s, "margin": 0.1 * s} for s in (1, 2, 3)]
        home.write(cell, AP[cell.variant][cell.seed], history=rows)
    text = report(home, tmp_path)
    assert "![Training loss over the steps](negatives-training.png)" in text
    assert (tmp_path / "negatives-training.png").stat().st_size > 4_000
    assert not (tmp_path / "negatives-curves.png").exists()
    for cell in home.cells:
        home.write(cell, AP[cell.variant][cell.seed], history=[])
    assert "No training loss has been logged." in report(home, tmp_path)
    assert not (tmp_path / "negatives-training.png").exists()


def test_equal_inputs_give_equal_bytes(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, 2, street)
    report(home, tmp_path / "out")
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    shutil.rmtree(home.path / "reports")  # else it would be left as it is
    report(home, tmp_path / "out")  # over its own output
    second = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert len(first) == 4
    assert first == second


def test_the_report_leads_to_the_comparison_of_its_own_runs(home: Home, tmp_path: Path) -> None:
    fill(home, 2)
    assert "MLflow" not in report(home, tmp_path)
    others = home.show([*home.plan(2, data__label_fraction=0.05)])
    fill(home, 2)
    mine = [c for c in home.cells if c != home.cell("uniform", 1)]
    runs = dict(zip([c.name for c in mine], home.show(mine), strict=True))
    (left,) = home.show([home.cell("uniform", 1)], status="FAILED")
    text = report(home, tmp_path)
    (heading, line, link) = text.strip().split("\n\n")[-3:]
    assert heading == "## In MLflow"
    assert "`sskd/ablate/negatives@tiny-street`" in line
    assert "`sskd ui`" in line
    order = ["uniform/s0", *(f"{v}/s{s}" for v in ("mask", "class", "fusion") for s in (0, 1))]
    expected = ",".join(f"%22{runs[name]}%22" for name in order)
    address = f"http://127.0.0.1:5000/#/compare-runs?runs=[{expected}]&experiments=[%227%22]"
    assert link == f"[the 7 runs of this report, compared]({address})"
    assert not any(run in text for run in [*others, left])
    assert report(home, tmp_path / "again").count(address) == 1


def test_the_report_is_written_anew_where_its_runs_are_others(home: Home, tmp_path: Path) -> None:
    fill(home, 1)
    assert home.report(tmp_path, command=COMMAND).changed
    assert not home.report(tmp_path, command=COMMAND).changed
    home.show(home.cells[:1])
    assert home.report(tmp_path, command=COMMAND).changed
    text = (tmp_path / "negatives.md").read_text("utf-8")
    assert "[the run of this report](http" in text
    assert not home.report(tmp_path, command=COMMAND).changed
    (home.path / "mlflow.db").unlink()  # a link that leads nowhere is none
    assert home.report(tmp_path, command=COMMAND).changed
    assert "MLflow" not in (tmp_path / "negatives.md").read_text("utf-8")


def test_missing_and_failed_cells_are_named(home: Home, tmp_path: Path) -> None:
    fill(home, 3)
    for seed in range(3):
        for variant in ("uniform", "mask"):
            if variant == "uniform" or seed == 2:
                folder = home.path / "cells" / home.cell(variant, seed).fingerprint[:16]
                (folder / "result.json").unlink()
    failed = {home.cell("mask", 2).fingerprint: "transfer stopped at step 30: the loss is nan"}
    text = report(home, tmp_path, failures=failed)
    assert row(text, "Uniform")[1:4] == ["0 of 3", "missing", "29.4"]
    assert row(text, "Mask")[1] == "2 of 3"
    assert f"`{COMMAND}` fills them" in text
    assert "- Uniform, seed 0: missing\n" in text
    assert "- Mask, seed 2: failed: transfer stopped at step 30: the loss is nan\n" in text
    assert "4 of 12 cells are missing" in text
    assert "Mask: 2 of 3 seeds finished (1 failed)." in text
    assert row(text, "Uniform - Fusion")[2] == "missing"


def test_without_any_record(home: Home, tmp_path: Path) -> None:
    home.plan(2)
    text = report(home, tmp_path)
    assert "No cell has finished yet: 8 of 8 are missing." in text
    assert [path.name for path in tmp_path.glob("*.png")] == []
    tables(text)


def test_single_seed_has_no_spread_and_no_verdict(home: Home, tmp_path: Path) -> None:
    fill(home, 1)
    text = report(home, tmp_path)
    assert row(text, "Uniform")[:5] == ["Uniform", "1", "20.0", "29.4", "-9.4"]
    levels = [cell for line in tables(text)[0] for cell in line]
    assert not any("±" in cell or "**" in cell for cell in levels)
    for line in tables(text)[1][2:5]:
        assert line[3:6] == ["-", "-", "-"]
        assert line[-1] == "undecided"
    assert "Uniform: single seed" in text
    assert "A single seed: no ± and no interval" in text


def test_the_best_is_bold_where_it_stands_apart(home: Home, tmp_path: Path) -> None:
    for cell in home.plan(3):
        lead = 0.2 if cell.variant == "fusion" else 0.0
        home.write(cell, AP[cell.variant][cell.seed] + lead)
    text = report(home, tmp_path)
    assert row(text, "Fusion")[2] == "**45.5 ± 0.5**"
    assert text.count("**45.5") == 2  # AP, and AP50, which equals it here
    assert "Agrees with the paper on every variant against Fusion." in text


def test_mixed_versions_are_footnoted(home: Home, tmp_path: Path) -> None:
    for cell in home.plan(2):
        versions = {"torch": "2.8.0" if cell.seed else "2.9.0", "threads": 2}
        home.write(cell, 0.2 + 0.01 * cell.seed, environment=versions)
    text = report(home, tmp_path)
    assert "Mixed torch: 2.9.0 (4 cells), 2.8.0 (4 cells)." in text
    assert "Mixed threads" not in text


def test_moved_images_cost_the_pictures_only(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, 2, street)
    out = tmp_path / "out"
    report(home, out)
    assert (out / "negatives-images.png").exists()
    (tmp_path / "street").rename(tmp_path / "elsewhere")
    text = report(home, out)
    assert "No pictures: " in text
    assert "negatives-images.png" not in text
    assert not (out / "negatives-images.png").exists()
    assert str(home.path) not in text


def test_a_broken_record_stops_the_report(home: Home, tmp_path: Path) -> None:
    fill(home, 1)
    cell = home.cells[0]
    (home.path / "cells" / cell.fingerprint[:16] / "result.json").write_text("{")
    with pytest.raises(ValueError, match="unreadable"):
        report(home, tmp_path)


def test_summary_rows_are_plain(home: Home) -> None:
    fill(home, 3)
    rows = summary_rows(analyse(home.ablation, home.cells, home=home.path))
    assert len(rows) == 5
    assert len({len(line) for line in rows}) == 1
    assert rows[1][:4] == ["Uniform", "3", "20.5 ± 0.5", "41.0 ± 1.0"]
    assert rows[1][-2:] == ["29.4", "agrees"]
    assert rows[4][4] == "reference"
