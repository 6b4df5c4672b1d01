"""The gate: lets in who shows the right credentials, and counts and logs who does not."""

from __future__ import annotations

import asyncio

import structlog
from starlette.types import Scope

from notifier.config import Web
from notifier.metrics import Metrics
from notifier.web.authentication import Authentication, verifier

log = structlog.get_logger(__name__)


def is_foreign(scope: Scope) -> bool:
    """Whether a browser sends the request for a page of another site, which may know no credentials but use them.

    Source: Fetch Metadata Request Headers (W3C), and ``Origin`` for browsers that send none.
    """
    headers = dict(scope["headers"])
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")


class Gate:
    """Asks each request for its credentials, as the configuration in force demands."""

    def __init__(self, web: Web, metrics: Metrics) -> None:
        """Begin with the credentials of *web*."""
        self._metrics = metrics
        self._verifier = verifier()
        self.admit_as(web)

    def admit_as(self, web: Web) -> None:
        """Demand the credentials of *web* from now on."""
        self._authentication = Authentication.of(web)

    def admits_at_once(self, header: bytes) -> bool:
        """Whether a request with this ``Authorization`` may pass, as far as can be told without waiting."""
        return not self._authentication.is_required or self._authentication.known(header) is True

    async def admits(self, scope: Scope) -> bool:
        """Whether the request may pass."""
        authentication = self._authentication
        if not authentication.is_required:
            return True
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        is_right = authentication.known(header)
        if is_right is None:
            loop = asyncio.get_running_loop()
            is_right = await loop.run_in_executor(self._verifier, authentication.verify, header)
        if not is_right:
            self._metrics.authentication_failures.inc()
            client = scope.get("client")
            log.warning("credentials refused", peer=client and client[0], path=scope["path"])
        return is_right

    def close(self) -> None:
        """Verify no more."""
        self._verifier.shutdown(wait=False, cancel_futures=True)
