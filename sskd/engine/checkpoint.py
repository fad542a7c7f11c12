"""What a killed run needs to go on, and the weights that a finished one leaves.

Checkpoints are ``torch.save`` files that ``weights_only`` loading reads: tensors and plain Python
values, no code. Weights are safetensors files. Both are replaced in one step, never half.
"""

import hashlib
import logging
import os
import pickle
import random
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from sskd.models.contract import InstanceModel

__all__ = [
    "load_checkpoint",
    "load_weights",
    "rng_state",
    "save_checkpoint",
    "save_weights",
    "set_rng_state",
]

_log = logging.getLogger(__name__)

_RELOADED = "reloaded_sha256"
"""Key in a weights file: the hash of the parts that it leaves out."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint: after a kill the file is the old one or the new one.

    Args:
        path: The file; its folder exists.
        state: Tensors, numbers, strings, ``None``, and dicts, lists and tuples of them, as
            ``state_dict()`` and ``rng_state()`` give them.
    """
    plain = _plain(state, "state")
    _replace(path, lambda temporary: torch.save(plain, temporary))


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The saved state, on the CPU; ``None`` if there is no file, or none that can be read.

    A broken file costs the steps since the start of the stage, not the run: it is logged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        _log.warning("%s: unreadable checkpoint, starting the stage anew (%s)", path, first_line)
        return None
    return state


def rng_state() -> dict[str, Any]:
    """The state of the global generators of torch, CUDA, numpy and Python, as plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, python_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "gauss": float(gauss),
        },
        "python": {"version": version, "words": torch.tensor(words), "gauss": python_gauss},
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the global generators where ``rng_state`` found them.

    Args:
        state: What ``rng_state`` returned, also after a checkpoint. States of GPUs that this
            machine does not have are left out.
    """
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"][: torch.cuda.device_count()])
    numpy = state["numpy"]
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(
        (numpy["kind"], keys, numpy["position"], numpy["has_gauss"], numpy["gauss"])
    )
    python = state["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))


def save_weights(path: Path, model: nn.Module) -> None:
    """Replace a safetensors file with the model's parameters and buffers.

    Parts that the model reloads from a published checkpoint are left out; the file keeps their
    hash.
    """
    parts = _reloaded(model)
    metadata = {_RELOADED: _content_hash(model, parts)} if parts else None

    def leave_out(_model: nn.Module, state: dict[str, Tensor], *_: object) -> None:
        for name in [name for name in state if name.startswith(parts)]:
            del state[name]

    hooked: Any = model
    hook = hooked.register_state_dict_post_hook(leave_out)
    try:
        _replace(path, lambda temporary: save_model(model, str(temporary), metadata))
    finally:
        hook.remove()


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model with saved weights, in place and on its device.

    Raises:
        ValueError: If the file is missing or broken, or names or shapes are not the model's, or
            what the model has reloaded is not what was there when it was saved.
    """
    try:
        with safe_open(path, "pt") as file:
            reloaded = (file.metadata() or {}).get(_RELOADED)
        missing, unexpected = load_model(model, path, strict=False)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such weights file") from None
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error})") from None
    except RuntimeError as error:
        mismatch = str(error).split("\n")[1].strip().rstrip(".")
        raise ValueError(f"{path}: not weights of this model: {mismatch}") from None
    if reloaded is not None:
        parts = _reloaded(model)
        missing = [name for name in missing if not name.startswith(parts)]
        if reloaded != _content_hash(model, parts):
            raise ValueError(
                f"{path}: was saved beside another published checkpoint than the one that is here "
                "now; bring that one back, or delete the stage's folder to train it anew"
            )
    if missing or unexpected:
        raise ValueError(
            f"{path}: not weights of this model: "
            f"{_some('missing', missing)}, {_some('unexpected', unexpected)}"
        )


def _reloaded(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of the names that the model reloads."""
    parts = model.reloaded() if isinstance(model, InstanceModel) else ()
    return tuple(f"{part}." for part in parts)


def _content_hash(model: nn.Module, prefixes: tuple[str, ...]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith(prefixes):
            found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(memoryview(plain.numpy()))
    return found.hexdigest()


def _some(what: str, names: Collection[str]) -> str:
    example = f" ({min(names)}{', ...' if len(names) > 1 else ''})" if names else ""
    return f"{len(names)} {what}{example}"


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place, bring it to the disk, and rename it."""
    # One name: what a kill leaves is overwritten by the next save.
    temporary = path.with_name(f".{path.name}.tmp")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _plain(value: object, where: str) -> object:
    """The same values in the types that ``weights_only`` loading accepts."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if type(value) in (list, tuple):
        items = [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]  # type: ignore[arg-type, var-annotated]
        return items if type(value) is list else tuple(items)
    if isinstance(value, np.generic):
        return value.item()
    assert type(value) in (int, float, bool, str, bytes, type(None)), f"{where}: {type(value)}"
    return value
