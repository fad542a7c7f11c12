"""The report of the efficiency figure: a pure function of declaration and measurements."""

from pathlib import Path

from sskd.config import Config, GroundedSamConfig, ModelConfig
from sskd.reporting.efficiency_chart import draw_efficiency
from sskd.reporting.efficiency_table import answer, caption, table
from sskd.reporting.formats import templates
from sskd.studies.efficiency import EFFICIENCY, Efficiency
from sskd.studies.measurements import load_measurements, models_digest

__all__ = ["write_efficiency_report"]


def write_efficiency_report(
    declared: Efficiency, config: Config, *, home: Path, out: Path, command: str
) -> Path:
    """Write ``out/efficiency.md``, and its chart as PNG and PDF if anything was measured.

    Args:
        declared: The question and the paper's numbers.
        config: Whose teacher and student.
        home: Where the measurements are.
        out: A folder; made if need be.
        command: What measures, as the reader would type it.

    Returns:
        The path of the markdown file.

    Raises:
        ValueError: If a measurement is broken; one line.
    """
    out.mkdir(parents=True, exist_ok=True)
    measured = load_measurements(home, models_digest(config))
    for ending in ("png", "pdf"):
        # A chart that can no longer be drawn must not outlive its numbers.
        (out / f"{EFFICIENCY}.{ending}").unlink(missing_ok=True)
    if measured:
        draw_efficiency(measured, declared.paper, out / EFFICIENCY)
    template = templates().get_template("efficiency.md.j2")
    text = template.render(
        declared=declared,
        answers=[answer(one, declared.paper) for one in measured],
        tables=[(caption(one), table(one, declared.paper)) for one in measured],
        figure=EFFICIENCY,
        models={role: _sentence(getattr(config, role)) for role in ("teacher", "student")},
        scale=config.scale,
        deviations=config.deviations,
        command=command,
    )
    path = out / f"{EFFICIENCY}.md"
    path.write_text(text, "utf-8")
    return path


def _sentence(model: ModelConfig | GroundedSamConfig) -> str:
    if isinstance(model, GroundedSamConfig):
        return f"{model.title} with {model.max_detections} boxes"
    head, layers = model.head.name, model.decoder.layers
    return f"{model.encoder.name} with {head} head and {layers} decoder layers"
