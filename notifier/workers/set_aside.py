"""Items that a worker failed to process: they wait for their next attempt, and delay no others.

An item is anything with an id: a webhook, an incident, a phone number, a message. It is kept in memory alone: after a
restart, each item is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from notifier.store.engine import StoreUnavailable

T = TypeVar("T")

MAX_ATTEMPTS = 3
"""After this many failures an item is paged by built-in means; a reply is given up, a receipt tried on."""
_FIRST_WAIT = timedelta(seconds=1)
_LONGEST_WAIT = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Failed:
    """An item that failed `attempts` times, why it failed last, and when it is tried again."""

    attempts: int
    error: str
    retry_at: datetime


class SetAside:
    """The items of one worker. Any thread may read them."""

    def __init__(self) -> None:
        """Hold no item."""
        self._items: dict[str, Failed] = {}
        self._lock = threading.Lock()

    def add(self, item: str, error: Exception, now: datetime) -> int:
        """Record that `item` failed at `now`; return how often it has failed.

        It waits for a second, and for twice as long after each further failure.
        """
        with self._lock:
            attempts = self._items[item].attempts + 1 if item in self._items else 1
            wait = min(_FIRST_WAIT * (1 << min(attempts - 1, 10)), _LONGEST_WAIT)
            self._items[item] = Failed(attempts, f"{type(error).__name__}: {error}"[:200], now + wait)
            return attempts

    def discard(self, item: str) -> None:
        """Remove `item`: it was processed, or given up."""
        with self._lock:
            self._items.pop(item, None)

    def waiting(self, now: datetime) -> set[str]:
        """Return the items whose next attempt is not due. After the clock was set back, all are tried."""
        with self._lock:
            return {
                item for item, failed in self._items.items() if now < failed.retry_at <= now + _LONGEST_WAIT
            }

    def __len__(self) -> int:
        """Return how many items there are."""
        return len(self._items)

    def items(self) -> dict[str, Failed]:
        """Return all items with their failures."""
        with self._lock:
            return dict(self._items)


def isolate(
    items: Sequence[T], process: Callable[[Sequence[T]], None], failed: Callable[[T, Exception], None]
) -> None:
    """Process `items` together; if that fails, process each alone, so that one bad item delays no others.

    Args:
        items: the items to process.
        process: processes some of them, in one transaction or not at all.
        failed: is called with each item that fails alone, and its error.

    Raises:
        StoreUnavailable: the store cannot be used; no item is to blame.
    """
    try:
        process(items)
    except StoreUnavailable:
        raise
    except Exception as error:  # whatever is wrong, it is about an item: find out which
        if len(items) == 1:
            failed(items[0], error)
            return
        for item in items:
            isolate([item], process, failed)
