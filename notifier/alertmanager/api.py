"""Alertmanager's API (v2): its members, and what they know about alerts and silences.

Sources: ``api/v2/openapi.yaml`` and ``cluster/cluster.go`` of prometheus/alertmanager. Alerts are not exchanged between
the members of a cluster: each knows those that Prometheus has sent to it since it started. Silences are exchanged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import requests
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from notifier.clock import clamp
from notifier.http_client import call

_MAX_ANSWER = 16 * 1024 * 1024
_SILENCE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""Names that Alertmanager's classic and new matchers read alike."""
_LONGEST_FILTER = 2000
_MOST_FILTERS = 4
"""Beyond this number of groups, one call for all alerts is cheaper."""

Instant = Annotated[datetime, AfterValidator(clamp)]


@dataclass(frozen=True, slots=True)
class AlertmanagerApi:
    """A member of a cluster: its URL, the further arguments of `requests`, and the time-out of a call."""

    url: str
    seconds: float
    how: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def call(self, method: str, path: str, seconds: float | None = None, **how: Any) -> requests.Response:
        """Return the answer to one call, within *seconds* or the time-out.

        Raises:
            requests.RequestException: there is none.
        """
        return call(
            method,
            f"{self.url}/api/v2/{path}",
            seconds=seconds if seconds is not None else self.seconds,
            max_bytes=_MAX_ANSWER,
            **{**self.how, **how},
        )


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Cluster(_Model):
    status: str


class _Status(_Model):
    uptime: Instant
    cluster: _Cluster


class _AlertState(_Model):
    state: str
    silenced_by: list[str] = Field(alias="silencedBy")
    inhibited_by: list[str] = Field(alias="inhibitedBy")


class _Alert(_Model):
    fingerprint: str
    status: _AlertState
    labels: dict[str, str]


class Silence(_Model):
    """A silence: who made it, why, and until when."""

    created_by: str = Field(alias="createdBy")
    comment: str
    ends_at: Instant = Field(alias="endsAt")


_ALERTS = TypeAdapter(list[_Alert])


@dataclass(frozen=True, slots=True)
class AlertStatus:
    """The status of an alert: the ids of its silences, and the fingerprints of the alerts that inhibit it."""

    silences: tuple[str, ...] = ()
    inhibited_by: tuple[str, ...] = ()

    @property
    def is_suppressed(self) -> bool:
        """Whether Alertmanager notifies nobody of it."""
        return bool(self.silences or self.inhibited_by)


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """The alerts that a member knows, by their fingerprints, and when it started."""

    member: AlertmanagerApi
    started_at: datetime
    alerts: Mapping[str, AlertStatus]


class AskFailed(Exception):
    """A member did not answer, or its answer cannot be used; the text is the reason, without secrets."""


def ask(
    members: Sequence[AlertmanagerApi],
    groups: Collection[Mapping[str, str]],
    seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[list[MemberAnswer], dict[str, str]]:
    """Ask all *members* at once about the alerts with the labels of *groups*; wait at most *seconds* in all.

    Returns the answers, and why the other members gave none, by their URLs.
    """
    deadline = monotonic() + seconds
    answers: list[MemberAnswer] = []
    problems: dict[str, str] = {}
    pool = ThreadPoolExecutor(len(members), thread_name_prefix="alertmanager")
    asked = {pool.submit(_ask_member, one, groups, deadline, monotonic): one for one in members}
    done, late = wait(asked, timeout=seconds)
    pool.shutdown(wait=False)
    for future in done:
        try:
            answers.append(future.result())
        except AskFailed as failure:
            problems[asked[future].url] = str(failure)
    problems |= {asked[future].url: f"no answer within {seconds:g} s" for future in late}
    return answers, problems


def _ask_member(
    member: AlertmanagerApi,
    groups: Collection[Mapping[str, str]],
    deadline: float,
    monotonic: Callable[[], float],
) -> MemberAnswer:
    def get(path: str, model: Callable[[bytes], Any], **how: Any) -> Any:
        return _get(member, path, model, max(0.1, deadline - monotonic()), **how)

    status: _Status = get("status", _Status.model_validate_json)
    if status.cluster.status not in ("ready", "disabled"):
        raise AskFailed(f"it has just started (its cluster is {status.cluster.status[:20]})")
    found: list[_Alert] = []
    for filters in _filters(groups):
        found += get("alerts", _ALERTS.validate_json, params=filters)
    alerts = {
        one.fingerprint: AlertStatus(tuple(one.status.silenced_by), tuple(one.status.inhibited_by))
        for one in found
    }
    return MemberAnswer(member, status.uptime, alerts)


def _filters(groups: Collection[Mapping[str, str]]) -> list[dict[str, list[str]]]:
    """Return the parameters of the calls that return the alerts of *groups*: one call for each, or one for all."""
    quoted = [[f"{name}={_quoted(value)}" for name, value in sorted(labels.items())] for labels in groups]
    is_plain = all(_LABEL_NAME.fullmatch(name) for labels in groups for name in labels)
    is_short = all(filters and sum(map(len, filters)) <= _LONGEST_FILTER for filters in quoted)
    if len(quoted) > _MOST_FILTERS or not is_plain or not is_short:
        return [{}]
    return [{"filter": filters} for filters in quoted]


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def silences(member: AlertmanagerApi, ids: Collection[str], seconds: float) -> dict[str, Silence]:
    """Return the silences of these *ids*, as far as *member* returns them within *seconds*."""
    found: dict[str, Silence] = {}
    end = time.monotonic() + seconds
    for id_ in ids:
        left = end - time.monotonic()
        if left > 0 and _SILENCE_ID.fullmatch(id_):
            try:
                found[id_] = _get(member, f"silence/{id_}", Silence.model_validate_json, left)
            except AskFailed:
                continue
    return found


def alert_names(member: AlertmanagerApi, fingerprints: Collection[str], seconds: float) -> dict[str, str]:
    """Return the names of the alerts with these *fingerprints*, as far as *member* returns them within *seconds*."""
    try:
        found: list[_Alert] = _get(member, "alerts", _ALERTS.validate_json, seconds)
    except AskFailed:
        return {}
    return {
        one.fingerprint: one.labels["alertname"]
        for one in found
        if one.fingerprint in fingerprints and one.labels.get("alertname")
    }


def _get(
    member: AlertmanagerApi, path: str, model: Callable[[bytes], Any], seconds: float, **how: Any
) -> Any:
    try:
        answer = member.call("GET", path, seconds, **how)
    except requests.RequestException as error:
        raise AskFailed(_reason(error)) from None
    if answer.status_code != 200:
        raise AskFailed(f"it answers {answer.status_code}")
    try:
        return model(answer.content)
    except (ValidationError, ValueError, OverflowError):
        raise AskFailed(
            f"its answer to /api/v2/{path.partition('/')[0]} is not one of Alertmanager's"
        ) from None


def _reason(error: requests.RequestException) -> str:
    match error:
        case requests.exceptions.SSLError():
            return "its certificate is not accepted"
        case requests.Timeout():
            return "it does not answer in time"
        case requests.TooManyRedirects():
            return "it redirects; give the URL that it redirects to"
        case requests.ConnectionError():
            return "it cannot be reached"
    return type(error).__name__
