"""What waits to be sent, within one transaction: looked at, decided on, and written down.

Whoever hands out messages holds the rows and the numbers that they decide on until the transaction ends;
what others hold is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, bindparam, exists, func, or_, select, true, update

from notifier.delivery.message import FAILED, Ending, Hold, Job, Message, MessageState, NewMessage, Reduced
from notifier.incidents.lifecycle import PAGING, IncidentState, Kind
from notifier.store.engine import Backend
from notifier.store.incidents import ADD_MESSAGES, message_row
from notifier.store.schema import IS_WAITING, events, incidents, jobs, messages, notifications
from notifier.store.timestamps import get_timestamp, set_timestamp

MESSAGE = (
    messages.c.id,
    messages.c.notification_id,
    messages.c.receiver,
    messages.c.contact,
    messages.c.phone,
    messages.c.text,
    messages.c.parts,
    messages.c.received_at,
    messages.c.expires_at,
    messages.c.attempts,
    messages.c.incident_id,
    messages.c.kind,
    messages.c.urgency,
    messages.c.digest_entry,
    messages.c.refused_by,
    messages.c.reduction,
)
WITH_INCIDENT = (
    *MESSAGE,
    incidents.c.state.label("incident_state"),
    incidents.c.number.label("incident_number"),
    incidents.c.title.label("alert"),
    func.coalesce(
        select(notifications.c.webhook_id)
        .where(notifications.c.id == messages.c.notification_id)
        .scalar_subquery(),
        incidents.c.webhook_id,
    ).label("webhook_id"),
)
"""A message with the state of its incident, and what log lines say of it."""
OF_INCIDENTS = messages.outerjoin(incidents, incidents.c.id == messages.c.incident_id)

_GONE = (
    MessageState.SENDING,
    MessageState.UNSETTLED,
    MessageState.ACCEPTED,
    MessageState.DELIVERED,
    MessageState.UNDELIVERED,
)
_MOST_VALUES = 500
"""How many values a statement holds at most."""

_DUE = (
    select(*WITH_INCIDENT)
    .select_from(OF_INCIDENTS)
    .where(
        IS_WAITING,
        messages.c.due_at <= bindparam("now"),
        messages.c.phone.not_in(bindparam("without", expanding=True)),
        or_(
            messages.c.refused_by.is_(None),
            messages.c.refused_by.not_in(bindparam("blocked", expanding=True)),
        ),
    )
    .order_by(messages.c.due_at, messages.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=messages, skip_locked=True)
)


_DUE_TO = _DUE.where(messages.c.phone == bindparam("phone"))


class Outbox:
    """The messages that wait to be sent, in one transaction."""

    def __init__(
        self,
        connection: Connection,
        backend: Backend,
        claim: Callable[[Connection, Job], bool],
        end: Callable[[Connection, Sequence[Ending], datetime], None],
    ) -> None:
        """Work in the transaction of *connection*; *claim* and *end* write jobs and endings."""
        self._connection = connection
        self._backend = backend
        self._claim = claim
        self._end = end

    def lock(self, names: Iterable[str]) -> set[str]:
        """Take those *names* that nobody else decides on now; return them."""
        return self._backend.lock(self._connection, sorted(set(names)))

    def due(
        self,
        now: datetime,
        limit: int,
        *,
        phone: str | None = None,
        without: Collection[str] = (),
        blocked: Collection[str] = (),
    ) -> list[Message]:
        """Return the messages that are due to be sent, those due longest first; not those that others hold.

        Args:
            now: the time.
            limit: how many are returned at most.
            phone: the number whose messages are wanted; None for all.
            without: numbers whose messages are left out.
            blocked: values of `Message.refused_by` with which messages are left out.
        """
        given = {"now": now, "most": limit, "without": list(without), "blocked": list(blocked)}
        found = (_DUE, given) if phone is None else (_DUE_TO, given | {"phone": phone})
        rows = self._connection.execute(*found)
        return [Message(**row._mapping) for row in rows]

    def mark(self, name: str) -> datetime | None:
        """Return the time remembered as *name*."""
        return get_timestamp(self._connection, name)

    def sent_to(self, phones: Collection[str], since: datetime) -> dict[str, list[datetime]]:
        """Return when messages went to *phones* after *since*, in order; what is on its way counts as gone."""
        statement = select(messages.c.phone, messages.c.sent_at).where(
            messages.c.phone.in_(list(phones)),
            messages.c.kind != Kind.ANSWER,
            messages.c.state.in_(_GONE),
            messages.c.sent_at > since,
        )
        found: dict[str, list[datetime]] = {phone: [] for phone in phones}
        for phone, at in self._connection.execute(statement):
            found[phone].append(at)
        return {phone: sorted(times) for phone, times in found.items()}

    def sent_by(self, account: str, since: datetime, until: datetime, most: int) -> list[datetime]:
        """Return when *account* sent messages after *since*, and not after *until*; the last first, *most* at most."""
        statement = (
            select(messages.c.sent_at)
            .join(jobs, jobs.c.tag == messages.c.tag)
            .where(messages.c.sent_at > since, messages.c.sent_at <= until, jobs.c.account == account)
            .order_by(messages.c.sent_at.desc())
            .limit(most)
        )
        return list(self._connection.execute(statement).scalars())

    def digests_to(self, phones: Collection[str], since: datetime) -> dict[str, datetime]:
        """Return when the last digest for each of *phones* was made, if that was after *since*."""
        statement = (
            select(messages.c.phone, func.max(messages.c.created_at).label("last"))
            .where(
                messages.c.phone.in_(list(phones)),
                messages.c.kind == Kind.DIGEST,
                messages.c.created_at > since,
            )
            .group_by(messages.c.phone)
        )
        return {row.phone: row.last for row in self._connection.execute(statement)}

    def parts_since(self, since: datetime) -> int:
        """Return how many parts went out after *since*; what is on its way counts as gone."""
        statement = select(func.coalesce(func.sum(messages.c.parts), 0)).where(
            messages.c.sent_at > since, messages.c.state.in_(_GONE)
        )
        return int(self._connection.execute(statement).scalar_one())

    def add_notices(self, notices: Sequence[NewMessage], mark: str, now: datetime) -> None:
        """Have *notices* sent, and remember *now* as *mark*."""
        set_timestamp(self._connection, mark, now)
        if notices:
            rows = [message_row(message, "", now, now, None) for message in notices]
            self._connection.execute(ADD_MESSAGES, rows)

    def waiting_for(self, phone: str) -> list[Message]:
        """Return the messages to *phone* that are queued, due or not: the most severe first, then the oldest."""
        statement = (
            select(*WITH_INCIDENT)
            .select_from(OF_INCIDENTS)
            .where(messages.c.phone == phone, IS_WAITING)
            .order_by(messages.c.urgency, messages.c.created_at, messages.c.id)
        )
        return [Message(**row._mapping) for row in self._connection.execute(statement)]

    def is_held(self, phone: str) -> bool:
        """Return whether a message to *phone* is held for a digest."""
        held = select(messages.c.id).where(
            messages.c.phone == phone,
            IS_WAITING,
            messages.c.held_for == Hold.DIGEST,
            messages.c.state == MessageState.HELD,
        )
        return self._connection.execute(held.limit(1)).first() is not None

    def overtaken(self, waiting: Sequence[Message]) -> list[str]:
        """Return the ids of those *waiting* that need not go any more.

        Nobody needs to be paged for what somebody has acknowledged, nor to be told that something fires
        whose end they are told of.
        """
        ids = [
            message.id
            for message in waiting
            if message.kind in PAGING and message.incident_state == IncidentState.RESOLVED
        ]
        taken = [
            message.id
            for message in waiting
            if message.kind in (Kind.PAGE, Kind.REMINDER)
            and message.incident_state == IncidentState.ACKNOWLEDGED
        ]
        if not ids and not taken:
            return []
        end, other = messages.alias("end"), messages.alias("other")
        is_told = exists().where(
            end.c.incident_id == messages.c.incident_id,
            end.c.phone == messages.c.phone,
            end.c.kind == Kind.RESOLVED,
            end.c.state.not_in(FAILED),
        )
        is_closed = exists().where(
            events.c.incident_id == messages.c.incident_id, events.c.kind == "closed"
        )  # by a person, who told the others
        stands_for_others = exists().where(other.c.merged_into == messages.c.id)
        found: list[str] = []
        for chunk, is_enough in ((ids, or_(is_told, is_closed)), (taken, true())):
            for some in chunks(chunk):
                found += self._connection.execute(
                    select(messages.c.id).where(messages.c.id.in_(some), is_enough, ~stands_for_others)
                ).scalars()
        return found

    def expire(self, expired: Collection[Message], now: datetime) -> None:
        """Write down that *expired* are given up."""
        self._end(self._connection, [Ending(one.id, MessageState.EXPIRED) for one in expired], now)

    def claim(self, claimed: Iterable[Job]) -> list[Job]:
        """Write down that *claimed* are about to be sent; return those whose messages were all still queued."""
        return [job for job in claimed if self._claim(self._connection, job)]

    def withdraw(self, ids: Collection[str], now: datetime) -> None:
        """Write down that the queued messages *ids* are not to be sent any more."""
        for chunk in chunks(list(ids)):
            self._connection.execute(
                update(messages)
                .where(messages.c.id.in_(chunk), IS_WAITING)
                .values(state=MessageState.WITHDRAWN, finished_at=now)
            )

    def hold(self, ids: Collection[str], until: datetime, reason: Hold) -> None:
        """Have the messages *ids*, which wait to be sent, wait until then for *reason*."""
        for chunk in chunks(list(ids)):
            self._connection.execute(
                update(messages)
                .where(messages.c.id.in_(chunk), IS_WAITING)
                .values(state=MessageState.HELD, held_for=reason, due_at=until)
            )

    def readdress(self, phones: Mapping[str, str]) -> None:
        """Have queued messages go to other numbers; *phones* holds the number for each id."""
        for id_, phone in phones.items():
            self._connection.execute(
                update(messages).where(messages.c.id == id_, IS_WAITING).values(phone=phone)
            )

    def merge(
        self, digest: NewMessage, receiver: str, received_at: datetime, ids: Collection[str], now: datetime
    ) -> bool:
        """Have *digest* sent in place of the queued messages *ids*; return whether all of them still were."""
        merged = 0
        with self._connection.begin_nested() as attempt:
            for chunk in chunks(list(ids)):
                merged += self._connection.execute(
                    update(messages)
                    .where(messages.c.id.in_(chunk), IS_WAITING)
                    .values(state=MessageState.MERGED, merged_into=digest.id)
                ).rowcount
                self._connection.execute(  # what was merged into one of them before goes along
                    update(messages).where(messages.c.merged_into.in_(chunk)).values(merged_into=digest.id)
                )
            if merged != len(ids):
                attempt.rollback()
                return False
        self._connection.execute(ADD_MESSAGES, message_row(digest, receiver, received_at, now, None))
        return True


def reword(connection: Connection, texts: Iterable[Reduced], where: ColumnElement[bool]) -> None:
    """Give messages, as far as *where* holds of them, the *texts* that they are sent again with."""
    for one in texts:
        connection.execute(
            update(messages)
            .where(messages.c.id == one.message_id, where)
            .values(text=one.text, parts=one.parts, reduction=one.reduction)
        )


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield *ids* in pieces that a statement can hold."""
    for start in range(0, len(ids), _MOST_VALUES):
        yield ids[start : start + _MOST_VALUES]
