"""A client of the official wrapper for each thread, with a shared clock, deadlines and observed calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

import ovh
import ovh.client
import requests
from oauthlib.oauth2 import BackendApplicationClient
from ovh.exceptions import APIError
from ovh.oauth2 import RefreshOAuth2Session
from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
)

from notifier.clock import LATEST
from notifier.http_client import limit

_TOKEN_MARGIN = 60.0
"""Seconds before its end from which a token is taken for over."""

_UNIX_TIME = TypeAdapter[int](Annotated[int, Field(ge=0, le=int(LATEST.timestamp()))])

_CLOCK_STEP = 2.0
"""Seconds by which the local clock may drift from the monotonic one before OVHcloud is asked the time again."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that ended. *code* is the status, or ``error`` when no answer came; *seconds* is its duration."""

    method: str
    route: str
    code: str
    seconds: float
    query_id: str | None


Observer = Callable[[Call], None]


@dataclass(slots=True)
class ServerClock:
    """OVHcloud's clock, shared by all threads: its distance from ours, and when that was learnt."""

    delta: int | None = None
    offset: float = 0.0
    failure: Exception | None = None
    failed_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def is_current(self) -> bool:
        return self.delta is not None and abs(time.time() - time.monotonic() - self.offset) < _CLOCK_STEP

    def learn(self, delta: int) -> None:
        self.delta = delta
        self.offset = time.time() - time.monotonic()


class ThreadClient(ovh.Client):  # type: ignore[misc]  # the wrapper is untyped
    """The wrapper's client, with a clock that is shared and asked again, and calls that are observed."""

    def __init__(self, clock: ServerClock, observe: Observer, **settings: Any) -> None:
        super().__init__(**settings)
        limit(self._session, self._seconds)
        _read_environment_once(self._session, self._endpoint)
        self._clock = clock
        self._observe = observe
        self.route = ""
        self.response: requests.Response | None = None
        self.signed_at: float | None = None
        """The time with which calls are signed, in place of the present."""

    @property
    def _seconds(self) -> float:
        """How long a whole call may take; the wrapper's time-out may be one for connecting and one for each read."""
        return float(self._timeout[1] if isinstance(self._timeout, tuple) else self._timeout)

    @property
    def query_id(self) -> str | None:
        """The id of the last call, for OVHcloud's support."""
        return None if self.response is None else self.response.headers.get("X-OVH-QUERYID")

    @property
    def time_delta(self) -> int:
        """Seconds from our clock to OVHcloud's, read again when ours was stepped."""
        began = time.monotonic()
        with self._clock.lock:
            if not self._clock.is_current():
                if self._clock.failure is not None and self._clock.failed_at >= began:
                    raise self._clock.failure  # of whoever asked while this one waited
                try:
                    self.ask_time()
                except (APIError, ValidationError) as error:
                    self._clock.failure, self._clock.failed_at = error, time.monotonic()
                    raise
            delta = self._clock.delta or 0
        if self.signed_at is None:
            return delta
        return delta + int(self.signed_at) - int(time.time())  # what the wrapper adds to the present

    def close_connections(self) -> None:
        """Open new connections with the next call: a firewall may have dropped the old ones."""
        self._session.close()
        if self._oauth2 and self._oauth2._session:
            self._oauth2._session.close()

    def ensure_token(self) -> None:
        """Have an OAuth2 token that is good for a while; the wrapper would wait for one without a time-out."""
        token = self._oauth2._token
        if token is not None and token.get("expires_at", 0) > time.time() + _TOKEN_MARGIN:
            return
        settings = self._oauth2
        client = BackendApplicationClient(client_id=settings.client_id, scope=["all"])
        settings._session = None
        session = RefreshOAuth2Session(token_url=settings.token_url, client=client)
        limit(session, self._seconds)
        settings._token = session.fetch_token(
            token_url=settings.token_url,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            timeout=self._timeout,
        )

    def ask_time(self) -> None:
        """Learn how far OVHcloud's clock is from ours."""
        self.route = "/auth/time"
        server_time = _UNIX_TIME.validate_python(self.get("/auth/time", _need_auth=False))
        self._clock.learn(server_time - int(time.time()))

    def raw_call(
        self,
        method: str,
        path: str,
        data: Any = None,
        need_auth: bool = True,
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Make the call, and call the observer with its outcome."""
        start = time.perf_counter()
        self.response = None
        try:
            self.response = super().raw_call(method, path, data, need_auth, headers)
        finally:
            code = "error" if self.response is None else str(self.response.status_code)
            self._observe(Call(method, self.route, code, time.perf_counter() - start, self.query_id))
        return self.response


def _read_environment_once(session: requests.Session, url: str) -> None:
    """Take the environment's proxies and certificates for *url* now, rather than at every call."""
    settings = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = settings["proxies"], settings["verify"]
    session.trust_env = False


def make_known(endpoint: str) -> None:
    """Teach the wrapper, which only knows regions by name, a base URL."""
    if "://" in endpoint:
        ovh.client.ENDPOINTS[endpoint] = endpoint
        parts = urlsplit(endpoint)
        ovh.client.OAUTH2_TOKEN_URLS[endpoint] = f"{parts.scheme}://{parts.netloc}/auth/oauth2/token"
