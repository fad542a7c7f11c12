"""The study on a terminal: finished lines scroll, bars and the table so far stay below."""

from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sskd.cli.progress import Display, StudyState

__all__ = ["Live"]

BAR_WIDTH = 30


class Live(Display):
    """Rich's live area over the facts of a ``StudyState``."""

    def __init__(self, state: StudyState | None = None, *, console: Console | None = None) -> None:
        super().__init__(state)
        self._console = console or Console()
        self._live = RichLive(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=4,
            transient=True,  # what stays is the lines and the command's last word
        )

    def line(self, text: str) -> None:
        """Print above the live area."""
        self._console.print(Text(text))

    def refresh(self) -> None:
        """Nothing: Rich redraws by itself."""

    def __enter__(self) -> "Live":
        """Take over the bottom of the terminal."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        self._live.stop()

    def render(self) -> RenderableType:
        """The live area: results so far, a bar for the study, a bar for each running cell."""
        state = self.state
        bars = Table.grid(padding=(0, 1))
        if state.cells:
            counted = f"{state.settled}/{state.cells} cells{state.eta()}"
            bars.add_row(Text("study"), _bar(state.settled, state.cells), Text(counted))
        for cell, step in list(state.steps.items()):  # Rich draws in a thread of its own
            if step.what:
                bars.add_row(Text(cell or "stage"), _bar(step.done, step.total), Text(str(step)))
        return Group(_results(state), bars) if state.results else bars


def _bar(done: int, total: int) -> ProgressBar:
    return ProgressBar(max(total, 1), done, BAR_WIDTH)


def _results(state: StudyState) -> Table:
    """Variant by seed, with what is known."""
    results = dict(state.results)
    seeds = sorted({seed for _, seed in results})
    table = Table(title="mask AP (%) so far", title_justify="left")
    table.add_column("variant")
    for seed in seeds:
        table.add_column(f"seed {seed}", justify="right")
    for variant in dict.fromkeys(variant for variant, _ in results):
        table.add_row(Text(variant), *(Text(results.get((variant, seed), "")) for seed in seeds))
    return table
