"""Selection: decides for each due message whether it is sent now and by which account, held, expired or merged.

`select` decides on a `Snapshot` of the outbox; it reads and writes nothing. `notifier.store.outbox` reads the
snapshot, and applies the `Selection` to the rows that have not changed since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from notifier.alertmanager.durations import format_duration
from notifier.config.model import CreditLimit, PerContact
from notifier.delivery.accounts import assign_accounts
from notifier.delivery.digest import compose_digest
from notifier.delivery.message import Hold, Job, Message, NewMessage
from notifier.delivery.snapshot import Held, Merged, Selection, Snapshot, Turns
from notifier.delivery.throttle import CRITICAL, SHORTEST_WAIT, Throttled, resolutions_at, throttle
from notifier.ids import new_id
from notifier.incidents.lifecycle import Kind
from notifier.incidents.links import Link, is_linked
from notifier.rendering.compose import LATE_AFTER, say_late
from notifier.rendering.phrases import notice
from notifier.runtime import Runtime
from notifier.sms.encoding import measure

MAX_RECIPIENTS = 500
"""How many recipients a job has at most, by OVHcloud's own advice."""
UNTHROTTLED = frozenset({Kind.ANSWER, Kind.DIGEST})
"""Kinds exempt from `limits.per_contact`: answers to replies, and digests, whose messages have waited already."""

_EXEMPT_FROM_CREDITS = frozenset({Kind.ANSWER, Kind.NOTICE})
"""Kinds that are sent although `limits.credits` is used up, as are critical messages."""
_BEFORE_EXPIRY = timedelta(seconds=30)
_CREDITS_LOOK = timedelta(minutes=1)
"""After this a message that `limits.credits` holds is looked at again."""
_MAX_WRITTEN = 5
"""The number of texts by people that are sent one by one, not in a digest, which would shorten them."""
_MAX_UNCHANGED = 5
"""The number of messages to a number that are sent unchanged, when selecting them keeps failing."""


def gather(due: Sequence[Message], most: int, now: datetime, linked_url: str | None = None) -> list[Job]:
    """Return up to *most* jobs for the *due* messages, oldest first: those of the same text go together.

    A number occurs in a job once; a second message to it with the same text waits for the next. What different
    accounts have refused is kept apart. With *linked_url*, the address of Notifier's pages, a page whose text leaves
    room for it ends with a link, and goes alone, since each recipient has a link of their own.
    """
    links: dict[str, Link] = {}
    groups: dict[tuple[str, frozenset[str], str], dict[str, Message]] = {}
    for message in due:
        link = Link.new(linked_url) if linked_url is not None and may_have_link(message) else None
        has_link = link is not None and measure(message.text + link.ending).parts <= message.parts
        key = message.text, message.refusing, message.id if has_link else ""
        if key not in groups and len(groups) == most:
            continue
        group = groups.setdefault(key, {})
        if len(group) < MAX_RECIPIENTS:
            group.setdefault(message.phone, message)
        if link is not None and has_link:
            links[message.id] = link
    return [
        Job(new_id(now), text, now, tuple(group.values()), link=links.get(id_))
        for (text, _, id_), group in groups.items()
    ]


def may_have_link(message: Message) -> bool:
    """Return whether *message* may end with a link, as far as its text leaves room: nothing of it was refused."""
    return is_linked(message.kind, message.incident_id, message.contact) and not message.reduction


def select(snapshot: Snapshot, runtime: Runtime, turns: Turns) -> Selection:
    """Return the decisions about the messages that are due in *snapshot*.

    Where `Selection.unread` is not empty, the queues of those numbers are to be read into the snapshot, and all of it
    is to be selected again.
    """
    selection, now = Selection(), snapshot.now
    moved = [
        (message, contact.phone)
        for message in snapshot.due
        if (contact := runtime.contacts.get(message.contact)) is not None and contact.phone != message.phone
    ]
    if moved:
        return Selection(readdressed=moved)  # what the new numbers get is decided once they are written
    selection.expired = [message for message in snapshot.due if message.expires_at <= now]
    every = {one.id: one for some in (snapshot.due, *snapshot.queues.values()) for one in some}
    selection.withdrawn = [
        one for one in every.values() if one.id in snapshot.overtaken and one.expires_at > now
    ]
    due = [one for one in snapshot.due if one.expires_at > now and one.id not in snapshot.overtaken]
    limit, used = snapshot.limits.credits, snapshot.usage.parts
    affordable, over_limit = _within_credits(due, limit, used)
    going = _within_contact_limits(snapshot, runtime, affordable, {one.id for one in over_limit}, selection)
    if selection.unread:
        return selection
    # Those of `affordable` that wait spend nothing; those that were held for a digest and go now do.
    going, unpaid = _within_credits(going, limit, used)
    over_limit += unpaid
    _hold_for_credits(snapshot, runtime, over_limit, selection)
    if turns.is_trial:  # messages that failed least come first: a sender may be refused for one message alone
        going = sorted(going, key=lambda message: message.attempts)
    chosen = [mark_late(message, runtime, now) for message in going]
    named = snapshot.limits.accounts
    allowed = _rate_left(snapshot, {*turns.order, *turns.fallback}, selection)
    selection.jobs = assign_accounts(
        gather(chosen, len(turns.order) + len(turns.fallback), now, runtime.configuration.linked_url),
        [named[name] for name in turns.order],
        allowed,
        [named[name] for name in turns.fallback],
    )
    return selection


def select_unchanged(snapshot: Snapshot, account: str) -> Selection:
    """Return jobs by *account* for the first messages of *snapshot*, without limits or digests: the last resort."""
    due = snapshot.due[:_MAX_UNCHANGED]
    expired = [message for message in due if message.expires_at <= snapshot.now]
    jobs = gather([message for message in due if message.expires_at > snapshot.now], len(due), snapshot.now)
    return Selection([replace(job, account=account) for job in jobs], expired)


def is_exempt_from_credits(message: Message) -> bool:
    """Return whether *message* is sent though `limits.credits` is reached."""
    return message.urgency == CRITICAL or message.kind in _EXEMPT_FROM_CREDITS


def mark_late(message: Message, runtime: Runtime, now: datetime) -> Message:
    """Return *message*, with a text that is marked late if it is older than `LATE_AFTER`.

    Resolutions and notices are not marked: a resolution contains its time, and a limit may have held a notice.
    """
    if now - message.received_at < LATE_AFTER or message.kind in (Kind.RESOLVED, Kind.NOTICE):
        return message
    receiver = runtime.configuration.receiver(message.receiver)
    max_parts = max(message.parts, receiver.max_parts if receiver is not None else 1)
    text = say_late(message.text, now - message.received_at, runtime.language(message.contact), max_parts)
    url, parts = runtime.configuration.linked_url, measure(text).parts
    if url is not None and may_have_link(message):
        linked = measure(text + Link.sample(url).ending).parts
        parts = linked if linked <= message.parts else parts
    return replace(message, text=text, parts=parts)


def _rate_left(snapshot: Snapshot, names: Iterable[str], selection: Selection) -> dict[str, int]:
    """Return how many messages each account that has a rate may send now; name those that may send none."""
    allowed = {}
    for name in names:
        account = snapshot.limits.accounts[name]
        rate = snapshot.limits.rates.get(account)
        if rate is None:
            continue
        sent = snapshot.usage.by_account.get(account, ())
        allowed[account] = rate.messages - len(sent)
        if not allowed[account]:
            selection.rate_limited_until[name] = min(sent[-1], snapshot.now) + rate.per
    return allowed


def _within_credits(
    messages: Iterable[Message], limit: CreditLimit | None, used: int
) -> tuple[list[Message], list[Message]]:
    """Return which of *messages* may be paid for and which may not, if *used* parts have been spent."""
    affordable, over_limit = [], []
    for message in messages:
        if limit is None or is_exempt_from_credits(message) or used + message.parts <= limit.amount:
            used += message.parts
            affordable.append(message)
        else:
            over_limit.append(message)
    return affordable, over_limit


def _hold_for_credits(
    snapshot: Snapshot, runtime: Runtime, over_limit: Sequence[Message], selection: Selection
) -> None:
    """Hold the messages that `limits.credits` does not allow, and notify administrators."""
    limit, now = snapshot.limits.credits, snapshot.now
    if limit is None or not over_limit:
        return
    selection.held.append(Held(over_limit, now + _CREDITS_LOOK, Hold.CREDITS))
    notified_at = snapshot.usage.credits_notice_at
    if notified_at is None or not timedelta() <= now - notified_at < limit.per:
        selection.notices = _credits_notices(runtime, limit, now)


def _credits_notices(runtime: Runtime, limit: CreditLimit, now: datetime) -> list[NewMessage]:
    configuration = runtime.configuration
    expires_at = now + configuration.global_.expire_after
    notices = []
    for admin in (runtime.contacts[contact.name] for contact in configuration.contacts if contact.admin):
        text = notice("credits", admin.language, amount=limit.amount, per=format_duration(limit.per))
        parts = measure(text).parts
        new = NewMessage(new_id(now), admin.name, admin.phone, text, parts, expires_at, Kind.NOTICE)
        notices.append(new)
    return notices


def _within_contact_limits(
    snapshot: Snapshot,
    runtime: Runtime,
    due: list[Message],
    over_limit: Collection[str],
    selection: Selection,
) -> list[Message]:
    """Return which messages `limits.per_contact` allows now; the others are held, or merged into digests.

    Those are of *due*, or of those that were held for a digest, but never of the ids *over_limit*.
    """
    limit = snapshot.limits.per_contact
    if limit is None:
        return due
    going = [message for message in due if message.kind in UNTHROTTLED]
    by_phone: dict[str, list[Message]] = {}
    for message in due:
        if message.kind not in UNTHROTTLED:
            by_phone.setdefault(message.phone, []).append(message)
    left_out = snapshot.overtaken.union(over_limit)
    for phone, waiting in by_phone.items():
        if phone not in snapshot.backlogs:
            continue
        queue = None
        if phone in snapshot.queues:
            queue = [one for one in snapshot.queues[phone] if one.id not in left_out]
        others = _throttle_resolutions(snapshot, runtime, waiting, queue, selection)
        if others and phone not in selection.unread:
            going += _throttle(snapshot, runtime, others, queue, limit, selection)
    return going


def _throttle_resolutions(
    snapshot: Snapshot,
    runtime: Runtime,
    waiting: list[Message],
    queue: list[Message] | None,
    selection: Selection,
) -> list[Message]:
    """Return which of the messages *waiting*, due to one number, are throttled like others.

    Returns all of them, except resolutions in a storm, which are held and sent as one digest. *queue* holds every
    message that waits for the number; None if it was not read.
    """
    phone, now = waiting[0].phone, snapshot.now
    resolved = [message for message in waiting if message.kind == Kind.RESOLVED]
    if not resolved:
        return waiting
    oldest = min(message.received_at for message in resolved)
    has_held = snapshot.backlogs[phone].has_held
    at = resolutions_at(
        len(resolved), oldest, snapshot.digests.get(phone), is_anything_held=has_held, now=now
    )
    if at is None:
        return waiting
    others = [message for message in waiting if message.kind != Kind.RESOLVED]
    if at > now:
        selection.held.append(Held(resolved, at, Hold.DIGEST))
        return others
    if queue is None:
        selection.unread.add(phone)
        return []
    every = [message for message in queue if message.kind == Kind.RESOLVED]
    if any(message.urgency == CRITICAL and message.kind != Kind.RESOLVED for message in queue):
        # A digest of the critical messages includes these; a digest of resolutions alone would delay it by a minute.
        selection.held.append(Held(resolved, now + SHORTEST_WAIT, Hold.DIGEST))
    elif len(every) == 1:
        return waiting
    elif every:  # else another replica took them
        selection.merged.append(Merged(compose_digest(every, runtime, now), every))
    return others


def _throttle(
    snapshot: Snapshot,
    runtime: Runtime,
    waiting: list[Message],
    queue: list[Message] | None,
    limit: PerContact,
    selection: Selection,
) -> list[Message]:
    """Return the messages to one number that go now; *waiting* are those that are due.

    *queue* is all that waits for the number; None if it was not read, which is needed only where not all of *waiting*
    may go and some of the queue goes now.
    """
    phone, now = waiting[0].phone, snapshot.now
    if queue is not None:
        merged = {message.id for one in selection.merged for message in one.messages}
        queue = [message for message in queue if message.id not in merged]
        if not queue:
            return []  # another replica took them
    counted = waiting if queue is None else queue
    since = [message.received_at for message in counted if message.urgency == CRITICAL]
    has_critical_held = queue is None and snapshot.backlogs[phone].has_critical_held
    throttled = throttle(
        snapshot.usage.by_phone[phone],
        len(counted),
        len(since) or int(has_critical_held),
        limit,
        now,
        min(since, default=None),
        snapshot.digests.get(phone),
    )
    throttled = _before_expiry(throttled, min(message.expires_at for message in counted))
    if throttled.rest_at is None:
        return counted
    if queue is None:
        if throttled.singles or throttled.rest_at <= now:
            selection.unread.add(phone)
        else:
            selection.held.append(Held(waiting, throttled.rest_at, Hold.DIGEST))
        return []
    singles, rest = queue[: throttled.singles], queue[throttled.singles :]
    if throttled.rest_at > now:
        selection.held.append(Held(rest, throttled.rest_at, Hold.DIGEST))
        return singles
    written = [message for message in rest if message.kind == Kind.TEXT][:_MAX_WRITTEN]
    rest = [message for message in rest if message not in written]
    if len(rest) <= 1:
        return queue
    selection.merged.append(Merged(compose_digest(rest, runtime, now), rest))
    return [*singles, *written]


def _before_expiry(throttled: Throttled, first_expiry: datetime) -> Throttled:
    """Return *throttled*, but so that the rest goes before the first of the messages expires."""
    if throttled.rest_at is None:
        return throttled
    return replace(throttled, rest_at=min(throttled.rest_at, first_expiry - _BEFORE_EXPIRY))
