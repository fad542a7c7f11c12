"""What a study shows while it runs: the arithmetic, and plain lines for a pipe.

A display is a ``sskd.types.Progress`` that also hears of cells. It is told everything and decides
what is worth a line; ``sskd.cli.live`` draws the same facts on a terminal.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from statistics import fmean
from types import TracebackType

from sskd.cli.console import duration, percent, say

__all__ = ["Display", "Lines", "Step", "StudyState", "open_display"]

FINISHED = "finished "
"""How the engine begins the last report of a stage."""

QUIET_SECONDS = 10.0
"""A pipe gets at most one line about steps in this time."""


@dataclass
class Step:
    """Where one cell is."""

    begun: float
    """When its current stage began, by the display's clock."""
    what: str = ""
    done: int = 0
    total: int = 0
    facts: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """``transfer 120/400, loss 3.21, 52 images/s``."""
        counted = f" {self.done}/{self.total}" if self.total > 1 else ""
        return f"{self.what}{counted}{_spell(self.facts)}"


class StudyState:
    """How far a study is, and how long it may still take."""

    def __init__(self, cells: int = 0, stages: Iterable[str] = (), *, workers: int = 1) -> None:
        """Start with nothing done.

        Args:
            cells: Cells of the study, finished ones too; 0 where there is no study.
            stages: The name of every stage that is left to compute, shared stages once.
            workers: Stages computed at the same time.
        """
        self.cells = cells
        self.settled = 0
        self.results: dict[tuple[str, int], str] = {}
        """Variant and seed to AP in per cent, or ``failed``."""
        self.steps: dict[str, Step] = {}
        """By cell, as workers name it; one without a name where there are no workers."""
        self._left = Counter(stages)
        self._workers = workers
        self._costs: defaultdict[str, list[float]] = defaultdict(list)
        self._shown: set[str] = set()

    def advance(self, what: str, done: int, total: int, facts: dict[str, float], now: float) -> str:
        """Take in one report; with several workers ``what`` begins with ``mask/s0: ``.

        Returns:
            A line worth keeping if this ends a stage, else nothing.
        """
        cell, separator, rest = what.rpartition(": ")
        step = self.steps.setdefault(cell, Step(now))
        if rest.startswith(FINISHED):
            stage = rest.removeprefix(FINISHED)
            if stage.startswith(step.what.replace("-", "_")):
                facts = step.facts | facts  # a training ends with its last loss
            line = self._finish_stage(stage, facts, now - step.begun)
            self.steps[cell] = Step(now)
            return f"{cell}{separator}{line}" if line else ""
        if rest != step.what:
            step.facts = {}
        step.what, step.done, step.total = rest, done, total
        step.facts |= facts
        return ""

    def finish_cell(self, variant: str, seed: int, mask_ap: float | None, note: str) -> str:
        """Take in the end of a cell.

        Args:
            variant: Of the cell.
            seed: Of the cell.
            mask_ap: In [0, 1]; none if the cell failed.
            note: Why it failed, or how it came to be finished.

        Returns:
            A line worth keeping.
        """
        self.settled += 1
        self.steps.pop(f"{variant}/s{seed}", None)
        self.results[variant, seed] = "failed" if mask_ap is None else percent(mask_ap)
        outcome = "failed" if mask_ap is None else f"AP {percent(mask_ap)}"
        more = f" ({note})" if note else ""
        return f"[{self.settled}/{self.cells}] {variant} seed {seed}: {outcome}{more}{self.eta()}"

    def eta(self) -> str:
        """The time left, from the mean cost of the finished stages of each kind."""
        left = {name: count for name, count in self._left.items() if count}
        known = {name: count for name, count in left.items() if name in self._costs}
        if not known or self.settled >= self.cells:
            return ""
        seconds = sum(count * fmean(self._costs[name]) for name, count in known.items())
        bound = "about" if len(known) == len(left) else "more than"
        return f", {bound} {duration(seconds / self._workers)} left"

    def _finish_stage(self, stage: str, facts: dict[str, float], seconds: float) -> str:
        facts = dict(facts)
        reused = bool(facts.pop("reused", 0.0))
        if self._left[stage]:
            self._left[stage] -= 1
        if not reused:
            self._costs[stage].append(seconds)
            return f"{stage}{_spell(facts)} ({duration(seconds)})"
        line = f"{stage}{_spell(facts)} (from the store)"
        # Every cell meets the stages that it shares with others: their AP is worth one line.
        if not facts or line in self._shown:
            return ""
        self._shown.add(line)
        return line


class Display(ABC):
    """Hears of everything; shows what is worth it."""

    def __init__(
        self, state: StudyState | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state = state or StudyState()
        self._clock = clock

    def __call__(self, what: str, done: int, total: int, **facts: float) -> None:
        """Report progress, as ``sskd.types.Progress`` says."""
        kept = self.state.advance(what, done, total, facts, self._clock())
        if kept:
            self.line(kept)
        elif any(step.what for step in self.state.steps.values()):
            self.refresh()

    def finish_cell(
        self, variant: str, seed: int, *, mask_ap: float | None, note: str = ""
    ) -> None:
        """Report the end of a cell, as ``StudyState.finish_cell`` says."""
        self.line(self.state.finish_cell(variant, seed, mask_ap, note))

    @abstractmethod
    def line(self, text: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def refresh(self) -> None:
        """Show the current steps, if it is time to."""

    def __enter__(self) -> "Display":
        """Begin to show."""
        return self

    def __exit__(  # noqa: B027 - nothing to end is a way to end
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""


class Lines(Display):
    """Plain lines with the time, for pipes and files."""

    _last = float("-inf")

    def line(self, text: str) -> None:
        """Print with date and time."""
        say(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}")

    def refresh(self) -> None:
        """Print the steps, at most once in ``QUIET_SECONDS``."""
        now = self._clock()
        if now - self._last < QUIET_SECONDS:
            return
        self._last = now
        running = [(cell, step) for cell, step in self.state.steps.items() if step.what]
        self.line("; ".join(f"{cell}: {step}" if cell else str(step) for cell, step in running))


def open_display(state: StudyState | None = None) -> Display:
    """The display that fits standard output, as a context manager."""
    if not sys.stdout.isatty():
        return Lines(state)
    from sskd.cli.live import Live

    return Live(state)


def _spell(facts: dict[str, float]) -> str:
    """``, loss 3.21, 52 images/s``: known facts in their unit, the others by name."""
    shown: list[str] = []
    for name, value in facts.items():
        if name.startswith("mask_ap"):
            shown.append(f"AP{name.removeprefix('mask_ap').replace('_', ' ')} {percent(value)}")
        elif name.startswith("cityscapes_ap"):
            ending = name.removeprefix("cityscapes_ap")
            shown.append(f"Cityscapes AP{ending} {percent(value)}")
        elif name == "images_per_second":
            shown.append(f"{value:.3g} images/s")
        else:
            shown.append(f"{name.replace('_', ' ')} {value:.4g}")
    return "".join(f", {text}" for text in shown)
