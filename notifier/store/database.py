"""A database, open or waiting to be: who may use it, how it is read and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier.store.engine import ProcessLock, StoreUnavailable, migrate, open_engine, reason
from notifier.store.writer import Writer

T = TypeVar("T")


class Database:
    """A database, open or waiting to be."""

    def __init__(self, path: Path, on_opened: Callable[[Connection], None]) -> None:
        """Take the database at *path* for this process, making its directory if need be.

        *on_opened* may read it first whenever it is opened.

        Raises:
            StoreRefused: another process works on it.
            StoreUnavailable: its directory cannot be made or written.
        """
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror}") from error
        self.path = path
        self._lock = ProcessLock(path)
        self._engine = open_engine(path)
        self._writer = Writer(self._engine, path, on_opened)

    def start(self) -> None:
        """Bring the schema up to date and begin to write.

        A database that cannot be opened now is opened as soon as it can; until then `outage` says why.

        Raises:
            StoreRefused: the schema is newer than this program.
        """
        try:
            migrate(self._engine)
            self._writer.outage = None
        except StoreUnavailable as error:
            self._writer.outage = str(error)
        self._writer.start()

    def stop(self) -> None:
        """Write what was handed in before, then close."""
        self._writer.stop()
        self._engine.dispose()
        self._lock.release()

    @property
    def outage(self) -> str | None:
        """Why nothing can be written now; None when all is well."""
        return self._writer.outage

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection to read from, from any thread.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        try:
            with self._engine.connect().execution_options(read_only=True) as connection:
                yield connection
        except DBAPIError as error:
            raise StoreUnavailable(reason(error)) from error

    def submit(self, operation: Callable[[Connection], T]) -> Future[T]:
        """Run *operation* in the next transaction, perhaps with others, perhaps more than once.

        The future is done once it is on disk.
        """
        future: Future[Any] = self._writer.submit(operation)
        return future
