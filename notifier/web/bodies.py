"""The one reader of request bodies: up to a maximum size, counted while they come in."""

from __future__ import annotations

from collections.abc import Callable

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope


class BodyTooLarge(Exception):
    """A body is larger than it may be."""


async def read_body(
    scope: Scope, receive: Receive, most: int, count: Callable[[int], None] = lambda size: None
) -> bytes:
    """Return the body of a request.

    Args:
        scope: the request.
        receive: gives its ASGI messages.
        most: the maximum size in bytes.
        count: is called with the size of each piece as it comes in; may raise to refuse the request.

    Raises:
        BodyTooLarge: it is larger than *most*, or announces to be.
        ClientDisconnect: the client has gone.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > most:
            raise BodyTooLarge
    pieces: list[bytes] = []
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        if size > most:
            raise BodyTooLarge
        count(len(piece))
        has_more = message.get("more_body", False)
    return b"".join(pieces)
