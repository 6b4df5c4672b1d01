"""A month that the demo pretends to have had: incidents that were paged, acknowledged and resolved."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, insert

from notifier.delivery.message import MessageState, NewMessage
from notifier.ids import new_id
from notifier.incidents.lifecycle import MAX_NUMBERS, Event, Incident, IncidentState, Kind, Reason
from notifier.sms.encoding import measure
from notifier.store.incident_changes import add_events
from notifier.store.incident_rows import to_row
from notifier.store.messages import ADD_MESSAGES, message_row
from notifier.store.schema import incidents
from notifier.store.store import Store

_DAYS = 30
_ALERTS = (
    ("DiskWillFill", "warning", "storage"),
    ("InstanceDown", "critical", "web"),
    ("BackupFailed", "warning", "backup"),
    ("QueueFull", "critical", "mq"),
    ("CertificateExpires", "info", "www"),
)


def write_history(store: Store, people: dict[str, str], now: datetime, zone: ZoneInfo) -> None:
    """Write a month of incidents before *now*, by the clocks of *zone*, into an empty *store*.

    *people* maps the contacts to their numbers.

    The last of them has the highest number, so that the first one of the demo is number 1.
    """
    dice = random.Random(7)  # noqa: S311 (no secret: the same month each time)
    begun = sorted(
        now - timedelta(days=day, minutes=dice.randrange(30, 1400))
        for day in range(_DAYS)
        for _ in range(dice.choice((0, 1, 1, 2, 4)))
    )

    def operation(connection: Connection) -> None:
        for number, at in enumerate(begun, MAX_NUMBERS - len(begun) + 1):
            _write_incident(connection, dice, people, number, at, zone)

    store.submit(operation).result()


def _write_incident(
    connection: Connection,
    dice: random.Random,
    people: dict[str, str],
    number: int,
    at: datetime,
    zone: ZoneInfo,
) -> None:
    """Write an incident that began at *at*: who was paged, who took it, and when it was over."""
    name, severity, where = dice.choice(_ALERTS)
    title = f"{name} {where}-{dice.randrange(1, 9)}"
    answered, lasted = timedelta(minutes=dice.randrange(1, 25)), timedelta(minutes=dice.randrange(30, 240))
    is_missed = answered > timedelta(minutes=18)
    began = at - timedelta(minutes=5)
    paged = list(people)[: 2 if is_missed else 1]
    incident = Incident(
        id=new_id(at),
        number=number,
        receiver="demo",
        group_key=f"history/{number}",
        state=IncidentState.RESOLVED,
        title=title,
        labels={"alertname": name, "severity": severity},
        alerts=frozenset(),
        webhook_id=None,
        opened_at=at,
        began_at=began,
        severity=severity,
        steps_taken=len(paged),
        resolved_at=at + lasted,
    )
    connection.execute(insert(incidents), to_row(incident))
    add_events(connection, [(incident.id, Event(Reason.OPENED))], at)
    for step, contact in enumerate(paged):
        sent = at + timedelta(minutes=10 * step)
        text = f"FIRING #{number} {severity} {title} since {began.astimezone(zone):%H:%M}"
        _write_message(
            connection, incident, contact, people[contact], text, sent, is_missed=is_missed and not step
        )
    by = paged[-1]
    answer = Event(Reason.ACKNOWLEDGED, by=by, via="sms")
    add_events(connection, [(incident.id, answer)], at + answered)
    add_events(connection, [(incident.id, Event(Reason.RESOLVED))], at + lasted)


def _write_message(
    connection: Connection,
    incident: Incident,
    contact: str,
    phone: str,
    text: str,
    at: datetime,
    *,
    is_missed: bool,
) -> None:
    expires = at + timedelta(hours=1)
    new = NewMessage(new_id(at), contact, phone, text, measure(text).parts, expires, Kind.PAGE, incident.id)
    second = at + timedelta(seconds=1)
    connection.execute(
        ADD_MESSAGES,
        message_row(new, "demo", at, at, None)
        | {
            "state": MessageState.UNDELIVERED if is_missed else MessageState.DELIVERED,
            "error": "absent, phone off (ptt 24)" if is_missed else None,
            "attempts": 1,
            "sent_at": second,
            "finished_at": second,
            "receipt_at": at + timedelta(seconds=6),
            "delivered_at": None if is_missed else at + timedelta(seconds=6),
            "credits": float(measure(text).parts),
            "ovh_id": 1_000_000 + incident.number,
        },
    )
