"""Tables for people: drawn on a terminal, aligned plain text in a pipe."""

import sys
from collections.abc import Sequence

import typer

__all__ = ["duration", "percent", "print_table", "say"]


def say(text: str) -> None:
    """Print one line on standard output at once, also into a pipe."""
    typer.echo(text)
    sys.stdout.flush()


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print rows of text under headers.

    Args:
        headers: One a column.
        rows: As many texts as headers in each.
        title: Printed above the table.
    """
    if sys.stdout.isatty():
        _draw(headers, rows, title)
        return
    if title:
        say(title)
    widths = [max(len(row[column]) for row in [headers, *rows]) for column in range(len(headers))]
    for row in [headers, *rows]:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        say("  ".join(cells).rstrip())


def percent(ap: float | None) -> str:
    """An AP in [0, 1] as people read it, in per cent; a dash where there is none."""
    return "-" if ap is None or ap != ap else f"{100 * ap:.1f}"


def duration(seconds: float) -> str:
    """Seconds in the two units that matter: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _draw(headers: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")  # on a narrow terminal nothing is cut off
    for row in rows:
        table.add_row(*(Text(text) for text in row))  # Text: brackets are no markup
    Console().print(table)
