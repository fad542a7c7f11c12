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
from markdown_it import MarkdownIt

from sskd.reporting.document import (
    Bullets,
    Code,
    Document,
    Figure,
    Heading,
    Link,
    Paragraph,
    Table,
    bare,
    literal,
    spans,
)
from sskd.reporting.files import write_document
from sskd.reporting.formats import to_html, to_latex, to_markdown

MINUS = "\N{MINUS SIGN}"
NASTY = r'50 % of $x_1$ & {y} # ~^\ <b> "q" | ' + MINUS + "1 ± 2"
TABLE = Table(
    (("Arm", "AP ↑"), ("[Group*",), ("a | b", "**1.0**"), (NASTY, "2.0")),
    caption=f"What *this* is: `k=v`. {NASTY}",
    notes=("a note", "- no item", "1. no number"),
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
        Table((("only", "rows"), ("x", "`a|b`")), text=True),
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


def seen(page: str) -> str:
    parser = Text()
    parser.feed(page)
    assert parser.open == []
    return " ".join(" ".join(parser.words).split())


def test_marks_are_cut_out_and_nothing_else() -> None:
    assert spans("a **b\n c** *d* `e*f*` [g](h.md) i") == [
        ("plain", "a ", ""),
        ("bold", "b c", ""),
        ("plain", " ", ""),
        ("italic", "d", ""),
        ("plain", " ", ""),
        ("code", "e*f*", ""),
        ("plain", " ", ""),
        ("link", "g", "h.md"),
        ("plain", " i", ""),
    ]
    plain = ("2 * 3 * 4", "a*b*c", "L_sup + L_semi", "**", "", r"C:\x", "[a](http://b)", "[1] (2)")
    for text in plain:
        assert bare(text) == text
    assert bare("a\x1b[31m\tb\n\n c") == "a [31m b c"


@pytest.mark.parametrize("text", ["*a* **b** `c` [d](e)", r"\*a*", r"\\`a`", "f(*a, **k) ** 2"])
def test_literal_text_has_no_marks(text: str) -> None:
    assert spans(literal(text)) == [("plain", text, "")]


def test_tables_and_figures_are_numbered_if_they_have_a_caption() -> None:
    blocks = [Figure("a", "", "x"), TABLE, Table((("a",),)), Figure("b", "", "y"), TABLE]
    found = Document.of("n", "t", blocks).blocks
    assert [getattr(block, "number", None) for block in found] == [1, 1, 0, 2, 2]


def test_markdown_keeps_its_columns() -> None:
    text = to_markdown(document(), Path())
    assert "| **[Group\\*** |  |\n" in text
    assert "| a \\| b | **1.0** |\n" in text
    assert f"\n\n[both runs]({ADDRESS})\n" in text
    assert "\n\n\n" not in text


def test_html_shows_what_was_said(tmp_path: Path) -> None:
    page = to_html(document(), tmp_path)
    shown = seen(page)
    assert f'href="{ADDRESS}"'.replace("&", "&amp;") in page
    for part in ("A <title> & more", NASTY, "k=v", "a note", "sskd ablate --set a=<b>", "[Group*"):
        assert part in shown
    assert "**" not in shown
    assert "`" not in shown


SAYINGS = (
    "expected <class 'int'>, not <b>",
    "_x_ and __init__ and val_000036.png",
    "5 $ and $x_1$, ~~gone~~, a\\*b, C:\\x\\",
    "&lt; is &amp; and R&D; & &#60;",
    "[a](http://b) [a][b] [a]: b ![c](d) [ ] e [^1]",
    "# title", "a # b #", "- item", "+ item", "* item", "1. item", "12) item", "> quoted", "=====",
    "---", "| a | b |", "```x", "~~~", "<!-- hidden -->", "[x] done", "[a]: b",
    "-0.5 [\u22121.0, +2.0] p < 0.05 > 0",
)  # fmt: skip


@pytest.mark.parametrize("saying", SAYINGS)
def test_markdown_shows_what_html_shows(saying: str) -> None:
    text = literal(saying)
    blocks = (
        Heading(text),
        Paragraph((text, text)),
        Bullets((text, f"**a** {text}")),
        Table(
            (("a", text), (text,), (text, f"`{text}`" if "`" not in text else "")), notes=(text,)
        ),
        Table((("a",),), caption=text),
        Code(f"{saying}\n````"),
    )
    document = Document.of("name", text, blocks)
    github = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = github.render(to_markdown(document, Path()))
    assert seen(page) == seen(
        to_html(document, Path()).partition("<body>")[2].replace("</body>\n</html>", "")
    )
    marks = re.findall(r"<(em|a|img|del|blockquote|ol|hr)\b", page)
    assert marks == []
    assert (page.count("<h1"), page.count("<h2"), page.count("<li")) == (1, 1, 3)


def test_our_marks_work_in_markdown() -> None:
    line = "**a: *b*, c** is *undecided* by `x|y_z`, see [it](it.md)"
    page = MarkdownIt("commonmark").render(to_markdown(Document.of("n", line, ()), Path()))
    for part in ("<strong>a: *b*, c</strong>", "<em>undecided</em>", "<code>x|y_z</code>"):
        assert part in page
    assert '<a href="it.md">it</a>' in page


def test_a_picture_of_any_name_is_linked(tmp_path: Path) -> None:
    figure = Figure("größe (1)", "a [b] c", "d")
    page = MarkdownIt("commonmark").render(to_markdown(Document.of("n", "t", [figure]), tmp_path))
    assert '<img src="gr%C3%B6%C3%9Fe%20%281%29.png" alt="a [b] c" />' in page


def test_latex_escapes_everything(tmp_path: Path) -> None:
    text = to_latex(document(), tmp_path)
    assert r"50 \% of \$x\_1\$ \& \{y\} \#" in text
    assert r"\textbf{1.0}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert text.isascii()


def test_latex_has_every_block(tmp_path: Path) -> None:
    figure = Figure("name-points", "", "Dots.")
    text = to_latex(Document.of("na_me", "Why?", [*document().blocks, figure]), tmp_path)
    for part in (
        r"\section*{Why?}",
        r"\subsection*{Head}",
        r"\footnotesize a note}",
        r"\texttt{a\ensuremath{|}b}",
        r"sskd ablate -{}-set a=\ensuremath{<}b",
        r"\label{tab:na_me-1}",
        r"{name-points.pdf}",
        r"\caption{Dots.}",
        r"\label{fig:na_me-1}",
        r"\usepackage{booktabs,graphicx,url}, then \input{na_me.tex}",
    ):
        assert part in text


def test_a_long_table_is_cut_where_a_page_would_end(tmp_path: Path) -> None:
    rows = tuple((f"row {i}", "1") for i in range(90))
    text = to_latex(Document.of("n", "t", [Table((("a", "b"), *rows))]), tmp_path)
    assert text.count("a & b") == text.count(r"\toprule") == 3
    assert [text.count(f"row {i} &") for i in range(90)] == [1] * 90


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
@pytest.mark.parametrize("way", ["alone", "input"])
def test_latex_compiles(tmp_path: Path, way: str) -> None:
    (tmp_path / "name.tex").write_text(to_latex(document(), tmp_path), "utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs,graphicx,url}"
        r"\begin{document}Before.\input{name.tex}After.\end{document}"
    )
    job = "name" if way == "alone" else "paper"
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{job}.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / f"{job}.pdf").stat().st_size > 5_000
    assert "undefined" not in done.stdout.replace("Label(s) may", "").lower()


def test_a_picture_has_a_name_that_tex_takes(tmp_path: Path) -> None:
    drawn, out = tmp_path / "drawn", tmp_path / "out"
    drawn.mkdir()
    out.mkdir()
    for ending in ("png", "pdf"):
        (drawn / f"a %b.{ending}").write_bytes(b"new")
    (out / "aU0020U0025c.pdf").write_bytes(b"old")
    document = Document.of("n", "t", [Figure("a %b", "", "d")])
    files = write_document(document, ("md", "tex"), drawn=drawn, out=out, stems=["a %b", "a %c"])
    assert files == {"md": ["n.md", "a %b.png"], "tex": ["n.tex", "aU0020U0025b.pdf"]}
    assert {path.name for path in out.iterdir()} == {*files["md"], *files["tex"]}
    assert "{aU0020U0025b.pdf}" in (out / "n.tex").read_text()


def fill(home: Home, sha256: str) -> None:
    for cell in home.plan(2):
        ap = 0.2 + 0.01 * cell.seed + 0.02 * (cell.variant == "fusion")
        rows = [{"step": s, "margin": ap * s} for s in (10, 20)]
        found = [home.detection(1, home.box(4, 4, 16, 16), 0.9)] if cell.variant == "mask" else []
        home.write(cell, ap, ap50=2 * ap, sha256=sha256, history=rows, predictions=found)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs LaTeX")
def test_a_report_of_odd_names_compiles(home: Home, street: str, tmp_path: Path) -> None:
    odd = "größe #1_50 %"
    named = home.ablation.variants["class"].model_copy(update={"label": f"{odd} → λ & *x_y"})
    home.ablation = home.ablation.model_copy(
        update={
            "name": odd,
            "variants": {**home.ablation.variants, "class": named},
            "notes": (NASTY, "中 Ж", "`a_b`\n\n- c"),
        }
    )
    fill(home, street)
    missing = home.cell("uniform", 1)
    (home.path / "cells" / missing.fingerprint[:16] / "result.json").unlink()
    failures = {missing.fingerprint: "TypeError: f(**x) expected <class 'int'> in C:\\x ^\x1b[0m"}
    written = home.report(tmp_path / "out", command="c", formats=("tex",), failures=failures)
    (tmp_path / "out" / "report.tex").write_text(written.path.read_text("utf-8"), "utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(
        command, cwd=tmp_path / "out", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout


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
