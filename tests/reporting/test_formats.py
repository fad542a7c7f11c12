"""The same in every format; LaTeX that compiles, HTML that needs no other file."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_home import Home

from sskd.reporting.document import (
    Bullets,
    Code,
    Document,
    Figure,
    Heading,
    Link,
    Paragraph,
    Table,
    spans,
)
from sskd.reporting.formats import to_html, to_latex, to_markdown

MINUS = "\N{MINUS SIGN}"
NASTY = r'50 % of $x_1$ & {y} # ~^\ <b> "q" | ' + MINUS + "1 ± 2"
TABLE = Table(
    (("Arm", "AP ↑"), ("[Group*",), ("a | b", "**1.0**"), (NASTY, "2.0")),
    caption=f"What *this* is: `k=v`. {NASTY}",
    notes=("a note",),
    for_paper=True,
)
ADDRESS = "http://127.0.0.1:5000/#/compare-runs?runs=[%22a%22,%22b%22]&experiments=[%221%22]"


@pytest.fixture(autouse=True)
def _small_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sskd.reporting.style.DPI", 60)


def document() -> Document:
    blocks = (
        Heading("Head"),
        Paragraph(("one", NASTY)),
        Bullets(()),
        TABLE,
        Table((("only", "rows"), ("x", "y"))),
        Code("sskd ablate --set a=<b>"),
        Link("both runs", ADDRESS),
    )
    return Document.of("name", "A <title> & more", blocks)


class Text(HTMLParser):
    """What a reader sees, and whether tags are balanced."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for key, value in attributes if key in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def test_marks_are_cut_out_and_nothing_else() -> None:
    assert spans("a **b c** *d* `e*f*` g") == [
        ("plain", "a "),
        ("bold", "b c"),
        ("plain", " "),
        ("italic", "d"),
        ("plain", " "),
        ("code", "e*f*"),
        ("plain", " g"),
    ]
    for plain in ("2 * 3 * 4", "a*b*c", "L_sup + L_semi", "**", ""):
        assert "".join(part for _, part in spans(plain)) == plain


def test_tables_and_figures_are_numbered_if_they_have_a_caption() -> None:
    blocks = [Figure("a", "", "x"), TABLE, Table((("a",),)), Figure("b", "", "y"), TABLE]
    found = Document.of("n", "t", blocks).blocks
    assert [getattr(block, "number", None) for block in found] == [1, 1, 0, 2, 2]


def test_markdown_keeps_its_columns() -> None:
    text = to_markdown(document(), Path())
    assert "| **[Group*** |  |\n" in text
    assert "| a \\| b | **1.0** |\n" in text
    assert f"\n\n[both runs]({ADDRESS})\n" in text
    assert "\n\n\n" not in text


def test_html_shows_what_markdown_says(tmp_path: Path) -> None:
    parser = Text()
    parser.feed(to_html(document(), tmp_path))
    assert parser.open == []
    assert parser.sources == [ADDRESS]
    seen = " ".join(" ".join(parser.words).split())
    for part in ("A <title> & more", NASTY, "k=v", "a note", "sskd ablate --set a=<b>", "[Group*"):
        assert part in seen
    assert "**" not in seen
    assert "`" not in seen


def test_latex_escapes_everything(tmp_path: Path) -> None:
    text = to_latex(document(), tmp_path)
    assert r"50 \% of \$x\_1\$ \& \{y\} \#" in text
    assert r"\textbf{1.0}" in text
    assert "rows" not in text  # a table without a caption belongs into no paper
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    for sign in (MINUS, "±", "↑"):
        assert sign not in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
@pytest.mark.parametrize("way", ["alone", "input"])
def test_latex_compiles(tmp_path: Path, way: str) -> None:
    (tmp_path / "name.tex").write_text(to_latex(document(), tmp_path), "utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx}"
        r"\begin{document}Before.\input{name.tex}After.\end{document}"
    )
    job = "name" if way == "alone" else "paper"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{job}.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / f"{job}.pdf").stat().st_size > 5_000
    assert "undefined" not in done.stdout.replace("Label(s) may", "").lower()


def fill(home: Home, sha256: str) -> None:
    for cell in home.plan(2):
        ap = 0.2 + 0.01 * cell.seed + 0.02 * (cell.variant == "fusion")
        rows = [{"step": s, "margin": ap * s} for s in (10, 20)]
        found = [home.detection(1, home.box(4, 4, 16, 16), 0.9)] if cell.variant == "mask" else []
        home.write(cell, ap, ap50=2 * ap, sha256=sha256, history=rows, predictions=found)


def test_every_format_has_the_same_numbers(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, street)
    out = tmp_path / "out"
    formats = ("html", "csv", "md", "tex")
    first = home.report(out, command="c", formats=formats)
    assert first.path == out / "negatives.html"
    texts = {form: (out / f"negatives.{form}").read_text("utf-8") for form in formats}
    for number in ("22.5", "45.0", "20.5"):
        assert all(number in texts[form] for form in ("md", "tex", "html"))
    parser = Text()
    parser.feed(texts["html"])
    assert parser.open == []
    # Nothing is fetched: every picture is in the file.
    assert len(parser.sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert not re.search(r"https?://|url\(|@import", texts["html"])
    kinds = ("points", "curves", "images")
    names = {f"negatives-{kind}.{ending}" for kind in kinds for ending in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == names | {f"negatives.{f}" for f in formats}


def test_only_what_a_format_needs_is_written(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, street)
    for form, beside in (("csv", set()), ("html", set()), ("tex", {".pdf"}), ("md", {".png"})):
        out = tmp_path / form
        home.report(out, command="c", formats=(form,))
        assert {path.suffix for path in out.iterdir()} == {f".{form}"} | beside


def test_equal_inputs_give_equal_bytes_in_every_format(
    home: Home, street: str, tmp_path: Path
) -> None:
    fill(home, street)
    contents = []
    for name in ("first", "second"):
        out = tmp_path / name
        formats = ("md", "tex", "html", "csv")
        home.report(out, command="c", formats=formats)
        contents.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert len(contents[0]) == 10
    assert contents[0] == contents[1]


def test_csv_has_a_line_a_number(home: Home, street: str, tmp_path: Path) -> None:
    fill(home, street)
    missing = home.cell("uniform", 1)
    (home.path / "cells" / missing.fingerprint[:16] / "result.json").unlink()
    written = home.report(tmp_path, command="c", formats=("csv",))
    rows = list(csv.DictReader(io.StringIO(written.path.read_text("utf-8"))))
    # Seven cells with five numbers each: AP of large instances is not defined here.
    assert len(rows) == 7 * 5
    cell = home.cell("fusion", 1)
    (row,) = [
        r for r in rows if (r["variant"], r["seed"], r["metric"]) == ("fusion", "1", "mask_ap50")
    ]
    assert row["ablation"] == "negatives"
    assert row["fingerprint"] == cell.fingerprint
    assert float(row["value"]) == 2 * (0.2 + 0.01 + 0.02)  # as stored, to the last digit
