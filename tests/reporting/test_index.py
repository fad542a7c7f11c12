"""All ablations on one page."""

from pathlib import Path

from made_home import Home

from sskd.reporting.analysis import analyse
from sskd.reporting.index import write_index
from sskd.reporting.numbers import NONE
from sskd.studies.launches import Looks

AP = {
    "uniform": [0.200, 0.210, 0.205],
    "mask": [0.240, 0.251, 0.239],
    "class": [0.260, 0.241, 0.252],
    "fusion": [0.250, 0.260, 0.256],
}


def test_a_row_an_ablation_with_its_verdicts(home: Home, tmp_path: Path) -> None:
    for cell in home.plan(3):
        if (cell.variant, cell.seed) != ("mask", 2):
            home.write(cell, AP[cell.variant][cell.seed])
    analysis = analyse(home.ablation, home.cells, home=home.path)
    path = write_index([analysis, analysis], out=tmp_path, suffix="md", not_begun=["tau"])
    assert path == tmp_path / "README.md"
    text = path.read_text("utf-8")
    assert text.startswith("# Results: street at tiny scale\n")
    # A cell that both tables need is missing once.
    assert "2 ablations, 6 comparisons: 2 agree, 0 differ, 4 undecided, 0 not comparable." in text
    assert " 1 cells are missing." in text
    (row, again) = [line for line in text.splitlines() if line.startswith("| [negatives]")]
    assert row == again
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:7] == ["[negatives](negatives.md)", "table 4", "2 to 3", "1", NONE, "2", NONE]
    assert cells[7].startswith("Of the paper's 3 claims against Fusion: 1 agrees, 2 undecided")
    assert cells[8] == "Fusion: AP 25.5 ± 0.5"
    assert "No finished cell yet: `tau`." in text
    claims = text.partition("## Every claim")[2].replace("\N{MINUS SIGN}", "-")
    assert "| **negatives, table 4: AP** |" in claims
    assert "| Uniform - Fusion | 3 | -5.03 [-5.18, -4.89] | -2.8 | agrees |" in claims
    assert "| Mask - Fusion | 2 | " in claims


def test_where_seeds_were_added_as_needed_is_said(home: Home, tmp_path: Path) -> None:
    for cell in home.plan(3):
        home.write(cell, AP[cell.variant][cell.seed])
    fixed = analyse(home.ablation, home.cells, home=home.path)
    looked = analyse(home.ablation, home.cells, home=home.path, looks=Looks.up_to(10, until=0.5))
    texts = [
        write_index([one], out=tmp_path, suffix="md", not_begun=[]).read_text("utf-8")
        for one in (fixed, looked)
    ]
    said = "and in negatives for the looks at the numbers"
    assert [said in text for text in texts] == [False, True]


def test_nothing_finished_is_said(tmp_path: Path) -> None:
    text = write_index([], out=tmp_path, suffix="md", not_begun=["tau"]).read_text("utf-8")
    assert "No cell has finished yet." in text
