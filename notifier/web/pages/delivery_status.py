"""The status of delivery, and how long the credits last."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from notifier.store.ledger import LedgerMessage, Spent
from notifier.web.pages.context import PageContext
from notifier.web.pages.moments import Viewer, spelled
from notifier.web.pages.words import ENGLISH, Words

_DAY = timedelta(days=1)
_YEAR = 365
LATE = timedelta(minutes=1)
"""A message that is under way for longer is late."""
DOWN = timedelta(minutes=5)
"""Delivery is down if a message is under way for longer, and none was accepted within this time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of delivery in a sentence; *detail* is what OVHcloud or the database said, in its own words."""

    text: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """The status of delivery: *kind* is good, warn or bad, *word* its word; the worst of *problems* comes first."""

    kind: str
    word: str
    problems: tuple[Problem, ...] = ()


def delivery_status(
    outage: str | None,
    warnings: tuple[str, ...],
    waiting: LedgerMessage | None,
    now: datetime,
    words: Words = ENGLISH,
    *,
    is_hindered: bool,
    is_accepting: bool = True,
) -> DeliveryStatus:
    """Return the status of delivery.

    Args:
        outage: why webhooks are not taken.
        warnings: the known problems of sending.
        waiting: the message that has been under way for longest, or has failed already.
        now: the time.
        words: the language.
        is_hindered: whether no account can send.
        is_accepting: whether a message was accepted lately.
    """
    known = tuple(map(Problem, warnings))
    if outage is not None:
        refused = words("Webhooks are refused, so that Alertmanager keeps and repeats them.")
        return DeliveryStatus("bad", "down", (Problem(refused, outage), *known))
    if is_hindered:
        return DeliveryStatus("bad", "down", (Problem(words("No account can send.")), *known))
    if waiting is not None:
        age = now - waiting.created_at
        text = words("A message has waited for %(time)s.", time=spelled(age, words))
        if waiting.attempts:
            one, many = "%(num)s attempt has failed.", "%(num)s attempts have failed."
            text += " " + words.plural(one, many, waiting.attempts)
        word = "down" if age > DOWN and not is_accepting else "degraded"
        return DeliveryStatus("bad", word, (Problem(text, waiting.error or ""), *known))
    return DeliveryStatus("warn", "degraded", known) if known else DeliveryStatus("good", "working")


def current_status(context: PageContext, viewer: Viewer) -> DeliveryStatus:
    """Return the status of delivery for *viewer*."""
    ready, ledger = context.readiness(), context.store.ledger
    waiting, is_accepting = None, True
    if ready.outage is None:
        waiting = ledger.waiting_longest(viewer.now, LATE)
        if waiting is not None:
            is_accepting = ledger.is_any_accepted(viewer.now - DOWN)
            waiting = replace(waiting, error=context.redaction.hide(waiting.error or ""))
    return delivery_status(
        ready.outage,
        ready.warnings,
        waiting,
        viewer.now,
        viewer.words,
        is_hindered=ready.is_hindered,
        is_accepting=is_accepting,
    )


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
