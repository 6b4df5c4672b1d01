"""Snapshots: reads the part of the outbox that a selection needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, case, exists, func, or_, select, true

from notifier.delivery.message import FAILED, Hold, Message, MessageState
from notifier.delivery.selection import MAX_RECIPIENTS, UNTHROTTLED
from notifier.delivery.snapshot import Backlog, Limits, Snapshot, Usage
from notifier.delivery.throttle import CRITICAL, SHORTEST_WAIT
from notifier.incidents.lifecycle import PAGING, IncidentState, Kind, Reason
from notifier.store.database import Tables
from notifier.store.messages import OF_INCIDENTS, WITH_INCIDENT, chunks
from notifier.store.schema import IS_WAITING, events, jobs, messages
from notifier.store.timestamps import get_timestamp

CREDITS_NOTICE = "credits-told"
"""The name of the time at which administrators were last notified that `limits.credits` is reached."""
_SKEW = timedelta(seconds=5)
"""By how much the clocks of replicas may differ."""
_SENT = (
    MessageState.SENDING,
    MessageState.UNSETTLED,
    MessageState.ACCEPTED,
    MessageState.DELIVERED,
    MessageState.UNDELIVERED,
)
"""The states of a message that limits count as sent."""

_IS_SENDABLE = or_(
    messages.c.refused_by.is_(None),
    messages.c.refused_by.not_in(bindparam("blocked", expanding=True)),
)
_DUE = (
    select(*WITH_INCIDENT)
    .select_from(OF_INCIDENTS)
    .where(
        IS_WAITING,
        messages.c.due_at <= bindparam("now"),
        messages.c.phone.not_in(bindparam("without", expanding=True)),
        _IS_SENDABLE,
    )
    .order_by(messages.c.due_at, messages.c.id)
    .limit(bindparam("most"))
)
_DUE_TO = _DUE.where(messages.c.phone == bindparam("phone"))
_IS_HELD = (messages.c.state == MessageState.HELD) & (messages.c.held_for == Hold.DIGEST)
_IS_IN_QUEUE = and_(
    IS_WAITING,
    or_(messages.c.due_at <= bindparam("now"), _IS_HELD),  # not: retried later, or held for credits
    _IS_SENDABLE,
    messages.c.kind.not_in([str(kind) for kind in UNTHROTTLED]),
    messages.c.expires_at > bindparam("now"),
)
"""Whether a message is due or held for a digest, and a digest may hold it."""
_BACKLOGS = (
    select(
        messages.c.phone,
        func.max(case((_IS_HELD, 1), else_=0)),
        func.max(case((_IS_HELD & (messages.c.urgency == CRITICAL), 1), else_=0)),
    )
    .where(messages.c.phone.in_(bindparam("phones", expanding=True)), _IS_IN_QUEUE)
    .group_by(messages.c.phone)
)
_SENT_TO = (
    select(messages.c.phone, messages.c.sent_at)
    .where(
        messages.c.phone.in_(bindparam("phones", expanding=True)),
        messages.c.kind != Kind.ANSWER,
        messages.c.state.in_(_SENT),
        messages.c.sent_at > bindparam("since"),
    )
    .order_by(messages.c.sent_at)
)
_DIGESTS = (
    select(messages.c.phone, func.max(messages.c.created_at))
    .where(
        messages.c.phone.in_(bindparam("phones", expanding=True)),
        messages.c.kind == Kind.DIGEST,
        messages.c.created_at > bindparam("since"),
    )
    .group_by(messages.c.phone)
)
_QUEUE = (
    select(*WITH_INCIDENT)
    .select_from(OF_INCIDENTS)
    .where(messages.c.phone == bindparam("phone"), _IS_IN_QUEUE)
    .order_by(messages.c.urgency, messages.c.created_at, messages.c.id)
)


class Snapshots(Tables):
    """Reads the outbox for a selection."""

    def snapshot(
        self,
        now: datetime,
        limits: Limits,
        room: int,
        *,
        phone: str | None = None,
        without: Collection[str] = (),
        blocked: Collection[str] = (),
    ) -> Snapshot:
        """Return the outbox at *now*.

        Args:
            now: the time.
            limits: the limits that the selection is to keep to.
            room: how many jobs may begin.
            phone: the number whose messages are wanted; None for all.
            without: numbers whose messages are left out.
            blocked: values of `Message.refused_by` with which messages are left out.

        Raises:
            StoreUnavailable: it cannot be read now.
        """
        most = room * 4 + 16
        given = {"now": now, "without": list(without), "blocked": list(blocked)}
        statement = _DUE
        if phone is not None:
            statement, given = _DUE_TO, given | {"phone": phone}
        with self._database.reading() as connection:
            due = _messages(connection.execute(statement, given | {"most": most}))
            if len(due) == most and due[-1].text in {message.text for message in due[:room]}:
                most += 2 * MAX_RECIPIENTS  # those of the same text are sent together
                due = _messages(connection.execute(statement, given | {"most": most}))
            snapshot = Snapshot(now, limits, due, is_cut=len(due) == most, blocked=blocked)
            if not due:
                return snapshot
            phones = {message.phone for message in due if message.kind not in UNTHROTTLED}
            usage = read_usage(connection, limits, phones, now)
            if limits.per_contact is None or not phones:
                return replace(snapshot, usage=usage, overtaken=_overtaken(connection, due))
            backlogs = connection.execute(
                _BACKLOGS, {"phones": list(phones), "now": now, "blocked": list(blocked)}
            )
            digests = connection.execute(_DIGESTS, {"phones": list(phones), "since": now - SHORTEST_WAIT})
            return replace(
                snapshot,
                usage=usage,
                backlogs={phone: Backlog(bool(held), bool(critical)) for phone, held, critical in backlogs},
                digests={row[0]: row[1] for row in digests},
                overtaken=_overtaken(connection, due),
            )

    def with_queues(self, snapshot: Snapshot, phones: Iterable[str]) -> Snapshot:
        """Return *snapshot* with all messages that wait for each of *phones* and could be sent.

        Raises:
            StoreUnavailable: they cannot be read now.
        """
        given = {"now": snapshot.now, "blocked": list(snapshot.blocked)}
        with self._database.reading() as connection:
            queues = {
                phone: _messages(connection.execute(_QUEUE, given | {"phone": phone})) for phone in phones
            }
            read = [message for queue in queues.values() for message in queue]
            overtaken = snapshot.overtaken | _overtaken(connection, read)
        return replace(snapshot, queues=queues, overtaken=overtaken)


def _messages(rows: Iterable[Row[Any]]) -> list[Message]:
    return [Message(**row._mapping) for row in rows]


def read_usage(connection: Connection, limits: Limits, phones: Collection[str], now: datetime) -> Usage:
    """Return the usage of *limits*: messages to *phones* and by accounts with a rate, and credits."""
    by_phone: dict[str, list[datetime]] = {}
    by_account: dict[str, list[datetime]] = {}
    parts, notice_at = 0, None
    if limits.per_contact is not None and phones:
        by_phone = {phone: [] for phone in phones}
        given = {"phones": list(phones), "since": now - limits.per_contact.per}
        for phone, at in connection.execute(_SENT_TO, given):
            by_phone[phone].append(at)
    for account, rate in limits.rates.items():
        statement = (
            select(messages.c.sent_at)
            .join(jobs, jobs.c.tag == messages.c.tag)
            .where(
                messages.c.sent_at > now - rate.per,
                messages.c.sent_at <= now + _SKEW,  # not what was sent by a clock that was ahead
                jobs.c.account == account,
            )
            .order_by(messages.c.sent_at.desc())
            .limit(rate.messages)
        )
        by_account[account] = list(connection.execute(statement).scalars())
    if limits.credits is not None:
        used = select(func.coalesce(func.sum(messages.c.parts), 0)).where(
            messages.c.sent_at > now - limits.credits.per, messages.c.state.in_(_SENT)
        )
        parts = int(connection.execute(used).scalar_one())
        notice_at = get_timestamp(connection, CREDITS_NOTICE)
    return Usage(by_phone, by_account, parts, notice_at)


def _overtaken(connection: Connection, waiting: Sequence[Message]) -> frozenset[str]:
    """Return the ids of those *waiting* that need not be sent any more.

    Pages and reminders need not be sent once the incident is acknowledged, nor pages, reminders and updates once it is
    resolved and the recipient is notified of that, or a person has closed it.
    """
    ended = [
        message.id
        for message in waiting
        if message.kind in PAGING and message.incident_state == IncidentState.RESOLVED
    ]
    taken = [
        message.id
        for message in waiting
        if message.kind in (Kind.PAGE, Kind.REMINDER) and message.incident_state == IncidentState.ACKNOWLEDGED
    ]
    if not ended and not taken:
        return frozenset()
    end, other = messages.alias("end"), messages.alias("other")
    has_resolution = exists().where(
        end.c.incident_id == messages.c.incident_id,
        end.c.phone == messages.c.phone,
        end.c.kind == Kind.RESOLVED,
        end.c.state.not_in(FAILED),
    )
    is_closed = exists().where(
        events.c.incident_id == messages.c.incident_id, events.c.kind == Reason.CLOSED
    )  # by a person, of which the others were notified
    stands_for_others = exists().where(other.c.merged_into == messages.c.id)
    found: set[str] = set()
    for ids, is_enough in ((ended, or_(has_resolution, is_closed)), (taken, true())):
        for some in chunks(ids):
            statement = select(messages.c.id).where(messages.c.id.in_(some), is_enough, ~stands_for_others)
            found |= set(connection.execute(statement).scalars())
    return frozenset(found)
