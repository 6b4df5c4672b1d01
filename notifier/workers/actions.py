"""Actions of people on incidents: by a reply, a command, the API or a page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum

import structlog

from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import (
    Event,
    Incident,
    IncidentState,
    Kind,
    Reason,
    acknowledged,
    reopened,
    resolved,
)
from notifier.planning.notices import incident_notices, own_message
from notifier.planning.receivers import recipients_of
from notifier.rendering.phrases import notice
from notifier.sms.encoding import MAX_PARTS, Encoding, clean, encode, measure, without_contacts
from notifier.sms.phones import mask
from notifier.store.engine import StoreUnavailable
from notifier.store.incidents import MAX_NOTES
from notifier.store.records import IncidentChange
from notifier.workers.context import Context
from notifier.workers.silencing import LONGEST_SILENCE, end_silences_in_alertmanager, silence_in_alertmanager

log = structlog.get_logger(__name__)

_ATTEMPTS = 5
LONGEST_NOTE = 500
"""The number of characters that a note may have."""


class Via(StrEnum):
    """The ways in which people act."""

    SMS = "sms"
    API = "api"
    WEB = "web"
    LINK = "link"
    """The link at the end of a page."""
    CALL = "call"
    """A key on the phone."""


class ActionOutcome(StrEnum):
    """The outcome of an action."""

    DONE = "done"
    UNKNOWN = "unknown"
    """There is no such incident."""
    RESOLVED = "resolved"
    """It is over already."""
    EXHAUSTED = "exhausted"
    """There is no further step."""
    OVERTAKEN = "overtaken"
    """It has changed since the person saw it."""


class Unreachable(Exception):
    """There is no such recipient; *is_nobody* if it is a schedule with a gap now."""

    def __init__(self, message: str, *, is_nobody: bool = False) -> None:
        """Say why."""
        super().__init__(message)
        self.is_nobody = is_nobody


def sendable(text: str, *, urls: bool) -> str:
    """Return *text* as it can be sent: in GSM letters, and without URLs unless they may be in it.

    Raises:
        ValueError: nothing is left of it, or it is too long.
    """
    message = encode(text, Encoding.GSM).strip()
    if not urls:
        message = without_contacts(message).strip()  # OVHcloud would block it
    if not message:
        raise ValueError("the text is empty")
    if (parts := measure(message).parts) > MAX_PARTS:
        raise ValueError(f"the text takes {parts} parts; OVHcloud sends at most {MAX_PARTS}")
    return message


class Actions:
    """Acknowledges, closes and escalates incidents, and notifies the others who were paged."""

    def __init__(self, context: Context, send: Callable[[], None], escalate: Callable[[], None]) -> None:
        """Prepare to act on incidents.

        *send* is called when there are messages to send, *escalate* when a step has come due.
        """
        self._store = context.store
        self._current = context.current
        self._clock = context.clock
        self._metrics = context.metrics
        self._send = send
        self._escalate = escalate

    def acknowledge(
        self,
        incident_id: str,
        by: str,
        via: Via,
        holds: Callable[[Incident], bool] = lambda incident: True,
        *,
        author: str | None = None,
    ) -> ActionOutcome:
        """Acknowledge an incident for *by*, a contact or a user, if *holds* is true of the incident as it is stored.

        The others who were paged are notified, if its receiver wants that. If an *author* acknowledges in the name of
        *by*, then *by* is notified, too.
        If *by* has it already, the acknowledgement lasts longer.

        Raises:
            StoreUnavailable: it cannot be written down now.
        """
        now, phone = self._clock(), self._phone_of(by)
        outcome = self._change(
            incident_id, now, lambda one: self.acknowledgement_change(one, by, via, phone, now, author), holds
        )
        return self._report(outcome, "incident acknowledged", author or by, via, self._send)

    def escalate(
        self,
        incident_id: str,
        by: str,
        via: Via,
        holds: Callable[[Incident], bool] = lambda incident: True,
    ) -> ActionOutcome:
        """Make the next step of an incident due now, even if it is acknowledged, if *holds* is true of it then.

        Raises:
            StoreUnavailable: it cannot be written down now.
        """
        now = self._clock()
        outcome = self._change(incident_id, now, lambda one: self.escalation_change(one, by, via, now), holds)
        return self._report(outcome, "incident passed on", by, via, self._escalate)

    def close(
        self,
        incident_id: str,
        by: str,
        via: Via,
        holds: Callable[[Incident], bool] = lambda incident: True,
    ) -> ActionOutcome:
        """Resolve an incident that Alertmanager does not, if *holds* is true of it then; the others are notified.

        If its alerts still fire, Alertmanager's next repetition opens a new one.

        Raises:
            StoreUnavailable: it cannot be written down now.
        """
        now, phone = self._clock(), self._phone_of(by)
        outcome = self._change(
            incident_id, now, lambda one: self.closing_change(one, by, via, now, phone), holds
        )
        return self._report(outcome, "incident closed", by, via, self._send)

    def silence(
        self,
        incident_id: str,
        by: str,
        via: Via,
        duration: timedelta,
        holds: Callable[[Incident], bool] = lambda incident: True,
    ) -> ActionOutcome:
        """Silence an incident in Alertmanager and acknowledge it for *by*, if *holds* is true of it then. If its alerts
        still fire when the silence ends, somebody is paged.

        Raises:
            SilenceRefused: Alertmanager makes no such silence.
            StoreUnavailable: it cannot be written down now.
        """
        now, phone = self._clock(), self._phone_of(by)
        duration = min(duration, LONGEST_SILENCE)
        incident = self._store.incidents.get(incident_id)
        if incident is None or incident.state is IncidentState.RESOLVED:
            return ActionOutcome.UNKNOWN if incident is None else ActionOutcome.RESOLVED
        if not holds(incident):
            return ActionOutcome.OVERTAKEN
        made = silence_in_alertmanager(self._current.runtime, self._store, incident, by, duration, now)
        outcome: IncidentChange | ActionOutcome = ActionOutcome.UNKNOWN
        try:
            outcome = self._change(
                incident_id,
                now,
                lambda one: self.silencing_change(one, by, via, phone, made, now, duration),
                holds,
            )
        finally:
            if isinstance(outcome, ActionOutcome):  # somebody was faster, or it cannot be written down
                end_silences_in_alertmanager(self._current.runtime, made)
        return self._report(outcome, "incident silenced", by, via, self._send)

    def note(self, incident_id: str, by: str, via: Via, text: str) -> ActionOutcome:
        """Write a note of *by* into the timeline of an incident, also of one that is resolved; nobody is notified.

        Raises:
            ValueError: the note is empty or too long, or there are too many.
            StoreUnavailable: it cannot be written down now.
        """
        written = " ".join(clean(text).split())
        if not written:
            raise ValueError("the note is empty")
        if len(written) > LONGEST_NOTE:
            raise ValueError(f"the note has {len(written)} characters; {LONGEST_NOTE} is the maximum")
        note = Event(Reason.NOTED, by=by, via=via, detail=written)
        count = self._store.incidents.add_note(incident_id, note, self._clock()).result()
        if count is None:
            return ActionOutcome.UNKNOWN
        if count > MAX_NOTES:
            raise ValueError(f"the incident has {MAX_NOTES} notes, the maximum")
        log.info("note written", incident=incident_id, by=by, via=via)
        return ActionOutcome.DONE

    def send(self, to: str, text: str, by: str | None = None) -> NewMessage:
        """Have *text* of *by* sent to a contact, to who is on call in a schedule, or to a number; return the message.

        Numbers that are not in the configuration are refused, unless it allows them.

        Raises:
            Unreachable: there is no such recipient.
            ValueError: the text cannot be sent.
            StoreUnavailable: it cannot be written down now.
        """
        now, runtime = self._clock(), self._current.runtime
        body = sendable(text, urls=runtime.configuration.sends_urls)
        try:
            people = runtime.recipients([to], now)
        except ValueError:
            raise Unreachable(f'"{to[:40]}" is no contact, schedule or mobile number') from None
        if not people:
            raise Unreachable(f'nobody is on call in "{to}"', is_nobody=True)
        configuration = runtime.configuration
        if not (configuration.api.send_to_any_number or people[0].phone in configuration.numbers()):
            raise Unreachable(f'"{to[:40]}" is not in the configuration; see api.send_to_any_number')
        message = replace(own_message(runtime, people[0], body, Kind.TEXT, now), author=by)
        self._store.outbox.add([message], now).result()
        log.info("message requested", message=message.id, to=people[0].name or mask(people[0].phone), by=by)
        self._send()
        return message

    def _phone_of(self, by: str) -> str | None:
        contact = self._current.runtime.contacts.get(by)
        return contact.phone if contact is not None else None

    def _change(
        self,
        incident_id: str,
        now: datetime,
        propose: Callable[[Incident], IncidentChange | None],
        holds: Callable[[Incident], bool],
    ) -> IncidentChange | ActionOutcome:
        """Write the change that *propose* returns for an incident; retry if it was changed meanwhile. Return the
        change, or why there is none.

        Raises:
            StoreUnavailable: others changed it each time.
        """
        for _ in range(_ATTEMPTS):
            incident = self._store.incidents.get(incident_id)
            if incident is None:
                return ActionOutcome.UNKNOWN
            if incident.state is IncidentState.RESOLVED:
                return ActionOutcome.RESOLVED
            if not holds(incident):
                return ActionOutcome.OVERTAKEN
            change = propose(incident)
            if change is None:
                return ActionOutcome.EXHAUSTED
            if self._store.incidents.change([change], now).result()[0]:
                return change
        raise StoreUnavailable("the incident is being changed by many at once; try again")

    def _report(
        self,
        outcome: IncidentChange | ActionOutcome,
        event: str,
        by: str,
        via: Via,
        wake: Callable[[], None],
    ) -> ActionOutcome:
        """Log a change as *event*, count it, and *wake* who goes on; return the outcome."""
        if isinstance(outcome, ActionOutcome):
            return outcome
        self.count_acknowledgements([outcome], via)
        log.info(event, incident=outcome.incident.number, by=by, via=via)
        wake()
        return ActionOutcome.DONE

    def count_acknowledgements(self, changes: Iterable[IncidentChange], via: Via) -> None:
        """Count the changes that acknowledge an incident again or for the first time, by the means *via*."""
        for change in changes:
            if change.events and change.events[0].reason is Reason.ACKNOWLEDGED:
                self._metrics.acknowledgements.labels(via).inc()

    def acknowledgement_change(
        self,
        incident: Incident,
        by: str,
        via: Via,
        phone: str | None,
        now: datetime,
        author: str | None = None,
    ) -> IncidentChange:
        """Return the change that acknowledges *incident* for *by*; *author* is who does it, if not *by*."""
        receiver = self._current.runtime.receiver(incident.receiver)
        is_new = incident.acknowledged_by != by or incident.state is IncidentState.OPEN
        notices: tuple[NewMessage, ...] = ()
        if is_new:  # the previous holder is notified even if tell_others is false
            if author is not None:
                phone = None  # who is given it must know
            notices = self._notices(
                "acknowledged", incident, author or by, phone, to_others=receiver.tell_others
            )
        return IncidentChange(
            acknowledged(incident, by, via, now, receiver.reopen_after),
            events=(Event(Reason.ACKNOWLEDGED, by=author or by, via=via),) if is_new else (),
            messages=notices,
        )

    def escalation_change(
        self, incident: Incident, by: str, via: Via, now: datetime
    ) -> IncidentChange | None:
        """Return the change that makes the next step of *incident* due; None if no step is left."""
        policy = self._current.runtime.policy(self._current.runtime.receiver(incident.receiver))
        if incident.step >= len(policy.steps):
            return None
        open_ = incident
        notices: tuple[NewMessage, ...] = ()
        if incident.state is IncidentState.ACKNOWLEDGED:
            open_ = replace(reopened(incident), step=incident.step, round=incident.round)
            if incident.acknowledged_by != by:  # who has it must know that it is out of their hands
                notices = self._notices("escalated", incident, by, None)
        return IncidentChange(
            replace(open_, due_at=now, is_step_requested=True),
            events=(Event(Reason.NEXT, by=by, via=via),),
            messages=notices,
        )

    def closing_change(
        self, incident: Incident, by: str, via: Via, now: datetime, phone: str | None
    ) -> IncidentChange:
        """Return the change that closes *incident* for *by*, whose number is *phone* if it is known."""
        return IncidentChange(
            resolved(incident, now),
            events=(Event(Reason.CLOSED, by=by, via=via),),
            messages=self._notices("closed", incident, by, phone),
            withdraws_pages=True,
        )

    def silencing_change(
        self,
        incident: Incident,
        by: str,
        via: Via,
        phone: str | None,
        made: str,
        now: datetime,
        duration: timedelta,
    ) -> IncidentChange:
        """Return the change that acknowledges *incident* for *by* while the silences *made* last."""
        recipient = self._current.runtime.contacts.get(by)
        zone = recipient.time_zone if recipient else self._current.runtime.configuration.global_.time_zone
        until = f"{(now + duration).astimezone(zone):%d/%m/%Y %H:%M}"
        event = Event(Reason.MUTED, by=by, via=via, detail=f"silence {made} until {until}")
        change = self.acknowledgement_change(incident, by, via, phone, now)
        # If its alerts still fire when the silence ends, somebody must be paged.
        after = replace(change.incident, due_at=now + duration)
        return replace(change, incident=after, events=(*change.events, event))

    def _notices(
        self, name: str, incident: Incident, by: str, phone: str | None, *, to_others: bool = True
    ) -> tuple[NewMessage, ...]:
        """Return the notices of what *by* did: to who has *incident* and, with *to_others*, to all who were paged."""
        runtime = self._current.runtime
        involved = recipients_of(runtime, self._store.paged.involved(incident.id)) if to_others else ()
        return incident_notices(
            runtime,
            incident,
            involved,
            lambda one: notice(name, one.language, by=by, number=incident.number, title=incident.title),
            self._clock(),
            by=by,
            phone=phone,
        )
