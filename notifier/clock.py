"""The time, passed to whatever needs it, so that tests can move it by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present time, aware."""


def utc_now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)
