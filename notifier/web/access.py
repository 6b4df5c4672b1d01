"""Access control: admits callers with the right credentials, and counts and logs the others."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from starlette.requests import HTTPConnection
from starlette.types import Scope

from notifier.clock import Clock, elapsed
from notifier.config.web import Web
from notifier.metrics import Metrics
from notifier.permissions import Permission
from notifier.web.authentication import ANYBODY, Authentication, Identity, verifier
from notifier.web.origin import FOREIGN, STRANGE, is_foreign, is_from_a_page, is_ours
from notifier.web.peers import peer_of
from notifier.web.sessions import COOKIES, new_session, user_of
from notifier.web.unknown_links import MAX_UNKNOWN, UnknownLinks

_MAX_VERIFIED = 32
"""How many passwords may wait to be verified; each takes a while."""
_MAX_OF_A_PEER = 16
"""How many of them may come from one peer: behind a proxy, all callers are one."""
_MAX_OF_A_NAME = 4
"""How many of them may come from one peer for one user, or for all unknown names together."""

_MINUTE = 60.0
_MAX_LOGGED = 10
"""How many refusals of one peer are logged in a minute."""
_MAX_LOGGED_IN_ALL = 100
_MAX_PEERS = 1000
_LONGEST_PATH = 200

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a request is refused: an HTTP status, a text for people, and headers."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


_UNAUTHORIZED = Denial(
    401,
    "give the right credentials: Authorization: Bearer TOKEN, or a name and a password",
    {"www-authenticate": 'Basic realm="notifier", Bearer realm="notifier"'},
)
# Not 401: Alertmanager repeats a webhook after 503 alone.
_BUSY = Denial(503, "too many passwords wait to be verified; try again", {"retry-after": "1"})


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _authorization(scope: Scope) -> bytes:
    return next((value for name, value in scope["headers"] if name == b"authorization"), b"")


class AccessControl:
    """Asks each request for its credentials, as the configuration in force demands."""

    def __init__(self, web: Web, session_key: bytes, metrics: Metrics, clock: Clock) -> None:
        """Begin with the credentials of *web*, and sessions that are signed with *session_key*."""
        self._metrics = metrics
        self._clock = clock
        self._session_key = session_key
        self._verifier = verifier()
        self._verifying: Counter[tuple[str, str]] = Counter()
        """How many passwords wait to be verified, by peer and user."""
        self._refusals: dict[str, tuple[float, int]] = {}
        """How often each peer was refused within a minute, and since when that minute is."""
        self._refusals_in_all = (0.0, 0)
        self._unknown_links = UnknownLinks()
        self._authentication = Authentication.of(web)

    @property
    def is_guarded(self) -> bool:
        """Return whether callers need credentials."""
        return self._authentication.is_required

    def replace_credentials(self, web: Web, session_key: bytes) -> None:
        """Demand the credentials of *web* from now on, and sessions that are signed with *session_key*."""
        self._session_key = session_key
        self._authentication = Authentication.of(web, self._authentication)

    async def admit(self, scope: Scope, permission: Permission, own: str | None = None) -> Identity | Denial:
        """Return who makes a request for which *permission* is needed, or why it is refused.

        Args:
            scope: the request.
            permission: the permission that the caller needs.
            own: the host, and port, by which people reach this service; None if it is not configured.
        """
        if (refusal := self._refusal(scope, permission, own)) is not None:
            self._log_refused(scope, refusal, event="request refused")
            return Denial(403, refusal)
        identity = await self._identify(scope, own)
        if isinstance(identity, Denial) or identity.has(permission):
            return identity
        who = f'user "{identity.user}"' if identity.user is not None else f'token "{identity.token}"'
        self._log_refused(scope, f"{who} may not {permission}")
        return Denial(403, f"the {who} may not do this: it takes the permission {permission}")

    async def sign_in(self, scope: Scope, name: str, password: str, own: str | None) -> str | Denial:
        """Return the session of the user with that *name* and *password*, or why there is none; *own* as in `admit`."""
        if is_foreign(scope, own):
            return Denial(403, FOREIGN)
        header = b"Basic " + base64.b64encode(f"{name}:{password}".encode())
        before = self._authentication
        identity = await self._identify({**scope, "headers": [(b"authorization", header)]}, own)
        if isinstance(identity, Denial):
            return identity
        if identity.user is None:
            return Denial(403, "no credentials are needed here")
        hash_ = before.users[identity.user].password_hash  # the one that was verified
        now = self._authentication.users.get(identity.user)
        if now is None or now.password_hash != hash_:  # a reload has changed it meanwhile
            return _UNAUTHORIZED
        return new_session(self._session_key, identity.user, hash_, self._clock())

    def _refusal(self, scope: Scope, permission: Permission, own: str | None) -> str | None:
        """Return why a request is refused whatever credentials it has; None if it is not."""
        if scope["method"] not in ("GET", "HEAD") and is_foreign(scope, own):
            return FOREIGN
        if self._authentication.is_required or is_ours(scope, own):
            return None
        # A webhook that does not come from a browser may come by any name: it must not be lost.
        is_plain_webhook = permission is Permission.WEBHOOK and not is_from_a_page(scope)
        return None if is_plain_webhook else STRANGE

    async def knows(self, scope: Scope, permission: Permission, own: str | None = None) -> bool:
        """Return whether the caller has *permission*. Where credentials are required, a caller without any has none,
        and is not logged as refused.
        """
        if not self._authentication.is_required:
            return is_ours(scope, own)
        is_named = bool(_authorization(scope)) or self._without_password(scope, own) is not None
        return is_named and isinstance(await self.admit(scope, permission, own), Identity)

    def note_unknown_link(self, scope: Scope) -> bool:
        """Count and log a request for an unknown link; return whether the peer has tried too many."""
        self._metrics.authentication_failures.inc()
        self._log_refused(scope, "unknown link", path="/i/")
        return self._unknown_links.count(_address(scope)) > MAX_UNKNOWN

    async def _identify(self, scope: Scope, own: str | None) -> Identity | Denial:
        authentication = self._authentication
        if not authentication.is_required:
            return ANYBODY
        header = _authorization(scope)
        is_for_us = not header or authentication.is_proxy(_address(scope))
        if is_for_us and (known_user := self._without_password(scope, own)) is not None:
            return known_user
        known = authentication.known(header)
        if known is True:
            place = (peer_of(_address(scope)), authentication.user_of(header))
            if not self._has_place(*place):
                return _BUSY
            self._verifying[place] += 1
            loop = asyncio.get_running_loop()
            try:
                known = await loop.run_in_executor(self._verifier, authentication.verify, header)
            finally:
                self._verifying[place] -= 1
                self._verifying += Counter()  # without those that are zero
        if isinstance(known, Identity):
            return known
        self._metrics.authentication_failures.inc()
        self._log_refused(scope, "wrong credentials")
        return _UNAUTHORIZED

    def _without_password(self, scope: Scope, own: str | None) -> Identity | None:
        """Return the user that a proxy names, or that the cookie of a request identifies.

        A proxy is believed under our own name alone: a page whose name was moved here can set any header.
        """
        authentication = self._authentication
        named = authentication.named_by_proxy(_address(scope), scope["headers"])
        if named is not None:
            return named if is_ours(scope, own) else None
        cookies, user = HTTPConnection(scope).cookies, None
        hashes = {name: user.password_hash for name, user in authentication.users.items()}
        for cookie in filter(None, map(cookies.get, COOKIES)):
            user = user or user_of(cookie, self._session_key, hashes, self._clock())
        return None if user is None else authentication.identity(user)

    def _has_place(self, peer: str, user: str) -> bool:
        of_peer = sum(count for (one, _), count in self._verifying.items() if one == peer)
        return (
            self._verifying[peer, user] < _MAX_OF_A_NAME
            and of_peer < _MAX_OF_A_PEER
            and self._verifying.total() < _MAX_VERIFIED
        )

    def _log_refused(
        self, scope: Scope, why: str, path: str | None = None, event: str = "credentials refused"
    ) -> None:
        """Log a refusal: a few of any kind a minute for each peer, then how many more. *path* replaces a secret one."""
        address, now = _address(scope), elapsed()
        peer = peer_of(address)
        since, count = self._refusals.get(peer, (now, 0))
        unlogged = None
        if now - since >= _MINUTE:
            unlogged = count - _MAX_LOGGED if count > _MAX_LOGGED else None
            since, count = now, 0
        if len(self._refusals) >= _MAX_PEERS and peer not in self._refusals:
            del self._refusals[next(iter(self._refusals))]
        self._refusals[peer] = since, count + 1
        minute, in_all = self._refusals_in_all
        minute, in_all = (minute, in_all) if now - minute < _MINUTE else (now, 0)
        if count < _MAX_LOGGED and in_all < _MAX_LOGGED_IN_ALL:
            self._refusals_in_all = minute, in_all + 1
            path = path or scope["path"][:_LONGEST_PATH]
            log.warning(event, peer=address, path=path, error=why, unlogged_before=unlogged)

    def close(self) -> None:
        """Verify no more."""
        self._verifier.shutdown(wait=False, cancel_futures=True)
