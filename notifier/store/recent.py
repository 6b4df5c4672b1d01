"""Which webhooks came in lately, by their digests: what tells a repetition.

Kept in memory, since a table looked up by random keys would cost as much again as storing the webhook
itself, and made anew from the webhooks whenever a database is opened. It is exact because one process
works on a SQLite database, and one thread writes to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from notifier.config import LONGEST_DEDUPE_WINDOW
from notifier.ids import first_id
from notifier.store.records import NewWebhook
from notifier.store.schema import from_microseconds, webhooks

NEWEST = select(webhooks.c.received_at).order_by(webhooks.c.id.desc()).limit(1)
"""When the last webhook came in."""

_SLICES = 16
_MOST = 500_000


class Recent:
    """The digests of the webhooks that were stored lately, each with the time it was received.

    A storm may fill the window, so each is kept small: 64 bits of the digest and a time that those of
    the same millisecond share, forgotten by slices of a sixteenth of the window.
    """

    def __init__(self) -> None:
        """Know none."""
        self._received_at: dict[int, int] = {}
        self._order: deque[tuple[int, list[int]]] = deque()
        self._last = 0

    def __len__(self) -> int:
        """How many are known."""
        return len(self._received_at)

    def clear(self) -> None:
        """Know none any more."""
        self._received_at.clear()
        self._order.clear()

    def take(self, identity: bytes, received_at: datetime, window: timedelta) -> bool:
        """Return whether *identity* was not taken within *window* before, and if so take it."""
        key, now = _key(identity), int(received_at.timestamp() * 1000)
        now = self._last = self._last if self._last == now else now  # one object for equal times
        length = window // timedelta(milliseconds=1)
        before = self._received_at.get(key)
        if before is not None and abs(now - before) < length:
            return False
        self._note(key, now, length)
        return True

    def fresh(
        self,
        connection: Connection,  # noqa: ARG002
        batch: Sequence[NewWebhook],
        window: timedelta,
    ) -> list[NewWebhook]:
        """Return those of *batch* that repeat none taken within *window*, and take them."""
        return [new for new in batch if self.take(new.identity, new.received_at, window)]

    def remember(self, connection: Connection) -> None:
        """Learn from a database just opened what is recent."""
        newest = connection.execute(NEWEST).scalar()
        self.clear()
        if newest is None:
            return
        since = from_microseconds(newest) - LONGEST_DEDUPE_WINDOW
        rows = connection.execute(
            select(webhooks.c.identity, webhooks.c.received_at)
            .where(webhooks.c.id >= first_id(since))
            .order_by(webhooks.c.id)
        )
        for identity, received_at in rows:
            self.learn(bytes(identity), from_microseconds(received_at), LONGEST_DEDUPE_WINDOW)

    def learn(self, identity: bytes, received_at: datetime, window: timedelta) -> None:
        """Take *identity* for stored, whatever came before, and keep it for *window*."""
        length = window // timedelta(milliseconds=1)
        self._note(_key(identity), int(received_at.timestamp() * 1000), length)

    def _note(self, key: int, now: int, length: int) -> None:
        self._received_at[key] = now
        if not self._order or abs(now - self._order[-1][0]) > length // _SLICES:
            self._order.append((now, []))
        self._order[-1][1].append(key)
        self._drop(now, length)

    def forget(self, batch: Sequence[NewWebhook]) -> None:
        """Undo the taking of *batch*, which was not stored after all."""
        for new in batch:
            self._received_at.pop(_key(new.identity), None)

    def _drop(self, now: int, length: int) -> None:
        known = self._received_at
        while len(self._order) > 1 and (self._order[1][0] < now - length or len(known) > _MOST):
            _, keys = self._order.popleft()
            for key in keys:
                taken_at = known.get(key)
                if taken_at is not None and (abs(now - taken_at) >= length or len(known) > _MOST):
                    del known[key]


def _key(identity: bytes) -> int:
    """Return 64 bits of a digest: that two of a million are alike is one chance in thirty million."""
    return int.from_bytes(identity[:8], "little")
