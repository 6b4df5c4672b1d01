"""Timelines: what happened to a message, for the API and commands, and to an incident, for its page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.delivery.calls import CallState
from notifier.delivery.message import FAILED, Hold, MessageState
from notifier.incidents.lifecycle import Kind, Reason
from notifier.store.calls import Call
from notifier.store.fallbacks import FallbackAttempt
from notifier.store.incidents import HappenedEvent
from notifier.store.ledger import Attempt, FailedAttempt, LedgerMessage, MessageDetails

_MAX_FAILURES = 3
"""The number of failed attempts that an incident's timeline shows of a message."""


def _how(event: HappenedEvent, means: str) -> str:
    """Return who caused *event*, by which *means*, and its details, as far as known."""
    by = f" by {event.by}" if event.by else ""
    via = f" {means}" if event.via else ""
    detail = f": {event.detail}" if event.detail else ""
    return f"{by}{via}{detail}"


def _limit(message: LedgerMessage) -> str:
    """Return the key of the limit that held *message*."""
    return "limits.credits" if message.held_for == Hold.CREDITS else "limits.per_contact"


def _lost_answer(error: str) -> str:
    return f"no answer ({error}); OVHcloud had accepted it"


# -- of a message -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """What happened, and when; *what* is a word to look for, *detail* is for people."""

    at: datetime
    what: str
    detail: str


def message_timeline(details: MessageDetails) -> list[Line]:
    """Return what happened to a message, and to its incident, in order."""
    message, sent = details.message, details.sent
    lines = _origin(details)
    if message.author is not None:
        lines.append(Line(message.created_at, "requested", f"by {message.author}"))
    lines.append(Line(message.created_at, "rendered", _rendered(message)))
    if message.held_for is not None:
        lines.append(Line(message.created_at, "held", f"by {_limit(message)}"))
    if details.digest is not None:
        lines.append(Line(sent.created_at, "merged", f"into the digest {sent.id}: {sent.text}"))
    for attempt in details.attempts:
        account = f" by {attempt.account}" if attempt.account else ""
        lines.append(Line(attempt.at, "tried", f"as {attempt.tag}{account}"))
        if attempt.answered_at is not None:
            answer = _answer(attempt, sent)
            if attempt.query_id and attempt.query_id not in answer:
                answer += f" (query {attempt.query_id})"
            what = "looked up" if attempt.is_looked_up else "answered"
            lines.append(Line(attempt.answered_at, what, answer))
    for other in details.fallbacks:
        lines.append(Line(other.at, "fallback", f"{other.service}: {other.error or 'sent'}"))
    if details.call is not None:
        lines += _call_lines(details.call)
    lines += _ending(sent)
    for event in details.events:
        how = _how(event, f"via {event.via}")
        lines.append(Line(event.at, f"incident {event.kind}", how.strip(" :")))
    return sorted(lines, key=lambda line: line.at)


def _call_lines(call: Call) -> list[Line]:
    lines = []
    if call.called_at is not None:
        lines.append(Line(call.called_at, "calling", ""))
    if call.finished_at is not None:
        lines.append(Line(call.finished_at, f"call {call.state}", call.detail or ""))
    return lines


def _origin(details: MessageDetails) -> list[Line]:
    origin = details.origin
    if origin is None:
        return []
    to = f" at /alert/{origin.posted_to}" if origin.posted_to else ""
    lines = [
        Line(origin.received_at, "received", f"webhook {origin.webhook_id}{to}, group {origin.group_key}")
    ]
    if origin.planned_at is not None:
        alerts = f"{origin.alerts} alert{'s' if origin.alerts != 1 else ''} {origin.status}"
        muted = f", muted by {origin.muted_by}" if origin.muted_by else ""
        lines.append(Line(origin.planned_at, "routed", f"{alerts} to receiver {origin.receiver}{muted}"))
    return lines


def _rendered(message: LedgerMessage) -> str:
    step = f", step {message.step}" if message.step else ""
    return (
        f"{message.kind}{step} for {message.contact or 'a number'}, {message.parts} part(s): {message.text}"
    )


def _answer(attempt: Attempt, message: LedgerMessage) -> str:
    """Return how an attempt ended; where the answer was lost, the result of the lookup."""
    is_accepted = message.ovh_id is not None and message.tag == attempt.tag
    if attempt.error is None:
        return "accepted"
    if is_accepted:
        return _lost_answer(attempt.error)
    return f"no answer ({attempt.error}); not found at OVHcloud" if attempt.is_looked_up else attempt.error


def _ending(message: LedgerMessage) -> list[Line]:
    lines = []
    if message.finished_at is not None and message.ovh_id is not None:
        lines.append(Line(message.finished_at, "accepted", f"by OVHcloud as {message.ovh_id}"))
    elif message.finished_at is not None:
        lines.append(Line(message.finished_at, message.state, message.error or ""))
    if message.delivered_at is not None:
        lines.append(Line(message.delivered_at, "delivered", "to the handset"))
    elif message.state == MessageState.UNDELIVERED and message.receipt_at is not None:
        lines.append(Line(message.receipt_at, "undelivered", message.error or ""))
    return lines


# -- of an incident -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to a message, or its present state. *kind* (good, bad or other) chooses the colour.

    *text* is one of a few, which pages translate; *detail* is for instance an error.
    """

    kind: str
    text: str
    at: datetime | None = None
    detail: str = ""

    @property
    def line(self) -> str:
        """The text with its detail."""
        return f"{self.text}: {self.detail}" if self.detail else self.text


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of an incident's timeline: an event, or a message to *recipient* with its *text* and its outcomes.

    *what* and *means* are among a few texts, which pages translate.
    """

    at: datetime
    kind: str
    what: str
    by: str = ""
    means: str = ""
    detail: str = ""
    recipient: str = ""
    text: str = ""
    outcomes: tuple[Outcome, ...] = ()

    @property
    def is_message(self) -> bool:
        """Whether it is a message."""
        return bool(self.recipient)


# The texts below, and those of `Outcome`, are also in `web/pages/french.py`.
MEANS: Mapping[str, str] = {
    "sms": "by SMS",
    "api": "by the API",
    "web": "on this page",
    "link": "by the link in a page",
    "call": "by phone",
}
EVENTS: Mapping[str, str] = {
    Reason.OPENED: "Opened",
    Reason.JOINED: "More alerts joined",
    Reason.REPLACED: "All acknowledged alerts ended, and others fire",
    Reason.ACKNOWLEDGED: "Acknowledged",
    Reason.ESCALATED: "Escalated",
    Reason.NEXT: "Passed on",
    Reason.REOPENED: "The acknowledgement expired",
    Reason.REPEATED: "Notified again",
    Reason.RESOLVED: "Resolved",
    Reason.CLOSED: "Closed",
    Reason.SHIFTED: "Other alerts of the group fire",
    Reason.MUTED: "Silenced",
    Reason.UNMUTED: "Paged after the mute",
    Reason.SILENCED: "Silenced in Alertmanager",
    Reason.UNSILENCED: "The silence ended",
    Reason.NOTED: "Note",
}
KINDS: Mapping[str, str] = {
    Kind.PAGE: "Page",
    Kind.UPDATE: "Update",
    Kind.REMINDER: "Reminder",
    Kind.RESOLVED: "Resolution",
    Kind.NOTICE: "Notice",
    Kind.ANSWER: "Answer",
    Kind.DIGEST: "Digest",
    Kind.TEXT: "Text",
}


@dataclass(frozen=True, slots=True)
class IncidentHistory:
    """What an incident's timeline is made of."""

    events: Sequence[HappenedEvent]
    messages: Sequence[LedgerMessage]
    digests: Mapping[str, LedgerMessage]
    """The digests that messages were merged into, by id."""
    failures: Mapping[str, Sequence[FailedAttempt]]
    """The failed attempts, by the id of the message."""
    fallbacks: Mapping[str, Sequence[FallbackAttempt]]
    """The attempts to send them through a second channel, by the id of the message."""
    calls: Mapping[str, Call]
    """The phone calls, by the id of the message."""
    mask: Callable[[str], str]
    """Masks a number."""
    hide: Callable[[str], str]
    """Masks numbers and secrets in OVHcloud's errors."""


def incident_timeline(history: IncidentHistory) -> list[Entry]:
    """Return what happened to an incident and the messages about it, in order."""
    entries = []
    for event in history.events:
        what, means = EVENTS.get(event.kind, event.kind), MEANS.get(event.via or "", event.via or "")
        entries.append(
            Entry(event.at, event.kind, what, by=event.by or "", means=means, detail=event.detail or "")
        )
    entries += [_message_entry(message, history) for message in history.messages]
    return sorted(entries, key=lambda entry: entry.at)


def _message_entry(message: LedgerMessage, history: IncidentHistory) -> Entry:
    call = history.calls.get(message.id)
    return Entry(
        message.created_at,
        "message",
        KINDS.get(message.kind, message.kind),
        recipient=message.contact or history.mask(message.phone),
        text=message.text,
        outcomes=(*_outcomes(message, history), *_call_outcome(call, history.hide)),
    )


def _outcomes(message: LedgerMessage, history: IncidentHistory) -> Iterable[Outcome]:
    """Yield what happened to *message*, and to the digest that it was sent in."""
    digest = history.digests.get(message.merged_into or "")
    if message.merged_into is not None:
        is_out = digest is not None and digest.ovh_id is not None
        yield Outcome(
            "other", "sent in a digest with others" if is_out else "merged into a digest with others"
        )
        if digest is None:
            return
    sent = digest or message
    failures = history.failures.get(sent.id, ())
    if len(failures) > _MAX_FAILURES:
        before = len(failures) - _MAX_FAILURES
        yield Outcome("bad", "attempts failed before", detail=str(before))
    for one in failures[-_MAX_FAILURES:]:
        error = history.hide(one.error)
        if one.is_accepted:
            yield Outcome("other", "no answer; OVHcloud had accepted it", one.at, error)
        else:
            is_settling = sent.state == MessageState.UNSETTLED and one is failures[-1]
            text = "no answer" if is_settling else "attempt failed"
            yield Outcome("bad", text, one.at, error)
    for other in history.fallbacks.get(sent.id, ())[-_MAX_FAILURES:]:
        if other.error is None:
            yield Outcome("good", "sent by the second channel", other.at, other.service)
        else:
            error = f"{other.service}: {history.hide(other.error)}"
            yield Outcome("bad", "the second channel failed", other.at, error)
    if sent.ovh_id is not None and sent.finished_at is not None:
        yield Outcome("other", "accepted by OVHcloud", sent.finished_at)
    yield from _present_state(sent, history.hide)


CALLS: Mapping[str, tuple[str, str]] = {
    CallState.WAITING: ("other", "will be called"),
    CallState.CALLING: ("other", "being called"),
    CallState.ACKNOWLEDGED: ("good", "called"),
    CallState.UNANSWERED: ("bad", "called"),
    CallState.FAILED: ("bad", "call failed"),
    CallState.WITHDRAWN: ("other", "not called"),
}
"""The colour and the words for the state of a call."""


def _call_outcome(call: Call | None, hide: Callable[[str], str]) -> Iterable[Outcome]:
    if call is not None:
        kind, words = CALLS.get(call.state, ("other", call.state))
        yield Outcome(kind, words, call.finished_at or call.called_at, hide(call.detail or ""))


def _present_state(sent: LedgerMessage, hide: Callable[[str], str]) -> Iterable[Outcome]:
    reason = hide(sent.error or "")
    if sent.delivered_at is not None:
        yield Outcome("good", "delivered", sent.delivered_at)
    elif sent.state in FAILED:
        yield Outcome("bad", sent.state, sent.receipt_at or sent.finished_at, reason)
    elif sent.state == MessageState.WITHDRAWN:
        yield Outcome("other", "withdrawn: not needed any more", sent.finished_at)
    elif sent.state == MessageState.HELD:
        awaited = "held: waits for credits" if sent.held_for == Hold.CREDITS else "held: waits for a digest"
        yield Outcome("other", awaited, detail=_limit(sent))
    elif sent.state == MessageState.QUEUED:
        yield Outcome("bad" if sent.error else "other", "waits to be sent", detail=reason)
    elif sent.state == MessageState.SENDING:
        yield Outcome("other", "being sent")
    elif sent.state == MessageState.UNSETTLED:
        yield Outcome("bad", "asking OVHcloud whether it accepted it", detail=reason)
    elif sent.state == MessageState.ACCEPTED:
        yield Outcome("bad" if sent.error else "other", "no delivery receipt yet", detail=reason)
