"""The outbox: the messages that wait to be sent. Reads a snapshot of it, and applies selections.

A selection is made outside of any transaction. It is applied only to rows that have not changed since they were read,
and, on a database that replicas share, only as far as other replicas have not used up its limits since.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, select, update

from notifier.delivery.message import (
    UNDER_WAY,
    Ending,
    Hold,
    Message,
    MessageState,
    NewMessage,
)
from notifier.delivery.selection import is_exempt_from_credits
from notifier.delivery.snapshot import Selection, Snapshot
from notifier.store.database import Database
from notifier.store.jobs import JobStore
from notifier.store.messages import ADD_MESSAGES, chunks, message_row
from notifier.store.records import Due, Queue
from notifier.store.schema import (
    IS_WAITING,
    JobState,
    from_microseconds,
    jobs,
    messages,
    sql_literal,
    webhooks,
)
from notifier.store.snapshots import CREDITS_NOTICE, Snapshots, read_usage
from notifier.store.timestamps import set_timestamp

_AS_READ = (
    select(messages.c.id, messages.c.phone, messages.c.attempts, messages.c.reduction)
    .where(messages.c.id.in_(bindparam("ids", expanding=True)), IS_WAITING)
    .with_for_update(skip_locked=True)
)
_NEXT_DUE = select(
    select(func.min(messages.c.due_at)).where(IS_WAITING).scalar_subquery(),
    select(func.min(jobs.c.due_at))
    .where(jobs.c.state != sql_literal(JobState.DONE), jobs.c.state == JobState.UNSETTLED)
    .scalar_subquery(),
)


class Outbox(Snapshots):
    """The messages of a database that wait to be sent."""

    def __init__(self, database: Database, jobs_: JobStore) -> None:
        """Read and write *database*; *jobs_* are claimed there."""
        super().__init__(database)
        self._jobs = jobs_

    def apply(self, snapshot: Snapshot, selection: Selection) -> Future[Selection]:
        """Write *selection*, which was made from *snapshot*; return the part that was written.

        Rows that others have changed since, or are changing, are left out.
        """
        return self._database.submit(lambda connection: self._apply(connection, snapshot, selection))

    def _apply(self, connection: Connection, snapshot: Snapshot, selection: Selection) -> Selection:
        now, limits = snapshot.now, snapshot.limits
        guards = self._guards(connection, snapshot, selection)
        chosen = list(selection.messages())
        as_read = _as_read(connection, chosen)
        free = {one.id for one in chosen if one.id in as_read and f"phone/{one.phone}" in guards}
        has_credits = limits.credits is None or "credits" in guards
        done = Selection(rate_limited_until=selection.rate_limited_until)
        done.expired = [message for message in selection.expired if message.id in free]
        self._jobs.end_in(connection, [Ending(one.id, MessageState.EXPIRED) for one in done.expired], now)
        done.withdrawn = [message for message in selection.withdrawn if message.id in free]
        _withdraw(connection, [message.id for message in done.withdrawn], now)
        done.readdressed = [
            (message, phone) for message, phone in selection.readdressed if message.id in free
        ]
        for message, phone in done.readdressed:
            connection.execute(update(messages).where(messages.c.id == message.id).values(phone=phone))
        for held in selection.held:
            if held.reason is Hold.CREDITS and not has_credits:
                continue  # another replica spends them now
            of_these = [message for message in held.messages if message.id in free]
            if of_these:
                _hold(connection, [message.id for message in of_these], held.until, held.reason, now)
                done.held.append(replace(held, messages=of_these))
        for merged in selection.merged:
            if all(message.id in free for message in merged.messages):
                _merge(connection, merged.digest, merged.messages, now)
                done.merged.append(merged)
        if selection.notices and has_credits:
            set_timestamp(connection, CREDITS_NOTICE, now)
            connection.execute(
                ADD_MESSAGES, [message_row(one, "", now, now, None) for one in selection.notices]
            )
            done.notices = selection.notices
        for job in selection.jobs:
            if job.account in limits.rates and f"rate/{job.account}" not in guards:
                continue
            sendable = [
                one for one in job.messages if one.id in free and (has_credits or is_exempt_from_credits(one))
            ]
            claimed = replace(job, messages=tuple(sendable))
            if sendable and self._jobs.claim(connection, claimed):
                done.jobs.append(claimed)
        done.is_partial = len(list(done.messages())) < len(chosen)
        return done

    def _guards(self, connection: Connection, snapshot: Snapshot, selection: Selection) -> set[str]:
        """Take the locks of *selection*; return the names of those whose usage has not changed since *snapshot*.

        The names are ``phone/`` and a number, ``rate/`` and an account, ``credits``.
        """
        limits = snapshot.limits
        phones = {message.phone for message in selection.messages()}
        names = {f"phone/{phone}" for phone in phones}
        names |= {f"rate/{job.account}" for job in selection.jobs if job.account in limits.rates}
        if limits.credits is not None:
            names.add("credits")
        free = self._database.backend.lock(connection, sorted(names))
        if not self._database.backend.is_shared:
            return free  # this process alone sends, and selects on one thread
        usage, read = (
            read_usage(connection, limits, phones & snapshot.usage.by_phone.keys(), snapshot.now),
            snapshot.usage,
        )
        changed = {
            f"phone/{phone}" for phone, times in usage.by_phone.items() if times != read.by_phone[phone]
        }
        changed |= {
            f"rate/{name}" for name, times in usage.by_account.items() if times != read.by_account[name]
        }
        if (usage.parts, usage.credits_notice_at) != (read.parts, read.credits_notice_at):
            changed.add("credits")
        return free - changed

    # the rest

    def add(self, new: Sequence[NewMessage], now: datetime) -> Future[None]:
        """Have messages sent that belong to no webhook and no incident."""
        rows = [message_row(message, "", now, now, None) for message in new]

        def operation(connection: Connection) -> None:
            connection.execute(ADD_MESSAGES, rows)

        return self._database.submit(operation, notifies=("sender",))

    def withdraw(self, ids: Collection[str], now: datetime, why: str | None = None) -> Future[None]:
        """Withdraw the messages of these *ids* that wait to be sent; *why* becomes their error, unless it is None."""

        def operation(connection: Connection) -> None:
            _withdraw(connection, list(ids), now, why)

        return self._database.submit(operation)

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

        return self._database.submit(operation)

    def forget_refusals(self) -> Future[None]:
        """Let every account be tried again for the messages that wait."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages).where(IS_WAITING, messages.c.refused_by.is_not(None)).values(refused_by=None)
            )

        return self._database.submit(operation)

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
        with self._database.reading() as connection:
            return list(connection.execute(statement).scalars())

    def next_due(self) -> Due:
        """Return when there is next something to send, and something to settle."""
        with self._database.reading() as connection:
            return Due(*connection.execute(_NEXT_DUE).one())

    def queue(self) -> Queue:
        """Return the messages under way."""
        counts = (
            select(messages.c.state, func.count(), func.min(messages.c.received_at))
            .where(messages.c.state.in_([sql_literal(state) for state in UNDER_WAY]))
            .group_by(messages.c.state)
        )
        waiting = select(func.count(), func.min(webhooks.c.received_at)).where(
            webhooks.c.planned_at.is_(None)
        )
        with self._database.reading() as connection:
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

    def held(self) -> dict[str, int]:
        """Return how many messages are held, by reason."""
        statement = (
            select(messages.c.held_for, func.count())
            .where(IS_WAITING, messages.c.state == MessageState.HELD)
            .group_by(messages.c.held_for)
        )
        with self._database.reading() as connection:
            found = {str(reason): int(count) for reason, count in connection.execute(statement)}
        return {reason: found.get(reason, 0) for reason in Hold}


def _as_read(connection: Connection, chosen: Sequence[Message]) -> set[str]:
    """Return the ids of the *chosen* messages that still wait unchanged; their rows are locked."""
    by_id = {message.id: message for message in chosen}
    found = set()
    for some in chunks(list(by_id)):
        for id_, phone, attempts, reduction in connection.execute(_AS_READ, {"ids": some}):
            read = by_id[id_]
            if (phone, attempts, reduction) == (read.phone, read.attempts, read.reduction):
                found.add(id_)
    return found


def _withdraw(connection: Connection, ids: Sequence[str], now: datetime, why: str | None = None) -> None:
    withdrawn = {"state": MessageState.WITHDRAWN, "finished_at": now} | ({"error": why} if why else {})
    for some in chunks(ids):
        connection.execute(update(messages).where(IS_WAITING, messages.c.id.in_(some)).values(withdrawn))


def _hold(connection: Connection, ids: Sequence[str], until: datetime, reason: Hold, now: datetime) -> None:
    for some in chunks(ids):
        connection.execute(
            update(messages)
            .where(messages.c.id.in_(some), messages.c.due_at <= now)
            .values(state=MessageState.HELD, held_for=reason, due_at=until)
        )


def _merge(connection: Connection, digest: NewMessage, merged: Sequence[Message], now: datetime) -> None:
    """Have *digest* sent in place of the messages *merged*."""
    for some in chunks([message.id for message in merged]):
        connection.execute(
            update(messages)
            .where(messages.c.id.in_(some))
            .values(state=MessageState.MERGED, merged_into=digest.id)
        )
        connection.execute(  # what was merged into one of them before goes along
            update(messages).where(messages.c.merged_into.in_(some)).values(merged_into=digest.id)
        )
    connection.execute(ADD_MESSAGES, message_row(digest, merged[0].receiver, now, now, None))
