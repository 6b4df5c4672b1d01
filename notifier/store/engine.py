"""Opening a SQLite database, bringing its schema up to date, and telling what its errors mean."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

HEAD = "0003"
"""The newest revision of the schema that this program knows."""

REFUSED = 3
"""The exit code of ``python -m notifier.store.migrations`` for a schema that is newer than this program."""

_BUSY_TIMEOUT = 5.0  # seconds
_MIGRATION_TIMEOUT = 300.0  # seconds


class StoreUnavailable(Exception):
    """The store cannot be read or written now; the text says why, and it may pass."""


class StoreRefused(Exception):
    """The store is not for this program or this process; it will not pass by itself."""


def open_engine(path: Path, *, readers: int = 4) -> Engine:
    """Return an engine on the SQLite file at *path*, in WAL mode with full synchronisation.

    Every transaction takes the write lock when it begins, unless its connection was opened with the
    execution option ``read_only``. Nothing is opened yet.
    """
    engine = create_engine(
        URL.create("sqlite+pysqlite", database=str(path)),
        poolclass=QueuePool if readers else NullPool,
        pool_size=max(readers, 1),
        max_overflow=4,
        connect_args={"timeout": _BUSY_TIMEOUT, "check_same_thread": False},
    )

    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says
        pragmas = {
            "journal_mode": "WAL",
            "synchronous": "FULL",
            "foreign_keys": "ON",
            "cache_size": -1000,  # KiB, for each of a few connections
            "wal_autocheckpoint": 4000,  # pages: 16 MB, so that a storm fits between two
        }
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}").close()

    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def reason(error: BaseException) -> str:
    """Say in a few words what the database is complaining of, without statement or values."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return f"{original}" or type(original).__name__


def is_outage(error: DBAPIError) -> bool:
    """Whether the store as a whole is hindered (full, locked, corrupt, gone), not one statement wrong."""
    return not isinstance(error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError)


def revision(engine: Engine) -> str | None:
    """Return the revision of the schema, None where there is none yet."""
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(engine: Engine) -> None:
    """Bring the schema to `HEAD`, if it is not there yet.

    That is done by a process of its own: Alembic would stay in this one's memory, ten megabytes of it.

    Raises:
        StoreRefused: the schema is newer than this program.
        StoreUnavailable: the database cannot be read or written.
    """
    file = str(engine.url.database)
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))  # it holds numbers, for its owner alone
        if revision(engine) == HEAD:
            return
    except DBAPIError as error:
        raise StoreUnavailable(reason(error)) from error
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be opened: {error.strerror}") from error
    finally:
        engine.dispose()
    command = [sys.executable, "-P", "-m", "notifier.store.migrations", file]
    try:
        ended = subprocess.run(  # noqa: S603 (our own)
            command, capture_output=True, text=True, check=False, timeout=_MIGRATION_TIMEOUT
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreUnavailable(f"its schema cannot be brought up to date: {error}") from error
    if ended.returncode == REFUSED:
        raise StoreRefused(ended.stdout.strip())
    if ended.returncode != 0:
        detail = ended.stdout.strip() or ended.stderr.strip().rpartition("\n")[2]
        raise StoreUnavailable(f"its schema cannot be brought up to date: {detail}")


class ProcessLock:
    """Keeps a second process from working on the same database: each would send what the other sends."""

    def __init__(self, database: Path) -> None:
        """Lock *database* until `release` or the process ends.

        Raises:
            StoreRefused: another process holds it.
            StoreUnavailable: the lock file cannot be written.
        """
        self._path = database.with_name(database.name + ".lock")
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{self._path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StoreRefused(
                f"another process works on {database}; stop it, or give this one a database of its own"
            ) from None

    def release(self) -> None:
        """Let others have the database."""
        os.close(self._file)
