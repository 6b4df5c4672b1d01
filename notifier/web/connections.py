"""Connections: how many there may be, and for how long each may keep its request to itself.

A client that says nothing, or little by little, costs a file descriptor and memory that pages need. What waits
longest for its client is closed first, so that whoever has something to say finds a place.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Protocol

LONGEST_WAIT = 75.0
"""Seconds within which a request must have come in, from its first byte, or from the connection's opening."""
MAX_HEADERS = 64 * 1024
"""The bytes that a request's line and headers may take."""
_MOST = 2048
_SWEEP = 5.0
"""Seconds between two looks."""


class Connection(Protocol):
    """A connection, as far as it can be ended."""

    def time_out(self) -> None:
        """End it: its request did not come in time."""

    def give_way(self) -> None:
        """End it at once: another needs the place."""

    def is_stuck(self) -> bool:
        """Whether its client does not take the answer."""


def most_connections() -> int:
    """Return how many connections there may be: half of the files that the process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(16, min(_MOST, soft // 2))


class Connections:
    """The connections of one server; belongs to its event loop."""

    def __init__(self, most: int) -> None:
        """Let there be *most*."""
        self.most = most
        self._all: set[Connection] = set()
        self._waiting: dict[Connection, float] = {}  # for their clients, since when; the longest first
        self._is_sweeping = False

    def open(self, connection: Connection, now: float) -> None:
        """Count *connection* in; where there is no place, another gives way to it."""
        if len(self._all) >= self.most:
            oldest = next(iter(self._waiting), None) or next((c for c in self._all if c.is_stuck()), None)
            (oldest or connection).give_way()
            if oldest is None:
                return
            self.receive(oldest)
        self._all.add(connection)
        self.expect(connection, now)

    def expect(self, connection: Connection, now: float) -> None:
        """Begin to wait for a request of *connection*, or anew for the rest of it."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = now
        if not self._is_sweeping:
            self._is_sweeping = True
            self._call_later()

    def await_still(self, connection: Connection, now: float) -> None:
        """Go on to wait for *connection*, or begin to."""
        if connection not in self._waiting:
            self.expect(connection, now)

    def receive(self, connection: Connection) -> None:
        """Wait for nothing of *connection* any more: it is ours to answer, or it is being ended."""
        self._waiting.pop(connection, None)

    def close(self, connection: Connection) -> None:
        """Count *connection* out."""
        self._all.discard(connection)
        self._waiting.pop(connection, None)

    def sweep(self, now: float) -> None:
        """End those whose time is over."""
        for connection, since in list(self._waiting.items()):
            if now - since < LONGEST_WAIT:
                break
            self.receive(connection)
            connection.time_out()
        self._is_sweeping = bool(self._waiting)
        if self._is_sweeping:
            self._call_later()

    def _call_later(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_SWEEP, lambda: self.sweep(loop.time()))
