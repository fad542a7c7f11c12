"""``sskd bench contrastive``: the term as the product computes it, literally, and its floor.

Axes: n locations, d embedding dimensions, m queries, c classes.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from sskd.bench.literal import literal_contrast
from sskd.engine.environment import (
    environment,
    forget_peak_memory,
    peak_memory_bytes,
    settle_process,
)
from sskd.losses.negatives import Locations
from sskd.losses.proposals import GROUP, Law, propose
from sskd.losses.sampled_contrast import sampled_contrast
from sskd.types import Progress

__all__ = ["Problem", "measure", "measure_growth", "measure_noise"]

LOSS: dict[str, Any] = {"loss": "info-nce", "temperature": 0.2, "margin": 0.2}
LITERAL_LIMIT = 2**14
"""Locations above which the literal term is left out: a table of all pairs takes gigabytes."""
QUICK = 6
"""Times that ours, and the products alone, are timed for each time of the literal term; even."""


@dataclass(frozen=True)
class Problem:
    """What is measured: sizes, and where."""

    pixels: int
    negatives: int
    dim: int = 128
    instances: int = 100
    classes: int = 8
    images: int = 8
    device: str = "cpu"
    threads: int = 2

    def law(self) -> Law:
        """The paper's."""
        return Law(self.negatives, 1.0, "batch", replacement=True, cross_image_slots="literal")


def make_inputs(problem: Problem) -> tuple[Locations, Tensor, Tensor]:
    """Locations of a trained model: neighbours mostly of one instance, embeddings round it.

    Returns:
        Locations with embeddings that learn, positives (n, d), and which anchors count (n,).
    """
    generator = torch.Generator().manual_seed(0)
    n, m = problem.pixels, problem.instances
    instance = torch.arange(n) * m // n
    logits = torch.randn(n, m, generator=generator)
    logits[torch.arange(n), instance] += 6
    slots = logits.softmax(dim=1)
    kinds = slots @ (3 * torch.randn(m, problem.classes + 1, generator=generator)).softmax(dim=1)
    length = torch.cat([slots, kinds], dim=1).norm(dim=1, keepdim=True)
    centres = torch.randn(m, problem.dim, generator=generator)
    z = centres[instance] + 0.5 * torch.randn(n, problem.dim, generator=generator)
    z = functional.normalize(z, dim=1)
    near = functional.normalize(z + 0.05 * torch.randn(z.shape, generator=generator), dim=1)
    images = torch.arange(n) * problem.images // n
    here = Locations(z, slots / length, kinds / length, images, instance)
    here = Locations(*(x.to(problem.device) for x in here))
    here.embeddings.requires_grad_()
    near = near.to(problem.device)
    return here, near, torch.ones(n, dtype=torch.bool, device=problem.device)


def _ours(problem: Problem, group: int = GROUP) -> Callable[[], Tensor]:
    here, near, counts = make_inputs(problem)
    generator = torch.Generator(problem.device).manual_seed(1)

    def step() -> Tensor:
        loss = sampled_contrast(
            here, near, counts, here, problem.law(), **LOSS, generator=generator, group=group
        ).loss
        return torch.autograd.grad(loss, here.embeddings)[0]

    return step


def _literal(problem: Problem) -> Callable[[], Tensor]:
    here, near, counts = make_inputs(problem)
    generator = torch.Generator(problem.device).manual_seed(1)

    def step() -> Tensor:
        loss = literal_contrast(
            here, near, counts, here, problem.law(), **LOSS, generator=generator
        )
        return torch.autograd.grad(loss, here.embeddings)[0]

    return step


def _products(problem: Problem) -> Callable[[], Tensor]:
    """The matrix products of one step of ours, of the same shapes, and nothing else."""
    here, _, _ = make_inputs(problem)
    own = torch.arange(problem.pixels, device=problem.device)
    generator = torch.Generator(problem.device).manual_seed(1)
    tiles = propose(here, here, problem.law(), own=own, generator=generator)
    shapes = [tile.kept.shape for tile in tiles]
    entries = here.slot_scores.shape[1] + here.class_scores.shape[1]
    inputs = {
        (g, t, r): [
            torch.rand(g, rows, columns, device=problem.device)
            for columns in (entries, problem.dim)
            for rows in (t, r)
        ]
        for g, t, r in shapes
    }

    def step() -> Tensor:
        for shape in shapes:
            vectors, their_vectors, anchors, candidates = inputs[shape[0], shape[1], shape[2]]
            vectors @ their_vectors.mT
            similar = anchors @ candidates.mT
            similar @ candidates
            similar.mT @ anchors
        return similar

    return step


STEPS = {"literal": _literal, "sskd": _ours, "products": _products}


def measure(
    problem: Problem, *, repeats: int = 8, progress: Progress | None = None
) -> dict[str, Any]:
    """Times of forward plus backward, in turns, and the memory that each takes beyond its inputs.

    A turn is the literal term once and the two quick ones ``QUICK`` times each, there and back: a
    median of few such short times moves with the machine.

    Args:
        problem: What is measured; the literal term only up to ``LITERAL_LIMIT`` locations.
        repeats: Turns, after one that does not count.
        progress: Called after each turn.

    Returns:
        Under ``seconds`` and ``extra_bytes`` a number by name, under ``environment`` the machine.
    """
    names = [n for n in STEPS if n != "literal" or problem.pixels <= LITERAL_LIMIT]
    settle_process(problem.threads)
    steps = {name: STEPS[name](problem) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    quick = [name for name in names if name != "literal"]
    there_and_back = (quick + quick[::-1]) * (QUICK // 2)
    for turn in range(repeats + 1):
        for name in [name for name in names if name == "literal"] + there_and_back:
            seconds = _time(steps[name], problem.device)
            if turn:
                times[name].append(seconds)
        if progress is not None:
            progress("turns", turn + 1, repeats + 1)
    return {
        "problem": asdict(problem),
        "seconds": {name: median(t) for name, t in times.items()},
        "extra_bytes": {name: _memory(name, problem) for name in names if name != "products"},
        "environment": environment(problem.device, problem.threads),
    }


def measure_growth(problem: Problem, factors: Sequence[int] = (4, 16)) -> dict[int, dict[str, Any]]:
    """Time and memory of ours as the locations grow by these factors."""
    grown = {}
    for factor in factors:
        larger = Problem(**asdict(problem) | {"pixels": problem.pixels * factor})
        settle_process(problem.threads)
        step = _ours(larger)
        step()
        seconds = median(_time(step, problem.device) for _ in range(3))
        grown[factor] = {"seconds": seconds, "extra_bytes": _memory("sskd", larger)}
    return grown


def measure_noise(
    problem: Problem, *, groups: Sequence[int] = (32, 64, 128, 256, 512, 1024), draws: int = 40
) -> dict[int, float]:
    """Variance of the gradient over draws, by the anchors that share proposals.

    Args:
        problem: With few enough locations for the literal term.
        groups: Numbers of anchors that share.
        draws: Independent gradients of each.

    Returns:
        Variance by the size of a group, 1 being that of independent draws.
    """
    independent = _variance(_literal(problem), draws)
    return {group: _variance(_ours(problem, group), draws) / independent for group in groups}


def _variance(step: Callable[[], Tensor], draws: int) -> float:
    return torch.stack([step() for _ in range(draws)]).var(dim=0).sum().item()


def _time(step: Callable[[], Tensor], device: str) -> float:
    _wait(device)
    begin = time.perf_counter()
    step()
    _wait(device)
    return time.perf_counter() - begin


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _memory(name: str, problem: Problem) -> int:
    """In a process of its own: a process never gets less than its peak."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_extra_bytes, (name, problem))


def _extra_bytes(name: str, problem: Problem) -> int:
    settle_process(problem.threads)
    few = Problem(**asdict(problem) | {"pixels": 16 * problem.images, "negatives": 4})
    STEPS[name](few)()  # what libraries take for themselves
    step = STEPS[name](problem)
    forget_peak_memory(problem.device)
    before = peak_memory_bytes(problem.device)
    step()
    return peak_memory_bytes(problem.device) - before
