"""What a checkpoint is known by: its content, whatever it is called and wherever it lies."""

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open

from sskd.config import GroundedSamConfig, ModelConfig, digest

__all__ = [
    "HUB_ID",
    "NO_CHECKPOINT",
    "here",
    "known_as",
    "lacking",
    "pinned",
    "sources",
    "weight_files",
]

NO_CHECKPOINT = ("none", "imagenet")
"""Sources of weights that are no checkpoint: random ones, and those of a package."""

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_BESIDE = (
    *("config.json", *_INDEXES),
    *("vocab.txt", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)
"""What is read besides the weights; a folder may hold other things, which do not count."""


def sources(model: ModelConfig | GroundedSamConfig) -> dict[str, str]:
    """The checkpoints that a model is built from: the setting below the model's, and its value."""
    if isinstance(model, GroundedSamConfig):
        found = {"detector": model.detector, "segmenter": model.segmenter}
        return found if model.weights == "pretrained" else {}
    weights = model.encoder.weights
    return {} if weights in NO_CHECKPOINT else {"encoder.weights": weights}


def known_as(source: str) -> str:
    """A checkpoint's identity.

    Args:
        source: A local folder, a hub id, or what is no checkpoint.

    Returns:
        A hash of the files that are read, for a folder; the id with its version, for a hub id that
        the local cache has met; else the source as it is.
    """
    if source in NO_CHECKPOINT:
        return source
    folder = here(source)
    if folder is None:
        return source
    if folder == Path(source):
        files = [*weight_files(folder), *(folder / name for name in _BESIDE)]
        hashes = {file.name: _hash_of(file) for file in files if file.is_file()}
        return f"sha256:{digest(hashes)}"
    return f"{source}@{folder.name}"


def weight_files(folder: Path) -> list[Path]:
    """The files with weights that ``transformers`` would choose from."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def here(source: str) -> Path | None:
    """The folder itself, or that of a hub's model in the local cache, which may lack files."""
    if Path(source).is_dir():
        return Path(source)
    if not HUB_ID.fullmatch(source):
        return None
    found = try_to_load_from_cache(source, "config.json")
    return Path(found).parent if isinstance(found, str) else None


def pinned(source: str) -> dict[str, Any]:
    """An argument of ``from_pretrained``, so that what is read is what the keys of stages say."""
    folder = here(source)
    return {} if folder is None or folder == Path(source) else {"revision": folder.name}


def lacking(folder: Path) -> str | None:
    """What a checkpoint's folder lacks, by names and sizes of files; ``None`` if it is whole."""
    if not (folder / "config.json").is_file():
        return "config.json"
    files = weight_files(folder)
    for index in _INDEXES:
        if (folder / index).is_file():
            named = json.loads((folder / index).read_text("utf-8"))["weight_map"].values()
            files = [folder / name for name in sorted(set(named))]
            break
    if not files:
        return "model.safetensors"
    for file in files:
        if not file.is_file():
            return file.name
        try:
            if file.suffix == ".safetensors":
                with safe_open(file, "pt"):
                    pass
        except SafetensorError:
            return f"a part of {file.name}"
    return None


def _hash_of(file: Path) -> str:
    state = file.stat()
    return _hash(file.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache
def _hash(file: Path, size: int, changed: int) -> str:  # noqa: ARG001 - a changed file is another
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
