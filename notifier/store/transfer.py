"""Moving an installation from one database to another, and making sure that all of it arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select
from sqlalchemy.exc import DBAPIError

from notifier.store.engine import Backend, StoreRefused, StoreUnavailable, migrate, reason, revision
from notifier.store.schema import metadata, replicas
from notifier.store.sqlite import SQLite

_CHUNK = 1000
_SIGN_OF_LIFE = 2.5  # seconds in which a replica that works shows it

Progress = Callable[[str, str, int, int], None]
"""Is called with the action ("copying", "verifying"), the table, the rows done, and the rows in all."""


def transfer(source: Backend, target: Backend, progress: Progress = lambda *_: None) -> dict[str, int]:
    """Copy all of *source* to *target*, which must be empty; return the number of rows by table.

    All of it arrives or nothing does. Afterwards each table is read back on both sides and compared.

    Raises:
        StoreRefused: somebody works on one of them, *target* is not empty, or what arrived is not what left.
        StoreUnavailable: one of them cannot be read or written.
    """
    try:
        _refuse_empty(source)
        for backend in (source, target):
            backend.take()
            migrate(backend)
            _refuse_in_use(backend)
        with source.engine.connect() as reading, target.engine.begin() as writing:
            return _copy(reading, writing, target, progress)
    except DBAPIError as error:
        raise StoreUnavailable(reason(error)) from error
    finally:
        for backend in (source, target):
            backend.engine.dispose()
            backend.release()


def _refuse_empty(source: Backend) -> None:
    """Refuse a source that holds nothing of Notifier's, as one that is mistyped, before anything is made there."""
    is_missing = isinstance(source, SQLite) and not source.path.exists()
    if is_missing or revision(source.engine) is None:
        raise StoreRefused(f"there is no database of Notifier at {source.name}; is --from right?")


def _refuse_in_use(backend: Backend) -> None:
    if not backend.is_shared:
        return  # it is ours, by its lock
    with backend.engine.connect() as connection:
        before = _beats(connection)
    if not before:
        return
    time.sleep(_SIGN_OF_LIFE)
    with backend.engine.connect() as connection:
        after = _beats(connection)
    if any(after.get(replica, beats) != beats for replica, beats in before.items()) or set(after) - set(
        before
    ):
        raise StoreRefused(f"a replica works on {backend.name}; stop all of them first")


def _beats(connection: Connection) -> dict[str, int]:
    return {row.id: row.beats for row in connection.execute(select(replicas.c.id, replicas.c.beats))}


def _copy(reading: Connection, writing: Connection, target: Backend, progress: Progress) -> dict[str, int]:
    tables = [table for table in metadata.sorted_tables if table is not replicas]
    counts = {table.name: _count(reading, table) for table in tables}
    for table in tables:
        if _count(writing, table):
            raise StoreRefused(f"{target.name} is not empty; copy to a database of its own")
    for table in tables:
        done = 0
        for rows in _chunks(reading, table):
            writing.execute(insert(table), [dict(row._mapping) for row in rows])
            done += len(rows)
            progress("copying", table.name, done, counts[table.name])
    for table in tables:
        found = [
            _digest(connection, table, counts[table.name], progress) for connection in (reading, writing)
        ]
        if found[0] != found[1]:
            raise StoreRefused(f"what arrived in {table.name} is not what left; nothing was kept")
    return counts


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _chunks(connection: Connection, table: Table) -> Iterator[list[Any]]:
    """Yield all rows, some at a time, from one to the next by the primary key."""
    (key, *more) = table.primary_key.columns
    statement = select(table).order_by(key, *more)
    result = connection.execution_options(yield_per=_CHUNK).execute(statement)
    yield from (list(rows) for rows in result.partitions())


def _digest(connection: Connection, table: Table, count: int, progress: Progress) -> tuple[int, int]:
    """Return how many rows there are, and a digest of them that their order does not matter to."""
    seen = total = 0
    for rows in _chunks(connection, table):
        for row in rows:
            values = tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            digest = blake2b(repr(values).encode("utf-8", "replace"), digest_size=16).digest()
            total = (total + int.from_bytes(digest)) % 2**128
        seen += len(rows)
        progress("verifying", table.name, seen, count)
    return seen, total
