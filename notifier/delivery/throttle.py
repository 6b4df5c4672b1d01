"""Calm: how many messages a contact gets in a storm, and what becomes of the rest.

The first go as they are. What comes beyond waits and goes as one digest: at most a minute while something
critical is among it, else longer with each one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.config.model import PerContact
from notifier.incidents.lifecycle import urgency
from notifier.sms.encoding import Encoding, encode, measure, shorten

CRITICAL = 0
"""The urgency of what is critical."""
SHORTEST_WAIT = timedelta(minutes=1)

_MOST_RESOLUTIONS = 2
"""How many resolutions go one by one at most."""
_MOST_ENDED = 3
"""How many kinds of resolved alerts a digest names at most."""
_MOST_KINDS = 60
"""How many kinds of alerts a digest names at most; six parts hold no more."""

_WORDS = {
    "en": (
        ("1 more alert: ", "{count} more alerts: "),
        ("resolved 1: ", "resolved {count}: "),
        ("+1 more kind", "+{count} more kinds"),
        "all{code} takes all",
    ),
    "fr": (
        ("1 autre alerte : ", "{count} autres alertes : "),
        ("1 résolue : ", "{count} résolues : "),
        ("+1 autre sorte", "+{count} autres sortes"),
        "tout{code} les prend toutes",
    ),
}
"""How many fire, are over, are not named, each of one and of several; and the reply that acknowledges several."""


@dataclass(frozen=True, slots=True)
class Throttled:
    """How many of those that wait for a contact go now, one by one.

    *rest_at* is when the rest is to go, as one: now or before means at once, None that there is none.
    """

    singles: int
    rest_at: datetime | None = None


def burst(limit: PerContact) -> int:
    """Return how many messages go one by one: what a digest a minute leaves of the limit, at least half of it."""
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
            return Throttled(0, now)  # single messages would take the place of the digest, for a minute more
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
    is_storm = count > _MOST_RESOLUTIONS or (is_anything_held and count > 0)
    if not is_storm:
        return None
    soonest = now if digest_at is None else digest_at + SHORTEST_WAIT
    return max(oldest + SHORTEST_WAIT, soonest)


def digest(digest_entries: Iterable[str | None], language: str, max_parts: int, code: str = "") -> str:
    """Return one text for the messages of these *digest_entries*: how many alerts of which name, most severe first.

    *code* is the reply code to be told, if there is one.
    """
    firing: Counter[tuple[str, str]] = Counter()
    over: Counter[tuple[str, str]] = Counter()
    for digest_entry in digest_entries:
        status, counts = json.loads(digest_entry) if digest_entry else ("firing", [])
        for name, severity, count in counts:
            (firing if status == "firing" else over)[name, severity] += count
    fire, ended, unnamed, takes_all = _WORDS.get(language, _WORDS["en"])
    kinds = _kinds(firing)
    ends = _kinds(over)
    others = _counted(unnamed, len(ends) - _MOST_ENDED) if len(ends) > _MOST_ENDED else ""
    listed = "; ".join(filter(None, (_listed(ends[:_MOST_ENDED]), others)))
    resolved = _counted(ended, over.total()) + listed if over else ""
    for shown in range(min(len(kinds), _MOST_KINDS), -1, -1):
        more = _counted(unnamed, len(kinds) - shown) if shown < len(kinds) else ""
        head = _counted(fire, firing.total()) + _listed(kinds[:shown]) if firing else ""
        hint = takes_all.format(code=f" {code}" if code else "") if firing.total() > 1 else ""
        text = encode("; ".join(filter(None, (head, more, resolved, hint))), Encoding.GSM)
        if measure(text).parts <= max_parts:
            return text
    return shorten(text, max_parts)


def in_full(texts: Sequence[str], most: int) -> str | None:
    """Return the *texts* of messages one after the other, where they take at most *most* parts together.

    None where they do not, or where some are alike and would be taken for one.
    """
    text = "; ".join(texts)
    return text if measure(text).parts <= most and len(set(texts)) == len(texts) else None


def _counted(words: tuple[str, str], count: int) -> str:
    return words[count != 1].format(count=count)


def _kinds(counts: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    found = [(name, severity, count) for (name, severity), count in counts.items()]
    return sorted(found, key=lambda kind: (urgency(kind[1]), -kind[2], kind[0]))


def _listed(kinds: Sequence[tuple[str, str, int]]) -> str:
    """Return *kinds* as a list that names each severity once: ``critical DiskFull 12, InstanceDown; warning X``."""
    parts: list[str] = []
    before = None
    for name, severity, count in kinds:
        word = f"{name} {count}" if count > 1 else name
        if severity != before:
            parts.append(f"{severity} {word}".strip() if not parts else f"; {severity} {word}".rstrip())
        else:
            parts.append(f", {word}")
        before = severity
    return "".join(parts)
