"""``sskd list --models``: what the models of every scale, and their variants, are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from sskd.bench.architecture import CLASSES, describe
from sskd.cli.console import print_table, say
from sskd.cli.progress import open_display
from sskd.config import SCALES, Config, GroundedSamConfig, ModelConfig, build_config, load_scale
from sskd.studies.efficiency import Efficiency, load_efficiency

__all__ = ["print_models"]

Role = Literal["teacher", "student"]


def print_models(cwd: Path) -> None:
    """Print a table of architectures: teacher and student of each scale, then variants.

    Raises:
        ValueError: If the declaration that holds the paper's numbers is broken; one line.
    """
    declared = load_efficiency(cwd)
    arms = list(_arms(declared))
    rows = []
    with open_display() as progress:
        for done, (label, config, role) in enumerate(arms, start=1):
            rows.append(_row(label, config, role, declared))
            progress("models", done, len(arms))
    print_table(
        (
            *("model", "encoder, head", "input", "parameters", "paper's"),
            *("of the encoder", "paper's", "GFLOPs", "activations"),
        ),
        rows,
    )
    say("")
    say(
        f"parameters: as at test time, without the projection; {CLASSES} classes. GFLOPs: one "
        "image's forward pass, a multiply-add counts as two. activations: what training keeps of "
        "one image for the backward pass, in float32, before the losses. The paper's 568M are its "
        "teacher's detector and all of SAM 2 (567.5M); ours leaves out SAM 2's memory of a video."
    )


def _arms(declared: Efficiency) -> Iterator[tuple[str, Config, Role]]:
    for scale in SCALES:
        config = build_config(load_scale(scale), {})
        yield f"{scale} teacher", config, "teacher"
        yield f"{scale} student", config, "student"
    base = load_scale("paper")
    own = build_config(base, {}).student
    for key, names in (("encoder", declared.encoders), ("head", declared.heads)):
        for name in names:
            if name != getattr(own, key).name:
                changes = {f"student.{key}.name": name}
                yield "paper student with", build_config(base, changes), "student"


def _row(label: str, config: Config, role: Role, declared: Efficiency) -> tuple[str, ...]:
    model: ModelConfig | GroundedSamConfig = getattr(config, role)
    names = model.title
    height, width = config.views.crop
    try:
        size = describe(model, size=(height, width))
    except ValueError as error:  # an optional package is missing: the others can be told
        return (label, names, str(error), *[""] * 6)
    whole = getattr(declared.paper, role).parameters if label == f"paper {role}" else None
    of_paper = config.scale == "paper" and role == "student"
    encoder = declared.encoders.get(config.student.encoder.name) if of_paper else None
    return (
        label,
        names,
        f"{height}x{width}",
        _ours(size.parameters),
        _printed(whole),
        _ours(size.encoder_parameters),
        _printed(encoder.paper_parameters if encoder else None),
        f"{size.flops / 1e9:.1f}",
        f"{size.activation_bytes / 2**20:.0f} MiB",
    )


def _ours(count: int) -> str:
    return f"{count / 1e6:.1f}M"


def _printed(count: float | None) -> str:
    """As the paper has it: whole millions."""
    return "" if count is None else f"{count / 1e6:.0f}M"
