"""Jobs: claimed before their call, and finished, returned to the queue or unsettled after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, func, insert, or_, select, update

from notifier.delivery.message import FAILED, Ending, Job, Message, MessageState, Reduced
from notifier.store.database import Tables
from notifier.store.incident_changes import escalate_now
from notifier.store.links import add_link
from notifier.store.messages import OF_INCIDENTS, WITH_INCIDENT, reword
from notifier.store.records import Claim
from notifier.store.replicas import free_orphans
from notifier.store.schema import IS_SENDING, IS_WAITING, JobState, attempts, jobs, messages, sql_literal

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
_CLAIMED = select(jobs.c.tag, jobs.c.owner, jobs.c.attempted_at).where(IS_SENDING)
CLAIM_LOST = "was not started: the database did not answer"
"""Why a job was returned to the queue whose claim was committed without this process learning of it."""


class JobStore(Tables):
    """The jobs of a database, each an attempt to send one text."""

    def claims(self) -> list[Claim]:
        """Return the jobs that are being sent, by any process."""
        own = self._database.replica
        with self._database.reading() as connection:
            return [Claim(tag, owner == own, at) for tag, owner, at in connection.execute(_CLAIMED)]

    def release_claims(self, in_hand: Callable[[], Collection[str]], now: datetime) -> Future[list[str]]:
        """Return to the queue the jobs that this process has claimed and does not have in hand; return their tags.

        The server committed their claim, and its answer was lost: they were never started. *in_hand* is called
        within the transaction, since a job is in hand before its claim is written.
        """

        def operation(connection: Connection) -> list[str]:
            own = connection.execute(
                select(jobs.c.tag).where(IS_SENDING, jobs.c.owner == self._database.replica)
            ).scalars()
            held = in_hand()
            lost = [tag for tag in own if tag not in held]
            for tag in lost:
                self._release(connection, tag, now, CLAIM_LOST)
            return lost

        return self._database.submit(operation, notifies=("sender",))

    def split(self, job: Job, halves: Sequence[Job], error: str) -> Future[list[Job]]:
        """Record that *job* was refused, and claim *halves* of it instead.

        Returns the halves that were claimed; the same when it is run again after its answer was lost.
        """

        def operation(connection: Connection) -> list[Job]:
            now = halves[0].attempted_at
            known = select(jobs.c.tag, jobs.c.state).where(jobs.c.tag.in_([half.tag for half in halves]))
            if states := {row.tag: row.state for row in connection.execute(known)}:
                return [half for half in halves if states.get(half.tag) == JobState.SENDING]
            self._release(connection, job.tag, now, error)
            return [half for half in halves if self.claim(connection, half)]

        return self._database.submit(operation)

    def claim(self, connection: Connection, job: Job) -> bool:
        """Claim *job*, which is about to be sent, in a transaction; return whether its messages were all queued.

        Else none of them is sent by it.
        """
        connection.execute(
            _ADD_JOB,
            {
                "tag": job.tag,
                "state": JobState.SENDING,
                "text": job.text,
                "attempted_at": job.attempted_at,
                "due_at": job.attempted_at,
                "owner": self._database.replica,
                "account": job.account,
            },
        )
        ids = [message.id for message in job.messages]
        taken = connection.execute(_TAKE, {"ids": ids, "job": job.tag, "now": job.attempted_at})
        if taken.rowcount == len(job.messages):
            connection.execute(_ADD_ATTEMPTS, [{"tag": job.tag, "message_id": id_} for id_ in ids])
            if job.link is not None:
                add_link(connection, job.link, ids[0], job.attempted_at)
            return True
        why = "not started: some of its messages no longer waited to be sent"
        self._release(connection, job.tag, job.attempted_at, why)
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
            self.end_in(connection, endings, now, job.tag)
            for message in refused:
                accounts = " ".join(sorted({*message.refusing, job.account}))
                given = {"message": message.id, "job": job.tag, "accounts": accounts}
                connection.execute(_REFUSE, given)
            self._release(connection, job.tag, now, error, query_id, account=job.account)

        return self._database.submit(operation)

    def end_in(
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
            escalate_now(connection, failed, now)

    def requeue(
        self, job: Job, due_at: datetime, error: str, now: datetime, query_id: str | None = None
    ) -> Future[None]:
        """Write down that *job* was not taken; its messages go back to the queue, due at *due_at*."""

        def operation(connection: Connection) -> None:
            self._release(connection, job.tag, now, error, query_id, due_at=due_at)

        return self._database.submit(operation)

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
            self.end_in(connection, endings, now, job.tag)
            reword(connection, texts, messages.c.tag == job.tag)
            self._release(connection, job.tag, now, error, query_id, account=job.account)

        return self._database.submit(operation)

    @staticmethod
    def _release(
        connection: Connection,
        tag: str,
        now: datetime,
        error: str | None,
        query_id: str | None = None,
        *,
        due_at: datetime | None = None,
        account: str | None = None,
    ) -> None:
        """Return the messages of a job to the queue, due now or at *due_at*, and close the job."""
        connection.execute(_RELEASE, {"job": tag, "due": due_at or now, "why": error})
        given = {"job": tag, "why": error, "query": query_id, "answered": now, "by": account}
        connection.execute(_CLOSE_JOB, given)

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
        """Mark *job* as unsettled *now*: no answer came, except about the messages in *found*.

        OVHcloud is to be asked for the others at *due_at*.
        """

        def operation(connection: Connection) -> None:
            self.end_in(connection, found, now, job.tag)
            connection.execute(
                update(jobs)
                .where(jobs.c.tag == job.tag)
                .values(
                    state=JobState.UNSETTLED,
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

        return self._database.submit(operation)

    def free_orphans(self, now: datetime, listing_grace: timedelta) -> Future[int]:
        """Take up the jobs that were being sent by processes that have ended: OVHcloud is to be asked for them.

        Returns how many there are. "Not found" is not final for *listing_grace*.
        """
        return self._database.submit(lambda connection: free_orphans(connection, now, listing_grace))

    def unsettled(self, now: datetime, limit: int) -> list[Job]:
        """Return the jobs that are to be looked up at OVHcloud now."""
        with self._database.reading() as connection:
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

    def ask_again(self, job: Job, due_at: datetime, found: Sequence[Ending], now: datetime) -> Future[None]:
        """Write down which messages of *job* were found, and that the others are asked for at *due_at*."""

        def operation(connection: Connection) -> None:
            self.end_in(connection, found, now, job.tag)
            connection.execute(
                update(jobs)
                .where(jobs.c.tag == job.tag)
                .values(due_at=due_at, settle_attempts=jobs.c.settle_attempts + 1)
            )

        return self._database.submit(operation)

    def accepted_ids(self, ids: Iterable[int], account: str) -> set[int]:
        """Return which of the *ids* of an account belong to messages that are known to be accepted."""
        statement = (
            select(messages.c.ovh_id)
            .join(jobs, jobs.c.tag == messages.c.tag)
            .where(messages.c.ovh_id.in_(list(ids)), jobs.c.account == account)
        )
        with self._database.reading() as connection:
            return {int(row[0]) for row in connection.execute(statement)}
