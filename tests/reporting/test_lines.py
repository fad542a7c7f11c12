"""Which variants a curve is drawn through, and that every figure of the shipped tables draws."""

from pathlib import Path

import pytest
from made_home import Home
from matplotlib.figure import Figure
from PIL import Image

from sskd.reporting.analysis import Analysis, analyse
from sskd.reporting.lines import find_lines
from sskd.reporting.values import draw_values
from sskd.studies.declaration import load_ablation


def planned(home: Home, name: str, *, scale: str = "tiny") -> Analysis:
    home.ablation = load_ablation(name, Path.cwd())
    home.plan(2, scale=scale)
    return analyse(home.ablation, home.cells, home=home.path)


def test_teacher_and_student_have_a_line_each(home: Home) -> None:
    teacher, student = sorted(find_lines(planned(home, "lambda")), key=lambda x: x.title)[::-1]
    assert (teacher.title, student.title) == ("Teacher", "Student")
    assert (teacher.key, student.key) == ("teacher_contrast.weight", "contrast.weight")
    assert student.values == student.papers == (0.0, 0.01, 0.1, 0.2, 0.5)
    assert next(arm.name for arm in student.arms) == "student-0.0"


def test_the_papers_numbers_stand_at_the_papers_values(home: Home) -> None:
    (line,) = [x for x in find_lines(planned(home, "num-negatives")) if x.title == "Student"]
    assert (line.values, line.papers) == ((32, 64, 128), (128, 256, 512))
    (line,) = [
        x for x in find_lines(planned(home, "num-negatives", scale="paper")) if x.title == "Student"
    ]
    assert line.values == line.papers == (128, 256, 512)


def test_lines_cross_the_groups_of_a_table(home: Home) -> None:
    lines = [x for x in find_lines(planned(home, "label-fractions")) if not x.rival]
    assert {line.title: line.values for line in lines} == dict.fromkeys(
        ("Adapted teacher", "Distilled student", "Refined student"), (0.05, 0.1, 0.3)
    )


def test_methods_that_are_not_run_stand_at_the_values_of_their_groups(home: Home) -> None:
    rivals = [x for x in find_lines(planned(home, "label-fractions")) if x.rival]
    assert {x.title: [arm.paper["mask_ap"] for arm in x.arms] for x in rivals} == {
        "PAIS": [18.0, 22.9, 32.8],
        "Guided Distillation": [23.0, 30.8, 35.6],
        "S4M": [30.1, 33.3, 37.8],
    }
    assert {(x.values, x.papers) for x in rivals} == {((0.05, 0.1, 0.3), (0.05, 0.1, 0.3))}
    ours, *others = find_lines(planned(home, "teacher-backbones"))
    assert (ours.title, ours.rival, len(others)) == ("Ours", False, 3)


def test_a_method_with_two_numbers_has_no_line(home: Home) -> None:
    home.ablation = load_ablation("label-fractions", Path.cwd())
    variants = {k: v for k, v in home.ablation.variants.items() if k != "s4m-30"}
    home.ablation = home.ablation.model_copy(update={"variants": variants})
    home.plan(1)
    lines = find_lines(analyse(home.ablation, home.cells, home=home.path))
    assert [x.title for x in lines if x.rival] == ["PAIS", "Guided Distillation"]


def test_the_papers_panel_shows_what_is_not_run_and_ours_does_not(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr("sskd.reporting.values.save", lambda figure, *_: drawn.append(figure))
    planned(home, "label-fractions")
    for cell in home.cells:
        home.write(cell, 0.2 + 0.01 * cell.seed)
    analysis = analyse(home.ablation, home.cells, home=home.path)
    draw_values(find_lines(analysis), analysis, home.path)
    ours, paper = drawn[0].axes
    curves = [[line for line in axis.get_lines() if len(line.get_xdata()) == 3]
              for axis in (ours, paper)]  # fmt: skip
    assert [len(found) for found in curves] == [3, 6]
    assert list(curves[1][3].get_ydata()) == [18.0, 22.9, 32.8]
    assert "order only" in paper.get_title(loc="left")
    named = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert "PAIS (paper only)" in named


@pytest.mark.parametrize("name", ["negatives", "views", "stages", "main"])
def test_what_is_no_number_has_no_line(home: Home, name: str) -> None:
    assert find_lines(planned(home, name)) == []


@pytest.mark.parametrize("name", ["pseudo-label-threshold", "debias-score", "tau"])
def test_other_numbers_have_one(home: Home, name: str) -> None:
    assert find_lines(planned(home, name))


@pytest.mark.parametrize("done", [0.0, 0.5, 1.0])
def test_curves_draw_whatever_is_finished(
    home: Home, done: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sskd.reporting.style.DPI", 60)
    planned(home, "lambda")
    for cell in home.cells[: int(done * len(home.cells))]:
        home.write(cell, 0.2 + 0.01 * cell.seed)
    analysis = analyse(home.ablation, home.cells, home=home.path)
    draw_values(find_lines(analysis), analysis, home.path.parent / "values")
    with Image.open(home.path.parent / "values.png") as picture:
        assert len(set(picture.convert("L").tobytes())) > 20
