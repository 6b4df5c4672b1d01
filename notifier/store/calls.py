"""Phone calls, each for a page whose recipient is also called."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, or_, select, update

from notifier.delivery.calls import OPEN_CALLS, PAUSE, CallState
from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import Incident
from notifier.store.database import Database
from notifier.store.incident_changes import escalate_unanswered
from notifier.store.incident_rows import COLUMNS, to_incident
from notifier.store.messages import chunks
from notifier.store.schema import calls, incidents, messages, sql_literal

_OF_DUE = select(
    calls.c.message_id,
    calls.c.state,
    calls.c.attempts,
    calls.c.identifier,
    calls.c.called_at,
    messages.c.contact,
    messages.c.phone,
    messages.c.incident_id,
).join(messages, messages.c.id == calls.c.message_id)
_IS_OPEN = calls.c.state.in_([sql_literal(state) for state in OPEN_CALLS])


@dataclass(frozen=True, slots=True)
class DueCall:
    """A call to make (*is_new*), or one that is under way and is to be looked at.

    *identifier* is OVHcloud's; None if it is not known, since the answer was lost.
    """

    message_id: str
    contact: str
    phone: str
    attempts: int
    is_new: bool
    identifier: str | None
    called_at: datetime
    incident: Incident


@dataclass(frozen=True, slots=True)
class Call:
    """A call, for people: its `CallState`, when it began and ended, and details."""

    message_id: str
    state: str
    called_at: datetime | None
    finished_at: datetime | None
    detail: str | None


class CallStore:
    """The phone calls of a database."""

    def __init__(self, database: Database) -> None:
        """Read and write *database*."""
        self._database = database

    def is_any_due(self, now: datetime) -> bool:
        """Return whether there is a call to make or to look at."""
        statement = select(calls.c.message_id).where(_IS_OPEN, _is_due(now)).limit(1)
        with self._database.reading() as connection:
            return connection.execute(statement).first() is not None

    def claim(self, now: datetime, lease: timedelta, limit: int) -> Future[list[DueCall]]:
        """Return calls that are due, the oldest first; those are not due again until *lease* has passed.

        A call to make counts as under way from now on: it is not made again if this process ends meanwhile.
        """

        def operation(connection: Connection) -> list[DueCall]:
            statement = (
                _OF_DUE.where(_IS_OPEN, _is_due(now))
                .order_by(calls.c.message_id)
                .limit(limit)
                .with_for_update(skip_locked=True, of=calls)
            )
            rows = connection.execute(statement).all()
            return [
                found for row in rows if (found := _claimed(connection, row, now, now + lease)) is not None
            ]

        return self._database.submit(operation)

    def has_called(self, phone: str, now: datetime, without: str) -> bool:
        """Return whether *phone* was called within `PAUSE`, except for the message of the id *without*."""
        statement = (
            select(calls.c.message_id)
            .join(messages, messages.c.id == calls.c.message_id)
            .where(
                messages.c.phone == phone,
                calls.c.called_at > now - PAUSE,
                calls.c.called_at <= now,
                calls.c.identifier.is_not(None),
                calls.c.message_id != without,
            )
            .limit(1)
        )
        with self._database.reading() as connection:
            return connection.execute(statement).first() is not None

    def began(self, call: DueCall, identifier: str, due_at: datetime) -> Future[None]:
        """Write down that OVHcloud makes *call*, which is looked at again at *due_at*."""
        return self._update(call, {"identifier": identifier, "due_at": due_at, "detail": None})

    def look_again(self, call: DueCall, due_at: datetime) -> Future[None]:
        """Have *call* looked at again at *due_at*."""
        return self._update(call, {"due_at": due_at})

    def retry(self, call: DueCall, detail: str, due_at: datetime) -> Future[None]:
        """Have *call* made again at *due_at*: OVHcloud has surely not made it."""
        return self._update(call, {"state": CallState.WAITING, "due_at": due_at, "detail": detail})

    def end(self, call: DueCall, state: CallState, detail: str, now: datetime) -> Future[None]:
        """Write down how *call* ended. If nobody of its step answered, the next step is due now."""

        def operation(connection: Connection) -> None:
            connection.execute(
                update(calls)
                .where(calls.c.message_id == call.message_id)
                .values(state=state, detail=detail, finished_at=now)
            )
            if state is CallState.UNANSWERED:
                escalate_unanswered(connection, call.message_id, now)

        return self._database.submit(operation, notifies=("escalator",))

    def of(self, message_ids: Collection[str]) -> dict[str, Call]:
        """Return the calls for the messages of these ids."""
        columns = (
            calls.c.message_id,
            calls.c.state,
            calls.c.called_at,
            calls.c.finished_at,
            calls.c.detail,
        )
        found: dict[str, Call] = {}
        with self._database.reading() as connection:
            for some in chunks(list(message_ids)):
                for row in connection.execute(select(*columns).where(calls.c.message_id.in_(some))):
                    found[row.message_id] = Call(*row)
        return found

    def _update(self, call: DueCall, values: dict[str, Any]) -> Future[None]:
        def operation(connection: Connection) -> None:
            connection.execute(update(calls).where(calls.c.message_id == call.message_id).values(values))

        return self._database.submit(operation)


def _claimed(connection: Connection, row: Any, now: datetime, due_at: datetime) -> DueCall | None:
    """Claim the call of *row*, which is not due again before *due_at*; None if its incident was deleted."""
    is_new = row.state == CallState.WAITING
    incident = connection.execute(select(*COLUMNS).where(incidents.c.id == row.incident_id)).first()
    values: dict[str, Any] = {"due_at": due_at}
    if incident is None:
        values["state"] = CallState.WITHDRAWN
    elif is_new:
        values |= {"state": CallState.CALLING, "called_at": now, "attempts": row.attempts + 1}
    connection.execute(update(calls).where(calls.c.message_id == row.message_id).values(values))
    if incident is None:
        return None
    return DueCall(
        row.message_id,
        row.contact,
        row.phone,
        row.attempts + is_new,
        is_new,
        row.identifier,
        now if is_new else row.called_at,
        to_incident(incident),
    )


def _is_due(now: datetime) -> Any:
    """Return the condition that a call is due; also if the clock was set back since its time was written."""
    return or_(calls.c.due_at <= now, calls.c.due_at > now + timedelta(minutes=10))


def add_calls(connection: Connection, new: Iterable[NewMessage], now: datetime) -> None:
    """Have the recipients of the *new* messages called that are to be."""
    rows = [
        {"message_id": one.id, "state": CallState.WAITING, "due_at": now, "attempts": 0}
        for one in new
        if one.is_called
    ]
    if rows:
        connection.execute(insert(calls), rows)
