"""Escalation: steps that come due are taken, and acknowledgements that have lapsed are over."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from notifier.alertmanager import WebhookError, parse_webhook
from notifier.clock import Clock
from notifier.config import Receiver, Recipient
from notifier.incidents import Event, Incident, IncidentState, Kind, Taking, escalated, reopened, take
from notifier.metrics import Metrics
from notifier.paging.planning import Part, divide, new_messages, pages, report_failures
from notifier.paging.pressure import Pressure
from notifier.paging.sending import Sender
from notifier.paging.worker import Worker
from notifier.rendering import remembered
from notifier.runtime import Current, Runtime
from notifier.store.records import IncidentChange
from notifier.store.store import Store

log = structlog.get_logger(__name__)

_BATCH = 16
_AFTER_FAULT = timedelta(seconds=30)
_REASONS = {"reopened": "reopened", "heard": "page", "escalated": "escalation"}


class Escalator(Worker):
    """Takes the steps that are due, each once: an incident that was changed meanwhile is looked at again."""

    name = "escalator"

    def __init__(
        self,
        store: Store,
        current: Current,
        clock: Clock,
        metrics: Metrics,
        pressure: Pressure,
        sender: Sender,
    ) -> None:
        """Prepare to work on the incidents in *store*, and to wake *sender* when somebody is to be paged."""
        super().__init__(metrics, idle=0.5)
        self._store = store
        self._current = current
        self._clock = clock
        self._pressure = pressure
        self._sender = sender

    def work(self) -> float | None:
        """Take the steps that are due longest."""
        now = self._clock()
        due = self._store.incidents.due(now, _BATCH)
        if not due:
            return None
        with self._pressure.giving_way():
            taken: list[tuple[Incident, IncidentChange]] = []
            for incident in due:
                try:
                    taken.append((incident, self._change(incident, now)))
                except Exception:
                    # Whatever is wrong with one incident must not hold up the others.
                    log.exception("escalation failed, will try again", incident=incident.number)
                    later = replace(incident, due_at=now + _AFTER_FAULT)
                    self._store.incidents.change([IncidentChange(later)], now).result()
            done = self._store.incidents.change([change for _, change in taken], now).result()
        self._sender.expect()
        for (before, change), is_done in zip(taken, done, strict=True):
            if is_done:
                self._report(before, change)
        return 0.0

    def _change(self, incident: Incident, now: datetime) -> IncidentChange:
        runtime = self._current.runtime
        receiver = receiver_of(runtime, incident)
        part = last_part(runtime, self._store, incident, receiver, now)
        if part is not None and part.muted_by:
            return IncidentChange(replace(incident, due_at=part.muted_until))
        has_lapsed = incident.state is IncidentState.ACKNOWLEDGED
        is_first = incident.taken == 0
        by = incident.acknowledged_by
        current = reopened(incident) if has_lapsed else incident
        taking: Taking[Recipient] = take(
            runtime.policy(receiver),
            current.step,
            current.round,
            now,
            lambda names: runtime.recipients(names, now),
        )
        whom = taking.whom or runtime.anybody(receiver, now)
        after = escalated(current, taking)
        told = part.told if part is not None else None
        if told is None or told.status != "firing":
            told = remembered(
                incident.title, incident.labels, incident.opened_at, incident.receiver, incident.group_key
            )
        kind = "reopened" if has_lapsed else "heard" if is_first else "escalated"
        told = replace(told, number=incident.number, reason=_REASONS[kind])
        written = pages(runtime, receiver, told, whom, Kind.PAGE, now)
        report_failures(self._metrics, written, incident=incident.number)
        names = ", ".join(recipient.name or "a number" for recipient in whom)
        detail = names if taking.whom else f"nobody is on call; {names}"
        return IncidentChange(
            after,
            events=(Event(kind, by=by if has_lapsed else None, detail=detail),),
            messages=new_messages(runtime, receiver, after, told, written, now, now),
        )

    def _report(self, before: Incident, change: IncidentChange) -> None:
        if not change.events:
            log.info("incident is muted still", incident=before.number, receiver=before.receiver)
            return
        if before.taken:
            self._metrics.escalations.labels(before.receiver).inc()
        log.warning(
            f"incident {change.events[0].kind}",
            incident=before.number,
            receiver=before.receiver,
            step=before.step,
            to=change.events[0].detail,
            messages=[message.id for message in change.messages],
            next=change.incident.due_at and change.incident.due_at.isoformat(timespec="seconds"),
        )


def receiver_of(runtime: Runtime, incident: Incident) -> Receiver:
    """Return the receiver of *incident*; the first one where it was removed since: somebody must be told."""
    return runtime.configuration.receiver(incident.receiver) or runtime.configuration.receivers[0]


def last_part(
    runtime: Runtime, store: Store, incident: Incident, receiver: Receiver, now: datetime
) -> Part | None:
    """Return what the last webhook said of *incident* to *receiver*; None where that cannot be had any more."""
    found = store.incidents.webhook(incident)
    if found is None:
        return None
    body, posted_to = found
    try:
        parts = divide(runtime, parse_webhook(body), posted_to, now)
    except WebhookError:
        return None
    return next((part for part in parts if part.receiver.name == receiver.name), None)
