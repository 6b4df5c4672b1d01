"""Fallbacks: messages that go through a second channel as well, and the attempts to send them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from notifier.clock import CLOCK_STEP
from notifier.delivery.fallback import FallbackState
from notifier.delivery.message import FAILED, UNDER_WAY, Hold, MessageState
from notifier.ids import first_id, new_id
from notifier.incidents.lifecycle import IncidentState, Kind
from notifier.incidents.links import Link, is_linked
from notifier.store.database import Tables
from notifier.store.links import add_link
from notifier.store.messages import chunks
from notifier.store.schema import (
    IS_WAITING,
    fallback_attempts,
    fallbacks,
    incidents,
    messages,
    sql_literal,
)

_BACK = timedelta(days=4)
"""How old a message may be that failed: OVHcloud reports a failure after three days at the latest."""
_FAILED_WITHIN = timedelta(hours=1)
"""How long ago a message may have failed: what failed before there was a second channel is old news."""
_IS_FAILED = messages.c.state.in_([sql_literal(state) for state in FAILED])
_IS_UNDER_WAY = messages.c.state.in_([sql_literal(state) for state in UNDER_WAY])
_HELD_FOR_A_DIGEST = and_(messages.c.state == MessageState.HELD, messages.c.held_for == Hold.DIGEST)
_IS_SILENCED = and_(incidents.c.state == IncidentState.OPEN, incidents.c.silenced_by != "")
_OF_MESSAGES = messages.outerjoin(incidents, incidents.c.id == messages.c.incident_id)
_MESSAGE = (
    messages.c.id,
    messages.c.contact,
    messages.c.kind,
    messages.c.state,
    messages.c.text,
    incidents.c.state.label("incident_state"),
    incidents.c.number.label("incident"),
    _IS_SILENCED.label("is_silenced"),
)


@dataclass(frozen=True, slots=True)
class FallbackMessage:
    """A message, as far as a second channel needs it."""

    id: str
    contact: str
    kind: str
    state: str
    text: str
    incident_state: str | None
    incident: int | None
    is_silenced: bool

    @property
    def may_have_link(self) -> bool:
        """Whether it ends with a link."""
        return is_linked(self.kind, self.incident, self.contact)


@dataclass(frozen=True, slots=True)
class NewFallback:
    """A message for a *target*, a digest of its URL; *state* is waiting, or withdrawn if it is not needed."""

    message_id: str
    target: str
    service: str
    state: FallbackState


@dataclass(frozen=True, slots=True)
class DueFallback:
    """A fallback that is tried now, for the *attempts*-th time."""

    id: str
    target: str
    service: str
    attempts: int
    created_at: datetime
    message: FallbackMessage
    link: Link | None = None
    """The link at the end of its text."""


@dataclass(frozen=True, slots=True)
class FallbackAttempt:
    """An attempt to send a message by *service*: *error* is None if it was sent."""

    message_id: str
    service: str
    at: datetime
    error: str | None


class FallbackStore(Tables):
    """The fallbacks of a database."""

    def missing(
        self, now: datetime, late: datetime, contacts: Collection[str] | None, limit: int
    ) -> list[FallbackMessage]:
        """Return messages without a fallback that failed, or were made before *late* and are not accepted.

        Messages that are held for a digest are left out: the digest counts. *contacts* are those that have a second
        channel; None for everybody.
        """
        has_none = ~select(fallbacks.c.id).where(fallbacks.c.message_id == messages.c.id).exists()
        is_old = or_(messages.c.created_at <= late, messages.c.created_at > now + CLOCK_STEP)
        is_late = and_(_IS_UNDER_WAY, is_old, ~_HELD_FOR_A_DIGEST)
        failed_at = func.coalesce(messages.c.receipt_at, messages.c.finished_at)
        has_failed = and_(
            _IS_FAILED,
            messages.c.id >= first_id(now - _BACK),
            failed_at >= now - _FAILED_WITHIN,
            messages.c.merged_into.is_(None),  # its digest counts
        )
        statement = (
            select(*_MESSAGE)
            .select_from(_OF_MESSAGES)
            .where(or_(is_late, has_failed), messages.c.kind != Kind.ANSWER, has_none)
            .order_by(messages.c.urgency, messages.c.id)
            .limit(limit)
        )
        if contacts is not None:
            statement = statement.where(messages.c.contact.in_(sorted(contacts)))
        with self._database.reading() as connection:
            return [_message(row) for row in connection.execute(statement)]

    def add(self, new: Sequence[NewFallback], now: datetime) -> Future[None]:
        """Write *new* fallbacks, except those that another replica has written."""

        def operation(connection: Connection) -> None:
            for one in new:
                row = {
                    "id": new_id(now),
                    "message_id": one.message_id,
                    "target": one.target,
                    "service": one.service,
                    "state": one.state,
                    "created_at": now,
                    "due_at": now,
                }
                try:
                    with connection.begin_nested():
                        connection.execute(insert(fallbacks), row)
                except IntegrityError:  # another replica was first
                    continue

        return self._database.submit(operation)

    def claim(
        self,
        now: datetime,
        lease: timedelta,
        limit: int,
        *,
        without: Collection[str] = (),
        linked_url: str | None = None,
    ) -> Future[list[DueFallback]]:
        """Return fallbacks that are due, each an attempt more, and due again after *lease* unless they are finished.

        Args:
            now: the time.
            lease: how long they are not due again.
            limit: how many are returned at most.
            without: targets whose fallbacks are left out.
            linked_url: the address of the pages; pages get a new link to it. None for no links.
        """

        def operation(connection: Connection) -> list[DueFallback]:
            due = (
                select(fallbacks.c.id)
                .join(messages, messages.c.id == fallbacks.c.message_id)
                .where(
                    fallbacks.c.state == FallbackState.WAITING,
                    fallbacks.c.due_at <= now,
                    fallbacks.c.target.not_in(list(without)),
                )
                .order_by(messages.c.urgency, fallbacks.c.due_at)
                .limit(limit)
                .with_for_update(skip_locked=True, of=fallbacks)
            )
            ids = connection.execute(due).scalars().all()
            if not ids:
                return []
            taken = {"due_at": now + lease, "attempts": fallbacks.c.attempts + 1}
            connection.execute(update(fallbacks).where(fallbacks.c.id.in_(ids)).values(taken))
            found = _read_due(connection, ids, linked_url)
            for one in found:
                if one.link is not None:
                    add_link(connection, one.link, one.message.id, now)
            return found

        return self._database.submit(operation)

    def withdraw(self, id_: str, now: datetime) -> Future[None]:
        """Write down that a fallback is not needed any more."""
        return self._database.submit(
            lambda connection: _finish(connection, id_, FallbackState.WITHDRAWN, now)
        )

    def sent(self, due: DueFallback, now: datetime) -> Future[None]:
        """Write down that *due* was sent."""

        def operation(connection: Connection) -> None:
            _attempt(connection, due.id, now, None)
            _finish(connection, due.id, FallbackState.SENT, now)

        return self._database.submit(operation)

    def reset_due_times(self, now: datetime, latest: datetime) -> Future[None]:
        """Make due *now* what is due after *latest*: the clock was set back since that was written."""

        def operation(connection: Connection) -> None:
            is_ahead = and_(fallbacks.c.state == FallbackState.WAITING, fallbacks.c.due_at > latest)
            connection.execute(update(fallbacks).where(is_ahead).values(due_at=now))

        return self._database.submit(operation)

    def waiting_though_sent(self) -> list[tuple[str, str, frozenset[str]]]:
        """Return the messages that wait to be sent by SMS although a fallback was sent.

        Each is given by its id, its contact, and the targets that took it.
        """
        statement = (
            select(messages.c.id, messages.c.contact, fallbacks.c.target)
            .join(fallbacks, fallbacks.c.message_id == messages.c.id)
            .where(IS_WAITING, fallbacks.c.state == FallbackState.SENT)
        )
        found: dict[tuple[str, str], set[str]] = {}
        with self._database.reading() as connection:
            for id_, contact, target in connection.execute(statement):
                found.setdefault((id_, contact), set()).add(target)
        return [(id_, contact, frozenset(targets)) for (id_, contact), targets in found.items()]

    def failed(self, due: DueFallback, error: str, now: datetime, again_at: datetime | None) -> Future[None]:
        """Write down that an attempt failed; it is tried again at *again_at*, or given up if that is None."""

        def operation(connection: Connection) -> None:
            _attempt(connection, due.id, now, error)
            if again_at is None:
                _finish(connection, due.id, FallbackState.FAILED, now)
            else:
                connection.execute(
                    update(fallbacks)
                    .where(fallbacks.c.id == due.id, fallbacks.c.state == FallbackState.WAITING)
                    .values(due_at=again_at)
                )

        return self._database.submit(operation)

    def attempts(self, message_ids: Collection[str]) -> dict[str, list[FallbackAttempt]]:
        """Return the attempts of the messages of these ids, in order."""
        found: dict[str, list[FallbackAttempt]] = {}
        with self._database.reading() as connection:
            for some in chunks(list(message_ids)):
                statement = (
                    select(
                        fallbacks.c.message_id,
                        fallbacks.c.service,
                        fallback_attempts.c.at,
                        fallback_attempts.c.error,
                    )
                    .join(fallback_attempts, fallback_attempts.c.fallback_id == fallbacks.c.id)
                    .where(fallbacks.c.message_id.in_(some))
                    .order_by(fallback_attempts.c.id)
                )
                for row in connection.execute(statement):
                    found.setdefault(row.message_id, []).append(FallbackAttempt(*row))
        return found


def _read_due(connection: Connection, ids: Sequence[str], linked_url: str | None) -> list[DueFallback]:
    """Return the fallbacks of these *ids*; those of pages have a new link to *linked_url*, unless that is None."""
    own = (
        fallbacks.c.id,
        fallbacks.c.target,
        fallbacks.c.service,
        fallbacks.c.attempts,
        fallbacks.c.created_at,
    )
    rows = connection.execute(
        select(*(column.label(f"own_{column.name}") for column in own), *_MESSAGE)
        .select_from(fallbacks.join(_OF_MESSAGES, messages.c.id == fallbacks.c.message_id))
        .where(fallbacks.c.id.in_(ids))
        .order_by(messages.c.urgency, fallbacks.c.id)
    )
    return [
        DueFallback(
            row.own_id,
            row.own_target,
            row.own_service,
            row.own_attempts,
            row.own_created_at,
            message := _message(row),
            Link.new(linked_url) if linked_url is not None and message.may_have_link else None,
        )
        for row in rows
    ]


def _message(row: Any) -> FallbackMessage:
    return FallbackMessage(
        row.id,
        row.contact,
        row.kind,
        row.state,
        row.text,
        row.incident_state,
        row.incident,
        bool(row.is_silenced),
    )


def _attempt(connection: Connection, fallback_id: str, now: datetime, error: str | None) -> None:
    row = {"id": new_id(now), "fallback_id": fallback_id, "at": now, "error": error}
    connection.execute(insert(fallback_attempts), row)


def _finish(connection: Connection, id_: str, state: FallbackState, now: datetime) -> None:
    connection.execute(update(fallbacks).where(fallbacks.c.id == id_).values(state=state, finished_at=now))
