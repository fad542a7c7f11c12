"""The optimisations of the method, and which of them a cell runs."""

from typing import Literal

from pydantic import model_validator

from sskd.config.group import Frozen, NonNegative, Positive, Probability, Rate, Weight

__all__ = [
    "OptimizerConfig",
    "PipelineConfig",
    "ScheduleConfig",
    "StagesConfig",
    "TrainingConfig",
]


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
