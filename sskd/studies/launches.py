"""What was last launched: how many seeds of each variant, and how it came to that many.

``launched.json`` in a study's folder, beside its lock. By content: a variant under other settings
is another one. It is no view of the ledger, which knows neither what the last launch left out nor
when a launch looked at its numbers, and it stays where the databases are deleted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sskd.engine.store import write_json_atomic
from sskd.studies.cells import PlannedCell
from sskd.studies.lock import study_folder

__all__ = ["Launched", "Looks", "keep_launch", "read_launches"]

_FIRST = 3


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Looks(_Part):
    """When a launch that adds seeds looks at its numbers, and what ends it."""

    at: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    """Seeds of a variant, ascending; the last one is the cap."""
    until: Annotated[float, Field(gt=0)]
    """Points: half the width of an interval that is narrow enough, although it holds 0."""

    @classmethod
    def up_to(cls, cap: int, *, until: float) -> "Looks":
        """From three seeds, fewer say next to nothing of a spread, each with two fifths more.

        Few looks: each could give a false verdict, and verdicts are corrected for all of them.
        """
        at = [_FIRST]
        while at[-1] < cap:
            at.append(min(cap, -(-at[-1] * 7 // 5)))
        return cls(at=tuple(at), until=until)

    @property
    def count(self) -> int:
        """How many looks there can be."""
        return len(self.at)

    @property
    def cap(self) -> int:
        """Seeds of a variant at most."""
        return self.at[-1]

    def after(self, seeds: int) -> int:
        """The seeds of the next look; those of the last one, if there is none."""
        return next((n for n in self.at if n > seeds), self.cap)


class Launched(_Part):
    """Of one variant."""

    seeds: Annotated[int, Field(ge=1)]
    """From 0 on, finished or not."""
    looks: Looks | None = None
    """``None`` where the number was fixed."""
    earlier: tuple[int, ...] = ()
    """Other numbers of seeds whose results were there to be looked at before, ascending."""

    def looked_at(self) -> frozenset[int]:
        """Every number of seeds whose results were there to be looked at, so far."""
        numbers = self.looks.at if self.looks else (self.seeds,)
        return frozenset(self.earlier) | {n for n in numbers if n <= self.seeds}


_FILE = TypeAdapter(dict[str, Launched])


def keep_launch(
    home: Path,
    experiment: str,
    firsts: Mapping[str, str],
    cells: Sequence[PlannedCell],
    looks: Looks | None,
) -> None:
    """Write down what a launch wants; call under the experiment's lock.

    Args:
        home: Of the study.
        experiment: See ``experiment_name``.
        firsts: Variant to the fingerprint of its cell with seed 0.
        cells: That are wanted.
        looks: If seeds are added as needed.
    """
    known = read_launches(home, experiment)
    for variant, fingerprint in firsts.items():
        seeds = 1 + max(cell.seed for cell in cells if cell.variant == variant)
        now = set(looks.at) if looks else {seeds}
        before = known[fingerprint].looked_at() if fingerprint in known else frozenset()
        known[fingerprint] = Launched(seeds=seeds, looks=looks, earlier=tuple(sorted(before - now)))
    write_json_atomic(_file(home, experiment), _FILE.dump_python(known, mode="json"))


def read_launches(home: Path, experiment: str) -> dict[str, Launched]:
    """By the fingerprint of a variant's cell with seed 0; empty where there is no record.

    Raises:
        ValueError: If the record is broken: seeds that were added as needed would be taken for a
            fixed number; one line.
    """
    path = _file(home, experiment)
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError):
        raise ValueError(
            f"{path}: not a record of launches; delete it, and launch again what added seeds"
        ) from None


def _file(home: Path, experiment: str) -> Path:
    return study_folder(home, experiment) / "launched.json"
