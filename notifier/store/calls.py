"""Phone calls, each for a page whose recipient is also called."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, or_, select, update

from notifier.delivery.calls import OPEN_CALLS, PAUSE, CallState
from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import Incident
from notifier.store.database import Tables
from notifier.store.incident_changes import escalate_unanswered
from notifier.store.incident_rows import COLUMNS, to_incident
from notifier.store.messages import chunks
from notifier.store.schema import calls, incidents, messages, sql_literal

_GUARD = "calls"
"""The lock under which calls are claimed: two replicas must not call one person for two incidents at once."""
_FAR_AHEAD = timedelta(minutes=10)
"""A call that is due later than this was written before the clock was set back."""
_IS_OPEN = calls.c.state.in_([sql_literal(state) for state in OPEN_CALLS])
_OTHER = calls.alias("other")
_OTHER_MESSAGE = messages.alias("other_message")
_NEXT_DUE = select(func.min(calls.c.due_at)).where(_IS_OPEN)


@dataclass(frozen=True, slots=True)
class DueCall:
    """A call to make (*is_new*), or one that is under way and is to be looked at.

    *identifier* is OVHcloud's; None if it is not known, since the answer was lost.
    """

    message_id: str
    contact: str
    attempts: int
    is_new: bool
    identifier: str | None
    called_at: datetime
    is_of_last_step: bool
    has_been_called: bool
    incident: Incident


@dataclass(frozen=True, slots=True)
class Call:
    """A call, for people: its `CallState`, when it began and ended, and details."""

    message_id: str
    state: str
    called_at: datetime | None
    finished_at: datetime | None
    detail: str | None


class CallStore(Tables):
    """The phone calls of a database."""

    def next_due(self) -> datetime | None:
        """Return when the next call is to be made or looked at; None if there is none."""
        with self._database.reading() as connection:
            return connection.execute(_NEXT_DUE).scalar()

    def claim(self, now: datetime, lease: timedelta) -> Future[DueCall | None]:
        """Return the call that has been due longest, or None. It is not due again before *lease* has passed.

        A call to make counts as under way from now on: it is not made again if this process ends meanwhile.
        """

        def operation(connection: Connection) -> DueCall | None:
            if _GUARD not in self._database.backend.lock(connection, [_GUARD]):
                return None
            row = connection.execute(_due(now)).first()
            if row is None:
                return None
            is_new = row.state == CallState.WAITING
            values: dict[str, Any] = {"due_at": now + lease}
            incident = connection.execute(select(*COLUMNS).where(incidents.c.id == row.incident_id)).first()
            if incident is None:
                values |= {"state": CallState.WITHDRAWN, "detail": "its incident was deleted"}
            elif is_new:
                values |= {"state": CallState.CALLING, "called_at": now, "attempts": row.attempts + 1}
            connection.execute(update(calls).where(calls.c.message_id == row.message_id).values(values))
            if incident is None:
                return None
            found = to_incident(incident)
            return DueCall(
                row.message_id,
                row.contact,
                row.attempts + is_new,
                is_new,
                row.identifier,
                now if is_new else row.called_at,
                row.step == found.steps_taken and row.expires_at > now,
                bool(row.has_been_called),
                found,
            )

        return self._database.submit(operation)

    def began(self, call: DueCall, identifier: str, due_at: datetime) -> Future[None]:
        """Write down that OVHcloud makes *call*, which is looked at again at *due_at*."""
        return self._update(call, {"identifier": identifier, "due_at": due_at, "detail": None})

    def look_again(self, call: DueCall, due_at: datetime) -> Future[None]:
        """Have *call* looked at again at *due_at*."""
        return self._update(call, {"due_at": due_at})

    def retry(self, call: DueCall, detail: str, due_at: datetime) -> Future[None]:
        """Have *call* made again at *due_at*: OVHcloud has surely not made it."""
        values = {"state": CallState.WAITING, "called_at": None, "due_at": due_at, "detail": detail}
        return self._update(call, values)

    def end(self, call: DueCall, state: CallState, detail: str, now: datetime) -> Future[bool]:
        """Write down how *call* ended; return False if another replica did so before.

        If nobody of its step answered, the next step is due now.
        """

        def operation(connection: Connection) -> bool:
            values: dict[str, Any] = {"state": state, "detail": detail, "finished_at": now}
            if state is CallState.WITHDRAWN:
                values["called_at"] = None
            if connection.execute(update(calls).where(*_is_ours(call)).values(values)).rowcount != 1:
                return False
            if state is CallState.UNANSWERED:
                escalate_unanswered(connection, call.message_id, call.incident.id, now)
            return True

        return self._database.submit(operation, notifies=("escalator",))

    def of(self, message_ids: Collection[str]) -> dict[str, Call]:
        """Return the calls for the messages of these ids."""
        columns = [calls.c[field.name] for field in fields(Call)]
        found: dict[str, Call] = {}
        with self._database.reading() as connection:
            for some in chunks(list(message_ids)):
                for row in connection.execute(select(*columns).where(calls.c.message_id.in_(some))):
                    found[row.message_id] = Call(*row)
        return found

    def _update(self, call: DueCall, values: dict[str, Any]) -> Future[None]:
        def operation(connection: Connection) -> None:
            connection.execute(update(calls).where(*_is_ours(call)).values(values))

        return self._database.submit(operation)


def _is_ours(call: DueCall) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that *call* is as it was claimed: no other replica has taken it over and ended it."""
    return (
        calls.c.message_id == call.message_id,
        calls.c.state == CallState.CALLING,
        calls.c.attempts == call.attempts,
    )


def _due(now: datetime) -> Any:
    """Return the query for the call that has been due longest."""
    has_been_called = exists().where(
        _OTHER.c.message_id == _OTHER_MESSAGE.c.id,
        _OTHER_MESSAGE.c.contact == messages.c.contact,
        _OTHER.c.message_id != calls.c.message_id,
        _OTHER.c.called_at > now - PAUSE,
        _OTHER.c.called_at <= now,
    )
    return (
        select(
            calls.c.message_id,
            calls.c.state,
            calls.c.attempts,
            calls.c.identifier,
            calls.c.called_at,
            messages.c.contact,
            messages.c.incident_id,
            messages.c.step,
            messages.c.expires_at,
            has_been_called.label("has_been_called"),
        )
        .join(messages, messages.c.id == calls.c.message_id)
        .where(_IS_OPEN, or_(calls.c.due_at <= now, calls.c.due_at > now + _FAR_AHEAD))
        .order_by(calls.c.due_at)
        .limit(1)
    )


def add_calls(connection: Connection, new: Iterable[NewMessage], now: datetime) -> None:
    """Have the recipients of the *new* messages called that are to be."""
    rows = [
        {"message_id": one.id, "state": CallState.WAITING, "due_at": now, "attempts": 0}
        for one in new
        if one.is_called
    ]
    if rows:
        connection.execute(insert(calls), rows)
