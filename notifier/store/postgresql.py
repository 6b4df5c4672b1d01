"""PostgreSQL: a database that any number of replicas work on at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from itertools import dropwhile
from typing import Any

import structlog
from sqlalchemy import URL, Connection, bindparam, create_engine, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, DBAPIError

from notifier.alertmanager.webhook import SCOPE_LENGTH
from notifier.store.dedupe import recent
from notifier.store.engine import Backend, Listener, Repetitions, StoreRefused
from notifier.store.records import NewWebhook
from notifier.store.schema import last_webhooks, to_microseconds

log = structlog.get_logger(__name__)

CHANNEL = "notifier"
"""The channel on which replicas wake each other."""

_SETTINGS: dict[str, Any] = {
    "connect_timeout": 5,
    # A network that is cut must be noticed within seconds, on a connection that waits for an answer too.
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
    "application_name": "notifier",
    # And the server must release the locks of a replica that it no longer has a connection to.
    "options": (
        "-c statement_timeout=10000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=10000"
        " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    ),
}
_CLASHES = frozenset({"40001", "40P01", "55P03"})
"""Serialisation failure, deadlock, a lock that was not granted in time."""
_FAULTS = frozenset({"22", "23", "42"})
"""The classes of errors of one statement: its data, a constraint, its syntax."""


class PostgreSQL(Backend):
    """A database on a server."""

    is_shared = True

    def __init__(self, url: URL) -> None:
        """Prepare to work on the database at *url*; nothing is opened yet.

        Raises:
            StoreRefused: the driver is not installed.
        """
        self.url = url.set(drivername="postgresql+psycopg")
        self.name = url.set(query={}).render_as_string(hide_password=True)
        given = {name: value for name, value in _SETTINGS.items() if name not in url.query}
        try:
            self.engine = create_engine(
                self.url, pool_size=5, max_overflow=5, pool_pre_ping=True, connect_args=given
            )
        except ImportError:
            raise StoreRefused("PostgreSQL needs a driver: pip install 'psycopg[binary]'") from None

    def is_outage(self, error: DBAPIError) -> bool:
        """Whether the server is gone, going, full or read-only, not one statement wrong."""
        state = _state(error)
        if isinstance(error, DataError) and not error.connection_invalidated:
            return False  # refused before it was sent, then there is no state
        return error.connection_invalidated or state is None or state[:2] not in _FAULTS

    def is_clash(self, error: DBAPIError) -> bool:
        """Whether the transaction met another one, and is to be tried again."""
        return _state(error) in _CLASHES

    def repetitions(self) -> Repetitions:
        """Return the recogniser of repetitions, kept in a table: a cluster of Alertmanagers may post to any replica."""
        return _Shared()

    def notify(self, connection: Connection, names: Collection[str]) -> None:
        """Have the workers of these *names* woken in every replica, once the transaction is done."""
        for name in sorted(names):
            connection.execute(_RING, {"name": name})

    def listener(self, on_notify: Callable[[str], None]) -> Listener:
        """Return a listener that calls *on_notify* with each name that another process notifies."""
        return _Listener(self.url, on_notify)

    def lock(self, connection: Connection, names: Collection[str]) -> set[str]:
        """Take those *names* that no other transaction has; return them."""
        keys = {
            name: int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)
            for name in names
        }
        return {name for name, key in keys.items() if connection.execute(_LOCK, {"key": key}).scalar()}


_RING = select(func.pg_notify(CHANNEL, bindparam("name")))
_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")


def _after_first(same: Sequence[NewWebhook]) -> list[NewWebhook]:
    """Return the webhooks of one scope from the first on that differs from the first of all."""
    return list(dropwhile(lambda new: new.identity == same[0].identity, same))


def _state(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


class _Listener:
    """Listens to the notifications of other replicas, on a connection of its own.

    A notification while that is down is lost; the workers look by themselves now and then.
    """

    def __init__(self, url: URL, on_notify: Callable[[str], None]) -> None:
        """Prepare to call *on_notify* with each name that is notified."""
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._settings = {name: value for name, value in _SETTINGS.items() if name not in url.query}
        self._on_notify = on_notify
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second."""
        self._is_stopping.set()
        self._thread.join(5)

    def _run(self) -> None:
        import psycopg

        while not self._is_stopping.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, **self._settings) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    while not self._is_stopping.is_set():
                        for received in connection.notifies(timeout=1.0):
                            self._on_notify(received.payload)
                        connection.execute("SELECT 1")  # a connection that is cut says nothing by itself
            except psycopg.Error as error:
                log.debug("listening for notifications was interrupted", error=" ".join(str(error).split()))
                self._is_stopping.wait(1.0)


class _Shared:
    """Recognises repetitions by a table of the last webhook of each scope, whichever replica stored it."""

    def fresh(
        self, connection: Connection, batch: Sequence[NewWebhook], window: timedelta
    ) -> list[NewWebhook]:
        """Return those of *batch* that are no repetitions, and take them for stored."""
        scopes: dict[bytes, list[NewWebhook]] = {}
        for new in batch:
            scopes.setdefault(new.identity[:SCOPE_LENGTH], []).append(new)
        fresh: set[str] = set()
        # A statement changes a row only once: a second webhook of the same scope takes another round.
        while scopes:
            fresh |= self._differing(connection, {scope: same[0] for scope, same in scopes.items()}, window)
            scopes = {scope: rest for scope, same in scopes.items() if (rest := _after_first(same))}
        return [new for new in batch if new.id in fresh]

    def _differing(
        self, connection: Connection, last: Mapping[bytes, NewWebhook], window: timedelta
    ) -> set[str]:
        """Store *last* as the last webhook of each scope; return the ids of those that are no repetitions."""
        rows = [  # in order, so that two replicas do not wait for each other
            {"scope": scope, "identity": new.identity, "received_at": to_microseconds(new.received_at)}
            for scope, new in sorted(last.items())
        ]
        statement = insert(last_webhooks).values(rows)
        given = statement.excluded
        apart = func.abs(last_webhooks.c.received_at - given.received_at)
        changed = connection.execute(
            statement.on_conflict_do_update(
                index_elements=[last_webhooks.c.scope],
                set_={"identity": given.identity, "received_at": given.received_at},
                where=or_(
                    last_webhooks.c.identity != given.identity, apart >= window // timedelta(microseconds=1)
                ),
            ).returning(last_webhooks.c.scope)
        )
        return {last[bytes(scope)].id for scope in changed.scalars()}

    def forget(self, batch: Sequence[NewWebhook]) -> None:
        """Forget nothing: the transaction took it back."""

    def remember(self, connection: Connection) -> None:
        """Add to the table: rows that were stored before the database was moved here."""
        if connection.execute(select(last_webhooks.c.scope).limit(1)).first():
            return
        last = {identity[:SCOPE_LENGTH]: (identity, at) for identity, at in recent(connection)}
        rows = [
            {"scope": scope, "identity": identity, "received_at": at}
            for scope, (identity, at) in sorted(last.items())
        ]
        if rows:
            connection.execute(insert(last_webhooks).on_conflict_do_nothing(), rows)
