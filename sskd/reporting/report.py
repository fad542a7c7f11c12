"""The report of an ablation: a pure function of declaration, records and validation images.

Equal inputs give equal bytes. It reads nothing that it wrote, and a cell without a record is shown
as missing, with the command that fills it.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sskd.reporting import tables
from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.figures import KINDS, draw
from sskd.reporting.formats import FORMATS, RENDERERS
from sskd.reporting.long_form import to_csv
from sskd.reporting.sections import compose
from sskd.studies.cells import PlannedCell
from sskd.studies.declaration import Ablation

__all__ = ["FORMATS", "summary_lines", "write_analysis", "write_report"]

_PICTURES = {"md": "png", "tex": "pdf"}
"""What lies beside a report; HTML holds its pictures itself, CSV has none."""


def write_report(
    ablation: Ablation,
    cells: Sequence[PlannedCell],
    *,
    home: Path,
    out: Path,
    command: str,
    failures: Mapping[str, str] | None = None,
    formats: Sequence[str] = ("md",),
) -> Path:
    """Write ``out/NAME.md``, or other formats, with its figures ``out/NAME-*.png`` beside it.

    Args:
        ablation: The declaration.
        cells: All its cells, finished or not.
        home: Where the records are.
        out: A folder; made if need be.
        command: What runs the cells, as the reader would type it.
        failures: Fingerprint to reason, one line, of cells that were tried and failed.
        formats: One or more of ``FORMATS``.

    Returns:
        The path of the file in the first format.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference; one line.
    """
    analysis = analyse(ablation, cells, home=home)
    return write_analysis(
        analysis, home=home, out=out, command=command, failures=failures, formats=formats
    )


def write_analysis(
    analysis: Analysis,
    *,
    home: Path,
    out: Path,
    command: str,
    failures: Mapping[str, str] | None = None,
    formats: Sequence[str] = ("md",),
) -> Path:
    """The same for an ablation that is analysed already; see ``write_report``."""
    name = analysis.ablation.name
    out.mkdir(parents=True, exist_ok=True)
    endings = [ending for form, ending in _PICTURES.items() if form in formats]
    for kind in KINDS:
        for ending in endings:
            # A figure that can no longer be drawn must not outlive its numbers.
            (out / f"{name}-{kind}.{ending}").unlink(missing_ok=True)
    texts = {}
    if "csv" in formats:
        texts["csv"] = to_csv(analysis)
    if rendered := [form for form in formats if form in RENDERERS]:
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            drawn = {*endings, "png"} if "html" in formats else set(endings)
            pictures = draw(analysis, folder, sorted(drawn), home=home)
            document = compose(analysis, pictures, command=command, failures=failures or {})
            texts |= {form: RENDERERS[form](document, folder) for form in rendered}
            for figure in document.figures:
                for ending in endings:
                    shutil.copyfile(
                        folder / f"{figure.stem}.{ending}", out / f"{figure.stem}.{ending}"
                    )
    for form, text in texts.items():
        (out / f"{name}.{form}").write_text(text, "utf-8")
    return out / f"{name}.{formats[0]}"


def summary_lines(
    ablation: Ablation, cells: Sequence[PlannedCell], *, home: Path
) -> list[list[str]]:
    """The table of a report for a terminal: a header, then one row a variant, all plain text.

    Args:
        ablation: The declaration.
        cells: Its cells, finished or not.
        home: Where the records are.

    Raises:
        ValueError: If a record is broken, or no cell is of the reference; one line.
    """
    return tables.summary_rows(analyse(ablation, cells, home=home))
