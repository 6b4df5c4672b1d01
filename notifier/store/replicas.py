"""Who works on the database: each replica shows that it lives, and the work of one that does not is freed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from notifier.delivery.message import MessageState
from notifier.store.database import Tables
from notifier.store.messages import chunks
from notifier.store.schema import IS_SENDING, JobState, jobs, messages, replicas, webhooks

_BEAT = (
    update(replicas)
    .where(replicas.c.id == bindparam("replica"))
    .values(beats=replicas.c.beats + 1, seen_at=bindparam("now"))
)
_ALIVE = select(replicas.c.id)
_ORPHANED = or_(jobs.c.owner.is_(None), jobs.c.owner.not_in(_ALIVE))


class ReplicaStore(Tables):
    """The replicas of a database."""

    def heartbeat(self, replica: str, now: datetime) -> Future[dict[str, int]]:
        """Increment the heartbeat counter of *replica*; return the counters of the other replicas."""

        def operation(connection: Connection) -> dict[str, int]:
            if not connection.execute(_BEAT, {"replica": replica, "now": now}).rowcount:
                connection.execute(insert(replicas), {"id": replica, "beats": 0, "seen_at": now})
            rows = connection.execute(select(replicas.c.id, replicas.c.beats)).all()
            return {row.id: row.beats for row in rows if row.id != replica}

        return self._database.submit(operation)

    def count(self) -> int:
        """Return how many there are."""
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).select_from(replicas)).scalar_one())

    def expire(self, stale: Mapping[str, int], now: datetime, listing_grace: timedelta) -> Future[int]:
        """Release the work of stale replicas; return how many jobs of unknown outcome are to be looked up.

        *stale* maps a replica to its last seen heartbeat counter; a replica whose counter has moved is kept. An answer
        of OVHcloud that there is no such job is final once *listing_grace* has elapsed.
        """

        def operation(connection: Connection) -> int:
            for replica, beats in sorted(stale.items()):
                connection.execute(
                    delete(replicas).where(replicas.c.id == replica, replicas.c.beats == beats)
                )
            return free_orphans(connection, now, listing_grace)

        return self._database.submit(operation, notifies=("sender", "planner"))

    def leave(self, replica: str, now: datetime, listing_grace: timedelta) -> Future[int]:
        """Remove *replica*, which ends, and free its work at once: its webhooks, and jobs that it has not finished.

        Returns how many jobs of unknown outcome there are now for OVHcloud to be asked about; the answer "not found"
        is not final for *listing_grace*.
        """

        def operation(connection: Connection) -> int:
            connection.execute(delete(replicas).where(replicas.c.id == replica))
            return free_orphans(connection, now, listing_grace)

        return self._database.submit(operation, notifies=("planner", "sender"))


def free_orphans(connection: Connection, now: datetime, listing_grace: timedelta) -> int:
    """Release work that belongs to no living replica; return how many jobs are to be asked for."""
    connection.execute(
        update(webhooks)
        .where(
            webhooks.c.planned_at.is_(None),
            webhooks.c.taken_by.is_not(None),
            webhooks.c.taken_by.not_in(_ALIVE),
        )
        .values(taken_by=None)
    )
    tags = connection.execute(select(jobs.c.tag).where(IS_SENDING, _ORPHANED)).scalars().all()
    unsettled = {
        "state": JobState.UNSETTLED,
        "due_at": now,
        "listing_grace": listing_grace // timedelta(microseconds=1),
        "error": "the process ended before the answer came",
    }
    for some in chunks(tags):
        is_sending = messages.c.tag.in_(some), messages.c.state == MessageState.SENDING
        connection.execute(update(messages).where(*is_sending).values(state=MessageState.UNSETTLED))
        connection.execute(update(jobs).where(jobs.c.tag.in_(some), IS_SENDING).values(unsettled))
    return len(tags)
