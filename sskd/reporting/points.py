"""The figure of levels: points with intervals, paired differences, and the paper's levels apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sskd.reporting.analysis import Analysis, Arm
from sskd.reporting.metrics import METRICS
from sskd.reporting.numbers import show_number
from sskd.reporting.statistics import Summary
from sskd.reporting.style import FAINT, INK, blank, colour, house_style, legend, number_arms, save

__all__ = ["draw_points"]

_LETTERS = 28
"""Of a line above a panel."""

Places = list[tuple[float, str | None, Arm | None]]
"""Heights from above: of a group's heading, or of an arm."""


def draw_points(analysis: Analysis, path: Path, endings: Sequence[str] = ("png",)) -> None:
    """A row a metric: our levels, our paired differences, and the paper's levels apart."""
    places = _places(analysis)
    inks = {name: colour(number) for name, number in number_arms(analysis.arms).items()}
    printed = any(m in arm.paper for arm in analysis.rows for m in analysis.metrics)
    widths = (3.2, 3.2, 2) if printed else (3.2, 3.2)
    height = 0.75 + len(analysis.metrics) * (0.75 + 0.34 * len(places))
    with house_style():
        figure = Figure(figsize=(9.2, height), layout="constrained")
        grid = figure.subplots(
            len(analysis.metrics), len(widths), squeeze=False, width_ratios=widths, sharey=True
        )
        for axes, metric in zip(grid, analysis.metrics, strict=True):
            _levels(axes[0], analysis, places, metric, inks)
            _differences(axes[1], analysis, places, metric, inks)
            if printed:
                _paper(axes[2], places, metric, inks)
        one = len(analysis.counterparts) == 1
        other = analysis.counterparts[0].title if one else "the counterpart"
        paired = fill(f"difference to {other}, same seed", _LETTERS, break_on_hyphens=False)
        titles = ("this project", paired, "the paper")
        for axis, title in zip(grid[0], titles, strict=False):
            axis.set_title(title, loc="left", fontweight="bold", pad=8)
        legend(figure, _handles(analysis, printed=printed))
        save(figure, path, endings)


def _places(analysis: Analysis) -> Places:
    places: Places = []
    for group, arms in analysis.groups:
        for heading, arm in [*([(group, None)] if group else []), *((None, arm) for arm in arms)]:
            places.append((float(len(places)), heading, arm))
    return places


def _levels(
    axis: Axes, analysis: Analysis, places: Places, metric: str, inks: Mapping[str, str]
) -> None:
    measure = METRICS[metric]
    _rows(axis, places, f"{measure.name} ({measure.unit})" if measure.unit else measure.name)
    for y, _, arm in places:
        if arm is not None and arm.cells:
            values = list(arm.values(metric).values())
            nothing = "none" if arm.records else "missing"
            _mark(axis, y, values, arm.summary(metric), inks[arm.name], nothing)
        elif arm is not None:
            _note(axis, y, (arm.absent or "").partition(":")[0])
    if not any(arm.summary(metric) for arm in analysis.arms):
        axis.set_xticks([])


def _differences(
    axis: Axes, analysis: Analysis, places: Places, metric: str, inks: Mapping[str, str]
) -> None:
    measure = METRICS[metric]
    unit = f" ({measure.difference_unit})" if measure.difference_unit else ""
    _rows(axis, places, f"difference in {measure.name}{unit}")
    axis.axvline(0, color=INK, linewidth=1, zorder=1)
    by_name = analysis.own(metric)
    for y, _, arm in places:
        found = by_name.get(arm.name) if arm is not None else None
        if found is not None:
            base = found.other.values(metric)
            mine = found.arm.values(metric)
            pairs = [value - base[seed] for seed, value in mine.items() if seed in base]
            _mark(axis, y, pairs, found.difference, inks[found.arm.name], "")
    # Zero is what the panel is about: keep it in sight and off the edge.
    low, high = axis.get_xlim()
    room = 0.06 * max(high - low, 1e-6)
    low, high = min(low, -room), max(high, room)
    axis.set_xlim(low, high)
    counterparts = {arm.name for arm in analysis.counterparts}
    left = -low > high
    for y, _, arm in places:
        if arm is not None and arm.name in counterparts - by_name.keys():
            axis.annotate(
                "reference",
                (0, y),
                (-5 if left else 5, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                color=FAINT,
                style="italic",
            )


def _paper(axis: Axes, places: Places, metric: str, inks: Mapping[str, str]) -> None:
    measure = METRICS[metric]
    _rows(axis, places, f"{measure.name} ({measure.unit})" if measure.unit else measure.name)
    printed = [
        (inks.get(arm.name, FAINT), y, arm.paper[metric])
        for y, _, arm in places
        if arm is not None and metric in arm.paper
    ]
    for ink, y, value in printed:
        axis.plot(
            value,
            y,
            "D",
            markerfacecolor="white",
            markeredgecolor=ink,
            markeredgewidth=1.6,
            markersize=6,
        )
        axis.annotate(
            show_number(value, measure.digits),
            (value, y),
            (7, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    if not printed:
        blank(axis, "not printed")
        return
    # On the right there must be room for the number of the rightmost.
    low, high = min(value for *_, value in printed), max(value for *_, value in printed)
    span = high - low or abs(high) or 1.0
    axis.set_xlim(low - 0.15 * span, high + 0.42 * span)


def _rows(axis: Axes, places: Places, label: str) -> None:
    names = [_two_lines(heading or (arm.label if arm else "")) for _, heading, arm in places]
    axis.set_yticks([y for y, _, _ in places], names)
    for tick, (_, heading, _) in zip(axis.get_yticklabels(), places, strict=False):
        tick.set_fontweight("bold" if heading else "normal")
    axis.set_ylim(len(places) - 0.4, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(label)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))


def _two_lines(name: str) -> str:
    """A long name in halves, for which a row has room; the panels need the width."""
    return name if len(name) < 40 else fill(name, len(name) // 2 + 4, break_on_hyphens=False)


def _note(axis: Axes, y: float, text: str) -> None:
    axis.annotate(
        text,
        (0.02, y),
        xycoords=("axes fraction", "data"),
        va="center",
        color=FAINT,
        style="italic",
        fontsize=8,
    )


def _mark(
    axis: Axes, y: float, values: Sequence[float], part: Summary | None, ink: str, nothing: str
) -> None:
    """Seeds as small dots under the mean with its interval."""
    if part is None:
        _note(axis, y, nothing)
        return
    if part.n == 1:
        axis.plot(values, [y], "o", color=ink, markersize=5, markeredgewidth=0)
        return
    below = np.full(len(values), y + 0.2)
    axis.plot(values, below, "o", color=ink, markersize=3.5, alpha=0.55, markeredgewidth=0)
    if part.low is not None and part.high is not None:
        axis.plot([part.low, part.high], [y, y], color=ink, linewidth=1.8, solid_capstyle="butt")
        for end in (part.low, part.high):
            axis.plot(
                [end, end], [y - 0.09, y + 0.09], color=ink, linewidth=1.4, solid_capstyle="butt"
            )
    axis.plot(part.mean, y, "o", color=ink, markersize=7, markeredgecolor="white")


def _handles(analysis: Analysis, *, printed: bool) -> list[Line2D]:
    several = len(analysis.seeds) > 1
    size, strength = (3.5, 0.55) if several else (5, 1.0)
    dot = Line2D([], [], color=INK, marker="o", markersize=size, alpha=strength, linewidth=0)
    dot.set_label("one seed")
    mean = Line2D([], [], color=INK, marker="o", markersize=7, linewidth=1.8)
    mean.set_label("mean over seeds with 95 % t-interval")
    hollow = Line2D([], [], color=INK, marker="D", markersize=6, linewidth=0)
    hollow.set_markerfacecolor("white")
    why = analysis.unlike_paper
    caveat = f" ({why}: compare the order only)" if why else ""
    hollow.set_label("the paper's number" + caveat)
    return [dot, *([mean] if several else []), *([hollow] if printed else [])]
