"""Every number of an ablation, one a line, for other people's programs."""

import csv
import io

from sskd.reporting.analysis import Analysis
from sskd.reporting.metrics import METRICS

__all__ = ["HEADER", "to_csv"]

HEADER = ("ablation", "variant", "seed", "metric", "value", "fingerprint")


def to_csv(analysis: Analysis) -> str:
    """Finished cells only; values as they are stored, AP in [0, 1]."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for arm in analysis.arms:
        for cell in arm.cells:
            for metric, measure in METRICS.items():
                value = arm.stored(metric).get(cell.seed)
                if value is not None and (not measure.from_training or metric in analysis.metrics):
                    row = (arm.name, cell.seed, metric, repr(value), cell.fingerprint)
                    writer.writerow((analysis.ablation.name, *row))
    return text.getvalue()
