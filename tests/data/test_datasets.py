import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from coco_files import content
from PIL import Image

from sskd.data.coco import load_coco
from sskd.data.datasets import add_dataset, check_dataset, draw, list_datasets, open_dataset

Write = Callable[..., tuple[Path, Path]]


@pytest.fixture
def files(write: Write) -> dict[str, Path]:
    train, images = write(content(4))
    val, _ = write(content(2, first=50), "val")
    return {"train": train, "val": val, "images": images}


@pytest.fixture
def fake_toycity(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A generator that draws one picture; gives the folders that it was called for."""
    calls: list[Path] = []

    def generate(folder: Path, **_: object) -> None:
        calls.append(folder)
        (folder / "images").mkdir()
        for number, name in enumerate(("source", "train", "val"), start=1):
            coco = content(1, first=number, prefix=name)
            Image.new("RGB", (32, 24)).save(folder / "images" / f"{name}{number}.png")
            (folder / f"{name}.json").write_text(json.dumps(coco))

    module: Any = ModuleType("sskd.data.toycity")
    module.generate, module.TOYCITY_VERSION, module.DEFAULT_COUNTS = generate, 1, (1, 1, 1)
    monkeypatch.setitem(__import__("sys").modules, "sskd.data.toycity", module)
    monkeypatch.setattr("sskd.data.toycity", module, raising=False)
    return calls


def test_what_was_added_can_be_opened_by_name_and_by_file(
    files: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    added = add_dataset(home, "pets", **files)
    assert list_datasets(home) == ("toycity", "pets")
    assert open_dataset(home, "pets") == added
    assert open_dataset(tmp_path, str(home / "data" / "pets" / "dataset.json")) == added
    assert added.train_json.is_absolute()
    assert added.val_images == added.images
    assert added.source_json is None
    assert not list((home / "data" / "pets").glob("*.tmp"))


def test_relative_paths_are_kept_absolute(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    relative = {key: path.relative_to(tmp_path) for key, path in files.items()}
    add_dataset(Path("home"), "pets", **relative)
    monkeypatch.chdir("/")
    opened = open_dataset(tmp_path / "home", "pets")
    assert len(load_coco(opened.train_json, opened.images).images) == 4


def test_an_unknown_name_hints_at_the_nearest(files: dict[str, Path], tmp_path: Path) -> None:
    add_dataset(tmp_path, "pets", **files)
    with pytest.raises(ValueError, match=r"unknown data set 'pest' .* did you mean 'pets'"):
        open_dataset(tmp_path, "pest")
    with pytest.raises(ValueError, match=r"none\.json: no such data set description"):
        open_dataset(tmp_path, "none.json")
    broken = tmp_path / "dataset.json"
    broken.write_text('{"name": "x"}')
    with pytest.raises(ValueError, match=r"dataset\.json: no data set description: train_json"):
        open_dataset(tmp_path, str(broken))


def test_names_that_cannot_be(files: dict[str, Path], tmp_path: Path) -> None:
    add_dataset(tmp_path, "pets", **files)
    with pytest.raises(ValueError, match="'pets' exists already; --force"):
        add_dataset(tmp_path, "pets", **files)
    add_dataset(tmp_path, "pets", **files, force=True)
    for name in ("../x", "", "a b", "x.json"):
        with pytest.raises(ValueError, match="letters, digits"):
            add_dataset(tmp_path, name, **files)
    with pytest.raises(ValueError, match="package's own"):
        add_dataset(tmp_path, "toycity", **files)


def _break(files: dict[str, Path], **changes: Any) -> None:
    coco = json.loads(files["val"].read_text())
    files["val"].write_text(json.dumps({**coco, **changes}))


def test_nothing_is_added_if_a_file_is_wrong(files: dict[str, Path], tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(ValueError, match="no such folder of images"):
        add_dataset(home, "pets", **{**files, "images": tmp_path / "lost"})
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no pictures in this folder"):
        add_dataset(home, "pets", **files, unlabeled_images=empty)
    good = files["val"].read_text()
    _break(files, categories=[{"id": 3, "name": "cat"}, {"id": 17, "name": "wolf"}])
    with pytest.raises(ValueError, match=r"val\.json: other categories than .*: 17 'dog' is only"):
        add_dataset(home, "pets", **files)
    _break(files, annotations=[])
    with pytest.raises(ValueError, match=r"val\.json: no annotations"):
        add_dataset(home, "pets", **files)
    files["val"].write_text(good)
    Image.new("RGB", (8, 8)).save(files["images"] / "im50.png")
    with pytest.raises(ValueError, match=r"val\.json: image 50: .*image is 8x8, but .* 32x24"):
        add_dataset(home, "pets", **files)
    (files["images"] / "im2.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"train\.json: image 2: .*im2\.png: unreadable image"):
        add_dataset(home, "pets", **files)
    assert list_datasets(home) == ("toycity",)


def test_a_change_of_the_files_is_noticed(files: dict[str, Path], tmp_path: Path) -> None:
    before = add_dataset(tmp_path, "pets", **files)
    picture = files["images"] / "im1.png"
    picture.write_bytes(picture.read_bytes() + b"0")
    with pytest.raises(ValueError, match=r"'pets' has changed since it was added .*--force"):
        open_dataset(tmp_path, "pets")
    after = add_dataset(tmp_path, "pets", **files, force=True)
    assert after.sha256 != before.sha256
    files["train"].unlink()
    with pytest.raises(ValueError, match=r"train\.json is gone or broken"):
        open_dataset(tmp_path, "pets")


def test_the_hash_is_of_content_not_of_place(files: dict[str, Path], tmp_path: Path) -> None:
    one = add_dataset(tmp_path, "pets", **files)
    moved = tmp_path / "moved"
    files["images"].rename(moved)
    assert add_dataset(tmp_path, "same", **{**files, "images": moved}).sha256 == one.sha256


def test_prompts_that_people_write_into_the_file_stay_and_are_checked(
    files: dict[str, Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    before = add_dataset(home, "pets", **files)
    assert before.prompts == {}
    path = home / "data" / "pets" / "dataset.json"
    name = load_coco(before.train_json, before.images).categories[0].name
    for prompts in ({name: "small furry thing"}, {name[:-1]: "small furry thing"}):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": prompts}))
        after = open_dataset(home, "pets")
        assert after.prompts == prompts
        assert after.sha256 == before.sha256
    assert add_dataset(home, "pets", **files, force=True).prompts == prompts
    told = [f.message for f in check_dataset(after) if f.where == "dataset.json"]
    assert told == [f"data set 'pets': prompts: {name[:-1]!r} is no class; did you mean {name!r}?"]


def test_toycity_is_drawn_once_even_by_two_at_a_time(
    fake_toycity: list[Path], tmp_path: Path
) -> None:
    threads = [threading.Thread(target=open_dataset, args=(tmp_path, "toycity")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    opened = open_dataset(tmp_path, "toycity")
    assert len(fake_toycity) == 1
    assert opened.source_json is not None
    assert opened.source_images == opened.images == tmp_path / "data" / "toycity" / "images"
    assert len(load_coco(opened.train_json, opened.images).images) == 1
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "data").rename(moved / "data")
    assert open_dataset(moved, "toycity").sha256 == opened.sha256
    assert len(fake_toycity) == 1


def test_toycity_is_drawn_again_after_a_kill_or_a_new_version(
    fake_toycity: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "data" / ".toycity.partial"
    left.mkdir(parents=True)
    (left / "half.png").touch()
    first = open_dataset(tmp_path, "toycity")
    assert not left.exists()
    assert not (first.folder / "half.png").exists()
    monkeypatch.setattr("sskd.data.toycity.TOYCITY_VERSION", 2)
    second = open_dataset(tmp_path, "toycity")
    assert second.sha256 != first.sha256
    assert len(fake_toycity) == 2


def test_a_sheet_shows_masks_and_is_the_same_again(files: dict[str, Path], tmp_path: Path) -> None:
    dataset = add_dataset(tmp_path, "pets", **files)
    paths = [tmp_path / "out" / f"{name}.png" for name in "ab"]
    for path in paths:
        draw(dataset, path, count=3, seed=1)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with Image.open(paths[0]) as sheet:
        assert sheet.width > 2 * 256
        pixels = np.asarray(sheet)
    pure_red = (pixels[:, :, 0] > 240) & (pixels[:, :, 1:] < 40).all(axis=2)
    assert pure_red.sum() > 100  # the outline of each image's first instance
    with pytest.raises(ValueError, match="must be positive, got 0"):
        draw(dataset, paths[0], count=0, seed=1)


def test_a_good_data_set_has_no_errors(files: dict[str, Path], tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    dataset = add_dataset(tmp_path, "pets", **files)
    findings = check_dataset(
        dataset, progress=lambda what, done, total, **_: calls.append((done, total))
    )
    assert findings == []
    assert calls == [(done, 6) for done in range(1, 7)]
