"""Every SQL statement, as methods that take and return values of their own types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from notifier.clock import utc_now
from notifier.delivery.message import (
    FAILED,
    UNDER_WAY,
    Ending,
    Hold,
    Job,
    Message,
    MessageState,
    NewMessage,
    Reduced,
)
from notifier.ids import first_id, new_id
from notifier.incidents.lifecycle import IncidentState
from notifier.store.database import Database
from notifier.store.followup import ReceiptStore, ReplyStore
from notifier.store.incidents import ADD_MESSAGES, Incidents, message_row
from notifier.store.ledger import Ledger
from notifier.store.outbox import OF_INCIDENTS, WITH_INCIDENT, Outbox, chunks, reword
from notifier.store.records import (
    Claims,
    Due,
    IncidentChange,
    NewNotification,
    NewWebhook,
    Queue,
    StoredWebhook,
)
from notifier.store.reloads import Reloads, delete_reloads
from notifier.store.replicas import ReplicaStore, free_orphans
from notifier.store.schema import (
    IS_WAITING,
    JobState,
    attempts,
    from_microseconds,
    incidents,
    jobs,
    last_webhooks,
    messages,
    notifications,
    replies,
    sql_literal,
    to_microseconds,
    webhooks,
)
from notifier.store.timestamps import Timestamps, set_timestamp

T = TypeVar("T")


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
_EARLIER = webhooks.alias("earlier")
_TAKE_UNPLANNED = (
    update(webhooks)
    .where(
        webhooks.c.id.in_(
            select(webhooks.c.id)
            .where(
                webhooks.c.planned_at.is_(None),
                webhooks.c.id.not_in(bindparam("without", expanding=True)),
                or_(webhooks.c.taken_by.is_(None), webhooks.c.taken_by == bindparam("replica")),
                ~exists().where(
                    _EARLIER.c.planned_at.is_(None),
                    _EARLIER.c.group_hash == webhooks.c.group_hash,
                    _EARLIER.c.id < webhooks.c.id,
                ),
            )
            .order_by(webhooks.c.id)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )
    )
    .values(taken_by=bindparam("replica"))
    .returning(webhooks.c.id, webhooks.c.received_at, webhooks.c.posted_to, webhooks.c.body)
)
_PLAN = (
    update(webhooks)
    .where(webhooks.c.id == bindparam("webhook"), webhooks.c.planned_at.is_(None))
    .values(planned_at=bindparam("now"))
)
_ADD_NOTIFICATIONS = insert(notifications)
_ADD_JOB = insert(jobs)
_ADD_ATTEMPTS = insert(attempts)
_TAKE = (
    update(messages)
    .where(
        messages.c.id.in_(bindparam("ids", expanding=True)),
        IS_WAITING,
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
    .where(
        messages.c.id == bindparam("message"),
        or_(messages.c.tag == bindparam("job"), IS_WAITING),
    )
    .values(
        state=bindparam("state"),
        tag=bindparam("job"),
        ovh_id=bindparam("ovh_id"),
        error=bindparam("error"),
        finished_at=bindparam("now"),
        receipt_due_at=bindparam("due"),
        credits=bindparam("credits"),
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
_REFUSE = (
    update(messages)
    .where(messages.c.id == bindparam("message"), messages.c.tag == bindparam("job"))
    .values(refused_by=bindparam("accounts"))
)
_CLOSE_JOB = (
    update(jobs)
    .where(jobs.c.tag == bindparam("job"))
    .values(
        state=JobState.DONE,
        error=func.coalesce(bindparam("why"), jobs.c.error),
        query_id=bindparam("query"),
        answered_at=bindparam("answered"),
        account=func.coalesce(bindparam("by"), jobs.c.account),
    )
)
_UNSETTLED = (
    select(
        jobs.c.tag,
        jobs.c.text,
        jobs.c.attempted_at,
        jobs.c.settle_attempts,
        jobs.c.listing_grace,
        jobs.c.account,
    )
    .where(
        jobs.c.state != sql_literal(JobState.DONE),
        jobs.c.state == JobState.UNSETTLED,
        jobs.c.due_at <= bindparam("now"),
    )
    .order_by(jobs.c.due_at)
    .limit(bindparam("most"))
)
_IS_SENDING = (jobs.c.state != sql_literal(JobState.DONE)) & (jobs.c.state == JobState.SENDING)
CLAIM_LOST = "was not started: the database did not answer"
"""Why a job was returned to the queue whose claim was committed without this process learning of it."""
_NEXT_DUE = select(
    select(func.min(messages.c.due_at)).where(IS_WAITING).scalar_subquery(),
    select(func.min(jobs.c.due_at))
    .where(jobs.c.state != sql_literal(JobState.DONE), jobs.c.state == JobState.UNSETTLED)
    .scalar_subquery(),
)


_ADD_WEBHOOKS = insert(webhooks)


class Store(Database):
    """The history of webhooks, notifications, messages and jobs.

    What reads may be called from any thread and raises `StoreUnavailable`; what writes returns a future
    that is done once it is on disk.
    """

    def __init__(self, place: Path | URL) -> None:
        """Take the database at *place*, as `Database` does."""
        super().__init__(place, self._remember)
        self._repetitions = self.backend.repetitions()
        self.replica = new_id(utc_now())
        """What this process is known by among those that work on the same database."""
        self.replicas = ReplicaStore(self)
        self.incidents = Incidents(self)
        self.timestamps = Timestamps(self)
        self.receipts = ReceiptStore(self, self.incidents)
        self.replies = ReplyStore(self, self.incidents)
        self.ledger = Ledger(self, self.incidents)
        self.reloads = Reloads(self)

    def _remember(self, connection: Connection) -> None:
        self._repetitions.remember(connection)

    # intake

    def add_webhooks(self, batch: Sequence[NewWebhook], window: timedelta) -> Future[set[str]]:
        """Store *batch*, but for those that repeat the last of their scope within *window*.

        Returns the ids of the repetitions.
        """
        fresh: list[NewWebhook] = []

        def operation(connection: Connection) -> set[str]:
            self._repetitions.forget(fresh)  # of an earlier run of this operation, that was rolled back
            fresh[:] = self._repetitions.fresh(connection, batch, window)
            if fresh:
                connection.execute(_ADD_WEBHOOKS, [_webhook_row(new) for new in fresh])
            return {new.id for new in batch}.difference(new.id for new in fresh)

        written = self.submit(operation, notifies=("planner",))

        def settle(done: Future[set[str]]) -> None:
            if done.exception() is not None:
                self._repetitions.forget(fresh)

        written.add_done_callback(settle)
        return written

    # planning

    def unplanned(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> list[StoredWebhook]:
        """Return the oldest webhooks to be planned, of at most *max_bytes* together unless one is larger.

        Those whose ids are in *without* are passed over. Where other processes plan, too, they are taken: nobody
        else is given them, nor later ones of the same groups, until they are planned or this process has ended.
        """
        if self.backend.is_shared:
            return self._take_unplanned(limit, max_bytes, without)
        with self.reading() as connection:
            rows = connection.execute(
                _UNPLANNED, {"without": list(without), "most": limit, "max_bytes": max_bytes}
            )
            return [StoredWebhook(i, from_microseconds(at), to, bytes(body)) for i, at, to, body in rows]

    def _take_unplanned(self, limit: int, max_bytes: int, without: Collection[str]) -> list[StoredWebhook]:
        given = {"without": list(without), "most": limit, "replica": self.replica}
        rows = self.submit(lambda connection: connection.execute(_TAKE_UNPLANNED, given).all()).result()
        found: list[StoredWebhook] = []
        for row in sorted(rows, key=lambda row: row.id):
            max_bytes -= len(row.body)
            if found and max_bytes < 0:
                break  # it stays ours, for the next time
            at = from_microseconds(row.received_at)
            found.append(StoredWebhook(row.id, at, row.posted_to, bytes(row.body)))
        return found

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
                changes = [plan.change for plan in plans if plan.change is not None]
                if not self._plan(connection, webhook_id, changes, now):
                    refused.append(webhook_id)
                    continue
                for plan in plans:
                    notes.append(_notification_row(plan, now))
                    texts += [
                        message_row(m, plan.receiver, plan.received_at, now, plan.id) for m in plan.messages
                    ]
            for name, at in marks.items():
                set_timestamp(connection, name, at)
            if notes:
                connection.execute(_ADD_NOTIFICATIONS, notes)
            if texts:
                connection.execute(ADD_MESSAGES, texts)
            return refused

        return self.submit(operation, notifies=("sender",))

    def _plan(
        self, connection: Connection, webhook_id: str, changes: Sequence[IncidentChange], now: datetime
    ) -> bool:
        """Write down that a webhook is planned and what becomes of incidents; return whether all of it could be."""
        try:
            with connection.begin_nested() as attempt:
                taken = connection.execute(_PLAN, {"webhook": webhook_id, "now": now}).rowcount == 1
                if taken and all(self.incidents.put(connection, change, now) for change in changes):
                    return True
                attempt.rollback()
        except IntegrityError:  # another replica opened the same, or took the same number
            pass
        return False

    def add_messages(self, new: Sequence[NewMessage], now: datetime) -> Future[None]:
        """Have messages sent that belong to no webhook and no incident."""
        rows = [message_row(message, "", now, now, None) for message in new]

        def operation(connection: Connection) -> None:
            connection.execute(ADD_MESSAGES, rows)

        return self.submit(operation, notifies=("sender",))

    # sending

    def apply(self, choose: Callable[[Outbox], T]) -> Future[T]:
        """Have *choose* say what of the outbox goes now, in one transaction; return what it returns.

        It may be called more than once; what it does counts once.
        """
        return self.submit(lambda connection: choose(self._outbox(connection)), notifies=())

    def claims(self, overdue_since: datetime) -> Claims:
        """Return the jobs that this process has claimed, and how many of any process were claimed before then."""
        own = select(jobs.c.tag).where(_IS_SENDING, jobs.c.owner == self.replica)
        overdue = select(func.count()).where(_IS_SENDING, jobs.c.attempted_at < overdue_since)
        with self.reading() as connection:
            return Claims(
                frozenset(connection.execute(own).scalars()), int(connection.execute(overdue).scalar_one())
            )

    def release_claims(self, in_hand: Callable[[], Collection[str]], now: datetime) -> Future[list[str]]:
        """Return to the queue the jobs that this process has claimed and does not have in hand; return their tags.

        The server committed their claim, and its answer was lost: they were never started. *in_hand* is called
        within the transaction, since a job is in hand before its claim is written.
        """

        def operation(connection: Connection) -> list[str]:
            own = connection.execute(
                select(jobs.c.tag).where(_IS_SENDING, jobs.c.owner == self.replica)
            ).scalars()
            held = in_hand()
            lost = [tag for tag in own if tag not in held]
            for tag in lost:
                self._release(connection, tag, now, CLAIM_LOST, None, answered_at=now)
            return lost

        return self.submit(operation, notifies=("sender",))

    def _outbox(self, connection: Connection) -> Outbox:
        return Outbox(connection, self.backend, self._claim, self._end)

    def claim(self, claimed: Sequence[Job]) -> Future[list[Job]]:
        """Write down that *claimed* are about to be sent; return those whose messages were all still queued."""
        return self.apply(lambda outbox: outbox.claim(claimed))

    def split(self, job: Job, halves: Sequence[Job], error: str) -> Future[list[Job]]:
        """Write down that *job* was refused, and that *halves* of it are about to be sent in its place.

        Returns the halves that were claimed; the same when it is run again after its answer was lost.
        """

        def operation(connection: Connection) -> list[Job]:
            now = halves[0].attempted_at
            known = select(jobs.c.tag, jobs.c.state).where(jobs.c.tag.in_([half.tag for half in halves]))
            if states := {row.tag: row.state for row in connection.execute(known)}:
                return [half for half in halves if states.get(half.tag) == JobState.SENDING]
            self._release(connection, job.tag, now, error, None, answered_at=now)
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
                "settle_attempts": 0,
                "listing_grace": 0,
                "owner": self.replica,
                "account": job.account,
            },
        )
        ids = [message.id for message in job.messages]
        taken = connection.execute(_TAKE, {"ids": ids, "job": job.tag, "now": job.attempted_at})
        if taken.rowcount == len(job.messages):
            connection.execute(_ADD_ATTEMPTS, [{"tag": job.tag, "message_id": id_} for id_ in ids])
            return True
        now = job.attempted_at
        self._release(connection, job.tag, now, "was taken elsewhere", None, answered_at=now)
        return False

    def finish(
        self,
        job: Job,
        endings: Sequence[Ending],
        now: datetime,
        *,
        query_id: str | None = None,
        refused: Collection[Message] = (),
        error: str | None = None,
    ) -> Future[None]:
        """Write down how messages of *job* ended; those that are not named go back to the queue, due now.

        Of those, its account has *refused* some, for the reason *error*: another is to send them.
        """

        def operation(connection: Connection) -> None:
            self._end(connection, endings, now, job.tag)
            for message in refused:
                accounts = " ".join(sorted({*message.refusing, job.account}))
                given = {"message": message.id, "job": job.tag, "accounts": accounts}
                connection.execute(_REFUSE, given)
            self._release(connection, job.tag, now, error, query_id, answered_at=now, account=job.account)

        return self.submit(operation)

    def _end(
        self, connection: Connection, endings: Sequence[Ending], now: datetime, tag: str | None = None
    ) -> None:
        """Write down *endings*, unless another job than that of *tag* has the message in hand by now."""
        if not endings:
            return
        connection.execute(
            _END,
            [
                {
                    "message": e.message_id,
                    "job": tag,
                    "state": e.state,
                    "ovh_id": e.ovh_id,
                    "error": e.error,
                    "now": now,
                    "due": now if e.ovh_id is not None else None,
                    "credits": e.credits,
                }
                for e in endings
            ],
        )
        failed = {e.message_id: e.state for e in endings if e.state in FAILED}
        for message_id, state in failed.items():
            connection.execute(_END_MERGED, {"message": message_id, "state": state, "now": now})
        if failed:
            self.incidents.escalate_now(connection, failed, now)

    def requeue(
        self, job: Job, due_at: datetime, error: str, now: datetime, query_id: str | None = None
    ) -> Future[None]:
        """Write down that *job* was not taken; its messages go back to the queue, due at *due_at*."""

        def operation(connection: Connection) -> None:
            self._release(connection, job.tag, due_at, error, query_id, answered_at=now)

        return self.submit(operation)

    def reduce(
        self,
        job: Job,
        texts: Sequence[Reduced],
        endings: Sequence[Ending],
        error: str,
        now: datetime,
        query_id: str | None = None,
    ) -> Future[None]:
        """Write down that the content of *job* was refused.

        Messages go back to the queue with their *texts*, due now, but for those that ended.
        """

        def operation(connection: Connection) -> None:
            self._end(connection, endings, now, job.tag)
            reword(connection, texts, messages.c.tag == job.tag)
            self._release(connection, job.tag, now, error, query_id, answered_at=now, account=job.account)

        return self.submit(operation)

    @staticmethod
    def _release(
        connection: Connection,
        tag: str,
        due_at: datetime,
        error: str | None,
        query_id: str | None,
        *,
        answered_at: datetime,
        account: str | None = None,
    ) -> None:
        connection.execute(_RELEASE, {"job": tag, "due": due_at, "why": error})
        connection.execute(
            _CLOSE_JOB,
            {"job": tag, "why": error, "query": query_id, "answered": answered_at, "by": account},
        )

    # settling

    def unsettle(
        self,
        job: Job,
        now: datetime,
        due_at: datetime,
        listing_grace: timedelta,
        error: str,
        found: Sequence[Ending] = (),
    ) -> Future[None]:
        """Write down that the answer to *job* was given up *now*, but for the messages *found* to have ended.

        OVHcloud is to be asked for the others at *due_at*.
        """

        def operation(connection: Connection) -> None:
            self._end(connection, found, now, job.tag)
            connection.execute(
                update(jobs)
                .where(jobs.c.tag == job.tag)
                .values(
                    state=JobState.UNSETTLED,
                    attempted_at=now,
                    due_at=due_at,
                    listing_grace=listing_grace // timedelta(microseconds=1),
                    error=error,
                    account=job.account,
                )
            )
            connection.execute(
                update(messages)
                .where(messages.c.tag == job.tag, messages.c.state == MessageState.SENDING)
                .values(state=MessageState.UNSETTLED, error=error)
            )

        return self.submit(operation)

    def free_orphans(self, now: datetime, listing_grace: timedelta) -> Future[int]:
        """Take up the jobs that were being sent by processes that have ended: OVHcloud is to be asked for them.

        Returns how many there are. An answer that there is none such is not believed for *listing_grace*.
        """
        return self.submit(lambda connection: free_orphans(connection, now, listing_grace))

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
                            select(*WITH_INCIDENT)
                            .select_from(OF_INCIDENTS)
                            .where(messages.c.tag == tag, messages.c.state == MessageState.UNSETTLED)
                        )
                    ),
                    settle_attempts,
                    timedelta(microseconds=listing_grace),
                    account,
                )
                for tag, text, attempted_at, settle_attempts, listing_grace, account in found
            ]

    def look_again(self, job: Job, due_at: datetime, found: Sequence[Ending], now: datetime) -> Future[None]:
        """Write down which messages of *job* were found, and that the others are asked for at *due_at*."""

        def operation(connection: Connection) -> None:
            self._end(connection, found, now, job.tag)
            connection.execute(
                update(jobs)
                .where(jobs.c.tag == job.tag)
                .values(due_at=due_at, settle_attempts=jobs.c.settle_attempts + 1)
            )

        return self.submit(operation)

    def accepted_ids(self, ids: Iterable[int], account: str) -> set[int]:
        """Return which of the *ids* of an account belong to messages that are known to be accepted."""
        statement = (
            select(messages.c.ovh_id)
            .join(jobs, jobs.c.tag == messages.c.tag)
            .where(messages.c.ovh_id.in_(list(ids)), jobs.c.account == account)
        )
        with self.reading() as connection:
            return {int(row[0]) for row in connection.execute(statement)}

    def reset_due_times(self, now: datetime, latest: datetime) -> Future[None]:
        """Make due *now* whatever is due after *latest*: the clock was set back since that was written."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages).where(IS_WAITING, messages.c.due_at > latest).values(due_at=now)
            )
            connection.execute(
                update(jobs)
                .where(jobs.c.state == JobState.UNSETTLED, jobs.c.due_at > latest)
                .values(due_at=now)
            )

        return self.submit(operation)

    def forget_refusals(self) -> Future[None]:
        """Let every account be tried again for the messages that wait."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages).where(IS_WAITING, messages.c.refused_by.is_not(None)).values(refused_by=None)
            )

        return self.submit(operation)

    def phones_due(self, now: datetime, without: Collection[str]) -> list[str]:
        """Return the numbers that messages are due to, but for those in *without*."""
        statement = (
            select(messages.c.phone)
            .distinct()
            .where(
                IS_WAITING,
                messages.c.due_at <= now,
                messages.c.phone.not_in(list(without)),
            )
        )
        with self.reading() as connection:
            return list(connection.execute(statement).scalars())

    def next_due(self) -> Due:
        """Return when there is next something to send, and something to settle."""
        with self.reading() as connection:
            return Due(*connection.execute(_NEXT_DUE).one())

    def queue(self) -> Queue:
        """Return what is under way."""
        counts = (
            select(messages.c.state, func.count(), func.min(messages.c.received_at))
            .where(messages.c.state.in_([sql_literal(state) for state in UNDER_WAY]))
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
                if state != MessageState.HELD:  # what Notifier itself holds is not late
                    oldest.append(since)
            unplanned, since = connection.execute(waiting).one()
            if since is not None:
                oldest.append(from_microseconds(since))
        return Queue(states, unplanned, min(oldest, default=None), self.held())

    def oldest_unplanned(self) -> datetime | None:
        """Return when the oldest webhook came that is not planned; None when all are."""
        statement = select(func.min(webhooks.c.received_at)).where(webhooks.c.planned_at.is_(None))
        with self.reading() as connection:
            since = connection.execute(statement).scalar()
        return None if since is None else from_microseconds(since)

    def held(self) -> dict[str, int]:
        """Return how many messages are held, by reason."""
        statement = (
            select(messages.c.held_for, func.count())
            .where(IS_WAITING, messages.c.state == MessageState.HELD)
            .group_by(messages.c.held_for)
        )
        with self.reading() as connection:
            found = {str(reason): int(count) for reason, count in connection.execute(statement)}
        return {reason: found.get(reason, 0) for reason in Hold}

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
                .where(
                    notifications.c.webhook_id == webhooks.c.id,
                    messages.c.state.in_([sql_literal(state) for state in UNDER_WAY]),
                )
            )
            open_ = select(incidents.c.id).where(incidents.c.state != sql_literal(IncidentState.RESOLVED))
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
            ids = connection.execute(old).scalars().all()
            theirs = select(notifications.c.id).where(notifications.c.webhook_id.in_(ids))
            tags = _tags_of(connection, messages.c.notification_id.in_(theirs))
            gone = connection.execute(delete(webhooks).where(webhooks.c.id.in_(ids))).rowcount
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
            ids = connection.execute(ours).scalars().all()
            tags |= _tags_of(connection, messages.c.id.in_(ids))
            gone += connection.execute(delete(messages).where(messages.c.id.in_(ids))).rowcount
            over = select(incidents.c.id).where(incidents.c.resolved_at < cutoff).limit(limit)
            gone += connection.execute(delete(incidents).where(incidents.c.id.in_(over))).rowcount
            key = tuple_(replies.c.account, replies.c.id)
            read = select(replies.c.account, replies.c.id).where(replies.c.at < cutoff).limit(limit)
            gone += connection.execute(delete(replies).where(key.in_(read))).rowcount
            # Those of what was just deleted, and among the oldest those that never had messages.
            oldest = select(jobs.c.tag).where(jobs.c.tag < first_id(cutoff)).order_by(jobs.c.tag).limit(limit)
            tags |= set(connection.execute(oldest).scalars())
            for some in chunks(sorted(tags)):
                gone += connection.execute(
                    delete(jobs).where(
                        jobs.c.tag.in_(some),
                        jobs.c.state == JobState.DONE,
                        ~exists(select(messages.c.id).where(messages.c.tag == jobs.c.tag)),
                    )
                ).rowcount
            gone += delete_reloads(connection, first_id(cutoff), limit)
            horizon = to_microseconds(cutoff)
            old_scopes = (
                select(last_webhooks.c.scope).where(last_webhooks.c.received_at < horizon).limit(limit)
            )
            gone += connection.execute(
                delete(last_webhooks).where(last_webhooks.c.scope.in_(old_scopes))
            ).rowcount
            return gone

        return self.submit(operation)


def _tags_of(connection: Connection, of: ColumnElement[bool]) -> set[str]:
    """Return the tags of all attempts to send the messages that *of* selects."""
    statement = select(attempts.c.tag).where(attempts.c.message_id.in_(select(messages.c.id).where(of)))
    return set(connection.execute(statement).scalars())


def _webhook_row(new: NewWebhook) -> dict[str, Any]:
    return {
        "id": new.id,
        "identity": new.identity,
        "received_at": to_microseconds(new.received_at),
        "posted_to": new.posted_to,
        "body": new.body,
        "group_hash": new.group_hash,
    }


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
