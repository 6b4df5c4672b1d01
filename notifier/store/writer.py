"""The one thread that writes: what is handed in while it commits goes into its next transaction together.

SQLite takes one writer at a time, and each commit costs a flush to the disk. One thread that shares
commits is both the fastest way to write and the one without waits for locks.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from notifier.store.engine import StoreUnavailable, is_outage, migrate, reason

T = TypeVar("T")
Operation = Callable[[Connection], Any]

_MAX_BATCH = 64
_PROBE_INTERVAL = 1.0  # seconds

log = structlog.get_logger(__name__)


class Writer:
    """Runs operations in shared transactions on a thread of its own.

    After a failure of the store as a whole it tries a write every second, so that `outage` is cleared
    as soon as the cause is gone.
    """

    def __init__(self, engine: Engine, path: Path, on_opened: Callable[[Connection], None]) -> None:
        """Prepare to write to *engine*, which is open on the file at *path*; *on_opened* may read it first."""
        self._engine = engine
        self._path = path
        self._on_opened = on_opened
        self._queue: queue.SimpleQueue[tuple[Operation, Future[Any]] | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self.outage: str | None = "the store has not been opened yet"
        """Why nothing can be written now; None when all is well."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what was handed in before, then end; what is handed in later fails."""
        with self._lock:
            self._is_stopped = True
            self._queue.put(None)
        self._thread.join()

    def submit(self, operation: Callable[[Connection], T]) -> Future[T]:
        """Run *operation* in a transaction; the result comes once it is on disk.

        The operation may be run again when it shared a transaction that failed. The future raises
        `StoreUnavailable` when the store as a whole is hindered, else what the operation raised.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_stopped:
                future.set_exception(StoreUnavailable("the store is closed"))
            else:
                self._queue.put((operation, future))
        return future

    def _run(self) -> None:
        stopping = False
        while not stopping:
            batch, stopping = self._next_batch()
            if batch:
                self._write(batch)
            elif self.outage is not None and not stopping:
                self._probe()
        self._disconnect()

    def _next_batch(self) -> tuple[list[tuple[Operation, Future[Any]]], bool]:
        batch: list[tuple[Operation, Future[Any]]] = []
        try:
            timeout = _PROBE_INTERVAL if self.outage is not None else None
            item = self._queue.get(timeout=timeout)
            while item is not None:
                batch.append(item)
                if len(batch) == _MAX_BATCH:
                    return batch, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _write(self, batch: list[tuple[Operation, Future[Any]]]) -> None:
        try:
            results = self._transaction([operation for operation, _ in batch])
        except StoreUnavailable as error:
            for _, future in batch:
                future.set_exception(error)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for item in batch:  # one of them is at fault; the others shall not suffer
                self._write([item])
        else:
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _transaction(self, operations: list[Operation]) -> list[Any]:
        try:
            connection = self._connect()
            with connection.begin():
                results = [operation(connection) for operation in operations]
        except DBAPIError as error:
            if not is_outage(error):
                raise
            self._fail(reason(error))
            raise StoreUnavailable(reason(error)) from None
        except (OSError, SQLAlchemyError, StoreUnavailable) as error:
            if isinstance(error, SQLAlchemyError):
                raise
            self._fail(str(error))
            raise StoreUnavailable(str(error)) from None
        if self.outage is not None:
            log.info("store recovered", after=self.outage)
            self.outage = None
        return results

    def _connect(self) -> Connection:
        """Return the connection, made anew when the file was replaced or an error broke the last one."""
        if self._connection is not None and self._inode == self._identify():
            return self._connection
        self._disconnect()
        self._engine.dispose()
        migrate(self._engine)
        self._connection = self._engine.connect()
        with self._connection.begin():
            self._on_opened(self._connection)
        self._inode = self._identify()
        return self._connection

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _fail(self, why: str) -> None:
        if self.outage is None:
            log.error("store unavailable", error=why, database=str(self._path))
        self.outage = why
        self._disconnect()

    def _probe(self) -> None:
        self._write([(_touch, Future())])


def _touch(connection: Connection) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
