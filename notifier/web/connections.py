"""Limits on connections: how many there may be, and for how long each may keep its place while its client is silent.

uvicorn limits neither, nor the time of a TLS handshake. So each of its connections is wrapped in one of ours, which
counts it and ends it, by the public interface of asyncio alone (`asyncio.Protocol`); the state of a connection is
known from the ASGI messages of its request. A connection waits for its client while it is open without a request,
while a body comes in, and while an answer is not taken.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import traceback
from collections import Counter
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier.web.peers import peer_of

LONGEST_WAIT = 75.0
"""Seconds for which a connection may wait for its client."""
LONGEST_HANDSHAKE = 5.0
"""Seconds that a TLS handshake may take, and its farewell."""
LAST_WAIT = 2.0
"""Seconds for which a connection may wait for its client once the server stops."""
MAX_HEADERS = 64 * 1024
"""The bytes that a request's line and headers may take."""
_MOST = 2048
_MAX_WITH_TLS = 128
"""asyncio sets 256 KiB aside for each connection with TLS, from the handshake on."""
_CROWD = 16
"""So many connections are more than one client needs; with fewer, the peer with most may be Alertmanager."""
_SWEEP = 5.0
"""Seconds between two checks for connections that have waited too long."""
_CONNECTION = "notifier.connection"
"""The name of the connection in the state of a request's scope."""

log = structlog.get_logger(__name__)


def most_connections(*, tls: bool) -> int:
    """Return the maximum number of connections: half of the files that the process may open, at most 2048.

    With *tls* it is 128.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_WITH_TLS if tls else _MOST
    return most if soft == resource.RLIM_INFINITY else max(16, min(most, soft // 2))


class Connections:
    """The connections of one server; belongs to its event loop."""

    def __init__(self, most: int) -> None:
        """Allow at most *most*."""
        self.most = most
        self.tls: ssl.SSLContext | None = None
        """The TLS context of new connections; None without TLS."""
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, float] = {}
        """Those that wait for their clients, and since when; the longest first."""
        self._is_sweeping = False
        self._is_refusing = False

    def refuse(self) -> None:
        """End each connection that has not been handed to the server, now and from now on; soon those that wait for
        clients.

        A server that stops closes the idle connections it has, once. It would wait until the end of its graceful
        shutdown for one that it is handed afterwards, and for a client that does not send the rest of a body.
        """
        self._is_refusing = True
        for connection in [one for one in self.open if not one.is_handed_over]:
            self.remove(connection)
            connection.abort()
        asyncio.get_running_loop().call_later(LAST_WAIT, self._end_waiting)

    def _end_waiting(self) -> None:
        for connection in list(self.waiting):
            connection.abort()

    def add(self, connection: Connection, now: float) -> None:
        """Count *connection* in. At the limit, end the one that has waited longest for its client.

        If the peer with most connections has `_CROWD` or more, end the one of its connections that has waited longest.
        If none waits, end *connection* itself.
        """
        if self._is_refusing:
            connection.abort()
            return
        if len(self.open) >= self.most:
            ended = self._dispensable()
            (ended or connection).abort()
            if ended is None:
                return
            self.remove(ended)
        self.open.add(connection)
        self.wait(connection, now)

    def _dispensable(self) -> Connection | None:
        ((crowded, count),) = Counter(one.peer for one in self.open).most_common(1)
        of_crowd = (one for one in self.waiting if one.peer == crowded and count >= _CROWD)
        return next(of_crowd, None) or next(iter(self.waiting), None)

    def remove(self, connection: Connection) -> None:
        """Count *connection* out."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)

    def wait(self, connection: Connection, now: float) -> None:
        """Note that *connection* waits for its client from *now* on."""
        if connection not in self.open:
            return
        self.waiting.pop(connection, None)
        self.waiting[connection] = now
        if not self._is_sweeping:
            self._is_sweeping = True
            self._call_later()

    def work(self, connection: Connection) -> None:
        """Note that *connection* does not wait for its client: its request is being answered."""
        self.waiting.pop(connection, None)

    def sweep(self, now: float) -> None:
        """End those that have waited for `LONGEST_WAIT` seconds."""
        for connection, since in list(self.waiting.items()):
            if now - since < LONGEST_WAIT:
                break
            self.work(connection)
            connection.abort()
        self._is_sweeping = bool(self.waiting)
        if self._is_sweeping:
            self._call_later()

    def _call_later(self) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(_SWEEP, lambda: self.sweep(loop.time()))


class Connection(asyncio.Protocol):
    """One connection: counted, secured by TLS if that is configured, then handed to the server's own protocol.

    `limited` makes the class that a server is given.
    """

    connections: Connections
    server_protocol: type[asyncio.Protocol]

    def __init__(self, app_state: MutableMapping[str, Any], **given: Any) -> None:
        """Make the server's protocol with the arguments of the server; its requests know this connection by their
        state.
        """
        self._inner = self.server_protocol(app_state={**app_state, _CONNECTION: self}, **given)  # type: ignore[call-arg]
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self.is_handed_over = False
        self._handshake: asyncio.Task[None] | None = None
        self._early = b""
        """What came in together with the end of the handshake."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP has no other
        """Take a place, and secure the connection where TLS is configured."""
        self._transport = transport
        self.client = transport.get_extra_info("peername")
        self.peer = peer_of(str(self.client[0])) if self.client else ""
        self.connections.add(self, self.loop.time())
        if transport.is_closing():
            return  # there was no place
        tls = self.connections.tls
        if tls is None:
            self._hand_over(transport)
        else:
            transport.pause_reading()
            self._handshake = self.loop.create_task(self._secure(transport, tls))

    async def _secure(self, transport: asyncio.Transport, context: ssl.SSLContext) -> None:
        if transport.is_closing():  # it gave way
            return
        secured: asyncio.Transport | None = None
        try:
            secured = await self.loop.start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=LONGEST_HANDSHAKE,
                ssl_shutdown_timeout=LONGEST_HANDSHAKE,
            )
        except (OSError, asyncio.CancelledError) as error:  # ssl.SSLError and TimeoutError are OSErrors
            log.debug("TLS handshake failed", error=str(error))
            # The frames of the error hold what the handshake took, in a cycle: it is to be freed now.
            traceback.clear_frames(error.__traceback__)
        if secured is None or self not in self.connections.open:
            transport.abort()
            self._transport = None
            self.connections.remove(self)
            return
        self._transport = secured
        self._hand_over(secured)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        self.is_handed_over = True
        self._inner.connection_made(transport)
        if self._early:
            self._inner.data_received(self._early)
            self._early = b""

    def data_received(self, data: bytes) -> None:
        """Pass on received bytes."""
        if self.is_handed_over:
            self._inner.data_received(data)
        else:
            self._early += data

    def eof_received(self) -> bool | None:
        """Pass on that nothing more comes in."""
        return self._inner.eof_received() if self.is_handed_over else None

    def pause_writing(self) -> None:
        """Pass on that the client does not take the answer."""
        if self.is_handed_over:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that the client takes the answer."""
        if self.is_handed_over:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.connections.remove(self)
        self._transport = None  # which holds much, and is held in a cycle by the state of our requests
        if self.is_handed_over:
            self._inner.connection_lost(exc)

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def wait(self) -> None:
        """Note that it waits for its client from now on."""
        self.connections.wait(self, self.loop.time())

    def work(self) -> None:
        """Note that its request is being answered."""
        self.connections.work(self)


def limited(connections: Connections, server_protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """Return the class of a server's connections, each one of *connections*, that speak by *server_protocol*."""
    own = {"connections": connections, "server_protocol": server_protocol}
    return type("LimitedConnection", (Connection,), own)


def watched(app: ASGIApp) -> ASGIApp:
    """Return *app*, for whose requests is noted when their connections wait for their clients."""

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection = scope["state"][_CONNECTION]
        connection.wait()  # for the body

        async def received() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                connection.work()
            return message

        async def sent(message: Message) -> None:
            connection.wait()  # until it is taken
            await send(message)
            if message.get("more_body", message["type"] == "http.response.start"):
                connection.work()

        await app(scope, received, sent)

    return watching
