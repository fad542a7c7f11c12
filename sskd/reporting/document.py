"""A report before it has a format: its blocks in order, so that all formats say the same.

Text may hold four marks of markdown and no others: ``**bold**``, ``*italic*``, code between
backticks, and ``[words](file)`` for a file beside the document. ``literal`` keeps text that we did
not write from being taken for marks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

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
    "bare",
    "literal",
    "spans",
]

_MARKS = re.compile(
    r"\\(?P<plain>[`*\[])"
    r"|`(?P<code>[^`]+)`"
    r"|\*\*(?=\S)(?P<bold>.+?)(?<=\S)\*\*"
    r"|(?<![*\w])\*(?=\S)(?P<italic>[^*]+?)(?<=\S)\*(?!\w)"
    r"|\[(?P<link>[^\[\]]+)\]\((?P<target>[\w.%-]+)\)"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Span(NamedTuple):
    """A piece of text under one mark."""

    mark: Literal["plain", "bold", "italic", "code", "link"]
    text: str
    target: str = ""
    """Of a link: the name of a file beside the document."""


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
    """What a reader would type, or keep as a file."""

    text: str
    language: str = ""
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
    """Text cut where its marks begin and end; the marks are gone, and white space is one space."""
    text = " ".join(_CONTROLS.sub(" ", text).split())
    found: list[Span] = []
    end = 0
    for match in _MARKS.finditer(text):
        if match.start() > end:
            _add(found, Span("plain", text[end : match.start()]))
        parts = {name: part for name, part in match.groupdict().items() if part is not None}
        target = parts.pop("target", "")
        ((mark, part),) = parts.items()
        _add(found, Span(mark, part, target))  # type: ignore[arg-type]
        end = match.end()
    if end < len(text):
        _add(found, Span("plain", text[end:]))
    return found


def bare(text: str) -> str:
    """Text without its marks."""
    return "".join(span.text for span in spans(text))


def literal(text: str) -> str:
    """Text from elsewhere, such as a message, as text in which nothing is a mark."""
    return re.sub(r"[`*\[]", r"\\\g<0>", text)


def _add(found: list[Span], span: Span) -> None:
    """Plain text stays in one piece, so that those who render it see its neighbours."""
    if found and found[-1].mark == span.mark == "plain":
        span = Span("plain", found.pop().text + span.text)
    found.append(span)
