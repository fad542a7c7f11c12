"""Every shipped ablation at every scale: whole, and fair."""

from pathlib import Path

import pytest

from sskd.config import SCALES, base_for, build_config, digest, flatten, load_scale
from sskd.engine.stages import fingerprint, plan_stages
from sskd.studies.cells import cells, changes_at, label_at, not_applicable, own_changes
from sskd.studies.declaration import PRESETS, find_declarations, load_declaration

SHIPPED = find_declarations(Path("/nowhere"))
everywhere = pytest.mark.parametrize(
    ("name", "scale"), [(name, scale) for name in SHIPPED for scale in SCALES]
)


def resolve(name: str, scale: str):
    ablation, base = load_declaration(SHIPPED[name]), load_scale(scale)
    return ablation, base, cells(ablation, base, {}, [0])


def fingerprint_of(config) -> str:
    """As a run has it, but for the hash of the split's files."""
    split = digest([config.data.label_fraction, config.data.split_seed])
    return fingerprint(config, plan_stages(config, data_sha="", split_sha=split))


@everywhere
def test_every_variant_resolves_and_is_a_computation_of_its_own(name, scale):
    ablation, base, planned = resolve(name, scale)
    absent = not_applicable(ablation, base, {})
    assert [cell.variant for cell in planned] == [n for n in ablation.run if n not in absent]
    assert len({fingerprint_of(cell.config) for cell in planned}) == len(planned)
    labels = [label_at(ablation.variants[cell.variant], cell.config) for cell in planned]
    assert not [label for label in labels if "{" in label]


@everywhere
def test_arms_differ_only_in_what_they_declare(name, scale):
    ablation, base, planned = resolve(name, scale)
    plain = flatten(build_config(base, {}).identity())
    for cell in planned:
        variant = ablation.variants[cell.variant]
        declared = flatten(PRESETS[variant.base or ablation.base] | changes_at(variant, scale))
        own = flatten(cell.config.identity())
        assert {key: own[key] for key in declared} == declared, cell.name
        others = own.keys() - declared.keys()
        assert {k: own[k] for k in others} == {k: plain[k] for k in others}, cell.name


def test_the_encoders_of_table_5_are_the_papers_at_its_scale():
    _, _, planned = resolve("encoders", "paper")
    names = [cell.config.student.encoder.name for cell in planned]
    assert names == ["resnet50", "sam2-hiera-small", "dinov2-small"]
    assert {cell.config.student.head.name for cell in planned} == {"dpt"}


SAID = {
    "data.name": "Data: {}",
    "evaluation.short_side": "short side {}",
    "pseudo_labels.min_area": "under {} pixels",
    "set_loss.points": "{:,} points",
    "stages.refinement.optimizer.learning_rate": "learning rates are four times",
    "stages.refinement.steps": "{:,} instead of 2,000 for the refinement",
    "stages.supervised.steps": "{:,} instead of 1,000 for the teacher",
    "stages.transfer.optimizer.learning_rate": "learning rates are four times",
    "stages.transfer.steps": "{:,} instead of 90,000 for the transfer",
    "student.decoder.feedforward": "{} in between",
    "student.decoder.layers": "{} layers",
    "student.decoder.width": "width {}",
    "student.encoder.depth": "",  # of the tiny encoders
    "student.encoder.name": "EfficientNet-Lite0",
    "student.encoder.weights": "ImageNet weights",
    "student.encoder.width": "",
    "student.head.name": "FPN head",
    "student.head.width": "width {}",
    "teacher.detector": "Swin-T",
    "teacher.detector_size": "{0[0]} by at most {0[1]}",
    "teacher.segmenter": "SAM2.1-Hiera-T",
    "views.crop": "{0[0]}x{0[1]}",
}
"""How a setting of the small scale that is not the paper scale's stands among the deviations."""


def test_the_small_scale_tells_every_setting_that_is_not_the_papers():
    small, paper = flatten(load_scale("small")), flatten(load_scale("paper"))
    text = " ".join(small["deviations"])
    different = {key for key in small if small[key] != paper.get(key)} - {"scale", "deviations"}
    different -= {key for key in small if key.startswith("runtime.")}  # changes no result
    assert different == SAID.keys()
    assert small.keys() == paper.keys()
    for key, words in SAID.items():
        assert words.format(small[key]) in text, key


@pytest.mark.parametrize("scale", SCALES)
def test_the_data_set_of_a_run_is_the_one_that_its_deviations_name(scale):
    def named(data: str) -> list[str]:
        return [line for line in base_for(scale, data)["deviations"] if "Data: " in line]

    assert named("cityscapes") == named("ade20k") == []
    assert named("mine") == ["Data: mine instead of Cityscapes."]
    assert named("/home/me/cells/dataset.json") == ["Data: cells instead of Cityscapes."]
    (drawn,) = named("toycity")
    assert drawn.startswith("Data: toycity")
    readings = [line for line in load_scale(scale)["deviations"] if "published lists" in line]
    assert readings == [x for x in base_for(scale, "mine")["deviations"] if "published lists" in x]
    assert len(readings) == 1


def test_the_paper_scale_has_the_papers_settings_for_ade20k():
    city, rooms = (build_config(base_for("paper", d), {}) for d in ("cityscapes", "ade20k"))
    assert (city.views.crop, rooms.views.crop) == ((512, 1024), (630, 630))
    steps = city.stages.transfer.steps, rooms.stages.transfer.steps
    assert steps == (90_000, 80_000)
    assert rooms.stages.transfer.optimizer.learning_rate == 1e-4
    assert rooms.stages.transfer.optimizer.clip_norm == 0.1


def test_what_a_user_changed_of_a_cell_is_told_from_what_is_declared():
    ablation = load_declaration(SHIPPED["stages"])
    changes = {"student.head": {"width": 32}, "runtime.device": "cpu", "data.label_fraction": 0.3}
    for cell in cells(ablation, base_for("small", "mine"), changes, [3]):
        assert own_changes(ablation, cell) == {
            "data.label_fraction": (0.1, 0.3),
            "student.head.width": (128, 32),
        }
    for cell in cells(ablation, base_for("tiny", "toycity"), {}, [0]):
        assert own_changes(ablation, cell) == {}
