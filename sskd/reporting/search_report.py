"""The report of a search: a pure function of declaration, ledger and records.

Every number in it is of held-out labeled images, and it says so: a search must not be read as a
result. It ends in the commands that measure the winner on val.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sskd.reporting.files import pictures_of, rendered, write_document
from sskd.reporting.numbers import spell
from sskd.reporting.search_figures import KINDS, draw_search
from sskd.reporting.search_sections import compose
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import PlannedSearch

__all__ = ["write_search_report"]


def write_search_report(
    planned: PlannedSearch,
    entries: Mapping[int, Entry],
    *,
    home: Path,
    out: Path,
    command: str,
    confirm: Sequence[str],
    formats: Sequence[str] = ("md",),
) -> Path:
    """Write ``out/sweep-NAME.md``, or other formats, with its figures beside it.

    Args:
        planned: The search at its base.
        entries: The last trial of each place.
        home: Where the records are.
        out: A folder; made if need be.
        command: What runs the search, as the reader would type it.
        confirm: What measures the winner on val: one cell, and the ablation that the report prints.
        formats: One or more of ``FORMATS``.

    Returns:
        The path of the first of them.
    """
    out.mkdir(parents=True, exist_ok=True)
    name = f"sweep-{planned.search.name}"
    if "csv" in formats:
        (out / f"{name}.csv").write_text(_to_csv(planned, entries), "utf-8")
    if words := rendered(formats):
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            figures = draw_search(planned, entries, folder, pictures_of(words))
            document = compose(
                planned, entries, figures, home=home, command=command, confirm=confirm
            )
            stems = [f"{name}-{kind}" for kind in KINDS]
            write_document(document, words, drawn=folder, out=out, stems=stems)
    return out / f"{name}.{formats[0]}"


def _to_csv(planned: PlannedSearch, entries: Mapping[int, Entry]) -> str:
    """A line a trial; values as they are stored, AP in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys, objectives = [*planned.space.dimensions], planned.search.objectives
    writer.writerow(
        ("trial", "state", *keys, *objectives, "mask_ap_short_schedule", "fingerprint", "error")
    )
    for entry in entries.values():
        values = map(repr, entry.values) if entry.values is not None else [""] * len(objectives)
        early = "" if entry.early is None else repr(entry.early)
        settings = (spell(entry.params[key]) for key in keys)
        row = (entry.place, entry.state, *settings, *values, early, entry.fingerprint)
        writer.writerow((*row, entry.error or ""))
    return text.getvalue()
