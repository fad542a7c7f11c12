import pytest

from sskd.config import load_scale
from sskd.studies.grid import as_ablation, ranged_values


def test_the_bases_own_value_is_the_reference_else_the_first(tiny):
    def reference(param, values):
        return as_ablation(param, values, raw=tiny, changes={}).reference

    assert reference("tau", [0.3, 0.2]) == "tau=0.2"
    assert reference("tau", [0.3, 0.25]) == "tau=0.3"
    assert reference("num-negatives", [32, 64]) == "num-negatives=64"
    assert reference("contrast.loss", ["margin-hinge", "info-nce"]) == "loss=info-nce"


def test_the_measured_model_is_one_that_reads_the_setting(tiny):
    def base(param):
        return as_ablation(param, [1, 2], raw=tiny, changes={}).base

    assert base("tau") == "student-transfer"
    assert base("stages.refinement.steps") == "student-refinement"


@pytest.mark.parametrize(
    ("text", "count", "default", "expected"),
    [
        ("0.1:0.4", 4, 0.2, [0.1, 0.2, 0.3, 0.4]),
        ("0.05:0.8:log", 5, 0.2, [0.05, 0.1, 0.2, 0.4, 0.8]),
        ("16:256:log", 5, 64, [16, 32, 64, 128, 256]),
        ("1:4", 4, 64, [1, 2, 3, 4]),
    ],
)
def test_a_range_has_both_ends_and_the_settings_own_type(text, count, default, expected):
    found = ranged_values(text, count, default)
    assert found == expected
    assert {type(value) for value in found} == {type(default)}


def test_a_group_of_settings_is_no_setting_even_if_it_is_empty():
    paper = load_scale("paper")
    assert paper["teacher"]["prompts"] == {}
    for key, says in (("teacher.prompts", "it is empty here"), ("stages", "such as stages.")):
        with pytest.raises(ValueError, match=f"^{key}: a group of settings; .*{says}"):
            as_ablation(key, ["a", "b"], raw=paper, changes={})
