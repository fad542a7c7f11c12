"""What a launch needs besides the installation: checkpoints and data, looked for but not loaded.

Nothing is asked of a network: what is not here is told with the command that brings it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sskd.cli.doctor import MISSING, Check
from sskd.cli.options import LaunchOptions
from sskd.cli.resolve import base_and_changes
from sskd.config import Config, build_config
from sskd.data.datasets import TOYCITY, open_dataset
from sskd.models.build import check_weights
from sskd.models.sources import HUB_ID, here, lacking, sources

__all__ = ["launch_checks"]


def launch_checks(options: LaunchOptions) -> list[Check]:
    """A line for the data set and for each checkpoint of teacher and student.

    Raises:
        ValueError: If the options make no configuration.
    """
    base, changes = base_and_changes(options)
    config = build_config(base, changes)
    return [
        _data(config, options.home),
        *_files(config),
        *_models(config, "teacher"),
        *_models(config, "student"),
    ]


def _data(config: Config, home: Path) -> Check:
    name = config.data.name
    if name == TOYCITY:
        return Check("data set", "ok", f"{name}, drawn on first use")
    try:
        return Check("data set", "ok", f"{name} in {open_dataset(home, name).folder}")
    except ValueError as error:
        adds = {"cityscapes": "add-cityscapes ROOT", "ade20k": "add-ade20k ROOT"}
        return Check("data set", MISSING, f"{error}; sskd data {adds.get(name, 'add --help')}")


def _files(config: Config) -> Iterator[Check]:
    labels = config.pseudo_labels.file
    for key, file in (
        ("data.labeled_list", config.data.labeled_file),
        ("pseudo_labels.file", None if labels is None else Path(labels)),
    ):
        if file is not None:
            found = file.is_file()
            yield Check(
                key, "ok" if found else MISSING, f"{file}{'' if found else ': no such file'}"
            )


def _models(config: Config, role: str) -> Iterator[Check]:
    model: Any = getattr(config, role)
    whole = True
    for name, source in sources(model).items():
        check = _checkpoint(f"{role}.{name}", source)
        whole = whole and check.state == "ok"
        yield check
    if not whole:
        return
    try:  # config and tokenizer are read, from here alone
        check_weights(_with_folders(model))
    except ValueError as error:
        yield Check(role, MISSING, str(error))
    else:
        if not sources(model):
            yield Check(role, "ok", f"{model.title}: no checkpoint is needed")


def _checkpoint(key: str, source: str) -> Check:
    folder = here(source)
    if folder is None:
        if not HUB_ID.fullmatch(source):
            return Check(key, MISSING, f"{source!r} is neither a hub id (owner/name) nor a folder")
        return Check(
            key,
            MISSING,
            f"{source} is not in the hub's cache; run `hf download {source}`, or, where the hub "
            f"answers, add `--local-dir DIR`, bring DIR here and set {key} to it",
        )
    place = "in the hub's cache" if folder != Path(source) else "in this folder"
    lacks = lacking(folder)
    if lacks is None:
        return Check(key, "ok", f"{source}, {place}")
    again = "" if folder == Path(source) else f": run `hf download {source}` again"
    return Check(key, MISSING, f"{source}, {place}, lacks {lacks}{again}")


def _with_folders(model: Any) -> Any:
    """The same model with its checkpoints' folders for their names."""
    folders = {name: str(here(source)) for name, source in sources(model).items()}
    if "encoder.weights" in folders:
        encoder = model.encoder.model_copy(update={"weights": folders["encoder.weights"]})
        return model.model_copy(update={"encoder": encoder})
    return model.model_copy(update=folders)
