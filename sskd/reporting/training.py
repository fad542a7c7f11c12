"""The figures of training over the steps: a panel a stage and metric, a line a variant."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sskd.reporting.analysis import Analysis
from sskd.reporting.curves import Curves
from sskd.reporting.style import FAINT, INK, colour, house_style, number_arms, save, stroke

__all__ = ["draw_training"]

_NAMES = {
    "loss": "training loss",
    "margin": "margin\n(cosine, positives minus negatives)",
    "false_negative_rate": "false-negative rate\n(share of same-instance negatives)",
    "background_rate": "share of anchors on no instance",
    "loss_pxl": "contrastive loss\n($L_{pxl}$, nats)",
    "loss_semi": "loss against pseudo-labels\n($L_{semi}$)",
}
_HALF = "false_negative_rate"
"""The paper's proposition on the margin asks this to stay below one half."""
_FAR = 0.25
"""One half is not drawn above curves that stay below this: it would flatten them."""

_PANEL, _LEGEND = 2.75, 2.3
"""Inches across."""
_HEIGHT = 2.5
_LINE = 0.17
"""Inches of a line of the legend."""
_LETTERS = 34
"""Of such a line."""


def draw_training(
    curves: Sequence[Curves],
    metrics: Sequence[str],
    analysis: Analysis,
    path: Path,
    endings: Sequence[str] = ("png",),
) -> None:
    """Mean over seeds in the band of the seeds; each stage's variants have their own legend.

    Args:
        curves: At least one stage.
        metrics: Those that no stage has logged are left out. Of several, a stage has a row to
            itself; of a single one, two stages share a row.
        analysis: Where the curves are from.
        path: Without ending.
        endings: Of ``png`` and ``pdf``.
    """
    shown = [m for m in metrics if any(m in c.by_metric for c in curves)]
    across = min(len(curves), 2) if len(shown) == 1 else 1
    rows, columns = -(-len(curves) // across), across * len(shown)
    names = [_legend_names(of_stage, analysis) for of_stage in curves]
    needed = [_LINE * (3 + len("\n".join(n.values()).splitlines())) for n in names]
    heights = [max(_HEIGHT, *needed[row * across :][:across]) for row in range(rows)]
    with house_style():
        width = max(_PANEL * columns + _LEGEND * across, 7.0)
        figure = Figure(figsize=(width, sum(heights) + 0.2), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, height_ratios=heights)
        panels = list(grid.flatten())
        for index, of_stage in enumerate(curves):
            axes = panels[index * len(shown) :][: len(shown)]
            _stage(axes, of_stage, shown, _numbers(of_stage, analysis), names[index])
        for axis in panels[len(curves) * len(shown) :]:
            axis.set_visible(False)
        save(figure, path, endings)


def _legend_names(curves: Curves, analysis: Analysis) -> dict[str, str]:
    """A stage's variants are mostly of one group, which needs no saying then."""
    arms = [arm for arm in analysis.arms if arm.name in curves.names]
    labels = [arm.label for arm in arms]
    return {
        arm.name: fill(arm.label if labels.count(arm.label) == 1 else arm.title, _LETTERS)
        for arm in arms
    }


def _stage(
    axes: Sequence[Axes],
    curves: Curves,
    metrics: Sequence[str],
    numbers: dict[str, int],
    names: dict[str, str],
) -> None:
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, curves, metric, numbers, names)
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
        title=_spoken(curves.stage),
        title_fontproperties={"weight": "bold", "size": 8.5},
        alignment="left",
    )


def _numbers(curves: Curves, analysis: Analysis) -> dict[str, int]:
    """As in the other figures, unless two of the stage's variants would look alike."""
    numbers = number_arms(analysis.arms)
    own = {name: numbers[name] for name in curves.names}
    alike = len(set(own.values())) < len(own)
    return {name: i for i, name in enumerate(own)} if alike else own


def _panel(
    axis: Axes, curves: Curves, metric: str, numbers: dict[str, int], names: dict[str, str]
) -> None:
    found = curves.by_metric.get(metric, {})
    for name, curve in found.items():
        ink = colour(numbers[name])
        strength = 0.16 if len(found) < 5 else 0.08
        axis.fill_between(
            curve.steps, curve.low, curve.high, color=ink, alpha=strength, linewidth=0
        )
        axis.plot(
            curve.steps,
            curve.mean,
            color=ink,
            linestyle=stroke(numbers[name]),
            linewidth=1.5,
            marker="o" if len(curve.steps) == 1 else "",
            label=names[name],
        )
    if metric == _HALF and found:
        _draw_half(axis, max(curve.high.max(initial=0.0) for curve in found.values()))
    if not found:
        axis.text(0.5, 0.5, "not logged", transform=axis.transAxes, ha="center", color=FAINT)
        axis.set_yticks([])
    axis.set_title(_NAMES.get(metric, metric.replace("_", " ")), loc="left")
    axis.set_xlabel(f"step of {_spoken(curves.stage)}")
    axis.margins(x=0.01)


def _draw_half(axis: Axes, highest: float) -> None:
    if highest >= _FAR:
        axis.axhline(0.5, color=INK, linewidth=1, linestyle="dashed", label="_one half")
        return
    axis.margins(y=0.2)
    axis.text(
        0.99, 0.97, "one half lies far above", transform=axis.transAxes, ha="right", va="top",
        color=INK, fontsize=7.5, style="italic",
    )  # fmt: skip


def _spoken(stage: str) -> str:
    return {"supervised": "supervised training", "self_training": "self-training"}.get(stage, stage)
