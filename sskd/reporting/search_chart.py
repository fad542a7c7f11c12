"""What each setting of a search did: a point a trial."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from sskd.reporting.document import Figure
from sskd.reporting.numbers import spell
from sskd.reporting.style import COLOURS, house_style, save
from sskd.studies.grid import short_name
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import PlannedSearch
from sskd.studies.sweep_files import Dimension

__all__ = ["draw_slices"]

TICKS = 4
"""Intervals between the ticks of a logarithmic axis."""


def draw_slices(
    planned: PlannedSearch, entries: Mapping[int, Entry], path: Path, endings: Sequence[str]
) -> Figure | None:
    """A panel a setting, AP over its values; later trials are darker, the base is ringed.

    Args:
        planned: The search.
        entries: The last trial of each place.
        path: Of the figure without its ending.
        endings: Of ``png`` and ``pdf``.

    Returns:
        Nothing where no trial is complete.
    """
    dimensions = planned.space.dimensions
    known = [e for e in entries.values() if e.values is not None]
    if not known:
        return None
    with house_style():
        canvas = Canvas(figsize=(2.9 * len(dimensions) + 0.6, 2.9), layout="constrained")
        panels = canvas.subplots(1, len(dimensions), squeeze=False, sharey=True)[0]
        for axes, (key, dimension) in zip(panels, dimensions.items(), strict=True):
            _draw_axis(axes, dimension)
            for number, entry in enumerate(known):
                assert entry.values is not None
                own = entry.params == planned.space.default
                axes.plot(
                    _position(entry.params[key], dimension),
                    100 * entry.values[0],
                    "o",
                    color=COLOURS[0],
                    alpha=0.3 + 0.7 * (number + 1) / len(known),
                    markeredgecolor=COLOURS[3] if own else "none",
                    markeredgewidth=1.6,
                    markersize=6.5,
                )
            axes.set_xlabel(short_name(key))
        panels[0].set_ylabel("AP on held-out images (%)")
        save(canvas, path, endings)
    caption = (
        "AP on the held-out images over each setting, a point a trial: later ones are darker, that "
        "of the base's own values is ringed."
    )
    return Figure(path.name, "What each setting did", caption)


def _draw_axis(axes: Axes, dimension: Dimension) -> None:
    """The whole of what a setting may be, with few ticks: those of a log axis would overlap."""
    if dimension.values is not None:
        axes.set_xticks(range(len(dimension.values)), [spell(v) for v in dimension.values])
    elif dimension.log:
        assert dimension.low is not None
        assert dimension.high is not None
        axes.set_xscale("log")
        ratio = dimension.high / dimension.low
        ticks = [dimension.low * ratio ** (i / TICKS) for i in range(TICKS + 1)]
        axes.set_xticks(ticks, [f"{tick:.2g}" if tick < 100 else f"{tick:.0f}" for tick in ticks])
        axes.minorticks_off()
        margin = ratio**0.05
        axes.set_xlim(dimension.low / margin, dimension.high * margin)


def _position(value: Any, dimension: Dimension) -> float:
    return float(dimension.values.index(value) if dimension.values is not None else value)
