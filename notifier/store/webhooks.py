"""Webhooks: stored as they came, planned once, each with the notifications and messages that it leads to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, or_, select, update

from notifier.store.database import Database
from notifier.store.engine import Repetitions
from notifier.store.incident_changes import put_incidents
from notifier.store.messages import ADD_MESSAGES, message_row
from notifier.store.records import NewNotification, NewWebhook, StoredWebhook
from notifier.store.schema import from_microseconds, notifications, to_microseconds, webhooks
from notifier.store.timestamps import advance_timestamp

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
    .where(webhooks.c.id.in_(bindparam("webhooks", expanding=True)), webhooks.c.planned_at.is_(None))
    .values(planned_at=bindparam("now"))
)
_ADD_NOTIFICATIONS = insert(notifications)
_ADD_WEBHOOKS = insert(webhooks)


class WebhookStore:
    """The webhooks of a database."""

    def __init__(self, database: Database, repetitions: Repetitions) -> None:
        """Read and write *database*; *repetitions* are not stored."""
        self._database = database
        self._repetitions = repetitions

    def add(self, batch: Sequence[NewWebhook], window: timedelta) -> Future[set[str]]:
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

        written = self._database.submit(operation, notifies=("planner",))

        def settle(done: Future[set[str]]) -> None:
            if done.exception() is not None:
                self._repetitions.forget(fresh)

        written.add_done_callback(settle)
        return written

    def unplanned(self, limit: int, max_bytes: int, without: Collection[str] = ()) -> list[StoredWebhook]:
        """Return the oldest webhooks to be planned, of at most *max_bytes* together unless one is larger.

        Ids in *without* are left out. On a shared database the webhooks are claimed (`taken_by`): no other replica
        gets them, nor later webhooks of their groups, until they are planned or this replica has ended.
        """
        if self._database.backend.is_shared:
            return self._take_unplanned(limit, max_bytes, without)
        with self._database.reading() as connection:
            rows = connection.execute(
                _UNPLANNED, {"without": list(without), "most": limit, "max_bytes": max_bytes}
            )
            return [StoredWebhook(i, from_microseconds(at), to, bytes(body)) for i, at, to, body in rows]

    def _take_unplanned(self, limit: int, max_bytes: int, without: Collection[str]) -> list[StoredWebhook]:
        given = {"without": list(without), "most": limit, "replica": self._database.replica}
        rows = self._database.submit(
            lambda connection: connection.execute(_TAKE_UNPLANNED, given).all()
        ).result()
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
        times: Mapping[str, datetime] = MappingProxyType({}),
    ) -> Future[list[str]]:
        """Store the plans of the webhooks of the given ids, and *times* by their names unless later ones are stored.

        Returns the ids of those that were planned already, or that change an incident which has been
        changed since it was read; nothing of them is stored.
        """

        def operation(connection: Connection) -> list[str]:
            refused: list[str] = []
            if not _add(connection, planned, now):  # one is at fault: the others are stored all the same
                refused = [plans[0] for plans in planned if not _add(connection, [plans], now)]
            for name, at in times.items():
                advance_timestamp(connection, name, at, now)
            return refused

        return self._database.submit(operation, notifies=("sender",))

    def oldest_unplanned(self) -> datetime | None:
        """Return when the oldest webhook came that is not planned; None when all are."""
        statement = select(func.min(webhooks.c.received_at)).where(webhooks.c.planned_at.is_(None))
        with self._database.reading() as connection:
            since = connection.execute(statement).scalar()
        return None if since is None else from_microseconds(since)


def _add(
    connection: Connection, planned: Sequence[tuple[str, Sequence[NewNotification]]], now: datetime
) -> bool:
    """Write the plans of webhooks, all or none; return whether they were written."""
    new = [notification for _, of_webhook in planned for notification in of_webhook]
    changes = [notification.change for notification in new if notification.change is not None]
    with connection.begin_nested() as attempt:
        given = {"webhooks": [webhook_id for webhook_id, _ in planned], "now": now}
        is_first = connection.execute(_PLAN, given).rowcount == len(planned)
        if not is_first or not put_incidents(connection, changes, now):
            attempt.rollback()
            return False
        if new:
            connection.execute(_ADD_NOTIFICATIONS, [_notification_row(one, now) for one in new])
        texts = [
            message_row(message, one.receiver, one.received_at, now, one.id)
            for one in new
            for message in one.messages
        ]
        if texts:
            connection.execute(ADD_MESSAGES, texts)
        return True


def _webhook_row(new: NewWebhook) -> dict[str, Any]:
    return {
        "id": new.id,
        "identity": new.identity,
        "received_at": to_microseconds(new.received_at),
        "posted_to": new.posted_to,
        "body": new.body,
        "group_hash": new.group_hash,
    }


def _notification_row(notification: NewNotification, now: datetime) -> dict[str, Any]:
    return {
        "id": notification.id,
        "webhook_id": notification.webhook_id,
        "receiver": notification.receiver,
        "status": notification.status,
        "group_key": notification.group_key,
        "alerts": notification.alerts,
        "created_at": now,
        "incident_id": notification.change.incident.id if notification.change is not None else None,
        "muted_by": notification.muted_by,
    }
