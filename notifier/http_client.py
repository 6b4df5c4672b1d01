"""Calls to other servers, each with one deadline, without redirects, and with answers of a limited size.

The time-outs of ``requests`` are for each read: a server that sends a byte a second could hold a thread for ever. So
its connections show their sockets, and a timer shuts the socket down when the time for the whole call is over.
"""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

MAX_ANSWER = 1024 * 1024
"""The bytes that an answer may have, unpacked."""
_CHUNK = 64 * 1024


class AnswerTooLarge(requests.RequestException):
    """The answer is larger than it may be."""


class _Calls(HTTPAdapter):
    """Makes the calls of one session, one at a time."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._socket: socket.socket | None = None
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make connections that show their sockets."""
        super().init_poolmanager(*args, **kwargs)
        calls = self

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                calls._socket = self.sock

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                calls._socket = self.sock

        plain = type("Pool", (HTTPConnectionPool,), {"ConnectionCls": Plain})
        secure = type("SecurePool", (HTTPSConnectionPool,), {"ConnectionCls": Secure})
        self._pools = {"http": plain, "https": secure}
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Have the pools of a proxy do the same."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def send(self, request: Any, *args: Any, **kwargs: Any) -> requests.Response:
        """Return the answer to *request*, read whole.

        Raises:
            requests.ReadTimeout: it was not there in time.
            AnswerTooLarge: it is too large.
        """
        is_over = threading.Event()

        def end() -> None:
            is_over.set()
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self._seconds, end)
        timer.daemon = True
        timer.start()
        kwargs["stream"] = True
        late = requests.ReadTimeout(f"no whole answer within {self._seconds:g} s", request=request)
        try:
            answer = super().send(request, *args, **kwargs)
            answer.raw = io.BytesIO(self._read(answer))
            answer.encoding = answer.encoding or "utf-8"  # to guess at that of a long page takes seconds
        except (OSError, HTTPError) as error:  # requests' errors are of the former
            if is_over.is_set():
                raise late from error
            if isinstance(error, HTTPError):
                raise requests.ConnectionError(str(error), request=request) from error
            raise
        finally:
            timer.cancel()
        if is_over.is_set():  # headers that are cut off look like headers that have ended
            raise late
        return answer

    def _read(self, answer: requests.Response) -> bytes:
        data = bytearray()
        while chunk := answer.raw.read1(_CHUNK, decode_content=True):
            data += chunk
            if len(data) > self._max_bytes:
                answer.raw.close()
                raise AnswerTooLarge(f"the answer is larger than {self._max_bytes // 1024} KiB")
        answer.raw.release_conn()
        return bytes(data)


def limit(session: requests.Session, seconds: float, max_bytes: int = MAX_ANSWER) -> None:
    """Make each call of *session*, one at a time, end within *seconds*, without redirects.

    A redirect raises `requests.TooManyRedirects`.
    """
    session.max_redirects = 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Calls(seconds, max_bytes))


def call(
    method: str, url: str, *, seconds: float, max_bytes: int = MAX_ANSWER, **how: Any
) -> requests.Response:
    """Return the answer to one call within *seconds*; *how* holds further arguments of `requests.Session.request`.

    Raises:
        requests.RequestException: there is none, or it redirects, or it is larger than *max_bytes*.
    """
    with requests.Session() as session:
        limit(session, seconds, max_bytes)
        return session.request(method, url, timeout=(min(seconds, 5.0), seconds), **how)
