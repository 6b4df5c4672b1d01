"""Moves: incidents whose alerts arrive under another group key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import (
    Incident,
    IncidentState,
)
from notifier.planning.division import ReceiverAlerts


@dataclass(frozen=True, slots=True)
class Move:
    """The changed incidents whose alerts arrive under another group key.

    *incident* goes on under the new key. The *resolved* have no alerts left: all have moved or ended. The *reduced* go
    on without those that have moved.
    """

    incident: Incident | None
    resolved: tuple[Incident, ...] = ()
    reduced: tuple[Incident, ...] = ()


def move(routed: ReceiverAlerts, ended: frozenset[str], others: Iterable[Incident]) -> Move:
    """Return how the open incidents *others* change, some of whose alerts are now in *routed*, of another group.

    The group of an alert changes when ``group_by`` or a route is edited while it fires. An incident moves to the new
    group if *routed* holds all of its firing alerts; else it only loses those alerts. Of several that move, an open one
    goes on rather than one that somebody has acknowledged: a page must not get lost.

    Args:
        routed: the alerts of a webhook for a receiver, for whose key no incident is open.
        ended: the keys of those of its alerts that are resolved.
        others: incidents with some of these alerts.
    """
    arriving = routed.firing or ended
    whole: list[Incident] = []
    partly: list[Incident] = []
    for incident in others:
        is_candidate = incident.receiver == routed.receiver.name and bool(incident.firing & arriving)
        if is_candidate and not incident.group_key.startswith(HEARTBEATS):
            (whole if incident.firing <= arriving else partly).append(incident)
    whole.sort(key=lambda one: (one.state is not IncidentState.OPEN, one.id))
    kept = None
    if whole:
        known = frozenset[str]().union(*(one.alerts for one in whole))
        # `firing` is emptied so that known alerts under the new key count as SHIFTED, not as REPEATED, which reminds.
        kept = replace(whole[0], group_key=routed.group_key, alerts=known, firing=frozenset())
    without = tuple(replace(one, firing=one.firing - arriving) for one in partly)
    return Move(kept, tuple(whole[1:]), without)
