"""The last webhook of each scope, by its digest: a webhook that equals it is a repetition.

A scope is the group of alerts, the receiver and the address that a webhook is for. Only the last webhook counts: an
alert that fires, is resolved and fires again within the window is news each time.

Kept in memory, since a table looked up by random keys would cost as much again as storing the webhook
itself, and rebuilt from the webhooks whenever a database is opened. It is exact because one process
works on a SQLite database, and one thread writes to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from notifier.alertmanager.webhook import SCOPE_LENGTH
from notifier.config.model import LONGEST_DEDUPE_WINDOW
from notifier.ids import first_id
from notifier.store.records import NewWebhook
from notifier.store.schema import from_microseconds, webhooks

_MOST = 100_000
"""The maximum number of scopes that are known, about 20 MB. Of more, the last are known; a repetition that is not
recognised is planned, which pages nobody twice.
"""


class Dedupe:
    """The last webhook of each scope that was stored lately: its digest, and the time it was received."""

    def __init__(self) -> None:
        """Know none."""
        self._last: dict[bytes, tuple[bytes, datetime]] = {}
        """By scope, the one that was stored last at the end."""

    def __len__(self) -> int:
        """The number of scopes that are known."""
        return len(self._last)

    def fresh(
        self,
        connection: Connection,  # noqa: ARG002 (on PostgreSQL, it is asked)
        batch: Sequence[NewWebhook],
        window: timedelta,
    ) -> list[NewWebhook]:
        """Return those of *batch* that are no repetitions, and take them for stored."""
        return [new for new in batch if self.take(new.identity, new.received_at, window)]

    def take(self, identity: bytes, received_at: datetime, window: timedelta) -> bool:
        """Return whether *identity* is new; if so, remember it as the last of its scope.

        It is a repetition, and False is returned, if it equals the last of its scope, received less than *window*
        before.
        """
        scope, digest = _divided(identity)
        last, taken_at = self._last.get(scope, (None, received_at))
        if last == digest and abs(received_at - taken_at) < window:
            return False
        self._put(identity, received_at, window)
        return True

    def forget(self, batch: Sequence[NewWebhook]) -> None:
        """Forget the scopes of *batch*, which was not stored after all: their next webhook is no repetition."""
        for new in batch:
            self._last.pop(_divided(new.identity)[0], None)

    def remember(self, connection: Connection) -> None:
        """Load recent webhooks from a database that was just opened."""
        self._last.clear()
        for identity, received_at in recent(connection):
            self._put(identity, from_microseconds(received_at), LONGEST_DEDUPE_WINDOW)

    def _put(self, identity: bytes, received_at: datetime, window: timedelta) -> None:
        scope, digest = _divided(identity)
        self._last.pop(scope, None)  # so that it is at the end
        self._last[scope] = digest, received_at
        while len(self._last) > 1:
            oldest = next(iter(self._last))
            if len(self._last) <= _MOST and received_at - self._last[oldest][1] < window:
                break
            del self._last[oldest]


def recent(connection: Connection) -> list[tuple[bytes, int]]:
    """Return digest and time of the webhooks that may still be repeated, in order."""
    last = connection.execute(select(webhooks.c.received_at).order_by(webhooks.c.id.desc()).limit(1)).scalar()
    if last is None:
        return []
    since = first_id(from_microseconds(last) - LONGEST_DEDUPE_WINDOW)
    columns = webhooks.c.identity, webhooks.c.received_at
    rows = connection.execute(select(*columns).where(webhooks.c.id >= since).order_by(webhooks.c.id))
    return [(bytes(identity), received_at) for identity, received_at in rows]


def _divided(identity: bytes) -> tuple[bytes, bytes]:
    return identity[:SCOPE_LENGTH], identity[SCOPE_LENGTH:]
