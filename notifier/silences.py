"""Making silences in Alertmanager, over its API (v2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests

from notifier.config import AlertmanagerConfig


class SilenceRefused(Exception):
    """No silence was made; the text says why, for the person who asked for it."""


def make_silence(
    settings: AlertmanagerConfig,
    labels: Mapping[str, str],
    duration: timedelta,
    by: str,
    comment: str,
    now: datetime,
) -> str:
    """Silence the alerts with these *labels* for *duration* from *now*, with *by* as author; return its id.

    Raises:
        SilenceRefused: there are no labels, or Alertmanager cannot be reached or refuses.
    """
    if not labels:
        raise SilenceRefused("its alerts have no label in common")
    token = settings.bearer_token
    headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token is not None else {}
    matchers = [
        {"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in labels.items()
    ]
    silence: dict[str, Any] = {
        "matchers": matchers,
        "startsAt": now.isoformat(),
        "endsAt": (now + duration).isoformat(),
        "createdBy": by,
        "comment": comment,
    }
    timeout = settings.timeout.total_seconds()
    try:
        answer = requests.post(
            f"{settings.url}/api/v2/silences", json=silence, headers=headers, timeout=timeout
        )
    except requests.RequestException:
        raise SilenceRefused("Alertmanager cannot be reached") from None
    try:
        said = answer.json()
    except ValueError:
        said = None
    if answer.ok and isinstance(said, dict) and isinstance(said.get("silenceID"), str):
        return str(said["silenceID"])
    reason = said if isinstance(said, str) else f"it answers {answer.status_code}"
    raise SilenceRefused(f"Alertmanager refuses: {reason[:80]}")
