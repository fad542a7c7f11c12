"""The stages of a cell as rows of a table, and the identity of each.

The paper writes every optimisation as one objective with different coefficients (eq. 3), so a
stage here is data: whose weights it starts from, whose pseudo-labels it reads, which part of the
config it reads. Its key hashes exactly that, so that two cells that agree on it share it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from sskd.config import (
    NUMERICS_VERSION,
    Config,
    ContrastConfig,
    EvaluationConfig,
    GroundedSamConfig,
    ModelConfig,
    TrainingConfig,
    digest,
)

__all__ = ["Role", "Stage", "fingerprint", "plan_stages"]

Kind = Literal["train", "checkpoint", "pseudo-labels", "evaluation"]
"""``checkpoint``: a published model as it is, brought into the store."""
Role = Literal["teacher", "student"]

FOUNDATION_SEED = 0
"""A foundation model is one checkpoint: it does not vary with the seed of a cell."""

TEACHER_OF = {"zero-shot": "pretraining", "supervised": "supervised", "adapted": "self_training"}
"""``pipeline.teacher`` and the stage that gives its weights."""

IMPORTED = "imported"
"""In the place of such a stage where pseudo-labels come from a file."""

IMPORTED_LABELS = "pseudo_labels_imported"
"""The stage that reads such a file; no model takes part in it."""

FINAL_STAGE = {
    "zero-shot": "pretraining",
    "supervised": "supervised",
    "self-training": "self_training",
    "transfer": "transfer",
    "refinement": "refinement",
}
"""``pipeline.final`` and the stage whose model is evaluated for the cell's result."""


@dataclass(frozen=True)
class Stage:
    """One step of a cell, with the key under which the store keeps it."""

    name: str
    kind: Kind
    role: Role
    key: str
    start: str | None = None
    """Name of the stage whose weights this one starts from; none: fresh weights."""
    pseudo_labels: str | None = None
    """Name of the stage whose pseudo-labels this one reads."""
    training: TrainingConfig | None = None
    contrast: ContrastConfig | None = None
    """None where L_pxl takes no part."""
    seed: int = 0
    file_sha: str | None = None
    """Of the file of pseudo-labels that this one imports."""

    @property
    def uses_unlabeled(self) -> bool:
        """Whether unlabeled images enter the batch: only where a term reads them."""
        assert self.training is not None
        return self.training.unlabeled_batch > 0 and (
            self.pseudo_labels is not None or self.contrast is not None
        )


def plan_stages(
    config: Config,
    *,
    data_sha: str,
    split_sha: str,
    labels_sha: str | None = None,
    known_as: Callable[[str], str] = str,
) -> tuple[Stage, ...]:
    """The stages of a cell in an order in which they can run, evaluations included.

    Args:
        config: The cell.
        data_sha: Content hash of the data set.
        split_sha: Content hash of the split.
        labels_sha: Content hash of the file of pseudo-labels, where there is one.
        known_as: What stands for a source of weights; the source itself if not given.

    Returns:
        Every stage that the cell's final model depends on, and the evaluation of every model.
    """
    assert (labels_sha is None) == (config.pseudo_labels.file is None)
    plan = _Plan(config, data_sha, split_sha, labels_sha, known_as)
    final = config.pipeline.final
    wants_teacher = final not in ("transfer", "refinement") or plan.student_reads_labels_of_teacher
    if wants_teacher and labels_sha is None:
        plan.add_teacher(TEACHER_OF[config.pipeline.teacher])
    if final in ("transfer", "refinement"):
        plan.train("transfer", "student", start=None, labels_of=plan.teacher_stage)
    if final == "refinement":
        plan.train("refinement", "student", start="transfer", labels_of=None)
    return tuple(plan.stages.values())


def fingerprint(config: Config, stages: tuple[Stage, ...]) -> str:
    """A cell's identity: its stages by content, its seed, and which of its models counts."""
    return digest(
        {"stages": [s.key for s in stages], "seed": config.seed, "final": config.pipeline.final}
    )


class _Plan:
    """Collects stages; adding one adds what it needs first."""

    def __init__(
        self,
        config: Config,
        data_sha: str,
        split_sha: str,
        labels_sha: str | None,
        known_as: Callable[[str], str],
    ) -> None:
        self.config, self.data_sha, self.split_sha = config, data_sha, split_sha
        self.labels_sha, self.known_as = labels_sha, known_as
        self.stages: dict[str, Stage] = {}

    @property
    def student_reads_labels_of_teacher(self) -> bool:
        transfer = self.config.stages.transfer
        return (
            self.config.pipeline.teacher != "none"
            and transfer.semi_weight > 0
            and transfer.unlabeled_batch > 0
        )

    @property
    def teacher_stage(self) -> str | None:
        if not self.student_reads_labels_of_teacher:
            return None
        return IMPORTED if self.labels_sha else TEACHER_OF[self.config.pipeline.teacher]

    def add_teacher(self, last: str) -> None:
        """The teacher's stages up to the one whose weights are wanted."""
        start = None
        if isinstance(self.config.teacher, GroundedSamConfig):
            self.bring(self.config.teacher)
            start = "pretraining"
        elif self.config.stages.pretraining is not None:
            self.train("pretraining", "teacher", start=None, labels_of=None)
            start = "pretraining"
        if last in ("supervised", "self_training"):
            self.train("supervised", "teacher", start=start, labels_of=None)
        if last == "self_training":
            # Back to the pretrained weights (paper, Sec. 3.3), not on from the supervised ones.
            needs_labels = self.config.stages.self_training.semi_weight > 0
            labels_of = "supervised" if needs_labels else None
            self.train("self_training", "teacher", start=start, labels_of=labels_of)

    def bring(self, teacher: GroundedSamConfig) -> None:
        """The published teacher in the place of one that is pretrained here; its evaluation."""
        name = "pretraining"
        reads = {"model": _model_reads(teacher, self.known_as), "seed": FOUNDATION_SEED}
        key = self._key(name, reads)
        self._add(Stage(name=name, kind="checkpoint", role="teacher", key=key))
        self.evaluate(name, "teacher")

    def train(self, name: str, role: Role, *, start: str | None, labels_of: str | None) -> None:
        """A training stage, the pseudo-labels that it reads, and the evaluation of its model."""
        config = self.config
        training: TrainingConfig = getattr(config.stages, name)
        contrast = config.teacher_contrast if role == "teacher" else config.contrast
        active = contrast if training.contrast and contrast.weight > 0 else None
        labels = self.label(labels_of) if labels_of else None
        pretraining = name == "pretraining"
        seed = FOUNDATION_SEED if pretraining else config.seed
        model = _model_reads(getattr(config, role), self.known_as)
        reads = {
            "model": model,
            "training": _training_reads(training, labels is not None, active is not None),
            "set_loss": _set_loss_reads(config, role),
            "contrast": _contrast_reads(active),
            "views": _views_reads(config, contrast=active is not None),
            "seed": seed,
            "data": self.data_sha,
            "split": None if pretraining else self.split_sha,
        }
        self._add(
            Stage(
                name=name,
                kind="train",
                role=role,
                key=self._key(name, reads, start, labels),
                start=start,
                pseudo_labels=labels,
                training=training,
                contrast=active,
                seed=seed,
            )
        )
        self.evaluate(name, role)

    def evaluate(self, name: str, role: Role) -> None:
        """The evaluation of a stage's model."""
        config = self.config
        evaluation = {
            "evaluation": _evaluation_reads(config.evaluation),
            "data": self.data_sha,
        }
        if config.data.held_out > 0:
            evaluation["held_out_of"] = self.split_sha
        self._add(
            Stage(
                name=f"evaluate_{name}",
                kind="evaluation",
                role=role,
                key=self._key(f"evaluate_{name}", evaluation, name),
                start=name,
            )
        )

    def label(self, teacher: str) -> str:
        """The pseudo-labels of a teacher's stage, or of a file; returns their stage's name."""
        if teacher == IMPORTED:
            return self._import_labels()
        name = "pseudo_labels_" + {v: k for k, v in TEACHER_OF.items()}[teacher].replace("-", "_")
        reads = {
            # The guards against a collapse and a flood stop a run, but change no label.
            "pseudo_labels": self.config.pseudo_labels.model_dump(
                mode="json", exclude={"min_mean", "max_mean", "file"}
            ),
            "short_side": self.config.evaluation.short_side,
            "window": self.config.evaluation.window,
            "data": self.data_sha,
            "split": self.split_sha,
        } | _precision_reads(self.config.evaluation)
        key = self._key(name, reads, teacher)
        self._add(Stage(name=name, kind="pseudo-labels", role="teacher", key=key, start=teacher))
        return name

    def _import_labels(self) -> str:
        kept = {"score_threshold", "min_area", "max_per_image"}
        reads = {
            "file": self.labels_sha,
            "pseudo_labels": self.config.pseudo_labels.model_dump(mode="json", include=kept),
            "data": self.data_sha,
            "split": self.split_sha,
        }
        name = IMPORTED_LABELS
        key = self._key(name, reads)
        self._add(Stage(name, "pseudo-labels", "teacher", key, file_sha=self.labels_sha))
        return name

    def _key(self, name: str, reads: dict[str, Any], *parents: str | None) -> str:
        return digest(
            {
                "stage": name,
                "reads": reads,
                "parents": [self.stages[p].key if p else None for p in parents],
                "numerics": self.config.numerics.model_dump(mode="json"),
                "numerics_version": NUMERICS_VERSION,
            }
        )

    def _add(self, stage: Stage) -> None:
        self.stages.setdefault(stage.name, stage)


def _model_reads(
    model: ModelConfig | GroundedSamConfig, known_as: Callable[[str], str]
) -> dict[str, Any]:
    """With checkpoints by their content, and without the weights of a term that is not there."""
    reads: dict[str, Any] = model.model_dump(mode="json")
    if isinstance(model, ModelConfig):
        reads["encoder"]["weights"] = known_as(model.encoder.weights)
        return reads
    if model.weights == "pretrained":
        reads |= {"detector": known_as(model.detector), "segmenter": known_as(model.segmenter)}
    if model.freeze_segmenter:
        del reads["mask_weight"], reads["dice_weight"]
    return reads


def _training_reads(training: TrainingConfig, labels: bool, contrast: bool) -> dict[str, Any]:
    reads = training.model_dump(mode="json", exclude={"contrast"})
    if not labels:
        reads["semi_weight"] = 0.0
    if not (labels or contrast):
        reads["unlabeled_batch"] = 0
    return reads


def _evaluation_reads(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Without the key of the second evaluator where that is not asked for."""
    unread = {"precision"} | (set() if evaluation.cityscapes else {"cityscapes"})
    return evaluation.model_dump(mode="json", exclude=unread) | _precision_reads(evaluation)


def _precision_reads(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Only what is not float32: stages from before there was a choice are such ones."""
    return {} if evaluation.precision == "no" else {"precision": evaluation.precision}


def _set_loss_reads(config: Config, role: Role) -> dict[str, Any] | None:
    """A teacher whose set loss is of boxes has its weights among its own settings."""
    if role == "teacher" and isinstance(config.teacher, GroundedSamConfig):
        return None
    return config.set_loss.model_dump(mode="json")


def _contrast_reads(contrast: ContrastConfig | None) -> dict[str, Any] | None:
    """Without the keys that the chosen loss, score and pool do not read."""
    if contrast is None:
        return None
    reads = contrast.model_dump(mode="json")
    negatives = reads["negatives"]
    reads.pop("margin" if contrast.loss == "info-nce" else "temperature")
    if contrast.negatives.score == "uniform":
        negatives.pop("exponent")
    if contrast.negatives.score in ("uniform", "class") or contrast.negatives.scope == "same-image":
        negatives.pop("cross_image_slots")
    if contrast.negatives.scope != "memory-bank":
        negatives.pop("bank_size")
    return reads


def _views_reads(config: Config, *, contrast: bool) -> dict[str, Any]:
    """Without contrastive term there is no strong view."""
    reads = config.views.model_dump(mode="json")
    if not contrast:
        return {key: reads[key] for key in ("crop", "scale", "flip")}
    if config.views.geometry == "shared":
        reads.pop("strong_scale")
    return reads
