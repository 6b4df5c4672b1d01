"""What can go wrong with a call to OVHcloud, as values that a decision can be made on.

The wrapper raises `ovh.exceptions.APIError` and its kind; `from_exception` returns its meaning for the call: whether
it can have been carried out, the answer, and how long to wait.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import requests
import urllib3
from ovh import exceptions as ovh

from notifier.incidents.links import hide_tokens


class Fate(StrEnum):
    """How far a failed call got."""

    NOT_SENT = "not sent"
    """The call itself was not sent: the network failed, or asking for the time or a token did."""
    LOST = "lost"
    """It was sent, and no answer came that could be read: it may have been carried out."""
    ANSWERED = "answered"
    """OVHcloud, or a proxy before it, answered that it failed."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed. *retry_after* is in seconds, as the answer asked for."""

    fate: Fate
    message: str
    status: int | None = None
    code: str | None = None
    """OVHcloud's ``errorCode``, or failing that its ``class``."""
    query_id: str | None = None
    retry_after: float | None = None
    is_json: bool = True
    is_preparing: bool = False
    """Whether it occurred before the call itself: asking for the time, a token, the account's name."""

    def __str__(self) -> str:
        """Say it in a line, for logs and people."""
        status = None if self.status is None else str(self.status)
        answered = " ".join(filter(None, (status, self.code)))
        query = f" (query {self.query_id})" if self.query_id else ""
        return f"{answered + ': ' if answered else ''}{self.message}{query}"


class CallFailed(Exception):
    """A call failed; *failure* says how far it got and why it failed."""

    def __init__(self, failure: Failure) -> None:
        """Carry *failure*."""
        self.failure = failure
        super().__init__(str(failure))


_BEFORE_SENDING = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.NameResolutionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.LocationParseError,
)


def from_exception(error: Exception, *, preparing: bool = False) -> Failure:
    """Return the failure of a call for which the ``ovh`` wrapper raised *error*.

    Args:
        error: an `ovh.exceptions.APIError`, or a `requests.RequestException`.
        preparing: it was raised while the time or a token was asked for, before the call itself.
    """
    if isinstance(error, ovh.HTTPError) and len(error.args) > 1 and isinstance(error.args[1], Exception):
        return from_exception(error.args[1], preparing=preparing)
    if isinstance(error, requests.RequestException | ovh.NetworkError):
        fate = Fate.NOT_SENT if preparing or _never_left(error) else Fate.LOST
        return Failure(fate, _network_message(error))
    if isinstance(error, ovh.OAuth2FailureError):
        return Failure(Fate.ANSWERED, _brief(error), status=401, code="OAUTH2")
    if isinstance(error, ovh.APIError) and error.response is not None:
        return from_response(error.response, preparing=preparing)
    if isinstance(error, ovh.InvalidKey):
        return Failure(Fate.ANSWERED, "a key of the ovh section is empty", code="INVALID_KEY")
    return Failure(Fate.NOT_SENT if preparing else Fate.LOST, f"{type(error).__name__}: {_brief(error)}")


def from_response(response: requests.Response, *, preparing: bool = False) -> Failure:
    """Return the failure of a call with this *response*: its status is an error, or its body cannot be read."""
    status = response.status_code
    retry_after = _retry_after(response.headers.get("Retry-After"))
    query_id = response.headers.get("X-OVH-QUERYID")
    try:
        content = response.json()
    except ValueError:
        content = None
    if isinstance(content, dict) and status >= 400:
        code = content.get("errorCode") or str(content.get("class", "")).rpartition("::")[2]
        message = hide_tokens(" ".join(str(content.get("message", "")).split()))[:300]
        message = message or f"HTTP status {status}"
        return Failure(Fate.ANSWERED, message, status, str(code) or None, query_id, retry_after)
    if status >= 400:
        message = f"answered with {_kind(response)} in place of JSON"
        return Failure(Fate.ANSWERED, message, status, None, query_id, retry_after, is_json=False)
    fate = Fate.NOT_SENT if preparing else Fate.LOST
    return Failure(fate, f"answered {status} with {_kind(response)} that cannot be read", query_id=query_id)


def _never_left(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    if isinstance(error, requests.exceptions.SSLError):
        # A certificate is refused before anything is sent; another fault of TLS may come with the answer.
        return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))
    if isinstance(error, requests.exceptions.ProxyError | requests.exceptions.InvalidURL):
        return True
    cause: object = error.args[0] if error.args else None
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        cause = cause.reason
    return isinstance(cause, _BEFORE_SENDING)


def _causes(error: object) -> Iterator[object]:
    """Yield *error* and its causes, down to the first."""
    seen = 0
    while error is not None and seen < 10:
        yield error
        seen += 1
        held = error.args if isinstance(error, Exception) else ()
        inner = (getattr(error, "reason", None), *held)
        error = next((e for e in inner if isinstance(e, Exception)), None)


def _network_message(error: Exception) -> str:
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return "no connection in time"
    cause: object = error.args[0] if error.args else error
    if isinstance(cause, urllib3.exceptions.MaxRetryError) and cause.reason is not None:
        cause = cause.reason
    for inner in _causes(cause):
        if isinstance(inner, OSError) and inner.strerror:
            return f"network: {inner.strerror[:1].lower()}{inner.strerror[1:]}"
        if isinstance(inner, http.client.RemoteDisconnected):
            return "network: the connection was closed without an answer"
    # urllib3 begins with the connection, which it shows as Python does.
    text = re.sub(r"^(<?[\w.]*Connection[^>]*>?|\w+\(host=[^)]*\)): ", "", str(cause))
    return f"network: {' '.join(text.split())[:200]}"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _kind(response: requests.Response) -> str:
    kind = response.headers.get("Content-Type", "").split(";")[0]
    return kind or "a body of no type"


def _retry_after(value: str | None) -> float | None:
    """Read ``Retry-After``: seconds, or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}", value.strip()):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
