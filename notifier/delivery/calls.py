"""Phone calls: whether one is still needed, and what its state at OVHcloud means."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from notifier.incidents.lifecycle import IncidentState
from notifier.ovh.models import AutomaticCall

RING = timedelta(seconds=40)
"""How long a phone rings; long enough to wake somebody, and mailboxes answer sooner."""
LONGEST_CALL = timedelta(minutes=3)
"""After this a call whose end OVHcloud has not reported counts as not answered."""
PAUSE = timedelta(minutes=2)
"""A person is called once within this time, also for several incidents."""


class CallState(StrEnum):
    """The state of a phone call."""

    WAITING = "waiting"
    CALLING = "calling"
    ACKNOWLEDGED = "acknowledged"
    """A key was pressed."""
    UNANSWERED = "unanswered"
    """Nobody answered, or hung up without pressing a key."""
    FAILED = "failed"
    """OVHcloud did not make it, or it is not known whether it did."""
    WITHDRAWN = "withdrawn"
    """It was not needed any more."""


OPEN_CALLS = (CallState.WAITING, CallState.CALLING)


def needless(
    incident_state: str, *, is_silenced: bool, is_contact: bool, has_been_called: bool
) -> str | None:
    """Return why a person need not be called any more; None if they are to be called.

    Args:
        incident_state: the `IncidentState` of the incident.
        is_silenced: whether it is silenced in Alertmanager.
        is_contact: whether the person is still configured.
        has_been_called: whether the person was called within `PAUSE`.
    """
    if incident_state != IncidentState.OPEN:
        return f"the incident is {incident_state}"
    if is_silenced:
        return "the incident is silenced"
    if not is_contact:
        return "the contact is not configured any more"
    return "called a moment ago for another incident" if has_been_called else None


def ended(call: AutomaticCall, began_at: datetime, now: datetime) -> tuple[CallState, str] | None:
    """Return how a call ended, and details for people; None while it goes on.

    A key acknowledges even before the end is reported. A mailbox that answers presses none.
    """
    if keys := "".join(char for char in call.dtmf or "" if char in "0123456789*#"):
        return CallState.ACKNOWLEDGED, f"key {keys[:1]} pressed"
    if call.hangup_cause is not None or call.hung_up_at is not None:
        cause = f" ({call.hangup_cause[:40]})" if call.hangup_cause is not None else ""
        what = "answered, but no key pressed" if call.answered_at is not None else "not answered"
        return CallState.UNANSWERED, what + cause
    if not timedelta() <= now - began_at < LONGEST_CALL:
        return CallState.UNANSWERED, "OVHcloud has not reported its end"
    return None
