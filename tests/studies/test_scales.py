"""Every shipped ablation at every scale: whole, and fair."""

from pathlib import Path

import pytest

from sskd.config import SCALES, build_config, digest, flatten, load_scale
from sskd.engine.stages import fingerprint, plan_stages
from sskd.studies.cells import cells, changes_at, label_at, not_applicable
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
