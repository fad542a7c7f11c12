"""Safe first opening of the two SQLite files of a home: ``optuna.db`` and ``mlflow.db``.

Both libraries create their tables in place, step by step. Two processes that open a fresh file at
once, or a kill during the first migration, leave MLflow's file unusable for good. So a file is
made under another name, under a lock, and renamed when it is whole. They are two files because
both libraries keep their version in a table of the same name.
"""

import logging
import os
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from optuna.storages import RDBStorage

__all__ = ["bootstrap", "open_mlflow", "open_optuna", "sqlite_uri"]

BUSY_SECONDS = 60
"""How long a writer waits for another one: studies of one home share the files."""


def bootstrap(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file whole or not at all, once, however many processes want it.

    Args:
        path: The file.
        make: Writes it to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        # Under the lock nobody is making it: these are what kills left, journals included.
        for stale in path.parent.glob(f"{path.name}.init-*"):
            stale.unlink()
        if path.exists():
            return
        temporary = path.with_name(f"{path.name}.init-{os.getpid()}")
        make(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


def sqlite_uri(path: Path) -> str:
    """An absolute SQLAlchemy URI: a relative one would depend on where a command was started."""
    return f"sqlite:///{path.resolve().as_posix()}"


def open_optuna(home: Path) -> "RDBStorage":
    """The ledger's storage, made if there is none.

    Raises:
        ValueError: If the file is of another version of Optuna, or is broken.
    """
    import optuna
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _quieten("alembic")
    path = home / "optuna.db"

    def connect(file: Path) -> RDBStorage:
        return RDBStorage(
            sqlite_uri(file), engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}}
        )

    bootstrap(path, lambda file: _close(connect(file)))
    try:
        return connect(path)
    except (RuntimeError, SQLAlchemyError) as error:
        raise ValueError(f"{path}: {_first_line(error)}") from None


def open_mlflow(home: Path) -> "MlflowClient":
    """A client of the home's own store, made if there is none; importing MLflow takes seconds.

    A file of an older MLflow is copied to ``mlflow.db.bak-<revision>`` before it is migrated.

    Raises:
        ValueError: If the file is of a newer MLflow, or is broken.
    """
    # Before the import, which reads them. Telemetry is on by default, and waits for the network.
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    with warnings.catch_warnings():
        # How MLflow uses SQLAlchemy is none of a user's business.
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    _quieten("alembic", "mlflow")
    path = home / "mlflow.db"
    artifacts = (home / "artifacts").resolve().as_uri()

    def make(file: Path) -> None:
        # Not public, but the only way to have the tables made in a file that has no clients yet.
        store: Any = SqlAlchemyStore
        store(sqlite_uri(file), artifacts).engine.dispose()

    bootstrap(path, make)
    try:
        with FileLock(f"{path}.lock"):
            _migrate(path)
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path}: {_first_line(error)}; move it away to begin anew") from None
    uri = sqlite_uri(path)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _migrate(path: Path) -> None:
    """Bring an older file to this MLflow's schema, on purpose and after a copy.

    MLflow itself migrates silently, and locks every older client out.
    """
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError
    from mlflow import __version__
    from mlflow.store.db import utils

    mlflow_database: Any = utils  # untyped

    with closing(sqlite3.connect(path)) as database:
        (revision,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    scripts = ScriptDirectory.from_config(mlflow_database._get_alembic_config(sqlite_uri(path)))
    if revision in scripts.get_heads():
        return
    try:
        scripts.get_revision(revision)
    except CommandError:
        raise ValueError(
            f"{path}: written by a newer MLflow than {__version__}; pip install --upgrade mlflow"
        ) from None
    copy = path.with_name(f"{path.name}.bak-{revision}")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    engine = mlflow_database.create_sqlalchemy_engine(sqlite_uri(path))
    try:
        mlflow_database._upgrade_db(engine)
    finally:
        engine.dispose()


def _close(storage: "RDBStorage") -> None:
    storage.remove_session()
    storage.engine.dispose()


def _quieten(*names: str) -> None:
    """Notices about tables being made are none of a user's business."""
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
