"""The report of the efficiency figure: a pure function of declaration and measurements."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sskd.config import Config, GroundedSamConfig, ModelConfig
from sskd.reporting.document import (
    Block,
    Bullets,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
)
from sskd.reporting.efficiency_chart import draw_efficiency
from sskd.reporting.efficiency_table import answer, caption, rows
from sskd.reporting.files import pictures_of, rendered, write_document
from sskd.studies.efficiency import EFFICIENCY, Efficiency
from sskd.studies.measurements import Measurement, load_measurements, models_digest

__all__ = ["HEADER", "write_efficiency_report"]

_PLACE = ("device", "machine", "threads", "height", "width", "precision")
HEADER = (*_PLACE, "model", "quantity", "value")
"""Of the CSV file, whose values are as they are stored: seconds, bytes."""

_CHART = Figure(
    EFFICIENCY,
    "Teacher and student, ours and the paper's, on logarithmic axes",
    "Teacher to student on logarithmic axes: equal slopes are equal factors, whatever the models "
    "and the machine. The number is the factor between them.",
)
_RULES = (
    "Time is that of the forward pass of one image that is there already; reading and resizing it, "
    "and bringing masks to its size, belong to no model. Both models run in turns, so that what "
    "slows the machine slows both.",
    "Peak memory is that of weights and one forward pass, each model in a process of its own: on a "
    "GPU what torch allocated, on a CPU resident memory beyond what the process had before.",
    "Our FLOPs are counted by torch, a multiply-add as two; they and the parameters depend on no "
    "machine.",
)


def write_efficiency_report(
    declared: Efficiency,
    config: Config,
    *,
    home: Path,
    out: Path,
    command: str,
    formats: Sequence[str] = ("md",),
) -> Path:
    """Write ``out/efficiency.md``, or other formats, with its chart beside it.

    Args:
        declared: The question and the paper's numbers.
        config: Whose teacher and student.
        home: Where the measurements are.
        out: A folder; made if need be.
        command: What measures, as the reader would type it.
        formats: One or more of ``FORMATS``.

    Returns:
        The path of the first of them.

    Raises:
        ValueError: If a measurement is broken; one line.
    """
    out.mkdir(parents=True, exist_ok=True)
    measured = load_measurements(home, models_digest(config))
    if "csv" in formats:
        (out / f"{EFFICIENCY}.csv").write_text(_to_csv(measured), "utf-8")
    words = rendered(formats)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if measured and words:
            draw_efficiency(measured, declared.paper, folder / EFFICIENCY, pictures_of(words))
        document = _compose(declared, config, measured, command)
        write_document(document, words, drawn=folder, out=out, stems=[EFFICIENCY])
    return out / f"{EFFICIENCY}.{formats[0]}"


def _compose(
    declared: Efficiency, config: Config, measured: Sequence[Measurement], command: str
) -> Document:
    source = declared.source
    first = (
        f"Source: {source.paper}, {source.place} ({source.setting}).",
        f"The paper's claim: {declared.claim}",
    )
    nothing = f"Nothing has been measured yet. `{command}` measures."
    answers = [answer(one, declared.paper) for one in measured] or [nothing]
    models = "; ".join(
        f"{role} {_sentence(getattr(config, role))}" for role in ("teacher", "student")
    )
    ours = (
        f"Ours: {models}. Random weights, which change no cost here; the projection of pixels is "
        "dropped, as at test time."
    )
    last = (
        f"Measured by `{command}`; `sskd report efficiency` with the same options writes this "
        "again from those numbers."
    )
    blocks: list[Block] = [
        Paragraph(first),
        Heading("Answer"),
        *(Paragraph((line,)) for line in answers),
        *_results(declared, measured),
        Heading("What to know"),
        Bullets((ours, *_RULES, *declared.notes)),
        Paragraph((f"How the scale *{config.scale}* departs from the paper:",)),
        Bullets(config.deviations),
        Paragraph((last,)),
    ]
    return Document.of(EFFICIENCY, declared.question, blocks)


def _results(declared: Efficiency, measured: Sequence[Measurement]) -> list[Block]:
    if not measured:
        return []
    tables = [Table(tuple(map(tuple, rows(one, declared.paper))), caption(one)) for one in measured]
    return [Heading("Results"), *tables, _CHART]


def _to_csv(measured: Sequence[Measurement]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for one in measured:
        facts = one.environment
        place = (facts["device"], facts["machine"], facts["threads"], *one.size, one.precision)
        for role in ("teacher", "student"):
            cost = getattr(one, role)
            for quantity, value in (
                ("parameters", cost.parameters),
                ("flops", cost.flops),
                ("seconds", cost.seconds.median),
                ("seconds_lower_quartile", cost.seconds.lower),
                ("seconds_upper_quartile", cost.seconds.upper),
                ("peak_memory_bytes", cost.peak_memory_bytes),
            ):
                writer.writerow((*place, role, quantity, repr(value)))
    return text.getvalue()


def _sentence(model: ModelConfig | GroundedSamConfig) -> str:
    if isinstance(model, GroundedSamConfig):
        return f"{model.title} with {model.max_detections} boxes"
    head, layers = model.head.name, model.decoder.layers
    return f"{model.encoder.name} with {head} head and {layers} decoder layers"
