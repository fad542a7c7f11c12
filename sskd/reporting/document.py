"""A report before it has a format: its blocks in order, so that all formats say the same.

Text may hold three marks of markdown and no others: ``**bold**``, ``*italic*`` and code between
backticks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "Block",
    "Bullets",
    "Code",
    "Document",
    "Figure",
    "Heading",
    "Link",
    "Paragraph",
    "Span",
    "Table",
    "spans",
]

Span = tuple[Literal["plain", "bold", "italic", "code"], str]

_MARKS = re.compile(
    r"`([^`]+)`|\*\*(?=\S)(.+?)(?<=\S)\*\*|(?<![*\w])\*(?=\S)([^*]+?)(?<=\S)\*(?!\w)"
)


@dataclass(frozen=True)
class Heading:
    """Of a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Paragraph:
    """One or more lines of text, each a sentence or some."""

    lines: tuple[str, ...]
    kind: str = "paragraph"


@dataclass(frozen=True)
class Bullets:
    """Short items of equal standing."""

    items: tuple[str, ...]
    kind: str = "bullets"


@dataclass(frozen=True)
class Code:
    """What a reader would type."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Link:
    """A line that leads to a page."""

    text: str
    address: str
    kind: str = "link"


@dataclass(frozen=True)
class Table:
    """A header, then rows of the same length; a row of one cell is a heading of those below it."""

    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()
    text: bool = False
    """Whether the columns after the first hold words, not numbers."""
    for_paper: bool = False
    """Whether it belongs into a paper about the ablation."""
    number: int = 0
    """Among the tables with a caption, from 1."""
    kind: str = "table"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self.rows[0]

    @property
    def body(self) -> tuple[tuple[str, ...], ...]:
        """Everything below the header."""
        return self.rows[1:]


@dataclass(frozen=True)
class Figure:
    """A picture beside the report."""

    stem: str
    """Of the file's name."""
    alt: str
    caption: str
    number: int = 0
    kind: str = "figure"


Block = Heading | Paragraph | Bullets | Code | Link | Table | Figure


@dataclass(frozen=True)
class Document:
    """A title, and blocks in the order of reading."""

    name: str
    """Of the files, without ending."""
    title: str
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, name: str, title: str, blocks: Iterable[Block]) -> "Document":
        """With tables and figures numbered, and nothing where there is nothing to say."""
        counts = {"table": 0, "figure": 0}
        kept: list[Block] = []
        for block in blocks:
            if isinstance(block, Table | Figure) and block.caption:
                counts[block.kind] += 1
                kept.append(replace(block, number=counts[block.kind]))
            elif not isinstance(block, Bullets) or block.items:
                kept.append(block)
        return cls(name, title, tuple(kept))

    @property
    def figures(self) -> tuple[Figure, ...]:
        """In the order of reading."""
        return tuple(block for block in self.blocks if isinstance(block, Figure))


def spans(text: str) -> list[Span]:
    """Text cut where its marks begin and end; the marks themselves are gone."""
    found: list[Span] = []
    end = 0
    for match in _MARKS.finditer(text):
        if match.start() > end:
            found.append(("plain", text[end : match.start()]))
        code, bold, italic = match.groups()
        if code is not None:
            found.append(("code", code))
        elif bold is not None:
            found.append(("bold", bold))
        else:
            found.append(("italic", italic))
        end = match.end()
    if end < len(text):
        found.append(("plain", text[end:]))
    return found
