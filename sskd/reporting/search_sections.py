"""The sections of a search's report, in the order of reading."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sskd.config import Config
from sskd.reporting.document import (
    Block,
    Bullets,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Table,
    literal,
)
from sskd.reporting.in_mlflow import in_mlflow
from sskd.reporting.markdown import pipe_table
from sskd.reporting.numbers import NONE, spell
from sskd.reporting.search_winner import best_place, winner_declaration
from sskd.studies.cell_files import CellFiles
from sskd.studies.grid import short_name
from sskd.studies.proposals import importance, pareto_front
from sskd.studies.search import complete_cells, found_so_far
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import DEVELOPMENT_SEED, PlannedSearch
from sskd.studies.shown import Shown, shown_cells
from sskd.studies.sweep_files import Dimension

__all__ = ["compose", "search_summary"]

_FEW = 20
"""Trials below which the shares of settings are a guess."""

_MOST_ROWS = 10
"""Of a summary; the report has every trial."""


def compose(
    planned: PlannedSearch,
    entries: Mapping[int, Entry],
    figures: Sequence[Figure],
    *,
    home: Path,
    command: str,
    confirm: Sequence[str],
) -> Document:
    """The whole report.

    Args:
        planned: The search at its base.
        entries: The last trial of each place.
        figures: What was drawn of them.
        home: Where the records are.
        command: What runs the search, as the reader would type it.
        confirm: What measures the winner on val: one cell, and the ablation that is printed.
    """
    blocks = [
        *_head(planned, entries, home),
        *_trials(planned, entries),
        *figures,
        *_front(planned, entries),
        *_shares(planned, entries),
        *_winner(planned, entries, confirm),
        *_search(planned, command),
        *in_mlflow(_shown(planned, entries, home)),
    ]
    return Document.of(f"sweep-{planned.search.name}", planned.search.question, blocks)


def search_summary(planned: PlannedSearch, entries: Mapping[int, Entry]) -> str:
    """The answer and the best trials, as Markdown, for the place above a search's runs."""
    known = [entry for entry in entries.values() if entry.values is not None]
    best = sorted(known, key=lambda entry: (-_value(entry), entry.place))[:_MOST_ROWS]
    if not best:
        return _answer(planned, entries)
    table = pipe_table(Table((_header(planned), *(_row(planned, entry) for entry in best))))
    count = f"{len(known)} of {len(entries)} trials are complete"
    counted = f"{count}; the best {len(best)} of them:" if len(known) > len(best) else f"{count}:"
    return "\n\n".join([_answer(planned, entries), counted, table])


def _answer(planned: PlannedSearch, entries: Mapping[int, Entry]) -> str:
    best = best_place(entries)
    if best is None:
        return "No trial is complete yet."
    said = ", ".join(
        f"{short_name(k)} {literal(spell(v))}" for k, v in entries[best].params.items()
    )
    text = f"The best of the trials is number {best}: {said}, with {_ap(entries[best].values)} AP"
    base = next(
        (e for e in entries.values() if dict(e.params) == dict(planned.space.default)), None
    )
    if base is None or base.values is None:
        return f"{text} on the held-out images."
    if base.place == best:
        return f"{text} on the held-out images: the base's own values."
    return f"{text} on the held-out images; the base's own values have {_ap(base.values)}."


def _head(planned: PlannedSearch, entries: Mapping[int, Entry], home: Path) -> list[Block]:
    caution = (
        f"**AP here is measured on held-out images, not on val**: {_held_out(entries, home)} "
        "labeled training images, which no trial trained on, under one seed "
        f"({DEVELOPMENT_SEED}) that no other report uses. It serves to choose settings. It stands "
        f"beside no table's number, and the best of {_complete(entries)} noisy numbers is too high "
        "by itself."
    )
    return [Paragraph((_answer(planned, entries),)), Paragraph((caution,))]


def _held_out(entries: Mapping[int, Entry], home: Path) -> str:
    for entry in entries.values():
        spec = CellFiles(home, entry.fingerprint).spec() or {}
        if spec.get("held_out_images"):
            count = spec["held_out_images"]
            return f"{count} of the {count + spec['labeled_images']}"
    return "a part of the"


def _trials(planned: PlannedSearch, entries: Mapping[int, Entry]) -> list[Block]:
    failures = tuple(
        f"Trial {entry.place} failed: {literal(entry.error)}"
        for entry in entries.values()
        if entry.error
    )
    rows = (_row(planned, entry) for entry in entries.values())
    return [
        Heading("Trials"),
        Table((_header(planned), *rows), notes=failures),
        Paragraph((_order(planned),)),
    ]


def _header(planned: PlannedSearch) -> tuple[str, ...]:
    search = planned.search
    return (
        "trial",
        *(f"`{short_name(key)}`" for key in planned.space.dimensions),
        "AP (%)",
        *search.objectives[1:],
        *(["AP (%), short schedule"] if search.pruning else []),
        "state",
    )


def _row(planned: PlannedSearch, entry: Entry) -> tuple[str, ...]:
    known = entry.values
    state = {"pruned": "given up", "open": "not finished"}.get(entry.state, entry.state)
    return (
        str(entry.place),
        *(literal(spell(entry.params[key])) for key in planned.space.dimensions),
        _ap(known),
        *([_cost(known)] if len(planned.search.objectives) > 1 else []),
        *([_ap(None if entry.early is None else (entry.early,))] if planned.search.pruning else []),
        state,
    )


def _front(planned: PlannedSearch, entries: Mapping[int, Entry]) -> list[Block]:
    front = pareto_front(found_so_far(entries)) if len(planned.search.objectives) > 1 else []
    if not front:
        return []
    cost = planned.search.objectives[1]
    rows = [
        (str(place), _ap(entries[place].values), _cost(entries[place].values)) for place in front
    ]
    return [
        Heading(f"AP against {cost}"),
        Paragraph(("No trial beats these in both at once:",)),
        Table((("trial", "AP (%)", cost), *rows)),
    ]


def _shares(planned: PlannedSearch, entries: Mapping[int, Entry]) -> list[Block]:
    complete = _complete(entries)
    shares = importance(planned.space, [*found_so_far(entries).values()])
    if not shares:
        too_few = Paragraph((f"{complete} complete trials are too few to tell.",))
        return [Heading("What matters"), too_few]
    caution = ", too few to lean on" if complete < _FEW else ""
    line = (
        "Shares of the settings in what sets the best quarter of the trials apart (PED-ANOVA, AP; "
        f"{complete} trials{caution}):"
    )
    rows = [(f"`{name}`", f"{share:.2f}") for name, share in shares.items()]
    return [
        Heading("What matters"),
        Paragraph((line,)),
        Table((("setting", "share"), *rows)),
    ]


def _winner(
    planned: PlannedSearch, entries: Mapping[int, Entry], confirm: Sequence[str]
) -> list[Block]:
    head = Heading("The winner on val")
    best = best_place(entries)
    if best is None or dict(entries[best].params) == dict(planned.space.default):
        why = "no trial is complete" if best is None else "the base's own values won"
        return [head, Paragraph((f"There is nothing to confirm: {why}.",))]
    paired = (
        "Against the base, with paired seeds and an interval: save this as "
        f"`experiments/{planned.search.name}-winner.yaml`,"
    )
    return [
        head,
        Paragraph(("One cell with a fresh seed:",)),
        Code(confirm[0]),
        Paragraph((paired,)),
        Code(winner_declaration(planned, entries[best]), "yaml"),
        Paragraph(("and run",)),
        Code(confirm[1]),
    ]


def _search(planned: PlannedSearch, command: str) -> list[Block]:
    space = tuple(
        f"`{key}`: {literal(_spell_range(dimension))}; the base has "
        f"{literal(spell(planned.space.default[key]))}"
        for key, dimension in planned.space.dimensions.items()
    )
    return [
        Heading("How it was searched"),
        Paragraph((_base(planned.search.base, planned.config),)),
        Paragraph((_sampling(planned),)),
        Bullets(space),
        Code(command),
    ]


def _base(base: str, config: Config) -> str:
    data = config.data
    labeled = (
        f"the training images of `{data.labeled_file}`"
        if data.labeled_file
        else f"{100 * data.label_fraction:g} % of the training images"
    )
    return (
        f"Base `{base}`, scale `{config.scale}`, data `{data.name}`, {labeled} labeled, "
        f"{100 * data.held_out:g} % of these held out (split seed {data.split_seed})."
    )


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


def _spell_range(dimension: Dimension) -> str:
    if dimension.values is not None:
        return ", ".join(map(spell, dimension.values))
    step = f" in steps of {dimension.step:g}" if dimension.step else ""
    return f"{dimension.low:g} to {dimension.high:g}{', logarithmic' if dimension.log else step}"


def _shown(planned: PlannedSearch, entries: Mapping[int, Entry], home: Path) -> Shown | None:
    return shown_cells(home, planned.experiment, complete_cells(planned, entries))


def _value(entry: Entry) -> float:
    assert entry.values is not None
    return entry.values[0]


def _complete(entries: Mapping[int, Entry]) -> int:
    return sum(entry.values is not None for entry in entries.values())


def _ap(values: tuple[float, ...] | None) -> str:
    return NONE if values is None else f"{100 * values[0]:.1f}"


def _cost(values: tuple[float, ...] | None) -> str:
    return NONE if values is None else f"{values[1]:,.0f}"
