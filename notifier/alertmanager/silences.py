"""Making silences in Alertmanager, over its API (v2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests

from notifier.http_client import call

_MOST_SILENCES = 10
_SPECIAL = re.compile(r"([\\.+*?()|\[\]{}^$])")
"""Characters with a meaning in Go's regular expressions (``regexp.QuoteMeta``)."""


@dataclass(frozen=True, slots=True)
class AlertmanagerApi:
    """Where Alertmanager answers, the token that it wants, and the time-out of a call."""

    url: str
    token: str | None
    timeout: timedelta

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a call."""
        return {"Authorization": f"Bearer {self.token}"} if self.token is not None else {}


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
    if len(alerts) > _MOST_SILENCES:
        raise SilenceRefused(f"its {len(alerts)} alerts differ in more than one label")
    return [[_matcher(name, value) for name, value in sorted(labels.items())] for labels in alerts]


def _matcher(name: str, *values: str) -> dict[str, Any]:
    """Return the matcher of a label that has one of *values*; none is an empty one, as in Alertmanager."""
    if len(values) == 1:
        return {"name": name, "value": values[0], "isRegex": False, "isEqual": True}
    pattern = "|".join(_SPECIAL.sub(r"\\\1", value) for value in values)
    return {"name": name, "value": pattern, "isRegex": True, "isEqual": True}


def make_silences(
    api: AlertmanagerApi,
    alerts: Sequence[Mapping[str, str]],
    duration: timedelta,
    by: str,
    comment: str,
    now: datetime,
) -> str:
    """Silence exactly the alerts with these labels for *duration* from *now*, with *by* as author.

    Returns the ids of the silences, with spaces between.

    Raises:
        SilenceRefused: they cannot be matched exactly, or Alertmanager cannot be reached or refuses.
    """
    made: list[str] = []
    try:
        for matchers in matchers_of(alerts):
            made.append(_make(api, matchers, duration, by, comment, now))  # noqa: PERF401 (kept if one fails)
    except SilenceRefused as refusal:
        if left := [silence for silence in made if not _expire(api, silence)]:
            raise SilenceRefused(f"{refusal}; in force is {' '.join(left)}") from None
        raise
    return " ".join(made)


def _expire(api: AlertmanagerApi, silence: str) -> bool:
    """End a silence; return whether it was."""
    url = f"{api.url}/api/v2/silence/{silence}"
    try:
        return call("DELETE", url, seconds=api.timeout.total_seconds(), headers=api.headers).ok
    except requests.RequestException:
        return False


def _make(
    api: AlertmanagerApi,
    matchers: Sequence[Mapping[str, Any]],
    duration: timedelta,
    by: str,
    comment: str,
    now: datetime,
) -> str:
    silence: dict[str, Any] = {
        "matchers": list(matchers),
        "startsAt": now.isoformat(),
        "endsAt": (now + duration).isoformat(),
        "createdBy": by,
        "comment": comment,
    }
    timeout = api.timeout.total_seconds()
    try:
        url = f"{api.url}/api/v2/silences"
        answer = call("POST", url, seconds=timeout, json=silence, headers=api.headers)
    except requests.RequestException:
        raise SilenceRefused("Alertmanager cannot be reached") from None
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.ok and isinstance(body, dict) and isinstance(body.get("silenceID"), str):
        return str(body["silenceID"])
    reason = body if isinstance(body, str) else f"it answers {answer.status_code}"
    raise SilenceRefused(f"Alertmanager refuses: {reason[:80]}")
