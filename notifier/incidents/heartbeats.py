"""Heartbeats: alerts that always fire, distinguished from alerts that page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from notifier.alertmanager.webhook import RESERVED, Envelope
from notifier.config.model import HeartbeatConfig

HEARTBEATS = RESERVED
"""The beginning of the group keys of incidents of heartbeats."""
SEEN = "heartbeat/"
"""Prefix of the timestamps of when each heartbeat was last seen."""


def beats(heartbeats: Iterable[HeartbeatConfig], labels: Mapping[str, str]) -> list[str]:
    """Return the names of the heartbeats that an alert with these *labels* belongs to."""
    return [one.name for one in heartbeats if all(matcher.matches(labels) for matcher in one.matchers)]


def seen_in(heartbeats: Iterable[HeartbeatConfig], webhook: Envelope) -> set[str]:
    """Return the names of the heartbeats whose alerts fire in *webhook*."""
    heartbeats = tuple(heartbeats)
    firing = (alert for alert in webhook.alerts if alert.status == "firing")
    return {name for alert in firing for name in beats(heartbeats, alert.labels)}


@dataclass(frozen=True, slots=True)
class Silence:
    """A heartbeat that stopped arriving: since when, and when Notifier itself was down meanwhile, if it was."""

    since: datetime
    down_from: datetime | None = None
    down_until: datetime | None = None
