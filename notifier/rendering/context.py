"""The context of a template: a notification, and its alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from notifier.alertmanager.webhook import Alert, Status, Webhook
from notifier.clock import is_known
from notifier.incidents.severities import USUAL_SEVERITIES, Severities
from notifier.rendering.hosts import short_host
from notifier.sms.encoding import (
    clean,
    clip,
)

MAX_ALERTS = 300
"""How many alerts a template is given at most; six parts could not name more."""
MAX_VALUE = 400
"""How many characters of a label or annotation a template is given at most."""

MAX_LABELS = 100

LONGEST_NAME = 63
"""How many characters of a name or place are shown: no host or pod has a longer one."""

_WHERE = (
    "pod",
    "deployment",
    "statefulset",
    "daemonset",
    "persistentvolumeclaim",
    "instance",
    "host",
    "hostname",
    "node",
    "nodename",
    "container",
    "device",
    "target",
    "service",
    "job",
)


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert as templates see it. *ends_at* is None while it fires."""

    status: Status
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None
    generator_url: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The alert's name; an alert without one goes by its most telling label."""
        return clip(self.labels.get("alertname", ""), LONGEST_NAME) or self.where or "alert"

    @property
    def severity(self) -> str:
        """The severity label, empty if there is none."""
        return self.labels.get("severity", "")

    @property
    def where(self) -> str:
        """The subject of the alert: its instance, host, pod or the like, short; empty if it says none."""
        return clip(short_host(self.target), LONGEST_NAME)

    @property
    def target(self) -> str:
        """The same at full length."""
        return next((self.labels[name] for name in _WHERE if self.labels.get(name)), "")


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification of one receiver about one webhook: the alerts that reach it, most severe first."""

    receiver: str
    status: Status
    alerts: tuple[ShownAlert, ...]
    group_key: str
    common_labels: Mapping[str, str]
    unseen: int = 0
    """How many more alerts there are than *alerts* holds."""
    group_labels: Mapping[str, str] = field(default_factory=dict)
    common_annotations: Mapping[str, str] = field(default_factory=dict)
    external_url: str = ""
    truncated_alerts: int = 0
    notification_reason: str = ""
    route_labels: Mapping[str, str] = field(default_factory=dict)
    number: int | None = None
    """The number of the incident."""
    reason: str = "page"
    """Its reason: page, escalation, reopened, unsilenced, update or reminder."""

    @property
    def severity(self) -> str:
        """The highest severity among the alerts that fire, or among all when none does."""
        return self.alerts[0].severity if self.alerts else ""


def _value(text: str) -> str:
    return clip(clean(text[: MAX_VALUE * 4]).replace("\n", " ").strip(), MAX_VALUE)


def _mapping(labels: Mapping[str, str]) -> dict[str, str]:
    return {_value(name): _value(value) for name, value in list(labels.items())[:MAX_LABELS]}


def _shown(alert: Alert) -> ShownAlert:
    ends_at = alert.ends_at if alert.status == "resolved" else None
    return ShownAlert(
        alert.status,
        _mapping(alert.labels),
        _mapping(alert.annotations),
        alert.starts_at,
        ends_at if ends_at and is_known(ends_at) else None,
        _value(alert.generator_url),
        _value(alert.fingerprint),
    )


def _common(
    alerts: Sequence[Alert], given: Mapping[str, str], key: Callable[[Alert], Mapping[str, str]]
) -> Any:
    """Return the pairs of *given* and of the first alert that all alerts share."""
    candidates = {**key(alerts[0]), **given} if alerts else given
    return {
        name: value for name, value in candidates.items() if all(key(a).get(name) == value for a in alerts)
    }


def build_notification(
    webhook: Webhook,
    positions: Iterable[int],
    receiver: str,
    *,
    send_resolved: bool = True,
    severities: Severities = USUAL_SEVERITIES,
) -> Notification | None:
    """Return the notification of *receiver* about the alerts at *positions* in *webhook*; None if there is none.

    Without *send_resolved*, alerts that are resolved are left out. The most urgent by *severities* come first.
    """

    def order(alert: Alert) -> tuple[bool, int, datetime]:
        urgency = severities.urgency(alert.labels.get("severity", ""))
        return alert.status == "resolved", urgency, alert.starts_at

    chosen = [webhook.alerts[position] for position in positions]
    whole = len(chosen) == len(webhook.alerts)
    if not send_resolved:
        chosen = [alert for alert in chosen if alert.status == "firing"]
    if not chosen:
        return None
    chosen.sort(key=order)
    if len(chosen) == len(webhook.alerts):
        labels, annotations = webhook.common_labels, webhook.common_annotations
    else:
        labels = _common(chosen, webhook.common_labels, lambda alert: alert.labels)
        annotations = _common(chosen, webhook.common_annotations, lambda alert: alert.annotations)
    truncated = webhook.truncated_alerts if whole else 0
    return Notification(
        receiver=receiver,
        status="firing" if any(alert.status == "firing" for alert in chosen) else "resolved",
        alerts=tuple(map(_shown, chosen[:MAX_ALERTS])),
        unseen=len(chosen[MAX_ALERTS:]) + truncated,
        group_labels=_mapping(webhook.group_labels),
        common_labels=_mapping(labels),
        common_annotations=_mapping(annotations),
        external_url=_value(webhook.external_url),
        group_key=_value(webhook.group_key),
        truncated_alerts=truncated,
        notification_reason=_value(webhook.notification_reason),
        route_labels=_mapping(webhook.route_labels),
    )


def notification_from_incident(
    title: str,
    labels: Mapping[str, str],
    since: datetime,
    receiver: str,
    group_key: str,
    ended_at: datetime | None = None,
) -> Notification:
    """Return the notification about an incident without a stored webhook: its *title*, *labels* and start."""
    status: Status = "firing" if ended_at is None else "resolved"
    alert = ShownAlert(status, {"alertname": title, **_mapping(labels)}, {}, since, ended_at, "", "")
    return Notification(
        receiver=receiver,
        status=status,
        alerts=(replace(alert, labels={**alert.labels, "alertname": title}),),
        common_labels=alert.labels,
        group_key=_value(group_key),
    )
