"""How every figure looks, and how it becomes a file.

Colours are Okabe and Ito's, told apart by the colour-blind; the font ships with matplotlib; and no
date or version enters a file, so that equal numbers give equal bytes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "DPI", "FAINT", "INK", "blank", "colour", "house_style", "legend", "save"]

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


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One row above everything."""
    figure.legend(
        handles=list(handles),
        loc="outside upper left",
        ncols=len(handles),
        handletextpad=0.5,
        columnspacing=1.6,
        fontsize=8.5,
    )


def blank(axis: Axes, text: str) -> None:
    """A panel that says why it is empty."""
    axis.set_xticks([])
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", color=FAINT)
