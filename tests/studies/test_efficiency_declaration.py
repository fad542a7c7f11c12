"""The declared figure."""

from pathlib import Path
from typing import get_args

import pytest

from sskd.config import EncoderConfig, HeadConfig
from sskd.studies.efficiency import load_efficiency


def test_the_paper_prints_one_measurement_twice():
    paper = load_efficiency(Path("/nowhere")).paper
    for model in (paper.teacher, paper.student):
        assert model.seconds * model.images_per_second == pytest.approx(1, rel=2e-3)
    assert paper.teacher.parameters / paper.student.parameters == pytest.approx(10.9, abs=0.05)


def test_encoders_and_heads_are_ours():
    declared = load_efficiency(Path("/nowhere"))
    assert set(declared.encoders) <= set(get_args(EncoderConfig.model_fields["name"].annotation))
    assert set(declared.heads) == set(get_args(HeadConfig.model_fields["name"].annotation))
    assert {name: head.paper_parameters for name, head in declared.heads.items()} == {
        "dpt": 22e6,
        "fpn": 18e6,
    }


def test_a_broken_file_of_the_working_directory_is_one_line(tmp_path):
    path = tmp_path / "experiments" / "figures" / "efficiency.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("question: Why?")
    with pytest.raises(ValueError, match=f"^{path}: ") as error:
        load_efficiency(tmp_path)
    assert "\n" not in str(error.value)
    path.write_text("a: [")
    with pytest.raises(ValueError, match=f"^{path}: not YAML") as error:
        load_efficiency(tmp_path)
    assert "\n" not in str(error.value)
