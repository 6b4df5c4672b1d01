"""Division: the alerts of a webhook by the receivers that they reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b

from notifier.alertmanager.webhook import Alert, Webhook, fingerprint, group_key
from notifier.config.model import Receiver
from notifier.incidents.heartbeats import beats
from notifier.rendering.context import Notification, build_notification
from notifier.runtime import Runtime

_LOOK_AHEAD = timedelta(hours=1)

Key = tuple[str, str]
"""A receiver and a group key: what an incident is known by while it is open."""


@dataclass(frozen=True, slots=True)
class ReceiverAlerts:
    """The alerts of one webhook that reach one receiver, by their *positions*.

    *notification* is for the receiver, None if there is nothing to notify of; *firing* are the keys of those that
    fire.
    """

    receiver: Receiver
    group_key: str
    positions: tuple[int, ...]
    notification: Notification | None
    firing: frozenset[str]
    muted_by: tuple[str, ...] = ()
    """The time intervals that mute every firing alert (every alert, if none fires); empty if one of them is not muted.
    """
    muted_until: datetime | None = None
    """When the first of the alerts is no longer muted; None if not muted, or if that is more than 14 days away."""
    is_whole: bool = True
    """Whether the webhook holds all alerts of its group: Alertmanager may cut off some."""

    def look_at(self, now: datetime) -> datetime:
        """Return when to check a muted incident again: when the mute ends, within an hour at the latest, since a
        reload may change the time intervals.
        """
        soon = now + _LOOK_AHEAD
        return soon if self.muted_until is None else min(self.muted_until, soon)

    @property
    def key(self) -> Key:
        """Identifies its incident."""
        return self.receiver.name, self.group_key


def alert_key(alert: Alert) -> str:
    """Return the key of *alert*: unique in its group, and another one when the alert fires again."""
    text = f"{alert.fingerprint or fingerprint(alert.labels)} {alert.starts_at.isoformat()}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


def divide(runtime: Runtime, webhook: Webhook, posted_to: str | None, now: datetime) -> list[ReceiverAlerts]:
    """Return the alerts of *webhook* by the receivers that they reach at *now*; *posted_to* is the receiver in its URL.

    Each alert finds its receivers by itself; the alerts that reach the same one make one notification.
    """
    configuration = runtime.configuration
    if posted_to is not None and configuration.receiver(posted_to) is None:
        posted_to = None  # it was there when the webhook was stored; the page must still reach somebody
    labels = [alert.labels for alert in webhook.alerts]
    divided = []
    beating = {p for p, one in enumerate(labels) if beats(configuration.heartbeats, one)}
    for name, every in runtime.routing.split(webhook.receiver, labels, only=posted_to).items():
        positions = [position for position in every if position not in beating]
        receiver = configuration.receiver(name)
        if not positions:
            continue
        if receiver is None:  # the configuration was checked: every route names a receiver
            raise LookupError(name)
        telling = [p for p in positions if webhook.alerts[p].status == "firing"] or positions
        muted_by, until = ((), None) if posted_to else _muted(runtime, webhook, telling, name, now)
        build = partial(build_notification, webhook, positions, name, severities=runtime.severities)
        notification = build(send_resolved=receiver.send_resolved)
        alerts = [webhook.alerts[position] for position in positions]
        firing = frozenset(alert_key(alert) for alert in alerts if alert.status == "firing")
        if not firing and webhook.status == "firing" and webhook.truncated_alerts:  # what fires was cut off
            whole = notification or build(send_resolved=True)
            notification, firing = whole and replace(whole, status="firing"), frozenset({"truncated"})
        is_whole = not webhook.truncated_alerts
        divided.append(
            ReceiverAlerts(
                receiver,
                group_key(webhook),
                tuple(positions),
                notification,
                firing,
                muted_by,
                until,
                is_whole,
            )
        )
    return divided


def _muted(
    runtime: Runtime, webhook: Webhook, positions: Iterable[int], receiver: str, now: datetime
) -> tuple[tuple[str, ...], datetime | None]:
    """Return which time intervals mute all of the alerts for *receiver* at *now*, and until when.

    They are empty if one of the alerts is not muted. The end is None then, and if it is more than 14 days away.
    """
    routing = runtime.routing
    if not routing.intervals:
        return (), None
    ways = {
        routing.ways(webhook.receiver, webhook.alerts[position].labels, receiver) for position in positions
    }
    names = [routing.muted_by(one, now) for one in ways]
    if not all(names):
        return (), None
    every = tuple(dict.fromkeys(name for some in names for name in some))
    return every, min(filter(None, (routing.unmuted_at(one, now) for one in ways)), default=None)


def described_mute(runtime: Runtime, routed: ReceiverAlerts, now: datetime) -> str:
    """Return how *routed* is muted, for people: ``outside office-hours``; empty if it is not."""
    return ", ".join(runtime.routing.describe(name, now) for name in routed.muted_by)


def ended_in(webhook: Webhook, routed: ReceiverAlerts) -> frozenset[str]:
    """Return the keys of the alerts of *routed* that are resolved."""
    alerts = (webhook.alerts[position] for position in routed.positions)
    return frozenset(alert_key(alert) for alert in alerts if alert.status == "resolved")
