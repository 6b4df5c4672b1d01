"""Incidents, as statements: read, and changed only if they have not been changed since."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Select,
    bindparam,
    case,
    func,
    select,
    type_coerce,
    update,
)

from notifier.ids import same_moment
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import (
    MAX_NUMBERS,
    Event,
    Incident,
    IncidentState,
    Reason,
    ShownState,
    next_number,
)
from notifier.incidents.severities import Severities
from notifier.store.calls import add_calls
from notifier.store.database import Tables
from notifier.store.incident_changes import add_events, put_incidents
from notifier.store.incident_rows import COLUMNS, MAX_ALERTS, UNRESOLVED, to_incident
from notifier.store.messages import ADD_MESSAGES, message_row
from notifier.store.records import IncidentChange
from notifier.store.schema import (
    events,
    incident_alerts,
    incidents,
    to_microseconds,
    webhooks,
)

MAX_NOTES = 100
"""How many notes an incident may have."""
_SINCE = func.coalesce(incidents.c.began_at, incidents.c.opened_at)
_IS_SILENCED = (incidents.c.state == IncidentState.OPEN) & (incidents.c.silenced_by != "")
_SHOWN_STATE = case((_IS_SILENCED, ShownState.SILENCED), else_=incidents.c.state)
_TIMES = (
    incidents.c.due_at,
    incidents.c.unmute_at,
    incidents.c.muted_until,
    incidents.c.silenced_until,
    incidents.c.silence_seen_at,
    incidents.c.silence_notified_at,
    incidents.c.released_at,
    incidents.c.listed_at,
    incidents.c.gone_since,
)
"""The times that a clock which was ahead has left in the future."""
_OF_GROUPS = select(*COLUMNS).where(
    UNRESOLVED, incidents.c.group_key.in_(bindparam("group_keys", expanding=True))
)
_BY_ID = select(*COLUMNS).where(incidents.c.id == bindparam("id"))
_NUMBERS = select(incidents.c.number).where(UNRESOLVED)
_LATEST = select(incidents.c.id, incidents.c.number).order_by(incidents.c.id.desc()).limit(200)


def _due_at(column: Column[datetime]) -> Select[Any]:
    """Return the query for incidents whose *column* has come, the oldest first."""
    return (
        select(*COLUMNS)
        .where(
            column.is_not(None),
            column <= bindparam("now"),
            incidents.c.id.not_in(bindparam("without", expanding=True)),
        )
        .order_by(column)
        .limit(bindparam("most"))
    )


_DUE, _UNMUTING = _due_at(incidents.c.due_at), _due_at(incidents.c.unmute_at)
_OF_ALERTS = (
    select(*COLUMNS)
    .distinct()
    .join(incident_alerts, incident_alerts.c.incident_id == incidents.c.id)
    .where(UNRESOLVED, incident_alerts.c.alert.in_(bindparam("alerts", expanding=True)))
    .order_by(incidents.c.id)
)


@dataclass(frozen=True, slots=True)
class HappenedEvent:
    """What happened to an incident, and when."""

    id: str
    at: datetime
    kind: str
    by: str | None
    via: str | None
    detail: str | None


class Incidents(Tables):
    """The incidents of a database."""

    # reading

    def find(self, group_keys: Collection[str]) -> dict[tuple[str, str], Incident]:
        """Return the incidents of these groups that are not resolved, by receiver and group key."""
        with self._database.reading() as connection:
            found = connection.execute(_OF_GROUPS, {"group_keys": list(group_keys)})
            return {(row.receiver, row.group_key): to_incident(row) for row in found}

    def with_alerts(self, alerts: Collection[str]) -> list[Incident]:
        """Return the incidents that are not resolved in which some of *alerts* fire, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(_OF_ALERTS, {"alerts": sorted(alerts)[:MAX_ALERTS]})
            return [to_incident(row) for row in rows]

    def latest_opening(self) -> datetime | None:
        """Return when the latest of the incidents that are not over was opened; None if there are none."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(incidents.c.opened_at)).where(UNRESOLVED)).scalar()

    def bring_forward(self, now: datetime, ahead: datetime) -> Future[None]:
        """Make times after *ahead* earlier by the amount that the clock was set back, from *ahead* to *now*."""
        back = to_microseconds(ahead) - to_microseconds(now)
        later = incidents.c.version + 1

        def operation(connection: Connection) -> None:
            for column in _TIMES:
                earlier = type_coerce(column, BigInteger) - back
                moved = update(incidents).where(UNRESOLVED, column > ahead)
                connection.execute(moved.values({column.name: earlier, "version": later}))
            connection.execute(
                update(incidents).where(UNRESOLVED, incidents.c.opened_at > now).values(opened_at=now)
            )

        return self._database.submit(operation)

    def numbers(self, count: int) -> list[int]:
        """Return *count* numbers for new incidents."""
        with self._database.reading() as connection:
            in_use = set(connection.execute(_NUMBERS).scalars())
            last = last_number([(id_, number) for id_, number in connection.execute(_LATEST)])
        numbers: list[int] = []
        for _ in range(count):
            last = next_number(last, in_use)
            in_use.add(last)
            numbers.append(last)
        return numbers

    def get(self, id_: str) -> Incident | None:
        """Return the incident of that id."""
        with self._database.reading() as connection:
            row = connection.execute(_BY_ID, {"id": id_}).first()
            return None if row is None else to_incident(row)

    def with_ids(self, ids: Collection[str]) -> list[Incident]:
        """Return the incidents with these *ids*."""
        statement = select(*COLUMNS).where(incidents.c.id.in_(sorted(ids)))
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def named(self, given: str) -> Incident | None:
        """Return the incident that *given* means: its id, or its number as the newest of that number has it."""
        found = None
        if "\0" in given:  # PostgreSQL cannot search for it
            return None
        if given.isascii() and given.isdecimal() and len(given) < 8:
            found = self.numbered(int(given))
        return found or self.get(given)

    def numbered(self, number: int) -> Incident | None:
        """Return the newest incident of that number."""
        statement = (
            select(*COLUMNS).where(incidents.c.number == number).order_by(incidents.c.id.desc()).limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else to_incident(row)

    def latest(
        self, limit: int, before: str | None = None, states: Collection[ShownState] | None = None
    ) -> list[Incident]:
        """Return up to *limit* incidents, newest first, older than the id *before*."""
        statement = select(*COLUMNS).order_by(incidents.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(incidents.c.id < before)
        if states is not None:
            statement = statement.where(_SHOWN_STATE.in_(list(states)))
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def worst(self, states: Collection[ShownState], limit: int, severities: Severities) -> list[Incident]:
        """Return up to *limit* incidents in *states*: the most urgent first, then those that fire for longest."""
        value = func.lower(incidents.c.severity)
        urgency = case(dict(severities.urgencies), value=value, else_=severities.unknown)
        statement = (
            select(*COLUMNS)
            .where(UNRESOLVED, _SHOWN_STATE.in_(list(states)))
            .order_by(urgency, _SINCE, incidents.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def unresolved(self) -> list[Incident]:
        """Return all incidents that are not resolved."""
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(select(*COLUMNS).where(UNRESOLVED))]

    def resolved_since(self, at: datetime, limit: int) -> list[Incident]:
        """Return up to *limit* incidents that were resolved since *at*, the last one first."""
        statement = (
            select(*COLUMNS)
            .where(incidents.c.resolved_at >= at)
            .order_by(incidents.c.resolved_at.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def due(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Incident]:
        """Return the incidents with something due: a step, or the end of an acknowledgement.

        Those whose ids are in *without* are left out.
        """
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(_DUE, _given(now, limit, without))]

    def unmuting(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Incident]:
        """Return the muted incidents whose alerts that joined meanwhile are to be notified.

        Those whose ids are in *without* are left out.
        """
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(_UNMUTING, _given(now, limit, without))]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many incidents are not resolved, by receiver and state."""
        statement = (
            select(incidents.c.receiver, _SHOWN_STATE, func.count())
            .where(UNRESOLVED)
            .group_by(incidents.c.receiver, _SHOWN_STATE)
        )
        with self._database.reading() as connection:
            return {(receiver, state): count for receiver, state, count in connection.execute(statement)}

    def of_heartbeats(self) -> list[Incident]:
        """Return the incidents of heartbeats that are not resolved."""
        statement = select(*COLUMNS).where(UNRESOLVED, incidents.c.group_key.startswith(HEARTBEATS))
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def silenced(self) -> list[Incident]:
        """Return the incidents that are not resolved and count as silenced in Alertmanager."""
        statement = select(*COLUMNS).where(UNRESOLVED, incidents.c.silenced_by != "")
        with self._database.reading() as connection:
            return [to_incident(row) for row in connection.execute(statement)]

    def any_open(self) -> bool:
        """Whether an incident is not resolved."""
        with self._database.reading() as connection:
            return connection.execute(select(incidents.c.id).where(UNRESOLVED).limit(1)).first() is not None

    def closed_by(self, ids: Collection[str]) -> dict[str, str]:
        """Return who closed those of the resolved incidents *ids* whose alerts had not ended."""
        statement = (
            select(events.c.incident_id, events.c.kind, events.c.by)
            .where(events.c.incident_id.in_(list(ids)), events.c.kind.in_((Reason.CLOSED, Reason.RESOLVED)))
            .order_by(events.c.id)
        )
        with self._database.reading() as connection:
            ends = {id_: (kind, by) for id_, kind, by in connection.execute(statement)}
        return {id_: by for id_, (kind, by) in ends.items() if kind == Reason.CLOSED}

    def history(self, incident_id: str) -> Sequence[HappenedEvent]:
        """Return what happened to an incident, in order."""
        statement = (
            select(events.c.id, events.c.at, events.c.kind, events.c.by, events.c.via, events.c.detail)
            .where(events.c.incident_id == incident_id)
            .order_by(events.c.id)
        )
        with self._database.reading() as connection:
            return [HappenedEvent(*row) for row in connection.execute(statement)]

    def webhook(self, incident: Incident) -> tuple[bytes, str | None] | None:
        """Return the last webhook about *incident*, and the receiver it was posted for."""
        statement = select(webhooks.c.body, webhooks.c.posted_to).where(webhooks.c.id == incident.webhook_id)
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else (bytes(row.body), row.posted_to)

    # writing

    def change(self, changes: Sequence[IncidentChange], now: datetime) -> Future[list[bool]]:
        """Write *changes*; return for each whether it was written, or False if its incident was changed since it was
        read.
        """

        def operation(connection: Connection) -> list[bool]:
            done = []
            for change in changes:
                is_done = put_incidents(connection, [change], now)
                if is_done and change.messages:
                    receiver = change.incident.receiver
                    rows = [message_row(message, receiver, now, now, None) for message in change.messages]
                    connection.execute(ADD_MESSAGES, rows)
                    add_calls(connection, change.messages, now)
                done.append(is_done)
            return done

        return self._database.submit(operation, notifies=("sender", "escalator"))

    def add_note(self, incident_id: str, note: Event, now: datetime) -> Future[int | None]:
        """Write *note* into the history of an incident; return how many it has then, None if there is no such incident.

        The incident itself is not changed, so that a note puts off nothing else. After `MAX_NOTES` none is written.
        """

        def operation(connection: Connection) -> int | None:
            of_incident = select(incidents.c.id).where(incidents.c.id == incident_id)
            if connection.execute(of_incident).first() is None:
                return None
            notes = select(func.count()).where(
                events.c.incident_id == incident_id, events.c.kind == Reason.NOTED
            )
            count = int(connection.execute(notes).scalar_one())
            if count < MAX_NOTES:
                add_events(connection, [(incident_id, note)], now)
            return count + 1

        return self._database.submit(operation)


def last_number(latest: Sequence[tuple[str, int]]) -> int:
    """Return the number that was given last, of the *latest* incidents, (id, number), the newest first; 0 for none.

    Incidents of the same millisecond got their numbers one after the other, and their ids are not in that order.
    """
    together = [number for id_, number in latest if same_moment(id_, latest[0][0])]
    highest, lowest = max(together, default=0), min(together, default=0)
    if highest - lowest > MAX_NUMBERS // 2:  # they went round
        return max(number for number in together if number <= MAX_NUMBERS // 2)
    return highest


def _given(now: datetime, limit: int, without: Collection[str]) -> dict[str, Any]:
    return {"now": now, "most": limit, "without": list(without)}
