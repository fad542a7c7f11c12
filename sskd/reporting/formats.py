"""One document as markdown, HTML and LaTeX: words and numbers are the same in each."""

import base64
import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sskd.config import nearest
from sskd.reporting.document import Document, Table, spans

__all__ = [
    "FORMATS",
    "RENDERERS",
    "parse_formats",
    "templates",
    "to_html",
    "to_latex",
    "to_markdown",
]

_HTML_MARKS = {"plain": "{}", "bold": "<strong>{}</strong>", "italic": "<em>{}</em>"} | {
    "code": "<code>{}</code>"
}
_LATEX_MARKS = {"plain": "{}", "bold": r"\textbf{{{}}}", "italic": r"\emph{{{}}}"} | {
    "code": r"\texttt{{{}}}"
}
_LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    '"': "''",
    "|": r"\ensuremath{|}",
    "[": "{[}",  # after a row's end it would be taken for the row's distance
    "*": "{*}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "\N{EN DASH}": "--",
    "±": r"\ensuremath{\pm}",
    "↑": r"\ensuremath{\uparrow}",
    "↓": r"\ensuremath{\downarrow}",
    "\N{MULTIPLICATION SIGN}": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "λ": r"\ensuremath{\lambda}",
    "τ": r"\ensuremath{\tau}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
}


def to_markdown(document: Document, _: Path) -> str:
    """As GitHub shows it; pictures are linked."""
    environment = templates()
    environment.filters["pipes"] = _pipes
    return environment.get_template("report.md.j2").render(document=document)


def to_html(document: Document, folder: Path) -> str:
    """One file that needs no other: styles and pictures are inside.

    Args:
        document: The report.
        folder: Where its pictures are, as PNG.
    """

    def picture(stem: str) -> str:
        content = base64.b64encode((folder / f"{stem}.png").read_bytes()).decode("ascii")
        return f"data:image/png;base64,{content}"

    environment = templates(autoescape=True)
    environment.filters |= {"marked": _marked_html, "picture": picture}
    return environment.get_template("report.html.j2").render(document=document)


def to_latex(document: Document, _: Path) -> str:
    """The tables that belong into a paper, with booktabs; compiles by itself, or as an input."""
    environment = templates(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {"marked": _marked_latex, "comment": lambda text: " ".join(text.split())}
    return environment.get_template("tables.tex.j2").render(document=document)


RENDERERS: Mapping[str, Callable[[Document, Path], str]] = {
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}
"""By the ending of the file."""

FORMATS = (*RENDERERS, "csv")
"""Endings of the files that a report can be written to; CSV has no words to render."""


def parse_formats(text: str) -> tuple[str, ...]:
    """``md,tex`` as endings, each once.

    Raises:
        ValueError: If one is unknown; one line.
    """
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for form in found:
        if form not in FORMATS:
            raise ValueError(f"--format: no format {form!r}{nearest(form, FORMATS)}")
    return found


def templates(*, autoescape: bool = False, **syntax: str) -> Environment:
    """Our templates, in which a name that nobody gives is an error.

    Args:
        autoescape: For HTML.
        syntax: Of Jinja's marks, where braces mean something else.
    """
    settings: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, **syntax}
    return Environment(
        loader=PackageLoader("sskd.reporting"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=autoescape,  # noqa: S701 - HTML alone needs it
        **settings,
    )


def _pipes(table: Table) -> str:
    """A pipe table, the columns after the first to the right, or to the left if they are text."""
    width = len(table.header)
    assert all(len(row) in (1, width) for row in table.rows)
    full = [
        [f"**{row[0]}**", *[""] * (width - 1)] if len(row) < width else list(row)
        for row in table.rows
    ]
    lines = [
        " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in full
    ]
    lines.insert(1, " | ".join([":---", *[":---" if table.text else "---:"] * (width - 1)]))
    return "\n".join(f"| {line} |" for line in lines)


def _marked_html(text: str) -> Markup:
    parts = (_HTML_MARKS[mark].format(html.escape(part)) for mark, part in spans(text))
    return Markup("".join(parts))  # noqa: S704 - every part is escaped


def _marked_latex(text: str) -> str:
    return "".join(
        _LATEX_MARKS[mark].format("".join(_LATEX_SIGNS.get(sign, sign) for sign in part))
        for mark, part in spans(text)
    )
