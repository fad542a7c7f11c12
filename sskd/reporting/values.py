"""The figure of metrics over one number that variants differ in, such as a weight."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, NullLocator

from sskd.reporting.analysis import Analysis
from sskd.reporting.lines import Line
from sskd.reporting.metrics import METRICS
from sskd.reporting.style import INK, Stroke, colour, house_style, legend, save, stroke

__all__ = ["draw_values"]

_PARAMETERS = {
    "weight": "weight of the contrastive term (λ)",
    "temperature": "temperature (τ)",
    "num_negatives": "negatives an anchor (K)",
    "label_fraction": "share of the training images that is labeled",
    "exponent": "exponent of the debiasing score",
}
_DECADE = 10.0
_MARKERS = "osD^vP*X"
"""By line, so that equal numbers of two lines can both be seen."""


def draw_values(
    lines: Sequence[Line], analysis: Analysis, path: Path, endings: Sequence[str] = ("png",)
) -> None:
    """A panel a metric and parameter, and the paper's numbers beside it where it prints some."""
    panels = [
        (own, metric, paper)
        for own in _by_parameter(lines)
        for metric in analysis.metrics
        for paper in (False, True)
        if not paper or any(metric in arm.paper for _, line in own for arm in line.arms)
    ]
    rows = -(-len(panels) // 2)
    with house_style():
        figure = Figure(figsize=(9.2, 2.7 * rows + 0.5), layout="constrained")
        grid = figure.subplots(rows, 2, squeeze=False).flatten()
        for axis, (own, metric, paper) in zip(grid, panels, strict=False):
            for index, line in own:
                (_paper if paper else _ours)(axis, line, metric, index)
            if not paper:
                _limit(axis, own, metric)
            _finish(axis, own, metric, paper=paper)
            title = "the paper" + (" (compare the order only)" if analysis.unlike_paper else "")
            axis.set_title(title if paper else "this project", loc="left", fontweight="bold")
        for axis in grid[len(panels) :]:
            axis.set_visible(False)
        legend(figure, _handles(lines, analysis))
        save(figure, path, endings)


def _by_parameter(lines: Sequence[Line]) -> list[list[tuple[int, Line]]]:
    """Lines over one axis together, each with its number among all of them."""
    parameters = dict.fromkeys(line.parameter for line in lines)
    return [[(i, x) for i, x in enumerate(lines) if x.parameter == p] for p in parameters]


def _ours(axis: Axes, line: Line, metric: str, index: int) -> None:
    ink = colour(index)
    points = [
        (value, summary, list(arm.values(metric).values()))
        for value, arm in zip(line.values, line.arms, strict=True)
        if (summary := arm.summary(metric))
    ]
    if not points:
        return
    banded = [(v, s.low, s.high) for v, s, _ in points if s.low is not None and s.high is not None]
    axis.plot(
        [v for v, _, _ in points],
        [s.mean for _, s, _ in points],
        color=ink,
        marker=_marker(index),
        linestyle=stroke(index),
    )
    for value, _, values in points:
        axis.plot([value] * len(values), values, "o", color=ink, markersize=3, alpha=0.5)
    if len(banded) > 1:
        at, bottom, top = (np.array(column, dtype=float) for column in zip(*banded, strict=True))
        axis.fill_between(at, bottom, top, color=ink, alpha=0.15, linewidth=0)


def _limit(axis: Axes, lines: list[tuple[int, Line]], metric: str) -> None:
    """By the seeds: at two or three of them the bands would flatten everything else."""
    seeds = [x for _, line in lines for arm in line.arms for x in arm.values(metric).values()]
    if seeds:
        room = 0.3 * max(max(seeds) - min(seeds), 1e-6)
        axis.set_ylim(min(seeds) - room, max(seeds) + room)


def _paper(axis: Axes, line: Line, metric: str, index: int) -> None:
    points = [
        (value, arm.paper[metric])
        for value, arm in zip(line.papers, line.arms, strict=True)
        if metric in arm.paper
    ]
    whole = len(points) == len(line.arms)
    axis.plot(
        [value for value, _ in points],
        [number for _, number in points],
        color=colour(index),
        marker=_marker(index),
        markerfacecolor="none",
        # A line through a gap would show numbers that the paper does not print.
        linestyle=_stroke(line, index) if whole else "none",
        linewidth=1,
    )


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _stroke(line: Line, index: int) -> Stroke:
    return "dashed" if line.rival else stroke(index)


def _finish(axis: Axes, lines: list[tuple[int, Line]], metric: str, *, paper: bool) -> None:
    measure, parameter = METRICS[metric], lines[0][1].parameter
    ticks = sorted({v for _, line in lines for v in (line.papers if paper else line.values)})
    positive = [value for value in ticks if value > 0]
    if positive and positive[-1] > _DECADE * positive[0]:
        if ticks[0] > 0:
            axis.set_xscale("log")
        else:
            axis.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axis.margins(x=0.05)
    axis.set_xlabel(_PARAMETERS.get(parameter, parameter.replace("_", " ")))
    axis.set_ylabel(f"{measure.name} ({measure.unit})" if measure.unit else measure.name)
    # Values without a number, too, so that the panels of a row can be compared.
    axis.update_datalim([(value, 0) for value in ticks], updatey=False)
    axis.autoscale(axis="x")


def _handles(lines: Sequence[Line], analysis: Analysis) -> list[Artist]:
    own: list[Artist] = [
        Line2D(
            [],
            [],
            color=colour(index),
            marker=_marker(index),
            markerfacecolor="none" if line.rival else None,
            linestyle=_stroke(line, index),
            label=line.title + (" (paper only)" if line.rival else ""),
        )
        for index, line in enumerate(lines)
        if line.title
    ]
    seed = Line2D([], [], color=INK, marker="o", markersize=3, alpha=0.5, linewidth=0)
    seed.set_label("one seed")
    mean = Line2D([], [], color=INK, marker="o", label="mean over seeds")
    band = Patch(color=INK, alpha=0.15, linewidth=0, label="95 % t-interval")
    several = len(analysis.seeds) > 1
    return [*own, seed, *([mean, band] if several else [])]
