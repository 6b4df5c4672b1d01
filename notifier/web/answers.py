"""Common to every answer: it is not cached, and it is sent once a small body has been read."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DEFAULT_HEADERS = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_DRAIN_BYTES, _DRAIN_SECONDS = 64 * 1024, 5.0


class Answers:
    """Completes the answers of an application.

    Each forbids caching and other types than its own, unless it has such headers itself. If the application answers
    before it has read the body, as for a refusal, the rest of a small body is read first: Caddy cuts off an answer
    that comes earlier.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Answer by *app*."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_body_read = scope["method"] in ("GET", "HEAD")

        async def received() -> Message:
            nonlocal is_body_read
            message = await receive()
            is_body_read = not message.get("more_body", False)
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                if not is_body_read:
                    await _drain(received)
                headers = message["headers"]
                given = {name.lower() for name, _ in headers}
                missing = [header for header in _DEFAULT_HEADERS if header[0] not in given]
                message = {**message, "headers": [*headers, *missing]}
            await send(message)

        await self._app(scope, received, sending)


async def _drain(receive: Receive) -> None:
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while size < _DRAIN_BYTES:
                message = await receive()
                if not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
