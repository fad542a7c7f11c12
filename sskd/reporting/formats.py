"""One document as markdown, HTML and LaTeX: words and numbers are the same in each."""

import base64
import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sskd.config import nearest
from sskd.reporting import latex, markdown
from sskd.reporting.document import Document, Table, bare, spans

__all__ = [
    "FORMATS",
    "RENDERERS",
    "parse_formats",
    "to_html",
    "to_latex",
    "to_markdown",
]

_HTML_MARKS = {
    "plain": "{}",
    "bold": "<strong>{}</strong>",
    "italic": "<em>{}</em>",
    "code": "<code>{}</code>",
}
_LATEX_MARKS = {
    "plain": "{}",
    "bold": r"\textbf{{{}}}",
    "italic": r"\emph{{{}}}",
    "code": r"\texttt{{{}}}",
    "link": "{}",
}
_ROWS = 40
"""Of a part of a table in LaTeX: what is longer does not fit a page."""
_TEXT_ROWS = 10
"""The same where cells hold sentences, of several lines each."""


def to_markdown(document: Document, _: Path) -> str:
    """As GitHub shows it; pictures are linked."""
    environment = _templates()
    environment.filters |= {
        "inline": markdown.inline,
        "line": markdown.line,
        "fence": markdown.fence,
        "picture": markdown.picture,
        "pipes": markdown.pipe_table,
    }
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

    environment = _templates(autoescape=True)
    environment.filters |= {"marked": _marked_html, "picture": picture, "bare": bare}
    return environment.get_template("report.html.j2").render(document=document)


def to_latex(document: Document, _: Path) -> str:
    """All of it, with booktabs; compiles by itself, or as an input; pictures are PDFs beside it."""
    environment = _templates(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {
        "marked": _marked_latex,
        "comment": lambda text: " ".join(text.split()),
        "safe": latex.safe_name,
        "typed": _typed,
        "parts": _parts,
    }
    return environment.get_template("report.tex.j2").render(document=document)


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


def _templates(*, autoescape: bool = False, **syntax: str) -> Environment:
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


def _marked_html(text: str) -> Markup:
    parts = []
    for mark, part, target in spans(text):
        shown = html.escape(part)
        link = f'<a href="{html.escape(target)}">{shown}</a>'
        parts.append(link if mark == "link" else _HTML_MARKS[mark].format(shown))
    return Markup("".join(parts))  # noqa: S704 - every part is escaped


def _marked_latex(text: str) -> str:
    return "".join(
        _LATEX_MARKS[mark].format((latex.escape_code if mark == "code" else latex.escape)(part))
        for mark, part, _ in spans(text)
    )


def _typed(text: str) -> str:
    """Code, its lines apart and indented as they are."""
    lines = text.strip("\n").split("\n")
    shown = ("~" * (len(x) - len(x.lstrip(" "))) + latex.escape_code(x.lstrip(" ")) for x in lines)
    return "\\\\\n".join(shown)


def _parts(table: Table) -> list[tuple[tuple[str, ...], ...]]:
    """A long table's rows, cut so that each part fits a page."""
    size = _TEXT_ROWS if table.text else _ROWS
    return [table.body[at : at + size] for at in range(0, len(table.body), size)] or [()]
