"""What is on disk is what is read, and what is broken is named."""

import pytest
from made_home import Home

from sskd.reporting.records import (
    predictions_file,
    read_history,
    read_predictions,
    read_record,
)


def test_a_record_is_read_back(home: Home) -> None:
    cell = home.plan(1)[0]
    home.write(cell, 0.25, ap50=0.5)
    record = read_record(home.path, cell.fingerprint)
    assert record is not None
    assert record.final == {
        "mask_ap": 0.25,
        "mask_ap50": 0.5,
        "mask_ap75": 0.25,
        "mask_ap_small": 0.25,
        "mask_ap_medium": 0.25,
        "mask_ap_large": None,
    }
    assert record.final_stage == "transfer"
    assert record.per_class == {"car": 0.25, "train": None}
    assert [stage.name for stage in record.stages][1] == "transfer"
    assert record.stages[1].steps == 400


def test_not_a_number_counts_as_undefined(home: Home) -> None:
    cell = home.plan(1)[0]
    home.write(cell, float("nan"))
    record = read_record(home.path, cell.fingerprint)
    assert record is not None
    assert record.final["mask_ap"] is None
    assert record.per_class["car"] is None


def test_an_unfinished_cell_has_no_record(home: Home) -> None:
    cell = home.plan(1)[0]
    assert read_record(home.path, cell.fingerprint) is None
    home.write(cell, 0.25)
    (home.path / "cells" / cell.fingerprint[:16] / "result.json").unlink()
    assert read_record(home.path, cell.fingerprint) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "unreadable"),
        ("[]", "not the record of cell"),
        ('{"fingerprint": "x"}', "not the record"),
    ],
)
def test_a_broken_record_is_one_line(home: Home, content: str, message: str) -> None:
    cell = home.plan(1)[0]
    home.write(cell, 0.25)
    (home.path / "cells" / cell.fingerprint[:16] / "result.json").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        read_record(home.path, cell.fingerprint)
    assert "\n" not in str(error.value)


def test_a_record_without_a_field_names_it(home: Home) -> None:
    cell = home.plan(1)[0]
    home.write(cell, 0.25)
    path = home.path / "cells" / cell.fingerprint[:16] / "result.json"
    path.write_text(path.read_text().replace('"seconds": 70.0', '"minutes": 1'))
    with pytest.raises(ValueError, match="seconds: field required"):
        read_record(home.path, cell.fingerprint)


def test_history_survives_a_resume_and_a_kill(home: Home) -> None:
    cell = home.plan(1)[0]
    rows = [
        {"step": 10, "time": 1.0, "loss": 3.0},
        {"step": 20, "time": 2.0, "loss": 2.0, "margin": float("nan")},
        {"step": 10, "time": 3.0, "loss": 2.5},
    ]
    home.write(cell, 0.25, history=rows)
    record = read_record(home.path, cell.fingerprint)
    assert record is not None
    stage = record.stages[1]
    path = home.path / "store" / f"transfer-{stage.key[:16]}" / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 30, "lo')
    history = read_history(home.path, stage)
    assert set(history) == {"loss"}
    steps, values = history["loss"]
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [2.5, 2.0]
    assert read_history(home.path, record.stages[0]) == {}


def test_predictions_are_those_of_the_final_stage(home: Home) -> None:
    cell = home.plan(1)[0]
    found = [home.detection(1, home.box(0, 0, 4, 4), 0.5)]
    home.write(cell, 0.25)
    record = read_record(home.path, cell.fingerprint)
    assert record is not None
    path = predictions_file(home.path, record)
    assert path is not None
    assert not path.exists()
    home.write(cell, 0.25, predictions=found)
    assert read_predictions(path) == found
    path.write_text("{}")
    with pytest.raises(ValueError, match="no list of detections"):
        read_predictions(path)
