"""Identifiers: 20 characters that sort by the time they were made, so that they index well and read aloud.

Ten characters of milliseconds and ten of chance (50 bits) in Crockford's base 32. As OVHcloud's ``tag``
takes up to 20 characters, the same form names jobs.
"""

from __future__ import annotations

import random
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = tuple(high + low for high in _ALPHABET for low in _ALPHABET)


def new_id(now: datetime) -> str:
    """Return a unique identifier for *now*: unique, but no secret."""
    time, chance, pair = int(now.timestamp() * 1000), random.getrandbits(50), _PAIRS
    return (
        pair[time >> 40 & 1023]
        + pair[time >> 30 & 1023]
        + pair[time >> 20 & 1023]
        + pair[time >> 10 & 1023]
        + pair[time & 1023]
        + pair[chance >> 40]
        + pair[chance >> 30 & 1023]
        + pair[chance >> 20 & 1023]
        + pair[chance >> 10 & 1023]
        + pair[chance & 1023]
    )


def first_id(instant: datetime) -> str:
    """Return what no identifier made at *instant* or later sorts before."""
    time = int(instant.timestamp() * 1000)
    return "".join(_PAIRS[time >> shift & 1023] for shift in (40, 30, 20, 10, 0)) + "0" * 10


def same_moment(one: str, other: str) -> bool:
    """Return whether two identifiers were made in the same millisecond."""
    return one[:10] == other[:10]
