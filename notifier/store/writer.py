"""The one thread that writes: operations submitted during a commit share its next transaction.

SQLite takes one writer at a time, and each commit costs a flush to the disk. One thread that shares
commits is both the fastest way to write and the one without waits for locks. On PostgreSQL the threads
of several replicas may meet: then the transaction is run again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from notifier.failpoints import reach
from notifier.store.engine import Backend, StoreRefused, StoreUnavailable, migrate, reason

T = TypeVar("T")
Operation = Callable[[Connection], Any]

_MAX_BATCH = 64
_PROBE_INTERVAL = 1.0  # seconds
_CLASHES = 8
"""So often a transaction that meets others is tried."""

log = structlog.get_logger(__name__)


class _Task(NamedTuple):
    """An operation, the future of its result, and the workers to wake when it is done."""

    operation: Operation
    future: Future[Any]
    notifies: Collection[str]


class _Clash(Exception):
    """A transaction met another one."""


class Writer:
    """Runs operations in shared transactions on a thread of its own.

    After a failure of the store as a whole it tries a write every second, so that `outage` is cleared
    as soon as the cause is gone.
    """

    def __init__(self, backend: Backend, on_opened: Callable[[Connection], None]) -> None:
        """Prepare to write to *backend*; *on_opened* may read it first."""
        self._backend = backend
        self._on_opened = on_opened
        self._queue: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._identity: object = None
        self._lock = threading.Lock()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self.outage: str | None = "the store has not been opened yet"
        """Why nothing can be written now; None when all is well."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the submitted operations, then stop; later ones fail."""
        with self._lock:
            self._is_stopped = True
            self._queue.put(None)
        self._thread.join()

    def submit(self, operation: Callable[[Connection], T], notifies: Collection[str] = ()) -> Future[T]:
        """Run *operation* in a transaction; the result comes once it is on disk, and *notifies* are notified.

        The operation may be run again when it shared a transaction that failed. The future raises `StoreUnavailable`
        when the whole store fails, else the error of the operation.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_stopped:
                future.set_exception(StoreUnavailable("the store is closed"))
            else:
                self._queue.put(_Task(operation, future, notifies))
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

    def _next_batch(self) -> tuple[list[_Task], bool]:
        batch: list[_Task] = []
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

    def _write(self, batch: list[_Task], clashes: int = 0) -> None:
        try:
            results = self._transaction(batch)
        except StoreUnavailable as error:
            for task in batch:
                task.future.set_exception(error)
        except _Clash as clash:
            if len(batch) == 1 and clashes == _CLASHES:
                batch[0].future.set_exception(StoreUnavailable(str(clash)))
                return
            if len(batch) == 1:
                time.sleep(0.002 * 2**clashes)
            for task in batch:
                self._write([task], clashes + (len(batch) == 1))
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for task in batch:  # one of them is at fault; the others shall not suffer
                self._write([task])
        else:
            for task, result in zip(batch, results, strict=True):
                task.future.set_result(result)

    def _transaction(self, batch: list[_Task]) -> list[Any]:
        try:
            connection = self._connect()
            with connection.begin():
                results = [task.operation(connection) for task in batch]
                self._backend.notify(connection, {name for task in batch for name in task.notifies})
                reach("before-commit")
            reach("after-commit")
        except DBAPIError as error:
            if self._backend.is_clash(error):
                raise _Clash(reason(error)) from None
            if not self._backend.is_outage(error):
                raise
            self._fail(reason(error))
            raise StoreUnavailable(reason(error)) from None
        except (OSError, StoreUnavailable) as error:
            self._fail(str(error))
            raise StoreUnavailable(str(error)) from None
        if self.outage is not None:
            log.info("store recovered", after=self.outage)
            self.outage = None
        return results

    def _connect(self) -> Connection:
        """Return the connection; a new one after the file was replaced or an error broke the last one."""
        if self._connection is not None and self._identity == self._backend.identity():
            return self._connection
        self._disconnect()
        self._backend.engine.dispose()
        try:
            migrate(self._backend)
        except StoreRefused as error:  # it was upgraded beneath us
            raise StoreUnavailable(str(error)) from None
        self._connection = self._backend.engine.connect()
        with self._connection.begin():
            self._on_opened(self._connection)
        self._identity = self._backend.identity()
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                self._connection.close()
            self._connection = None

    def _fail(self, why: str) -> None:
        if self.outage is None:
            log.error("store unavailable", error=why, database=self._backend.name)
        self.outage = why
        self._disconnect()

    def _probe(self) -> None:
        self._write([_Task(_touch, Future(), ())])


def _touch(connection: Connection) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
