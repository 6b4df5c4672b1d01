"""Incidents: their states, and how webhooks, time and people change them.

There is one open incident for each receiver and group of alerts while an alert of it fires. This module holds values
and decisions; `notifier.store.incidents` stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class IncidentState(StrEnum):
    """The state of an incident: nobody has it, somebody has it, or it is over."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class ShownState(StrEnum):
    """The state of an incident as people see it: an open one may be silenced in Alertmanager."""

    OPEN = "open"
    SILENCED = "silenced"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Kind(StrEnum):
    """The purpose of a message."""

    PAGE = "page"
    """A step of the escalation: somebody should acknowledge."""
    UPDATE = "update"
    """More alerts joined."""
    REMINDER = "reminder"
    RESOLVED = "resolved"
    NOTICE = "notice"
    """What other people did."""
    ANSWER = "answer"
    """To a reply."""
    DIGEST = "digest"
    """Replaces several messages."""
    TEXT = "text"
    """A text that a person sent through the API."""


PAGING = (Kind.PAGE, Kind.UPDATE, Kind.REMINDER)
"""The kinds by which a person counts as paged."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A group of alerts that fires for a receiver, from when it opened until it is resolved.

    *alerts* are the keys of all alerts that ever fired in it, *firing* of those that fired in the last webhook.
    *step* and *round* are the next to be taken, at *due_at*; *steps_taken* counts those taken before. While it is
    acknowledged, *due_at* is when the acknowledgement expires. At *unmute_at* people are notified of alerts that joined
    while it was muted. *version* changes with each write.
    """

    id: str
    number: int
    receiver: str
    group_key: str
    state: IncidentState
    title: str
    labels: Mapping[str, str]
    alerts: frozenset[str]
    webhook_id: str | None
    opened_at: datetime
    began_at: datetime | None = None
    """When it began to fire, as in its first message; None while unknown."""
    step: int = 0
    round: int = 0
    steps_taken: int = 0
    due_at: datetime | None = None
    unmute_at: datetime | None = None
    acknowledged_by: str | None = None
    acknowledged_via: str | None = None
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    version: int = 0
    firing: frozenset[str] = frozenset()
    severity: str = ""
    """The highest among its alerts so far."""
    muted_by: str = ""
    """How it is muted now, for people (``outside office-hours``); empty if it is not."""
    muted_until: datetime | None = None
    """When that ends; None if it is not muted, or the end is too far away to be known."""
    silenced_by: str = ""
    """Who silenced all of its firing alerts in Alertmanager, or `INHIBITION`; empty if they are not silenced."""
    silence_comment: str = ""
    """Why: the comment of the silence, or the names of the alerts that inhibit them."""
    silenced_until: datetime | None = None
    """When the silence ends; None while unknown, as for an inhibition."""
    silence_seen_at: datetime | None = None
    """When Alertmanager last answered that they are silenced."""
    silence_notified_at: datetime | None = None
    """When those who were paged were last notified of a silence."""
    released_at: datetime | None = None
    """When a step was last taken because a silence had ended."""
    listed: frozenset[str] = frozenset()
    """The keys of the alerts that Alertmanager has listed."""
    listed_by: frozenset[str] = frozenset()
    """The members of Alertmanager that have listed some of them."""
    listed_at: datetime | None = None
    """A time at which each of `listed_by` ran: one that was started later may have lost what it knew."""
    gone_since: datetime | None = None
    """When Alertmanager first answered that it knows none of its alerts."""
    is_step_requested: bool = False
    """Whether a person has asked for the next step: it is taken even if the alerts are silenced."""

    @property
    def is_silenced(self) -> bool:
        """Whether it is open, and all of its firing alerts are silenced or inhibited."""
        return self.state is IncidentState.OPEN and bool(self.silenced_by)

    @property
    def shown_state(self) -> ShownState:
        """Its state, for people."""
        return ShownState.SILENCED if self.is_silenced else ShownState(self.state)

    @property
    def next_step_at(self) -> datetime | None:
        """When its next step comes; None if nobody is to be paged, or its mute or silence has no known end."""
        if self.state is not IncidentState.OPEN:
            return None
        if self.is_silenced and not self.is_step_requested:
            return self.silenced_until
        return self.muted_until if self.muted_by else self.due_at

    @property
    def holder(self) -> str | None:
        """Who has it; None if nobody does."""
        return self.acknowledged_by if self.state is IncidentState.ACKNOWLEDGED else None


INHIBITION = "inhibition"
"""Stands for who silenced an incident whose alerts are inhibited."""


class Reason(StrEnum):
    """Why an incident changed: a webhook, the passing of time, or an action of people."""

    OPENED = "opened"
    JOINED = "joined"
    """New alerts joined."""
    REPLACED = "replaced"
    """All alerts that somebody acknowledged are over, and others fire."""
    REPEATED = "repeated"
    """The same alerts fire as in the last webhook."""
    SHIFTED = "shifted"
    """Other alerts fire than in the last webhook, but none of them is new."""
    RESOLVED = "resolved"
    NOTHING = "nothing"
    """A resolution of alerts without an open incident."""
    UNMUTED = "heard"  # the value is stored in databases
    """The first page after a mute."""
    ESCALATED = "escalated"
    REOPENED = "reopened"
    """An acknowledgement expired."""
    ACKNOWLEDGED = "acknowledged"
    NEXT = "next"
    """Somebody passed the incident on to the next step."""
    CLOSED = "closed"
    MUTED = "muted"
    """Somebody silenced it by a reply or a button."""
    SILENCED = "silenced"
    """All of its firing alerts are silenced or inhibited in Alertmanager."""
    UNSILENCED = "unsilenced"
    """The first step after a silence or an inhibition ended."""
    NOTED = "noted"
    """Somebody wrote a note; nothing else changed."""


@dataclass(frozen=True, slots=True)
class Event:
    """A change of an incident: the reason, the author (`by`), the means (`via`), and details for people."""

    reason: Reason
    by: str | None = None
    via: str | None = None
    detail: str | None = None


# -- what a webhook means -----------------------------------------------------------------------------------


def classify_webhook(incident: Incident | None, firing: Collection[str], *, is_whole: bool = True) -> Reason:
    """Return the effect on *incident* of a webhook in which the alerts with the keys *firing* fire.

    No other alert of the group fires, unless the webhook is not *whole*: Alertmanager may cut off the rest.
    Two Alertmanagers of a cluster may know of different alerts for a while, so an alert that was known
    once is not new when it shows up again.
    """
    if not firing:
        return Reason.NOTHING if incident is None else Reason.RESOLVED
    if incident is None:
        return Reason.OPENED
    if not incident.alerts.issuperset(firing):
        is_other = is_whole and incident.alerts and incident.alerts.isdisjoint(firing)
        is_taken = incident.state is IncidentState.ACKNOWLEDGED
        return Reason.REPLACED if is_other and is_taken else Reason.JOINED
    return Reason.REPEATED if incident.firing == firing else Reason.SHIFTED


# -- escalation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A step: who is notified, *after* the step before, and whether they are also called."""

    after: timedelta
    notify: tuple[str, ...]
    call: bool = False


@dataclass(frozen=True, slots=True)
class Policy:
    """The steps of a receiver, and how often they start over. The first step is taken at once."""

    steps: tuple[Step, ...]
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class StepOutcome(Generic[T]):
    """The outcome of a step: its recipients, the step that comes next, and when. *due_at* is None after the last."""

    recipients: tuple[T, ...]
    step: int
    round: int
    due_at: datetime | None
    is_fallback: bool = False
    """Whether nobody is on call, and others are paged in their place."""
    is_called: bool = False
    """Whether the recipients are also called."""


def _following(policy: Policy, step: int, round_: int, now: datetime) -> tuple[int, int, datetime | None]:
    if step + 1 < len(policy.steps):
        return step + 1, round_, now + policy.steps[step + 1].after
    if round_ < policy.repeat:
        return 0, round_ + 1, now + policy.steps[-1].after
    return step + 1, round_, None


def next_step(
    policy: Policy, step: int, round_: int, now: datetime, resolve: Callable[[Sequence[str]], tuple[T, ...]]
) -> StepOutcome[T]:
    """Return the outcome of taking *step* in *round_*.

    *resolve* returns the recipients that have these names now. A step without recipients, because its schedules have
    gaps, is skipped for the next one at once, into the next round if need be. If no step has recipients,
    ``recipients`` is empty and the steps continue on time.
    """
    step = min(step, len(policy.steps) - 1)
    first = _following(policy, step, round_, now)
    number = step
    for _ in policy.steps:
        found = resolve(policy.steps[number].notify)
        following_step, following_round, due_at = _following(policy, number, round_, now)
        if found:
            is_called = policy.steps[number].call
            return StepOutcome(tuple(found), following_step, following_round, due_at, is_called=is_called)
        if due_at is None:
            break
        number, round_ = following_step, following_round
    return StepOutcome((), *first)


def escalated(incident: Incident, outcome: StepOutcome[T]) -> Incident:
    """Return *incident* after a step with that *outcome*."""
    return replace(
        incident,
        state=IncidentState.OPEN,
        step=outcome.step,
        round=outcome.round,
        steps_taken=incident.steps_taken + 1,
        due_at=outcome.due_at,
        muted_by="",
        muted_until=None,
        is_step_requested=False,
    )


# -- people -------------------------------------------------------------------------------------------------


def acknowledged(
    incident: Incident, by: str, via: str, now: datetime, reopen_after: timedelta | None
) -> Incident:
    """Return *incident* acknowledged by *by*, until it is resolved or *reopen_after* has passed."""
    return replace(
        incident,
        state=IncidentState.ACKNOWLEDGED,
        acknowledged_by=by,
        acknowledged_via=via,
        acknowledged_at=now,
        is_step_requested=False,
        due_at=None if reopen_after is None else now + reopen_after,
    )


def reopened(incident: Incident) -> Incident:
    """Return *incident* after its acknowledgement expired: it is open, and the steps start over."""
    return replace(
        incident,
        state=IncidentState.OPEN,
        acknowledged_by=None,
        acknowledged_via=None,
        acknowledged_at=None,
        step=0,
        round=0,
    )


def resolved(incident: Incident, now: datetime) -> Incident:
    """Return *incident* after all of its alerts are over."""
    return replace(
        unsilenced(incident),
        state=IncidentState.RESOLVED,
        resolved_at=now,
        due_at=None,
        unmute_at=None,
        gone_since=None,
        is_step_requested=False,
    )


def unsilenced(incident: Incident) -> Incident:
    """Return *incident* without a silence."""
    return replace(incident, silenced_by="", silence_comment="", silenced_until=None, silence_seen_at=None)


MAX_NUMBERS = 999
"""Numbers go round after this one, since people type them; while more are open, they go higher."""


def next_number(last: int, in_use: Collection[int]) -> int:
    """Return the number for a new incident: the one after *last*, but for those *in_use*."""
    limit = MAX_NUMBERS
    while len(in_use) >= limit:
        limit = limit * 10 + 9
    number = last
    while True:
        number = number + 1 if number < limit else 1
        if number not in in_use:
            return number
