"""The last resort: the page for a webhook, an incident or a heartbeat that cannot be processed.

A fault of Notifier itself must not cost a page. After `MAX_ATTEMPTS` failures the people who should have been
paged receive a built-in text. It is composed with as little of the rest of the program as possible: no template,
no incident logic, no digest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog

from notifier.alertmanager.webhook import WebhookError, parse_webhook
from notifier.config.model import HeartbeatConfig, Receiver
from notifier.delivery.message import NewMessage
from notifier.ids import new_id
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import Event, Incident, IncidentState, Kind, Reason
from notifier.rendering.compose import plain_text
from notifier.rendering.context import build_notification
from notifier.runtime import Runtime
from notifier.sms.encoding import Encoding, encode, measure, shorten
from notifier.sms.recipient import Recipient
from notifier.store.records import IncidentChange, NewNotification, StoredWebhook

log = structlog.get_logger(__name__)

T = TypeVar("T")

NEXT_STEP_AFTER = timedelta(minutes=10)
"""How long after a page of the last resort the incident is due again."""
_MAX_PARTS = 2
_UNREADABLE = "an alert that Notifier cannot read"
_AlertCounts = Sequence[tuple[str, str, int]]
"""The names and severities of alerts, and how many of each: for a digest to count."""


def page_of(runtime: Runtime, stored: StoredWebhook, now: datetime) -> list[NewNotification]:
    """Return the pages for a webhook that cannot be planned; none if all of its alerts are resolved."""
    if not _attempt(lambda: _is_firing(stored.body), default=True):
        return []
    first: Sequence[Receiver] = runtime.configuration.receivers[:1]
    receivers = _attempt(lambda: _receivers(runtime, stored), default=first) or first
    text = _attempt(lambda: _text_of(stored.body), default=f"FIRING: {_UNREADABLE}")
    unknown: _AlertCounts = [(_UNREADABLE, "critical", 1)]
    counts = _attempt(lambda: _counts_of_webhook(stored.body), default=unknown)
    return [
        NewNotification(
            id=new_id(now),
            webhook_id=stored.id,
            receiver=receiver.name,
            status="firing",
            group_key="",
            alerts=0,
            received_at=stored.received_at,
            messages=_messages(runtime, receiver, text, counts, Kind.PAGE, stored.received_at, now),
        )
        for receiver in receivers
    ]


def step_of(runtime: Runtime, incident: Incident, now: datetime) -> IncidentChange:
    """Return the next step of an open incident that cannot be escalated: everybody of its receiver is paged."""
    receiver = runtime.receiver(incident.receiver)
    text = f"ESCALATED {_named(incident)}"
    after = replace(
        incident,
        state=IncidentState.OPEN,
        step=incident.step + 1,
        steps_taken=incident.steps_taken + 1,
        due_at=now + NEXT_STEP_AFTER,
        unmute_at=None,
        is_step_requested=False,
    )
    messages = _messages(runtime, receiver, text, _counts_of_incident(incident), Kind.PAGE, now, now, after)
    event = Event(Reason.ESCALATED, detail="with a built-in text, because of an internal error; see the log")
    return IncidentChange(after, events=(event,), messages=messages)


def update_of(runtime: Runtime, incident: Incident, now: datetime) -> IncidentChange:
    """Return the update about alerts that joined a muted incident, for when it cannot be composed."""
    receiver = runtime.receiver(incident.receiver)
    after = replace(incident, unmute_at=None)
    text = f"UPDATE {_named(incident)}"
    messages = _messages(runtime, receiver, text, _counts_of_incident(incident), Kind.UPDATE, now, now, after)
    return IncidentChange(after, messages=messages)


def silence_of(runtime: Runtime, heartbeat: HeartbeatConfig, number: int, now: datetime) -> IncidentChange:
    """Return the page for a heartbeat that is silent and cannot be judged, as incident *number*."""
    receiver = runtime.receiver(heartbeat.receiver)
    title = f"MonitoringSilent {heartbeat.name}"
    incident = Incident(
        id=new_id(now),
        number=number,
        receiver=receiver.name,
        group_key=HEARTBEATS + heartbeat.name,
        state=IncidentState.OPEN,
        title=title,
        labels={"alertname": "MonitoringSilent", "severity": "critical", "heartbeat": heartbeat.name},
        alerts=frozenset(),
        webhook_id=None,
        opened_at=now,
        steps_taken=1,
        due_at=now + NEXT_STEP_AFTER,
        severity="critical",
    )
    text = f"FIRING {_named(incident)}"
    messages = _messages(
        runtime, receiver, text, _counts_of_incident(incident), Kind.PAGE, now, now, incident
    )
    event = Event(Reason.OPENED, detail="with a built-in text, because of an internal error; see the log")
    return IncidentChange(incident, is_new=True, events=(event,), messages=messages)


def _named(incident: Incident) -> str:
    return f"#{incident.number} {incident.severity} {incident.title}"


def _attempt(compute: Callable[[], T], default: T) -> T:
    try:
        return compute()
    except Exception:  # the fault may be anywhere: the page goes out all the same
        log.exception("built-in text failed, too")
        return default


def _is_firing(body: bytes) -> bool:
    try:
        return any(alert.status == "firing" for alert in parse_webhook(body).alerts)
    except WebhookError:
        return True


def _receivers(runtime: Runtime, stored: StoredWebhook) -> Sequence[Receiver]:
    """Return the receivers of the alerts that fire: by the webhook's address, else by the routing tree."""
    configuration = runtime.configuration
    posted_to = configuration.receiver(stored.posted_to) if stored.posted_to is not None else None
    if posted_to is not None:
        return [posted_to]
    webhook = parse_webhook(stored.body)
    firing = [alert.labels for alert in webhook.alerts if alert.status == "firing"]
    reached = map(configuration.receiver, runtime.routing.split(webhook.receiver, firing))
    return [receiver for receiver in reached if receiver is not None]


def _text_of(body: bytes) -> str:
    try:
        webhook = parse_webhook(body)
        firing = [number for number, alert in enumerate(webhook.alerts) if alert.status == "firing"]
        notification = build_notification(webhook, firing, webhook.receiver)
        if notification is not None:
            return plain_text(notification, min(len(notification.alerts), 3))
    except Exception:  # read what can be read
        log.exception("webhook cannot be read, paging its alert names alone")
    return "FIRING " + "; ".join(_names(json.loads(body)))


def _names(body: Any) -> Iterable[str]:
    for alert in body["alerts"][:3]:
        labels = alert["labels"]
        yield " ".join(str(labels[name]) for name in ("severity", "alertname", "instance") if name in labels)


def _counts_of_incident(incident: Incident) -> _AlertCounts:
    return [(incident.title, incident.severity, 1)]


def _counts_of_webhook(body: bytes) -> _AlertCounts:
    firing = [alert.labels for alert in parse_webhook(body).alerts if alert.status == "firing"]
    counts = Counter((one.get("alertname", _UNREADABLE), one.get("severity", "critical")) for one in firing)
    return [(*kind, count) for kind, count in counts.most_common(10)]


def _messages(
    runtime: Runtime,
    receiver: Receiver,
    text: str,
    counts: _AlertCounts,
    kind: Kind,
    received_at: datetime,
    now: datetime,
    incident: Incident | None = None,
) -> tuple[NewMessage, ...]:
    no_one: tuple[Recipient, ...] = ()
    recipients = _attempt(lambda: runtime.recipients(receiver.everyone(), now), default=no_one)
    recipients = recipients or runtime.fallback_recipients(receiver, now)
    written = shorten(encode(text, Encoding.GSM).strip() or "FIRING", _MAX_PARTS)
    return tuple(
        NewMessage(
            id=new_id(now),
            contact=recipient.name,
            phone=recipient.phone,
            text=written,
            parts=measure(written).parts,
            expires_at=received_at + runtime.configuration.expire_after(receiver),
            digest_entry=json.dumps(["firing", counts]),
            kind=kind,
            incident_id=incident.id if incident is not None else None,
            step=incident.steps_taken if incident is not None and kind is Kind.PAGE else None,
            urgency=runtime.severities.urgency(incident.severity if incident is not None else "critical"),
        )
        for recipient in recipients
    )
