"""What Alertmanager's answers mean for an incident: its alerts fire, are silenced or inhibited, or are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.alertmanager.api import MemberAnswer, Silence
from notifier.incidents.lifecycle import INHIBITION, Incident, IncidentState, unsilenced

GONE_FOR = timedelta(minutes=1)
"""How far apart two answers must be that no longer know the alerts of an incident, for it to be resolved."""
KNOWS_ALL_AFTER = timedelta(hours=1)
"""How long a member must have run since a restart until the absence of an alert counts.

It learns of alerts as Prometheus sends them again: every ``--rules.alert.resend-delay`` (1m), or at each evaluation of
the rule if that is rarer.
"""
_HELD_FOR = 3
"""The number of intervals after which the escalator asks about a silenced incident, if the regular check does not."""
_BELIEVED_FOR = timedelta(minutes=5)
_RELEASE_INTERVAL = timedelta(minutes=10)
"""The shortest time between two steps that are due because a silence ended: inhibitions may flap."""
_LONGEST = 200
"""The number of characters of names and comments that are kept."""


class Standing(StrEnum):
    """The state of the alerts of an incident in Alertmanager."""

    FIRING = "firing"
    """At least one of them fires, and is neither silenced nor inhibited."""
    SUPPRESSED = "suppressed"
    """Those that fire are silenced or inhibited."""
    GONE = "gone"
    """No member that answered knows any of them."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The state of the alerts, and by which silences (ids) and alerts (fingerprints) they are suppressed."""

    standing: Standing
    silences: tuple[tuple[str, ...], ...] = ()
    """The ids for each silenced alert: it is silenced until the last of its silences ends."""
    inhibited_by: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    """The keys of the alerts that a member lists."""
    listed_by: Mapping[str, datetime] = field(default_factory=dict)
    """The ids of those members, and when each was started."""


def judge(
    incident: Incident, alerts: Mapping[str, str], answers: Sequence[MemberAnswer], now: datetime
) -> Judgement:
    """Return the state of the firing alerts of *incident*, given as fingerprints by key, at *now*.

    Where members differ, an alert fires if one of them would notify of it, as Alertmanager itself does. An alert that
    no member lists is over if it was listed before, by a member that answers now and has run since, or for
    `KNOWS_ALL_AFTER`. Otherwise its state is unknown.
    """
    if not answers or not alerts:
        return Judgement(Standing.UNKNOWN)
    known = {
        key: [one.alerts[print_] for one in answers if print_ in one.alerts] for key, print_ in alerts.items()
    }
    statuses = [status for found in known.values() for status in found]
    by = {
        one.id: one.started_at for one in answers if any(print_ in one.alerts for print_ in alerts.values())
    }
    judgement = Judgement(
        Standing.UNKNOWN, listed=frozenset(key for key, found in known.items() if found), listed_by=by
    )
    if any(not status.is_suppressed for status in statuses):
        return replace(judgement, standing=Standing.FIRING)
    is_absence_known = any(_knows_all(one, incident, now) for one in answers)
    absent = {key for key, found in known.items() if not found}
    if absent and not (is_absence_known and absent <= incident.listed):
        return judgement
    if not statuses:
        return replace(judgement, standing=Standing.GONE)
    return replace(
        judgement,
        standing=Standing.SUPPRESSED,
        silences=tuple(dict.fromkeys(status.silences for status in statuses if status.silences)),
        inhibited_by=frozenset().union(*(status.inhibited_by for status in statuses)),
    )


def _knows_all(answer: MemberAnswer, incident: Incident, now: datetime) -> bool:
    """Return whether *answer* is of a member that would list the alerts of *incident* if they still fired."""
    if answer.id not in incident.listed_by or incident.listed_at is None:
        return False
    return answer.started_at <= incident.listed_at or now - answer.started_at >= KNOWS_ALL_AFTER


def described(
    judgement: Judgement, silences: Mapping[str, Silence], names: Mapping[str, str]
) -> tuple[str, str, datetime | None]:
    """Return who silenced the alerts of *judgement*, why, and until when, as far as it is known.

    Args:
        judgement: one that is `Standing.SUPPRESSED`.
        silences: the silences that are known, by id.
        names: the names of the inhibiting alerts that are known, by fingerprint.
    """
    if not judgement.silences:
        found = sorted({names[source] for source in judgement.inhibited_by if source in names})
        return INHIBITION, f"inhibited by {', '.join(found)[:_LONGEST]}" if found else "", None
    known = [[silences[id_] for id_ in ids if id_ in silences] for ids in judgement.silences]
    used = [silence for some in known for silence in some]
    ends = [max(silence.ends_at for silence in some) for some in known if some]
    by = ", ".join(dict.fromkeys(filter(None, (_line(silence.created_by) for silence in used))))
    comment = "; ".join(dict.fromkeys(filter(None, (_line(silence.comment) for silence in used))))
    return by[:_LONGEST], comment[:_LONGEST], min(ends) if len(ends) == len(known) else None


def _line(text: str) -> str:
    """Return *text* of strangers in one line, without characters that cannot be printed."""
    return " ".join("".join(one if one.isprintable() else " " for one in text[:_LONGEST]).split())


class Verdict(StrEnum):
    """The effect of Alertmanager's answer on an incident."""

    NONE = "none"
    SILENCED = "silenced"
    """Its alerts are silenced or inhibited now."""
    HELD = "held"
    """Its next step waits."""
    RELEASED = "released"
    """Its silence has ended while alerts fire: the next step is due."""
    LOST = "lost"
    """It is not known any more whether its alerts are silenced: it goes on as without Alertmanager."""
    RESOLVED = "resolved"
    """Its alerts are gone."""


def is_believed(incident: Incident, now: datetime, check_interval: timedelta) -> bool:
    """Return whether *incident* counts as silenced although no member answers: it was a moment ago."""
    seen = incident.silence_seen_at
    if seen is None or (incident.silenced_until is not None and incident.silenced_until <= now):
        return False
    return now - seen < min(2 * check_interval, _BELIEVED_FOR)


def follow(
    incident: Incident,
    judgement: Judgement,
    now: datetime,
    check_interval: timedelta,
    *,
    is_answered: bool = True,
) -> tuple[Verdict, Incident]:
    """Return the effect of *judgement* on *incident*, and the incident after it.

    A step that is due while its alerts are suppressed or seem to be gone waits, unless a person has asked for it. The
    regular check lets it wait on; if that does not come, the escalator asks again. *is_answered* is whether a member
    has answered at all.
    """
    after = _listed(incident, judgement, now)
    is_due = incident.due_at is not None and incident.due_at <= now and not incident.is_step_requested
    match judgement.standing:
        case Standing.UNKNOWN if not incident.silenced_by:
            return Verdict.NONE, after
        case Standing.UNKNOWN if not is_answered and is_believed(incident, now, check_interval):
            again = replace(after, due_at=_hold(incident, now, check_interval)) if is_due else after
            return Verdict.HELD if is_due else Verdict.NONE, again
        case Standing.UNKNOWN:
            lost = unsilenced(after)
            is_later = lost.due_at is not None and lost.due_at > now + _HELD_FOR * check_interval
            return Verdict.LOST, lost if is_later else _with_step_due(lost, now)
        case Standing.FIRING:
            after = replace(after, gone_since=None)
            return (
                (Verdict.RELEASED, _released(after, now)) if incident.silenced_by else (Verdict.NONE, after)
            )
        case Standing.SUPPRESSED:
            is_soon = incident.due_at is not None and incident.due_at <= now + check_interval
            after = replace(after, gone_since=None, silence_seen_at=now)
            if is_soon and not incident.is_step_requested:
                after = replace(after, due_at=_hold(incident, now, check_interval))
            if not incident.silenced_by:
                return Verdict.SILENCED, after
            return Verdict.HELD if is_due else Verdict.NONE, after
        case Standing.GONE:
            since = min(incident.gone_since or now, now)  # a clock may have been set back
            if now - since >= GONE_FOR:
                return Verdict.RESOLVED, after
            again_at = min(since + GONE_FOR, now + check_interval)
            after = replace(after, gone_since=since, due_at=again_at if is_due else after.due_at)
            return Verdict.HELD if is_due else Verdict.NONE, after


def _listed(incident: Incident, judgement: Judgement, now: datetime) -> Incident:
    """Return *incident* with the alerts that members list, and those members.

    If one of them was started after `listed_at`, that time moves, and only the members that list alerts now are kept:
    others may have been restarted, too, and have listed nothing since.
    """
    if not judgement.listed:
        return incident
    is_newer = incident.listed_at is None or any(
        started > incident.listed_at for started in judgement.listed_by.values()
    )
    return replace(
        incident,
        listed=incident.listed | judgement.listed,
        listed_by=frozenset(judgement.listed_by) | (frozenset() if is_newer else incident.listed_by),
        listed_at=now if is_newer else incident.listed_at,
    )


def _hold(incident: Incident, now: datetime, check_interval: timedelta) -> datetime:
    """Return when a step is due that waits for the end of a silence, if the regular check does not come."""
    until, late = incident.silenced_until, now + _HELD_FOR * check_interval
    return min(until, late) if until is not None and until > now else late


def _released(incident: Incident, now: datetime) -> Incident:
    """Return *incident* after its silence has ended: if nobody has it, its next step, or the last again, is due.

    It keeps the silence until the step is taken, whose text then tells of it.
    """
    if incident.state is not IncidentState.OPEN or incident.is_step_requested:
        return unsilenced(incident)
    soonest = now if incident.released_at is None else incident.released_at + _RELEASE_INTERVAL
    if soonest > now:  # an inhibition flaps
        return _with_step_due(unsilenced(incident), soonest)
    return _with_step_due(incident, now)


def _with_step_due(incident: Incident, at: datetime) -> Incident:
    """Return *incident* with a step due *at* the latest, if nobody has it: the next one, or the last one again."""
    if incident.state is not IncidentState.OPEN:
        return incident
    if incident.due_at is not None:
        return replace(incident, due_at=min(incident.due_at, at))
    return replace(incident, due_at=at, step=max(0, incident.step - 1))
