"""``POST /alert``: Alertmanager's webhook, answered once it is on disk.

An ASGI application of its own rather than an endpoint with request and response objects: it is the one
path that must keep up with a storm.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from notifier.alertmanager.webhook import WebhookError
from notifier.clock import elapsed
from notifier.metrics import Metrics
from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.store.engine import StoreUnavailable
from notifier.web.access import AccessControl, Denial
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.workers.backpressure import Backpressure
from notifier.workers.intake import Intake

log = structlog.get_logger(__name__)

_NOT_RETRIED = frozenset({400, 404, 413})
"""The statuses after which Alertmanager does not retry; 401 has a line of its own."""
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_STORED: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"0")],
}
MAX_RESERVED = 128 * 1024 * 1024
"""Maximum total size in bytes of the request bodies that are being read at the same time."""
_EMPTY: Message = {"type": "http.response.body", "body": b""}


class WebhookEndpoint:
    """Answers 200 once the webhook is stored, or if it repeats one that is."""

    def __init__(
        self,
        current: Current,
        intake: Intake,
        access: AccessControl,
        metrics: Metrics,
        backpressure: Backpressure,
        refusing: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Prepare to hand webhooks to *intake*.

        *refusing* returns why webhooks are refused now (503: Alertmanager posts them again), or None if they are
        accepted.
        """
        self._refusing = refusing
        self._current = current
        self._intake = intake
        self._access = access
        self._metrics = metrics
        self._backpressure = backpressure
        self._count_stored = metrics.webhooks.labels("200")
        self._reserved = 0

    @property
    def reserved(self) -> int:
        """The bytes of webhooks that are coming in now."""
        return self._reserved

    def _count_refused(self, status: int, why: str) -> None:
        self._metrics.webhooks.labels(str(status)).inc()
        if status in _NOT_RETRIED:
            log.error("webhook refused, Alertmanager will not retry it", status=status, error=why)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self._backpressure.enter()
        begun = elapsed()
        try:
            refusal = await self._take(scope, receive)
        except ClientDisconnect:
            return
        finally:
            self._backpressure.leave()
        if refusal is None:
            self._metrics.webhook_duration.observe(elapsed() - begun)
            await send(_STORED)
            await send(_EMPTY)
        else:
            await self._refuse(send, refusal)

    async def _take(self, scope: Scope, receive: Receive) -> Denial | None:
        caller = await self._access.admit(
            scope, Permission.WEBHOOK, self._current.runtime.configuration.origin
        )
        if isinstance(caller, Denial):
            return caller
        # An empty name is that of "/alert/".
        posted_to = (scope["path_params"].get("receiver") or None) if "path_params" in scope else None
        if posted_to is not None and self._current.runtime.configuration.receiver(posted_to) is None:
            return Denial(404, f'there is no receiver "{posted_to}"')
        most = self._current.runtime.configuration.web.max_body
        try:
            body = await self._read(scope, receive, most)
            if (why := self._refusing()) is not None:
                raise StoreUnavailable(why)
            stored = await self._intake.store(body, posted_to)
        except BodyTooLarge:
            text = f"the body is larger than web.max_body, {most} bytes; set max_alerts in Alertmanager"
            return Denial(413, text, {"connection": "close"})
        except (WebhookError, StoreUnavailable) as error:
            return self._explain(error)
        self._count_stored.inc()
        if stored.is_duplicate:
            self._metrics.webhooks_duplicate.inc()
        return None

    async def _read(self, scope: Scope, receive: Receive, most: int) -> bytes:
        size = 0

        def reserve(more: int) -> None:
            nonlocal size
            size += more
            self._reserved += more
            if self._reserved > MAX_RESERVED:
                raise StoreUnavailable("too many large webhooks are being posted at the same time")

        try:
            return await read_body(scope, receive, most, reserve)
        finally:
            self._reserved -= size

    def _explain(self, error: WebhookError | StoreUnavailable) -> Denial:
        if isinstance(error, WebhookError):
            return Denial(400, str(error))
        self._metrics.store_errors.inc()
        return Denial(503, f"not stored, post it again: {error}")

    async def _refuse(self, send: Send, refusal: Denial) -> None:
        self._count_refused(refusal.status, refusal.text)
        body = f"{refusal.text}\n".encode()
        headers = [_TEXT, (b"content-length", str(len(body)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in refusal.headers.items()]
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
