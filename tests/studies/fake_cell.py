"""A cell that leaves the files of a real one, and a record of who ran what; needs no torch.

``home/fake.json`` may say: ``seconds`` a step, ``fail`` (names of cells), ``stop_at`` (a cell and a
step at which it raises KeyboardInterrupt), ``die`` (names of cells that end their process).
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock

from sskd.config import Config, digest
from sskd.engine.store import write_json_atomic

STEPS = 20
CHECKPOINT = 5


@dataclass(frozen=True)
class Stage:
    name: str
    key: str


@dataclass(frozen=True)
class Plan:
    fingerprint: str
    stages: tuple[Stage, ...]


def name_of(config: Config) -> str:
    return f"{config.contrast.negatives.score}/s{config.seed}"


def stages_of(config: Config) -> list[tuple[str, str]]:
    """A teacher that the variants of a seed share, and a student of its own."""
    teacher = config.identity() | {"contrast": None}
    return [("supervised", digest(teacher)), ("transfer", digest(config.identity()))]


def plan_cell(config: Config, *, home: Path) -> Plan:
    return Plan(digest(config.identity()), tuple(Stage(*stage) for stage in stages_of(config)))


def mask_ap(config: Config) -> float:
    return int(digest(config.identity())[:4], 16) / 0xFFFF


def run_cell(config: Config, *, home: Path, log, progress) -> None:
    fingerprint = digest(config.identity())
    folder = home / "cells" / fingerprint[:16]
    if (folder / "result.json").exists():
        return
    say(home, "start", name_of(config))
    options = read_options(home)
    folder.mkdir(parents=True, exist_ok=True)
    stages = stages_of(config)
    dump = config.model_dump(mode="json")
    (folder / "config.yaml").write_text(yaml.safe_dump(dump))
    spec = {
        "fingerprint": fingerprint,
        "config": dump,
        "stages": [{"name": n, "key": k} for n, k in [*stages, ("evaluate_transfer", "0" * 64)]],
        "dataset": "toycity",
        "sha256": "d" * 64,
        "split_sha256": "5" * 64,
    }
    write_json_atomic(folder / "spec.json", spec)
    done = [run_stage(home, n, k, config, options, log, progress) for n, k in stages]
    if name_of(config) in options.get("fail", ()):
        raise RuntimeError("the card\nmelted")
    if name_of(config) in options.get("die", ()):
        os._exit(7)
    ap = mask_ap(config)
    (folder / "samples.png").write_bytes(b"\x89PNG")
    final = {"mask_ap": ap, "mask_ap50": ap, "mask_ap75": ap}
    final |= {"mask_ap_small": None, "mask_ap_medium": ap, "mask_ap_large": ap}
    result = {
        "fingerprint": fingerprint,
        "final": final,
        "evaluations": {"supervised": final, "transfer": final},
        "stages": done,
        "seconds": 1.0,
        "environment": {"torch": "2.8.0"},
    }
    write_json_atomic(folder / "result.json", result)
    say(home, "finish", name_of(config))


def run_stage(home, name, key, config, options, log, progress) -> dict[str, object]:
    final = home / "store" / f"{name}-{key[:16]}"
    partial = final.with_name(f"{final.name}.partial")
    facts = {"name": name, "key": key, "seconds": 0.5, "steps": STEPS, "peak_memory_bytes": None}
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{final}.lock"):
        if final.exists():
            return facts | {"reused": True}
        partial.mkdir(exist_ok=True)
        checkpoint = partial / "checkpoint.json"
        begin = json.loads(checkpoint.read_text())["step"] if checkpoint.exists() else 0
        # Appends after a kill, so that steps since the checkpoint stand in the file twice.
        with (partial / "metrics.jsonl").open("a", buffering=1) as file:
            for step in range(begin + 1, STEPS + 1):
                time.sleep(options.get("seconds", 0))
                if options.get("stop_at") == [name_of(config), name, step]:
                    raise KeyboardInterrupt
                values = {"loss": 1 / step, "learning_rate": 1e-3, "valid_anchors": 9.0}
                values["margin"] = float("nan") if step == 1 else 0.1 * step
                file.write(json.dumps({"step": step, "time": time.time(), **values}) + "\n")
                log(name, step, values)
                progress(name, step, STEPS, loss=1 / step)
                if step % CHECKPOINT == 0:
                    write_json_atomic(checkpoint, {"step": step})
        partial.rename(final)
        say(home, "stage", f"{name}-{key[:16]}")
    return facts | {"reused": False}


def say(home: Path, what: str, who: str) -> None:
    with (home / "executions.log").open("a") as file:
        file.write(f"{what} {who}\n")


def said(home: Path, what: str) -> list[str]:
    path = home / "executions.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1] for line in lines if line.startswith(f"{what} ")]


def read_options(home: Path) -> dict[str, object]:
    path = home / "fake.json"
    return json.loads(path.read_text()) if path.exists() else {}


def set_options(home: Path, **options: object) -> None:
    (home / "fake.json").write_text(json.dumps(options))
