"""Phone calls of escalation steps with ``call: true``: made, followed until they end, and acknowledged by a key.

Experimental, and on its own: a call that fails delays no message and no step.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from notifier.delivery.calls import (
    LONGEST_CALL,
    OPEN_CALLS,
    RING,
    CallEnd,
    CallState,
    end_of,
    needless,
    not_made,
)
from notifier.incidents.lifecycle import Incident
from notifier.ovh.errors import CallFailed
from notifier.ovh.telephony import Line
from notifier.rendering.phrases import spoken
from notifier.store.calls import DueCall
from notifier.store.engine import StoreUnavailable
from notifier.workers.actions import ActionOutcome, Actions, Via
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_POLL = timedelta(seconds=3)
_RETRY = timedelta(seconds=10)
_LONGEST_TIMEOUTS = 6
"""How many time-outs of calls of the API one piece of work may take: then another replica takes the phone call over."""
_REPORTED = timedelta(hours=1)
"""How long a failed phone call is reported."""


class Caller(Worker):
    """Has OVHcloud call people, and asks it how each call ended."""

    name = "calls"

    def __init__(self, context: Context, actions: Actions) -> None:
        """Prepare to call; a key acknowledges by *actions*."""
        super().__init__(context, idle=1.0)
        self._actions = actions
        self._problem: tuple[datetime, str] | None = None
        for state in set(CallState) - set(OPEN_CALLS):
            self._metrics.calls.labels(state)  # so that the first failure is an increase for Prometheus

    @property
    def problem(self) -> str | None:
        """Why the last call failed, if that was within the last hour."""
        if self._problem is None or self._clock() - self._problem[0] > _REPORTED:
            return None
        return self._problem[1]

    def work(self) -> float | None:
        """Make the call that is due, or look at it."""
        line, due_at, now = self._current.runtime.line, self._store.calls.next_due(), self._clock()
        if line is None:
            self._problem = None
        if due_at is None:
            return None
        lease = timedelta(minutes=1)
        if line is not None:
            lease = max(lease, _LONGEST_TIMEOUTS * line.api.settings.timeout)
        one = self._store.calls.claim(now, lease).result()
        if one is None:
            return max(0.1, (due_at - now).total_seconds())
        if line is None:
            self._end(one, CallEnd(CallState.FAILED, "ovh.telephony is not configured any more"))
            return 0.0
        try:
            self._process(line, one)
        except StoreUnavailable:
            raise
        except Exception as error:  # a fault of ours must not keep other calls from being made
            log.exception("phone call failed unexpectedly", **self._about(one))
            self._unreadable_outcome(one, f"{type(error).__name__}: {error}"[:200])
        return 0.0

    def _process(self, line: Line, one: DueCall) -> None:
        if one.is_new:
            self._call(line, one)
        elif one.identifier is None:
            self._end(one, CallEnd(CallState.FAILED, "its answer was lost; OVHcloud may have called"))
        else:
            self._look(line, one, one.identifier)

    def _call(self, line: Line, one: DueCall) -> None:
        contact = self._current.runtime.contacts.get(one.contact)
        why = needless(
            one.incident,
            is_of_last_step=one.is_of_last_step,
            is_contact=contact is not None,
            has_been_called=one.has_been_called,
        )
        if why is not None or contact is None:
            self._end(one, CallEnd(CallState.WITHDRAWN, why or ""))
            return
        text = spoken(contact.language, one.incident.number, one.incident.severity, one.incident.title)
        try:
            identifier = line.call(contact.phone, text, RING)
        except CallFailed as error:
            end = not_made(error.failure, one.attempts)
            if end is not None:
                self._end(one, end)
                return
            log.warning("call not made, will try again", **self._about(one), error=str(error))
            self._store.calls.retry(one, str(error), self._clock() + _RETRY).result()
            return
        log.info("calling", **self._about(one), call=identifier)
        self._store.calls.began(one, identifier, self._clock() + _POLL).result()

    def _look(self, line: Line, one: DueCall, identifier: str) -> None:
        try:
            call = line.get(identifier)
        except CallFailed as error:
            log.warning("outcome of a call cannot be read", **self._about(one), error=str(error))
            self._unreadable_outcome(one, str(error))
            return
        end = end_of(call, one.called_at, self._clock())
        if end is None:
            self._store.calls.look_again(one, self._clock() + _POLL).result()
            return
        if end.state is CallState.ACKNOWLEDGED and not self._acknowledge(one):
            end = CallEnd(end.state, f"{end.detail}, but somebody else has it")
        self._end(one, end)

    def _unreadable_outcome(self, one: DueCall, why: str) -> None:
        """Look at a call again later, but not for ever."""
        if self._clock() - one.called_at < LONGEST_CALL:
            self._store.calls.look_again(one, self._clock() + _POLL).result()
        else:
            detail = f"its outcome cannot be read: {why}"
            self._end(one, CallEnd(CallState.FAILED, detail, is_fault=True))

    def _acknowledge(self, one: DueCall) -> bool:
        """Acknowledge the incident for who pressed a key, unless somebody else has it; return whether that was done."""

        def is_free(incident: Incident) -> bool:
            return incident.holder in (None, one.contact)

        outcome = self._actions.acknowledge(one.incident.id, one.contact, Via.CALL, is_free)
        return outcome is not ActionOutcome.OVERTAKEN

    def _end(self, one: DueCall, end: CallEnd) -> None:
        if not self._store.calls.end(one, end.state, end.detail, self._clock()).result():
            return
        if end.is_fault:
            self._problem = self._clock(), end.detail
        elif end.state in (CallState.ACKNOWLEDGED, CallState.UNANSWERED):
            self._problem = None
        self._metrics.calls.labels(end.state).inc()
        report = log.warning if end.state is CallState.FAILED else log.info
        report("call ended", **self._about(one), outcome=end.state.value, reason=end.detail)

    @staticmethod
    def _about(one: DueCall) -> dict[str, object]:
        return {"incident": one.incident.number, "message": one.message_id, "to": one.contact}
