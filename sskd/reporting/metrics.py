"""What each metric is called, in which unit it is read, and which way is better."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "OFFICIAL", "Measure"]


@dataclass(frozen=True)
class Measure:
    """How one metric is shown."""

    name: str
    unit: str = ""
    """Of a level: ``%``, ``nats``, or nothing."""
    difference_unit: str = ""
    """Of a difference of two levels: ``points``, ``nats``, or nothing."""
    factor: float = 1.0
    """What a stored number is multiplied by; the paper's are declared as they are shown."""
    digits: int = 3
    """Decimals of a level; a difference has one more."""
    better: Literal["higher", "lower"] | None = None
    """``None`` where neither way is: such a level is measured for its own sake."""
    optional: bool = False
    """Measured only where a configuration asks for it."""
    from_training: bool = False
    """The mean over the last tenth of the final stage's steps, in the place of an evaluation."""

    @property
    def head(self) -> str:
        """For the head of a column: ``AP (%) ↑``."""
        unit = f" ({self.unit})" if self.unit else ""
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[self.better]
        return f"{self.name}{unit}{arrow}"


def _ap(name: str, *, optional: bool = False) -> Measure:
    return Measure(name, "%", "points", 100.0, 1, "higher", optional=optional)


OFFICIAL = ("cityscapes_ap", "cityscapes_ap50")
"""What ``evaluation.cityscapes`` adds to every table: the benchmark's own AP."""


METRICS = {
    "mask_ap": _ap("AP"),
    "mask_ap50": _ap("AP50"),
    "mask_ap75": _ap("AP75"),
    "mask_ap_small": _ap("AP small"),
    "mask_ap_medium": _ap("AP medium"),
    "mask_ap_large": _ap("AP large"),
    "cityscapes_ap": _ap("Cityscapes AP", optional=True),
    "cityscapes_ap50": _ap("Cityscapes AP50", optional=True),
    "margin": Measure("margin", better="higher", from_training=True),
    "false_negative_rate": Measure("false-negative rate", better="lower", from_training=True),
    "loss_pxl": Measure("contrastive loss", "nats", "nats", from_training=True),
}
"""Every metric that a declaration may ask for."""
