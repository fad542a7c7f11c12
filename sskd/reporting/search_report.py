"""The report of a search: a pure function of declaration, ledger and records.

Every number in it is of held-out labeled images, and it says so: a search must not be read as a
result. It ends in the commands that measure the winner on val.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sskd.config import canonical
from sskd.reporting.formats import templates
from sskd.reporting.in_mlflow import in_mlflow
from sskd.reporting.search_figures import KINDS, draw_search
from sskd.studies.cell_files import CellFiles
from sskd.studies.grid import short_name
from sskd.studies.proposals import importance, pareto_front
from sskd.studies.search import complete_cells, found_so_far
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import DEVELOPMENT_SEED, PlannedSearch
from sskd.studies.shown import Shown, shown_cells
from sskd.studies.sweep_files import Dimension

__all__ = ["best_place", "search_summary", "winner_settings", "write_search_report"]

MOST_ROWS = 10
"""Trials of the summary in MLflow."""


def write_search_report(
    planned: PlannedSearch,
    entries: Mapping[int, Entry],
    *,
    home: Path,
    out: Path,
    command: str,
    confirm: Sequence[str],
) -> Path:
    """Write ``out/sweep-NAME.md`` with its figures beside it.

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
    for kind in KINDS:
        # A figure that can no longer be drawn must not outlive its numbers.
        (out / f"sweep-{search.name}-{kind}.png").unlink(missing_ok=True)
    found = found_so_far(entries)
    complete = [place for place, trial in found.items() if trial.values is not None]
    figures = draw_search(planned, entries, out)
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
        head=_head(planned),
        rows=[_row(planned, entry) for entry in entries.values()],
        order=_order(planned),
        figures=figures,
        mlflow=in_mlflow(_shown(planned, entries, home)),
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


def search_summary(planned: PlannedSearch, entries: Mapping[int, Entry]) -> str:
    """The answer and the best trials, as Markdown, for the place above a search's runs."""
    known = [entry for entry in entries.values() if entry.values is not None]
    best = sorted(known, key=lambda entry: (-_value(entry), entry.place))[:MOST_ROWS]
    lines = [_head(planned), ["---"] * len(_head(planned)), *(_row(planned, e) for e in best)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines) if best else ""
    count = f"{len(known)} of {len(entries)} trials are complete"
    counted = f"{count}; the best {len(best)} of them:" if len(known) > len(best) else f"{count}:"
    return "\n\n".join([_answer(planned, entries), *([counted, table] if best else [])])


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


def _shown(planned: PlannedSearch, entries: Mapping[int, Entry], home: Path) -> Shown | None:
    return shown_cells(home, planned.experiment, complete_cells(planned, entries))


def _value(entry: Entry) -> float:
    assert entry.values is not None
    return entry.values[0]


def _head(planned: PlannedSearch) -> list[str]:
    search = planned.search
    return [
        "trial",
        *(f"`{short_name(key)}`" for key in planned.space.dimensions),
        "AP (%)",
        *search.objectives[1:],
        *(["AP (%), short schedule"] if search.pruning else []),
        "state",
    ]


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
