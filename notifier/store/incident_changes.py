"""Changes of incidents, each on the connection of a transaction that is under way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from notifier.delivery.calls import CallState
from notifier.delivery.message import FAILED, MessageState
from notifier.ids import new_id
from notifier.incidents.lifecycle import PAGING, Event, Incident, IncidentState, Kind
from notifier.store.incident_rows import MAX_ALERTS, UNRESOLVED, to_row
from notifier.store.records import IncidentChange
from notifier.store.schema import IS_WAITING, calls, events, incident_alerts, incidents, messages

_FIXED = ("id", "number", "opened_at", "began_at")
"""Columns that are written once: a change does not touch them."""
_ADD = insert(incidents)
_CHANGE = (
    update(incidents)
    .where(incidents.c.id == bindparam("incident"), incidents.c.version == bindparam("read"))
    .values({column.name: bindparam(column.name) for column in incidents.c if column.name not in _FIXED})
)
_ADD_EVENTS = insert(events)
_OTHER = messages.alias("other")
_WITHDRAW = (
    update(messages)
    .where(
        messages.c.incident_id == bindparam("incident"),
        messages.c.kind.in_(PAGING),
        IS_WAITING,
        ~exists().where(_OTHER.c.merged_into == messages.c.id),  # it pages for another incident, too
    )
    .values(state=MessageState.WITHDRAWN, finished_at=bindparam("now"))
)
_ADD_ALERTS = insert(incident_alerts)
_DELETE_ALERTS = delete(incident_alerts).where(incident_alerts.c.incident_id == bindparam("incident"))


def put_incidents(connection: Connection, changes: Sequence[IncidentChange], now: datetime) -> bool:
    """Write the incidents and events of *changes*, all or none; return whether they were written.

    They are not if one of the incidents has been changed since it was read, or if somebody else has opened the same
    or taken the same number.
    """
    try:
        with connection.begin_nested() as attempt:
            if _write(connection, changes, now):
                return True
            attempt.rollback()
    except IntegrityError:  # of the indexes of incidents that are not resolved
        pass
    return False


def _write(connection: Connection, changes: Sequence[IncidentChange], now: datetime) -> bool:
    for is_new, some in groupby(changes, key=lambda change: change.is_new):
        if is_new:
            _open(connection, list(some))
        elif not all(_change(connection, change, now) for change in some):
            return False
    add_events(
        connection, [(change.incident.id, event) for change in changes for event in change.events], now
    )
    return True


def _open(connection: Connection, changes: Sequence[IncidentChange]) -> None:
    connection.execute(_ADD, [to_row(change.incident) for change in changes])
    _add_alerts(connection, [change.incident for change in changes])


def _change(connection: Connection, change: IncidentChange, now: datetime) -> bool:
    """Write the incident of *change*; return False if it has been changed since it was read."""
    row = to_row(change.incident)
    row |= {"incident": row.pop("id"), "read": row["version"], "version": row["version"] + 1}
    for name in _FIXED[1:]:
        del row[name]
    if connection.execute(_CHANGE, row).rowcount != 1:
        return False
    if change.events or change.incident.state is IncidentState.RESOLVED:
        connection.execute(_DELETE_ALERTS, {"incident": change.incident.id})
        _add_alerts(connection, [change.incident])
    if change.withdraws_pages:
        connection.execute(_WITHDRAW, {"incident": change.incident.id, "now": now})
    return True


def _add_alerts(connection: Connection, changed: Sequence[Incident]) -> None:
    """Add the firing alerts of incidents to the index by which they are found."""
    rows = [
        {"alert": alert, "incident_id": incident.id}
        for incident in changed
        if incident.state is not IncidentState.RESOLVED
        for alert in sorted(incident.firing)[:MAX_ALERTS]
    ]
    if rows:
        connection.execute(_ADD_ALERTS, rows)


def add_events(connection: Connection, happened: Sequence[tuple[str, Event]], now: datetime) -> None:
    """Write events that *happened* into the histories of incidents, each with the id of its incident."""
    rows = [
        {
            "id": new_id(now),
            "incident_id": incident_id,
            "at": now,
            "kind": event.reason,
            "by": event.by,
            "via": event.via,
            "detail": event.detail,
        }
        for incident_id, event in happened
    ]
    if rows:
        connection.execute(_ADD_EVENTS, rows)


def escalate_now(connection: Connection, message_ids: Collection[str], now: datetime) -> None:
    """Make the next escalation step due *now* for incidents whose messages *message_ids* failed.

    - If no page of the incident was ever accepted and none is under way (an outage was longer than ``expire_after``),
      the steps start over, so that the person on call is paged first.
    - If all pages of a step failed, the next step is due now. After the last step, that step is taken again if its
      pages expired.
    - If an update failed for everybody, the next step is due now; an acknowledged incident is reopened.
    """
    ids = list(message_ids)
    is_failed = or_(messages.c.id.in_(ids), messages.c.merged_into.in_(ids))
    _restart_steps(connection, is_failed, now)
    _escalate_failed_pages(connection, is_failed, now)
    _escalate_failed_updates(connection, is_failed, now)


def escalate_unanswered(connection: Connection, message_id: str, incident_id: str, now: datetime) -> None:
    """Make the next step of an incident due *now* if everybody of a message's step was called, and nobody answered.

    Who was not called, because a call was needless, does not count.
    """
    locked = select(incidents.c.id).where(incidents.c.id == incident_id).with_for_update()
    connection.execute(locked)  # two replicas may end the last two calls of a step at once
    step = select(messages.c.step).where(messages.c.id == message_id).scalar_subquery()
    unanswered = select(calls.c.message_id).where(
        calls.c.state.in_((CallState.UNANSWERED, CallState.WITHDRAWN))
    )
    is_other = exists().where(
        _OTHER.c.incident_id == incident_id,
        _OTHER.c.kind == Kind.PAGE,
        _OTHER.c.step == step,
        _OTHER.c.id.not_in(unanswered),
    )
    is_last = (incidents.c.id == incident_id) & (incidents.c.steps_taken == step)
    _make_due(connection, now, is_last, _IS_OPEN, incidents.c.due_at > now, ~is_other)


_OF_INCIDENT = (_OTHER.c.incident_id == incidents.c.id) & _OTHER.c.kind.in_(PAGING)
_IS_OPEN = incidents.c.state == IncidentState.OPEN
_IS_EXPIRED = messages.c.state == MessageState.EXPIRED


def _of_failed(kind: Kind, *where: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that an incident has a message of *kind* for which *where* is true."""
    return incidents.c.id.in_(
        select(messages.c.incident_id).where(
            messages.c.kind == kind, messages.c.incident_id.is_not(None), *where
        )
    )


def _make_due(connection: Connection, now: datetime, *where: ColumnElement[bool], **values: Any) -> None:
    changed = {"due_at": now, "version": incidents.c.version + 1, **values}
    connection.execute(update(incidents).where(*where).values(changed))


def _restart_steps(connection: Connection, is_failed: ColumnElement[bool], now: datetime) -> None:
    is_under_way_or_sent = exists().where(
        _OF_INCIDENT,
        or_(_OTHER.c.ovh_id.is_not(None), _OTHER.c.state.not_in((*FAILED, MessageState.WITHDRAWN))),
    )
    _make_due(
        connection,
        now,
        _of_failed(Kind.PAGE, is_failed, _IS_EXPIRED),
        _IS_OPEN,
        ~is_under_way_or_sent,
        step=0,
    )


def _escalate_failed_pages(connection: Connection, is_failed: ColumnElement[bool], now: datetime) -> None:
    is_reached = exists().where(
        _OF_INCIDENT,
        _OTHER.c.kind == Kind.PAGE,
        _OTHER.c.step == incidents.c.steps_taken,
        _OTHER.c.state.not_in(FAILED),
    )
    is_later = incidents.c.due_at > now
    _make_due(connection, now, _of_failed(Kind.PAGE, is_failed), _IS_OPEN, is_later, ~is_reached)
    is_after_last = incidents.c.due_at.is_(None) & (incidents.c.step > 0)
    _make_due(
        connection,
        now,
        _of_failed(Kind.PAGE, is_failed, _IS_EXPIRED),
        _IS_OPEN,
        is_after_last,
        ~is_reached,
        step=incidents.c.step - 1,
    )


def _escalate_failed_updates(connection: Connection, is_failed: ColumnElement[bool], now: datetime) -> None:
    has_reached_somebody = exists().where(  # another message of the same update
        _OTHER.c.incident_id == messages.c.incident_id,
        _OTHER.c.kind == Kind.UPDATE,
        _OTHER.c.created_at == messages.c.created_at,
        _OTHER.c.state.not_in(FAILED),
    )
    _make_due(
        connection,
        now,
        _of_failed(Kind.UPDATE, is_failed, ~has_reached_somebody),
        UNRESOLVED,
        or_(incidents.c.due_at.is_(None), incidents.c.due_at > now),
    )
