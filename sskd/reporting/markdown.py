"""Text for Markdown as GitHub reads it: our marks work, and all else shows as it is written."""

import re
from urllib.parse import quote

from sskd.reporting.document import Code, Figure, Span, Table, spans

__all__ = ["fence", "inline", "line", "picture", "pipe_table"]

_ACTIVE = re.compile(
    r"""
      [`*~$|]                       # code, emphasis, strike-through, formulas, columns
    | \\(?=[!-/:-@\[-`{-~]|$)       # a backslash that would hide itself
    | _(?![^\W_]) | (?<![^\W_])_    # emphasis; not within a word
    | <(?=[A-Za-z/!?])              # a tag
    | &(?=\#?\w+;)                  # an entity
    | \](?=[(\[:])                  # a link
    | (?<!\S)\#                     # a heading, or the end of one
    """,
    re.VERBOSE,
)
# An item, a quotation or a definition.
_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+=>\[]))")
_MARKS = {"plain": "{}", "bold": "**{}**", "italic": "*{}*"}


def inline(text: str, *, cell: bool = False) -> str:
    """Text within a line.

    Args:
        text: With our marks.
        cell: Whether a pipe ends it, even within code.
    """
    return "".join(_span(span, cell) for span in spans(text))


def line(text: str) -> str:
    """Text at the beginning of a line, where more signs have a meaning."""
    return _START.sub(r"\1\\", inline(text))


def fence(code: Code) -> str:
    """Code between fences that do not occur in it."""
    runs = [len(run) for run in re.findall("`+", code.text)]
    ticks = "`" * max(3, *(run + 1 for run in runs), 0)
    return f"{ticks}{code.language}\n{code.text.rstrip()}\n{ticks}"


def picture(figure: Figure) -> str:
    """A link to a picture beside the document."""
    alt = re.sub(r"[][]", r"\\\g<0>", inline(figure.alt))
    return f"![{alt}]({quote(figure.stem)}.png)"


def pipe_table(table: Table) -> str:
    """The columns after the first to the right, or to the left if they are text."""
    width = len(table.header)
    assert all(len(row) in (1, width) for row in table.rows)
    lines = [
        [f"**{cells[0]}**", *[""] * (width - 1)] if len(cells) < width else cells
        for cells in ([inline(cell, cell=True) for cell in row] for row in table.rows)
    ]
    lines.insert(1, [":---", *[":---" if table.text else "---:"] * (width - 1)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _span(span: Span, cell: bool) -> str:
    if span.mark == "code":
        return f"`{span.text}`".replace("|", r"\|" if cell else "|")
    text = _ACTIVE.sub(r"\\\g<0>", span.text)
    return f"[{text}]({span.target})" if span.mark == "link" else _MARKS[span.mark].format(text)
