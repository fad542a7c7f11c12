"""The complete, frozen, validated description of a run, and its identity.

A ``Config`` says everything that affects a result; no command implies any part of it. Two configs
with the same ``identity`` give the same numbers, whatever they are called. This package imports
no torch, so that the command line answers at once.
"""

from sskd.config.cell import NUMERICS_VERSION, Config, NumericsConfig, RuntimeConfig
from sskd.config.changes import SHORT_NAMES, apply_changes, build_config, parse_overrides
from sskd.config.data import PERCENT, DataConfig, EvaluationConfig, PseudoLabelConfig, ViewsConfig
from sskd.config.group import PRECISIONS, Precision
from sskd.config.losses import ContrastConfig, NegativesConfig, SetLossConfig
from sskd.config.models import (
    DecoderConfig,
    EncoderConfig,
    GroundedSamConfig,
    HeadConfig,
    ModelConfig,
    ProjectionConfig,
    TeacherConfig,
)
from sskd.config.plain import canonical, digest, flatten, load_yaml, nearest
from sskd.config.scales import PAPERS_DATA, SCALES, base_for, load_scale, stated_costs
from sskd.config.training import (
    OptimizerConfig,
    PipelineConfig,
    ScheduleConfig,
    StagesConfig,
    TrainingConfig,
)

__all__ = [
    "NUMERICS_VERSION",
    "PAPERS_DATA",
    "PERCENT",
    "PRECISIONS",
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
    "Precision",
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
