"""Whether pages go out, and for how long they can."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.alertmanager.durations import brief_duration
from notifier.store.ledger import LedgerMessage, Spent

_DAY = timedelta(days=1)
LATE = timedelta(minutes=1)
"""For so long a message may be under way before that is told."""


@dataclass(frozen=True, slots=True)
class Going:
    """Whether pages go out: *kind* is good, warn or bad, *answer* the word for it, *why* what speaks against it."""

    kind: str
    answer: str
    why: tuple[str, ...] = ()


def going(
    outage: str | None,
    warnings: tuple[str, ...],
    waiting: LedgerMessage | None,
    now: datetime,
    *,
    is_hindered: bool,
) -> Going:
    """Return whether pages go out.

    Args:
        outage: why webhooks are not taken.
        warnings: what is known to hinder sending.
        waiting: the message that has been under way for longest, or has failed already.
        now: the time.
        is_hindered: whether no account can send.
    """
    if outage is not None:
        return Going("bad", "No", (f"webhooks are not taken: {outage}", *warnings))
    if is_hindered:
        return Going("bad", "No", warnings)
    if waiting is not None:
        age = brief_duration(max(timedelta(seconds=1), now - waiting.created_at))
        tries = f", after {_attempts(waiting.attempts)}" if waiting.attempts else ""
        error = f": {waiting.error}" if waiting.error else ""
        return Going("bad", "Late", (f"a message has waited for {age}{tries}{error}", *warnings))
    return Going("warn", "Yes, but", warnings) if warnings else Going("good", "Yes")


def _attempts(number: int) -> str:
    return f"{number} attempt{'' if number == 1 else 's'}"


def lasts(credits_left: float | None, spent: Spent | None, now: datetime, most: timedelta) -> str | None:
    """Return for how long *credits_left* last at the rate of what was *spent* within *most*; None if not to be told.

    Where the first was spent later than *most* ago, the rate is that since then, but of a day at least.
    """
    if credits_left is None or spent is None or spent.credits <= 0:
        return None
    over = min(most, max(_DAY, now - spent.since))
    days = math.floor(credits_left / (spent.credits / (over / _DAY)))
    span = "last day" if over == _DAY else f"last {math.ceil(over / _DAY)} days"
    return (
        f"more than a year at the rate of the {span}"
        if days > 365
        else f"about {days} days at the rate of the {span}"
    )
