"""Incidents: what is broken, since when, who was paged and who has it; and the story of one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.alertmanager.durations import brief_duration
from notifier.clock import is_known
from notifier.delivery.message import FAILED, MessageState
from notifier.incidents.lifecycle import Incident, IncidentState, Kind
from notifier.rendering.context import ShownAlert
from notifier.store.incidents import HappenedEvent
from notifier.store.ledger import LedgerMessage, Paged, Try
from notifier.web.views.moments import LocalMoment, Viewer

_MOST_TRIES = 3
_AT_ONCE = timedelta(seconds=2)
"""Notices of an action are stored within this time after it."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a page went to, and how far it got: *kind* is good, bad or other."""

    who: str
    kind: str
    word: str


_ON_ITS_WAY = (MessageState.QUEUED, MessageState.SENDING, MessageState.UNSETTLED)
_RANKS: Sequence[tuple[Collection[str], str, str]] = (
    ((MessageState.DELIVERED,), "good", "on the phone"),
    ((MessageState.ACCEPTED,), "other", "sent"),
    (_ON_ITS_WAY, "other", "on its way"),
    ((MessageState.HELD,), "bad", "held back by a limit"),
    (FAILED, "bad", "not reached"),
    ((MessageState.WITHDRAWN,), "other", "not sent, since it was not needed any more"),
)
_HELD_UP = ("bad", "not sent yet")


def reached(paged: Iterable[Paged], mask: Callable[[str], str]) -> tuple[Reach, ...]:
    """Return who was paged, each once with the best state of their messages; *mask* hides bare numbers."""
    best: dict[str, tuple[int, str]] = {}
    for one in paged:
        rank = next(
            (number for number, (states, _, _) in enumerate(_RANKS) if one.state in states), len(_RANKS) - 1
        )
        who = one.contact or mask(one.phone)
        if rank < best.get(who, (len(_RANKS), ""))[0]:
            best[who] = rank, one.error or ""
    return tuple(
        Reach(who, *(_HELD_UP if error and _RANKS[rank][0] is _ON_ITS_WAY else _RANKS[rank][1:]))
        for who, (rank, error) in best.items()
    )


@dataclass(frozen=True, slots=True)
class Next:
    """Whom the next step pages, and when."""

    at: LocalMoment
    whom: str


@dataclass(frozen=True, slots=True)
class ShownIncident:
    """An incident on a page."""

    id: str
    number: int
    title: str
    severity: str
    state: str
    receiver: str
    group_key: str
    labels: tuple[tuple[str, str], ...]
    firing: int
    taken_steps: int
    since: LocalMoment
    opened: LocalMoment
    holder: str | None
    taken: LocalMoment | None
    lapses: LocalMoment | None
    resolved: LocalMoment | None
    lasted: str | None
    paged: tuple[Reach, ...]
    ahead: tuple[Next, ...]
    """The steps to come, the next one first."""
    muted: str
    """How it is muted by time intervals, empty if it is not."""
    unmuted: LocalMoment | None

    @property
    def coming(self) -> Next | None:
        """The next step."""
        return self.ahead[0] if self.ahead else None

    @property
    def is_unknown(self) -> bool:
        """Whether nobody knows of it, since no page reached anybody."""
        return self.state == "open" and bool(self.paged) and all(one.kind == "bad" for one in self.paged)


def shown(
    incident: Incident, viewer: Viewer, paged: Sequence[Reach], ahead: Iterable[tuple[datetime, str]]
) -> ShownIncident:
    """Return *incident* as *viewer* sees it: those *paged* were told, *ahead* are when whom the next steps page."""
    is_open, is_taken = (
        incident.state is state for state in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    )
    since = incident.began_at or incident.opened_at
    return ShownIncident(
        id=incident.id,
        number=incident.number,
        title=incident.title,
        severity=incident.severity or incident.labels.get("severity", ""),
        state=incident.state.value,
        receiver=incident.receiver,
        group_key=incident.group_key,
        labels=tuple(sorted(incident.labels.items())),
        firing=len(incident.firing),
        taken_steps=incident.steps_taken,
        since=viewer.moment(since),
        opened=viewer.moment(incident.opened_at),
        holder=incident.holder,
        taken=viewer.maybe(incident.acknowledged_at) if is_taken else None,
        lapses=viewer.maybe(incident.due_at) if is_taken else None,
        resolved=viewer.maybe(incident.resolved_at),
        lasted=brief_duration(incident.resolved_at - since) if incident.resolved_at is not None else None,
        paged=tuple(paged),
        ahead=tuple(Next(viewer.moment(at), whom) for at, whom in ahead),
        muted=incident.muted_by if is_open else "",
        unmuted=viewer.maybe(incident.muted_until) if is_open else None,
    )


# -- its alerts ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert that fires, or did: *links* are those of its annotations that lead to a page."""

    name: str
    where: str
    severity: str
    since: LocalMoment | None
    ended: LocalMoment | None
    said: str
    links: tuple[tuple[str, str], ...]


def listed(alerts: Iterable[ShownAlert], viewer: Viewer) -> list[ListedAlert]:
    """Return *alerts* as a list of what is broken."""
    return [
        ListedAlert(
            alert.name,
            alert.target,
            alert.severity,
            viewer.moment(alert.starts_at) if is_known(alert.starts_at) else None,
            viewer.maybe(alert.ends_at),
            alert.annotations.get("summary") or alert.annotations.get("description") or "",
            tuple(
                (name.replace("_", " "), value)
                for name, value in alert.annotations.items()
                if value.startswith(("https://", "http://")) and " " not in value
            ),
        )
        for alert in alerts
    ]


# -- its story ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fate:
    """The state of a message: *kind* is good, bad or other."""

    kind: str
    text: str
    at: LocalMoment | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the timeline: an event of the incident, or a message with its *text* and its state."""

    at: LocalMoment
    kind: str
    what: str
    text: str | None = None
    lines: tuple[Fate, ...] = ()


_WAYS = {"sms": "by SMS", "api": "by the API", "web": "on this page"}
_HAPPENED = {
    "opened": "Noticed here",
    "joined": "More alerts joined",
    "replaced": "What was acknowledged is over, and something else fires",
    "acknowledged": "Acknowledged",
    "escalated": "The next step was taken",
    "next": "Passed on",
    "reopened": "The acknowledgement lapsed",
    "repeated": "Told again",
    "resolved": "It is over",
    "closed": "Closed",
    "shifted": "Other alerts of the group fire",
    "muted": "Muted",
    "heard": "Heard again after the mute",
}
_KINDS = {
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
class Sources:
    """What a story is made of, besides the incident."""

    events: Sequence[HappenedEvent]
    messages: Sequence[LedgerMessage]
    carriers: Mapping[str, LedgerMessage]
    """The digests that messages went out in, by id."""
    tries: Mapping[str, Sequence[Try]]
    """What was tried in vain, by message."""
    mask: Callable[[str], str]
    hide: Callable[[str], str]
    """Masks numbers and secrets in what OVHcloud answers."""


def story(sources: Sources, viewer: Viewer) -> list[Entry]:
    """Return what happened to an incident and whom it was told, in order."""
    found: list[tuple[datetime, Entry]] = []
    for event in sources.events:
        what = _HAPPENED.get(event.kind, event.kind)
        by = f" by {event.by}" if event.by else ""
        via = f" {_WAYS.get(event.via, event.via)}" if event.via else ""
        detail = f": {event.detail}" if event.detail else ""
        entry = Entry(viewer.moment(event.at), f"event {event.kind}", f"{what}{by}{via}{detail}")
        found.append((event.at, entry))
    for message in sources.messages:
        to = message.contact or sources.mask(message.phone)
        what = f"{_KINDS.get(Kind(message.kind), message.kind)} to {to}"
        fates = tuple(fates_of(message, sources, viewer))
        entry = Entry(viewer.moment(message.created_at), "message", what, message.text, fates)
        found.append((message.created_at, entry))
    return [entry for _, entry in sorted(found, key=lambda one: one[0])]


def fates_of(message: LedgerMessage, sources: Sources, viewer: Viewer) -> Iterable[Fate]:
    """Yield the states of *message*, and of the digest that it was sent in."""
    carrier = sources.carriers.get(message.merged_into or "")
    if message.merged_into is not None:
        is_out = carrier is not None and carrier.ovh_id is not None
        yield Fate("other", f"{'went' if is_out else 'goes'} out in a digest with others")
        if carrier is None:
            return
    sent = carrier or message
    tries = sources.tries.get(sent.id, ())
    if len(tries) > _MOST_TRIES:
        before = len(tries) - _MOST_TRIES
        yield Fate("bad", f"{before} attempt{'' if before == 1 else 's'} before failed as well")
    for one in tries[-_MOST_TRIES:]:
        error = sources.hide(one.error)
        if one.is_taken:
            said = f"no answer ({error}); OVHcloud was asked, and had accepted it"
            yield Fate("other", said, viewer.moment(one.at))
        else:
            is_asked = sent.state == MessageState.UNSETTLED and one is tries[-1]
            said = "no answer" if is_asked else "attempt failed"
            yield Fate("bad", f"{said}: {error}", viewer.moment(one.at))
    if sent.ovh_id is not None and sent.finished_at is not None:
        yield Fate("other", "accepted by OVHcloud", viewer.moment(sent.finished_at))
    yield from _ending(sent, sources.hide, viewer)


def _ending(sent: LedgerMessage, hide: Callable[[str], str], viewer: Viewer) -> Iterable[Fate]:
    reason = f": {hide(sent.error)}" if sent.error else ""
    if sent.delivered_at is not None:
        yield Fate("good", "on the phone", viewer.moment(sent.delivered_at))
    elif sent.state in FAILED:
        yield Fate("bad", f"{sent.state}{reason}", viewer.maybe(sent.receipt_at or sent.finished_at))
    elif sent.state == MessageState.WITHDRAWN:
        yield Fate("other", "not needed any more", viewer.maybe(sent.finished_at))
    elif sent.state == MessageState.HELD:
        yield Fate("other", "held by a limit: it waits for a digest or for credits")
    elif sent.state == MessageState.QUEUED:
        yield Fate("bad" if sent.error else "other", f"waits to be sent{reason}")
    elif sent.state == MessageState.SENDING:
        yield Fate("other", "being sent")
    elif sent.state == MessageState.UNSETTLED:
        yield Fate("bad", f"OVHcloud is asked whether it took it{reason}")
    elif sent.state == MessageState.ACCEPTED:
        yield Fate("bad" if sent.error else "other", f"no word from the phone yet{reason}")


# -- what was done a moment ago -----------------------------------------------------------------------------


def said(did: str, one: ShownIncident, me: str | None, sources: Sources) -> str | None:
    """Return what to say to *me*, who *did* something to the incident a moment ago, as far as it holds still."""
    match did:
        case "ack" if one.holder is not None and one.holder == me:
            return _yours(sources, me)
        case "taken" if one.holder is not None and one.holder != me:
            since = f" since {one.taken.short}" if one.taken else ""
            return f"Nothing was done: {one.holder} has it{since}. Press again to take it over."
        case "escalate":
            return _passed_on(one, sources)
        case "late" if one.state != "resolved":
            return "Nothing was done: the next step was taken meanwhile."
        case "exhausted" if one.state != "resolved":
            return "Nothing was done: there is no further step."
        case "close" if one.state == "resolved":
            return "It is closed. If its alerts still fire, Alertmanager's next repetition pages again."
        case "resolved" if one.state == "resolved":
            return "It was over already."
    return None


def _yours(sources: Sources, me: str | None) -> str | None:
    actions = [event for event in sources.events if event.kind in ("acknowledged", "reopened", "next")]
    if not actions or actions[-1].by != me or actions[-1].kind != "acknowledged":
        return None
    before = actions[-2] if len(actions) > 1 and actions[-2].kind == "acknowledged" else None
    told = [
        message.contact or sources.mask(message.phone)
        for message in sources.messages
        if message.kind == Kind.NOTICE and timedelta() <= message.created_at - actions[-1].at < _AT_ONCE
    ]
    words = ["You have it."]
    if before is not None and before.by != me:
        words.append(f"{before.by} had it before.")
    if told:
        words.append(f"{_and(told)} will be told.")
    return " ".join(words)


def _passed_on(one: ShownIncident, sources: Sources) -> str | None:
    actions = [event for event in sources.events if event.kind in ("acknowledged", "next", "escalated")]
    if actions and actions[-1].kind == "escalated":
        return f"The next step was taken: {actions[-1].detail}."
    if actions and actions[-1].kind == "next" and one.coming is not None:
        return f"The next step is being taken: {one.coming.whom}."
    return None


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
