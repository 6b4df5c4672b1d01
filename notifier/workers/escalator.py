"""Escalation: steps that come due are taken, and acknowledgements that have lapsed are over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from notifier.alertmanager.webhook import Webhook, WebhookError, parse_webhook
from notifier.clock import CLOCK_STEP
from notifier.config.model import Receiver
from notifier.delivery.message import NewMessage
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import (
    Event,
    Incident,
    IncidentState,
    Kind,
    Reason,
    StepOutcome,
    classify_webhook,
    escalated,
    reopened,
    unsilenced,
)
from notifier.incidents.suppression import Standing, Verdict
from notifier.planning import last_resort
from notifier.planning.division import ReceiverAlerts, described_mute, divide
from notifier.planning.plans import plan
from notifier.planning.receivers import recipients_of, successor
from notifier.planning.texts import new_messages
from notifier.rendering.context import Notification, notification_from_incident
from notifier.runtime import Runtime
from notifier.store.records import IncidentChange
from notifier.store.store import Store
from notifier.workers.alert_states import AlertStates, Effect
from notifier.workers.context import Context
from notifier.workers.heartbeats import heartbeat_notification, silence_of, written_for
from notifier.workers.set_aside import MAX_ATTEMPTS, isolate
from notifier.workers.template_failures import report_failures
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_BATCH = 16
_FALLBACK_DELAY = timedelta(minutes=5)
"""If the receiver of an incident is no longer configured, those who were paged are paged again, and the first receiver
this long after them.
"""
_ASK_AGAIN = timedelta(minutes=1)
"""When a silenced incident is asked about again, of which people are to be notified."""
_CLOCKS_DIFFER = timedelta(minutes=10)
"""By more than clocks of replicas may differ: with a correct clock, nobody opens an incident that far ahead."""
_Decide = Callable[[Runtime, Incident, datetime], IncidentChange]
"""Returns the change of an incident."""
_REASONS = {
    Reason.REOPENED: "reopened",
    Reason.UNMUTED: "page",
    Reason.UNSILENCED: "unsilenced",
    Reason.ESCALATED: "escalation",
}
"""The reason that a template sees."""


class Escalator(Worker):
    """Takes the steps that are due, each once: an incident that was changed meanwhile is looked at again."""

    name = "escalator"
    longest_work = 60.0  # pages wait for it, and its calls take seconds

    def __init__(self, context: Context, states: AlertStates, send: Callable[[], None]) -> None:
        """Prepare to escalate incidents.

        *states* asks Alertmanager before each step; *send* is called when there are messages to send.
        """
        super().__init__(context, idle=0.5)
        self._states = states
        self._unasked: frozenset[str] = frozenset()
        """The incidents that are due although Alertmanager could not be asked about them."""
        self._last: datetime | None = None
        self._send = send

    def work(self) -> float | None:
        """Take the steps that are due longest."""
        now = self._clock()
        self._follow_clock(now)
        waiting = self.set_aside.waiting(now)
        unmuting = self._store.incidents.unmuting(now, _BATCH, without=waiting)
        known = {incident.id for incident in unmuting}
        due = [
            incident
            for incident in self._store.incidents.due(now, _BATCH, without=waiting)
            if incident.id not in known
        ]
        is_all = not unmuting and not due
        decisions: tuple[tuple[list[Incident], _Decide, _Decide], ...] = (
            (self._not_silenced_updates(unmuting, now), self._unmute, last_resort.update_of),
            (self._not_silenced(due, now), self.change_of, last_resort.step_of),
        )
        for incidents, decide_on, resort in decisions:
            if incidents:
                with self._context.backpressure.limited_share():
                    isolate(
                        incidents,
                        partial(self._process, decide_on, now),
                        partial(self._fail, resort, now),
                    )
        return None if is_all else 0.0

    def _not_silenced_updates(self, unmuting: Sequence[Incident], now: datetime) -> list[Incident]:
        """Return the incidents whose people are notified of alerts that joined; not those that are silenced."""
        going: list[Incident] = []
        held: list[Effect] = []
        for effect in self._states.effects(unmuting, now):
            if effect.standing is Standing.SUPPRESSED:
                change = effect.change or IncidentChange(effect.after)
                later = replace(change.incident, unmute_at=now + _ASK_AGAIN)
                held.append(replace(effect, change=replace(change, incident=later)))
            else:
                going.append(effect.after)
        self._states.write(held, now)
        return going

    def _not_silenced(self, due: Sequence[Incident], now: datetime) -> list[Incident]:
        """Return the incidents whose step is taken now; the others are silenced in Alertmanager, or over."""
        going: list[Incident] = []
        held: list[Effect] = []
        unasked: set[str] = set()
        for incident, effect in zip(due, self._states.effects(due, now), strict=True):
            is_due = effect.after.due_at is not None and effect.after.due_at <= now
            if effect.verdict in (Verdict.NONE, Verdict.RELEASED, Verdict.LOST) and is_due:
                going.append(effect.after)
                is_heartbeat = incident.group_key.startswith(HEARTBEATS)
                if not effect.is_answered and not is_heartbeat:
                    unasked.add(incident.id)
            else:
                held.append(effect)
        self._unasked = frozenset(unasked)
        if held:
            self._states.write(held, now)
            self._send()
        return going

    def _follow_clock(self, now: datetime) -> None:
        """If the clock was set back, move the due times earlier by the same amount."""
        if self._last is None:  # what others opened by clocks that differ a little is well
            ahead, least = self._store.incidents.latest_opening(), _CLOCKS_DIFFER
        else:
            ahead, least = self._last, CLOCK_STEP
        if ahead is not None and ahead - now > least:
            log.warning("the clock was set back, next steps come earlier", by=str(ahead - now))
            self._store.incidents.bring_forward(now, ahead).result()
        self._last = now

    def _process(self, decide_on: _Decide, now: datetime, incidents: Sequence[Incident]) -> None:
        """Decide on each of the incidents and write all changes down, or none."""
        runtime = self._current.runtime
        changes = [decide_on(runtime, incident, now) for incident in incidents]
        done = self._store.incidents.change(changes, now).result()
        self._send()
        for before, change, is_done in zip(incidents, changes, done, strict=True):
            self.set_aside.discard(before.id)
            if is_done:
                self._report(before, change)

    def _fail(self, resort: _Decide, now: datetime, incident: Incident, error: Exception) -> None:
        """Try an incident again later; page with a built-in text in the end."""
        attempts = self.set_aside.add(incident.id, error, now)
        log.error(
            "escalation failed",
            incident=incident.number,
            webhook=incident.webhook_id,
            alert=incident.title,
            receiver=incident.receiver,
            attempts=attempts,
            exc_info=error,
        )
        if attempts < MAX_ATTEMPTS:
            return

        def page() -> bool:
            change = resort(self._current.runtime, incident, now)
            return self._store.incidents.change([change], now).result()[0]

        if self.resort(page, incident=incident.number):
            self.set_aside.discard(incident.id)
            self._send()

    def _of_today(
        self, runtime: Runtime, incident: Incident, now: datetime
    ) -> tuple[Incident, Receiver | None]:
        """Return an incident and its receiver. If that was renamed or removed, the current routes name the receiver;
        None if they do not.
        """
        receiver = runtime.configuration.receiver(incident.receiver)
        if receiver is not None:
            return incident, receiver
        last = self._store.incidents.webhook(incident)
        receiver = successor(runtime, incident, *last, now) if last is not None else None
        return (incident if receiver is None else self._with_receiver(incident, receiver)), receiver

    def _with_receiver(self, incident: Incident, receiver: Receiver) -> Incident:
        """Return *incident* as one of *receiver*, unless that has another one of the same group."""
        key = receiver.name, incident.group_key
        is_free = key not in self._store.incidents.find([incident.group_key])
        return replace(incident, receiver=receiver.name) if is_free else incident

    def _unmute(self, runtime: Runtime, incident: Incident, now: datetime) -> IncidentChange:
        """Return the change that notifies of the alerts that joined *incident* while it was muted."""
        incident, known = self._of_today(runtime, incident, now)
        receiver = known or runtime.receiver(incident.receiver)
        unmuted = replace(incident, unmute_at=None)
        last = last_alerts(runtime, self._store, incident, receiver, now)
        if last is None:
            return IncidentChange(unmuted)
        webhook, routed = last
        if routed.muted_by:
            return IncidentChange(replace(incident, unmute_at=routed.look_at(now)))
        if classify_webhook(incident, routed.firing, is_whole=routed.is_whole) not in (
            Reason.JOINED,
            Reason.REPLACED,
        ):
            return IncidentChange(unmuted)
        involved = recipients_of(runtime, self._store.paged.involved(incident.id))
        planned = plan(runtime, webhook, routed, unmuted, involved, None, now)
        report_failures(self._metrics, planned.pages, incident=incident.number)
        after = planned.incident or unmuted
        messages: tuple[NewMessage, ...] = ()
        if planned.notification is not None:
            messages = new_messages(runtime, receiver, after, planned.notification, planned.pages, now, now)
        return IncidentChange(after, events=(Event(planned.reason),), messages=messages)

    def change_of(self, runtime: Runtime, incident: Incident, now: datetime) -> IncidentChange:
        """Return the step of *incident* that is due: its next step, its reopening, or the end of its mute."""
        incident, known = self._of_today(runtime, incident, now)
        receiver = known or runtime.receiver(incident.receiver)
        last = last_alerts(runtime, self._store, incident, receiver, now)
        routed = last[1] if last is not None else None
        if routed is not None and routed.muted_by:
            mute, until = described_mute(runtime, routed, now), routed.muted_until
            look_at = routed.look_at(now)
            muted = replace(unsilenced(incident), due_at=look_at, muted_by=mute, muted_until=until)
            return IncidentChange(replace(muted, is_step_requested=False))
        has_lapsed = incident.state is IncidentState.ACKNOWLEDGED
        is_first = incident.steps_taken == 0
        by = incident.acknowledged_by
        current = reopened(incident) if has_lapsed else incident
        is_released = bool(incident.silenced_by) and not incident.is_step_requested
        if is_released:
            current = replace(unsilenced(current), released_at=now)
        outcome = runtime.step(receiver, current.step, current.round, now)
        if known is None:  # nothing says whose it is: the first receiver's, unless that has one of this group
            current = self._with_receiver(current, receiver)
            again = recipients_of(runtime, self._store.paged.involved(incident.id))
            # Before the people of the first receiver, those who were paged are paged again.
            if again and current.receiver == receiver.name:
                outcome = StepOutcome(again, 0, 0, now + _FALLBACK_DELAY)
        after = escalated(current, outcome)
        reason = Reason.REOPENED if has_lapsed else Reason.UNMUTED if is_first else Reason.ESCALATED
        if is_released and not has_lapsed:
            reason = Reason.UNSILENCED
        # If no earlier page reached anybody, this text is a page, not an escalation.
        is_first_page = reason in (Reason.ESCALATED, Reason.UNSILENCED) and not self._store.paged.involved(
            incident.id
        )
        build = self._builder(incident, routed, "page" if is_first_page else _REASONS[reason], now)
        notification = build("en")
        written = written_for(runtime, receiver, build, outcome.recipients, Kind.PAGE, now)
        report_failures(self._metrics, written, incident=incident.number)
        names = ", ".join(recipient.name or "a number" for recipient in outcome.recipients)
        detail = f"nobody is on call; {names}" if outcome.is_fallback else names
        if incident.id in self._unasked:
            detail += "; Alertmanager could not be asked"
        return IncidentChange(
            after,
            events=(Event(reason, by=by if has_lapsed else None, detail=detail),),
            messages=new_messages(
                runtime, receiver, after, notification, written, now, now, is_called=outcome.is_called
            ),
        )

    def _builder(
        self, incident: Incident, routed: ReceiverAlerts | None, reason: str, now: datetime
    ) -> Callable[[str], Notification]:
        """Return a function that builds the notification for *incident* in a given language.

        *routed* holds its alerts in its last webhook.
        """
        number, name = incident.number, incident.group_key.removeprefix(HEARTBEATS)
        for heartbeat in self._current.runtime.configuration.heartbeats:
            if incident.group_key.startswith(HEARTBEATS) and heartbeat.name == name:
                silence = silence_of(self._store, name, incident.opened_at)
                return lambda language: replace(
                    heartbeat_notification(heartbeat, silence, now, language), number=number, reason=reason
                )
        notification = routed.notification if routed is not None else None
        if notification is None or notification.status != "firing":
            notification = notification_from_incident(
                incident.title, incident.labels, incident.opened_at, incident.receiver, incident.group_key
            )
        return lambda _: replace(notification, number=number, reason=reason)

    def _report(self, before: Incident, change: IncidentChange) -> None:
        if not change.events:
            is_muted = before.unmute_at is None or change.incident.unmute_at is not None
            log.info(
                "incident is still muted" if is_muted else "nothing joined the incident while it was muted",
                incident=before.number,
                receiver=before.receiver,
            )
            return
        if change.events[0].reason in (Reason.ESCALATED, Reason.UNSILENCED):
            self._metrics.escalations.labels(before.receiver).inc()
        log.warning(
            f"incident {change.events[0].reason}",
            incident=before.number,
            webhook=before.webhook_id,
            alert=before.title,
            receiver=before.receiver,
            step=before.step,
            to=change.events[0].detail,
            messages=[message.id for message in change.messages],
            next=change.incident.due_at and change.incident.due_at.isoformat(timespec="seconds"),
        )


def last_alerts(
    runtime: Runtime, store: Store, incident: Incident, receiver: Receiver, now: datetime
) -> tuple[Webhook, ReceiverAlerts] | None:
    """Return the last webhook of *incident* and its alerts for *receiver*; None if it is gone."""
    found = store.incidents.webhook(incident)
    if found is None:
        return None
    body, posted_to = found
    try:
        webhook = parse_webhook(body)
        divided = divide(runtime, webhook, posted_to, now)
    except WebhookError:
        return None
    return next(((webhook, routed) for routed in divided if routed.receiver.name == receiver.name), None)
