"""Rows of messages, as several modules read and write them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, update

from notifier.delivery.message import Message, MessageState, NewMessage, Reduced
from notifier.sms.encoding import measure
from notifier.store.schema import incidents, messages, notifications

_MAX_VALUES = 500
"""How many values a statement holds at most."""

ADD_MESSAGES = insert(messages)
WITH_INCIDENT = (
    *(messages.c[field.name] for field in fields(Message) if field.name in messages.c),
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
"""A message with the state of its incident, and its fields for the log."""
OF_INCIDENTS = messages.outerjoin(incidents, incidents.c.id == messages.c.incident_id)


def message_row(
    message: NewMessage, receiver: str, received_at: datetime, now: datetime, notification_id: str | None
) -> dict[str, Any]:
    """Return the row of a message for *receiver*, due *now*: queued, or merged if another message pages for it, too."""
    row = asdict(message)
    del row["is_called"]
    return row | {
        "notification_id": notification_id,
        "receiver": receiver,
        "state": MessageState.QUEUED if message.merged_into is None else MessageState.MERGED,
        "received_at": received_at,
        "created_at": now,
        "due_at": now,
    }


def reword(connection: Connection, texts: Iterable[Reduced], where: ColumnElement[bool]) -> None:
    """Give messages, as far as *where* holds of them, the *texts* that they are sent again with."""
    for one in texts:
        values: dict[str, Any] = {"reduction": one.reduction}
        if one.text is not None:
            values |= {"text": one.text, "parts": measure(one.text).parts}
        connection.execute(update(messages).where(messages.c.id == one.message_id, where).values(values))


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield *ids* in pieces that a statement can hold."""
    for start in range(0, len(ids), _MAX_VALUES):
        yield ids[start : start + _MAX_VALUES]


def selected(
    states: Collection[str], incident_id: str | None, contains: str | None, contact: str | None
) -> list[ColumnElement[bool]]:
    """Return the conditions that select messages; None and no states select all."""
    conditions: list[ColumnElement[bool]] = []
    if states:
        conditions.append(messages.c.state.in_(list(states)))
    if incident_id is not None:
        conditions.append(messages.c.incident_id == incident_id)
    if contains is not None:
        is_in = func.lower(messages.c.text).contains(contains.lower(), autoescape=True)
        conditions.append(or_(is_in, func.lower(messages.c.contact) == contains.lower()))
    if contact is not None:
        conditions.append(messages.c.contact == contact)
    return conditions
