"""What Alertmanager's answers mean for an incident: its alerts fire, are silenced or inhibited, or are gone."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.alertmanager.api import MemberAnswer, Silence
from notifier.incidents.lifecycle import INHIBITION, Incident, IncidentState, unsilenced

GONE_FOR = timedelta(minutes=1)
"""How far apart two answers must be that no longer know the alerts of an incident, for it to be resolved."""
KNOWS_ALL_AFTER = timedelta(minutes=15)
"""How long a member must have run until the absence of an alert counts.

After a restart it learns of alerts as Prometheus sends them again: every ``--rules.alert.resend-delay`` (1m), or at
each evaluation of the rule if that is rarer.
"""

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
    """The state of the alerts, and by which silences (ids) and alerts (fingerprints) they are suppressed.

    *is_listed* is whether a member knows one of them.
    """

    standing: Standing
    silences: tuple[tuple[str, ...], ...] = ()
    """The ids for each silenced alert: it is silenced until the last of its silences ends."""
    inhibited_by: frozenset[str] = frozenset()
    is_listed: bool = False


def judge(fingerprints: Collection[str], answers: Sequence[MemberAnswer], now: datetime) -> Judgement:
    """Return the state of the alerts with these *fingerprints*, the firing ones of an incident, at *now*.

    Where members differ, an alert fires if one of them would notify of it, as Alertmanager itself does. An alert that
    no member knows is over if one of them has run for `KNOWS_ALL_AFTER`; else its state is unknown.
    """
    if not answers or not fingerprints:
        return Judgement(Standing.UNKNOWN)
    known = {
        fingerprint: [one.alerts[fingerprint] for one in answers if fingerprint in one.alerts]
        for fingerprint in fingerprints
    }
    is_listed = any(known.values())
    if any(not status.is_suppressed for found in known.values() for status in found):
        return Judgement(Standing.FIRING, is_listed=True)
    if not all(known.values()) and not any(now - one.started_at >= KNOWS_ALL_AFTER for one in answers):
        return Judgement(Standing.UNKNOWN, is_listed=is_listed)
    if not is_listed:
        return Judgement(Standing.GONE)
    statuses = [status for found in known.values() for status in found]
    return Judgement(
        Standing.SUPPRESSED,
        tuple(dict.fromkeys(status.silences for status in statuses if status.silences)),
        frozenset().union(*(status.inhibited_by for status in statuses)),
        is_listed=True,
    )


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


class Move(StrEnum):
    """What an answer does to an incident."""

    NONE = "none"
    SILENCED = "silenced"
    """Its alerts are silenced or inhibited now."""
    HELD = "held"
    """Nothing has changed, and its next step waits."""
    RELEASED = "released"
    """Its silence has ended while alerts fire: the next step is due."""
    RESOLVED = "resolved"
    """Its alerts are gone."""


def follow(
    incident: Incident, judgement: Judgement, now: datetime, check_interval: timedelta
) -> tuple[Move, Incident]:
    """Return the effect of *judgement* on *incident*, and the incident after it.

    A step that is due while its alerts are suppressed or seem to be gone waits for the next answer, *check_interval*
    later at most, unless a person has asked for it.
    """
    after = replace(incident, is_listed=incident.is_listed or judgement.is_listed)
    is_due = incident.due_at is not None and incident.due_at <= now and not incident.is_step_requested
    match judgement.standing:
        case Standing.UNKNOWN:
            return Move.NONE, after
        case Standing.FIRING:
            after = replace(after, gone_since=None)
            if not incident.silenced_by:
                return Move.NONE, after
            return Move.RELEASED, _released(after, now)
        case Standing.SUPPRESSED:
            after = replace(after, gone_since=None, due_at=now + check_interval if is_due else after.due_at)
            if not incident.silenced_by:
                return Move.SILENCED, after
            return Move.HELD if is_due else Move.NONE, after
        case Standing.GONE:
            if not incident.is_listed:  # it may not be one of this Alertmanager
                return Move.NONE, after
            since = incident.gone_since or now
            if now - since >= GONE_FOR:
                return Move.RESOLVED, after
            again = min(since + GONE_FOR, now + check_interval)
            after = replace(after, gone_since=since, due_at=again if is_due else after.due_at)
            return Move.HELD if is_due else Move.NONE, after


def _released(incident: Incident, now: datetime) -> Incident:
    """Return *incident* after its silence has ended: if nobody has it, its next step, or the last again, is due."""
    if incident.state is not IncidentState.OPEN:
        return unsilenced(incident)
    is_after_last = incident.due_at is None and incident.step > 0
    return replace(incident, due_at=now, step=incident.step - 1 if is_after_last else incident.step)
