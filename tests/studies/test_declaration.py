from pathlib import Path

import pytest
import yaml

from sskd.studies.cells import cells, experiment_name, identify, label_at
from sskd.studies.declaration import PRESETS, find_declarations, load_ablation, load_declaration

SHIPPED = find_declarations(Path("/nowhere"))


def small(**fields) -> dict:
    return {
        "question": "Which tau?",
        "base": "student-transfer",
        "variants": {
            "cold": {"label": "Cold", "changes": {"tau": 0.1}},
            "hot": {"label": "Hot", "changes": {"contrast.temperature": 0.4}},
        },
        "reference": "cold",
    } | fields


def write(folder: Path, content: object, name: str = "mine") -> Path:
    path = folder / "experiments" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_variant_resolves_and_differs(name, tiny):
    ablation = load_declaration(SHIPPED[name])
    planned = cells(ablation, tiny, {}, [0])
    assert [cell.variant for cell in planned] == list(ablation.run)
    configs = [cell.config.identity() for cell in planned]
    assert all(a != b for i, a in enumerate(configs) for b in configs[:i])
    known = {key.split(".")[0] for key in tiny}
    assert all(key.split(".")[0] in known for preset in PRESETS.values() for key in preset)


def test_negatives_is_the_papers_table_4(negatives, tiny):
    paper = {name: variant.paper for name, variant in negatives.variants.items()}
    assert paper == {
        "uniform": {"mask_ap": 29.4, "mask_ap50": 50.2},
        "mask": {"mask_ap": 30.6, "mask_ap50": 55.0},
        "class": {"mask_ap": 31.1, "mask_ap50": 55.3},
        "fusion": {"mask_ap": 32.2, "mask_ap50": 56.5},
    }
    by_paper = sorted(paper, key=lambda name: -paper[name]["mask_ap"])
    assert list(negatives.expected_order) == by_paper
    assert negatives.reference == by_paper[0]
    for cell in cells(negatives, tiny, {}, [0]):
        assert cell.config.pipeline.final == "transfer"
        assert cell.config.contrast.negatives.score == cell.variant
        assert cell.config.teacher_contrast.negatives.score == "fusion"


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("main", {"student-transfer": ["student-supervised"],
                  "student-refined": ["teacher-adapted"]}),
        ("losses", {"teacher-pseudo": ["teacher-sup"], "teacher-pixel": ["teacher-sup"],
                    "student-pseudo": ["student-sup"], "student-pixel": ["student-sup"]}),
        ("label-fractions", {f"distilled-{n}": [f"teacher-{n}"] for n in (5, 10, 30)}),
    ],
)  # fmt: skip
def test_what_a_claim_says_beyond_the_reference_is_compared(name, claims):
    found = {}
    for pair in load_ablation(name, Path("/nowhere")).further:
        found.setdefault(pair.variant, []).append(pair.against)
    assert found == claims


@pytest.mark.parametrize("name", ["tau", "num-negatives"])
def test_a_number_that_the_paper_does_not_print_for_a_row_is_absent(name):
    variants = load_ablation(name, Path("/nowhere")).variants.values()
    assert not any(variant.paper or variant.claimed for variant in variants)


def test_a_table_of_other_methods_claims_nothing_of_our_own_rows():
    ablation = load_ablation("teacher-backbones", Path("/nowhere"))
    assert [ablation.against(name) for name in ablation.run] == [None, None, None]


def test_arms_of_a_seed_differ_only_in_what_the_ablation_varies(negatives, tiny):
    planned = cells(negatives, tiny, {"contrast.weight": 0.5}, [0, 3])
    assert [cell.seed for cell in planned] == [0] * 4 + [3] * 4
    for cell in planned:
        dump = cell.config.identity()
        assert dump["seed"] == cell.seed
        assert dump["contrast"]["weight"] == 0.5
        dump["contrast"]["negatives"]["score"] = None
        dump["seed"] = None
        assert dump == planned[0].config.identity() | {"seed": None} | {
            "contrast": dump["contrast"]
        }


def test_a_file_in_the_working_directory_takes_the_place_of_ours(tmp_path, tiny):
    mine = write(tmp_path, small(), "negatives")
    other = write(tmp_path, small(), "temperature")
    found = find_declarations(tmp_path)
    assert found["negatives"] == mine
    assert found["temperature"] == other
    assert set(SHIPPED) < set(found)
    assert load_ablation("negatives", tmp_path).question == "Which tau?"
    planned = cells(load_ablation("temperature", tmp_path), tiny, {}, [0])
    assert [cell.config.contrast.temperature for cell in planned] == [0.1, 0.4]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"varients": {}}, ["unknown field 'varients'", "'variants'"]),
        ({"question": None}, ["question", "string"]),
        ({"base": "student"}, ["base", "student-transfer"]),
        ({"reference": "clod"}, ["no variant 'clod'", "'cold'"]),
        ({"expected_order": ["cold", "cold"]}, ["expected_order", "cold, hot"]),
        ({"metrics": ["mask_ap51"]}, ["metrics.0", "mask_ap50"]),
        ({"diagnostics": ["margn"]}, ["diagnostics.0", "'margin'", "got 'margn'"]),
        ({"name": "x"}, ["'name'", "file"]),
        ({"source": {"paper": "a", "tabel": 1, "setting": "c"}}, ["source.table"]),
        ({"variants": {"cold": {"label": "C", "changes": {}}}}, ["variants", "at least 2"]),
        ({"further": [{"variant": "hott", "against": "cold"}]}, ["further.0", "'hott'", "'hot'"]),
        ({"further": [{"variant": "hot", "against": "cold"}]}, ["compared", "twice"]),
        ({"further": [{"variant": "cold", "against": "hot"}]}, ["compared", "twice"]),
        ({"further": [{"variant": "hot", "against": "hot"}]}, ["compared", "itself"]),
        ({"further": [{"variant": "hot", "against": "cold", "clamed": "above"}]},
         ["further.0.clamed", "'claimed'"]),
        ({"variants": {"a b": {"label": "", "changes": {}}, "cold": {"label": "", "changes": {}}}},
         ["'a b'"]),
        ({"variants": {"a": {"lable": "", "changes": {}}, "b": {"label": "", "changes": {}}}},
         ["variants.a"]),
    ],
)  # fmt: skip
def test_a_broken_declaration_is_one_line_with_file_and_field(tmp_path, change, words):
    path = write(tmp_path, small(**change))
    with pytest.raises(ValueError) as error:
        load_declaration(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert all(word in line for word in words), line


@pytest.mark.parametrize("text", ["- a\n- b", "a: [", ""])
def test_what_is_no_mapping_is_no_declaration(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=f"^{path}: ") as error:
        load_declaration(path)
    assert "\n" not in str(error.value)


def test_a_variant_must_fit_the_configuration(tmp_path, tiny):
    broken = small()
    broken["variants"]["hot"]["changes"] = {"contrast.temprature": 0.4}
    ablation = load_declaration(write(tmp_path, broken))
    with pytest.raises(ValueError, match=r"variants.hot.changes: .*contrast.temperature"):
        cells(ablation, tiny, {}, [0])


def test_two_equal_variants_are_no_comparison(tmp_path, tiny):
    broken = small()
    broken["variants"]["hot"]["changes"] = {"tau": 0.1}
    ablation = load_declaration(write(tmp_path, broken))
    with pytest.raises(ValueError, match=r"mine.yaml: variants.hot.changes: .*same.*'cold'"):
        cells(ablation, tiny, {}, [0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"contrast.negatives.score": "mask"}, "contrast.negatives.score"),
        ({"contrast.negatives": {"score": "mask"}}, "varies contrast.negatives.score"),
        ({"seed": 3}, "--seeds"),
        ({"contrast.wieght": 0.1}, "^unknown key 'contrast.wieght'.*contrast.weight"),
    ],
)
def test_a_users_change_must_leave_the_comparison_whole(negatives, tiny, changes, words):
    with pytest.raises(ValueError, match=words):
        cells(negatives, tiny, changes, [0])


def test_variants_that_come_to_the_same_computation_are_refused(negatives, tiny):
    planned = cells(negatives, tiny, {"contrast.weight": 0.0}, [0])
    with pytest.raises(ValueError, match="uniform/s0 and mask/s0 come to the same computation"):
        identify(planned, lambda config: str(config.contrast.weight))


def test_an_experiment_is_named_by_what_stands_in_one_table(negatives, tiny, tmp_path):
    config = cells(negatives, tiny, {}, [0])[0].config
    assert experiment_name("negatives", config) == "ablate/negatives@tiny-toycity"
    (tmp_path / "My City").mkdir()
    own = {"data.name": str(tmp_path / "My City" / "dataset.json")}
    config = cells(negatives, tiny, own, [0])[0].config
    assert experiment_name("negatives", config) == "ablate/negatives@tiny-My-City"


def test_a_label_with_an_unknown_key_is_told_before_anything_is_computed(tmp_path, tiny):
    variants = small()["variants"]
    variants["hot"]["label"] = "tau = {contrast.temperatur}"
    path = write(tmp_path, small(variants=variants))
    with pytest.raises(ValueError) as error:
        cells(load_declaration(path), tiny, {}, [0])
    line = str(error.value)
    assert line.startswith(f"{path}: variants.hot.label: unknown key 'contrast.temperatur'; did")
    assert "\n" not in line
    variants["hot"]["label"] = "tau = {tau}"
    planned = cells(load_declaration(write(tmp_path, small(variants=variants))), tiny, {}, [0])
    labels = [label_at(load_declaration(path).variants[c.variant], c.config) for c in planned]
    assert labels == ["Cold", "tau = 0.4"]
