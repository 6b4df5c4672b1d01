"""Which webhooks came in lately, by their digests: what tells a repetition.

Kept in memory, since a table looked up by random keys would cost as much again as storing the webhook
itself, and made anew from the webhooks whenever a database is opened. It is exact because one process
works on a SQLite database, and one thread writes to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

_MOST = 250_000


class Recent:
    """The digests of the webhooks that were stored lately, each with the time it was received."""

    def __init__(self) -> None:
        """Know none."""
        self._received_at: dict[bytes, float] = {}
        self._order: deque[tuple[float, bytes]] = deque()

    def __len__(self) -> int:
        """How many are known."""
        return len(self._received_at)

    def clear(self) -> None:
        """Know none any more."""
        self._received_at.clear()
        self._order.clear()

    def take(self, identity: bytes, received_at: datetime, window: timedelta) -> bool:
        """Return whether *identity* was not taken within *window* before, and if so take it."""
        now = received_at.timestamp()
        before = self._received_at.get(identity)
        if before is not None and abs(now - before) < window.total_seconds():
            return False
        self._received_at[identity] = now
        self._order.append((now, identity))
        self._drop(now - max(window, timedelta(seconds=1)).total_seconds() if window else float("-inf"))
        return True

    def forget(self, identities: Iterable[bytes]) -> None:
        """Undo the taking of *identities*, which were not stored after all."""
        for identity in identities:
            self._received_at.pop(identity, None)

    def _drop(self, before: float) -> None:
        order, known = self._order, self._received_at
        while order and (order[0][0] < before or len(order) > _MOST):
            taken_at, identity = order.popleft()
            if known.get(identity) == taken_at:
                del known[identity]
