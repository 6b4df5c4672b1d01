"""Alertmanager's API (v2): its members, and what they know about alerts and silences.

Sources: ``api/v2/openapi.yaml`` and ``cluster/cluster.go`` of prometheus/alertmanager. Alerts are not exchanged between
the members of a cluster: each knows those that Prometheus has sent to it since it started. Silences are exchanged.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any

import requests
from pydantic import AfterValidator, AliasPath, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from notifier.alertmanager.matchers import quoted
from notifier.clock import clamp
from notifier.http_client import call, limit

_MAX_ANSWER = 8 * 1024 * 1024
_SILENCE_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""Names that Alertmanager's classic and new matchers read alike."""
_LONGEST_FILTER = 2000
MAX_FILTERS = 4
"""Beyond this number of groups, one call for all alerts is cheaper."""

Instant = Annotated[datetime, AfterValidator(clamp)]


@dataclass(frozen=True, slots=True)
class AlertmanagerApi:
    """A member of a cluster: its URL, the further arguments of `requests`, and the time-out of a call."""

    url: str
    seconds: float
    how: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def id(self) -> str:
        """Identifies the member in the database, without its credentials."""
        return blake2b(self.url.rpartition("@")[2].encode(), digest_size=6).hexdigest()

    def call(self, method: str, path: str, **how: Any) -> requests.Response:
        """Return the answer to one call.

        Raises:
            requests.RequestException: there is none.
        """
        url = f"{self.url}/api/v2/{path}"
        return call(method, url, seconds=self.seconds, max_bytes=_MAX_ANSWER, **{**self.how, **how})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class _Status(_Model):
    uptime: Instant
    cluster: str = Field(validation_alias=AliasPath("cluster", "status"))


class AlertStatus(_Model):
    """The status of an alert: the ids of its silences, and the fingerprints of the alerts that inhibit it."""

    silences: tuple[str, ...] = Field(alias="silencedBy")
    inhibited_by: tuple[str, ...] = Field(alias="inhibitedBy")

    @property
    def is_suppressed(self) -> bool:
        """Whether Alertmanager notifies nobody of it."""
        return bool(self.silences or self.inhibited_by)


class _Alert(_Model):
    fingerprint: str
    status: AlertStatus
    labels: dict[str, str]


class Silence(_Model):
    """A silence: who made it, why, and until when."""

    created_by: str = Field(alias="createdBy")
    comment: str
    ends_at: Instant = Field(alias="endsAt")


_ALERTS = TypeAdapter(list[_Alert])


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """The alerts that a member lists, by their fingerprints, and when it started."""

    member: AlertmanagerApi
    started_at: datetime
    alerts: Mapping[str, AlertStatus]

    @property
    def id(self) -> str:
        """Identifies the member."""
        return self.member.id


class AskFailed(Exception):
    """A member did not answer, or its answer cannot be used; the text is the reason, without secrets."""


class _Refused(AskFailed):
    """It answered with an error; *status* is its code."""

    def __init__(self, status: int) -> None:
        super().__init__(f"it answers {status}")
        self.status = status


def ask(
    members: Sequence[AlertmanagerApi],
    groups: Collection[Mapping[str, str]],
    seconds: float,
    grace: float | None = None,
) -> tuple[list[MemberAnswer], dict[str, str]]:
    """Ask all *members* at once about the alerts with the labels of *groups*; wait at most *seconds* in all.

    Once a member has answered, the others have *grace* seconds more. Returns the answers, and why the other members
    gave none, by their URLs.
    """
    pool = ThreadPoolExecutor(max(1, len(members)), thread_name_prefix="alertmanager")
    asked = {pool.submit(_ask_member, one, groups, seconds): one for one in members}
    answers: list[MemberAnswer] = []
    problems: dict[str, str] = {}
    waiting, end = set(asked), time.monotonic() + seconds
    while waiting and (left := end - time.monotonic()) > 0:
        done, waiting = wait(waiting, timeout=left, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                answers.append(future.result())
            except AskFailed as failure:
                problems[asked[future].url] = str(failure)
            except Exception as error:  # a setting that requests cannot use
                problems[asked[future].url] = f"{type(error).__name__}: it cannot be called as configured"
        if answers and grace is not None:
            end = min(end, time.monotonic() + grace)
    pool.shutdown(wait=False)
    problems |= {asked[future].url: "it does not answer in time" for future in waiting}
    return answers, problems


def _ask_member(
    member: AlertmanagerApi, groups: Collection[Mapping[str, str]], seconds: float
) -> MemberAnswer:
    """Ask *member* for its status and its alerts over one connection, so that both are those of one process."""
    with requests.Session() as session:
        limit(session, seconds, _MAX_ANSWER)
        status: _Status = _get(session, member, "status", _Status.model_validate_json, seconds)
        if status.cluster not in ("ready", "disabled"):
            raise AskFailed(f"it has just started (its cluster is {status.cluster[:20]})")
        found: list[_Alert] = []
        try:
            for filters in _filters(groups):
                found += _get(session, member, "alerts", _ALERTS.validate_json, seconds, params=filters)
        except _Refused as refusal:
            if refusal.status not in (400, 414):
                raise
            found = _get(session, member, "alerts", _ALERTS.validate_json, seconds)
    return MemberAnswer(member, status.uptime, {one.fingerprint: one.status for one in found})


def _filters(groups: Collection[Mapping[str, str]]) -> list[dict[str, list[str]]]:
    """Return the parameters of the calls that return the alerts of *groups*: one call for each, or one for all."""
    written = [[f"{name}={quoted(value)}" for name, value in sorted(labels.items())] for labels in groups]
    is_plain = all(_LABEL_NAME.fullmatch(name) for labels in groups for name in labels)
    is_short = all(filters and sum(map(len, filters)) <= _LONGEST_FILTER for filters in written)
    if len(written) > MAX_FILTERS or not is_plain or not is_short:
        return [{}]
    return [{"filter": filters} for filters in written]


def silences(member: AlertmanagerApi, ids: Collection[str], seconds: float) -> dict[str, Silence]:
    """Return the silences of these *ids*, as far as *member* returns them within *seconds*."""
    found: dict[str, Silence] = {}
    end = time.monotonic() + seconds
    with requests.Session() as session:
        limit(session, max(seconds, 0.1), _MAX_ANSWER)
        for id_ in ids:
            left = end - time.monotonic()
            if left > 0 and _SILENCE_ID.fullmatch(id_):
                with contextlib.suppress(AskFailed):
                    found[id_] = _get(session, member, f"silence/{id_}", Silence.model_validate_json, left)
    return found


def alert_names(member: AlertmanagerApi, fingerprints: Collection[str], seconds: float) -> dict[str, str]:
    """Return the names of the alerts with these *fingerprints*, as far as *member* returns them within *seconds*."""
    try:
        with requests.Session() as session:
            limit(session, max(seconds, 0.1), _MAX_ANSWER)
            found: list[_Alert] = _get(session, member, "alerts", _ALERTS.validate_json, seconds)
    except AskFailed:
        return {}
    return {
        one.fingerprint: one.labels["alertname"]
        for one in found
        if one.fingerprint in fingerprints and one.labels.get("alertname")
    }


def _get(
    session: requests.Session,
    member: AlertmanagerApi,
    path: str,
    model: Callable[[bytes], Any],
    seconds: float,
    **how: Any,
) -> Any:
    try:
        url = f"{member.url}/api/v2/{path}"
        answer = session.get(url, timeout=(min(seconds, 5.0), seconds), **{**member.how, **how})
    except requests.RequestException as error:
        raise AskFailed(_reason(error)) from None
    if answer.status_code != 200:
        raise _Refused(answer.status_code)
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
