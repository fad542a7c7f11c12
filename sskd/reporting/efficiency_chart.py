"""Teacher to student on logarithmic axes: equal slopes are equal factors."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from sskd.reporting.efficiency_table import QUANTITIES, Quantity, factor, ours
from sskd.reporting.style import INK, colour, house_style, legend, save
from sskd.studies.efficiency import Both
from sskd.studies.measurements import Measurement

__all__ = ["draw_efficiency"]

_PAPER = "#777777"
_GAP = 0.08
"""A label's height, as a share of its panel's."""


def draw_efficiency(
    measured: Sequence[Measurement], paper: Both, path: Path, endings: Sequence[str]
) -> None:
    """A panel a quantity, a line a measurement and one for the paper.

    Args:
        measured: At least one.
        paper: What the paper prints.
        path: Of the chart without its ending.
        endings: Of ``png`` and ``pdf``.
    """
    lines = [(_label(m), ours(m), colour(i), "o") for i, m in enumerate(measured)]
    lines.append(("paper", paper, _PAPER, "s"))
    # Images a second are the time again, upside down.
    shown = [quantity for quantity in QUANTITIES if quantity.word]
    with house_style():
        figure = Figure(figsize=(9.2, 2.8 + 0.15 * len(lines)), layout="constrained")
        panels = figure.subplots(1, len(shown))
        for axes, quantity in zip(panels, shown, strict=True):
            _panel(axes, quantity, lines)
        legend(figure, panels[0].get_legend_handles_labels()[0])
        save(figure, path, endings)


def _panel(axes: Axes, quantity: Quantity, lines: Sequence[tuple[str, Both, str, str]]) -> None:
    students = []
    for label, models, hue, marker in lines:
        values = [
            getattr(m, quantity.name) / quantity.unit for m in (models.teacher, models.student)
        ]
        axes.plot((0, 1), values, color=hue, marker=marker, label=label, linewidth=1.6)
        students.append(values[1])
    axes.set_yscale("log")
    axes.set_xlim(-0.25, 1.9)
    axes.set_xticks((0, 1), ("teacher", "student"))
    axes.set_title(quantity.label)
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()
    axes.margins(y=0.15)
    low, high = axes.get_ylim()
    places = [math.log(value / low) / math.log(high / low) for value in students]
    for (_, models, hue, _), place in zip(lines, _apart(places), strict=True):
        axes.annotate(
            f"{factor(models, quantity.name):.2g} times",
            (1.12, place),
            xycoords=("data", "axes fraction"),
            va="center",
            color=hue if hue != _PAPER else INK,
            fontsize=8,
        )


def _apart(places: Sequence[float]) -> list[float]:
    """Heights of labels in a panel, the upper of two neighbours moved up where they would touch."""
    moved = list(places)
    order = sorted(range(len(places)), key=places.__getitem__)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + _GAP)
    return moved


def _label(measured: Measurement) -> str:
    height, width = measured.size
    return f"ours, {measured.environment['device']}, {height}x{width}"
