"""The best trial of a search, and what holds it against the base on val."""

from collections.abc import Mapping

import yaml

from sskd.reporting.numbers import spell
from sskd.studies.search_ledger import Entry
from sskd.studies.search_plan import PlannedSearch

__all__ = ["best_place", "winner_declaration", "winner_settings"]


def best_place(entries: Mapping[int, Entry]) -> int | None:
    """The place with the highest AP, the earliest of equals; ``None`` where none is complete."""
    known = {place: e.values[0] for place, e in entries.items() if e.values is not None}
    return max(known, key=lambda place: (known[place], -place)) if known else None


def winner_settings(entries: Mapping[int, Entry]) -> list[str]:
    """The best trial's settings as ``key=value``, for ``--set``; none where none is complete."""
    best = best_place(entries)
    if best is None:
        return []
    return [f"{key}={spell(value)}" for key, value in entries[best].params.items()]


def winner_declaration(planned: PlannedSearch, winner: Entry) -> str:
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
