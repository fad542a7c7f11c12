"""Models of ``transformers``, with random weights, from a folder or from the hub."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from sskd.config import EncoderConfig
from sskd.models.sources import HUB_ID, pinned, weight_files

__all__ = [
    "WrongWeightsError",
    "load_backbone",
    "load_pretrained",
    "must_have_weights",
    "reading",
]

_logging: Any = transformers.utils.logging
_hub = logging.getLogger("huggingface_hub")


_OR_ELSE = "neither 'none', nor"


class WrongWeightsError(Exception):
    """Readable weights, but not those wanted."""


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
    if config.weights == "none":
        return network(architecture)

    def options(found: Any) -> dict[str, Any]:
        if wholes and found.model_type in wholes:
            place, prefix = wholes[found.model_type]
            mapping = {f"^{re.escape(prefix)}": ""}
            return {"config": attrgetter(place)(found), "key_mapping": mapping}
        if found.model_type != architecture.model_type:
            raise WrongWeightsError(f"holds {found.model_type!r} weights")
        return {}

    needs = f"{config.name!r} needs complete {architecture.model_type!r} weights"
    with reading("encoder.weights", config.weights, needs=needs, or_else=_OR_ELSE):
        return load_pretrained(config.weights, network, options)


def must_have_weights(source: str) -> None:
    """Raise an ``OSError`` for a folder without weights."""
    if Path(source).is_dir() and not weight_files(Path(source)):
        raise OSError("no weights")


def load_pretrained(
    source: str, network: Any, options: Callable[[Any], Mapping[str, Any]]
) -> torch.nn.Module:
    """A model of ``transformers`` with all of its published weights, in float32.

    Args:
        source: A hub id or a local folder.
        network: The model's class.
        options: From the configuration that is found there, arguments of ``from_pretrained``.

    Raises:
        WrongWeightsError: If some of the weights are not there, or of another shape.
    """
    found = transformers.AutoConfig.from_pretrained(source, **pinned(source))
    model: torch.nn.Module
    model, report = network.from_pretrained(
        source,
        dtype=torch.float32,
        output_loading_info=True,
        **pinned(source),
        **options(found),
    )
    if report["missing_keys"] or report["mismatched_keys"]:
        raise WrongWeightsError("lacks some of the weights that its config.json asks for")
    return model


@contextmanager
def reading(
    key: str,
    source: str,
    *,
    needs: str,
    or_else: str = "neither",
    holds: str = "config.json and model.safetensors",
) -> Iterator[None]:
    """Says in one line which checkpoint cannot be read inside, and what to do about it.

    ``transformers`` neither draws a progress bar nor warns about parts that we leave out, and the
    hub's client does not tell of each of its attempts.

    Args:
        key: The setting that names the checkpoint.
        source: Its value: a hub id or a local folder.
        needs: A clause on what it must be, for readable weights of another kind.
        or_else: How the sentence begins that lists what the value may be.
        holds: The files that a folder must have.

    Raises:
        ValueError: If it cannot be read.
    """
    local = Path(source).is_dir()
    if not local and not HUB_ID.fullmatch(source):
        raise ValueError(
            f"{key} {source!r}: {or_else} a hub id (owner/name), nor an existing folder"
        )
    try:
        with _quiet():
            yield
    except WrongWeightsError as error:
        raise ValueError(f"{key} {source!r}: {error}; {needs}") from None
    except (OSError, ValueError, RuntimeError, SafetensorError):
        remedy = (
            f"it must hold {holds}, as `hf download` leaves them"
            if local
            else f"the hub does not answer here or has no such model; where it does, run "
            f"`hf download {source} --local-dir DIR`, bring DIR here and set {key} to it"
        )
        raise ValueError(f"{key} {source!r} cannot be loaded: {remedy}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    verbosity, bar = _logging.get_verbosity(), _logging.is_progress_bar_enabled()
    hub_level = _hub.level
    _logging.set_verbosity_error()
    _hub.setLevel(logging.ERROR)
    _logging.disable_progress_bar()
    try:
        yield
    finally:
        _logging.set_verbosity(verbosity)
        _hub.setLevel(hub_level)
        if bar:
            _logging.enable_progress_bar()
