"""Making silences in Alertmanager, over its API (v2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import requests

from notifier.alertmanager.api import AlertmanagerApi

_MAX_SILENCES = 10
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
"""Characters with a meaning in Go's regular expressions (``regexp.QuoteMeta``)."""


class SilenceRefused(Exception):
    """No silence was made; the text gives the reason, for the person who asked for it."""


def matchers_of(alerts: Sequence[Mapping[str, str]]) -> list[list[dict[str, Any]]]:
    """Return the matchers of silences that match exactly the alerts with these labels.

    One silence does where the alerts differ in one label at most; else each alert has one of its own.

    Raises:
        SilenceRefused: there are none, or too many that differ in too much.
    """
    names = sorted({name for labels in alerts for name in labels})
    if not names:
        raise SilenceRefused("its alerts have no labels")
    values = {name: sorted({labels.get(name, "") for labels in alerts}) for name in names}
    if sum(len(found) > 1 for found in values.values()) <= 1:
        return [[_matcher(name, *values[name]) for name in names]]
    if len(alerts) > _MAX_SILENCES:
        raise SilenceRefused(f"its {len(alerts)} alerts differ in more than one label")
    return [[_matcher(name, value) for name, value in sorted(labels.items())] for labels in alerts]


def _matcher(name: str, *values: str) -> dict[str, Any]:
    """Return the matcher of a label that has one of *values*; none is an empty one, as in Alertmanager."""
    if len(values) == 1:
        return {"name": name, "value": values[0], "isRegex": False, "isEqual": True}
    pattern = "|".join(_SPECIAL.sub(r"\\\1", value) for value in values)
    return {"name": name, "value": pattern, "isRegex": True, "isEqual": True}


def make_silences(
    members: Sequence[AlertmanagerApi],
    alerts: Sequence[Mapping[str, str]],
    duration: timedelta,
    by: str,
    comment: str,
    now: datetime,
) -> str:
    """Silence exactly the alerts with these labels for *duration* from *now*, with *by* as author.

    The first of *members* that can be reached makes them, and tells the others. Returns the ids of the silences, with
    spaces between.

    Raises:
        SilenceRefused: they cannot be matched exactly, or no member can be reached, or Alertmanager refuses.
    """
    wanted = [
        {
            "matchers": matchers,
            "startsAt": now.isoformat(),
            "endsAt": (now + duration).isoformat(),
            "createdBy": by,
            "comment": comment,
        }
        for matchers in matchers_of(alerts)
    ]
    for member in members:
        try:
            return _make_all(member, wanted)
        except _Unreachable:
            continue
    raise SilenceRefused("Alertmanager cannot be reached")


def end_silences(members: Sequence[AlertmanagerApi], made: str) -> bool:
    """End the silences with these ids, as `make_silences` returns them; return whether all were ended."""
    return all(any(_expire(member, silence) for member in members) for silence in made.split())


class _Unreachable(Exception):
    """A member gave no answer; it may have made the silence."""


def _make_all(member: AlertmanagerApi, wanted: Sequence[Mapping[str, Any]]) -> str:
    """Make the silences *wanted*; if one fails, end those made before it."""
    made: list[str] = []
    try:
        for silence in wanted:
            made.append(_make(member, silence))  # noqa: PERF401 (kept if one fails)
    except (SilenceRefused, _Unreachable) as refusal:
        if left := [silence for silence in made if not _expire(member, silence)]:
            reason = "Alertmanager cannot be reached" if isinstance(refusal, _Unreachable) else refusal
            raise SilenceRefused(
                f"{reason}; these silences were made and could not be ended: {' '.join(left)}"
            ) from None
        raise
    return " ".join(made)


def _expire(member: AlertmanagerApi, silence: str) -> bool:
    """End a silence; return whether it was."""
    try:
        return member.call("DELETE", f"silence/{silence}").ok
    except requests.RequestException:
        return False


def _make(member: AlertmanagerApi, silence: Mapping[str, Any]) -> str:
    try:
        answer = member.call("POST", "silences", json=silence)
    except requests.RequestException:
        raise _Unreachable from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.ok and isinstance(body, dict) and isinstance(body.get("silenceID"), str):
        return str(body["silenceID"])
    reason = body if isinstance(body, str) else f"it answers {answer.status_code}"
    raise SilenceRefused(f"Alertmanager refuses: {reason[:80]}")
