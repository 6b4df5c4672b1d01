"""Replies: which were read, their outcomes and answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import (
    Connection,
    delete,
    func,
    insert,
    or_,
    select,
)
from sqlalchemy.exc import IntegrityError

from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import Kind
from notifier.sms.recipient import Recipient
from notifier.store.database import Tables
from notifier.store.incident_changes import put_incidents
from notifier.store.messages import ADD_MESSAGES, message_row
from notifier.store.records import IncidentChange
from notifier.store.schema import jobs, messages, replies
from notifier.store.timestamps import set_timestamp

REPLIES_SEEN = "replies/"
"""The beginning of the names of timestamps: until when the replies of each account were read."""

_LONGEST_TEXT = 1000

_DOUBLED = timedelta(minutes=1)

READING = timedelta(seconds=15)
"""The shortest time between sending a message and receiving a reply to it."""


@dataclass(frozen=True, slots=True)
class ReplyRead:
    """A reply: its account, its sender, and its outcome."""

    account: str
    id: int
    at: datetime
    phone: str
    contact: str | None
    text: str
    outcome: str


class Repetition(Enum):
    """Whether a reply repeats another that was carried out."""

    NONE = auto()
    DUPLICATE = auto()
    """The network has delivered it twice."""
    DELIBERATE = auto()
    """It was sent again, after a page or an answer that can have been read."""


class Written(Enum):
    """Whether a reply was written: now, before (by another replica), or not since an incident was changed."""

    NOW = auto()
    BEFORE = auto()
    OVERTAKEN = auto()


class ReplyStore(Tables):
    """The replies that were read."""

    def unread(self, account: str, ids: Collection[int]) -> list[int]:
        """Return the *ids* of *account* that have not been read, oldest first."""
        known: set[int] = set()
        with self._database.reading() as connection:
            given = sorted(ids)
            for start in range(0, len(given), 500):
                statement = select(replies.c.id).where(
                    replies.c.id.in_(given[start : start + 500]), replies.c.account == account
                )
                known.update(connection.execute(statement).scalars())
        return [id_ for id_ in given if id_ not in known]

    def repetition(self, account: str, id_: int, phone: str, text: str, at: datetime) -> Repetition:
        """Return whether a reply with this *text* from *phone* repeats another that was carried out within a minute."""
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
                return Repetition.NONE
            read = select(messages.c.id).where(
                messages.c.phone == phone,
                messages.c.kind.not_in([Kind.RESOLVED, Kind.NOTICE]),
                messages.c.sent_at > before,
                messages.c.sent_at <= at - READING,
            )
            is_answer = connection.execute(read.limit(1)).first() is not None
            return Repetition.DELIBERATE if is_answer else Repetition.DUPLICATE

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
        """Return the number of replies of *phone* since then with that *outcome*."""
        statement = select(func.count()).where(
            replies.c.phone == phone, replies.c.at > since, replies.c.outcome == outcome
        )
        with self._database.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def last_of_contacts(self, since: datetime, until: datetime) -> dict[str, datetime]:
        """Return when each contact sent the last reply between *since* and *until*, by name."""
        statement = (
            select(replies.c.contact, func.max(replies.c.at))
            .where(replies.c.at.between(since, until), replies.c.contact.is_not(None))
            .group_by(replies.c.contact)
        )
        with self._database.reading() as connection:
            return {contact: at for contact, at in connection.execute(statement)}  # noqa: C416 (typed rows)

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
        timestamps: Collection[str] = (),
    ) -> Future[Written]:
        """Store *reply* with its effects, or nothing if an incident was changed meanwhile.

        *timestamps* are set to *now*. A reply that was written before stays unchanged, and has no effect again.
        """

        def operation(connection: Connection) -> Written:
            if not _add(connection, reply):
                return Written.BEFORE
            if not put_incidents(connection, changes, now):
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
            for name in timestamps:
                set_timestamp(connection, name, now)
            return Written.NOW

        return self._database.submit(operation, notifies=("sender", "escalator"))


def _add(connection: Connection, reply: ReplyRead) -> bool:
    """Write *reply*; return False if that was done before."""
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
    except IntegrityError:
        return False
    return True
