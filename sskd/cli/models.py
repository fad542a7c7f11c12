"""``sskd list --models``: what the models of every scale, and their variants, are."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import fill
from typing import Literal

from sskd.bench.architecture import CLASSES, describe
from sskd.cli.console import print_table, say
from sskd.cli.progress import open_display
from sskd.config import SCALES, Config, GroundedSamConfig, ModelConfig, build_config, load_scale
from sskd.studies.efficiency import Efficiency, load_efficiency

__all__ = ["print_models"]

Role = Literal["teacher", "student"]

NOTES = (
    f"parameters: as at test time, without the projection; {CLASSES} classes; the paper's in "
    "brackets. GFLOPs: one image's forward pass, a multiply-add counts as two. activations: what "
    "training keeps of one image for the backward pass, in float32, before the losses.",
    "The paper's 568M are its teacher's detector and all of SAM 2 (567.5M); ours leaves out "
    "SAM 2's memory of a video.",
    "It is unclear what the parameters of heads in the paper's table 5 include: the FPN's are "
    "fewer than those of the DINOv2-S encoder below it, the DPT head's as many. Here they stand "
    "beside the head alone; the whole student's are under parameters.",
)


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
            *("model", "encoder, head", "input", "parameters", "encoder's", "head's"),
            *("GFLOPs", "activations"),
        ),
        rows,
    )
    say("")
    for label, config, role in arms:
        model = getattr(config, role)
        if isinstance(model, GroundedSamConfig):
            say(f"{label}, {model.kind}: {model.title}")
    for note in NOTES:
        say(fill(note, 100))


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
    # The names of a grounded teacher would fill a line: they stand below the table.
    names = model.kind if isinstance(model, GroundedSamConfig) else model.title
    height, width = config.views.crop
    try:
        size = describe(model, size=(height, width))
    except ValueError as error:  # an optional package is missing: the others can be told
        return (label, names, str(error), *[""] * 5)
    whole = getattr(declared.paper, role).parameters if label == f"paper {role}" else None
    encoder, head = _table_5(config, declared) if role == "student" else (None, None)
    return (
        label,
        names,
        f"{height}x{width}",
        _count(size.parameters, whole),
        _count(size.encoder_parameters, encoder),
        "" if size.head_parameters is None else _count(size.head_parameters, head),
        f"{size.flops / 1e9:.1f}",
        f"{size.activation_bytes / 2**20:.0f} MiB",
    )


def _table_5(config: Config, declared: Efficiency) -> tuple[float | None, float | None]:
    """What the paper prints for a student's encoder and head; its heads stand on one encoder."""
    if config.scale != "paper":
        return None, None
    own = build_config(load_scale("paper"), {}).student.encoder.name
    encoder, head = config.student.encoder.name, config.student.head.name
    listed = (declared.encoders.get(encoder), declared.heads.get(head) if encoder == own else None)
    of_encoder, of_head = (part.paper_parameters if part else None for part in listed)
    return of_encoder, of_head


def _count(ours: int, paper: float | None) -> str:
    """Ours, and the paper's as it has it: whole millions."""
    return f"{ours / 1e6:.1f}M" + ("" if paper is None else f" ({paper / 1e6:.0f}M)")
