"""Backbones of ``transformers``, with random weights, from a folder or from the hub."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from sskd.config import EncoderConfig

__all__ = ["load_backbone"]

_logging: Any = transformers.utils.logging

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def load_backbone(
    config: EncoderConfig,
    network: Any,
    architecture: Any,
    *,
    wholes: Mapping[str, tuple[str, str]] | None = None,
) -> Any:
    """A backbone of ``transformers``, random or pretrained; draws from the global generator.

    Args:
        config: Its ``weights`` are ``none``, a hub id or a local folder.
        network: The backbone's class.
        architecture: The ``transformers`` configuration that ``none`` builds, and whose kind
            published weights must be of.
        wholes: Kinds of larger models that hold such a backbone: where in their configuration it
            stands, and the prefix of its weights' names.

    Raises:
        ValueError: If the weights cannot be had here, or are another architecture's.
    """
    source = config.weights
    if source == "none":
        return network(architecture)
    local = Path(source).is_dir()
    if not local and not _HUB_ID.fullmatch(source):
        raise ValueError(
            f"encoder.weights {source!r}: neither 'none', nor a hub id (owner/name), "
            "nor an existing folder"
        )
    try:
        with _quiet():
            found = transformers.AutoConfig.from_pretrained(source)
            options: dict[str, Any] = {}
            if wholes and found.model_type in wholes:
                place, prefix = wholes[found.model_type]
                options["config"] = attrgetter(place)(found)
                options["key_mapping"] = {f"^{re.escape(prefix)}": ""}
            elif found.model_type != architecture.model_type:
                raise _MismatchError(f"holds {found.model_type!r} weights")
            backbone, report = network.from_pretrained(
                source, dtype=torch.float32, output_loading_info=True, **options
            )
            if report["missing_keys"] or report["mismatched_keys"]:
                raise _MismatchError("lacks some of the weights that its config.json asks for")
    except _MismatchError as error:
        raise ValueError(
            f"encoder.weights {source!r}: {error}; {config.name!r} needs complete "
            f"{architecture.model_type!r} weights"
        ) from None
    except (OSError, ValueError, RuntimeError, SafetensorError):
        remedy = (
            "it must hold config.json and model.safetensors, as `hf download` leaves them"
            if local
            else f"the hub does not answer here or has no such model; where it does, run "
            f"`hf download {source} --local-dir DIR`, bring DIR here and set encoder.weights to it"
        )
        raise ValueError(f"encoder.weights {source!r} cannot be loaded: {remedy}") from None
    return backbone


class _MismatchError(Exception):
    """Readable weights, but not those wanted."""


@contextmanager
def _quiet() -> Iterator[None]:
    """``transformers`` neither draws a progress bar nor warns about heads that we leave out."""
    verbosity, bar = _logging.get_verbosity(), _logging.is_progress_bar_enabled()
    _logging.set_verbosity_error()
    _logging.disable_progress_bar()
    try:
        yield
    finally:
        _logging.set_verbosity(verbosity)
        if bar:
            _logging.enable_progress_bar()
