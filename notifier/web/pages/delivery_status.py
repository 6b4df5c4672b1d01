"""The status of delivery, and how long the credits last."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.alertmanager.durations import brief_duration
from notifier.store.ledger import LedgerMessage, Spent
from notifier.web.pages.context import PageContext
from notifier.web.pages.moments import counted
from notifier.web.pages.words import ENGLISH, Words

_DAY = timedelta(days=1)
_YEAR = 365
LATE = timedelta(minutes=1)
"""A message that is under way for longer is late."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The status of delivery: *kind* is good, warn or bad, *word* its word, *reasons* are the problems."""

    kind: str
    word: str
    reasons: tuple[str, ...] = ()


def delivery_status(
    outage: str | None,
    warnings: tuple[str, ...],
    waiting: LedgerMessage | None,
    now: datetime,
    *,
    is_hindered: bool,
) -> DeliveryStatus:
    """Return the status of delivery.

    Args:
        outage: why webhooks are not taken.
        warnings: the known problems of sending.
        waiting: the message that has been under way for longest, or has failed already.
        now: the time.
        is_hindered: whether no account can send.
    """
    if outage is not None:
        return DeliveryStatus("bad", "down", (f"webhooks are refused: {outage}", *warnings))
    if is_hindered:
        # An account may be paused after the warnings were read: they do not name it yet.
        return DeliveryStatus("bad", "down", warnings or ("no account can send",))
    if waiting is not None:
        age = brief_duration(max(timedelta(seconds=1), now - waiting.created_at))
        tries = f", after {counted(waiting.attempts, 'attempt')}" if waiting.attempts else ""
        error = f": {waiting.error}" if waiting.error else ""
        return DeliveryStatus("bad", "late", (f"a message has waited for {age}{tries}{error}", *warnings))
    return DeliveryStatus("warn", "degraded", warnings) if warnings else DeliveryStatus("good", "working")


def current_status(context: PageContext, now: datetime) -> DeliveryStatus:
    """Return the status of delivery at *now*."""
    ready = context.readiness()
    waiting = None
    if ready.outage is None:
        waiting = context.store.ledger.waiting_longest(now, LATE)
        if waiting is not None and waiting.error is not None:
            waiting = replace(waiting, error=context.redaction.hide(waiting.error))
    return delivery_status(ready.outage, ready.warnings, waiting, now, is_hindered=ready.is_hindered)


def lasts(
    credits_left: float | None,
    spent: Spent | None,
    now: datetime,
    most: timedelta,
    words: Words = ENGLISH,
) -> str | None:
    """Return how long *credits_left* last at the rate of what was *spent* within *most*; None if it is unknown.

    Where the first was spent later than *most* ago, the rate is that since then, but of a day at least.
    """
    if credits_left is None or spent is None or spent.credits <= 0:
        return None
    over = min(most, max(_DAY, now - spent.since))
    left, days = math.floor(credits_left / (spent.credits / (over / _DAY))), math.ceil(over / _DAY)
    span = "last day" if over == _DAY else "last %(days)s days"
    amount = "more than a year" if left > _YEAR else "about %(left)s days"
    return words(f"{amount} at the rate of the {span}", left=left, days=days)
