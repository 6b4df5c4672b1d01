"""Fallbacks: which messages go through a second channel as well, and when a failed one is tried again."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from notifier.delivery.message import FAILED, UNDER_WAY
from notifier.incidents.lifecycle import PAGING, IncidentState, Kind

_FIRST_RETRY = timedelta(seconds=10)
LONGEST_RETRY = timedelta(minutes=5)


class FallbackState(StrEnum):
    """The state of a message on its second channel."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"
    """It was given up."""
    WITHDRAWN = "withdrawn"
    """It was not needed any more."""


def is_needed(kind: str, state: str, incident_state: str | None, *, is_silenced: bool) -> bool:
    """Return whether a message still has to reach somebody by the second channel.

    Args:
        kind: its purpose, a `Kind`.
        state: its `MessageState`: OVHcloud has not accepted it, or could not deliver it.
        incident_state: the `IncidentState` of its incident; None without one.
        is_silenced: whether that is silenced in Alertmanager.
    """
    if kind == Kind.NOTICE and incident_state is None:
        return True  # to an administrator, who gets it in both ways
    if kind == Kind.ANSWER or state not in (*UNDER_WAY, *FAILED):
        return False
    if kind in PAGING and (incident_state == IncidentState.RESOLVED or is_silenced):
        return False
    return not (kind in (Kind.PAGE, Kind.REMINDER) and incident_state == IncidentState.ACKNOWLEDGED)


def retry_after(attempts: int) -> timedelta:
    """Return how long to wait after so many failed *attempts*, at least one."""
    return min(_FIRST_RETRY * (1 << min(attempts - 1, 8)), LONGEST_RETRY)
