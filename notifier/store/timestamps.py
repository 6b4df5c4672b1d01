"""Times stored by name: times, and the last good copies of calendars."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta

from sqlalchemy import Connection, Table, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from notifier.clock import CLOCK_STEP
from notifier.store.database import Tables
from notifier.store.schema import calendars, timestamps

SOURCES = "source/"
"""Prefix of the timestamps of when the last webhook of each Alertmanager came, by its external URL."""
_WEEK = timedelta(days=7)
_AT = select(timestamps.c.at).where(timestamps.c.name == bindparam("given"))


class Timestamps(Tables):
    """Times by name: when something was last seen or done."""

    def get(self, name: str) -> datetime | None:
        """Return the time remembered as *name*."""
        with self._database.reading() as connection:
            return get_timestamp(connection, name)

    def all(self, prefix: str) -> dict[str, datetime]:
        """Return the times whose names begin with *prefix*, without it."""
        statement = select(timestamps.c.name, timestamps.c.at).where(
            timestamps.c.name.startswith(prefix, autoescape=True)
        )
        with self._database.reading() as connection:
            return {name.removeprefix(prefix): at for name, at in connection.execute(statement)}

    def sources(self, now: datetime) -> dict[str, datetime]:
        """Return when the last webhook of each Alertmanager came, of those that posted within a week before *now*."""
        return {url: at for url, at in self.all(SOURCES).items() if now - at < _WEEK}

    def set(self, times: Mapping[str, datetime]) -> Future[None]:
        """Remember *times*."""

        def operation(connection: Connection) -> None:
            for name, at in times.items():
                set_timestamp(connection, name, at)

        return self._database.submit(operation)

    def delete(self, names: Collection[str]) -> Future[None]:
        """Delete the times stored as *names*."""

        def operation(connection: Connection) -> None:
            connection.execute(delete(timestamps).where(timestamps.c.name.in_(sorted(names))))

        return self._database.submit(operation)

    def take_turn(self, name: str, now: datetime, every: timedelta) -> Future[bool]:
        """Return whether no replica has done the work *name* within *every*; if so, claim it."""

        def operation(connection: Connection) -> bool:
            last = get_timestamp(connection, name)
            if last is None:
                _put(connection, timestamps, "name", name, {"at": now})
                return True
            if abs(now - last) < every:
                return False
            turn = update(timestamps).where(timestamps.c.name == name, timestamps.c.at == last).values(at=now)
            return connection.execute(turn).rowcount == 1

        return self._database.submit(operation)

    def calendar(self, key: str) -> tuple[datetime, str] | None:
        """Return when the calendar *key* was last fetched, and its events as JSON."""
        statement = select(calendars.c.fetched_at, calendars.c.events).where(calendars.c.key == key)
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else (row.fetched_at, row.events)

    def keep_calendar(self, key: str, fetched_at: datetime, events: str) -> Future[None]:
        """Keep the events of the calendar *key*, as JSON."""

        def operation(connection: Connection) -> None:
            _put(connection, calendars, "key", key, {"fetched_at": fetched_at, "events": events})

        return self._database.submit(operation)


def get_timestamp(connection: Connection, name: str) -> datetime | None:
    """Return the time remembered as *name*, in the transaction of *connection*."""
    at: datetime | None = connection.execute(_AT, {"given": name}).scalar()
    return at


def set_timestamp(connection: Connection, name: str, at: datetime) -> None:
    """Remember *at* as *name*, in the transaction of *connection*."""
    _put(connection, timestamps, "name", name, {"at": at})


def advance_timestamp(connection: Connection, name: str, at: datetime, now: datetime) -> None:
    """Remember *at* as *name*, unless a later time is stored: webhooks may be planned late.

    A stored time that is ahead of *now* by more than `CLOCK_STEP` is replaced.
    """
    is_older = or_(timestamps.c.at < at, timestamps.c.at > now + CLOCK_STEP)
    change = update(timestamps).where(timestamps.c.name == name, is_older).values(at=at)
    if not connection.execute(change).rowcount and get_timestamp(connection, name) is None:
        set_timestamp(connection, name, at)


def _put(connection: Connection, table: Table, key: str, name: str, values: Mapping[str, object]) -> None:
    change = update(table).where(table.c[key] == name).values(dict(values))
    if connection.execute(change).rowcount:
        return
    try:
        with connection.begin_nested():
            connection.execute(insert(table).values({key: name, **values}))
    except IntegrityError:  # another replica was first
        connection.execute(change)
