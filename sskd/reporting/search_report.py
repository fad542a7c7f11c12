"""The report of a search: a pure function of declaration, ledger and records.

Every number in it is of held-out labeled images, and it says so: a search must not be read as a
result. It ends in the commands that measure the winner on val.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sskd.config import canonical
from sskd.reporting.formats import templates
from sskd.reporting.style import COLOURS, house_style, save
from sskd.studies.cell_files import CellFiles
from sskd.studies.grid import short_name
from sskd.studies.proposals import importance, pareto_front
from sskd.studies.search import found_so_far
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import DEVELOPMENT_SEED, PlannedSearch
from sskd.studies.sweep_files import Dimension

__all__ = ["best_place", "winner_settings", "write_search_report"]

TICKS = 4
"""Intervals between the ticks of a logarithmic axis."""

_ACROSS = 4
"""Panels of a row."""


def write_search_report(
    planned: PlannedSearch,
    entries: Mapping[int, Entry],
    *,
    home: Path,
    out: Path,
    command: str,
    confirm: Sequence[str],
) -> Path:
    """Write ``out/sweep-NAME.md`` with its figure beside it.

    Args:
        planned: The search at its base.
        entries: The last trial of each place.
        home: Where the records are.
        out: A folder; made if need be.
        command: What runs the search, as the reader would type it.
        confirm: What measures the winner on val: one cell, and the ablation that the report prints.

    Returns:
        The path of the markdown file.
    """
    out.mkdir(parents=True, exist_ok=True)
    search = planned.search
    figure = out / f"sweep-{search.name}-slices.png"
    figure.unlink(missing_ok=True)  # it must not outlive its numbers
    found = found_so_far(entries)
    complete = [place for place, trial in found.items() if trial.values is not None]
    if complete:
        _draw_slices(planned, entries, figure)
    front = pareto_front(found) if len(search.objectives) > 1 else []
    best = best_place(entries)
    new = best is not None and dict(entries[best].params) != dict(planned.space.default)
    template = templates().get_template("search.md.j2")
    text = template.render(
        search=search,
        config=planned.config,
        seed=DEVELOPMENT_SEED,
        answer=_answer(planned, entries),
        held_out=_held_out(entries, home),
        complete=len(complete),
        head=[
            "trial",
            *(f"`{short_name(key)}`" for key in planned.space.dimensions),
            "AP (%)",
            *search.objectives[1:],
            *(["AP (%), short schedule"] if search.pruning else []),
            "state",
        ],
        rows=[_row(planned, entry) for entry in entries.values()],
        order=_order(planned),
        figure=figure.name if complete else "",
        front=[
            [str(place), _ap(entries[place].values), _cost(entries[place].values)]
            for place in front
        ],
        shares=[
            (name, f"{share:.2f}")
            for name, share in importance(planned.space, [*found.values()]).items()
        ],
        confirm=confirm if new else [],
        declaration=_declaration(planned, entries[best]) if new and best is not None else "",
        sampling=_sampling(planned),
        space=[
            f"`{key}`: {_spell_range(dimension)}; the base has {_spell(planned.space.default[key])}"
            for key, dimension in planned.space.dimensions.items()
        ],
        command=command,
    )
    path = out / f"sweep-{search.name}.md"
    path.write_text(text, "utf-8")
    return path


def best_place(entries: Mapping[int, Entry]) -> int | None:
    """The place with the highest AP, the earliest of equals; ``None`` where none is complete."""
    known = {place: e.values[0] for place, e in entries.items() if e.values is not None}
    return max(known, key=lambda place: (known[place], -place)) if known else None


def winner_settings(entries: Mapping[int, Entry]) -> list[str]:
    """The best trial's settings as ``key=value``, for ``--set``; none where none is complete."""
    best = best_place(entries)
    if best is None:
        return []
    return [f"{key}={_spell(value)}" for key, value in entries[best].params.items()]


def _answer(planned: PlannedSearch, entries: Mapping[int, Entry]) -> str:
    best = best_place(entries)
    if best is None:
        return "No trial is complete yet."
    said = ", ".join(f"{short_name(k)} {_spell(v)}" for k, v in entries[best].params.items())
    text = f"The best of the trials is number {best}: {said}, with {_ap(entries[best].values)} AP"
    base = next(
        (e for e in entries.values() if dict(e.params) == dict(planned.space.default)), None
    )
    if base is None or base.values is None:
        return f"{text} on the held-out images."
    if base.place == best:
        return f"{text} on the held-out images: the base's own values."
    return f"{text} on the held-out images; the base's own values have {_ap(base.values)}."


def _held_out(entries: Mapping[int, Entry], home: Path) -> str:
    for entry in entries.values():
        spec = CellFiles(home, entry.fingerprint).spec() or {}
        if spec.get("held_out_images"):
            count = spec["held_out_images"]
            return f"{count} of the {count + spec['labeled_images']}"
    return "a part of the"


def _row(planned: PlannedSearch, entry: Entry) -> list[str]:
    known = entry.values
    state = {"pruned": "given up", "open": "not finished"}.get(entry.state, entry.state)
    if entry.error:
        state = f"failed: {entry.error}".replace("|", "\\|")
    return [
        str(entry.place),
        *(_spell(entry.params[key]) for key in planned.space.dimensions),
        _ap(known),
        *([_cost(known)] if len(planned.search.objectives) > 1 else []),
        *([_ap(None if entry.early is None else (entry.early,))] if planned.search.pruning else []),
        state,
    ]


def _order(planned: PlannedSearch) -> str:
    lines = ["The sequence is fixed: stopped and gone on with, it is the same as in one go."]
    if "seconds" in planned.search.objectives:
        lines = ["The sequence follows measured times: on another machine it is another one."]
    if not planned.space.holds_default:
        lines.append("The base's own values lie outside of the space and were not tried.")
    return " ".join(lines)


def _sampling(planned: PlannedSearch) -> str:
    search = planned.search
    first = "The base's own values first, then random" if planned.space.holds_default else "Random"
    text = (
        f"{first} trials until {search.startup} are complete, then Optuna's TPE (multivariate), "
        f"seeded for each trial from {search.sampler_seed} and its number."
    )
    if search.pruning:
        text += (
            f" A trial runs a schedule of {100 * search.pruning.share:g} % of the final stage's "
            "steps first, and is given up if that ends below the median of the complete trials "
            f"before it, once there are {search.pruning.startup}."
        )
    return text


def _declaration(planned: PlannedSearch, winner: Entry) -> str:
    """The ablation that holds the winner against the base."""
    return yaml.safe_dump(
        {
            "question": f"Is the winner of the search {planned.search.name} above the base on val?",
            "base": planned.search.base,
            "variants": {
                "base": {"label": "Base"},
                "winner": {"label": "Winner", "changes": dict(winner.params)},
            },
            "reference": "base",
        },
        sort_keys=False,
    )


def _draw_slices(planned: PlannedSearch, entries: Mapping[int, Entry], path: Path) -> None:
    """A panel a setting, AP over its values; later trials are darker, the base is ringed."""
    dimensions = planned.space.dimensions
    known = [e for e in entries.values() if e.values is not None]
    with house_style():
        across = min(len(dimensions), _ACROSS)
        rows = -(-len(dimensions) // across)
        figure = Figure(figsize=(2.9 * across + 0.6, 2.9 * rows), layout="constrained")
        grid = figure.subplots(rows, across, squeeze=False, sharey=True)
        panels = list(grid.flatten())
        for axes, (key, dimension) in zip(panels, dimensions.items(), strict=False):
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
        for axes in panels[len(dimensions) :]:
            axes.set_visible(False)
        for axes in grid[:, 0]:
            axes.set_ylabel("AP on held-out images (%)")
        save(figure, path.with_suffix(""))


def _draw_axis(axes: Axes, dimension: Dimension) -> None:
    """The whole of what a setting may be, with few ticks: those of a log axis would overlap."""
    if dimension.values is not None:
        axes.set_xticks(range(len(dimension.values)), [_spell(v) for v in dimension.values])
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


def _spell_range(dimension: Dimension) -> str:
    if dimension.values is not None:
        return ", ".join(map(_spell, dimension.values))
    step = f" in steps of {dimension.step:g}" if dimension.step else ""
    return f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else step}"


def _spell(value: Any) -> str:
    """As YAML and people have it."""
    return value if isinstance(value, str) else canonical(value)


def _ap(values: tuple[float, ...] | None) -> str:
    return "\N{EN DASH}" if values is None else f"{100 * values[0]:.1f}"


def _cost(values: tuple[float, ...] | None) -> str:
    return "\N{EN DASH}" if values is None else f"{values[1]:,.0f}"
