"""The figure of diagnostics over the steps: a row a stage, a panel a metric, a line a variant."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sskd.reporting.analysis import Analysis
from sskd.reporting.curves import Curves
from sskd.reporting.style import INK, colour, house_style, save

__all__ = ["draw_training"]

_NAMES = {
    "margin": "margin\n(mean cosine, positives minus negatives)",
    "false_negative_rate": "false-negative rate\n(share of negatives of the same instance)",
    "background_rate": "share of anchors on no instance",
    "loss_pxl": "contrastive loss\n($L_{pxl}$, nats)",
    "loss_semi": "loss against pseudo-labels\n($L_{semi}$)",
}
_HALF = "false_negative_rate"
"""The paper's proposition on the margin asks this to stay below one half."""


def draw_training(
    curves: Sequence[Curves], analysis: Analysis, path: Path, endings: Sequence[str] = ("png",)
) -> None:
    """Mean over seeds in the band of the seeds; each stage's variants have their own legend."""
    metrics = [m for m in analysis.ablation.diagnostics if any(m in c.by_metric for c in curves)]
    with house_style():
        width = 2.75 * len(metrics) + 2.2
        figure = Figure(figsize=(width, 2.5 * len(curves) + 0.2), layout="constrained")
        grid = figure.subplots(len(curves), len(metrics), squeeze=False)
        for axes, of_stage in zip(grid, curves, strict=True):
            inks = {name: colour(index) for index, name in enumerate(of_stage.names)}
            arms = [arm for arm in analysis.arms if arm.name in inks]
            labels = [arm.label for arm in arms]
            # A stage's variants are mostly of one group, which needs no saying then.
            titles = {a.name: a.label if labels.count(a.label) == 1 else a.title for a in arms}
            for axis, metric in zip(axes, metrics, strict=True):
                _panel(axis, of_stage, metric, inks, titles)
            lines = {
                line.get_label(): line
                for axis in axes
                for line in axis.get_lines()
                if not str(line.get_label()).startswith("_")
            }
            axes[-1].legend(
                handles=list(lines.values()),
                loc="center left",
                bbox_to_anchor=(1.02, 0.5),
                fontsize=8,
                title=f"{of_stage.stage.replace('_', ' ')}",
                title_fontproperties={"weight": "bold", "size": 8.5},
                alignment="left",
            )
        save(figure, path, endings)


def _panel(
    axis: Axes, curves: Curves, metric: str, inks: dict[str, str], titles: dict[str, str]
) -> None:
    for name, curve in curves.by_metric.get(metric, {}).items():
        ink = inks[name]
        axis.fill_between(curve.steps, curve.low, curve.high, color=ink, alpha=0.16, linewidth=0)
        axis.plot(curve.steps, curve.mean, color=ink, linewidth=1.5, label=titles[name])
    if metric == _HALF:
        axis.axhline(0.5, color=INK, linewidth=1, linestyle="dashed", label="_one half")
    if metric not in curves.by_metric:
        axis.text(0.5, 0.5, "not logged", transform=axis.transAxes, ha="center")
    axis.set_title(_NAMES.get(metric, metric.replace("_", " ")), loc="left")
    axis.set_xlabel(f"step of {curves.stage.replace('_', ' ')}")
    axis.margins(x=0.01)
