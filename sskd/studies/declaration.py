"""An ablation as one file of data.

Ours ship with the package; a file of the same name in ``experiments/`` of the working directory
takes their place.
"""

import json
import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sskd.config import load_yaml, nearest

__all__ = [
    "PRESETS",
    "Ablation",
    "AtScale",
    "Diagnostic",
    "Pair",
    "Source",
    "Variant",
    "explain",
    "find_declarations",
    "load_ablation",
    "load_declaration",
    "read_fields",
]

Metric = Literal[
    "mask_ap",
    "mask_ap50",
    "mask_ap75",
    "mask_ap_small",
    "mask_ap_medium",
    "mask_ap_large",
    "cityscapes_ap",
    "cityscapes_ap50",
    "margin",
    "false_negative_rate",
    "loss_pxl",
]
Diagnostic = Literal[
    "loss",
    "loss_sup",
    "loss_semi",
    "loss_pxl",
    "margin",
    "false_negative_rate",
    "background_rate",
    "sampling_entropy",
    "valid_anchors",
    "starved_anchors",
    "repeated_anchors",
    "redrawn_anchors",
    "bank_age",
    "grad_norm",
    "learning_rate",
    "images_per_second",
]
"""What a training logs."""
Base = Literal[
    "teacher-supervised", "teacher-self-training", "student-transfer", "student-refinement"
]

PRESETS: dict[str, dict[str, Any]] = {
    "teacher-supervised": {"pipeline.teacher": "supervised", "pipeline.final": "supervised"},
    "teacher-self-training": {"pipeline.teacher": "adapted", "pipeline.final": "self-training"},
    "student-transfer": {"pipeline.teacher": "adapted", "pipeline.final": "transfer"},
    "student-refinement": {"pipeline.teacher": "adapted", "pipeline.final": "refinement"},
}
"""What ``base`` of a declaration, or of a variant, changes of every scale."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Source(_Part):
    """Where the paper's numbers stand."""

    paper: str
    table: int | str
    """A table's number, or such as ``figure 3``."""
    setting: str

    @property
    def place(self) -> str:
        """``table 4``, ``figure 3``."""
        text = str(self.table)
        return text if text.startswith("figure") else f"table {text}"


class AtScale(_Part):
    """What a variant is at one scale, where the paper's own cannot be had."""

    label: str | None = None
    changes: dict[str, Any] | None = None
    """In the place of the variant's."""
    stand_in: str | None = None
    """Why this is another thing than the paper's: its claim is then not comparable."""


class Pair(_Part):
    """Two variants that a claim is about, beside each one and its counterpart."""

    variant: str
    against: str
    claimed: Literal["above", "below"] | None = None
    """Where the paper puts the first, in words alone."""


class Variant(_Part):
    """One arm: what it changes of the base, and what the paper got."""

    label: str
    """Dotted keys in braces stand for the arm's own values: ``tau = {contrast.temperature}``."""
    changes: dict[str, Any] = {}
    """Dotted key, or short name, to value."""
    base: Base | None = None
    """In the place of the ablation's."""
    scales: dict[Literal["tiny", "small", "paper"], AtScale] = {}
    """Where a scale needs something else."""
    group: str | None = None
    """The heading that the arm stands under; arms of one group follow each other."""
    against: str | None = None
    """The variant that this one is compared with; the ablation's reference, if not said; itself
    for one that is compared with nothing."""
    paper: dict[Metric, float] | None = None
    """As printed: AP in per cent."""
    paper_on: dict[str, dict[Metric, float]] = {}
    """The same for other data sets, by name; ``paper`` is for Cityscapes."""
    claimed: Literal["above", "below"] | None = None
    """Where the paper puts this one, against the other, in words alone."""
    not_run: str | None = None
    """Why we have no such arm: it stands in the table with the paper's number alone."""
    note: str | None = None


class Ablation(_Part):
    """A question, its variants, and what the paper answers."""

    name: str
    """The file's name without its ending."""
    path: Path
    question: str
    source: Source | None = None
    claim: str | None = None
    """The paper's, in a sentence that the verdict is about."""
    base: Base
    variants: Annotated[dict[str, Variant], Field(min_length=2)]
    reference: str
    """The variant that every other one is compared with, unless that says otherwise."""
    further: tuple[Pair, ...] = ()
    """What the claim says beyond each variant and its counterpart."""
    expected_order: tuple[str, ...] | None = None
    """Variants that are run, the best one first."""
    metrics: Annotated[tuple[Metric, ...], Field(min_length=1)] = ("mask_ap", "mask_ap50")
    diagnostics: tuple[Diagnostic, ...] = ()
    """Training metrics of the final stage whose curves belong in the report."""
    notes: tuple[str, ...] = ()

    @property
    def run(self) -> dict[str, Variant]:
        """The variants that have cells."""
        return {name: v for name, v in self.variants.items() if v.not_run is None}

    def against(self, name: str) -> str | None:
        """The variant that one is compared with; ``None`` for one that is compared with nothing."""
        other = self.variants[name].against or self.reference
        return None if other == name else other

    @model_validator(mode="after")
    def _check(self) -> "Ablation":
        for name, variant in self.variants.items():
            # Part of run names, and of the commands that a report prints.
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]*", name):
                raise ValueError(f"variants: {name!r} may hold letters, digits, '.', '_', '=', '-'")
            if variant.against is not None and variant.against not in self.run:
                known = nearest(variant.against, self.run)
                raise ValueError(f"variants.{name}.against: no variant {variant.against!r}{known}")
            if variant.not_run is not None and (variant.changes or variant.scales or variant.base):
                raise ValueError(f"variants.{name}: one that is not run changes nothing")
        if self.reference not in self.run:
            known = nearest(self.reference, self.run)
            raise ValueError(f"reference: no variant {self.reference!r}{known}")
        for place, pair in enumerate(self.further):
            for name in (pair.variant, pair.against):
                if name not in self.run:
                    known = nearest(name, self.run)
                    raise ValueError(f"further.{place}: no variant {name!r} that is run{known}")
        pairs = [(name, other) for name in self.run if (other := self.against(name)) is not None]
        pairs += [(pair.variant, pair.against) for pair in self.further]
        for i, (name, other) in enumerate(pairs):
            if name == other or {name, other} in map(set, pairs[:i]):
                # Twice in one family, it would be corrected for twice.
                raise ValueError(f"{name} is compared with {other} twice, or with itself")
        unknown = [name for name in self.expected_order or () if name not in self.run]
        if unknown or len(set(self.expected_order or ())) < len(self.expected_order or ()):
            raise ValueError(
                f"expected_order: must name variants of {', '.join(self.run)}, each once, "
                f"got {', '.join(self.expected_order or ())}"
            )
        return self


def find_declarations(
    cwd: Path, kind: Literal["experiments", "sweeps"] = "experiments"
) -> dict[str, Path]:
    """Every declaration of a kind by name: ours, and in their place those of ``cwd/<kind>``."""
    package = Path(str(resources.files("sskd")))
    shipped = package / "_declarations" / kind
    if not shipped.is_dir():  # not in a wheel: beside the package, in a checkout
        shipped = package.parent / kind
    folders = (shipped, cwd / kind)
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def load_ablation(name: str, cwd: Path) -> Ablation:
    """The ablation of that name.

    Raises:
        ValueError: If there is none, or its file is not a declaration; one line.
    """
    known = find_declarations(cwd)
    if name not in known:
        raise ValueError(f"no ablation {name!r}{nearest(name, known)}")
    return load_declaration(known[name])


def load_declaration(path: Path) -> Ablation:
    """The declaration in a file.

    Raises:
        ValueError: One line that names the file, the field and the rule.
    """
    data = read_fields(path, "an ablation", "question, base, variants")
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Ablation.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error, _fields)}") from None


def read_fields(path: Path, what: str, such_as: str) -> dict[str, Any]:
    """The fields of a declaration's file, with ``name`` and ``path``; not yet validated.

    Args:
        path: The file.
        what: Of what kind it is, for messages.
        such_as: Fields that it would have, for messages.

    Raises:
        ValueError: One line that names the file.
    """
    try:
        data = load_yaml(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected fields such as {such_as}")
    for key in ("name", "path"):
        if key in data:
            raise ValueError(f"{path}: unknown field {key!r}; {what} is named by its file")
    return data | {"name": path.stem, "path": str(path)}


def explain(error: ValidationError, fields: Callable[[list[int | str]], list[str]]) -> str:
    """The first problem as one line.

    Args:
        error: Of the validation.
        fields: Gives, for the place of an unknown field, those that it may have been meant for.
    """
    problem = error.errors()[0]
    place = [part for part in problem["loc"] if part != "[key]"]
    where = ".".join(map(str, place))
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown field {where!r}{nearest(str(place[-1]), fields(place))}"
    if problem["type"] == "missing":
        return f"missing field {where!r}"
    if not where:
        return message
    value = problem["input"]
    shown = "" if isinstance(value, dict | list) else f", got {value!r}"
    return f"{where}: {message[0].lower() + message[1:]}{shown}"


def _fields(place: list[int | str]) -> list[str]:
    """The fields that an unknown one may have been meant for."""
    model: type[BaseModel] = Ablation
    if len(place) > 1:
        places: dict[int | str, type[BaseModel]] = {"source": Source, "further": Pair}
        model = places.get(place[0], Variant)
    if len(place) > 3:
        model = AtScale
    return [name for name in model.model_fields if name not in ("name", "path")]
