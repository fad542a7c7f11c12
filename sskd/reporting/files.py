"""The files of a document: one a format, and the pictures that lie beside it."""

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from sskd.reporting.document import Document
from sskd.reporting.formats import RENDERERS
from sskd.reporting.latex import safe_name

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
        stems: Of all pictures that such a document may have: one that is not drawn any more must
            not outlive its numbers.

    Returns:
        The names of the files of each format.
    """
    texts = {form: RENDERERS[form](document, drawn) for form in formats}
    shown = {figure.stem for figure in document.figures}
    assert shown <= set(stems)
    files = {}
    for form, text in texts.items():
        files[form] = [f"{document.name}.{form}"]
        (out / files[form][0]).write_text(text, "utf-8")
        for stem in stems if form in _BESIDE else ():
            drawing, picture = f"{stem}.{_BESIDE[form]}", _name(stem, form)
            (out / picture).unlink(missing_ok=True)
            if stem in shown:
                shutil.copyfile(drawn / drawing, out / picture)
                files[form].append(picture)
    return files


def _name(stem: str, form: str) -> str:
    """TeX takes few signs in the name of a file."""
    return f"{safe_name(stem) if form == 'tex' else stem}.{_BESIDE[form]}"
