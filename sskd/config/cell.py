"""One complete description of a run, and its identity."""

from typing import Any, Literal

from pydantic import model_validator

from sskd.config.data import DataConfig, EvaluationConfig, PseudoLabelConfig, ViewsConfig
from sskd.config.group import Frozen, NonNegative, Positive, Precision
from sskd.config.losses import ContrastConfig, SetLossConfig
from sskd.config.models import ModelConfig, TeacherConfig
from sskd.config.training import PipelineConfig, StagesConfig

__all__ = [
    "NUMERICS_VERSION",
    "Config",
    "NumericsConfig",
    "RuntimeConfig",
]

NUMERICS_VERSION = 5
"""Raised by hand when a change of the code changes the numbers that a finished stage would give."""


class NumericsConfig(Frozen):
    """What changes sums without changing the method; part of a run's identity."""

    threads: Positive
    precision: Precision
    """Of forward and backward passes in training: ``bf16`` or ``fp16`` by autocast, ``no`` in
    float32. Weights and losses are float32 in any case."""


class RuntimeConfig(Frozen):
    """What does not affect the result; not part of a run's identity."""

    device: Literal["auto", "cpu", "cuda"]
    processes: Positive = 1
    """That train a stage together, each on a GPU of its own and with an equal share of every batch:
    the loss is that of one. The default, here and below, is for cells from before there was a
    key."""
    gradient_checkpointing: bool = False
    """Whether activations are computed again in the backward pass: less memory, a longer step. For
    transformer layers of DINOv2, ``tiny-vit`` and the grounded teacher's Swin and BERT, where they
    learn; a stage whose model has none trains as it would without."""
    compile: bool = False
    """Whether the model's forward pass goes through ``torch.compile``."""
    inference_batch: Positive = 16
    """Most images of one forward pass, for pseudo-labels and AP."""
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
        self._check_shares()
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

    def _check_shares(self) -> None:
        for name, training in self.stages:
            if training is None:
                continue
            for key in ("labeled_batch", "unlabeled_batch"):
                if getattr(training, key) % (training.accumulation * self.runtime.processes):
                    raise ValueError(
                        f"stages.{name}.{key} must be a multiple of accumulation times "
                        f"runtime.processes: {training.accumulation} x {self.runtime.processes}"
                    )

    def identity(self) -> dict[str, Any]:
        """What affects the numbers, as plain data: everything but names and the machine."""
        return self.model_dump(mode="json", exclude={"scale", "deviations", "runtime"})
