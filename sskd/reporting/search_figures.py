"""The figures of a search: what each setting did, which of them matter, and what AP costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from sskd.config import canonical
from sskd.reporting.document import Figure
from sskd.reporting.style import COLOURS, house_style, save
from sskd.studies.grid import short_name
from sskd.studies.proposals import importance, pareto_front
from sskd.studies.search import found_so_far
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import PlannedSearch
from sskd.studies.sweep_files import Dimension

__all__ = ["KINDS", "draw_search"]

KINDS = ("slices", "front")
"""What follows the search's name in the name of a figure's file."""

TICKS = 4
"""Intervals between the ticks of a logarithmic axis."""

ACROSS = 4
"""Panels of a row."""

_AP = "AP on held-out images (%)"
_COSTS = {"seconds": "seconds of the final stage", "parameters": "parameters (millions)"}


def draw_search(
    planned: PlannedSearch,
    entries: Mapping[int, Entry],
    folder: Path,
    endings: Sequence[str] = ("png",),
) -> list[Figure]:
    """Draw what the complete trials show; nothing where there is none.

    Args:
        planned: The search at its base.
        entries: The last trial of each place.
        folder: For ``sweep-NAME-KIND.ENDING``.
        endings: Of ``png`` and ``pdf``.
    """
    known = [entry for entry in entries.values() if entry.values is not None]
    if not known:
        return []
    stems = {kind: f"sweep-{planned.search.name}-{kind}" for kind in KINDS}
    shares = importance(planned.space, [*found_so_far(entries).values()])
    _draw_slices(planned, known, shares, folder / stems["slices"], endings)
    figures = [_slices(planned, shares, stems["slices"])]
    if len(planned.search.objectives) > 1:
        front = pareto_front(found_so_far(entries))
        _draw_front(planned, known, front, folder / stems["front"], endings)
        figures.append(_front(planned, stems["front"]))
    return figures


def _slices(planned: PlannedSearch, shares: Mapping[str, float], stem: str) -> Figure:
    cost = f", then {planned.search.objectives[1]}" if len(planned.search.objectives) > 1 else ""
    caption = f"AP{cost} over each setting: a point a trial, later ones darker."
    if planned.space.holds_default:
        caption += " Ringed: the base's own values."
    if shares:
        caption += " Bars: each setting's share in what sets the best quarter apart by AP."
    return Figure(stem, "What each setting did", caption)


def _front(planned: PlannedSearch, stem: str) -> Figure:
    caption = (
        f"AP against {planned.search.objectives[1]}: a point a trial. On the line, with their "
        "numbers, are those that no trial beats in both at once."
    )
    if planned.space.holds_default:
        caption += " Ringed: the base's own values."
    return Figure(stem, "What AP costs", caption)


def _draw_slices(
    planned: PlannedSearch,
    known: Sequence[Entry],
    shares: Mapping[str, float],
    path: Path,
    endings: Sequence[str],
) -> None:
    """Rows of panels for each objective, a panel a setting; the bars follow those of AP."""
    dimensions = [*planned.space.dimensions.items()]
    objectives = range(len(planned.search.objectives))
    panels: list[list[tuple[str, Dimension] | None]] = [[*dimensions] for _ in objectives]
    if shares:
        panels[0].append(None)
    across = min(max(map(len, panels)), ACROSS)
    rows = [-(-len(own) // across) for own in panels]
    with house_style():
        canvas = Canvas(figsize=(2.9 * across + 0.6, 2.9 * sum(rows)), layout="constrained")
        grid = canvas.add_gridspec(sum(rows), across)
        for objective, own in enumerate(panels):
            first: Axes | None = None
            for number, panel in enumerate(own):
                at = grid[sum(rows[:objective]) + number // across, number % across]
                if panel is None:
                    _draw_bars(canvas.add_subplot(at), shares)
                    continue
                axes = canvas.add_subplot(at, sharey=first)
                first = first or axes
                _draw_slice(axes, planned, known, panel, objective)
                if number % across == 0:
                    axes.set_ylabel(_label(planned, objective))
                else:
                    axes.tick_params(labelleft=False)
        save(canvas, path, endings)


def _draw_slice(
    axes: Axes,
    planned: PlannedSearch,
    known: Sequence[Entry],
    panel: tuple[str, Dimension],
    objective: int,
) -> None:
    key, dimension = panel
    _draw_axis(axes, dimension)
    for number, entry in enumerate(known):
        at = _position(entry.params[key], dimension)
        shade = 0.3 + 0.7 * (number + 1) / len(known)
        _draw_trial(axes, planned, entry, at, _value(planned, entry, objective), shade)
    axes.set_xlabel(short_name(key))


def _draw_bars(axes: Axes, shares: Mapping[str, float]) -> None:
    """The largest on top."""
    names = [short_name(key) for key in shares]
    axes.barh(range(len(names)), [*shares.values()], color=COLOURS[2], height=0.6)
    # Within the panel: beside it, long names would take the room of the others.
    for number, name in enumerate(names):
        axes.text(0.02, number - 0.42, name, fontsize=8, va="center")
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.set_xlim(0, 1)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("share of importance")


def _draw_front(
    planned: PlannedSearch,
    known: Sequence[Entry],
    front: Sequence[int],
    path: Path,
    endings: Sequence[str],
) -> None:
    with house_style():
        canvas = Canvas(figsize=(5.2, 3.6), layout="constrained")
        axes = canvas.subplots()
        best = {entry.place: entry for entry in known if entry.place in front}
        corners = sorted(
            (_value(planned, entry, 1), _value(planned, entry, 0)) for entry in best.values()
        )
        axes.step(*zip(*corners, strict=True), where="post", color=COLOURS[2], linewidth=1.2)
        for entry in known:
            at, height = _value(planned, entry, 1), _value(planned, entry, 0)
            shade = 1.0 if entry.place in best else 0.35
            _draw_trial(axes, planned, entry, at, height, shade)
            if entry.place in best:
                axes.annotate(
                    str(entry.place),
                    (at, height),
                    xytext=(0, 6),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                )
        axes.margins(0.08, 0.12)
        axes.set_xlabel(_label(planned, 1))
        axes.set_ylabel(_AP)
        save(canvas, path, endings)


def _draw_trial(
    axes: Axes, planned: PlannedSearch, entry: Entry, x: float, y: float, shade: float
) -> None:
    own = dict(entry.params) == dict(planned.space.default)
    axes.plot(
        x,
        y,
        "o",
        markerfacecolor=(COLOURS[0], shade),
        markeredgecolor=COLOURS[3] if own else "none",
        markeredgewidth=1.6,
        markersize=6.5,
    )


def _draw_axis(axes: Axes, dimension: Dimension) -> None:
    """The whole of what a setting may be, with few ticks: those of a log axis would overlap."""
    if dimension.values is not None:
        words = [v if isinstance(v, str) else canonical(v) for v in dimension.values]
        axes.set_xticks(range(len(words)), words)
        axes.set_xlim(-0.5, len(words) - 0.5)
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


def _value(planned: PlannedSearch, entry: Entry, objective: int) -> float:
    """As the axes have it: AP in per cent, parameters in millions."""
    assert entry.values is not None
    units = {"mask_ap": 100.0, "parameters": 1e-6, "seconds": 1.0}
    return units[planned.search.objectives[objective]] * entry.values[objective]


def _label(planned: PlannedSearch, objective: int) -> str:
    return _AP if objective == 0 else _COSTS[planned.search.objectives[objective]]
