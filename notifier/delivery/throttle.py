"""Throttling: how many messages a contact gets in a storm, and when the others go as one digest.

The first go one by one. The others wait for a digest: a minute at most while one of them is critical, else longer
after each digest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.config.model import PerContact

CRITICAL = 0
"""The urgency of critical messages."""
SHORTEST_WAIT = timedelta(minutes=1)

_MAX_RESOLUTIONS = 2
"""How many resolutions go one by one at most."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """The number of waiting messages that are sent now, one by one, and when the others are sent as a digest:
    *rest_at* is None if there are no others, and not after now for at once.
    """

    singles: int
    rest_at: datetime | None = None


def burst(limit: PerContact) -> int:
    """Return how many messages go one by one: the limit less one digest a minute, at least half of the limit."""
    return limit.messages - min(limit.messages // 2, math.ceil(limit.per / SHORTEST_WAIT))


def throttle(
    sent: Sequence[datetime],
    waiting: int,
    critical: int,
    limit: PerContact,
    now: datetime,
    critical_since: datetime | None = None,
    digest_at: datetime | None = None,
) -> Throttled:
    """Return which of the messages that wait for a contact go now, and when the rest goes as a digest.

    The last slots are kept for critical messages: they go at once while there are some. After that they wait for a
    minute at most, since there is a digest a minute at most.

    Args:
        sent: when messages went to the contact within the last ``limit.per``, in order.
        waiting: how many messages wait.
        critical: how many of them are critical.
        limit: the limit.
        now: the time.
        critical_since: when the oldest critical one of them was received.
        digest_at: when the last digest was made.
    """
    first, kept = burst(limit), min(max(1, limit.messages // 5), limit.messages - 1)
    has_critical = critical > 0
    room, critical_room = (max(0, slots - len(sent)) for slots in (first, min(first + kept, limit.messages)))
    singles = min(waiting, max(room, min(critical_room, critical)))
    if singles == waiting:
        return Throttled(waiting)
    is_full = len(sent) >= limit.messages
    last = digest_at or (sent[-1] if is_full else None)
    soonest = now if last is None else last + SHORTEST_WAIT
    if critical_since is not None:
        rest_at = max(critical_since + SHORTEST_WAIT, soonest)
        would_fill = len(sent) + singles >= limit.messages and critical_since < now
        if critical > singles and soonest <= now and (rest_at <= now or would_fill):
            # Single messages would use up the limit and delay the digest by another minute.
            return Throttled(0, now)
        return Throttled(singles, rest_at)
    if singles or not sent:
        return Throttled(singles, max(now + SHORTEST_WAIT, soonest))
    if has_critical:
        return Throttled(0, max(sent[-1] + SHORTEST_WAIT, soonest))
    rest_at = sent[-1] + min(limit.per, SHORTEST_WAIT * 2 ** min(max(0, len(sent) - first), 20))
    open_slots = limit.messages - kept
    if len(sent) >= open_slots:
        rest_at = max(rest_at, sent[len(sent) - open_slots] + limit.per)
    return Throttled(0, max(rest_at, soonest))


def resolutions_at(
    count: int, oldest: datetime, digest_at: datetime | None, *, is_anything_held: bool, now: datetime
) -> datetime | None:
    """Return when the resolutions that wait for a contact go as one digest; None if they go one by one.

    In a storm they are collected for a minute: nobody is woken by them.

    Args:
        count: how many wait.
        oldest: when the oldest of them was received.
        digest_at: when the last digest to the contact was made.
        is_anything_held: whether anything is held for the contact.
        now: the time.
    """
    is_storm = count > _MAX_RESOLUTIONS or (is_anything_held and count > 0)
    if not is_storm:
        return None
    soonest = now if digest_at is None else digest_at + SHORTEST_WAIT
    return max(oldest + SHORTEST_WAIT, soonest)
