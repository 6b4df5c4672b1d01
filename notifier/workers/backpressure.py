"""Backpressure: webhooks are answered first; during a storm, other work is limited to a share of the time.

Everything shares one interpreter. While webhooks pour in, planning and sending are held to a share of
its time; that share still sends more messages than OVHcloud takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_CROWD = 4
"""So many webhooks waiting for their answers at once are a crowd."""
_LINGER = 0.05
"""Seconds for which backpressure stays high after a crowd was last seen."""
_SHARE = 0.08
"""The share of one core that other work is held to in a crowd."""
_LONGEST_WAIT = 0.5


class Backpressure:
    """How busy the intake is, and who waits for it."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        thread_time: Callable[[], float] = time.thread_time,
    ) -> None:
        """Begin without any."""
        self.waiting = 0
        """How many webhooks wait for their answers; counted by the event loop alone."""
        self._crowded_at = float("-inf")
        self._free_at = 0.0
        self._lock = threading.Lock()
        self._monotonic, self._sleep, self._thread_time = monotonic, sleep, thread_time

    def enter(self) -> None:
        """Count a webhook in."""
        self.waiting += 1
        if self.waiting >= _CROWD:
            self._crowded_at = self._monotonic()

    def leave(self) -> None:
        """Count a webhook out."""
        self.waiting -= 1

    @property
    def is_high(self) -> bool:
        """Whether there is a crowd now, or was a moment ago."""
        return self._monotonic() - self._crowded_at < _LINGER

    @contextmanager
    def limited_share(self) -> Iterator[None]:
        """Do a piece of work, and afterwards wait as long as it must to keep to its share."""
        start = self._thread_time()
        try:
            yield
        finally:
            if self.is_high:
                self._wait_for(self._thread_time() - start)

    def _wait_for(self, spent: float) -> None:
        now = self._monotonic()
        with self._lock:
            self._free_at = min(max(self._free_at, now) + spent / _SHARE, now + _LONGEST_WAIT)
            wait = self._free_at - now
        self._sleep(wait)
