"""Figures of numbers: points with intervals, and curves of diagnostics.

Colours are Okabe and Ito's, told apart by the colour-blind; the font ships with matplotlib; and no
date or version enters the file, so that equal numbers give equal bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sskd.reporting.analysis import METRICS, Analysis, Arm
from sskd.reporting.curves import Curves
from sskd.reporting.statistics import Summary

__all__ = ["COLOURS", "INK", "draw_curves", "draw_points", "house_style", "save"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#A08A00")
DPI = 160
INK = "#333333"
FAINT = "#999999"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 9,
}

_NAMES = {
    "margin": "margin\n(mean cosine, positives minus negatives)",
    "false_negative_rate": "false-negative rate\n(share of negatives of the same instance)",
    "background_rate": "share of anchors on no instance",
    "loss_pxl": "contrastive loss\n($L_{pxl}$, nats)",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings over matplotlib's own, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def save(figure: Figure, path: Path) -> None:
    """Write a PNG that depends on nothing but the figure."""
    figure.savefig(path, dpi=DPI, facecolor="white", metadata={"Software": None})


def draw_points(analysis: Analysis, path: Path) -> None:
    """A row a metric: our levels, our paired differences, and the paper's levels apart."""
    arms = analysis.arms
    height = 0.75 + len(analysis.metrics) * (0.75 + 0.36 * len(arms))
    with house_style():
        figure = Figure(figsize=(9.2, height), layout="constrained")
        grid = figure.subplots(
            len(analysis.metrics), 3, squeeze=False, width_ratios=(3.2, 3.2, 2), sharey=True
        )
        for axes, metric in zip(grid, analysis.metrics, strict=True):
            _levels(axes[0], analysis, metric)
            _differences(axes[1], analysis, metric)
            _paper(axes[2], analysis, metric)
        for axis, title in zip(
            grid[0],
            ("this project", f"difference to {analysis.reference.label}, same seed", "the paper"),
            strict=True,
        ):
            axis.set_title(title, loc="left", fontweight="bold", pad=8)
        _legend(figure, _point_legend(analysis))
        save(figure, path)


def draw_curves(curves: Curves, arms: Sequence[Arm], path: Path) -> None:
    """A panel a diagnostic, a line a variant: mean over seeds in the band of the seeds."""
    metrics = list(curves.by_metric)
    columns = min(3, len(metrics))
    rows = -(-len(metrics) // columns)
    with house_style():
        figure = Figure(figsize=(3.1 * columns + 0.2, 2.6 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axis, metric in zip(grid, metrics, strict=False):
            for index, arm in enumerate(arms):
                curve = curves.by_metric[metric].get(arm.name)
                if curve is None:
                    continue
                colour = COLOURS[index % len(COLOURS)]
                axis.fill_between(
                    curve.steps, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0
                )
                axis.plot(curve.steps, curve.mean, color=colour, linewidth=1.6)
            axis.set_title(_NAMES.get(metric, metric.replace("_", " ")), loc="left")
            axis.set_xlabel(f"step of {curves.stage.replace('_', ' ')}")
            axis.margins(x=0.01)
        for axis in grid[len(metrics) :]:
            axis.set_visible(False)
        lines = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=2, label=arm.label)
            for i, arm in enumerate(arms)
            if any(arm.name in by_arm for by_arm in curves.by_metric.values())
        ]
        _legend(figure, lines)
        save(figure, path)


def _levels(axis: Axes, analysis: Analysis, metric: str) -> None:
    _rows(axis, analysis.arms, f"mask {METRICS[metric]} (%)")
    for y, arm in enumerate(analysis.arms):
        values = list(arm.values(metric).values())
        _mark(axis, y, values, arm.summary(metric), COLOURS[y % len(COLOURS)])


def _differences(axis: Axes, analysis: Analysis, metric: str) -> None:
    reference = analysis.reference
    _rows(axis, analysis.arms, f"difference in {METRICS[metric]} (points)")
    axis.axvline(0, color=INK, linewidth=1, zorder=1)
    base = reference.values(metric)
    by_name = {c.arm.name: c for c in analysis.of(metric)}
    for y, arm in enumerate(analysis.arms):
        if arm is reference:
            axis.annotate(
                "reference",
                (0, y),
                (-5, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                color=FAINT,
                style="italic",
            )
            continue
        pairs = [value - base[seed] for seed, value in arm.values(metric).items() if seed in base]
        _mark(axis, y, pairs, by_name[arm.name].difference, COLOURS[y % len(COLOURS)])
    # Zero is what the panel is about: keep it in sight and off the edge.
    low, high = axis.get_xlim()
    room = 0.06 * max(high - low, 1e-6)
    axis.set_xlim(min(low, -room), max(high, room))


def _paper(axis: Axes, analysis: Analysis, metric: str) -> None:
    _rows(axis, analysis.arms, f"mask {METRICS[metric]} (%)")
    printed = [(y, arm.paper[metric]) for y, arm in enumerate(analysis.arms) if metric in arm.paper]
    for y, value in printed:
        axis.plot(
            value,
            y,
            "D",
            markerfacecolor="white",
            markeredgecolor=COLOURS[y % len(COLOURS)],
            markeredgewidth=1.6,
            markersize=6,
        )
        axis.annotate(
            f"{value:.1f}", (value, y), (0, 6), textcoords="offset points", ha="center", fontsize=7
        )
    axis.margins(x=0.15)
    if not printed:
        axis.set_xticks([])
        axis.text(0.5, 0.5, "not printed", transform=axis.transAxes, ha="center", color=FAINT)


def _rows(axis: Axes, arms: Sequence[Arm], label: str) -> None:
    axis.set_yticks(range(len(arms)), [arm.label for arm in arms])
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def _mark(axis: Axes, y: int, values: Sequence[float], part: Summary | None, colour: str) -> None:
    """Seeds as small dots under the mean with its interval."""
    if part is None:
        axis.annotate(
            "missing",
            (0.02, y),
            xycoords=("axes fraction", "data"),
            va="center",
            color=FAINT,
            style="italic",
        )
        return
    if part.n == 1:
        axis.plot(values, [y], "o", color=colour, markersize=5, markeredgewidth=0)
        return
    below = np.full(len(values), y + 0.2)
    axis.plot(values, below, "o", color=colour, markersize=3.5, alpha=0.55, markeredgewidth=0)
    if part.low is not None and part.high is not None:
        axis.plot([part.low, part.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt")
        for end in (part.low, part.high):
            axis.plot(
                [end, end], [y - 0.09, y + 0.09], color=colour, linewidth=1.4, solid_capstyle="butt"
            )
    axis.plot(part.mean, y, "o", color=colour, markersize=7, markeredgecolor="white")


def _point_legend(analysis: Analysis) -> list[Line2D]:
    several = len(analysis.seeds) > 1
    size, strength = (3.5, 0.55) if several else (5, 1.0)
    dot = Line2D([], [], color=INK, marker="o", markersize=size, alpha=strength, linewidth=0)
    dot.set_label("one seed")
    mean = Line2D([], [], color=INK, marker="o", markersize=7, linewidth=1.8)
    mean.set_label("mean over seeds with 95 % t-interval")
    hollow = Line2D([], [], color=INK, marker="D", markersize=6, linewidth=0)
    hollow.set_markerfacecolor("white")
    caveat = "" if analysis.at_papers_scale else " (other data and scale: compare the order only)"
    hollow.set_label("the paper's number" + caveat)
    printed = any(metric in arm.paper for arm in analysis.arms for metric in analysis.metrics)
    return [dot, *([mean] if several else []), *([hollow] if printed else [])]


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        handletextpad=0.5,
        columnspacing=1.6,
        fontsize=8.5,
    )
