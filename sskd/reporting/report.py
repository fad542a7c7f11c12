"""The report of an ablation: a pure function of declaration, records and validation images.

Equal inputs give equal bytes. It says nothing that it reads from an earlier report, and a cell
without a record is shown as missing, with the command that fills it. What is there already, as it
would be written, is left alone: see ``sskd.reporting.receipts``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from sskd.reporting.analysis import Analysis
from sskd.reporting.files import pictures_of, rendered, write_document
from sskd.reporting.long_form import to_csv
from sskd.reporting.receipts import Receipt, made_of
from sskd.studies.cells import experiment_name
from sskd.studies.shown import Shown, shown_cells

__all__ = ["Written", "write_report"]


class Written(NamedTuple):
    """A report that is there."""

    path: Path
    """In the first of its formats."""
    changed: bool
    """Whether it was written now; if not, it was there already, made of the same."""


def write_report(
    analysis: Analysis,
    *,
    home: Path,
    out: Path,
    command: str,
    failures: Mapping[str, str] | None = None,
    formats: Sequence[str] = ("md",),
    force: bool = False,
) -> Written:
    """Write ``out/NAME.md``, or other formats, with its figures ``out/NAME-*.png`` beside it.

    Args:
        analysis: What was measured.
        home: Where the records are.
        out: A folder; made if need be.
        command: What runs the cells, as the reader would type it.
        failures: Fingerprint to reason, one line, of cells that were tried and failed.
        formats: One or more of ``FORMATS``.
        force: Write what is there already, too.
    """
    name, failures = analysis.ablation.name, failures or {}
    out.mkdir(parents=True, exist_ok=True)
    shown = _shown(analysis, home)
    made = made_of(analysis, home=home, command=command, failures=failures, shown=shown)
    receipts = {form: Receipt(home, out, name, form, made) for form in formats}
    stale = [form for form, receipt in receipts.items() if force or not receipt.holds()]
    if stale:
        files = _write(
            analysis, stale, home=home, out=out, command=command, failures=failures, shown=shown
        )
        for form in stale:
            receipts[form].write(files[form])
    return Written(out / f"{name}.{formats[0]}", bool(stale))


def _shown(analysis: Analysis, home: Path) -> Shown | None:
    """The finished cells in MLflow, variant by variant: columns of a comparison."""
    cells = [cell for arm in analysis.arms for cell in arm.cells if cell.seed in arm.records]
    experiment = experiment_name(analysis.ablation.name, analysis.reference.cells[0].config)
    return shown_cells(home, experiment, cells)


def _write(
    analysis: Analysis,
    formats: Sequence[str],
    *,
    home: Path,
    out: Path,
    command: str,
    failures: Mapping[str, str],
    shown: Shown | None,
) -> dict[str, list[str]]:
    """Draw, compose and render; gives the names of the files of each format."""
    # What draws takes a second to import, and most launches leave most reports as they are.
    from sskd.reporting.figures import KINDS, draw
    from sskd.reporting.sections import compose

    name = analysis.ablation.name
    files = {}
    if "csv" in formats:
        (out / f"{name}.csv").write_text(to_csv(analysis), "utf-8")
        files["csv"] = [f"{name}.csv"]
    if words := rendered(formats):
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            pictures = draw(analysis, folder, pictures_of(words), home=home)
            document = compose(analysis, pictures, command=command, failures=failures, shown=shown)
            stems = [f"{name}-{kind}" for kind in KINDS]
            files |= write_document(document, words, drawn=folder, out=out, stems=stems)
    return files
