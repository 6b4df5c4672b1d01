"""Retention: rows that are older than they are to be kept are deleted, some at a time."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, or_, select, tuple_

from notifier.delivery.message import UNDER_WAY
from notifier.ids import first_id
from notifier.incidents.lifecycle import IncidentState
from notifier.store.database import Tables
from notifier.store.messages import chunks
from notifier.store.schema import (
    JobState,
    attempts,
    incidents,
    jobs,
    last_webhooks,
    messages,
    notifications,
    reloads,
    replies,
    sql_literal,
    to_microseconds,
    webhooks,
)


class RetentionStore(Tables):
    """Deletes old rows."""

    def delete_before(self, cutoff: datetime, limit: int) -> Future[int]:
        """Delete up to *limit* rows of each table that are older than *cutoff*; return how many rows were deleted.

        Messages that are under way stay, and everything of incidents that are not resolved.
        """

        def operation(connection: Connection) -> int:
            of_webhooks, tags = _delete_webhooks(connection, cutoff, limit)
            of_messages, more_tags = _delete_messages(connection, cutoff, limit)
            return (
                of_webhooks
                + of_messages
                + _delete(connection, incidents, incidents.c.resolved_at < cutoff, limit)
                + _delete(connection, replies, replies.c.at < cutoff, limit)
                + _delete_jobs(connection, tags | more_tags, cutoff, limit)
                + _delete(connection, reloads, reloads.c.id < first_id(cutoff), limit)
                + _delete(
                    connection, last_webhooks, last_webhooks.c.received_at < to_microseconds(cutoff), limit
                )
            )

        return self._database.submit(operation)


_OPEN = select(incidents.c.id).where(incidents.c.state != sql_literal(IncidentState.RESOLVED))


def _delete_webhooks(connection: Connection, cutoff: datetime, limit: int) -> tuple[int, set[str]]:
    """Delete old webhooks with their notifications and messages; return how many, and the tags of the jobs."""
    under_way = (
        select(messages.c.id)
        .join(notifications, notifications.c.id == messages.c.notification_id)
        .where(
            notifications.c.webhook_id == webhooks.c.id,
            messages.c.state.in_([sql_literal(state) for state in UNDER_WAY]),
        )
    )
    of_open = select(notifications.c.id).where(
        notifications.c.webhook_id == webhooks.c.id, notifications.c.incident_id.in_(_OPEN)
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
    of_these = select(notifications.c.id).where(notifications.c.webhook_id.in_(ids))
    tags = _tags_of(connection, messages.c.notification_id.in_(of_these))
    return connection.execute(delete(webhooks).where(webhooks.c.id.in_(ids))).rowcount, tags


def _delete_messages(connection: Connection, cutoff: datetime, limit: int) -> tuple[int, set[str]]:
    """Delete old messages without a webhook (escalation, answers, digests); return how many, and the jobs' tags."""
    old = (
        select(messages.c.id)
        .where(
            messages.c.id < first_id(cutoff),
            messages.c.notification_id.is_(None),
            messages.c.state.not_in(UNDER_WAY),
            or_(messages.c.incident_id.is_(None), messages.c.incident_id.not_in(_OPEN)),
        )
        .limit(limit)
    )
    ids = connection.execute(old).scalars().all()
    tags = _tags_of(connection, messages.c.id.in_(ids))
    return connection.execute(delete(messages).where(messages.c.id.in_(ids))).rowcount, tags


def _delete(connection: Connection, table: Table, is_old: ColumnElement[bool], limit: int) -> int:
    """Delete up to *limit* rows of *table* for which *is_old* holds; return how many."""
    key = table.primary_key.columns
    old = select(*key).where(is_old).limit(limit)
    return connection.execute(delete(table).where(tuple_(*key).in_(old))).rowcount


def _delete_jobs(connection: Connection, tags: set[str], cutoff: datetime, limit: int) -> int:
    """Delete the jobs of *tags* and the oldest jobs, as far as no message is left of them."""
    oldest = select(jobs.c.tag).where(jobs.c.tag < first_id(cutoff)).order_by(jobs.c.tag).limit(limit)
    gone = 0
    for some in chunks(sorted(tags | set(connection.execute(oldest).scalars()))):
        gone += connection.execute(
            delete(jobs).where(
                jobs.c.tag.in_(some),
                jobs.c.state == JobState.DONE,
                ~exists(select(messages.c.id).where(messages.c.tag == jobs.c.tag)),
            )
        ).rowcount
    return gone


def _tags_of(connection: Connection, of: ColumnElement[bool]) -> set[str]:
    """Return the tags of all attempts to send the messages that *of* selects."""
    statement = select(attempts.c.tag).where(attempts.c.message_id.in_(select(messages.c.id).where(of)))
    return set(connection.execute(statement).scalars())
