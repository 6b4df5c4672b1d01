"""Heartbeats: alerts that always come. When one does not, the monitoring itself is silent.

Only the time in which this service ran counts. After a clock that jumped, or a downtime of more than `GAP`, each
heartbeat has its whole timeout again, and a page mentions the downtime instead of blaming Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from notifier.alertmanager.durations import brief_duration
from notifier.clock import CLOCK_STEP
from notifier.config.model import HeartbeatConfig, Receiver
from notifier.ids import new_id
from notifier.incidents.heartbeats import HEARTBEATS, SEEN, Silence
from notifier.incidents.lifecycle import (
    Event,
    Incident,
    IncidentState,
    Kind,
    Reason,
    escalated,
    resolved,
)
from notifier.planning import last_resort
from notifier.planning.receivers import recipients_of
from notifier.planning.texts import OutgoingText, new_messages, outgoing_texts
from notifier.rendering.compose import title
from notifier.rendering.context import Notification, ShownAlert
from notifier.rendering.phrases import phrase
from notifier.runtime import Runtime
from notifier.sms.recipient import Recipient
from notifier.store.engine import StoreUnavailable
from notifier.store.records import IncidentChange
from notifier.store.store import Store
from notifier.workers.context import Context
from notifier.workers.set_aside import MAX_ATTEMPTS
from notifier.workers.template_failures import report_failures
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

WAITED_FOR, ALIVE = "heartbeat-from/", "alive"
"""The other timestamps besides `SEEN`: since when each is waited for, and when this service was last there."""
DOWN_FROM, DOWN_UNTIL = "down-from", "down-until"
"""The timestamps of the last time that Notifier was down."""
GAP = timedelta(minutes=1)
"""A service that was not there for longer than this was down, or its clock was moved."""

_TICK = 2.0  # seconds
_ALIVE_EVERY = timedelta(seconds=10)
_BACKLOG_WAIT = timedelta(minutes=1)
"""How long webhooks that wait to be planned may delay a verdict: a heartbeat may be among it."""


def heartbeat_notification(
    heartbeat: HeartbeatConfig, silence: Silence, now: datetime, language: str, *, is_over: bool = False
) -> Notification:
    """Return the notification of the *silence* of *heartbeat*, or of its end when it *is_over*."""
    labels = {"alertname": "MonitoringSilent", "severity": "critical", "heartbeat": heartbeat.name}
    annotations = {} if is_over else {"summary": summary(silence, now, language)}
    alert = ShownAlert(
        "resolved" if is_over else "firing",
        {**labels, "target": heartbeat.name},
        annotations,
        silence.since,
        now if is_over else None,
        "",
        "",
    )
    return Notification(
        receiver=heartbeat.receiver,
        status=alert.status,
        alerts=(alert,),
        group_labels=labels,
        common_labels=labels,
        common_annotations=annotations,
        group_key=HEARTBEATS + heartbeat.name,
    )


def silence_of(store: Store, name: str, since: datetime) -> Silence:
    """Return how long the heartbeat *name* has been silent, *since* when at the latest."""
    seen = store.timestamps.get(SEEN + name)
    since = since if seen is None else min(seen, since)
    down_from, down_until = store.timestamps.get(DOWN_FROM), store.timestamps.get(DOWN_UNTIL)
    if down_from is None or down_until is None or down_until <= since:
        return Silence(since)
    return Silence(since, down_from, down_until)


def written_for(
    runtime: Runtime,
    receiver: Receiver,
    build: Callable[[str], Notification],
    recipients: Iterable[Recipient],
    kind: Kind,
    now: datetime,
) -> tuple[OutgoingText, ...]:
    """Return the texts of what *build* returns, for *recipients* in their languages."""
    return tuple(
        page
        for one in recipients
        for page in outgoing_texts(runtime, receiver, build(one.language), (one,), kind, now)
    )


class Heartbeats(Worker):
    """Waits for heartbeats, and pages when one does not come."""

    name = "heartbeats"

    def __init__(self, context: Context, send: Callable[[], None]) -> None:
        """Prepare to wait for heartbeats; *send* is called when there are messages to send."""
        super().__init__(context, idle=_TICK)
        self._send = send
        self._alive_at: datetime | None = None
        self._set_back_at: datetime | None = None
        self._known: tuple[HeartbeatConfig, ...] | None = None

    def work(self) -> float | None:
        """Check every heartbeat: page for those that are silent, resolve the incidents of those that are back."""
        now = self._clock()
        configured = self._current.runtime.configuration.heartbeats
        self._stay_alive(now, configured)
        if not configured and self._known == ():
            return None  # those of before were forgotten
        seen, waited = self._store.timestamps.all(SEEN), self._store.timestamps.all(WAITED_FOR)
        if configured != self._known:
            self._forget_others(configured, waited, now)
            self._known = configured
        # One that is configured again after it was removed is waited for from now on, whenever it was seen last.
        if new := {one.name: now for one in configured if one.name not in waited}:
            self._store.timestamps.set({WAITED_FOR + name: at for name, at in new.items()}).result()
            waited |= new
        ahead = {SEEN + name: now for name, at in seen.items() if at > now + CLOCK_STEP}
        ahead |= {WAITED_FOR + name: now for name, at in waited.items() if at > now + CLOCK_STEP}
        if ahead:  # the clock was set back: what is to come cannot have been seen
            self._store.timestamps.set(ahead).result()
            self._set_back_at = now
            return None
        waiting = self.set_aside.waiting(now)
        for one in configured:
            last = seen.get(one.name)
            if last is not None:
                self._metrics.heartbeat_last_seen.labels(one.name).set(last.timestamp())
            if one.name in waiting:
                continue
            since = last or waited[one.name]
            try:
                self.update_incident(one, since, max(since, waited[one.name]), now)
                self.set_aside.discard(one.name)
            except StoreUnavailable:
                raise
            except Exception as error:  # whatever is wrong with one heartbeat must not delay the others
                attempts = self.set_aside.add(one.name, error, now)
                log.exception("heartbeat failed, will try again", heartbeat=one.name, attempts=attempts)
                if attempts >= MAX_ATTEMPTS and now - max(since, waited[one.name]) > one.timeout:
                    self.resort(partial(self._page_unjudged, one, now), heartbeat=one.name)
        return None

    def _page_unjudged(self, one: HeartbeatConfig, now: datetime) -> bool:
        """Page for a silent heartbeat that cannot be judged, if nobody has been paged; return whether it was done."""
        if self._store.incidents.find([HEARTBEATS + one.name]):
            return False
        (number,) = self._store.incidents.numbers(1)
        change = last_resort.silence_of(self._current.runtime, one, number, now)
        is_done = self._store.incidents.change([change], now).result()[0]
        self._send()
        return is_done

    def _stay_alive(self, now: datetime, configured: Iterable[HeartbeatConfig]) -> None:
        """Record that this service runs; after a gap, give every heartbeat its timeout again."""
        # Another replica that was running is enough: it stored the heartbeats.
        last = (
            self._store.timestamps.get(ALIVE)
            if self._store.backend.is_shared or not self._alive_at
            else self._alive_at
        )
        if last is not None and not -GAP <= now - last <= GAP:
            log.warning(
                "notifier was down, heartbeats have their timeout again",
                since=last.isoformat(),
                until=now.isoformat(),
            )
            waited = {WAITED_FOR + one.name: now for one in configured}
            down = {DOWN_FROM: min(last, now), DOWN_UNTIL: now}
            self._store.timestamps.set({**waited, **down, ALIVE: now}).result()
            self._alive_at = now
        elif last is None or self._alive_at is None or now - self._alive_at >= _ALIVE_EVERY or now < last:
            self._store.timestamps.set({ALIVE: now}).result()
            self._alive_at = now

    def update_incident(
        self, one: HeartbeatConfig, since: datetime, waited_from: datetime, now: datetime
    ) -> None:
        """Open or resolve the incident of a heartbeat that was last seen at *since*."""
        receiver = self._current.runtime.configuration.receiver(one.receiver)
        if receiver is None:  # the configuration was checked
            raise LookupError(one.receiver)
        key = receiver.name, HEARTBEATS + one.name
        incident = self._store.incidents.find([key[1]]).get(key)
        is_silent = now - waited_from > one.timeout
        self._metrics.heartbeat_late.labels(one.name).set(is_silent)
        if (
            is_silent
            and now - waited_from <= one.timeout + _BACKLOG_WAIT
            and self._store.outbox.queue().unplanned
        ):
            return
        if is_silent and incident is None:
            self._page(one, receiver, since, now)
        elif incident is not None:
            # One that was opened before the clock was set back seems to be of the future.
            is_ahead = incident.opened_at > now
            if since > ((self._set_back_at or now) if is_ahead else incident.opened_at):
                self._resolve(one, receiver, incident, now)

    def _page(self, one: HeartbeatConfig, receiver: Receiver, since: datetime, now: datetime) -> None:
        runtime = self._current.runtime
        (number,) = self._store.incidents.numbers(1)
        silence = silence_of(self._store, one.name, since)

        def build(language: str) -> Notification:
            return replace(heartbeat_notification(one, silence, now, language), number=number)

        notification = build("en")
        outcome = runtime.step(receiver, 0, 0, now)
        incident = escalated(
            Incident(
                id=new_id(now),
                number=number,
                receiver=receiver.name,
                group_key=notification.group_key,
                state=IncidentState.OPEN,
                title=title(notification),
                labels=dict(notification.common_labels),
                alerts=frozenset(),
                webhook_id=None,
                opened_at=now,
                severity=notification.severity,
            ),
            outcome,
        )
        self._write(receiver, incident, build, outcome.recipients, Kind.PAGE, now, is_new=True)
        log.error("heartbeat lost", heartbeat=one.name, last_seen=silence.since.isoformat(), incident=number)

    def _resolve(self, one: HeartbeatConfig, receiver: Receiver, incident: Incident, now: datetime) -> None:
        def build(language: str) -> Notification:
            notification = heartbeat_notification(
                one, Silence(incident.opened_at), now, language, is_over=True
            )
            return replace(notification, number=incident.number)

        recipients = recipients_of(self._current.runtime, self._store.paged.involved(incident.id))
        self._write(receiver, resolved(incident, now), build, recipients, Kind.RESOLVED, now)
        log.info("heartbeat is back", heartbeat=one.name, incident=incident.number)

    def _write(
        self,
        receiver: Receiver,
        incident: Incident,
        build: Callable[[str], Notification],
        recipients: tuple[Recipient, ...],
        kind: Kind,
        now: datetime,
        *,
        is_new: bool = False,
    ) -> None:
        runtime, notification = self._current.runtime, build("en")
        written = written_for(runtime, receiver, build, recipients, kind, now)
        report_failures(self._metrics, written, incident=incident.number)
        messages = new_messages(runtime, receiver, incident, notification, written, now, now)
        event = Event(
            Reason.OPENED if is_new else Reason.RESOLVED,
            detail=notification.alerts[0].annotations.get("summary"),
        )
        change = IncidentChange(incident, is_new, (event,), messages)
        if self._store.incidents.change([change], now).result()[0]:  # else: the next tick sees how it stands
            self._metrics.notifications.labels(receiver.name, notification.status).inc()
            self._send()

    def _forget_others(
        self, configured: Sequence[HeartbeatConfig], waited: Collection[str], now: datetime
    ) -> None:
        """Forget the heartbeats that were removed, and resolve their incidents; nobody is notified."""
        names = {one.name for one in configured}
        if removed := set(waited) - names:
            self._store.timestamps.delete({WAITED_FOR + name for name in removed}).result()
        for one in self._known or ():
            if one.name not in names:
                self._metrics.forget_heartbeat(one.name)
        keys = {(one.receiver, HEARTBEATS + one.name) for one in configured}
        changes = [
            IncidentChange(
                resolved(incident, now), events=(Event(Reason.RESOLVED, detail="no heartbeat any more"),)
            )
            for incident in self._store.incidents.of_heartbeats()
            if (incident.receiver, incident.group_key) not in keys
        ]
        if changes:
            self._store.incidents.change(changes, now).result()


def summary(silence: Silence, now: datetime, language: str) -> str:
    """Return how long the heartbeat of *silence* was not seen, and what may be down."""
    unseen = brief_duration(now - silence.since)
    if silence.down_from is not None and silence.down_until is not None:
        down = brief_duration(silence.down_until - silence.down_from)
        return phrase("not_seen_while_down", language, unseen=unseen, down=down)
    return phrase("not_seen", language, unseen=unseen)
