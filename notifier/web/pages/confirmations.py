"""The confirmation on an incident's page after a button was pressed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.incidents.lifecycle import Incident, IncidentState, Kind
from notifier.timeline import IncidentHistory
from notifier.web.pages.moments import Viewer
from notifier.web.pages.shown_incidents import ShownIncident
from notifier.web.pages.words import Words

_AT_ONCE = timedelta(seconds=2)
"""Notices of an action are stored within this time after it."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a button did; without *is_done*, nothing."""

    text: str
    is_done: bool = True


def confirmation(
    done: str, one: ShownIncident, me: str | None, history: IncidentHistory, words: Words
) -> Confirmation | None:
    """Return the confirmation for *me* of the action *done* a moment ago; None if it no longer applies."""
    nothing = words("Nothing was done:")
    match done:
        case "ack" if one.holder is not None and one.holder == me:
            return _yours(history, me, words)
        case "taken" if one.holder is not None and one.holder != me:
            since = (
                f" {words.before('since', is_today=one.taken.is_today)} {one.taken.short}"
                if one.taken
                else ""
            )
            text = words("%(by)s has it%(since)s. Press again to take it over.", by=one.holder, since=since)
            return Confirmation(f"{nothing} {text}", is_done=False)
        case "escalate":
            return _passed_on(one, history, words)
        case "late" if one.state != "resolved":
            return Confirmation(f"{nothing} {words('it was escalated meanwhile.')}", is_done=False)
        case "exhausted" if one.state != "resolved":
            return Confirmation(f"{nothing} {words('there is no further step.')}", is_done=False)
        case "close" if one.state == "resolved":
            text = "It is closed. If its alerts still fire, Alertmanager's next webhook pages again."
            return Confirmation(words(text))
        case "silence" if _is_last(history, me, "muted"):
            return Confirmation(
                words("It is silenced in Alertmanager. If its alerts outlast that, somebody is paged.")
            )
        case "note" if _is_last(history, me, "noted"):
            return Confirmation(words("The note is in the timeline."))
        case "resolved" if one.state == "resolved":
            return Confirmation(words("It was resolved already."), is_done=False)
    return None


def _is_last(history: IncidentHistory, me: str | None, kind: str) -> bool:
    """Return whether the last thing that *me* did is of this *kind*: an address that somebody sent proves nothing.

    What was written at once has one time, and no order.
    """
    own = [event for event in history.events if event.by == me and me is not None]
    last = max((event.at for event in own), default=None)
    return any(event.kind == kind and event.at == last for event in own)


def brief_confirmation(
    done: str, incident: Incident | None, me: str, held: int, viewer: Viewer
) -> Confirmation | None:
    """Return the confirmation on the first page for *me*, who has *held* incidents, of an action on *incident*."""
    words = viewer.words
    if done == "all":
        one, many = "You have 1 incident.", "You have %(num)s incidents."
        return Confirmation(words.plural(one, many, held), is_done=held > 0) if me else None
    if incident is None:
        return None
    name = f"#{incident.number}"
    match done:
        case "ack" if incident.holder == me:
            return Confirmation(words("You have %(name)s.", name=name))
        case "taken" if incident.holder is not None:
            text = words("Nothing was done: %(by)s has %(name)s.", by=incident.holder, name=name)
            return Confirmation(text, is_done=False)
        case "escalate" if incident.state is IncidentState.OPEN and _is_passed_on(incident, viewer.now):
            return Confirmation(words("%(name)s is passed on.", name=name))
        case "close" if incident.state is IncidentState.RESOLVED:
            return Confirmation(words("%(name)s is closed.", name=name))
        case "silence" if incident.holder == me:
            return Confirmation(words("%(name)s is silenced.", name=name))
        case "late" | "exhausted":
            return Confirmation(words("Nothing was done: see %(name)s.", name=name), is_done=False)
        case "resolved" if incident.state is IncidentState.RESOLVED:
            return Confirmation(words("%(name)s was resolved already.", name=name), is_done=False)
    return None


def _is_passed_on(incident: Incident, now: datetime) -> bool:
    """Return whether a further step was taken, or is taken in a moment."""
    return incident.steps_taken > 1 or (incident.due_at is not None and incident.due_at <= now)


def _yours(history: IncidentHistory, me: str | None, words: Words) -> Confirmation | None:
    actions = [event for event in history.events if event.kind in ("acknowledged", "reopened", "next")]
    if not actions or actions[-1].by != me or actions[-1].kind != "acknowledged":
        return None
    before = actions[-2] if len(actions) > 1 and actions[-2].kind == "acknowledged" else None
    notified = [
        message.contact or history.mask(message.phone)
        for message in history.messages
        if message.kind == Kind.NOTICE and timedelta() <= message.created_at - actions[-1].at < _AT_ONCE
    ]
    texts = [words("You have it.")]
    if before is not None and before.by != me:
        texts.append(words("%(by)s had it before.", by=before.by))
    if notified:
        texts.append(words("%(names)s will be notified.", names=_and(notified, words)))
    return Confirmation(" ".join(texts))


def _passed_on(one: ShownIncident, history: IncidentHistory, words: Words) -> Confirmation | None:
    actions = [event for event in history.events if event.kind in ("acknowledged", "next", "escalated")]
    if actions and actions[-1].kind == "escalated":
        return Confirmation(words("Escalated: %(what)s.", what=actions[-1].detail))
    if actions and actions[-1].kind == "next" and one.coming is not None:
        return Confirmation(words("Escalating to %(names)s.", names=one.coming.recipients))
    return None


def _and(names: Sequence[str], words: Words) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {words('and')} {names[-1]}"
