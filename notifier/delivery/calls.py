"""Phone calls: whether one is still needed, and what OVHcloud's answers mean."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.incidents.lifecycle import Incident
from notifier.ovh.errors import Failure, Fate
from notifier.ovh.models import AutomaticCall

RING = timedelta(seconds=40)
"""How long a phone rings: long enough to wake somebody. A mailbox may answer sooner."""
LONGEST_CALL = timedelta(minutes=3)
"""After this a call whose end OVHcloud has not reported counts as not answered."""
PAUSE = timedelta(minutes=2)
"""A person is called once within this time, whatever for."""
_ATTEMPTS = 3

_UNFINISHED = "UnknownOrCallUnfinished"
_OF_PERSON = frozenset(
    {
        "AllottedTimeout",
        "CodeSip408NoUserResponding",
        "CodeSip480NoAnswerFromUser",
        "CodeSip480NormalUnspecified",
        "CodeSip480SubscriberAbsent",
        "CodeSip486UserBusy",
        "CodeSip487OriginatorCancel",
        "CodeSip603CallRejected",
        "NormalCallClearing",
        "ProgressTimeout",
    }
)
"""The causes (``telephony.CallsGeneratorHangupCauseEnum``) by which a person did not answer. Others are faults."""


class CallState(StrEnum):
    """The state of a phone call."""

    WAITING = "waiting"
    CALLING = "calling"
    ACKNOWLEDGED = "acknowledged"
    """A key was pressed."""
    UNANSWERED = "unanswered"
    """Nobody answered, or hung up without pressing a key."""
    FAILED = "failed"
    """OVHcloud could not make it, or it is not known how it ended."""
    WITHDRAWN = "withdrawn"
    """It was not needed any more."""


OPEN_CALLS = (CallState.WAITING, CallState.CALLING)


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended, with details for people."""

    state: CallState
    detail: str
    is_fault: bool = False
    """Whether OVHcloud, or the configuration of the line, is at fault."""


def needless(
    incident: Incident, *, is_of_last_step: bool, is_contact: bool, has_been_called: bool
) -> str | None:
    """Return why a person need not be called any more; None if they are to be called.

    Args:
        incident: what the call is about.
        is_of_last_step: whether it belongs to the last step that was taken, and its page has not expired.
        is_contact: whether the person is still configured.
        has_been_called: whether the person was called within `PAUSE`.
    """
    if incident.is_silenced:
        return "the incident is silenced"
    if incident.holder is not None or incident.resolved_at is not None:
        return f"the incident is {incident.state}"
    if not is_of_last_step:
        return "another step has been taken"
    if not is_contact:
        return "the contact is not configured any more"
    return "called a moment ago" if has_been_called else None


def not_made(failure: Failure, attempts: int) -> CallEnd | None:
    """Return the end of a call that OVHcloud did not confirm; None to try again, because it was surely not made.

    *attempts* is how often it was tried. Twice the same call is worse than none: the SMS is on its way.
    """
    is_certain = failure.is_preparing or failure.fate is Fate.NOT_SENT or failure.status == 429
    if is_certain:
        return None if attempts < _ATTEMPTS else CallEnd(CallState.FAILED, str(failure), is_fault=True)
    is_refused = failure.status is not None and failure.status < 500
    detail = str(failure) if is_refused else f"{failure}; OVHcloud may have called"
    return CallEnd(CallState.FAILED, detail, is_fault=True)


def end_of(call: AutomaticCall, began_at: datetime, now: datetime) -> CallEnd | None:
    """Return how a call ended; None while it goes on.

    A key acknowledges even before the end is reported. A mailbox that answers presses none.
    """
    if keys := "".join(char for char in call.dtmf or "" if char in "0123456789*#"):
        return CallEnd(CallState.ACKNOWLEDGED, f"key {keys[:1]} pressed")
    cause = call.hangup_cause if call.hangup_cause != _UNFINISHED else None
    if cause is None and call.hung_up_at is None:
        if now - began_at < LONGEST_CALL:
            return None
        return CallEnd(CallState.UNANSWERED, "OVHcloud has not reported its end")
    why = f" ({cause[:60]})" if cause is not None else ""
    if call.answered_at is not None:
        return CallEnd(CallState.UNANSWERED, f"answered, but no key pressed{why}")
    if cause is None or cause in _OF_PERSON:
        return CallEnd(CallState.UNANSWERED, f"not answered{why}")
    return CallEnd(CallState.FAILED, f"OVHcloud could not call: {cause[:60]}", is_fault=True)
