"""The gate: lets in who shows the right credentials, and counts and logs who does not."""

from __future__ import annotations

import asyncio
import base64
import ipaddress

import structlog
from starlette.requests import Request
from starlette.types import Scope

from notifier.config import Web
from notifier.metrics import Metrics
from notifier.web.authentication import Authentication, verifier

_MOST_VERIFIED = 32
"""How many passwords may wait to be verified; each takes a while, and what is beyond that is refused."""

log = structlog.get_logger(__name__)


def has_nul(request: Request) -> bool:
    """Whether NUL is in what is asked for: it is in no name and no text, and PostgreSQL cannot even look for it."""
    return "\0" in request.url.path or "%00" in request.url.query


def is_from_a_page(scope: Scope) -> bool:
    """Whether a browser says which page the request comes from, as all do that post a form."""
    return any(name in (b"sec-fetch-site", b"origin") for name, _ in scope["headers"])


FOREIGN = (
    "a page of another site may not do that; where a proxy stands before Notifier, have it pass the Host on, or set "
    "global.external_url"
)


def is_foreign(scope: Scope, own: str | None = None) -> bool:
    """Whether a browser sends the request for a page of another site (cross-site request forgery).

    *own* is the host by which people reach this service where a proxy does not pass that on.

    Source: Fetch Metadata Request Headers (W3C), and ``Origin`` for browsers that send none.
    """
    headers = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    scheme, _, host = origin.partition(b"://")
    known = {headers.get(b"host", b""), (own or "").encode()}
    return _bare(host, scheme) not in {_bare(one, scheme) for one in known if one}


STRANGE = "this service has another name; set global.external_url where people reach it by that one"


def is_ours(scope: Scope, own: str | None = None) -> bool:
    """Whether a request is for a name that nobody else can have had moved here (DNS rebinding).

    Such are addresses, ``localhost``, names without a dot, and *own*, the host of `external_url`.
    """
    name = _name(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
    if name == _name(own or "") or "." not in name or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """Return the name or address in *host*, without its port."""
    host = host.lower()
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return name.removesuffix(".")


def _bare(host: bytes, scheme: bytes) -> bytes:
    """Return *host* without the port that *scheme* has anyway."""
    return host.lower().removesuffix(b":443" if scheme == b"https" else b":80")


class Gate:
    """Asks each request for its credentials, as the configuration in force demands."""

    def __init__(self, web: Web, metrics: Metrics) -> None:
        """Begin with the credentials of *web*."""
        self._metrics = metrics
        self._verifier = verifier()
        self._verifying = 0
        self.admit_as(web)

    def admit_as(self, web: Web) -> None:
        """Demand the credentials of *web* from now on."""
        self._authentication = Authentication.of(web)

    def refusal(self, scope: Scope, own: str | None = None) -> str | None:
        """Return why a request is refused whatever credentials it has; None where it is not.

        *own* is the host by which people reach this service.
        """
        if scope["method"] not in ("GET", "HEAD") and is_foreign(scope, own):
            return FOREIGN
        if not self._authentication.is_required and not is_ours(scope, own):
            return STRANGE
        return None

    def user(self, request: Request) -> str | None:
        """Return the name that the credentials of an admitted request give; None where they give or need none."""
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not self._authentication.users:
            return None
        return base64.b64decode(value).decode("utf-8", "replace").partition(":")[0] or None

    async def admits(self, scope: Scope) -> bool:
        """Whether the request may pass."""
        authentication = self._authentication
        if not authentication.is_required:
            return True
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        is_right = authentication.known(header)
        if is_right is None and self._verifying < _MOST_VERIFIED:
            self._verifying += 1
            loop = asyncio.get_running_loop()
            try:
                is_right = await loop.run_in_executor(self._verifier, authentication.verify, header)
            finally:
                self._verifying -= 1
        if not is_right:
            self._metrics.authentication_failures.inc()
            client = scope.get("client")
            log.warning("credentials refused", peer=client and client[0], path=scope["path"])
        return bool(is_right)

    def close(self) -> None:
        """Verify no more."""
        self._verifier.shutdown(wait=False, cancel_futures=True)
