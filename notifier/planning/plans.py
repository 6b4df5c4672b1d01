"""Plans: the effects of a webhook on incidents, and the people to notify."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from notifier.alertmanager.webhook import Webhook
from notifier.clock import is_known
from notifier.ids import new_id
from notifier.incidents.lifecycle import (
    PAGING,
    Incident,
    IncidentState,
    Kind,
    Reason,
    classify_webhook,
    escalated,
    resolved,
)
from notifier.planning.division import ReceiverAlerts, alert_key, described_mute, divide
from notifier.planning.moves import Move
from notifier.planning.receivers import update_recipients
from notifier.planning.texts import OutgoingText, outgoing_texts
from notifier.rendering.compose import title
from notifier.rendering.context import Notification, build_notification, notification_from_incident
from notifier.rendering.filters import since
from notifier.runtime import Runtime
from notifier.sms.recipient import Recipient


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of the alerts of one receiver on its incident, and who is notified."""

    routed: ReceiverAlerts
    reason: Reason
    incident: Incident | None
    notification: Notification | None
    pages: tuple[OutgoingText, ...] = ()
    detail: str | None = None
    is_of_webhook: bool = True
    """Whether the webhook becomes the last webhook of the incident; False if its alerts moved to another incident."""


def plan(
    runtime: Runtime,
    webhook: Webhook,
    routed: ReceiverAlerts,
    incident: Incident | None,
    involved: Sequence[Recipient],
    number: int | None,
    now: datetime,
) -> Plan:
    """Return the plan for *routed* of *webhook*.

    *incident* is the open incident of *routed*, if there is one, and *involved* were paged for it. A new incident gets
    *number*; if that is None, none is opened (for a preview).
    """
    change = classify_webhook(incident, routed.firing, is_whole=routed.is_whole)
    notification = routed.notification
    if routed.muted_by:
        return _muted_plan(
            runtime, described_mute(runtime, routed, now), routed, change, incident, number, now
        )
    if change is Reason.OPENED and notification is not None:
        outcome = runtime.step(routed.receiver, 0, 0, now)
        notification = replace(notification, number=number)
        if number is not None:
            incident = escalated(_opened(routed, notification, number, now), outcome)
        first = routed.receiver.notify
        gap = None if runtime.recipients(first, now) else f"nobody is on call in {', '.join(first)}"
        written = outgoing_texts(runtime, routed.receiver, notification, outcome.recipients, Kind.PAGE, now)
        return Plan(routed, change, incident, notification, written, detail=gap)
    if incident is None or change is Reason.NOTHING:
        return Plan(routed, Reason.NOTHING, None, notification)
    if notification is not None:
        notification = replace(notification, number=incident.number)
    notifying = partial(_notifying, runtime, routed, change)
    match change:
        case Reason.RESOLVED:
            recipients = involved if routed.receiver.send_resolved else ()
            return notifying(resolved(incident, now), notification, recipients, Kind.RESOLVED, now)
        case Reason.JOINED:
            return _joining_plan(runtime, webhook, routed, incident, involved, now)
        case Reason.REPEATED if incident.state is IncidentState.OPEN and incident.steps_taken:
            recipients = update_recipients(runtime, routed.receiver, incident, involved, now)
            joined = _after_webhook(runtime, incident, routed)
            return notifying(joined, notification, recipients, Kind.REMINDER, now)
        case Reason.REPLACED:
            # Nobody has acknowledged the alerts that fire now: the escalator reopens the incident at once.
            return Plan(
                routed, change, replace(_after_webhook(runtime, incident, routed), due_at=now), notification
            )
    return Plan(routed, change, _after_webhook(runtime, incident, routed), notification)


def _joining_plan(
    runtime: Runtime,
    webhook: Webhook,
    routed: ReceiverAlerts,
    incident: Incident,
    involved: Sequence[Recipient],
    now: datetime,
) -> Plan:
    """Return the plan for alerts of which some are new to *incident*: those involved are notified."""
    after = _after_webhook(runtime, incident, routed)
    if not incident.steps_taken and incident.state is IncidentState.OPEN:
        # It was muted: now the first step is taken at once, for all alerts.
        return Plan(routed, Reason.JOINED, replace(after, due_at=now), routed.notification)
    keys = routed.firing - incident.alerts
    new = [position for position in routed.positions if alert_key(webhook.alerts[position]) in keys]
    recipients = update_recipients(runtime, routed.receiver, incident, involved, now)
    name, severities = routed.receiver.name, runtime.severities
    notification = routed.notification
    if involved:
        notification = build_notification(webhook, new, name, severities=severities)
    if notification is not None:
        notification = replace(notification, number=incident.number)
    return _notifying(runtime, routed, Reason.JOINED, after, notification, recipients, Kind.UPDATE, now)


def _notifying(
    runtime: Runtime,
    routed: ReceiverAlerts,
    change: Reason,
    incident: Incident,
    notification: Notification | None,
    recipients: Sequence[Recipient],
    kind: Kind,
    now: datetime,
) -> Plan:
    """Return a plan that notifies *recipients* of *incident*, by messages of *kind*."""
    if notification is None:
        return Plan(routed, change, incident, None)
    if kind in PAGING:
        notification = replace(notification, reason=kind.value)
    return Plan(
        routed,
        change,
        incident,
        notification,
        outgoing_texts(runtime, routed.receiver, notification, recipients, kind, now),
    )


def _muted_plan(
    runtime: Runtime,
    mute: str,
    routed: ReceiverAlerts,
    change: Reason,
    incident: Incident | None,
    number: int | None,
    now: datetime,
) -> Plan:
    """Return the plan for muted alerts: nobody is notified; a new incident is paged when the mute ends."""
    if change is Reason.OPENED and routed.notification is not None and number is not None:
        opened = replace(
            _opened(routed, routed.notification, number, now),
            due_at=routed.look_at(now),
            muted_by=mute,
            muted_until=routed.muted_until,
        )
        return Plan(routed, change, opened, routed.notification)
    if change is Reason.RESOLVED and incident is not None:
        return Plan(routed, change, resolved(incident, now), routed.notification)
    if incident is None:
        return Plan(routed, Reason.NOTHING, None, routed.notification)
    if change in (Reason.JOINED, Reason.REPLACED):
        # Once somebody was paged, the new alerts join only when the mute ends.
        if incident.steps_taken or incident.state is IncidentState.ACKNOWLEDGED:
            change = change if incident.unmute_at is None else Reason.REPEATED
            incident = replace(incident, unmute_at=routed.look_at(now))
        else:
            due_at = min(filter(None, (incident.due_at, routed.look_at(now))))
            incident = replace(_after_webhook(runtime, incident, routed), due_at=due_at)
    return Plan(routed, change, incident, routed.notification)


def _after_webhook(runtime: Runtime, incident: Incident, routed: ReceiverAlerts) -> Incident:
    """Return *incident* with the alerts of *routed*, the labels that all of them share, and the highest severity."""
    labels = incident.labels
    if routed.notification is not None:
        shared = {**routed.notification.common_labels, **routed.notification.group_labels}
        labels = {name: value for name, value in labels.items() if shared.get(name) == value}
    alerts = incident.alerts | routed.firing
    severities = (incident.severity, routed.notification.severity if routed.notification is not None else "")
    severity = min(filter(None, severities), key=runtime.severities.urgency, default="")
    return replace(
        incident,
        alerts=alerts,
        firing=routed.firing,
        labels=labels,
        severity=severity,
        unmute_at=None,
        gone_since=None,
        muted_by="" if not routed.muted_by else incident.muted_by,
    )


def _opened(routed: ReceiverAlerts, notification: Notification, number: int, now: datetime) -> Incident:
    return Incident(
        id=new_id(now),
        number=number,
        receiver=routed.receiver.name,
        group_key=routed.group_key,
        state=IncidentState.OPEN,
        title=title(notification),
        labels={**notification.common_labels, **notification.group_labels},
        alerts=routed.firing,
        firing=routed.firing,
        webhook_id=None,
        opened_at=now,
        began_at=_began(notification, now),
        severity=notification.severity,
    )


def _began(notification: Notification, now: datetime) -> datetime | None:
    """Return when the alerts of a notification began to fire, `now` at the latest; None if it is not known."""
    began = since(notification.alerts) or now
    return min(now, began) if is_known(began) else None


def preview(runtime: Runtime, webhook: Webhook, posted_to: str | None, now: datetime) -> list[Plan]:
    """Return the plans for *webhook* if no incident was open: pages for alerts that fire, or resolutions."""
    plans = []
    for routed in divide(runtime, webhook, posted_to, now):
        planned = plan(runtime, webhook, replace(routed, muted_by=()), None, (), None, now)
        if planned.reason is Reason.NOTHING and routed.notification is not None:
            recipients = runtime.recipients(routed.receiver.notify, now)
            written = outgoing_texts(
                runtime, routed.receiver, routed.notification, recipients, Kind.RESOLVED, now
            )
            planned = replace(planned, pages=written)
        plans.append(planned)
    return plans


def plans_of_move(routed: ReceiverAlerts, moving: Move, now: datetime) -> Iterator[Plan]:
    """Yield the plans for the incidents that alerts have moved from; nobody is notified."""
    to = (
        f"its alerts moved to #{moving.incident.number}"
        if moving.incident
        else "its alerts moved to another group"
    )
    for one in moving.resolved:
        of_one = ReceiverAlerts(routed.receiver, one.group_key, (), None, frozenset())
        yield Plan(of_one, Reason.RESOLVED, resolved(one, now), None, detail=to, is_of_webhook=False)
    for one in moving.reduced:
        of_one = ReceiverAlerts(routed.receiver, one.group_key, (), None, one.firing)
        detail = f"some of {to}"
        yield Plan(of_one, Reason.SHIFTED, one, None, detail=detail, is_of_webhook=False)


def plan_without_alerts(
    runtime: Runtime, webhook: Webhook, incident: Incident, involved: Sequence[Recipient], now: datetime
) -> Plan:
    """Return the plan for *incident* when *webhook*, of its group, has no alert for its receiver.

    Its alerts are over, or a change of the configuration has them reach other receivers: then nobody is notified.
    """
    firing = {alert_key(alert) for alert in webhook.alerts if alert.status == "firing"}
    if firing & incident.alerts:
        planned = plan_resolution(runtime, incident, (), now)
        return replace(planned, detail="its alerts reach other receivers now")
    return plan_resolution(runtime, incident, involved, now)


def plan_resolution(
    runtime: Runtime, incident: Incident, involved: Sequence[Recipient], now: datetime
) -> Plan:
    """Return the plan that resolves *incident* without a webhook; those *involved* are notified."""
    receiver = runtime.receiver(incident.receiver)
    notification = notification_from_incident(
        incident.title, incident.labels, incident.opened_at, receiver.name, incident.group_key, ended_at=now
    )
    notification = replace(notification, number=incident.number)
    routed = ReceiverAlerts(receiver, incident.group_key, (), notification, frozenset())
    recipients = involved if receiver.send_resolved else ()
    return _notifying(
        runtime,
        routed,
        Reason.RESOLVED,
        resolved(incident, now),
        notification,
        recipients,
        Kind.RESOLVED,
        now,
    )
