"""The last webhook of each scope, by its digest: a webhook that equals it is a repetition.

A scope is the group of alerts, the receiver and the address that a webhook is for. Only the last webhook counts: an
alert that fires, is resolved and fires again within the window is news each time.

Kept in memory, since a table looked up by random keys would cost as much again as storing the webhook
itself, and made anew from the webhooks whenever a database is opened. It is exact because one process
works on a SQLite database, and one thread writes to it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from notifier.alertmanager import SCOPE_LENGTH
from notifier.config import LONGEST_DEDUPE_WINDOW
from notifier.ids import first_id
from notifier.store.records import NewWebhook
from notifier.store.schema import from_microseconds, webhooks

NEWEST = select(webhooks.c.received_at).order_by(webhooks.c.id.desc()).limit(1)
"""When the last webhook came in."""

_MOST = 500_000
"""So many are known at the most."""
_SMALLEST = 8
"""The slots of an empty table."""
_FREE = _NEVER = 0
"""The key of a slot that holds none; the time of a scope of which nothing is known."""
_MILLISECOND = timedelta(milliseconds=1)


class Dedupe:
    """The last webhook of each scope that was stored lately: its digest, and the time it was received.

    A storm may fill the window, so each is kept small, in a table of open addressing rather than as objects: 63 bits
    of the scope, 64 of the digest, and the milliseconds since 1970 at which it was stored, some 36 to 72 bytes in all.
    The table is made anew, without what is older than the window, when it is two thirds full or a window has passed.
    """

    def __init__(self) -> None:
        """Know none."""
        self.clear()

    def __len__(self) -> int:
        """How many scopes are known, some of which may be older than the window."""
        return self._count

    def clear(self) -> None:
        """Know none any more."""
        self._allocate(_SMALLEST)
        self._swept_at = 0

    def fresh(
        self,
        connection: Connection,  # noqa: ARG002
        batch: Sequence[NewWebhook],
        window: timedelta,
    ) -> list[NewWebhook]:
        """Return those of *batch* that are no repetitions, and take them for stored."""
        return [new for new in batch if self.take(new.identity, new.received_at, window)]

    def take(self, identity: bytes, received_at: datetime, window: timedelta) -> bool:
        """Return whether *identity* is no repetition, and if so take it for the last of its scope.

        It is one if it equals the last of its scope, taken less than *window* before.
        """
        slot, length = self._slot(_key(identity)), window // _MILLISECOND
        taken_at = self._times[slot]
        if (
            taken_at != _NEVER
            and self._digests[slot] == _digest(identity)
            and abs(_milliseconds(received_at) - taken_at) < length
        ):
            return False
        self._put(identity, received_at, window)
        return True

    def forget(self, batch: Sequence[NewWebhook]) -> None:
        """Forget the scopes of *batch*, which was not stored after all: what comes next of them is no repetition."""
        for new in batch:
            self._times[self._slot(_key(new.identity))] = _NEVER

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
            self._put(bytes(identity), from_microseconds(received_at), LONGEST_DEDUPE_WINDOW)

    # the table

    def _allocate(self, size: int) -> None:
        self._keys = array("Q", bytes(8 * size))
        self._digests = array("Q", bytes(8 * size))
        self._times = array("Q", bytes(8 * size))
        self._count = 0

    def _slot(self, key: int) -> int:
        """Return where *key* is, or is to be put."""
        keys, mask = self._keys, len(self._keys) - 1
        slot = key & mask
        while keys[slot] not in (key, _FREE):
            slot = (slot + 1) & mask
        return slot

    def _put(self, identity: bytes, received_at: datetime, window: timedelta) -> None:
        key, now, length = _key(identity), _milliseconds(received_at), window // _MILLISECOND
        slot = self._slot(key)
        self._count += self._keys[slot] == _FREE
        self._keys[slot], self._digests[slot], self._times[slot] = key, _digest(identity), now
        if 3 * self._count > 2 * len(self._keys) or abs(now - self._swept_at) > length:
            self._sweep(now, length)

    def _sweep(self, now: int, length: int) -> None:
        """Make the table anew of what is younger than *length*, and if that is too much, of the younger half."""
        self._swept_at = now
        digests, times, oldest = self._digests, self._times, length
        kept = self._younger(now, oldest)
        while len(kept) > _MOST and oldest:
            oldest //= 2
            kept = self._younger(now, oldest)
        kept = kept[:_MOST]  # what is ahead of a clock that was set back is not older than anything
        size, keys = _SMALLEST, self._keys
        while size < 3 * len(kept):
            size *= 2
        self._allocate(size)
        for old in kept:
            slot = self._slot(keys[old])
            self._keys[slot], self._digests[slot], self._times[slot] = keys[old], digests[old], times[old]
            self._count += 1

    def _younger(self, now: int, length: int) -> array[int]:
        """Return the slots of what was stored less than *length* before *now*, or by a clock that was ahead."""
        return array("L", (slot for slot, at in enumerate(self._times) if at != _NEVER and now - at < length))


def _key(identity: bytes) -> int:
    """Return 63 bits of a scope, marked as used: that two of a million are alike is one chance in 18 million."""
    return int.from_bytes(identity[:SCOPE_LENGTH], "little") | 1 << 63


def _digest(identity: bytes) -> int:
    return int.from_bytes(identity[SCOPE_LENGTH : SCOPE_LENGTH + 8], "little")


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
