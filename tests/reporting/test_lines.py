"""Which variants a curve is drawn through, and that every figure of the shipped tables draws."""

from pathlib import Path

import pytest
from made_home import Home
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
    lines = find_lines(planned(home, "label-fractions"))
    assert {line.title: line.values for line in lines} == dict.fromkeys(
        ("Adapted teacher", "Student, distilled", "Student, refined"), (0.05, 0.1, 0.3)
    )


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
