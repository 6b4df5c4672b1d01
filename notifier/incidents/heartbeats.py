"""Heartbeats: alerts that always fire, distinguished from alerts that page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from notifier.alertmanager.durations import brief_duration
from notifier.alertmanager.webhook import Envelope, Webhook
from notifier.config.model import HeartbeatConfig

SEEN = "heartbeat/"
"""How the marks begin that remember when each was last seen."""


def beats(heartbeats: Iterable[HeartbeatConfig], labels: Mapping[str, str]) -> list[str]:
    """Return the names of the heartbeats that an alert with these *labels* belongs to."""
    return [one.name for one in heartbeats if all(matcher.matches(labels) for matcher in one.matchers)]


def seen_in(heartbeats: Iterable[HeartbeatConfig], webhook: Envelope | Webhook) -> set[str]:
    """Return the names of the heartbeats that *webhook* is a sign of life of: those whose alerts fire."""
    heartbeats = tuple(heartbeats)
    firing = (alert for alert in webhook.alerts if alert.status == "firing")
    return {name for alert in firing for name in beats(heartbeats, alert.labels)}


@dataclass(frozen=True, slots=True)
class Silence:
    """That a heartbeat was not seen: since when, and until when this service itself was down meanwhile."""

    since: datetime
    down_from: datetime | None = None
    down_until: datetime | None = None


_SUMMARIES = {
    "en": (
        "not seen for {unseen}: Prometheus, Alertmanager or the road between is down",
        "not seen for {unseen}; Notifier itself was down for {down} of it",
    ),
    "fr": (
        "plus vu depuis {unseen} : Prometheus, Alertmanager ou le réseau entre eux est en panne",
        "plus vu depuis {unseen} ; Notifier lui-même était arrêté pendant {down}",
    ),
}


def summary(silence: Silence, now: datetime, language: str = "en") -> str:
    """Return details of *silence* besides its name and time, in few words."""
    blaming, was_down = _SUMMARIES.get(language, _SUMMARIES["en"])
    unseen = brief_duration(now - silence.since)
    if silence.down_from is not None and silence.down_until is not None:
        return was_down.format(unseen=unseen, down=brief_duration(silence.down_until - silence.down_from))
    return blaming.format(unseen=unseen)
