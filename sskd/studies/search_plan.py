"""A search at one base: the cell of each trial, and what decides the sequence."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sskd.config import SHORT_NAMES, Config, build_config, digest
from sskd.engine.stages import FINAL_STAGE
from sskd.studies.cells import PlannedCell, changed, experiment_name
from sskd.studies.declaration import PRESETS
from sskd.studies.proposals import Space, propose, resolve_space
from sskd.studies.sweep_files import Search

__all__ = ["DEVELOPMENT_SEED", "PlannedSearch", "foreseen_cells", "plan_search"]

DEVELOPMENT_SEED = 1000
"""Of every trial's cell: reports use seeds from 0 on, and must not be of what was tuned on."""


@dataclass(frozen=True)
class PlannedSearch:
    """A search at one base, every setting of which is known to be valid."""

    search: Search
    raw: Mapping[str, Any]
    own: Mapping[str, Any]
    """What the search's base and the user change of ``raw``."""
    space: Space
    config: Config
    """With the base's own values."""

    @property
    def experiment(self) -> str:
        """``sweep/contrast@tiny-toycity``."""
        name = experiment_name(self.search.name, self.config)
        return f"sweep/{name.partition('/')[2]}"

    @property
    def changes(self) -> dict[str, Any]:
        """What its user changed, by dotted key, without what affects no number."""
        declared = {**PRESETS[self.search.base], "data.held_out": self.search.held_out}
        return {key: value for key, (_, value) in changed(self.config, self.raw, declared).items()}

    def cell(self, place: int, params: Mapping[str, Any]) -> Config:
        """The cell of a trial.

        Raises:
            ValueError: If the settings, valid one by one, do not go together.
        """
        try:
            return build_config(self.raw, {**self.own, **params})
        except ValueError as error:
            raise ValueError(f"trial-{place}: {error}") from None

    def early(self, config: Config) -> Config:
        """The same cell with the short schedule of the pruning."""
        assert self.search.pruning is not None
        stage = FINAL_STAGE[config.pipeline.final]
        steps = getattr(config.stages, stage).steps
        short = max(1, round(self.search.pruning.share * steps))
        return build_config(config.model_dump(mode="json"), {f"stages.{stage}.steps": short})

    def identity(self, fingerprint: str) -> str:
        """Eight digits of what decides the sequence; not how long it is."""
        said = self.search.model_dump(
            mode="json", include={"startup", "objectives", "sampler_seed", "pruning"}
        )
        return digest(said | {"space": self.space.describe(), "base": fingerprint})[:8]


def plan_search(
    search: Search, raw: Mapping[str, Any], changes: Mapping[str, Any]
) -> PlannedSearch:
    """A search at a base, checked.

    Args:
        search: The declaration.
        raw: A complete base, as ``sskd.config.base_for`` gives it.
        changes: The user's own dotted changes of it.

    Raises:
        ValueError: One line on the first mistake.
    """
    if "seed" in changes:
        raise ValueError("seed: a search runs every trial under one seed of its own")
    for name in search.space:
        key = SHORT_NAMES.get(name, name)
        for fixed in changes:
            if f"{fixed}.".startswith(f"{key}.") or f"{key}.".startswith(f"{fixed}."):
                raise ValueError(
                    f"{fixed}: {search.name} searches over {name} itself; leave the setting out"
                )
    own = {
        **PRESETS[search.base],
        "data.held_out": search.held_out,
        **changes,
        "seed": DEVELOPMENT_SEED,
    }
    space = resolve_space(search, raw, own)
    config = build_config(raw, own)
    if config.data.held_out == 0:
        raise ValueError("data.held_out: a search never measures on val; it must be above 0")
    return PlannedSearch(search, raw, own, space, config)


def foreseen_cells(planned: PlannedSearch, places: Iterable[int]) -> list[PlannedCell]:
    """The cells of trials as if nothing were found: random ones where the sampler will have learnt.

    With pruning, each trial's short cell too; without settings that do not go together.
    """
    cells = []
    for place in places:
        params = propose(planned.search, planned.space, [], place=place)
        with suppress(ValueError):
            config = planned.cell(place, params)
            if planned.search.pruning is not None:
                early = planned.early(config)
                cells.append(PlannedCell(f"trial-{place}-early", DEVELOPMENT_SEED, early))
            cells.append(PlannedCell(f"trial-{place}", DEVELOPMENT_SEED, config))
    return cells
