"""``python stopped.py FOLDER [CONFIG]``: a training in two processes, as a job of its own.

Its processes say on stdout how far they are, and wait where they must not go on by themselves: each
for a file in FOLDER that has its number. With a CONFIG (JSON) it trains that cell, else it is a
stand-in that imports slowly.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sskd import signals
from sskd.engine.stop_requests import StopRequests
from sskd.engine.together import train_together
from sskd.studies.interrupts import Interrupts

FOLDER, *CONFIG = map(Path, sys.argv[1:])
signals.REPEAT_SECONDS = 60.0  # the same request, however slow the machine


def tell(*words: object) -> None:
    # In one piece, also where Python does not buffer: several processes share the pipe.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def tell_and_wait(word: str) -> None:
    tell(word, os.getpid())
    while not (FOLDER / f"{word}-{os.getpid()}").exists():
        time.sleep(0.01)


def pretend(*, log: Callable[..., None], progress: Callable[..., None]) -> str:
    with StopRequests() as stop:
        tell("training", os.getpid())
        while not stop.asked and not (FOLDER / "done").exists():
            time.sleep(0.01)
        if stop.asked:
            tell_and_wait("saving")
            (FOLDER / "checkpoint").write_text(os.environ["RANK"])
            stop.obey()
    return "trained"


def nothing(*_: object, **__: object) -> None:
    pass


def train() -> object:
    if not CONFIG:
        return train_together(pretend, count=2, threads=1, log=nothing, progress=nothing)
    from sskd.config import Config
    from sskd.data import toycity
    from sskd.engine.run import run_cell

    def progress(what: str, done: int, *_: Any, **__: Any) -> None:
        tell(what, done)

    toycity.DEFAULT_COUNTS = toycity.ToycityCounts(source=8, train=24, val=4)
    config = Config.model_validate_json(CONFIG[0].read_text())
    run_cell(config, home=FOLDER, log=nothing, progress=progress)
    return "trained"


if __name__ == "__main__":
    try:
        with Interrupts() as interrupts, interrupts.allowed():
            tell(train())
    except KeyboardInterrupt:
        sys.exit(130)
elif not CONFIG:
    tell_and_wait("importing")
