"""How every figure looks, and how it becomes a file.

Colours are Okabe and Ito's, told apart by the colour-blind; the font ships with matplotlib; and no
date or version enters a file, so that equal numbers give equal bytes.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sskd.reporting.arms import Arm

__all__ = [
    "COLOURS",
    "DPI",
    "FAINT",
    "INK",
    "Stroke",
    "blank",
    "colour",
    "house_style",
    "legend",
    "number_arms",
    "save",
    "stroke",
]

Stroke = Literal["solid", "dashed", "dotted", "dashdot"]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#A08A00")
DPI = 160
INK = "#333333"
FAINT = "#999999"

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text that an editor can select
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 9,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Our settings over matplotlib's own, whatever the user's are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def save(figure: Figure, path: Path, endings: Sequence[str] = ("png",)) -> None:
    """Write files that depend on nothing but the figure.

    Args:
        figure: Drawn under ``house_style``, which must still hold.
        path: Without ending.
        endings: Of ``png`` and ``pdf``.
    """
    nothing: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    }
    for ending in endings:
        target = path.with_name(f"{path.name}.{ending}")
        figure.savefig(target, dpi=DPI, facecolor="white", metadata=nothing[ending])


def colour(index: int) -> str:
    """Of the n-th thing; they repeat after eight."""
    return COLOURS[index % len(COLOURS)]


def stroke(index: int) -> Stroke:
    """The style of the n-th line: another one whenever the colours begin anew."""
    strokes: tuple[Stroke, ...] = ("solid", "dashed", "dotted", "dashdot")
    return strokes[index // len(COLOURS) % len(strokes)]


def number_arms(arms: Iterable[Arm]) -> dict[str, int]:
    """For ``colour``, by name: arms of one label share a number, whatever their groups."""
    arms = list(arms)
    labels = list(dict.fromkeys(arm.label for arm in arms))
    return {arm.name: labels.index(arm.label) for arm in arms}


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Above everything, in as few rows as the width allows."""
    # Inches: of a letter at this size, and of a line with the space around it.
    widths = [0.062 * len(str(handle.get_label())) + 0.55 for handle in handles]
    fitting = (
        n
        for n in range(len(handles), 1, -1)
        if sum(max(column) for column in np.array_split(widths, n)) < figure.get_figwidth()
    )
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=next(fitting, 1),
        handletextpad=0.5,
        columnspacing=1.6,
        fontsize=8.5,
    )


def blank(axis: Axes, text: str) -> None:
    """A panel that says why it is empty."""
    axis.set_xticks([])
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color=FAINT)
