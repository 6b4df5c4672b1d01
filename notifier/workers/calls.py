"""Phone calls of escalation steps with ``call: true``: made, followed until they end, and acknowledged by a key.

Experimental, and on its own: a call that fails delays no message and no step.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from notifier.delivery.calls import LONGEST_CALL, OPEN_CALLS, RING, CallState, ended, needless
from notifier.incidents.lifecycle import Incident
from notifier.ovh.errors import CallFailed, Failure, Fate
from notifier.ovh.telephony import Line
from notifier.rendering.phrases import spoken
from notifier.store.calls import DueCall
from notifier.workers.actions import ActionOutcome, Actions, Via
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_BATCH = 4
_POLL = timedelta(seconds=3)
_RETRY = timedelta(seconds=10)
_ATTEMPTS = 3
_LEASE = timedelta(minutes=1)
"""When another replica takes over a call whose replica has ended; longer than a call of the API takes."""


class Caller(Worker):
    """Has OVHcloud call people, and asks it how each call ended."""

    name = "calls"

    def __init__(self, context: Context, actions: Actions) -> None:
        """Prepare to call; a key acknowledges by *actions*."""
        super().__init__(context, idle=1.0)
        self._actions = actions
        self.problem: str | None = None
        """Why the last call could not be made."""
        for state in set(CallState) - set(OPEN_CALLS):
            self._metrics.calls.labels(state)  # so that the first failure is an increase for Prometheus

    def work(self) -> float | None:
        """Make the calls that are due, and look at those that are under way."""
        now = self._clock()
        line = self._current.runtime.line
        if line is None:
            self.problem = None
        if not self._store.calls.is_any_due(now):
            return None
        for one in self._store.calls.claim(now, _LEASE, _BATCH).result():
            if line is None:
                self._end(one, CallState.FAILED, "ovh.telephony is not configured any more")
            elif one.is_new:
                self._call(line, one)
            else:
                self._look(line, one)
        return 0.0

    def _call(self, line: Line, one: DueCall) -> None:
        now, contact = self._clock(), self._current.runtime.contacts.get(one.contact)
        why = needless(
            one.incident.state,
            is_silenced=one.incident.is_silenced,
            is_contact=contact is not None,
            has_been_called=self._store.calls.has_called(one.phone, now, one.message_id),
        )
        if why is not None or contact is None:
            self._end(one, CallState.WITHDRAWN, why or "")
            return
        text = spoken(contact.language, one.incident.number, one.incident.severity, one.incident.title)
        try:
            identifier = line.call(one.phone, text, RING)
        except CallFailed as error:
            self._not_made(one, error.failure)
            return
        self.problem = None
        log.info("calling", **self._about(one), call=identifier)
        self._store.calls.began(one, identifier, self._clock() + _POLL).result()

    def _not_made(self, one: DueCall, failure: Failure) -> None:
        if failure.fate is Fate.LOST:  # to call twice is worse than to call too little: the SMS is on its way
            self._end(one, CallState.FAILED, f"{failure}; OVHcloud may have called")
            return
        is_transient = failure.status is None or failure.status == 429 or failure.status >= 500
        if is_transient and one.attempts < _ATTEMPTS:
            log.warning("call not made, will try again", **self._about(one), error=str(failure))
            self._store.calls.retry(one, str(failure), self._clock() + _RETRY).result()
            return
        self.problem = str(failure)
        self._end(one, CallState.FAILED, str(failure))

    def _look(self, line: Line, one: DueCall) -> None:
        if one.identifier is None:
            self._end(one, CallState.FAILED, "its answer was lost; OVHcloud may have called")
            return
        try:
            call = line.get(one.identifier)
        except CallFailed as error:
            self.note_answer(line.api.name, error)
            if self._clock() - one.called_at < LONGEST_CALL:
                self._store.calls.look_again(one, self._clock() + _POLL).result()
            else:
                self._end(one, CallState.FAILED, f"its outcome cannot be read: {error}")
            return
        self.note_answer(line.api.name, None)
        end = ended(call, one.called_at, self._clock())
        if end is None:
            self._store.calls.look_again(one, self._clock() + _POLL).result()
            return
        state, detail = end
        if state is CallState.ACKNOWLEDGED and not self._acknowledge(one):
            detail += ", but somebody else has it"
        self._end(one, state, detail)

    def _acknowledge(self, one: DueCall) -> bool:
        """Acknowledge the incident for who pressed a key, unless somebody else has it; return whether that was done."""

        def is_free(incident: Incident) -> bool:
            return incident.holder in (None, one.contact)

        outcome = self._actions.acknowledge(one.incident.id, one.contact, Via.CALL, is_free)
        return outcome is not ActionOutcome.OVERTAKEN

    def _end(self, one: DueCall, state: CallState, detail: str) -> None:
        self._store.calls.end(one, state, detail, self._clock()).result()
        self._metrics.calls.labels(state).inc()
        report = log.warning if state is CallState.FAILED else log.info
        report("call ended", **self._about(one), outcome=state.value, reason=detail)

    @staticmethod
    def _about(one: DueCall) -> dict[str, object]:
        return {"incident": one.incident.number, "message": one.message_id, "to": one.contact}
