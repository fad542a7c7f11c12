"""A cell whose labeled images a published list names: identified by what the list says."""

from pathlib import Path

import pytest

from sskd.config import Config, base_for, build_config
from sskd.data import toycity
from sskd.data.coco import load_coco
from sskd.data.datasets import open_dataset
from sskd.data.splits import make_split
from sskd.engine.run import assume_cell, plan_cell


def _config(**changes: object) -> Config:
    dotted = {f"data.{key}": value for key, value in changes.items()}
    return build_config(base_for("tiny", "toycity"), dotted)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    counts = toycity.ToycityCounts(source=2, train=30, val=2)
    monkeypatch.setattr(toycity, "DEFAULT_COUNTS", counts)
    return tmp_path


def test_a_cell_counts_a_list_by_its_content(home: Path) -> None:
    dataset = open_dataset(home, "toycity")
    train = load_coco(dataset.train_json, dataset.images)
    split = make_split(train, fraction=0.4, seed=0)
    one, other = home / "one.txt", home / "other.txt"
    one.write_text("".join(f"{train.image(i).file_name}\n" for i in split.labeled))
    other.write_text("# the same\n" + "".join(f"{i}\n" for i in split.labeled[::-1]))
    seeded = plan_cell(_config(label_fraction=0.4), home=home).fingerprint
    listed = _config(labeled_list=str(one))
    assert plan_cell(listed, home=home).fingerprint == seeded
    assert plan_cell(_config(labeled_list=str(other)), home=home).fingerprint == seeded
    one.write_text("train_000001\ntrain_000002\n")
    assert plan_cell(listed, home=home).fingerprint != seeded
    one.write_text("train_000001\ntrain_0000021\n")
    with pytest.raises(ValueError, match=r"one\.txt: no image 'train_0000021' .* did you mean"):
        plan_cell(listed, home=home)


def test_a_place_in_a_lists_name_is_filled_with_the_percent(home: Path) -> None:
    lists = {5: "train_000001", 10: "train_000002", 2.5: "train_000003"}
    for percent, name in lists.items():
        (home / f"city_{percent}.txt").write_text(f"{name}\ntrain_000004\n")
    pattern = str(home / "city_{percent}.txt")
    for percent in lists:
        told = _config(labeled_list=pattern, label_fraction=percent / 100)
        named = _config(labeled_list=str(home / f"city_{percent}.txt"))
        assert plan_cell(told, home=home).fingerprint == plan_cell(named, home=home).fingerprint
    with pytest.raises(ValueError, match=r"city_30\.txt: no such list of labeled images"):
        plan_cell(_config(labeled_list=pattern, label_fraction=0.3), home=home)


def test_a_plan_without_data_tells_lists_apart() -> None:
    names = {assume_cell(_config(labeled_list=name)).fingerprint for name in (None, "a", "b")}
    assert len(names) == 3
