"""The ledger: the whole history of a message, from its webhook to who acknowledged it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, bindparam, func, or_, select, type_coerce

from notifier.delivery.message import UNDER_WAY, MessageState
from notifier.incidents.lifecycle import PAGING, Incident
from notifier.store.calls import Call, CallStore
from notifier.store.database import Database
from notifier.store.fallbacks import FallbackAttempt, FallbackStore
from notifier.store.incidents import HappenedEvent, Incidents
from notifier.store.messages import chunks, selected
from notifier.store.schema import (
    attempts,
    from_microseconds,
    jobs,
    messages,
    notifications,
    sql_literal,
    webhooks,
)

_QUARTER = 15 * 60 * 1_000_000
"""Of an hour, in microseconds."""


@dataclass(frozen=True, slots=True)
class LedgerMessage:
    """A message, as it stands."""

    id: str
    kind: str
    receiver: str
    contact: str
    phone: str
    text: str
    parts: int
    state: str
    created_at: datetime
    received_at: datetime
    due_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    finished_at: datetime | None
    delivered_at: datetime | None
    receipt_at: datetime | None
    receipt: int | None
    ptt: int | None
    attempts: int
    ovh_id: int | None
    error: str | None
    step: int | None
    incident_id: str | None
    notification_id: str | None
    merged_into: str | None
    held_for: str | None
    credits: float | None
    tag: str | None
    author: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to send it: the job's tag at OVHcloud, the text that was sent, and its outcome."""

    tag: str
    at: datetime
    answered_at: datetime | None
    state: str
    text: str
    error: str | None
    query_id: str | None
    account: str
    is_looked_up: bool
    """Whether its answer was lost: OVHcloud was asked whether it had accepted it, until *answered_at*."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """An attempt that failed, and why."""

    at: datetime
    error: str
    is_accepted: bool = False
    """Whether OVHcloud had accepted it: its answer was lost, and it was asked."""


@dataclass(frozen=True, slots=True)
class Paged:
    """Who was paged, and the state and error of the message, or of the digest that it went out in."""

    contact: str
    phone: str
    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class Spent:
    """The credits spent (a part counts as one if its cost is unknown), and when the first was spent."""

    credits: float
    since: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """The webhook of a message, and the notification of its receiver."""

    webhook_id: str
    received_at: datetime
    planned_at: datetime | None
    posted_to: str | None
    notification_id: str
    receiver: str
    status: str
    group_key: str
    alerts: int
    muted_by: str | None


@dataclass(frozen=True, slots=True)
class MessageDetails:
    """All that is known of a message."""

    message: LedgerMessage
    origin: Origin | None
    attempts: tuple[Attempt, ...]
    merged: tuple[LedgerMessage, ...]
    """The messages that were merged into it."""
    digest: LedgerMessage | None
    """The digest that it was merged into."""
    incident: Incident | None
    events: tuple[HappenedEvent, ...]
    fallbacks: tuple[FallbackAttempt, ...] = ()
    """The attempts to send it, or its digest, through a second channel."""
    call: Call | None = None
    """The phone call to its recipient."""

    @property
    def sent(self) -> LedgerMessage:
        """The message that is sent for it: the digest that it was merged into, or itself. The attempts are its."""
        return self.digest or self.message


_COLUMNS = tuple(messages.c[field.name] for field in fields(LedgerMessage))


_IS_ACCEPTED = (jobs.c.tag == messages.c.tag) & messages.c.ovh_id.is_not(None)


_OF_JOB = [
    jobs.c[name]
    for name in ("tag", "attempted_at", "answered_at", "state", "text", "error", "query_id", "account")
] + [or_(jobs.c.listing_grace > 0, jobs.c.settle_attempts > 0)]
_ATTEMPTS = (
    select(*_OF_JOB)
    .join(attempts, attempts.c.tag == jobs.c.tag)
    .where(attempts.c.message_id == bindparam("message"))
    .order_by(jobs.c.tag)
)
_ORIGIN = (
    select(
        webhooks.c.id,
        webhooks.c.received_at,
        webhooks.c.planned_at,
        webhooks.c.posted_to,
        notifications.c.id,
        notifications.c.receiver,
        notifications.c.status,
        notifications.c.group_key,
        notifications.c.alerts,
        notifications.c.muted_by,
    )
    .join(notifications, notifications.c.webhook_id == webhooks.c.id)
    .where(notifications.c.id == bindparam("notification"))
)


class Ledger:
    """The messages of a database, with all that belongs to them."""

    def __init__(
        self, database: Database, incidents: Incidents, fallbacks: FallbackStore, calls: CallStore
    ) -> None:
        """Read *database*."""
        self._database = database
        self._incidents = incidents
        self._fallbacks = fallbacks
        self._calls = calls

    def latest(
        self,
        limit: int,
        before: str | None = None,
        states: Collection[str] = (),
        receiver: str | None = None,
        incident_id: str | None = None,
        contains: str | None = None,
        down_to: str | None = None,
        contact: str | None = None,
    ) -> list[LedgerMessage]:
        """Return up to *limit* messages, newest first: older than the id *before*, down to *down_to* itself.

        *contains* selects messages whose text contains it, or whose contact it is; case is ignored.
        """
        statement = select(*_COLUMNS).order_by(messages.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(messages.c.id < before)
        if down_to is not None:
            statement = statement.where(messages.c.id >= down_to)
        if receiver is not None:
            statement = statement.where(messages.c.receiver == receiver)
        statement = statement.where(*selected(states, incident_id, contains, contact))
        with self._database.reading() as connection:
            return [LedgerMessage(*row) for row in connection.execute(statement)]

    def after(self, count: int, before: str | None = None) -> str | None:
        """Return the id of the last of the *count* messages that are older than *before*; None if there are fewer."""
        statement = select(messages.c.id).order_by(messages.c.id.desc()).offset(count - 1).limit(1)
        if before is not None:
            statement = statement.where(messages.c.id < before)
        with self._database.reading() as connection:
            return connection.execute(statement).scalar()

    def by_quarter(
        self,
        first: str,
        end: str | None = None,
        states: Collection[str] = (),
        incident_id: str | None = None,
        contains: str | None = None,
        contact: str | None = None,
    ) -> dict[tuple[datetime, str], int]:
        """Return how many messages there are, by (quarter of an hour they were made in, state).

        Counted are those from the id *first* up to, and without, *end*, selected as `latest` does. In each time zone a
        day begins with a quarter.
        """
        quarter = (type_coerce(messages.c.created_at, BigInteger) // _QUARTER).label("quarter")
        statement = (
            select(quarter, messages.c.state, func.count())
            .where(messages.c.id >= first, *selected(states, incident_id, contains, contact))
            .group_by(quarter, messages.c.state)
        )
        if end is not None:
            statement = statement.where(messages.c.id < end)
        with self._database.reading() as connection:
            return {
                (from_microseconds(int(number) * _QUARTER), state): count
                for number, state, count in connection.execute(statement)
            }

    def unfinished_since(self) -> datetime | None:
        """Return when the oldest message was made that can still change; None if none can."""
        is_under_way = messages.c.state.in_([sql_literal(state) for state in UNDER_WAY])
        with self._database.reading() as connection:
            oldest = [
                connection.execute(select(func.min(messages.c.created_at)).where(can_change)).scalar()
                for can_change in (is_under_way, messages.c.receipt_due_at.is_not(None))
            ]
        return min((at for at in oldest if at is not None), default=None)

    def spent(self, since: datetime) -> dict[str, Spent]:
        """Return what each account has spent since then."""
        statement = (
            select(
                jobs.c.account,
                func.sum(func.coalesce(messages.c.credits, messages.c.parts)),
                func.min(type_coerce(messages.c.sent_at, BigInteger)),
            )
            .join(jobs, jobs.c.tag == messages.c.tag)
            .where(messages.c.sent_at > since, messages.c.ovh_id.is_not(None))
            .group_by(jobs.c.account)
        )
        with self._database.reading() as connection:
            return {
                account: Spent(float(credits_), from_microseconds(int(first)))
                for account, credits_, first in connection.execute(statement)
            }

    def waiting_longest(self, now: datetime, late: timedelta) -> LedgerMessage | None:
        """Return the oldest message under way that failed, was due more than *late* ago, or was tried and is that old.

        Messages that a limit holds are not late.
        """
        before = now - late
        statement = (
            select(*_COLUMNS)
            .where(
                messages.c.state.in_(
                    [sql_literal(state) for state in UNDER_WAY if state is not MessageState.HELD]
                ),
                or_(
                    messages.c.error.is_not(None),
                    messages.c.due_at < before,
                    (messages.c.attempts > 0) & (messages.c.created_at < before),
                ),
            )
            .order_by(messages.c.received_at)
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else LedgerMessage(*row)

    def is_any_accepted(self, since: datetime) -> bool:
        """Return whether OVHcloud has accepted a message since then."""
        statement = (
            select(messages.c.id).where(messages.c.sent_at > since, messages.c.ovh_id.is_not(None)).limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(statement).first() is not None

    def paged(self, incident_ids: Collection[str]) -> dict[str, list[Paged]]:
        """Return who was paged for each of the incidents, in order, and the states of the messages."""
        found: dict[str, list[Paged]] = {}
        carrier = messages.alias("carrier")
        with self._database.reading() as connection:
            for ids in chunks(list(incident_ids)):
                statement = (
                    select(
                        messages.c.incident_id,
                        messages.c.contact,
                        messages.c.phone,
                        func.coalesce(carrier.c.state, messages.c.state),
                        func.coalesce(carrier.c.error, messages.c.error),
                    )
                    .outerjoin(carrier, carrier.c.id == messages.c.merged_into)
                    .where(messages.c.incident_id.in_(ids), messages.c.kind.in_(PAGING))
                    .order_by(messages.c.id)
                )
                for incident_id, *rest in connection.execute(statement):
                    found.setdefault(incident_id, []).append(Paged(*rest))
        return found

    def of(self, ids: Collection[str]) -> dict[str, LedgerMessage]:
        """Return the messages of these *ids*."""
        with self._database.reading() as connection:
            rows = [
                LedgerMessage(*row)
                for some in chunks(list(ids))
                for row in connection.execute(select(*_COLUMNS).where(messages.c.id.in_(some)))
            ]
        return {row.id: row for row in rows}

    def failed_attempts(self, ids: Collection[str]) -> dict[str, list[FailedAttempt]]:
        """Return the attempts to send the messages of these *ids* that failed, in order."""
        found: dict[str, list[FailedAttempt]] = {}
        with self._database.reading() as connection:
            for some in chunks(list(ids)):
                statement = (
                    select(attempts.c.message_id, jobs.c.attempted_at, jobs.c.error, _IS_ACCEPTED)
                    .join(jobs, jobs.c.tag == attempts.c.tag)
                    .join(messages, messages.c.id == attempts.c.message_id)
                    .where(attempts.c.message_id.in_(some), jobs.c.error.is_not(None))
                    .order_by(jobs.c.tag)
                )
                for message_id, at, error, is_accepted in connection.execute(statement):
                    found.setdefault(message_id, []).append(FailedAttempt(at, error, bool(is_accepted)))
        return found

    def details(self, message_id: str) -> MessageDetails | None:
        """Return all that is known of a message; None if there is none of that id."""
        with self._database.reading() as connection:
            row = connection.execute(select(*_COLUMNS).where(messages.c.id == message_id)).first()
            if row is None:
                return None
            message = LedgerMessage(*row)
            carrier = message.merged_into or message.id  # what went out in its place was tried for it
            tried = connection.execute(_ATTEMPTS, {"message": carrier}).all()
            merged = connection.execute(
                select(*_COLUMNS).where(messages.c.merged_into == message_id).order_by(messages.c.id)
            ).all()
            source = connection.execute(_ORIGIN, {"notification": message.notification_id}).first()
        origin = None
        if source is not None:
            id_, received_at, *rest = source
            origin = Origin(id_, from_microseconds(received_at), *rest)
        incident = self._incidents.get(message.incident_id) if message.incident_id else None
        events = self._incidents.history(incident.id) if incident is not None else ()
        return MessageDetails(
            message,
            origin,
            tuple(Attempt(*one) for one in tried),
            tuple(LedgerMessage(*one) for one in merged),
            self.of([carrier]).get(carrier) if carrier != message.id else None,
            incident,
            tuple(events),
            tuple(self._fallbacks.attempts([carrier]).get(carrier, ())),
            self._calls.of([message.id]).get(message.id),
        )
