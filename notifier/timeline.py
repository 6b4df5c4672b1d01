"""The timeline of a message: received, routed, tried, answered, delivered, acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from notifier.delivery.message import MessageState
from notifier.store.ledger import Attempt, LedgerMessage, MessageDetails


@dataclass(frozen=True, slots=True)
class Line:
    """What happened, and when; *what* is a word to look for, *detail* is for people."""

    at: datetime
    what: str
    detail: str


def timeline(details: MessageDetails) -> list[Line]:
    """Return what happened to a message, and to its incident, in order."""
    message = details.message
    lines = _origin(details)
    if message.author is not None:
        lines.append(Line(message.created_at, "requested", f"by {message.author}"))
    lines.append(Line(message.created_at, "rendered", _rendered(message)))
    for attempt in details.attempts:
        account = f" by {attempt.account}" if attempt.account else ""
        lines.append(Line(attempt.at, "tried", f"as {attempt.tag}{account}"))
        if attempt.answered_at is not None:
            answer = _answer(attempt, details.message)
            if attempt.query_id and attempt.query_id not in answer:
                answer += f" (query {attempt.query_id})"
            lines.append(Line(attempt.answered_at, "answered", answer))
    lines += _ending(message)
    for event in details.events:
        by = f" by {event.by}" if event.by else ""
        via = f" via {event.via}" if event.via else ""
        detail = f": {event.detail}" if event.detail else ""
        lines.append(Line(event.at, f"incident {event.kind}", f"{by}{via}{detail}".strip(" :")))
    return sorted(lines, key=lambda line: line.at)


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
    """Return how an attempt ended; where the answer was lost, what OVHcloud said when it was asked."""
    is_accepted = message.ovh_id is not None and message.tag == attempt.tag
    if attempt.error is None:
        return "accepted"
    return f"no answer ({attempt.error}); asked, OVHcloud had accepted it" if is_accepted else attempt.error


def _ending(message: LedgerMessage) -> list[Line]:
    lines = []
    if message.merged_into is not None:
        lines.append(Line(message.created_at, "merged", f"goes out with {message.merged_into}"))
    if message.finished_at is not None and message.ovh_id is not None:
        lines.append(Line(message.finished_at, "accepted", f"by OVHcloud as {message.ovh_id}"))
    elif message.finished_at is not None:
        lines.append(Line(message.finished_at, message.state, message.error or ""))
    if message.delivered_at is not None:
        lines.append(Line(message.delivered_at, "delivered", "to the handset"))
    elif message.state == MessageState.UNDELIVERED and message.receipt_at is not None:
        lines.append(Line(message.receipt_at, "undelivered", message.error or ""))
    return lines
