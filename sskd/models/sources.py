"""What a checkpoint is known by: its content, whatever it is called and wherever it lies."""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from sskd.config import GroundedSamConfig, ModelConfig, digest

__all__ = ["HUB_ID", "NO_CHECKPOINT", "commit", "known_as", "pinned", "sources", "weight_files"]

NO_CHECKPOINT = ("none", "imagenet")
"""Sources of weights that are no checkpoint: random ones, and those of a package."""

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")

_BESIDE = (
    *("config.json", "model.safetensors.index.json", "pytorch_model.bin.index.json"),
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
    folder = Path(source)
    if folder.is_dir():
        files = [*weight_files(folder), *(folder / name for name in _BESIDE)]
        hashes = {file.name: _hash_of(file) for file in files if file.is_file()}
        return f"sha256:{digest(hashes)}"
    version = commit(source)
    return source if version is None else f"{source}@{version}"


def weight_files(folder: Path) -> list[Path]:
    """The files with weights that ``transformers`` would choose from."""
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))


def commit(source: str) -> str | None:
    """The version of a hub's model that the local cache has, in whole or in part."""
    if not HUB_ID.fullmatch(source):
        return None
    found = try_to_load_from_cache(source, "config.json")
    return Path(found).parent.name if isinstance(found, str) else None


def pinned(source: str) -> dict[str, Any]:
    """An argument of ``from_pretrained``, so that what is read is what the keys of stages say."""
    version = None if Path(source).is_dir() else commit(source)
    return {} if version is None else {"revision": version}


def _hash_of(file: Path) -> str:
    state = file.stat()
    return _hash(file.resolve(), state.st_size, state.st_mtime_ns)


@lru_cache
def _hash(file: Path, size: int, changed: int) -> str:  # noqa: ARG001 - a changed file is another
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
