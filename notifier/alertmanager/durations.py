"""Durations as Prometheus writes them: ``30s``, ``1h30m``, ``7d``, ``0``.

Source: ``ParseDuration`` of prometheus/common ``model/time.go``. A day is 24 hours, a week 7 days, a
year 365 days; units come from the largest to the smallest, each at most once.
"""

from __future__ import annotations

import re
from datetime import timedelta

PATTERN = r"^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$"

_UNITS = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = re.compile(PATTERN, re.ASCII)
_TERM = re.compile(r"([0-9]+)(ms|[ywdhms])", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """Return the duration that *text* names.

    Raises:
        ValueError: *text* is no duration of Prometheus' syntax, or is longer than 292 years, the most
            that Prometheus holds.
    """
    if not text or not _DURATION.fullmatch(text):
        raise ValueError(f'"{text}" is not a duration; write it as Prometheus does: 30s, 10m, 1h30m or 7d')
    try:
        total = sum((int(n) * _UNITS[unit] for n, unit in _TERM.findall(text)), timedelta())
    except OverflowError:
        total = timedelta.max
    if total > timedelta(days=365 * 292):
        raise ValueError(f'"{text}" is longer than 292 years')
    return total


def format_duration(duration: timedelta) -> str:
    """Write *duration* as Prometheus does, to the millisecond; what `parse_duration` reads back.

    Weeks and years are used only where they are exact (``7d`` is ``1w``, ``8d`` stays ``8d``).
    """
    left = duration // timedelta(milliseconds=1)
    if left == 0:
        return "0s"
    parts = []
    for unit, length in _UNITS.items():
        milliseconds = length // timedelta(milliseconds=1)
        if unit in ("y", "w") and left % milliseconds:
            continue
        count, left = divmod(left, milliseconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def brief_duration(duration: timedelta) -> str:
    """Write *duration* for a person in a hurry, by its two largest units: ``45s``, ``12m``, ``3h05m``, ``2d4h``."""
    seconds = max(0, int(duration.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 1:
        return f"{seconds}s"
    if hours < 1:
        return f"{minutes}m"
    if days < 1:
        return f"{hours}h{minutes % 60:02d}m" if minutes % 60 else f"{hours}h"
    return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
