"""HTTP as uvicorn speaks it, with a short way for the webhook.

A page that waits for the answers to a storm comes late, so the plain case (``POST /alert`` with its
length told and its credentials known) is taken from the parser straight to the intake, without a task,
a scope and a request of its own. Every other request, and every refusal for what is in the headers, goes
uvicorn's way to the application.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from notifier.alertmanager import WebhookError
from notifier.store.engine import StoreUnavailable
from notifier.web.connections import LONGEST_WAIT, MAX_HEADERS, Connections

if TYPE_CHECKING:
    from notifier.paging.intake import Receipt
    from notifier.web.webhook import WebhookEndpoint

_FAREWELL = 5.0
"""Seconds for which an answer that ends a connection is given the time to go out."""
_PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class _Stored:
    """The answer to a webhook that is stored, made once a second, when the date in the headers changes."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._answer = b""

    def __call__(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if headers is not self._headers:
            lines = b"".join(b"%s: %s\r\n" % header for header in headers)
            self._answer = b"HTTP/1.1 200 OK\r\n" + lines + b"content-length: 0\r\n\r\n"
            self._headers = headers
        return self._answer


_stored = _Stored()


class WebhookProtocol(HttpToolsProtocol):
    """One connection. `serving` makes the class for an endpoint."""

    endpoint: WebhookEndpoint
    places: Connections
    _body: bytearray | None = None
    """The body of a webhook on its short way, while it comes in."""
    _length = 0
    """How long that is to be."""
    _overhead = 0
    """How many bytes of the request came in that are not its body: its headers, trailers, and the sizes of chunks."""
    _body_bytes = 0
    _has_headers = False
    """Whether the headers of the request are complete."""
    _is_silent = True
    """Whether nothing has come in since the last answer, or since the request that it was an answer to."""
    _is_storing = False
    _closes = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place."""
        super().connection_made(transport)
        self.places.open(self, self.loop.time())

    def data_received(self, data: bytes) -> None:
        """Take in what comes."""
        if self._is_silent:
            self._is_silent = False
            self.places.expect(self, self.loop.time())
        self._overhead += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._overhead > MAX_HEADERS + self._body_bytes:
            self._refuse(431, f"the request's headers are larger than {MAX_HEADERS} bytes\n")
        self._reckon()

    def _reckon(self) -> None:
        """Have it known who is waited for: the client, or us."""
        cycle = self.cycle
        is_answered = cycle is None or cycle.response_complete or cycle.more_body
        if is_answered and not self._is_storing and not self.pipeline:
            self.places.await_still(self, self.loop.time())
        else:
            self.places.receive(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header; what comes after the body is let go by."""
        if not self._has_headers:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Begin a request, for which nothing is made ready until it is known what it is."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._body = None

    def on_headers_complete(self) -> None:
        """Choose the way."""
        self._has_headers = True
        if self.url == b"/alert" and self._is_plain():
            self._body = bytearray()
            self._closes = not self.parser.should_keep_alive()
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        super().on_headers_complete()

    def _is_plain(self) -> bool:
        return (
            self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not self._is_storing
            and (self.cycle is None or self.cycle.response_complete)
            and not self.parser.should_upgrade()
            and self._takes_at_once()
        )

    def _takes_at_once(self) -> bool:
        length = self.endpoint.takes_at_once(self.headers)
        if length is None:
            return False
        self._length = length
        self.endpoint.reserve(length)
        return True

    def _forget_body(self) -> None:
        self._body = None
        self.endpoint.release(self._length)
        self._length = 0

    def on_body(self, body: bytes) -> None:
        """Take in a piece of the body."""
        self._overhead -= len(body)
        self._body_bytes += len(body)
        if self._body is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """Store the webhook."""
        self._overhead, self._body_bytes, self._has_headers = 0, 0, False
        if self._body is None:
            self._is_silent = self.cycle.response_complete  # it was answered before it was complete
            super().on_message_complete()
            return
        body = bytes(self._body)
        self._forget_body()
        self._is_storing = True
        try:
            self.endpoint.store_soon(body, self._stored)
        except (WebhookError, StoreUnavailable) as error:
            self._answer(*self.endpoint.refusal(error))

    def _stored(self, result: Receipt | StoreUnavailable) -> None:
        if isinstance(result, StoreUnavailable):
            self._answer(*self.endpoint.refusal(result))
        else:
            self.endpoint.count_stored(result)
            self._answer(200, "")

    def _answer(self, status: int, text: str) -> None:
        self._is_storing = False
        if self.transport.is_closing():
            return
        if status == 200 and not self._closes:
            self.transport.write(_stored(self.server_state.default_headers))
            self.on_response_complete()
            return
        body = text.encode()
        lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES[status])]
        lines += [b"%s: %s" % header for header in self.server_state.default_headers]
        if body:
            lines.append(b"content-type: text/plain; charset=utf-8")
        lines.append(b"content-length: %d" % len(body))
        if self._closes:
            lines.append(b"connection: close")
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if self._closes:
            self.transport.close()
        self.on_response_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self._is_storing:  # the answer to the webhook before it comes first
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        else:
            super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._is_silent = True
        if not self.transport.is_closing():
            self.places.expect(self, self.loop.time())
        super().on_response_complete()
        if not self.transport.is_closing():
            self._reckon()

    # when it takes too long, or too much

    def _refuse(self, status: int, text: str) -> None:
        body = text.encode()
        head = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        self.transport.write(head % (status, _PHRASES[status]))
        self.transport.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        self.transport.close()
        self.loop.call_later(_FAREWELL, self.transport.abort)  # should the client not take the answer

    def time_out(self) -> None:
        """End it: its request did not come in time."""
        if self._is_silent or self.is_stuck() or self.scheme == "https":
            self.transport.abort()
        else:
            self._refuse(408, f"the request did not come in within {LONGEST_WAIT:.0f} s\n")

    def give_way(self) -> None:
        """End it at once: another needs the place."""
        self.transport.abort()

    def is_stuck(self) -> bool:
        """Whether its client does not take the answer."""
        return self.transport.get_write_buffer_size() > 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was coming in; what is being stored is stored."""
        self.places.close(self)
        self._forget_body()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection, after the answer that is due."""
        if self._is_storing:
            self._closes = True
        elif self.scheme == "https" and (self.cycle is None or self.cycle.response_complete):
            self.transport.abort()  # TLS would wait for the farewell of a client that listens no more
        else:
            super().shutdown()


def serving(endpoint: WebhookEndpoint, connections: Connections) -> type[asyncio.Protocol]:
    """Return the protocol whose webhooks go to *endpoint*, for no more than there may be *connections*."""
    return type("WebhookProtocol", (WebhookProtocol,), {"endpoint": endpoint, "places": connections})
