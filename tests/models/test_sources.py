"""What a checkpoint on the hub is known by, from a local cache of the hub's own layout."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sskd.config import GroundedSamConfig
from sskd.models.build import build_model
from sskd.models.sources import known_as, pinned


def test_a_hubs_checkpoint_counts_by_the_version_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert known_as("owner/name") == "owner/name"
    folder = tmp_path / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    for commit in ("1" * 40, "2" * 40):
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text("{}")
        (folder / "refs" / "main").write_text(commit)
        assert known_as("owner/name") == f"owner/name@{commit}"
        assert pinned("owner/name") == {"revision": commit}


@pytest.mark.parametrize("source", ["none", "imagenet", "./no/such/folder", "nobody/nothing"])
def test_what_is_not_here_counts_by_its_name(source: str) -> None:
    assert known_as(source) == source
    assert pinned(source) == {}


def test_a_teacher_is_built_from_the_version_in_the_cache(
    grounded: Callable[..., dict[str, Any]],
    foundation_folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name, folder in zip(("detector", "segmenter"), foundation_folders, strict=True):
        place = tmp_path / f"models--owner--{name}"
        shutil.copytree(folder, place / "snapshots" / ("1" * 40))
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("1" * 40)
    built = [
        build_model(
            GroundedSamConfig.model_validate(grounded(**changes), strict=False),
            classes=("person", "car"),
            generator=torch.Generator().manual_seed(0),
        )
        for changes in ({}, {"detector": "owner/detector", "segmenter": "owner/segmenter"})
    ]
    for mine, other in zip(*(model.parameters() for model in built), strict=True):
        assert torch.equal(mine, other)
