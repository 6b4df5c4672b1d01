"""The confirmation on an incident's page after a button was pressed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from notifier.incidents.lifecycle import Kind
from notifier.timeline import IncidentHistory
from notifier.web.pages.shown_incidents import ShownIncident

_AT_ONCE = timedelta(seconds=2)
"""Notices of an action are stored within this time after it."""


def confirmation(done: str, one: ShownIncident, me: str | None, history: IncidentHistory) -> str | None:
    """Return the confirmation for *me* of the action *done* a moment ago; None if it no longer applies."""
    match done:
        case "ack" if one.holder is not None and one.holder == me:
            return _yours(history, me)
        case "taken" if one.holder is not None and one.holder != me:
            since = f" since {one.taken.short}" if one.taken else ""
            return f"Nothing was done: {one.holder} has it{since}. Press again to take it over."
        case "escalate":
            return _passed_on(one, history)
        case "late" if one.state != "resolved":
            return "Nothing was done: it was escalated meanwhile."
        case "exhausted" if one.state != "resolved":
            return "Nothing was done: there is no further step."
        case "close" if one.state == "resolved":
            return "It is closed. If its alerts still fire, Alertmanager's next webhook pages again."
        case "note":
            return "The note is in the timeline."
        case "resolved" if one.state == "resolved":
            return "It was resolved already."
    return None


def _yours(history: IncidentHistory, me: str | None) -> str | None:
    actions = [event for event in history.events if event.kind in ("acknowledged", "reopened", "next")]
    if not actions or actions[-1].by != me or actions[-1].kind != "acknowledged":
        return None
    before = actions[-2] if len(actions) > 1 and actions[-2].kind == "acknowledged" else None
    notified = [
        message.contact or history.mask(message.phone)
        for message in history.messages
        if message.kind == Kind.NOTICE and timedelta() <= message.created_at - actions[-1].at < _AT_ONCE
    ]
    words = ["You have it."]
    if before is not None and before.by != me:
        words.append(f"{before.by} had it before.")
    if notified:
        words.append(f"{_and(notified)} will be notified.")
    return " ".join(words)


def _passed_on(one: ShownIncident, history: IncidentHistory) -> str | None:
    actions = [event for event in history.events if event.kind in ("acknowledged", "next", "escalated")]
    if actions and actions[-1].kind == "escalated":
        return f"Escalated: {actions[-1].detail}."
    if actions and actions[-1].kind == "next" and one.coming is not None:
        return f"Escalating to {one.coming.recipients}."
    return None


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
