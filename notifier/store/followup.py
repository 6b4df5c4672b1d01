"""Following up: receipts of what was accepted, and replies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from notifier.config.model import Recipient
from notifier.delivery.message import MessageState, NewMessage, Reduced
from notifier.incidents.lifecycle import Kind
from notifier.store.database import Database
from notifier.store.incidents import Incidents
from notifier.store.messages import ADD_MESSAGES, message_row, reword
from notifier.store.records import IncidentChange
from notifier.store.schema import incidents, jobs, messages, replies
from notifier.store.timestamps import set_timestamp

REPLIES_SEEN = "replies/"
"""The mark up to which the replies of an account were read, with its name behind it."""

_LONGEST_TEXT = 1000
_DOUBLED = timedelta(minutes=1)
READING = timedelta(seconds=15)
"""The shortest time between sending a message and receiving a reply to it."""
_FOLLOWED = (
    messages.c.id,
    messages.c.ovh_id,
    messages.c.receiver,
    messages.c.contact,
    messages.c.phone,
    messages.c.finished_at,
    messages.c.received_at,
    messages.c.text,
    messages.c.kind,
    messages.c.incident_id,
    messages.c.reduction,
    select(incidents.c.number)
    .where(incidents.c.id == messages.c.incident_id)
    .scalar_subquery()
    .label("incident_number"),
    select(incidents.c.title)
    .where(incidents.c.id == messages.c.incident_id)
    .scalar_subquery()
    .label("alert"),
    select(incidents.c.webhook_id)
    .where(incidents.c.id == messages.c.incident_id)
    .scalar_subquery()
    .label("webhook_id"),
    select(jobs.c.account).where(jobs.c.tag == messages.c.tag).scalar_subquery().label("account"),
)


def _due(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .where(
            messages.c.receipt_due_at.is_not(None),
            messages.c.receipt_due_at <= bindparam("now"),
            messages.c.id.not_in(bindparam("without", expanding=True)),
        )
        .order_by(messages.c.receipt_due_at)
        .limit(bindparam("most"))
    )


_DUE = _due(*_FOLLOWED)
_LEASE = timedelta(seconds=30)
_TAKE_DUE = (
    update(messages)
    .where(messages.c.id.in_(_due(messages.c.id).with_for_update(skip_locked=True)))
    .values(receipt_due_at=bindparam("later"))
    .returning(*_FOLLOWED)
)
_FOLLOW = (
    update(messages)
    .where(
        messages.c.id == bindparam("message"),
        messages.c.ovh_id == bindparam("of"),
        messages.c.state == MessageState.ACCEPTED,
    )
    .values(
        state=bindparam("state"),
        receipt=bindparam("receipt"),
        ptt=bindparam("ptt"),
        error=bindparam("error"),
        delivered_at=bindparam("delivered_at"),
        receipt_due_at=bindparam("due"),
        receipt_at=bindparam("seen"),
        credits=func.coalesce(bindparam("cost", type_=Float), messages.c.credits),
    )
)


@dataclass(frozen=True, slots=True)
class Followed:
    """A message that was accepted at *accepted_at*, as *ovh_id*, and awaits its receipt."""

    id: str
    ovh_id: int
    receiver: str
    contact: str
    phone: str
    accepted_at: datetime
    received_at: datetime
    text: str
    kind: str
    incident_id: str | None
    reduction: int
    incident_number: int | None
    alert: str | None
    webhook_id: str | None
    account: str


@dataclass(frozen=True, slots=True)
class ReceiptSeen:
    """What the receipt of a message says now; *due_at* is when to look again, None when it is final.

    *ovh_id* is what it is the receipt of: the message may have been sent again since it was asked for.
    """

    message_id: str
    ovh_id: int
    state: MessageState
    receipt: int | None
    ptt: int | None
    error: str | None
    delivered_at: datetime | None
    due_at: datetime | None
    credits: float | None = None
    """What the message has cost, where it is told."""
    reduced: Reduced | None = None
    """The text with which it is sent again, since its content was refused."""


@dataclass(frozen=True, slots=True)
class ReplyRead:
    """A reply, which account it came to, from whom, and what it came to."""

    account: str
    id: int
    at: datetime
    phone: str
    contact: str | None
    text: str
    outcome: str


class ReceiptStore:
    """The messages that await their receipts."""

    def __init__(self, database: Database, incidents: Incidents) -> None:
        """Work on *database*."""
        self._database = database
        self._incidents = incidents

    def due(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Followed]:
        """Return the messages whose receipts are to be asked for, those due longest first.

        Those whose ids are in *without* are left out. Where other processes ask, too, they are not given the
        same for half a minute.
        """
        given = {"now": now, "most": limit, "without": list(without)}
        if self._database.backend.is_shared:
            taking = {**given, "later": now + _LEASE}
            taken = self._database.submit(lambda connection: connection.execute(_TAKE_DUE, taking).all())
            return [Followed(*row) for row in taken.result()]
        with self._database.reading() as connection:
            return [Followed(*row) for row in connection.execute(_DUE, given)]

    def next_due(self) -> datetime | None:
        """Return when the next receipt is to be asked for."""
        statement = select(func.min(messages.c.receipt_due_at)).where(messages.c.receipt_due_at.is_not(None))
        with self._database.reading() as connection:
            return connection.execute(statement).scalar()

    def poll_now(self, now: datetime) -> Future[None]:
        """Make all receipts due *now*."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages).where(messages.c.receipt_due_at > now).values(receipt_due_at=now)
            )

        return self._database.submit(operation)

    @staticmethod
    def _send_again(connection: Connection, refused: Sequence[ReceiptSeen], now: datetime) -> None:
        """Return messages whose content an operator refused to the queue, with less in their texts."""
        for one in refused:
            assert one.reduced is not None  # noqa: S101 (they were selected by it)
            is_accepted = and_(messages.c.state == MessageState.ACCEPTED, messages.c.ovh_id == one.ovh_id)
            reword(connection, [one.reduced], is_accepted)
            again = {"state": MessageState.QUEUED, "due_at": now, "error": one.error}
            none = dict.fromkeys(("tag", "ovh_id", "sent_at", "finished_at", "receipt_due_at"))
            connection.execute(
                update(messages).where(messages.c.id == one.message_id, is_accepted).values(again | none)
            )

    def write(self, seen: Sequence[ReceiptSeen], now: datetime) -> Future[None]:
        """Write down what receipts say; what reached nobody has the next step of its incident come at once."""

        def operation(connection: Connection) -> None:
            rows = [
                {
                    "message": one.message_id,
                    "of": one.ovh_id,
                    "state": one.state,
                    "receipt": one.receipt,
                    "ptt": one.ptt,
                    "error": one.error,
                    "delivered_at": one.delivered_at,
                    "due": one.due_at,
                    "seen": now,
                    "cost": one.credits,
                }
                for one in seen
                if one.reduced is None
            ]
            if rows:
                connection.execute(_FOLLOW, rows)
            self._send_again(connection, [one for one in seen if one.reduced is not None], now)
            undelivered = [one.message_id for one in seen if one.state is MessageState.UNDELIVERED]
            failed = _still(connection, undelivered, MessageState.UNDELIVERED) if undelivered else []
            if failed:
                connection.execute(
                    update(messages)
                    .where(messages.c.merged_into.in_(failed))
                    .values(state=MessageState.UNDELIVERED)
                )
                self._incidents.escalate_now(connection, failed, now)

        return self._database.submit(operation, notifies=("escalator", "sender"))


def _still(connection: Connection, ids: Collection[str], state: MessageState) -> list[str]:
    statement = select(messages.c.id).where(messages.c.id.in_(ids), messages.c.state == state)
    return list(connection.execute(statement).scalars())


class Written(Enum):
    """Whether a reply was written: now, before (by another replica), or not since an incident was changed."""

    NOW = auto()
    BEFORE = auto()
    OVERTAKEN = auto()


class ReplyStore:
    """The replies that were read."""

    def __init__(self, database: Database, incidents: Incidents) -> None:
        """Work on *database*."""
        self._database = database
        self._incidents = incidents

    def unread(self, account: str, ids: Collection[int]) -> list[int]:
        """Return those of the *ids* of *account* that were not read yet, oldest first."""
        known: set[int] = set()
        with self._database.reading() as connection:
            given = sorted(ids)
            for start in range(0, len(given), 500):
                statement = select(replies.c.id).where(
                    replies.c.id.in_(given[start : start + 500]), replies.c.account == account
                )
                known.update(connection.execute(statement).scalars())
        return [id_ for id_ in given if id_ not in known]

    def is_repeated(self, account: str, id_: int, phone: str, text: str, at: datetime) -> bool | None:
        """Return whether a reply with this *text* from *phone* is one that the network has delivered twice.

        None if there is no other one that was carried out within a minute. False if *phone* was sent a page or an
        answer in between that can have been read before this one was written.
        """
        twin = (
            select(replies.c.at)
            .where(
                replies.c.phone == phone,
                replies.c.text == text[:_LONGEST_TEXT],
                replies.c.at >= at - _DOUBLED,
                replies.c.at <= at + _DOUBLED,
                replies.c.outcome == "done",
                or_(replies.c.account != account, replies.c.id != id_),
            )
            .order_by(replies.c.at.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            before = connection.execute(twin).scalar()
            if before is None:
                return None
            read = select(messages.c.id).where(
                messages.c.phone == phone,
                messages.c.kind.not_in([Kind.RESOLVED, Kind.NOTICE]),
                messages.c.sent_at > before,
                messages.c.sent_at <= at - READING,
            )
            return connection.execute(read.limit(1)).first() is None

    def is_tag_known(self, tag: str) -> bool:
        """Return whether *tag* is that of a job of this installation."""
        with self._database.reading() as connection:
            found = connection.execute(select(jobs.c.tag).where(jobs.c.tag == tag))
            return found.first() is not None

    def was_texted(self, person: Recipient, since: datetime) -> bool:
        """Return whether a message went to *person* since then."""
        statement = select(messages.c.id).where(messages.c.phone == person.phone, messages.c.sent_at > since)
        with self._database.reading() as connection:
            return connection.execute(statement.limit(1)).first() is not None

    def count(self, phone: str, since: datetime, outcome: str) -> int:
        """Return how many replies of *phone* since then came to *outcome*."""
        statement = select(func.count()).where(
            replies.c.phone == phone, replies.c.at > since, replies.c.outcome == outcome
        )
        with self._database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def answers_since(self, phone: str, since: datetime) -> int:
        """Return how many answers *phone* was sent since then."""
        statement = select(func.count()).where(
            messages.c.phone == phone, messages.c.created_at > since, messages.c.kind == Kind.ANSWER
        )
        with self._database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def write(
        self,
        reply: ReplyRead,
        changes: Sequence[IncidentChange],
        answers: Iterable[NewMessage],
        now: datetime,
        marks: Collection[str] = (),
    ) -> Future[Written]:
        """Write down *reply* with all that comes of it, or nothing if an incident was changed meanwhile.

        *marks* are set to *now*. A reply that was written before stays
        as it was, and nothing comes of it again.
        """

        def operation(connection: Connection) -> Written:
            row = {
                "account": reply.account,
                "id": reply.id,
                "at": reply.at,
                "phone": reply.phone,
                "contact": reply.contact,
                "text": reply.text[:_LONGEST_TEXT],
                "outcome": reply.outcome,
            }
            try:
                with connection.begin_nested():
                    connection.execute(insert(replies), row)
            except IntegrityError:  # it was read before
                return Written.BEFORE
            try:
                with connection.begin_nested() as attempt:
                    is_done = all(self._incidents.put(connection, change, now) for change in changes)
                    if not is_done:
                        attempt.rollback()
            except IntegrityError:
                is_done = False
            if not is_done:
                connection.execute(
                    delete(replies).where(replies.c.account == reply.account, replies.c.id == reply.id)
                )
                return Written.OVERTAKEN
            rows = [
                message_row(message, change.incident.receiver, now, now, None)
                for change in changes
                for message in change.messages
            ]
            rows += [message_row(answer, "", now, now, None) for answer in answers]
            if rows:
                connection.execute(ADD_MESSAGES, rows)
            for name in marks:
                set_timestamp(connection, name, now)
            return Written.NOW

        return self._database.submit(operation, notifies=("sender", "escalator"))
