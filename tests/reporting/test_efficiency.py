"""The efficiency report, of measurements written by hand."""

import csv
import io
from pathlib import Path

import pytest

from sskd.config import build_config, load_scale
from sskd.reporting.efficiency import write_efficiency_report
from sskd.reporting.efficiency_table import answer, factor, ours, rows
from sskd.studies.efficiency import load_efficiency
from sskd.studies.measurements import (
    Measurement,
    ModelCost,
    Spread,
    load_measurements,
    models_digest,
    save_measurement,
)

DECLARED = load_efficiency(Path("/nowhere"))
CONFIG = build_config(load_scale("tiny"), {})


def cost(factor: float) -> ModelCost:
    return ModelCost(
        name="tiny-conv, fpn",
        parameters=int(1e6 * factor),
        flops=int(3e9 * factor),
        seconds=Spread(median=0.01 * factor, lower=0.009 * factor, upper=0.012 * factor),
        peak_memory_bytes=int(4e9 * factor),
    )


def measurement(device: str = "cpu", size: tuple[int, int] = (96, 96)) -> Measurement:
    return Measurement(
        models=models_digest(CONFIG),
        size=size,
        precision="no",
        classes=8,
        warmup=3,
        repeats=20,
        teacher=cost(5.0),
        student=cost(1.0),
        environment={"device": device, "machine": "abacus", "threads": 2, "torch": "2"},
    )


def write(home: Path, out: Path, *formats: str) -> str:
    path = write_efficiency_report(
        DECLARED,
        CONFIG,
        home=home,
        out=out,
        command="sskd bench models --report",
        formats=formats or ("md", "tex"),
    )
    return path.read_text()


def test_ours_stand_beside_the_papers():
    assert rows(measurement(), DECLARED.paper)[1:] == [
        ["Parameters (millions)", "5", "1", "5", "568", "52", "10.9"],
        ["GFLOPs", "15", "3", "5", "880", "200", "4.4"],
        ["Time of an image (ms)", "50", "10", "5", "350.87", "76.92", "4.56"],
        ["Images a second", "20", "100", "5", "2.85", "13", "4.56"],
        ["Peak memory (GB)", "20", "4", "5", "5.6", "0.8", "7"],
    ]
    assert "parameters 5 (10.9), operations 5 (4.4), time 5 (4.56), memory 5 (7)" in answer(
        measurement(), DECLARED.paper
    )
    assert factor(ours(measurement()), "images_per_second") == pytest.approx(5)


def test_without_a_measurement_it_says_what_measures(tmp_path):
    text = write(tmp_path / "home", tmp_path)
    assert "Nothing has been measured yet. `sskd bench models --report` measures." in text
    assert "Table" not in text
    assert not list(tmp_path.glob("*.p*"))


def test_equal_measurements_give_equal_bytes_and_charts(tmp_path):
    home = tmp_path / "home"
    save_measurement(measurement(), home)
    save_measurement(measurement(size=(64, 64)), home)
    write(home, tmp_path / "a")
    text = write(home, tmp_path / "b")
    assert "**Table 2.**" in text
    for name in ("efficiency.md", "efficiency.png", "efficiency.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_format_has_the_same_numbers(tmp_path):
    save_measurement(measurement(), tmp_path / "home")
    out = tmp_path / "out"
    texts = {form: write(tmp_path / "home", out, form) for form in ("md", "tex", "html", "csv")}
    for number in ("350.87", "76.92", "10.9"):
        assert all(number in texts[form] for form in ("md", "tex", "html"))
    assert r"\includegraphics" in texts["tex"]
    assert 'src="data:image/png;base64,' in texts["html"]
    found = list(csv.DictReader(io.StringIO(texts["csv"])))
    assert len(found) == 2 * 6
    assert found[0] == {
        "device": "cpu",
        "machine": "abacus",
        "threads": "2",
        "height": "96",
        "width": "96",
        "precision": "no",
        "model": "teacher",
        "quantity": "parameters",
        "value": "5000000",
    }
    assert {path.suffix for path in out.iterdir()} == {
        ".md",
        ".tex",
        ".html",
        ".csv",
        ".png",
        ".pdf",
    }


def test_a_chart_does_not_outlive_its_numbers(tmp_path):
    path = save_measurement(measurement(), tmp_path / "home")
    write(tmp_path / "home", tmp_path)
    assert (tmp_path / "efficiency.pdf").is_file()
    path.unlink()
    write(tmp_path / "home", tmp_path)
    assert not (tmp_path / "efficiency.pdf").exists()
    assert not (tmp_path / "efficiency.png").exists()


def test_a_new_measurement_replaces_that_of_the_same_conditions_only(tmp_path):
    save_measurement(measurement(), tmp_path)
    again = measurement().model_copy(update={"repeats": 99})
    save_measurement(again, tmp_path)
    save_measurement(measurement("cuda"), tmp_path)
    found = load_measurements(tmp_path, again.models)
    assert [(m.environment["device"], m.repeats) for m in found] == [("cpu", 99), ("cuda", 20)]


def test_models_are_told_apart_by_what_costs_depend_on():
    def of(**changes) -> str:
        return models_digest(build_config(load_scale("tiny"), changes))

    assert of() == of(**{"student.encoder.weights": "x", "contrast.weight": 0.5, "seed": 3})
    assert of() != of(**{"student.encoder.width": 16})
    assert of() != of(**{"teacher.decoder.layers": 1})


def test_a_broken_measurement_is_one_line(tmp_path):
    path = save_measurement(measurement(), tmp_path)
    path.write_text(path.read_text().replace('"flops"', '"flop"', 1))
    with pytest.raises(ValueError, match=f"^{path}: .*measure again") as error:
        load_measurements(tmp_path, models_digest(CONFIG))
    assert "\n" not in str(error.value)
