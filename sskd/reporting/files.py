"""The files of a document: one a format, and the pictures that lie beside it."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from sskd.reporting.document import Document
from sskd.reporting.formats import RENDERERS

__all__ = ["pictures_of", "rendered", "write_document"]

_BESIDE = {"md": "png", "tex": "pdf"}
"""What lies beside a report; HTML holds its pictures itself."""


def rendered(formats: Iterable[str]) -> list[str]:
    """The formats that have words."""
    return [form for form in formats if form in RENDERERS]


def pictures_of(formats: Sequence[str]) -> list[str]:
    """The endings of the pictures that formats need."""
    return sorted({"png" if form == "html" else _BESIDE[form] for form in rendered(formats)})


def write_document(
    document: Document, formats: Sequence[str], *, drawn: Path, out: Path, stems: Sequence[str]
) -> dict[str, list[str]]:
    """Write ``out/NAME.FORMAT`` for each format, with the pictures that it links to.

    Args:
        document: What is written.
        formats: Some that have words.
        drawn: The folder of its pictures.
        out: A folder that is there.
        stems: Of all pictures that such a document may have: one that can no longer be drawn must
            not outlive its numbers.

    Returns:
        The names of the files of each format.
    """
    texts = {form: RENDERERS[form](document, drawn) for form in formats}
    files = {}
    for form, text in texts.items():
        pictures = []
        if ending := _BESIDE.get(form):
            for stem in stems:
                (out / f"{stem}.{ending}").unlink(missing_ok=True)
            pictures = [f"{figure.stem}.{ending}" for figure in document.figures]
        for picture in pictures:
            shutil.copyfile(drawn / picture, out / picture)
        (out / f"{document.name}.{form}").write_text(text, "utf-8")
        files[form] = [f"{document.name}.{form}", *pictures]
    return files
