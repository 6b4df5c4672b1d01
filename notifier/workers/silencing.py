"""Silencing the alerts of an incident in Alertmanager, for a person."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from notifier.alertmanager.silences import SilenceRefused, end_silences, make_silences
from notifier.alertmanager.webhook import parse_webhook
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import Incident
from notifier.planning.division import alert_key
from notifier.runtime import Runtime
from notifier.store.store import Store

log = structlog.get_logger(__name__)

LONGEST_SILENCE = timedelta(days=1)


def silence_in_alertmanager(
    runtime: Runtime, store: Store, incident: Incident, by: str, duration: timedelta, now: datetime
) -> str:
    """Silence the firing alerts of *incident* for *duration* from *now*, with *by* as author.

    Returns the ids of the silences, with spaces between.

    Raises:
        SilenceRefused: there is no Alertmanager, it refuses, or not all of the alerts are known.
    """
    alertmanager = runtime.configuration.alertmanager
    if alertmanager is None:
        raise SilenceRefused("no Alertmanager is configured; see alertmanager.urls")
    if incident.group_key.startswith(HEARTBEATS):
        raise SilenceRefused("a heartbeat cannot be silenced in Alertmanager")
    comment = f"incident {incident.number} of Notifier: {incident.title}"
    return make_silences(alertmanager.apis, _alerts_of(store, incident), duration, by, comment, now)


def end_silences_in_alertmanager(runtime: Runtime, made: str) -> None:
    """End the silences with the ids *made*, because nothing else was done."""
    alertmanager = runtime.configuration.alertmanager
    if alertmanager is None or not end_silences(alertmanager.apis, made):
        log.warning("silence cannot be ended", silences=made)


def _alerts_of(store: Store, incident: Incident) -> list[dict[str, str]]:
    """Return the labels, as Alertmanager sent them, of the alerts that fire in *incident*.

    Raises:
        SilenceRefused: not all of them are known.
    """
    last = store.incidents.webhook(incident)
    if last is None:
        raise SilenceRefused("its alerts are not kept any more")
    webhook = parse_webhook(last[0])
    found = [dict(alert.labels) for alert in webhook.alerts if alert_key(alert) in incident.firing]
    if webhook.truncated_alerts or len(found) < len(incident.firing):
        raise SilenceRefused("not all of its alerts are known, Alertmanager left some out")
    return found
