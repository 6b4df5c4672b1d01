"""Common to both engines: the revision of the schema, and the meaning of their errors.

Their differences are in `notifier.store.sqlite` and `notifier.store.postgresql`, behind `Backend`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import Protocol

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from notifier.store.records import NewWebhook

HEAD = "0005"
"""The newest revision of the schema that this program knows."""


class StoreUnavailable(Exception):
    """The store cannot be read or written now; the text gives the reason; it may be transient."""


class StoreRefused(Exception):
    """The store cannot be used by this program or this process; trying again does not help."""


class Repetitions(Protocol):
    """Finds webhooks that repeat one that was stored a moment ago."""

    def fresh(
        self, connection: Connection, batch: Sequence[NewWebhook], window: timedelta
    ) -> list[NewWebhook]:
        """Return those of *batch* that are no repetitions, and take them for stored.

        A repetition equals the last webhook of its scope, stored within *window*.
        """

    def forget(self, batch: Sequence[NewWebhook]) -> None:
        """Undo the taking of *batch*, whose transaction was rolled back."""

    def remember(self, connection: Connection) -> None:
        """Load recent webhooks from a database that was just opened."""


class Listener(Protocol):
    """Listens to the notifications of other processes."""

    def start(self) -> None:
        """Begin to listen."""

    def stop(self) -> None:
        """End within some seconds."""


class Backend:
    """A kind of database: how it is opened, the meaning of its errors, and its own features."""

    engine: Engine
    name: str
    """Its name for people; without a password."""
    is_shared: bool
    """Whether other processes may work on it."""

    def take(self) -> None:
        """Take it for this process, if only one may use it."""

    def release(self) -> None:
        """Close the database, with all data in its file, and release it for other processes."""

    def prepare(self) -> None:
        """Make what must be there before it can be opened."""

    def identity(self) -> object:
        """Return a value that changes when the database is replaced by another one."""
        return None

    def is_outage(self, error: DBAPIError) -> bool:
        """Whether the database as a whole is hindered (full, locked, gone), not one statement wrong."""
        raise NotImplementedError

    def is_clash(self, error: DBAPIError) -> bool:  # noqa: ARG002
        """Whether the transaction conflicted with another one and must be run again."""
        return False

    def repetitions(self) -> Repetitions:
        """Return the object that recognises repetitions."""
        raise NotImplementedError

    def notify(self, connection: Connection, names: Collection[str]) -> None:
        """Have the workers of these *names* woken wherever they are, once the transaction is done."""

    def listener(self, on_notify: Callable[[str], None]) -> Listener | None:  # noqa: ARG002
        """Return a listener that calls *on_notify* with each name that another process notifies; None if none can."""
        return None

    def lock(self, connection: Connection, names: Collection[str]) -> set[str]:  # noqa: ARG002
        """Take those *names* that no other transaction has; return them. The transaction's end frees them."""
        return set(names)


def reason(error: BaseException) -> str:
    """Return the database's error in a few words, without statement and values."""
    original = error.orig if isinstance(error, DBAPIError) else error
    diagnosis = getattr(getattr(original, "diag", None), "message_primary", None)
    return " ".join(f"{diagnosis or original}".split()) or type(original).__name__


def revision(engine: Engine) -> str | None:
    """Return the revision of the schema; None if there is none."""
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(backend: Backend) -> None:
    """Upgrade the schema to `HEAD`, if it is older.

    Raises:
        StoreRefused: the schema is newer than this program.
        StoreUnavailable: the database cannot be read or written.
    """
    try:
        backend.prepare()
        if revision(backend.engine) != HEAD:
            from notifier.store.migrations import upgrade  # Alembic takes ten megabytes, and is seldom needed

            upgrade(backend.engine)
    except DBAPIError as error:
        raise StoreUnavailable(f"its schema cannot be brought up to date: {reason(error)}") from error
    finally:
        backend.engine.dispose()
