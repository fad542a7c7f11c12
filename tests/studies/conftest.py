import shutil
from pathlib import Path

import pytest

from sskd.config import load_scale
from sskd.studies.databases import open_mlflow, open_optuna
from sskd.studies.declaration import Ablation, load_ablation


@pytest.fixture(scope="session")
def databases(tmp_path_factory) -> Path:
    """A home with fresh databases: making them takes seconds."""
    home = tmp_path_factory.mktemp("template")
    open_mlflow(home)
    storage = open_optuna(home)
    storage.remove_session()
    storage.engine.dispose()
    return home


@pytest.fixture
def home(tmp_path, databases) -> Path:
    home = tmp_path / "runs"
    home.mkdir()
    for name in ("mlflow.db", "optuna.db"):
        shutil.copy(databases / name, home / name)
    return home


@pytest.fixture(scope="session")
def negatives() -> Ablation:
    return load_ablation("negatives", Path("/nowhere"))


@pytest.fixture(scope="session")
def tiny() -> dict:
    return load_scale("tiny")
