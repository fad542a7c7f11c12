"""``sskd bench``: what things cost on this machine, as ratios within one run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from sskd.cli.console import print_table, say
from sskd.cli.options import Data, Home, Out, Scale, Settings, examples

__all__ = ["app"]

app = typer.Typer(
    help="Measure what things cost on this machine.", no_args_is_help=True, rich_markup_mode=None
)

Json = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the numbers there too.", dir_okay=False),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Of the processor.")]


@app.command(
    epilog=examples(
        "sskd bench contrastive", "sskd bench contrastive --pixels 2048 --json contrastive.json"
    )
)
def contrastive(
    pixels: Annotated[int, typer.Option(min=64, help="Locations in the batch.")] = 8192,
    negatives: Annotated[int, typer.Option(min=1, help="Negatives an anchor.")] = 256,
    dim: Annotated[int, typer.Option(min=1, help="Of an embedding.")] = 128,
    instances: Annotated[int, typer.Option(min=2, help="In the pool.")] = 100,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Threads = 2,
    noise: Annotated[
        bool, typer.Option(help="Also measure how sharing proposals adds to the gradient's noise.")
    ] = True,
    json_file: Json = None,
) -> None:
    """The contrastive term: ours, the literal one, and the matrix products alone.

    Forward plus backward, in turns, in float32; memory beyond the inputs, each in a process of its
    own; how ours grows with the pixels; how noisy its gradient is.
    """
    from sskd.bench.contrastive import Problem, measure, measure_growth, measure_noise
    from sskd.cli.progress import open_display

    device = _device(device)
    problem = Problem(pixels, negatives, dim, instances, device=device, threads=threads)
    with open_display() as progress:
        result: dict[str, Any] = measure(problem, progress=progress)
        result["growth"] = measure_growth(problem)
        if noise:
            few = Problem(2048, min(negatives, 64), dim, instances, device=device, threads=threads)
            result["noise"] = measure_noise(few)
    seconds, extra = result["seconds"], result["extra_bytes"]
    say(
        f"{pixels} locations, {negatives} negatives, {dim} dimensions, {instances} instances; "
        f"{_machine(result['environment'])}"
    )
    rows = []
    for name, label in (("literal", "literal"), ("sskd", "sskd"), ("products", "products alone")):
        if name in seconds:
            memory = f"{extra[name] / 2**20:.0f} MiB" if name in extra else ""
            ratio = f"{seconds[name] / seconds['sskd']:.2f}"
            rows.append((label, f"{1000 * seconds[name]:.1f} ms", ratio, memory))
    print_table(("term", "forward and backward", "to sskd", "extra memory"), rows)
    rows = [
        (
            f"{pixels * factor}",
            f"{1000 * grown['seconds']:.0f} ms",
            f"{grown['seconds'] / seconds['sskd']:.1f}",
            f"{grown['extra_bytes'] / 2**20:.0f} MiB",
        )
        for factor, grown in result["growth"].items()
    ]
    print_table(("locations", "time", "times", "extra memory"), rows)
    if noise:
        print_table(
            ("anchors that share proposals", "variance of the gradient"),
            [(str(group), f"{ratio:.2f}") for group, ratio in result["noise"].items()],
        )
    _write(json_file, result)


@app.command(
    epilog=examples(
        "sskd bench step",
        "sskd bench step --compare",
        "sskd bench step --set num_negatives=256",
    )
)
def step(
    scale: Scale = "tiny",
    settings: Settings = None,
    steps: Annotated[int, typer.Option(min=1, help="Timed steps.")] = 20,
    warm_up: Annotated[int, typer.Option(min=0, help="Steps before them.")] = 3,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Time in turns with it the same step of the libraries' own parts."
        ),
    ] = False,
    json_file: Json = None,
) -> None:
    """A student's training step with all three losses, and how its time divides.

    On drawn scenes of the scale's size, with their ground truth in the place of pseudo-labels; once
    as it is, for the time, once under torch's profiler, for the shares. On a processor without
    bfloat16 in float32, unless numerics.precision is set.
    """
    from sskd.bench.step import measure
    from sskd.cli.progress import open_display
    from sskd.config import PRECISIONS, build_config, load_scale, parse_overrides
    from sskd.engine.materials import check_device

    changes = parse_overrides(settings or [])
    if _imitates("cuda" if check_device(build_config(load_scale(scale), changes)) else "cpu"):
        changes = {"numerics.precision": "no"} | changes
    config = build_config(load_scale(scale), changes)
    with open_display() as progress:
        result = measure(config, steps=steps, progress=progress, warm_up=warm_up, compare=compare)
    height, width = result["crop"]
    say(
        f"{scale}: {result['images_a_step']} images of {height}x{width} a step, "
        f"{result['parameters'] / 1e6:.2f}M parameters, {PRECISIONS[result['precision']]}; "
        f"{_machine(result['environment'])}"
    )
    say(
        f"{1000 * result['seconds']:.0f} ms a step, {result['images_per_second']:.1f} images/s, "
        f"peak memory {result['peak_memory_bytes'] / 2**20:.0f} MiB"
    )
    if compare:
        theirs = result["assembled_seconds"]
        say(
            f"of the libraries' own parts: {1000 * theirs:.0f} ms a step, "
            f"{result['images_a_step'] / theirs:.1f} images/s, "
            f"{theirs / result['seconds']:.2f} times as long"
        )
    rows = [(part, f"{100 * share:.1f} %") for part, share in result["shares"].items()]
    print_table(("part", "share of the step"), rows)
    _write(json_file, result)


@app.command(
    epilog=examples("sskd bench models", "sskd bench models --scale small --size 512x512 --report")
)
def models(
    scale: Scale = "tiny",
    data: Data = None,
    settings: Settings = None,
    device: Annotated[
        str, typer.Option(metavar="auto|cpu|cuda", help="auto: cuda where there is one.")
    ] = "auto",
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Of the image. Default: what evaluation sees."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Timed passes of each model.")] = 20,
    json_file: Json = None,
    report: Annotated[
        bool, typer.Option("--report", help="Write the report too, as `sskd report efficiency`.")
    ] = False,
    out: Out = None,
    home: Home = Path("runs"),
) -> None:
    """Teacher and student on one image at test time: size, operations, time, memory.

    Random weights, the projection dropped, the forward pass alone, in turns; memory is that of
    weights and one pass, each model in a process of its own. The numbers are kept in the home
    folder for `sskd report efficiency`. On a processor without bfloat16 in float32, unless
    evaluation.precision is set.
    """
    from sskd.cli.efficiency import parse_size, print_measurement, resolve, write_efficiency

    wanted, place = parse_size(size), _device(device)
    chosen = tuple(settings or ())
    if _imitates(place):
        chosen = ("evaluation.precision=no", *chosen)
    config = resolve(scale, data, chosen)

    from sskd.bench.models import measure
    from sskd.cli.progress import open_display
    from sskd.studies.measurements import save_measurement

    with open_display() as progress:
        result = measure(config, device=place, size=wanted, repeats=repeats, progress=progress)
    print_measurement(result, scale)
    _write(json_file, result.model_dump(mode="json"))
    say(f"kept: {save_measurement(result, home)}")
    if report:
        say(f"report: {write_efficiency(scale, data, tuple(settings or ()), home, out)}")


def _device(name: str) -> str:
    import torch

    found = torch.cuda.is_available()
    if name not in ("auto", "cpu") and not name.startswith("cuda"):
        raise ValueError(f"--device {name}: known: auto, cpu, cuda")
    if name.startswith("cuda") and not found:
        raise ValueError("--device cuda: no CUDA device here; --device cpu is the other choice")
    if name == "auto":
        return "cuda" if found else "cpu"
    return name


def _imitates(device: str) -> bool:
    from sskd.engine.environment import emulates_bf16

    return emulates_bf16(device)


def _machine(environment: dict[str, Any]) -> str:
    return (
        f"{environment['machine']}, {environment['threads']} threads, "
        f"torch {environment['torch']}, sskd {environment['sskd']}"
    )


def _write(path: Path | None, result: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        say(f"numbers: {path}")
