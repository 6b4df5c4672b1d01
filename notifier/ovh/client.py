"""Calls to OVHcloud's SMS API, on a client of the official wrapper for each thread.

Source: OVHcloud's API schema for ``/sms`` and the wrapper ``ovh`` (synchronous, on ``requests``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import requests
from ovh.exceptions import APIError, InvalidConfiguration, InvalidResponse
from pydantic import (
    BaseModel,
    TypeAdapter,
    ValidationError,
)

from notifier.clock import clamp
from notifier.config.ovh import Ovh
from notifier.ovh.errors import CallFailed, Failure, Fate, from_exception, from_response
from notifier.ovh.models import (
    Account,
    ConsumerKey,
    Id,
    Incoming,
    Outcome,
    Outgoing,
    Ptt,
    SenderName,
    Sent,
    e164,
)
from notifier.ovh.rights import rights
from notifier.ovh.session import Observer, ServerClock, ThreadClient, make_known

_LONGEST_IDLE = 45.0
"""Seconds after which a connection that nothing was sent on is not trusted to be one still."""


T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class OvhClient:
    """The calls that Notifier makes. Each raises `CallFailed`; each may be made from any thread."""

    def __init__(self, settings: Ovh, observe: Observer = lambda call: None) -> None:
        """Prepare to call with *settings*; nothing is called yet."""
        self.settings = settings
        self._observe = observe
        self._clock = ServerClock()
        self._threads = threading.local()
        self._service_name = settings.service_name
        self._lock = threading.Lock()
        self._generation = 0
        make_known(settings.endpoint)

    @property
    def name(self) -> str:
        """The account's name in the configuration."""
        return self.settings.name

    @property
    def known_name(self) -> str | None:
        """The account's name; None until it is configured or OVHcloud was asked for it."""
        return self._service_name

    @property
    def account_name(self) -> str:
        """The name of the account in the database: its name, empty while that is not known."""
        return self._service_name or ""

    # sending

    def send(self, text: str, receivers: Sequence[str], tag: str, signed_at: float | None = None) -> Outcome:
        """Send *text* to *receivers* (E.164), as a job that *tag* (up to 20 characters) names.

        *signed_at* (seconds since 1970) is the time with which it is signed: OVHcloud refuses a call that is signed
        with a time more than 30 s old. A process that was stopped before the call cannot send what another has taken
        over meanwhile. OAuth2 has no such signature.
        """
        parameters: dict[str, Any] = {
            "message": text,
            "receivers": list(receivers),
            "charset": "UTF-8",
            "priority": "high",
            "tag": tag,
        }
        if not self.settings.virtual_number:
            parameters["noStopClause"] = True
            if self.settings.sender_for_response:
                parameters["senderForResponse"] = True
            else:
                parameters["sender"] = self.settings.sender
        try:
            route, path = self._jobs()
        except CallFailed as error:
            raise CallFailed(replace(error.failure, is_preparing=True)) from None
        return self.call(
            "POST",
            route,
            path,
            lambda answer, query_id: Outcome(Sent.model_validate(answer), query_id, self._service_name),
            parameters,
            signed_at=signed_at,
        )

    def _jobs(self) -> tuple[str, str]:
        """Return the route and path that jobs are posted to."""
        if self.settings.virtual_number:
            number = quote(e164(self.settings.virtual_number), safe="")
            route = "/sms/{serviceName}/virtualNumbers/{number}/jobs"
            return route, self._path(f"virtualNumbers/{number}/jobs")
        return "/sms/{serviceName}/jobs", self._path("jobs")

    def try_right_to_send(self) -> None:
        """Raise `CallFailed` where the credentials may not send: posts a job without a text, which sends nothing."""
        try:
            self.call("POST", *self._jobs(), lambda answer, _: answer, {})
        except CallFailed as error:
            if error.failure.status != 400 or error.failure.code == "QUERY_TIME_OUT":
                raise

    # settling

    def outgoing_ids(self, tag: str) -> list[int]:
        """Return the ids that the history holds under *tag*."""
        return self._ids("outgoing", tag=tag)

    def outgoing_of(self, tag: str) -> list[Outgoing]:
        """Return the messages of the history under *tag*."""
        return [self.outgoing(id_) for id_ in self.outgoing_ids(tag)]

    def outgoing(self, id_: int) -> Outgoing:
        """Return one message of the history."""
        return self._one("outgoing", id_, _parser(Outgoing))

    def pending_ids(self) -> list[int]:
        """Return the ids of the jobs that are still pending."""
        return self._ids("jobs")

    def pending(self, id_: int) -> Outgoing | None:
        """Return one pending job, None when it is not pending any more."""
        try:
            return self._one("jobs", id_, _parser(Outgoing))
        except CallFailed as error:
            if error.failure.status == 404:
                return None
            raise

    def _lists(self, name: str) -> list[tuple[str, str]]:
        """Return the routes and paths of the lists of that *name*.

        A virtual number has lists of its own. Whether the account's hold its traffic, too, is not documented.
        """
        lists = [("/sms/{serviceName}/" + name, name)]
        if self.settings.virtual_number:
            number = quote(e164(self.settings.virtual_number), safe="")
            route = "/sms/{serviceName}/virtualNumbers/{number}/" + name
            lists.insert(0, (route, f"virtualNumbers/{number}/{name}"))
        return lists

    def _ids(self, name: str, **query: str) -> list[int]:
        """Return the ids in the lists of that *name*, each once."""
        found: dict[int, None] = {}
        for route, tail in self._lists(name):
            with self._missing_is_empty(tail):
                path = self._path(tail, **query)
                ids = self.call("GET", route, path, lambda a, _: TypeAdapter(list[Id]).validate_python(a))
                found |= dict.fromkeys(ids)
        return list(found)

    def _one(self, name: str, id_: int, parse: Callable[[Any, str | None], T]) -> T:
        """Return one item of the first list of that *name* that holds it."""
        *others, (route, tail) = self._lists(name)
        for other_route, other_tail in others:
            with self._missing_is_empty(other_tail):
                return self.call("GET", other_route + "/{id}", self._path(f"{other_tail}/{id_}"), parse)
        return self.call("GET", route + "/{id}", self._path(f"{tail}/{id_}"), parse)

    @contextmanager
    def _missing_is_empty(self, tail: str) -> Iterator[None]:
        """Take a list of a virtual number that is not there for empty; the account's must be there."""
        try:
            yield
        except CallFailed as error:
            if error.failure.status != 404 or not tail.startswith("virtualNumbers/"):
                raise

    # following up

    def outgoing_since(self, since: datetime, receipt: int) -> set[int]:
        """Return the ids of the history since *since* whose ``deliveryReceipt`` is *receipt*."""
        written = _written(self.their_time(since))
        return set(
            self._ids("outgoing", **{"creationDatetime.from": written, "deliveryReceipt": str(receipt)})
        )

    def incoming_ids(self, since: datetime) -> list[int]:
        """Return the ids of the replies since *since*, by OVHcloud's clock."""
        return self._ids("incoming", **{"creationDatetime.from": _written(since)})

    def incoming(self, id_: int) -> Incoming:
        """Return one reply."""
        return self._one("incoming", id_, _parser(Incoming))

    def describe_ptt(self, ptt: int) -> str:
        """Return OVHcloud's explanation of a ``ptt``."""
        described = self.call("GET", "/sms/ptts", f"/sms/ptts?ptt={ptt}", _parser(Ptt))
        return described.comment or described.description or f"ptt {ptt}"

    def local_time(self, theirs: datetime) -> datetime:
        """Return the instant of our clock at which OVHcloud's shows *theirs*."""
        return clamp(theirs).astimezone(UTC) - timedelta(seconds=self._clock.delta or 0)

    def their_time(self, ours: datetime) -> datetime:
        """Return OVHcloud's time when ours is *ours*."""
        return ours + timedelta(seconds=self._clock.delta or 0)

    # the account

    def service_names(self) -> list[str]:
        """Return the names of the SMS accounts that the credentials reach."""
        return self.call("GET", "/sms", "/sms", lambda a, _: TypeAdapter(list[str]).validate_python(a))

    def service_name(self) -> str:
        """Return the account's name: the configured one, or else the only one there is."""
        with self._lock:
            if self._service_name is None:
                names = self.service_names()
                if len(names) != 1:
                    found = f"there are {len(names)} ({', '.join(names)})" if names else "there is none"
                    message = f"{found} SMS accounts; set service_name under ovh"
                    raise CallFailed(Failure(Fate.ANSWERED, message, code="SERVICE_NAME"))
                self._service_name = names[0]
            return self._service_name

    def account(self) -> Account:
        """Return the account: whether it is enabled, and the credits left."""
        return self.call("GET", "/sms/{serviceName}", self._path(), _parser(Account))

    def senders(self) -> list[str]:
        """Return the names of the declared senders."""
        route, path = "/sms/{serviceName}/senders", self._path("senders")
        return self.call("GET", route, path, lambda a, _: TypeAdapter(list[str]).validate_python(a))

    def sender(self, name: str) -> SenderName:
        """Return a declared sender."""
        path = self._path(f"senders/{quote(name, safe='')}")
        return self.call("GET", "/sms/{serviceName}/senders/{sender}", path, _parser(SenderName))

    def request_consumer_key(self, allowed_ips: Sequence[str] = ()) -> ConsumerKey:
        """Ask for a consumer key with the rights that Notifier needs and no more.

        With *allowed_ips*, networks as ``192.0.2.1/32``, it is good from these alone.
        """
        rules = [{"method": method, "path": path} for method, path in rights(self.settings)]
        return self.call(
            "POST",
            "/auth/credential",
            "/auth/credential",
            _parser(ConsumerKey),
            {"accessRules": rules} | ({"allowedIPs": list(allowed_ips)} if allowed_ips else {}),
            is_signed=False,
        )

    def refresh_clock(self) -> None:
        """Ask OVHcloud for its time, so that no page need wait for that."""
        if self.settings.application_key:
            client = self._client()
            with _failing(client, preparing=True):
                client.ask_time()

    # beneath

    def forget_clock(self) -> None:
        """Have OVHcloud asked for its time before the next call."""
        self._clock.delta = None

    def _path(self, tail: str = "", **query: str) -> str:
        path = f"/sms/{quote(self.service_name(), safe='')}" + (f"/{tail}" if tail else "")
        return path + ("?" + urlencode(query, quote_via=quote) if query else "")

    @contextmanager
    def _forgetting_a_dead_token(self) -> Iterator[None]:
        """After a 401, have every thread fetch a new token, even if the old one has not expired."""
        try:
            yield
        except APIError as error:
            if self.settings.client_id and getattr(error.response, "status_code", None) == 401:
                self._generation += 1
            raise

    def _client(self) -> ThreadClient:
        client: ThreadClient | None = getattr(self._threads, "client", None)
        if client is None or self._threads.generation != self._generation:
            settings = self.settings
            timeout = settings.timeout.total_seconds()
            try:
                client = ThreadClient(
                    self._clock,
                    self._observe,
                    endpoint=settings.endpoint,
                    application_key=settings.application_key,
                    application_secret=_plain(settings.application_secret),
                    consumer_key=_plain(settings.consumer_key),
                    client_id=settings.client_id,
                    client_secret=_plain(settings.client_secret),
                    timeout=(min(timeout, 5.0), timeout),
                )
            except InvalidConfiguration as error:
                message = (
                    f"{error}; remove OVH_* variables and ovh.conf files that contradict the ovh section"
                )
                raise CallFailed(Failure(Fate.ANSWERED, message, code="CONFIGURATION")) from None
            self._threads.client, self._threads.generation = client, self._generation
        now = time.monotonic()
        if now - getattr(self._threads, "used_at", now) > _LONGEST_IDLE:
            client.close_connections()
        self._threads.used_at = now
        return client

    def call(
        self,
        method: str,
        route: str,
        path: str,
        parse: Callable[[Any, str | None], T],
        parameters: dict[str, Any] | None = None,
        *,
        is_signed: bool = True,
        signed_at: float | None = None,
    ) -> T:
        """Make one call; return its answer as *parse* converts it, which gets the answer and its query id.

        The metrics count the call under its *route*.

        Raises:
            CallFailed: there is no answer that can be read.
        """
        client = self._client()
        if is_signed:
            with _failing(client, preparing=True):
                if self.settings.client_id:
                    client.ensure_token()
                else:
                    _ = client.time_delta
        client.route, client.signed_at = route, signed_at
        try:
            with _failing(client), self._forgetting_a_dead_token():
                answer = client.call(method, path, parameters, is_signed)
                query_id = client.query_id
        finally:
            client.signed_at = None
        try:
            return parse(answer, query_id)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field_ = ".".join(map(str, first["loc"])) or "the whole"
            message = f"answered something else than documented: {field_}: {first['msg']}"
            raise CallFailed(Failure(Fate.LOST, message, query_id=query_id)) from None


@contextmanager
def _failing(client: ThreadClient, *, preparing: bool = False) -> Iterator[None]:
    """Turn exceptions of the wrapper into `CallFailed`."""
    try:
        yield
    except (InvalidResponse, AttributeError):
        # The wrapper does not say what could not be read, nor that an error was no mapping.
        if client.response is None:
            raise
        failure = from_response(client.response, preparing=preparing)
    except (APIError, requests.RequestException) as error:
        failure = from_exception(error, preparing=preparing)
    except ValidationError:
        failure = Failure(Fate.NOT_SENT, "answered no number when asked the time")
    else:
        return
    raise CallFailed(replace(failure, is_preparing=preparing))


def _written(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def _parser(model: type[M]) -> Callable[[Any, str | None], M]:
    return lambda answer, _: model.model_validate(answer)


def _plain(secret: Any) -> str | None:
    return secret.get_secret_value() if secret is not None else None
