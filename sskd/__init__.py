"""Semi-supervised distillation of vision foundation models into compact instance segmenters."""

__version__ = "0.1.0"
