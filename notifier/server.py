"""The HTTP server: uvicorn, its socket, TLS, and how Python shares its time."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from notifier.config.web import TlsServerConfig

_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that computes lets another one in: the event loop must not wait for 5 ms."""


class Server(uvicorn.Server):
    """uvicorn, with the signals left to the service."""

    asked_to_stop_at: float | None = None
    on_started: Callable[[], None] = staticmethod(lambda: None)
    on_asked: Callable[[], None] = staticmethod(lambda: None)
    on_shutdown: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    def ask_to_stop(self) -> None:
        """Finish current requests, then stop."""
        self.asked_to_stop_at = self.asked_to_stop_at or time.monotonic()
        self.should_exit = True
        self.on_asked()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self.on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait until every connection has ended."""
        self.on_shutdown()
        await super().shutdown(sockets)


class AddressUnavailable(Exception):
    """The address to listen on cannot be used; the text gives the reason and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on *host* and *port*.

    Raises:
        AddressUnavailable: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressUnavailable(
            f"cannot listen on {host}:{port}: {error.strerror}; change web.listen_address or end what listens there"
        ) from None
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def tls_context(settings: TlsServerConfig) -> ssl.SSLContext:
    """Return the TLS context for new connections.

    Raises:
        OSError: a file cannot be loaded, or certificate and key do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.client_ca_file)
    context.load_cert_chain(settings.cert_file, settings.key_file)
    if settings.client_ca_file is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def spare_the_collector() -> None:
    """Exclude the objects made at the start from garbage collection, and collect the others less often.

    The objects of a webhook hold no cycles; looking for some took half of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def switching_often() -> Iterator[None]:
    """Have threads take turns more often than Python does by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    with contextlib.ExitStack() as stack:
        stack.callback(sys.setswitchinterval, before)
        yield
