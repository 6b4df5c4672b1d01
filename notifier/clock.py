"""The time, passed to whatever needs it, so that tests can move it by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]
"""Returns the present time, aware."""


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


def elapsed() -> float:
    """Return seconds since some moment, which pass while the machine is suspended, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


CLOCK_STEP = timedelta(minutes=1)
"""A time further ahead than this is from before the clock was set back: the clocks of replicas differ by less."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""The times that are kept. Every time zone can show them, and every engine can store them."""


def clamp(instant: datetime) -> datetime:
    """Return *instant* (UTC if it has no zone), or the nearest time from `EARLIEST` to `LATEST`."""
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return min(max(aware, EARLIEST), LATEST)


def is_known(instant: datetime) -> bool:
    """Return whether *instant* is a real time, not a placeholder for a missing one."""
    return EARLIEST < instant < LATEST
