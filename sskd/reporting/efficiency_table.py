"""The numbers of the efficiency figure, ours beside the paper's."""

from dataclasses import dataclass

from sskd.config import PRECISIONS
from sskd.reporting.document import literal
from sskd.reporting.tables import Rows
from sskd.studies.efficiency import Both, Quantities
from sskd.studies.measurements import Measurement, ModelCost

__all__ = ["QUANTITIES", "Quantity", "answer", "caption", "factor", "ours", "rows"]


@dataclass(frozen=True)
class Quantity:
    """A row of the table."""

    name: str
    label: str
    unit: float
    """What a number in SI units is divided by before it is shown."""
    digits: int
    """Significant ones."""
    word: str
    """In the answer; empty for what another row says already."""

    def show(self, value: float) -> str:
        """A number in SI units as people read it."""
        scaled = value / self.unit
        whole = scaled >= 10**self.digits  # where the format would turn to powers of ten
        return f"{scaled:.0f}" if whole else f"{scaled:.{self.digits}g}"


QUANTITIES = (
    Quantity("parameters", "Parameters (millions)", 1e6, 3, "parameters"),
    Quantity("flops", "GFLOPs", 1e9, 3, "operations"),
    Quantity("seconds", "Time of an image (ms)", 1e-3, 5, "time"),
    Quantity("images_per_second", "Images a second", 1.0, 3, ""),
    Quantity("peak_memory_bytes", "Peak memory (GB)", 1e9, 2, "memory"),
)


def ours(measured: Measurement) -> Both:
    """A measurement in the terms of the paper's."""
    return Both(teacher=_quantities(measured.teacher), student=_quantities(measured.student))


def factor(models: Both, name: str) -> float:
    """Teacher over student; for images a second the other way round, so that 1 means no gain."""
    teacher, student = getattr(models.teacher, name), getattr(models.student, name)
    ratio: float = student / teacher if name == "images_per_second" else teacher / student
    return ratio


def rows(measured: Measurement, paper: Both) -> Rows:
    """A row a quantity: teacher, student and factor, ours and then the paper's."""
    both = ours(measured)
    heads = ["teacher", "student", "factor"]
    found = [["", *heads, *(f"paper's {head}" for head in heads)]]
    for quantity in QUANTITIES:
        cells = [quantity.label]
        for models in (both, paper):
            cells += [quantity.show(getattr(models.teacher, quantity.name))]
            cells += [quantity.show(getattr(models.student, quantity.name))]
            cells += [f"{factor(models, quantity.name):.3g}"]
        found.append(cells)
    return found


def caption(measured: Measurement) -> str:
    """Under which conditions, and how much the times spread."""
    height, width = measured.size
    facts = measured.environment
    machine = literal(str(facts["machine"]))
    spread = "; ".join(
        f"{role} {1000 * cost.seconds.lower:.4g} to {1000 * cost.seconds.upper:.4g} ms"
        for role, cost in (("teacher", measured.teacher), ("student", measured.student))
    )
    threads = f"{facts['threads']} thread{'' if facts['threads'] == 1 else 's'}"
    return (
        f"One image of {height}x{width} pixels, {measured.classes} classes, "
        f"{PRECISIONS[measured.precision]}, on {facts['device']} ({machine}, {threads}), "
        f"torch {facts['torch']}. Time: median of {measured.repeats} passes after "
        f"{measured.warmup} that do not count; quartiles: {spread}. Factor: teacher over student, "
        "for images a second student over teacher."
    )


def answer(measured: Measurement, paper: Both) -> str:
    """Our factors and, in brackets, the paper's."""
    both = ours(measured)
    parts = [
        f"{quantity.word} {factor(both, quantity.name):.3g} ({factor(paper, quantity.name):.3g})"
        for quantity in QUANTITIES
        if quantity.word
    ]
    height, width = measured.size
    return (
        f"Teacher over student on {measured.environment['device']} at {height}x{width}, in "
        f"brackets the paper's: {', '.join(parts)}. Above 1 the student is the cheaper one."
    )


def _quantities(cost: ModelCost) -> Quantities:
    return Quantities(
        parameters=float(cost.parameters),
        flops=float(cost.flops),
        seconds=cost.seconds.median,
        images_per_second=cost.images_per_second,
        peak_memory_bytes=float(cost.peak_memory_bytes),
    )
