"""What `sskd bench models` and `sskd report efficiency` have in common."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from sskd.cli.console import print_table, say
from sskd.cli.options import LaunchOptions
from sskd.cli.resolve import check_folder, resolve_single
from sskd.config import PRECISIONS, Config
from sskd.studies.measurements import Measurement

__all__ = ["parse_size", "print_measurement", "resolve", "write_efficiency"]


def resolve(scale: str, data: str | None, settings: tuple[str, ...]) -> Config:
    """The config whose teacher and student are compared.

    Raises:
        ValueError: One line on the first mistake.
    """
    # Only the models are read of it: no folder has to be there.
    options = LaunchOptions(home=Path(), scale=scale, data=data, settings=settings)
    return resolve_single(options, 0).config


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width of ``512x1024``.

    Raises:
        ValueError: If it is no such text, or too small for the coarsest of the maps.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or min(int(side) for side in found.groups()) < 32:
        raise ValueError(f"--size {text}: expected height x width, 32 or more each, as in 512x1024")
    return int(found[1]), int(found[2])


def print_measurement(measured: Measurement, scale: str) -> None:
    """The numbers as a table, and under what conditions."""
    height, width = measured.size
    facts = measured.environment
    say(
        f"{scale}: one image of {height}x{width}, {PRECISIONS[measured.precision]}, "
        f"{facts['machine']}, {facts['threads']} threads, torch {facts['torch']}; "
        f"{measured.repeats} passes each in turns after {measured.warmup}"
    )
    rows = []
    for role in ("teacher", "student"):
        cost = getattr(measured, role)
        seconds = cost.seconds
        rows.append(
            (
                role,
                cost.name,
                f"{cost.parameters / 1e6:.2f}M",
                f"{cost.flops / 1e9:.2f}",
                f"{1000 * seconds.median:.1f} ms",
                f"{1000 * seconds.lower:.1f} to {1000 * seconds.upper:.1f}",
                f"{cost.images_per_second:.2f}",
                f"{cost.peak_memory_bytes / 2**20:.0f} MiB",
            )
        )
    header = ("model", "encoder, head", "parameters", "GFLOPs", "median", "quartiles", "images/s")
    print_table((*header, "peak memory"), rows)


def write_efficiency(
    scale: str,
    data: str | None,
    settings: tuple[str, ...],
    home: Path,
    out: Path | None,
    formats: Sequence[str] = ("md",),
) -> Path:
    """Write the report of the efficiency figure from what was measured.

    Raises:
        ValueError: If a setting, the declaration or a measurement is broken; one line.
    """
    from sskd.cli.folders import efficiency_folder
    from sskd.reporting.efficiency import write_efficiency_report
    from sskd.studies.efficiency import load_efficiency

    config = resolve(scale, data, settings)
    folder = out or efficiency_folder(config)
    check_folder(folder, "--out")
    words = ["sskd", "bench", "models", "--scale", scale]
    words += ["--data", data] if data is not None else []
    words += [word for setting in settings for word in ("--set", setting)]
    return write_efficiency_report(
        load_efficiency(Path.cwd()),
        config,
        home=home,
        out=folder,
        command=shlex.join([*words, "--report"]),
        formats=formats,
    )
