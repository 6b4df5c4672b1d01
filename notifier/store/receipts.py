"""Receipts: the accepted messages that await a receipt, and the receipts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    bindparam,
    func,
    select,
    update,
)

from notifier.delivery.message import MessageState, Reduced
from notifier.store.database import Tables
from notifier.store.incident_changes import escalate_now
from notifier.store.messages import reword
from notifier.store.schema import incidents, jobs, messages

_FOLLOWED = (
    messages.c.id,
    messages.c.ovh_id,
    messages.c.receiver,
    messages.c.contact,
    messages.c.phone,
    messages.c.finished_at,
    messages.c.received_at,
    messages.c.text,
    messages.c.kind,
    messages.c.incident_id,
    messages.c.reduction,
    *(
        select(column).where(incidents.c.id == messages.c.incident_id).scalar_subquery()
        for column in (incidents.c.number, incidents.c.title, incidents.c.webhook_id)
    ),
    select(jobs.c.account).where(jobs.c.tag == messages.c.tag).scalar_subquery(),
)


def _due(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(*columns)
        .where(
            messages.c.receipt_due_at.is_not(None),
            messages.c.receipt_due_at <= bindparam("now"),
            messages.c.id.not_in(bindparam("without", expanding=True)),
        )
        .order_by(messages.c.receipt_due_at)
        .limit(bindparam("most"))
    )


_DUE = _due(*_FOLLOWED)

_LEASE = timedelta(seconds=30)

_TAKE_DUE = (
    update(messages)
    .where(messages.c.id.in_(_due(messages.c.id).with_for_update(skip_locked=True)))
    .values(receipt_due_at=bindparam("later"))
    .returning(*_FOLLOWED)
)

_FOLLOW = (
    update(messages)
    .where(
        messages.c.id == bindparam("message"),
        messages.c.ovh_id == bindparam("of"),
        messages.c.state == MessageState.ACCEPTED,
    )
    .values(
        state=bindparam("state"),
        receipt=bindparam("receipt"),
        ptt=bindparam("ptt"),
        error=bindparam("error"),
        delivered_at=bindparam("delivered_at"),
        receipt_due_at=bindparam("due"),
        receipt_at=bindparam("seen"),
        credits=func.coalesce(bindparam("cost", type_=Float), messages.c.credits),
    )
)


@dataclass(frozen=True, slots=True)
class Followed:
    """A message that was accepted at *accepted_at*, as *ovh_id*, and awaits its receipt."""

    id: str
    ovh_id: int
    receiver: str
    contact: str
    phone: str
    accepted_at: datetime
    received_at: datetime
    text: str
    kind: str
    incident_id: str | None
    reduction: int
    incident_number: int | None
    alert: str | None
    webhook_id: str | None
    account: str


@dataclass(frozen=True, slots=True)
class ReceiptSeen:
    """The present receipt of a message; *due_at* is when to look again, None when it is final.

    *ovh_id* is the message of the receipt: the message may have been sent again since it was asked for.
    """

    message_id: str
    ovh_id: int
    state: MessageState
    receipt: int | None = None
    ptt: int | None = None
    error: str | None = None
    delivered_at: datetime | None = None
    due_at: datetime | None = None
    credits: float | None = None
    """The cost of the message; None if OVHcloud does not report it."""
    reduced: Reduced | None = None
    """The text with which it is sent again, since its content was refused."""


class ReceiptStore(Tables):
    """The messages that await their receipts."""

    def due(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Followed]:
        """Return the messages whose receipts are to be asked for, those due longest first.

        Those whose ids are in *without* are left out. Where other processes ask, too, they are not given the
        same for half a minute.
        """
        given = {"now": now, "most": limit, "without": list(without)}
        if self._database.backend.is_shared:
            taking = {**given, "later": now + _LEASE}
            taken = self._database.submit(lambda connection: connection.execute(_TAKE_DUE, taking).all())
            return [Followed(*row) for row in taken.result()]
        with self._database.reading() as connection:
            return [Followed(*row) for row in connection.execute(_DUE, given)]

    def next_due(self) -> datetime | None:
        """Return when the next receipt is to be asked for."""
        statement = select(func.min(messages.c.receipt_due_at)).where(messages.c.receipt_due_at.is_not(None))
        with self._database.reading() as connection:
            return connection.execute(statement).scalar()

    def poll_now(self, now: datetime) -> Future[None]:
        """Make all receipts due *now*."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(messages).where(messages.c.receipt_due_at > now).values(receipt_due_at=now)
            )

        return self._database.submit(operation)

    @staticmethod
    def _send_again(connection: Connection, refused: Sequence[ReceiptSeen], now: datetime) -> None:
        """Return messages whose content an operator refused to the queue, with less in their texts."""
        for one in refused:
            assert one.reduced is not None  # noqa: S101 (they were selected by it)
            is_accepted = and_(messages.c.state == MessageState.ACCEPTED, messages.c.ovh_id == one.ovh_id)
            reword(connection, [one.reduced], is_accepted)
            again = {"state": MessageState.QUEUED, "due_at": now, "error": one.error}
            none = dict.fromkeys(("tag", "ovh_id", "sent_at", "finished_at", "receipt_due_at"))
            connection.execute(
                update(messages).where(messages.c.id == one.message_id, is_accepted).values(again | none)
            )

    def write(self, seen: Sequence[ReceiptSeen], now: datetime) -> Future[None]:
        """Store receipts; if a page reached nobody, the next step of its incident is due now."""

        def operation(connection: Connection) -> None:
            rows = [
                {
                    "message": one.message_id,
                    "of": one.ovh_id,
                    "state": one.state,
                    "receipt": one.receipt,
                    "ptt": one.ptt,
                    "error": one.error,
                    "delivered_at": one.delivered_at,
                    "due": one.due_at,
                    "seen": now,
                    "cost": one.credits,
                }
                for one in seen
                if one.reduced is None
            ]
            if rows:
                connection.execute(_FOLLOW, rows)
            self._send_again(connection, [one for one in seen if one.reduced is not None], now)
            undelivered = [one.message_id for one in seen if one.state is MessageState.UNDELIVERED]
            failed = _still(connection, undelivered, MessageState.UNDELIVERED) if undelivered else []
            if failed:
                connection.execute(
                    update(messages)
                    .where(messages.c.merged_into.in_(failed))
                    .values(state=MessageState.UNDELIVERED)
                )
                escalate_now(connection, failed, now)

        return self._database.submit(operation, notifies=("escalator", "sender"))


def _still(connection: Connection, ids: Collection[str], state: MessageState) -> list[str]:
    statement = select(messages.c.id).where(messages.c.id.in_(ids), messages.c.state == state)
    return list(connection.execute(statement).scalars())
