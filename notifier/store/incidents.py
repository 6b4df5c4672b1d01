"""Incidents, as statements: read, and changed only if nobody else changed them meanwhile."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError

from notifier.alertmanager.webhook import RESERVED
from notifier.clock import is_known
from notifier.config.model import Recipient
from notifier.delivery.message import FAILED, MessageState
from notifier.ids import new_id, same_moment
from notifier.incidents.lifecycle import (
    MOST_NUMBERS,
    PAGING,
    SEVERITIES,
    USUAL,
    Incident,
    IncidentState,
    Kind,
    next_number,
)
from notifier.store.database import Database
from notifier.store.messages import ADD_MESSAGES, message_row
from notifier.store.records import IncidentChange
from notifier.store.schema import (
    IS_WAITING,
    events,
    incident_alerts,
    incidents,
    messages,
    sql_literal,
    to_microseconds,
    webhooks,
)

HEARTBEATS = RESERVED
"""How the group keys begin of incidents that are of heartbeats."""


_COLUMNS = tuple(incidents.c)
_UNRESOLVED = incidents.c.state != sql_literal(IncidentState.RESOLVED)
_URGENCY = case(SEVERITIES, value=func.lower(incidents.c.severity), else_=USUAL)
_OF_GROUPS = select(*_COLUMNS).where(
    _UNRESOLVED, incidents.c.group_key.in_(bindparam("group_keys", expanding=True))
)
_BY_ID = select(*_COLUMNS).where(incidents.c.id == bindparam("id"))
_NUMBERS = select(incidents.c.number).where(_UNRESOLVED)
_LATEST = select(incidents.c.id, incidents.c.number).order_by(incidents.c.id.desc()).limit(200)
_DUE = (
    select(*_COLUMNS)
    .where(
        incidents.c.due_at.is_not(None),
        incidents.c.due_at <= bindparam("now"),
        incidents.c.id.not_in(bindparam("without", expanding=True)),
    )
    .order_by(incidents.c.due_at)
    .limit(bindparam("most"))
)
_HEARD = (
    select(*_COLUMNS)
    .where(
        incidents.c.unmute_at.is_not(None),
        incidents.c.unmute_at <= bindparam("now"),
        incidents.c.id.not_in(bindparam("without", expanding=True)),
    )
    .order_by(incidents.c.unmute_at)
    .limit(bindparam("most"))
)
_FIXED = ("id", "number", "opened_at", "began_at")
"""What of an incident never changes."""
_ADD = insert(incidents)
_CHANGE = (
    update(incidents)
    .where(incidents.c.id == bindparam("incident"), incidents.c.version == bindparam("read"))
    .values({column.name: bindparam(column.name) for column in incidents.c if column.name not in _FIXED})
)
_ADD_EVENTS = insert(events)
_other = messages.alias("other")
_WITHDRAW = (
    update(messages)
    .where(
        messages.c.incident_id == bindparam("incident"),
        messages.c.kind.in_(PAGING),
        IS_WAITING,
        ~exists().where(_other.c.merged_into == messages.c.id),  # it pages for another incident, too
    )
    .values(state=MessageState.WITHDRAWN, finished_at=bindparam("now"))
)
_MOST_ALERTS = 200
"""By how many of its alerts an incident can be found."""
_OF_ALERTS = (
    select(*_COLUMNS)
    .distinct()
    .join(incident_alerts, incident_alerts.c.incident_id == incidents.c.id)
    .where(_UNRESOLVED, incident_alerts.c.alert.in_(bindparam("alerts", expanding=True)))
    .order_by(incidents.c.id)
)
_ADD_ALERTS = insert(incident_alerts)
_DELETE_ALERTS = delete(incident_alerts).where(incident_alerts.c.incident_id == bindparam("incident"))
_SEEN = (MessageState.SENDING, MessageState.UNSETTLED, MessageState.ACCEPTED, MessageState.DELIVERED)
"""The states of messages that somebody may have read."""
_UNREACHED = (*FAILED, MessageState.WITHDRAWN)
_INVOLVED = (
    select(messages.c.contact, messages.c.phone, messages.c.state)
    .where(messages.c.incident_id == bindparam("incident"), messages.c.kind.in_(PAGING))
    .order_by(messages.c.id)
)


@dataclass(frozen=True, slots=True)
class Involved:
    """Somebody who was paged for an incident: a contact's name (empty for a bare number), and the number."""

    contact: str
    phone: str


@dataclass(frozen=True, slots=True)
class HappenedEvent:
    """What happened to an incident, and when."""

    id: str
    at: datetime
    kind: str
    by: str | None
    via: str | None
    detail: str | None


class Incidents:
    """The incidents of a database."""

    def __init__(self, database: Database) -> None:
        """Work on *database*."""
        self._database = database

    # reading

    def find(self, group_keys: Collection[str]) -> dict[tuple[str, str], Incident]:
        """Return the incidents of these groups that are not resolved, by receiver and group key."""
        with self._database.reading() as connection:
            found = connection.execute(_OF_GROUPS, {"group_keys": list(group_keys)})
            return {(row.receiver, row.group_key): _incident(row) for row in found}

    def with_alerts(self, alerts: Collection[str]) -> list[Incident]:
        """Return the incidents that are not resolved in which some of *alerts* fire, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(_OF_ALERTS, {"alerts": sorted(alerts)[:_MOST_ALERTS]})
            return [_incident(row) for row in rows]

    def latest_opening(self) -> datetime | None:
        """Return when the latest of the incidents that are not over was opened; None if there are none."""
        with self._database.reading() as connection:
            return connection.execute(select(func.max(incidents.c.opened_at)).where(_UNRESOLVED)).scalar()

    def bring_forward(self, now: datetime, ahead: datetime) -> Future[None]:
        """Have what is due after *ahead* come earlier, by as much as the clock was set back from that to *now*."""
        back = to_microseconds(ahead) - to_microseconds(now)
        later = incidents.c.version + 1

        def operation(connection: Connection) -> None:
            for column in (incidents.c.due_at, incidents.c.unmute_at, incidents.c.muted_until):
                earlier = type_coerce(column, BigInteger) - back
                moved = update(incidents).where(_UNRESOLVED, column > ahead)
                connection.execute(moved.values({column.name: earlier, "version": later}))
            connection.execute(
                update(incidents).where(_UNRESOLVED, incidents.c.opened_at > now).values(opened_at=now)
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
            return None if row is None else _incident(row)

    def named(self, given: str) -> Incident | None:
        """Return the incident that *given* means: its id, or its number as the newest of that number has it."""
        found = None
        if given.isascii() and given.isdecimal() and len(given) < 8:
            found = self.numbered(int(given))
        return found or self.get(given)

    def numbered(self, number: int) -> Incident | None:
        """Return the newest incident of that number."""
        statement = (
            select(*_COLUMNS).where(incidents.c.number == number).order_by(incidents.c.id.desc()).limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else _incident(row)

    def page(
        self, limit: int, before: str | None = None, states: Collection[str] | None = None
    ) -> list[Incident]:
        """Return up to *limit* incidents, newest first, from the one after the id *before* on."""
        statement = select(*_COLUMNS).order_by(incidents.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(incidents.c.id < before)
        if states is not None:
            statement = statement.where(incidents.c.state.in_(list(states)))
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(statement)]

    def worst(self, limit: int | None = None) -> list[Incident]:
        """Return up to *limit* incidents that are not over: what nobody has first, the most severe, the newest."""
        statement = (
            select(*_COLUMNS)
            .where(_UNRESOLVED)
            .order_by(incidents.c.state != IncidentState.OPEN, _URGENCY, incidents.c.id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(statement)]

    def due(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Incident]:
        """Return the incidents of which something is due: a step, or the end of an acknowledgement.

        Those whose ids are in *without* are left out.
        """
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(_DUE, _given(now, limit, without))]

    def unmuting(self, now: datetime, limit: int, without: Collection[str] = ()) -> list[Incident]:
        """Return the incidents of which something that joined while they were muted is to be told.

        Those whose ids are in *without* are left out.
        """
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(_HEARD, _given(now, limit, without))]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many incidents are not resolved, by receiver and state."""
        statement = (
            select(incidents.c.receiver, incidents.c.state, func.count())
            .where(_UNRESOLVED)
            .group_by(incidents.c.receiver, incidents.c.state)
        )
        with self._database.reading() as connection:
            return {(receiver, state): count for receiver, state, count in connection.execute(statement)}

    def of_heartbeats(self) -> list[Incident]:
        """Return the incidents of heartbeats that are not resolved."""
        statement = select(*_COLUMNS).where(_UNRESOLVED, incidents.c.group_key.startswith(HEARTBEATS))
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(statement)]

    def any_open(self) -> bool:
        """Whether an incident is not resolved."""
        with self._database.reading() as connection:
            return connection.execute(select(incidents.c.id).where(_UNRESOLVED).limit(1)).first() is not None

    def involved(self, incident_id: str) -> list[Involved]:
        """Return those who were paged for an incident, each once, except those whom no message reached."""
        with self._database.reading() as connection:
            rows = connection.execute(_INVOLVED, {"incident": incident_id}).all()
        return list(
            dict.fromkeys(Involved(row.contact, row.phone) for row in rows if row.state not in _UNREACHED)
        )

    def history(self, incident_id: str) -> Sequence[HappenedEvent]:
        """Return what happened to an incident, in order."""
        statement = (
            select(events.c.id, events.c.at, events.c.kind, events.c.by, events.c.via, events.c.detail)
            .where(events.c.incident_id == incident_id)
            .order_by(events.c.id)
        )
        with self._database.reading() as connection:
            return [HappenedEvent(*row) for row in connection.execute(statement)]

    def latest_of(self, person: Recipient, before: datetime, *states: IncidentState) -> list[Incident]:
        """Return the incident, in one of *states*, of the last page that went to *person* before *before*.

        Other incidents in the same page are returned after it.
        """
        wanted = incidents.c.state.in_(states)
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
        page = (
            select(messages.c.id, messages.c.incident_id)
            .where(
                messages.c.phone.in_(numbers),
                messages.c.sent_at <= before,
                messages.c.kind.in_((*PAGING, Kind.DIGEST)),
                messages.c.state.in_(_SEEN),
                or_(
                    exists().where(incidents.c.id == messages.c.incident_id, wanted),
                    exists().where(
                        _MERGED.c.merged_into == messages.c.id,
                        incidents.c.id == _MERGED.c.incident_id,
                        wanted,
                    ),
                ),
            )
            .order_by(messages.c.sent_at.desc(), messages.c.id.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            last = connection.execute(page).first()
            if last is None:
                return []
            merged = select(messages.c.incident_id).where(messages.c.merged_into == last.id)
            rows = connection.execute(
                select(*_COLUMNS)
                .where(wanted, or_(incidents.c.id == last.incident_id, incidents.c.id.in_(merged)))
                .order_by(incidents.c.id)
            )
            return sorted(map(_incident, rows), key=lambda incident: incident.id != last.incident_id)

    def open_of(self, person: Recipient, before: datetime) -> list[Incident]:
        """Return the incidents that nobody has and that *person* was paged for before then, the latest first.

        Pages that went out in a digest count; those that are still queued do not.
        """
        carrier = messages.alias("carrier")
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
        is_sent = messages.c.state.in_(_SEEN) & (messages.c.sent_at <= before)
        is_merged = (messages.c.state == MessageState.MERGED) & exists().where(
            carrier.c.id == messages.c.merged_into, carrier.c.state.in_(_SEEN), carrier.c.sent_at <= before
        )
        page = exists().where(
            messages.c.incident_id == incidents.c.id,
            messages.c.phone.in_(numbers),
            messages.c.kind.in_(PAGING),
            or_(is_sent, is_merged),
        )
        statement = (
            select(*_COLUMNS)
            .where(_UNRESOLVED, incidents.c.state == IncidentState.OPEN, page)
            .order_by(incidents.c.id.desc())
        )
        with self._database.reading() as connection:
            return [_incident(row) for row in connection.execute(statement)]

    def told_with(self, incident: Incident, person: Recipient) -> list[Incident]:
        """Return *incident*, and those that *person* was paged for by the same messages."""
        with self._database.reading() as connection:
            numbers = _numbers(connection, person)
        own = select(messages.c.id).where(
            messages.c.incident_id == incident.id,
            messages.c.phone.in_(numbers),
            messages.c.kind.in_(PAGING),
        )
        # Of a group that was told once for several receivers, all is in the same digest, if it is in one.
        digests = select(messages.c.merged_into).where(messages.c.id.in_(own))
        with self._database.reading() as connection:
            merged = connection.execute(
                select(*_COLUMNS)
                .distinct()
                .join(messages, messages.c.incident_id == incidents.c.id)
                .where(
                    or_(
                        messages.c.merged_into.in_(own),
                        (incidents.c.group_key == incident.group_key) & messages.c.merged_into.in_(digests),
                    ),
                    _UNRESOLVED,
                    incidents.c.id != incident.id,
                )
                .order_by(incidents.c.id)
            )
            return [incident, *map(_incident, merged)]

    def webhook(self, incident: Incident) -> tuple[bytes, str | None] | None:
        """Return the last webhook about *incident*, and the receiver it was posted for."""
        statement = select(webhooks.c.body, webhooks.c.posted_to).where(webhooks.c.id == incident.webhook_id)
        with self._database.reading() as connection:
            row = connection.execute(statement).first()
            return None if row is None else (bytes(row.body), row.posted_to)

    # writing

    def change(self, changes: Sequence[IncidentChange], now: datetime) -> Future[list[bool]]:
        """Write down *changes*; return of each whether it was, or an earlier change of others stood against it."""

        def operation(connection: Connection) -> list[bool]:
            done = []
            for change in changes:
                try:
                    with connection.begin_nested():
                        is_done = self.put(connection, change, now)
                except IntegrityError:  # another replica opened the same, or took the same number
                    is_done = False
                if is_done and change.messages:
                    receiver = change.incident.receiver
                    rows = [message_row(message, receiver, now, now, None) for message in change.messages]
                    connection.execute(ADD_MESSAGES, rows)
                done.append(is_done)
            return done

        return self._database.submit(operation, notifies=("sender", "escalator"))

    def put(self, connection: Connection, change: IncidentChange, now: datetime) -> bool:
        """Write down the incident of *change* and what happened to it, unless others changed it meanwhile."""
        row = _row(change.incident)
        if change.is_new:
            taken = or_(
                incidents.c.number == row["number"],
                (incidents.c.receiver == row["receiver"]) & (incidents.c.group_key == row["group_key"]),
            )
            if connection.execute(select(incidents.c.id).where(_UNRESOLVED, taken).limit(1)).first():
                return False
            connection.execute(_ADD, row)
        else:
            row |= {"incident": row.pop("id"), "read": row["version"], "version": row["version"] + 1}
            for name in _FIXED[1:]:
                del row[name]
            if connection.execute(_CHANGE, row).rowcount != 1:
                return False
        self._index_alerts(connection, change)
        if change.withdraws_pages:
            connection.execute(_WITHDRAW, {"incident": change.incident.id, "now": now})
        if change.events:
            connection.execute(
                _ADD_EVENTS,
                [
                    {
                        "id": new_id(now),
                        "incident_id": change.incident.id,
                        "at": now,
                        "kind": event.reason,
                        "by": event.by,
                        "via": event.via,
                        "detail": event.detail,
                    }
                    for event in change.events
                ],
            )
        return True

    @staticmethod
    def _index_alerts(connection: Connection, change: IncidentChange) -> None:
        """Have the incident found by the alerts that fire in it, until it is resolved."""
        incident = change.incident
        is_over = incident.state is IncidentState.RESOLVED
        if not change.is_new and (is_over or change.events):
            connection.execute(_DELETE_ALERTS, {"incident": incident.id})
        alerts = sorted(incident.firing)[:_MOST_ALERTS]
        if alerts and not is_over and (change.is_new or change.events):
            rows = [{"alert": alert, "incident_id": incident.id} for alert in alerts]
            connection.execute(_ADD_ALERTS, rows)

    @staticmethod
    def escalate_now(connection: Connection, message_ids: Collection[str], now: datetime) -> None:
        """Make due *now* the next step of the incidents of which the failed messages *message_ids* reached nobody.

        - Nothing of the incident was ever accepted, and nothing is under way: an outage was longer than
          ``expire_after``. The steps start over, so that the person on call is the first to be paged.
        - A step's pages all failed: the next step comes at once. After the last step, one that expired before it
          was sent is taken again.
        - An update reached nobody: the next step tells of all that fires; an acknowledged incident is reopened.
        """
        ids = list(message_ids)
        is_failed = or_(messages.c.id.in_(ids), messages.c.merged_into.in_(ids))
        other = messages.alias("other")

        def of_failed(kind: Kind, *more: ColumnElement[bool]) -> Select[Any]:
            return select(messages.c.incident_id).where(
                messages.c.kind == kind, messages.c.incident_id.is_not(None), is_failed, *more
            )

        def change(*where: ColumnElement[bool], **values: Any) -> None:
            given = {"due_at": now, "version": incidents.c.version + 1, **values}
            connection.execute(update(incidents).where(*where).values(given))

        is_open = incidents.c.state == IncidentState.OPEN
        expired = messages.c.state == MessageState.EXPIRED
        of_incident = (other.c.incident_id == incidents.c.id) & other.c.kind.in_(PAGING)
        is_under_way_or_sent = exists().where(
            of_incident,
            or_(other.c.ovh_id.is_not(None), other.c.state.not_in((*FAILED, MessageState.WITHDRAWN))),
        )
        change(incidents.c.id.in_(of_failed(Kind.PAGE, expired)), is_open, ~is_under_way_or_sent, step=0)
        is_reached = exists().where(
            of_incident,
            other.c.kind == Kind.PAGE,
            other.c.step == incidents.c.steps_taken,
            other.c.state.not_in(FAILED),
        )
        change(incidents.c.id.in_(of_failed(Kind.PAGE)), is_open, incidents.c.due_at > now, ~is_reached)
        change(
            incidents.c.id.in_(of_failed(Kind.PAGE, expired)),
            is_open,
            incidents.c.due_at.is_(None),
            incidents.c.step > 0,
            ~is_reached,
            step=incidents.c.step - 1,
        )
        is_told = exists().where(  # another message of the same update
            other.c.incident_id == messages.c.incident_id,
            other.c.kind == Kind.UPDATE,
            other.c.created_at == messages.c.created_at,
            other.c.state.not_in(FAILED),
        )
        change(
            incidents.c.id.in_(of_failed(Kind.UPDATE, ~is_told)),
            _UNRESOLVED,
            or_(incidents.c.due_at.is_(None), incidents.c.due_at > now),
        )


_MERGED = messages.alias("merged")


def _numbers(connection: Connection, person: Recipient) -> list[str]:
    """Return the numbers at which *person* was paged for what is open: that of today, and those of before."""
    if not person.name:
        return [person.phone]
    statement = (
        select(messages.c.phone)
        .distinct()
        .join(incidents, incidents.c.id == messages.c.incident_id)
        .where(_UNRESOLVED, messages.c.contact == person.name)
    )
    return sorted({person.phone, *connection.execute(statement).scalars()})


def last_number(latest: Sequence[tuple[str, int]]) -> int:
    """Return the number that was given last, of the *latest* incidents, (id, number), the newest first; 0 for none.

    Those of one moment were given theirs one after the other, and their ids say nothing of the order.
    """
    together = [number for id_, number in latest if same_moment(id_, latest[0][0])]
    highest, lowest = max(together, default=0), min(together, default=0)
    if highest - lowest > MOST_NUMBERS // 2:  # they went round
        return max(number for number in together if number <= MOST_NUMBERS // 2)
    return highest


def _given(now: datetime, limit: int, without: Collection[str]) -> dict[str, Any]:
    return {"now": now, "most": limit, "without": list(without)}


def _row(incident: Incident) -> dict[str, Any]:
    row: dict[str, Any] = {column.name: getattr(incident, column.name) for column in incidents.c}
    keys = {name: " ".join(sorted(getattr(incident, name))) for name in ("alerts", "firing")}
    return row | keys | {"labels": json.dumps(dict(incident.labels))}


def _incident(row: Row[Any]) -> Incident:
    values = dict(row._mapping)
    try:  # a row that was damaged must not hide the incident, nor any other
        values["labels"] = dict(json.loads(values["labels"]))
    except (ValueError, TypeError):
        values["labels"] = {}
    states = set(IncidentState)
    values["state"] = IncidentState(values["state"]) if values["state"] in states else IncidentState.OPEN
    if values["began_at"] is not None and not is_known(values["began_at"]):
        values["began_at"] = None
    values |= {name: frozenset(values[name].split()) for name in ("alerts", "firing")}
    return Incident(**values)
