"""A database, open or waiting to be: who may use it, how it is read and written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from notifier.clock import utc_now
from notifier.ids import new_id
from notifier.store.engine import Backend, Listener, StoreUnavailable, migrate, reason
from notifier.store.sqlite import SQLite
from notifier.store.writer import Writer

T = TypeVar("T")


def open_backend(place: Path | URL) -> Backend:
    """Return the backend for the SQLite file or the PostgreSQL database at *place*; nothing is opened yet.

    Raises:
        StoreRefused: PostgreSQL's driver is not installed.
    """
    if isinstance(place, Path):
        return SQLite(place)
    from notifier.store.postgresql import PostgreSQL  # whoever has SQLite need not pay for it

    return PostgreSQL(place)


class Database:
    """A database, open or waiting to be."""

    def __init__(self, place: Path | URL, on_opened: Callable[[Connection], None] = lambda _: None) -> None:
        """Prepare to open the database at *place*; a SQLite file is locked for this process now.

        *on_opened* reads it first, whenever it is opened.

        Raises:
            StoreRefused: another process works on it, or there is no driver.
            StoreUnavailable: its directory cannot be made or written.
        """
        self.replica = new_id(utc_now())
        """The id of this process among those that work on the same database."""
        self.backend = open_backend(place)
        self.backend.take()
        self._writer = Writer(self.backend, on_opened)
        self._reader = self.backend.engine.execution_options(**_READING[self.backend.is_shared])

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.backend.name

    def start(self) -> None:
        """Bring the schema up to date and begin to write.

        A database that cannot be opened now is opened as soon as it can; until then `outage` gives the reason.

        Raises:
            StoreRefused: the schema is newer than this program.
        """
        try:
            migrate(self.backend)
            self._writer.outage = None
        except StoreUnavailable as error:
            self._writer.outage = str(error)
        self._writer.start()

    def stop(self) -> None:
        """Finish the writes that were submitted, then close."""
        self._writer.stop()
        self.backend.engine.dispose()
        self.backend.release()

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
            with self._reader.connect() as connection:
                try:
                    yield connection
                except DBAPIError as error:
                    if self.backend.is_outage(error):
                        connection.invalidate(error)  # the next look is with another, which may be better
                    raise
        except DBAPIError as error:
            raise StoreUnavailable(reason(error)) from error

    def listen(self, on_notify: Callable[[str], None]) -> Listener | None:
        """Return a listener that calls *on_notify* when another process wakes a worker; None if there are no others."""
        return self.backend.listener(on_notify)

    def submit(self, operation: Callable[[Connection], T], notifies: Collection[str] = ()) -> Future[T]:
        """Run *operation* in the next transaction, perhaps with others, perhaps more than once.

        The future is done once it is on disk; then the workers named by *notifies* are woken in other
        processes that work on the same database.
        """
        future: Future[Any] = self._writer.submit(operation, notifies)
        return future


class Tables:
    """A group of tables of a database."""

    def __init__(self, database: Database) -> None:
        """Read and write *database*."""
        self._database = database


_READING: dict[bool, dict[str, Any]] = {
    False: {"read_only": True},
    True: {"isolation_level": "AUTOCOMMIT"},  # each statement sees what is committed, without a BEGIN for it
}
