"""Incidents as pages show them: their start, the people paged, the owner, and the next to be paged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from notifier.delivery.message import FAILED, MessageState
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.incidents.severities import Severities
from notifier.runtime import Runtime
from notifier.sms.phones import mask
from notifier.store.ledger import Paged
from notifier.store.store import Store
from notifier.web.pages.moments import LocalMoment, Viewer, spelled


@dataclass(frozen=True, slots=True)
class Reach:
    """A person who was paged, and how far the page got: *kind* is its colour: good, warn, bad or other."""

    who: str
    kind: str
    word: str


_ON_ITS_WAY = (MessageState.QUEUED, MessageState.SENDING, MessageState.UNSETTLED)
RANKS: Sequence[tuple[Collection[str], str, str]] = (
    ((MessageState.DELIVERED,), "good", "delivered"),
    ((MessageState.ACCEPTED,), "other", "sent"),
    (_ON_ITS_WAY, "other", "sending"),
    ((MessageState.HELD,), "warn", "held by a limit"),
    (FAILED, "bad", "failed"),
    ((MessageState.WITHDRAWN,), "other", "page withdrawn"),
)
"""How far a page got, the best first: its states, the colour, and the word."""
_HELD_UP = ("bad", "not sent yet")


def reached(paged: Iterable[Paged], mask: Callable[[str], str]) -> tuple[Reach, ...]:
    """Return who was paged, each once with the best state of their messages; *mask* hides bare numbers."""
    best: dict[str, tuple[int, str]] = {}
    for one in paged:
        rank = next(
            (number for number, (states, _, _) in enumerate(RANKS) if one.state in states), len(RANKS) - 1
        )
        who = one.contact or mask(one.phone)
        if rank < best.get(who, (len(RANKS), ""))[0]:
            best[who] = rank, one.error or ""
    return tuple(
        Reach(who, *(_HELD_UP if error and RANKS[rank][0] is _ON_ITS_WAY else RANKS[rank][1:]))
        for who, (rank, error) in best.items()
    )


@dataclass(frozen=True, slots=True)
class Next:
    """An escalation step to come: when, and who is paged."""

    at: LocalMoment
    recipients: str


@dataclass(frozen=True, slots=True)
class ShownIncident:
    """An incident on a page."""

    id: str
    number: int
    title: str
    severity: str
    level: str
    """The colour of its severity."""
    name: str
    """The name of its alerts, or else the first word of its title."""
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
    silenced_by: str
    """Who silenced its alerts in Alertmanager, empty if they are not silenced."""
    silence_comment: str
    silenced_until: LocalMoment | None
    closed_by: str | None = None
    """Who closed it, though its alerts may still fire."""

    @property
    def coming(self) -> Next | None:
        """The next step."""
        return self.ahead[0] if self.ahead else None

    @property
    def is_quiet(self) -> bool:
        """Whether nobody is paged for it now: it is silenced or muted."""
        return self.state == "silenced" or bool(self.muted and not self.paged)

    @property
    def is_unreached(self) -> bool:
        """Whether it is open, and every page has failed or is delayed by an error."""
        return self.state == "open" and bool(self.paged) and all(one.kind == "bad" for one in self.paged)


def shown(
    incident: Incident,
    viewer: Viewer,
    paged: Sequence[Reach],
    ahead: Iterable[tuple[datetime, str]],
    severities: Severities,
    closed_by: str | None = None,
) -> ShownIncident:
    """Return *incident* as *viewer* sees it.

    Args:
        incident: the incident.
        viewer: whose clocks times are shown by.
        paged: who was paged.
        ahead: when the next steps are due, and who they page.
        severities: what each severity means.
        closed_by: who closed it.
    """
    is_open, is_taken = (
        incident.state is state for state in (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
    )
    since = incident.began_at or incident.opened_at
    severity = incident.severity or incident.labels.get("severity", "")
    return ShownIncident(
        id=incident.id,
        number=incident.number,
        title=incident.title,
        severity=severity,
        level=severities.level(severity),
        name=incident.labels.get("alertname") or incident.title.partition(" ")[0],
        state=incident.shown_state.value,
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
        lasted=None if incident.resolved_at is None else spelled(incident.resolved_at - since, viewer.words),
        paged=tuple(paged),
        ahead=tuple(Next(viewer.moment(at), recipients) for at, recipients in ahead),
        muted=incident.muted_by if is_open else "",
        unmuted=viewer.maybe(incident.muted_until) if is_open else None,
        silenced_by=incident.silenced_by,
        silence_comment=incident.silence_comment,
        silenced_until=viewer.maybe(incident.silenced_until),
        closed_by=closed_by,
    )


def load_shown(
    store: Store, runtime: Runtime, found: Sequence[Incident], viewer: Viewer, most_steps: int = 1
) -> list[ShownIncident]:
    """Return *found* as *viewer* sees them, each with at most *most_steps* of the steps to come."""
    paged = store.ledger.paged([incident.id for incident in found])
    closed = store.incidents.closed_by([one.id for one in found if one.state is IncidentState.RESOLVED])
    return [
        shown(
            incident,
            viewer,
            reached(paged.get(incident.id, ()), mask),
            islice(steps_ahead(runtime, incident), most_steps),
            runtime.severities,
            closed.get(incident.id),
        )
        for incident in found
    ]


def steps_ahead(runtime: Runtime, incident: Incident) -> Iterator[tuple[datetime, str]]:
    """Yield when the next steps of *incident* are due and who they page, if nobody acknowledges."""
    at, receiver = incident.next_step_at, runtime.receiver(incident.receiver)
    step, round_ = incident.step, incident.round
    while at is not None:
        outcome = runtime.step(receiver, step, round_, at)
        yield at, ", ".join(one.name or mask(one.phone) for one in outcome.recipients) or "nobody"
        step, round_, at = outcome.step, outcome.round, outcome.due_at
