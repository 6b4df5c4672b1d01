"""Every SQL statement, as methods that take and return values of their own types."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from notifier.config import LONGEST_DEDUPE_WINDOW
from notifier.ids import first_id
from notifier.incidents import PAGING, IncidentState, Kind
from notifier.store.bulk import BulkInsert
from notifier.store.database import Database
from notifier.store.followup import Receipts, Replies
from notifier.store.incidents import ADD_MESSAGES, Incidents, message_row
from notifier.store.marks import Marks, set_mark
from notifier.store.recent import Recent
from notifier.store.records import (
    Due,
    Ending,
    Job,
    Message,
    NewMessage,
    NewNotification,
    NewWebhook,
    Queue,
    StoredWebhook,
)
from notifier.store.schema import (
    FAILED,
    UNDER_WAY,
    JobState,
    MessageState,
    from_microseconds,
    incidents,
    jobs,
    messages,
    notifications,
    replies,
    to_microseconds,
    webhooks,
)

_MESSAGE = (
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
    messages.c.gist,
)
_WITH_STATE = (*_MESSAGE, incidents.c.state.label("incident_state"))
_OF_INCIDENTS = messages.outerjoin(incidents, incidents.c.id == messages.c.incident_id)

_GONE = (
    MessageState.SENDING,
    MessageState.UNSETTLED,
    MessageState.ACCEPTED,
    MessageState.DELIVERED,
    MessageState.UNDELIVERED,
)
_MOST_VALUES = 500
"""How many values a statement holds at most."""

# The statements of every page, built once: SQLAlchemy takes longer to build one than SQLite to run it.

_WAITING = (
    select(
        webhooks.c.id,
        func.length(webhooks.c.body).label("size"),
        func.sum(func.length(webhooks.c.body)).over(order_by=webhooks.c.id, rows=(None, 0)).label("total"),
    )
    .where(webhooks.c.planned_at.is_(None), webhooks.c.id.not_in(bindparam("without", expanding=True)))
    .order_by(webhooks.c.id)
    .limit(bindparam("most"))
    .subquery()
)
_UNPLANNED = (
    select(webhooks.c.id, webhooks.c.received_at, webhooks.c.posted_to, webhooks.c.body)
    .join(_WAITING, _WAITING.c.id == webhooks.c.id)
    .where((_WAITING.c.total <= bindparam("max_bytes")) | (_WAITING.c.total == _WAITING.c.size))
    .order_by(webhooks.c.id)
)
_PLAN = (
    update(webhooks)
    .where(webhooks.c.id == bindparam("webhook"), webhooks.c.planned_at.is_(None))
    .values(planned_at=bindparam("now"))
)
_ADD_NOTIFICATIONS = insert(notifications)
_ADD_JOB = insert(jobs)
_DUE = (
    select(*_WITH_STATE)
    .select_from(_OF_INCIDENTS)
    .where(messages.c.state == MessageState.QUEUED, messages.c.due_at <= bindparam("now"))
    .order_by(messages.c.due_at, messages.c.id)
    .limit(bindparam("most"))
)
_TAKE = (
    update(messages)
    .where(
        messages.c.id.in_(bindparam("ids", expanding=True)),
        messages.c.state == MessageState.QUEUED,
    )
    .values(
        state=MessageState.SENDING,
        tag=bindparam("job"),
        attempts=messages.c.attempts + 1,
        sent_at=bindparam("now"),
    )
)
_END = (
    update(messages)
    .where(messages.c.id == bindparam("message"))
    .values(
        state=bindparam("state"),
        ovh_id=bindparam("ovh_id"),
        error=bindparam("error"),
        finished_at=bindparam("now"),
        receipt_due_at=bindparam("due"),
    )
)
_END_MERGED = (
    update(messages)
    .where(messages.c.merged_into == bindparam("message"), messages.c.merged_into.is_not(None))
    .values(state=bindparam("state"), finished_at=bindparam("now"))
)
_RELEASE = (
    update(messages)
    .where(
        messages.c.tag == bindparam("job"),
        messages.c.state.in_((MessageState.SENDING, MessageState.UNSETTLED)),
    )
    .values(
        state=MessageState.QUEUED, tag=None, sent_at=None, due_at=bindparam("due"), error=bindparam("why")
    )
)
_CLOSE_JOB = (
    update(jobs)
    .where(jobs.c.tag == bindparam("job"))
    .values(state=JobState.DONE, error=bindparam("why"), query_id=bindparam("query"))
)
_UNSETTLED = (
    select(jobs.c.tag, jobs.c.text, jobs.c.attempted_at, jobs.c.looks, jobs.c.patience)
    .where(
        jobs.c.state != JobState.DONE,
        jobs.c.state == JobState.UNSETTLED,
        jobs.c.due_at <= bindparam("now"),
    )
    .order_by(jobs.c.due_at)
    .limit(bindparam("most"))
)
_NEXT_DUE = select(
    select(func.min(messages.c.due_at)).where(messages.c.state == MessageState.QUEUED).scalar_subquery(),
    select(func.min(jobs.c.due_at))
    .where(jobs.c.state != JobState.DONE, jobs.c.state == JobState.UNSETTLED)
    .scalar_subquery(),
)


class Store(Database):
    """The history of webhooks, notifications, messages and jobs.

    What reads may be called from any thread and raises `StoreUnavailable`; what writes returns a future
    that is done once it is on disk.
    """

    def __init__(self, path: Path) -> None:
        """Take the database at *path*, as `Database` does."""
        super().__init__(path, self._remember)
        self._recent = Recent()
        self._insert_webhooks = BulkInsert(webhooks, lambda rows: insert(webhooks).values(rows))
        self.incidents = Incidents(self)
        self.marks = Marks(self)
        self.receipts = Receipts(self, self.incidents)
        self.replies = Replies(self, self.incidents)

    # intake

    def add_webhooks(self, batch: Sequence[NewWebhook], window: timedelta) -> Future[set[str]]:
        """Store *batch*, but for those that repeat one stored within *window*; return the repetitions' ids."""
        taken: list[bytes] = []

        def operation(connection: Connection) -> set[str]:
            self._recent.forget(taken)  # of an earlier run of this operation, that was rolled back
            taken.clear()
            fresh = []
            for new in batch:
                if self._recent.take(new.identity, new.received_at, window):
                    taken.append(new.identity)
                    fresh.append(new)
            self._insert_webhooks(connection, [_webhook_row(new) for new in fresh])
            return {new.id for new in batch}.difference(new.id for new in fresh)

        written = self.submit(operation)

        def settle(done: Future[set[str]]) -> None:
            if done.exception() is not None:
                self._recent.forget(taken)

        written.add_done_callback(settle)
        return written

    def _remember(self, connection: Connection) -> None:
        """Learn from a database just opened which webhooks are recent."""
        newest = connection.execute(select(func.max(webhooks.c.received_at))).scalar()
        self._recent.clear()
        if newest is not None:
            since = newest - LONGEST_DEDUPE_WINDOW // timedelta(microseconds=1)
            rows = connection.execute(
                select(webhooks.c.identity, webhooks.c.received_at)
                .where(webhooks.c.id >= first_id(from_microseconds(since)))
                .order_by(webhooks.c.id)
            )
            for identity, received_at in rows:
                self._recent.learn(bytes(identity), from_microseconds(received_at), LONGEST_DEDUPE_WINDOW)

    # planning

    def unplanned(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> list[StoredWebhook]:
        """Return the oldest webhooks to be planned, of at most *max_bytes* together unless one is larger.

        Those whose ids are in *without* are passed over.
        """
        with self.reading() as connection:
            rows = connection.execute(
                _UNPLANNED, {"without": list(without), "most": limit, "max_bytes": max_bytes}
            )
            return [StoredWebhook(i, from_microseconds(at), to, bytes(body)) for i, at, to, body in rows]

    def add_plans(
        self,
        planned: Sequence[tuple[str, Sequence[NewNotification]]],
        now: datetime,
        marks: Mapping[str, datetime] = MappingProxyType({}),
    ) -> Future[list[str]]:
        """Store what the webhooks of the given ids came to, and the times that *marks* remember.

        Returns the ids of those that were planned already, or that change an incident which has been
        changed since it was read; nothing of them is stored.
        """

        def operation(connection: Connection) -> list[str]:
            refused, notes, texts = [], [], []
            for webhook_id, plans in planned:
                with connection.begin_nested() as attempt:
                    taken = connection.execute(_PLAN, {"webhook": webhook_id, "now": now}).rowcount == 1
                    changes = [plan.change for plan in plans if plan.change is not None]
                    if not taken or not all(self.incidents.put(connection, c, now) for c in changes):
                        attempt.rollback()
                        refused.append(webhook_id)
                        continue
                for plan in plans:
                    notes.append(_notification_row(plan, now))
                    texts += [
                        message_row(m, plan.receiver, plan.received_at, now, plan.id) for m in plan.messages
                    ]
            for name, at in marks.items():
                set_mark(connection, name, at)
            if notes:
                connection.execute(_ADD_NOTIFICATIONS, notes)
            if texts:
                connection.execute(ADD_MESSAGES, texts)
            return refused

        return self.submit(operation)

    # sending

    def due_messages(self, now: datetime, limit: int) -> list[Message]:
        """Return the messages that are due to be sent, those due longest first."""
        with self.reading() as connection:
            return [Message(**row._mapping) for row in connection.execute(_DUE, {"now": now, "most": limit})]

    def claim(self, claimed: Sequence[Job]) -> Future[list[Job]]:
        """Write down that *claimed* are about to be sent; return those whose messages were all still queued."""
        return self.submit(lambda connection: [job for job in claimed if self._claim(connection, job)])

    def split(self, job: Job, halves: Sequence[Job], error: str) -> Future[list[Job]]:
        """Write down that *job* was refused, and that *halves* of it are about to be sent in its place."""

        def operation(connection: Connection) -> list[Job]:
            self._release(connection, job.tag, job.attempted_at, error, None)
            return [half for half in halves if self._claim(connection, half)]

        return self.submit(operation)

    def _claim(self, connection: Connection, job: Job) -> bool:
        connection.execute(
            _ADD_JOB,
            {
                "tag": job.tag,
                "state": JobState.SENDING,
                "text": job.text,
                "attempted_at": job.attempted_at,
                "due_at": job.attempted_at,
                "looks": 0,
                "patience": 0,
            },
        )
        ids = [message.id for message in job.messages]
        taken = connection.execute(_TAKE, {"ids": ids, "job": job.tag, "now": job.attempted_at})
        if taken.rowcount == len(job.messages):
            return True
        self._release(connection, job.tag, job.attempted_at, "was taken elsewhere", None)
        return False

    def finish(
        self, job: Job, endings: Sequence[Ending], now: datetime, *, query_id: str | None = None
    ) -> Future[None]:
        """Write down how messages of *job* ended; those that are not named go back to the queue, due now."""

        def operation(connection: Connection) -> None:
            self._end(connection, endings, now)
            self._release(connection, job.tag, now, None, query_id)

        return self.submit(operation)

    def _end(self, connection: Connection, endings: Sequence[Ending], now: datetime) -> None:
        if not endings:
            return
        connection.execute(
            _END,
            [
                {
                    "message": e.message_id,
                    "state": e.state,
                    "ovh_id": e.ovh_id,
                    "error": e.error,
                    "now": now,
                    "due": now if e.ovh_id is not None else None,
                }
                for e in endings
            ],
        )
        failed = {e.message_id: e.state for e in endings if e.state in FAILED}
        for message_id, state in failed.items():
            connection.execute(_END_MERGED, {"message": message_id, "state": state, "now": now})
        if failed:
            self.incidents.hasten(connection, failed, now)

    def requeue(self, job: Job, due_at: datetime, error: str, query_id: str | None = None) -> Future[None]:
        """Write down that *job* was not taken; its messages go back to the queue, due at *due_at*."""
        return self.submit(lambda connection: self._release(connection, job.tag, due_at, error, query_id))

    @staticmethod
    def _release(
        connection: Connection, tag: str, due_at: datetime, error: str | None, query_id: str | None
    ) -> None:
        connection.execute(_RELEASE, {"job": tag, "due": due_at, "why": error})
        connection.execute(_CLOSE_JOB, {"job": tag, "why": error, "query": query_id})

    def expire(self, expired: Sequence[Message], now: datetime) -> Future[None]:
        """Write down that *expired* are given up."""

        def operation(connection: Connection) -> None:
            queued = select(messages.c.id).where(
                messages.c.id.in_([message.id for message in expired]),
                messages.c.state == MessageState.QUEUED,
            )
            still = list(connection.execute(queued).scalars())
            self._end(connection, [Ending(id_, MessageState.EXPIRED) for id_ in still], now)

        return self.submit(operation)

    # keeping calm

    def sent_to(self, phones: Collection[str], since: datetime) -> dict[str, list[datetime]]:
        """Return when messages went to *phones* after *since*, in order; what is on its way counts as gone."""
        statement = select(messages.c.phone, messages.c.sent_at).where(
            messages.c.phone.in_(list(phones)),
            messages.c.kind != Kind.ANSWER,
            messages.c.state.in_(_GONE),
            messages.c.sent_at > since,
        )
        found: dict[str, list[datetime]] = {phone: [] for phone in phones}
        with self.reading() as connection:
            for phone, at in connection.execute(statement):
                found[phone].append(at)
        return {phone: sorted(times) for phone, times in found.items()}

    def parts_since(self, since: datetime) -> int:
        """Return how many parts went out after *since*; what is on its way counts as gone."""
        statement = select(func.coalesce(func.sum(messages.c.parts), 0)).where(
            messages.c.sent_at > since, messages.c.state.in_(_GONE)
        )
        with self.reading() as connection:
            return int(connection.execute(statement).scalar_one())

    def add_notices(self, notices: Sequence[NewMessage], mark: str, now: datetime) -> Future[None]:
        """Have *notices* sent, and remember *now* as *mark*."""

        def operation(connection: Connection) -> None:
            set_mark(connection, mark, now)
            if notices:
                rows = [message_row(message, "", now, now, None) for message in notices]
                connection.execute(ADD_MESSAGES, rows)

        return self.submit(operation)

    def waiting_for(self, phone: str) -> list[Message]:
        """Return the messages to *phone* that are queued, due or not: the most severe first, then the oldest."""
        statement = (
            select(*_WITH_STATE)
            .select_from(_OF_INCIDENTS)
            .where(messages.c.phone == phone, messages.c.state == MessageState.QUEUED)
            .order_by(messages.c.urgency, messages.c.created_at, messages.c.id)
        )
        with self.reading() as connection:
            return [Message(**row._mapping) for row in connection.execute(statement)]

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
        stands_for_others = exists().where(other.c.merged_into == messages.c.id)
        found: list[str] = []
        with self.reading() as connection:
            for chunk, is_enough in ((ids, is_told), (taken, true())):
                for some in _chunks(chunk):
                    found += connection.execute(
                        select(messages.c.id).where(messages.c.id.in_(some), is_enough, ~stands_for_others)
                    ).scalars()
        return found

    def withdraw(self, ids: Collection[str], now: datetime) -> Future[None]:
        """Write down that the queued messages *ids* are not to be sent any more."""

        def operation(connection: Connection) -> None:
            for chunk in _chunks(list(ids)):
                connection.execute(
                    update(messages)
                    .where(messages.c.id.in_(chunk), messages.c.state == MessageState.QUEUED)
                    .values(state=MessageState.WITHDRAWN, finished_at=now)
                )

        return self.submit(operation)

    def park(self, ids: Collection[str], until: datetime) -> Future[None]:
        """Have the queued messages *ids* wait until then."""

        def operation(connection: Connection) -> None:
            for chunk in _chunks(list(ids)):
                connection.execute(
                    update(messages)
                    .where(messages.c.id.in_(chunk), messages.c.state == MessageState.QUEUED)
                    .values(due_at=until)
                )

        return self.submit(operation)

    def merge(
        self, digest: NewMessage, receiver: str, received_at: datetime, ids: Collection[str], now: datetime
    ) -> Future[bool]:
        """Have *digest* sent in place of the queued messages *ids*; return whether all of them still were."""

        def operation(connection: Connection) -> bool:
            merged = 0
            with connection.begin_nested() as attempt:
                for chunk in _chunks(list(ids)):
                    merged += connection.execute(
                        update(messages)
                        .where(messages.c.id.in_(chunk), messages.c.state == MessageState.QUEUED)
                        .values(state=MessageState.MERGED, merged_into=digest.id)
                    ).rowcount
                    connection.execute(  # what was merged into one of them before goes along
                        update(messages)
                        .where(messages.c.merged_into.in_(chunk))
                        .values(merged_into=digest.id)
                    )
                if merged != len(ids):
                    attempt.rollback()
                    return False
            connection.execute(ADD_MESSAGES, message_row(digest, receiver, received_at, now, None))
            return True

        return self.submit(operation)

    # settling

    def unsettle(
        self,
        job: Job,
        now: datetime,
        due_at: datetime,
        patience: timedelta,
        error: str,
        found: Sequence[Ending] = (),
    ) -> Future[None]:
        """Write down that the answer to *job* was given up *now*, but for the messages *found* to have ended.

        OVHcloud is to be asked for the others at *due_at*.
        """

        def operation(connection: Connection) -> None:
            self._end(connection, found, now)
            connection.execute(
                update(jobs)
                .where(jobs.c.tag == job.tag)
                .values(
                    state=JobState.UNSETTLED,
                    attempted_at=now,
                    due_at=due_at,
                    patience=patience // timedelta(microseconds=1),
                    error=error,
                )
            )
            connection.execute(
                update(messages)
                .where(messages.c.tag == job.tag, messages.c.state == MessageState.SENDING)
                .values(state=MessageState.UNSETTLED, error=error)
            )

        return self.submit(operation)

    def unsettle_orphans(self, now: datetime, patience: timedelta) -> Future[int]:
        """Take up the jobs that were being sent when the process ended: what became of them is to be asked."""

        def operation(connection: Connection) -> int:
            connection.execute(
                update(messages)
                .where(messages.c.state == MessageState.SENDING)
                .values(state=MessageState.UNSETTLED)
            )
            return connection.execute(
                update(jobs)
                .where(jobs.c.state == JobState.SENDING)
                .values(
                    state=JobState.UNSETTLED,
                    attempted_at=now,  # it may have been sent up to the moment that the process ended
                    due_at=now,
                    patience=patience // timedelta(microseconds=1),
                    error="the process ended before the answer came",
                )
            ).rowcount

        return self.submit(operation)

    def unsettled_jobs(self, now: datetime, limit: int) -> list[Job]:
        """Return the jobs of which OVHcloud is to be asked now."""
        with self.reading() as connection:
            found = connection.execute(_UNSETTLED, {"now": now, "most": limit}).all()
            return [
                Job(
                    tag,
                    text,
                    attempted_at,
                    tuple(
                        Message(**row._mapping)
                        for row in connection.execute(
                            select(*_MESSAGE).where(
                                messages.c.tag == tag, messages.c.state == MessageState.UNSETTLED
                            )
                        )
                    ),
                    looks,
                    timedelta(microseconds=patience),
                )
                for tag, text, attempted_at, looks, patience in found
            ]

    def look_again(self, job: Job, due_at: datetime, found: Sequence[Ending], now: datetime) -> Future[None]:
        """Write down which messages of *job* were found, and that the others are asked for at *due_at*."""

        def operation(connection: Connection) -> None:
            self._end(connection, found, now)
            connection.execute(
                update(jobs).where(jobs.c.tag == job.tag).values(due_at=due_at, looks=jobs.c.looks + 1)
            )

        return self.submit(operation)

    def accepted_ids(self, ids: Iterable[int]) -> set[int]:
        """Return which of OVHcloud's *ids* belong to messages that are known to be accepted."""
        statement = select(messages.c.ovh_id).where(messages.c.ovh_id.in_(list(ids)))
        with self.reading() as connection:
            return {int(row[0]) for row in connection.execute(statement)}

    def hasten(self, now: datetime, latest: datetime) -> Future[None]:
        """Make due *now* whatever is due after *latest*: the clock was set back since that was written."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages)
                .where(messages.c.state == MessageState.QUEUED, messages.c.due_at > latest)
                .values(due_at=now)
            )
            connection.execute(
                update(jobs)
                .where(jobs.c.state == JobState.UNSETTLED, jobs.c.due_at > latest)
                .values(due_at=now)
            )

        return self.submit(operation)

    def next_due(self) -> Due:
        """Return when there is next something to send, and something to settle."""
        with self.reading() as connection:
            return Due(*connection.execute(_NEXT_DUE).one())

    def queue(self) -> Queue:
        """Return what is under way."""
        counts = (
            select(messages.c.state, func.count(), func.min(messages.c.received_at))
            .where(messages.c.state.in_(UNDER_WAY))
            .group_by(messages.c.state)
        )
        waiting = select(func.count(), func.min(webhooks.c.received_at)).where(
            webhooks.c.planned_at.is_(None)
        )
        with self.reading() as connection:
            states = dict.fromkeys(map(str, UNDER_WAY), 0)
            oldest: list[datetime] = []
            for state, count, since in connection.execute(counts):
                states[state] = count
                oldest.append(since)
            unplanned, since = connection.execute(waiting).one()
            if since is not None:
                oldest.append(from_microseconds(since))
        return Queue(states, unplanned, min(oldest, default=None))

    # retention

    def delete_before(self, cutoff: datetime, limit: int) -> Future[int]:
        """Delete up to *limit* webhooks received before *cutoff*, with all that came of them.

        What is still under way stays, and what belongs to an incident that is not resolved. Returns how many
        rows were deleted; none means that none is left.
        """

        def operation(connection: Connection) -> int:
            under_way = (
                select(messages.c.id)
                .join(notifications, notifications.c.id == messages.c.notification_id)
                .where(notifications.c.webhook_id == webhooks.c.id, messages.c.state.in_(UNDER_WAY))
            )
            open_ = select(incidents.c.id).where(incidents.c.state != IncidentState.RESOLVED)
            of_open = select(notifications.c.id).where(
                notifications.c.webhook_id == webhooks.c.id, notifications.c.incident_id.in_(open_)
            )
            old = (
                select(webhooks.c.id)
                .where(
                    webhooks.c.id < first_id(cutoff),  # they sort by the time they were received
                    webhooks.c.planned_at.is_not(None),
                    ~exists(under_way),
                    ~exists(of_open),
                )
                .order_by(webhooks.c.id)
                .limit(limit)
            )
            gone = connection.execute(delete(webhooks).where(webhooks.c.id.in_(old))).rowcount
            ours = (  # of escalation, answers, digests
                select(messages.c.id)
                .where(
                    messages.c.id < first_id(cutoff),
                    messages.c.notification_id.is_(None),
                    messages.c.state.not_in(UNDER_WAY),
                    or_(messages.c.incident_id.is_(None), messages.c.incident_id.not_in(open_)),
                )
                .limit(limit)
            )
            gone += connection.execute(delete(messages).where(messages.c.id.in_(ours))).rowcount
            over = select(incidents.c.id).where(incidents.c.resolved_at < cutoff).limit(limit)
            gone += connection.execute(delete(incidents).where(incidents.c.id.in_(over))).rowcount
            read = select(replies.c.id).where(replies.c.at < cutoff).limit(limit)
            gone += connection.execute(delete(replies).where(replies.c.id.in_(read))).rowcount
            attempts = (
                select(jobs.c.tag)
                .where(
                    jobs.c.attempted_at < cutoff,
                    jobs.c.state == JobState.DONE,
                    ~exists(select(messages.c.id).where(messages.c.tag == jobs.c.tag)),
                )
                .limit(limit)
            )
            gone += connection.execute(delete(jobs).where(jobs.c.tag.in_(attempts))).rowcount
            return gone

        return self.submit(operation)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _MOST_VALUES):
        yield ids[start : start + _MOST_VALUES]


def _webhook_row(new: NewWebhook) -> tuple[object, ...]:
    return new.id, new.identity, to_microseconds(new.received_at), new.posted_to, new.body, None


def _notification_row(plan: NewNotification, now: datetime) -> dict[str, Any]:
    return {
        "id": plan.id,
        "webhook_id": plan.webhook_id,
        "receiver": plan.receiver,
        "status": plan.status,
        "group_key": plan.group_key,
        "alerts": plan.alerts,
        "created_at": now,
        "incident_id": plan.change.incident.id if plan.change is not None else None,
        "muted_by": plan.muted_by,
    }
