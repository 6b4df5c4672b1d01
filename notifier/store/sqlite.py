"""SQLite: a file that belongs to one process, in WAL mode with full synchronisation."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from notifier.store.dedupe import Dedupe
from notifier.store.engine import Backend, Repetitions, StoreRefused, StoreUnavailable

_BUSY_TIMEOUT = 5.0  # seconds


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def open_engine(path: Path, *, readers: int = 4) -> Engine:
    """Return an engine on the SQLite file at *path*, in WAL mode with full synchronisation.

    Every transaction takes the write lock when it begins, unless its connection was opened with the
    execution option ``read_only``. Nothing is opened yet.
    """

    def connect() -> sqlite3.Connection:
        # It is opened, never made: `SQLite.prepare` makes it, for its owner alone.
        where = f"file:{quote(str(path))}?mode=rw"
        return sqlite3.connect(where, uri=True, timeout=_BUSY_TIMEOUT, check_same_thread=False)

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=readers, max_overflow=4
    )

    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says
        pragmas = {
            "journal_mode": "WAL",
            "synchronous": "FULL",
            "foreign_keys": "ON",
            "cache_size": -200,  # KiB, for each of a few connections: the system keeps the file in memory, too
            "wal_autocheckpoint": 4000,  # pages: 16 MB, so that a storm fits between two
        }
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name}={value}").close()
        # SQLite's own knows the letters of ASCII alone; PostgreSQL's knows all.
        connection.create_function("lower", 1, _lower, deterministic=True)

    def begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


def backup(path: Path, target: Path) -> None:
    """Write a consistent copy of the database at *path* to *target*, while others use it or not.

    ``VACUUM INTO`` reads one snapshot; what ``.backup`` does starts again with each write of another process.

    Raises:
        StoreUnavailable: there is no such database, or the file is there already or cannot be written.
    """
    if not path.exists():
        raise StoreUnavailable(f"there is no database at {path}")
    if target.exists():
        raise StoreUnavailable(f"{target} exists already")
    try:
        descriptor, name = tempfile.mkstemp(
            dir=target.parent, prefix=f".{target.name}."
        )  # for its owner alone
        os.close(descriptor)
        temporary = Path(name)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be written: {error.strerror}") from None
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as source:
            source.execute("VACUUM INTO ?", (name,))
        temporary.replace(target)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path} cannot be copied to {target}: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


class SQLite(Backend):
    """A database in a file."""

    is_shared = False

    def __init__(self, path: Path) -> None:
        """Prepare to work on the file at *path*; nothing is opened yet."""
        self.path = path
        self.name = str(path)
        self.engine = open_engine(path)
        self._lock: int | None = None
        """The descriptor of the locked file beside it, from `take` to `release`."""

    def take(self) -> None:
        """Take the file for this process, making its directory if need be.

        Raises:
            StoreRefused: another process works on it.
            StoreUnavailable: its directory cannot be made or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{self.path.parent} cannot be made: {error.strerror}") from error
        self._lock = _locked(self.path)

    def release(self) -> None:
        """Close it, with all data in the file itself, not in its log; let others have it."""
        if self._lock is not None:
            self.engine.dispose()
            if self.path.exists():
                with (
                    contextlib.suppress(sqlite3.Error),
                    contextlib.closing(sqlite3.connect(self.path)) as last,
                ):
                    last.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            os.close(self._lock)
            self._lock = None

    def prepare(self) -> None:
        """Make the file, for its owner alone: it holds numbers.

        One that is there is not touched: to close a file is to let go of all locks that this process has on
        it, those of SQLite's own connections, too (https://sqlite.org/howtocorrupt.html, 2.2).

        Raises:
            StoreUnavailable: it cannot be made.
        """
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return
        except OSError as error:
            raise StoreUnavailable(f"{self.path} cannot be opened: {error.strerror}") from error

    def identity(self) -> object:
        """Return the file's own number: another file may be put in its place."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def is_outage(self, error: DBAPIError) -> bool:
        """Whether the database as a whole is hindered (full, locked, corrupt, gone), not one statement wrong."""
        return not isinstance(
            error.orig, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError
        )

    def repetitions(self) -> Repetitions:
        """Return the object that recognises repetitions, in memory: one process stores all webhooks."""
        return Dedupe()


def _locked(database: Path) -> int:
    """Lock *database* for this process until the returned descriptor is closed: two would send the same messages."""
    file = database.with_name(database.name + ".lock")
    try:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise StoreRefused(
            f"another process works on {database}; stop it, or give this one a database of its own"
        ) from None
    return lock
