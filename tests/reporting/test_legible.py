"""Nothing that is written into a figure is cut off or runs into something else."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from made_home import Home
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from test_efficiency import DECLARED, measurement

from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.curves import collect_curves
from sskd.reporting.efficiency_chart import draw_efficiency
from sskd.reporting.gallery import draw_gallery
from sskd.reporting.lines import find_lines
from sskd.reporting.points import draw_points
from sskd.reporting.training import draw_training
from sskd.reporting.values import draw_values
from sskd.studies.declaration import Ablation

LONG = "A variant with a name that no line holds, number {}"
GROUPS = {"Teacher after adaptation": 3, "Student after knowledge transfer": 10}


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is drawn, laid out, in the place of files."""
    drawn: list[Figure] = []

    def keep(figure: Figure, path: Path, endings: Sequence[str] = ()) -> None:
        figure.draw_without_rendering()
        drawn.append(figure)

    for name in ("points", "values", "training", "gallery", "efficiency_chart"):
        monkeypatch.setattr(f"sskd.reporting.{name}.save", keep)
    return drawn


@pytest.fixture
def analysis(home: Home, street: str) -> Analysis:
    """Two groups, thirteen variants with long names, a margin below 0."""
    home.ablation = Ablation.model_validate(
        {
            "name": "long",
            "path": Path("long.yaml"),
            "question": "?",
            "base": "student-transfer",
            "variants": {
                f"{group[0]}{i}": {
                    "group": group,
                    "label": LONG.format(i),
                    "base": "teacher-self-training" if group[0] == "T" else None,
                    "changes": {key: 0.05 * (i + 1)},
                    "against": f"{group[0]}0",
                    "paper": {"mask_ap": 20.0 + i, "margin": -0.2 + 0.05 * i},
                }
                for (group, n), key in zip(
                    GROUPS.items(), ("teacher_contrast.weight", "contrast.weight"), strict=True
                )
                for i in range(n)
            },
            "reference": "S0",
            "metrics": ("mask_ap", "margin"),
            "diagnostics": ("margin", "false_negative_rate"),
        }
    )
    for number, cell in enumerate(home.plan(2)):
        rows = [
            {"step": s, "loss": 9 - s, "margin": -0.1 * number - s, "false_negative_rate": 0.01 * s}
            for s in (1, 2, 3)
        ]
        hits = {1: 5 + number % 7, 2: 12 - number % 7}
        found = [home.detection(i, home.box(4, 4, 16, wide), 0.9) for i, wide in hits.items()]
        ap = 0.2 + 0.01 * number
        home.write(cell, ap, history=rows, predictions=found, sha256=street)
    return analyse(home.ablation, home.cells, home=home.path)


def written(figure: Figure) -> list[tuple[str, Bbox]]:
    """Titles, notes and legends with their places; ticks are matplotlib's own matter."""
    texts: list[Text] = []
    for axis in filter(lambda axis: axis.get_visible(), figure.axes):
        own = axis.get_legend()
        titles: list[Any] = [axis.title, axis._left_title, axis.xaxis.label]
        texts += [*titles, *axis.texts, *(own.get_texts() if own else [])]
    for legend in figure.legends:
        texts += legend.get_texts()
    return [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text().strip()]


def assert_legible(figure: Figure) -> None:
    places = written(figure)
    assert places
    for text, place in places:
        assert figure.bbox.padded(1).containsx(place.x0), text
        assert figure.bbox.padded(1).containsx(place.x1), text
        assert figure.bbox.padded(1).containsy(place.y0), text
        assert figure.bbox.padded(1).containsy(place.y1), text
    for (one, first), (other, second) in combinations(places, 2):
        shared = Bbox.intersection(first, second)
        assert shared is None or min(shared.size) < 1, (one, other)


def _points(analysis: Analysis, home: Path) -> None:
    draw_points(analysis, home)


def _values(analysis: Analysis, home: Path) -> None:
    draw_values(find_lines(analysis), analysis, home)


def _gallery(analysis: Analysis, home: Path) -> None:
    draw_gallery(analysis, home, home=home)


def _loss(analysis: Analysis, home: Path) -> None:
    draw_training(collect_curves(analysis, ["loss"], home=home), ["loss"], analysis, home)


def _diagnostics(analysis: Analysis, home: Path) -> None:
    metrics = analysis.ablation.diagnostics
    draw_training(collect_curves(analysis, metrics, home=home), metrics, analysis, home)


@pytest.mark.parametrize("draw", [_points, _values, _gallery, _loss, _diagnostics])
def test_long_names_many_variants_and_negative_values(
    home: Home, analysis: Analysis, figures: list[Figure], draw: Callable[..., None]
) -> None:
    draw(analysis, home.path)
    (figure,) = figures
    assert_legible(figure)


def test_lines_of_one_panel_differ(home: Home, analysis: Analysis, figures: list[Figure]) -> None:
    _loss(analysis, home.path)
    teacher, student = (axis.get_lines() for axis in figures[0].axes)
    looks = [(line.get_color(), line.get_linestyle()) for line in student]
    assert len(set(looks)) == len(looks) == 10
    # A label has one colour, whatever the stage.
    assert [line.get_color() for line in teacher] == [look[0] for look in looks[:3]]


def test_labels_of_equal_measurements_stand_apart(figures: list[Figure]) -> None:
    same = [measurement(), measurement("Some 16-Core Processor with a long name", (1024, 2048))]
    draw_efficiency(same, DECLARED.paper, Path("unused"), ("png",))
    assert_legible(figures[0])
