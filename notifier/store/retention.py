"""Retention: rows that are older than they are to be kept are deleted, some at a time."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, tuple_

from notifier.delivery.message import UNDER_WAY
from notifier.ids import first_id
from notifier.incidents.lifecycle import IncidentState
from notifier.store.database import Database
from notifier.store.messages import chunks
from notifier.store.reloads import delete_reloads
from notifier.store.schema import (
    JobState,
    attempts,
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


class RetentionStore:
    """The deletion of what is old."""

    def __init__(self, database: Database) -> None:
        """Delete in *database*."""
        self._database = database

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

        return self._database.submit(operation)


def _tags_of(connection: Connection, of: ColumnElement[bool]) -> set[str]:
    """Return the tags of all attempts to send the messages that *of* selects."""
    statement = select(attempts.c.tag).where(attempts.c.message_id.in_(select(messages.c.id).where(of)))
    return set(connection.execute(statement).scalars())
