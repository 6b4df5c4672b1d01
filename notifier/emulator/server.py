"""The emulator over HTTP: OVHcloud's paths under ``/1.0``, and its own under ``/emulator``.

``POST /emulator/faults`` adds a `Fault`, ``DELETE`` clears them; ``GET /emulator/messages`` lists what was accepted;
``POST /emulator/settings`` changes attributes of the account (``credits``, ``status``, …); ``POST /emulator/replies``
replies to a message. ``/phone`` draws the phones with their messages.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from notifier.emulator.account import Emulation
from notifier.emulator.control import control, parse_mapping
from notifier.emulator.faults import Fault, FaultKind, Faults
from notifier.emulator.models import Letter, Refusal, Sms, not_found
from notifier.web.origin import is_foreign

_SITE = Path(__file__).parent / "site"
_FILES = {
    "/phone": ("phone.html", "text/html; charset=utf-8"),
    "/phone/phone.css": ("phone.css", "text/css"),
    "/phone/phone.js": ("phone.js", "text/javascript"),
}
_GUARD = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}


class Emulator:
    """An emulator that answers on *host* and *port* from `start` to `stop`.

    Each answer takes *latency* seconds. `requests` lists the requests in order, as (method, path).
    """

    def __init__(
        self,
        emulation: Emulation | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
    ) -> None:
        """Prepare to listen on *port* of *host*; 0 lets the system choose."""
        self.emulation = emulation or Emulation()
        self.faults = Faults()
        self.latency = latency
        self.requests: list[tuple[str, str]] = []
        self.on_accepted: Callable[[list[Sms]], None] | None = None
        self.beside: tuple[Emulator, ...] = ()
        """Those that emulate further accounts, whose messages the same phones show."""
        self.owners: dict[str, str] = {}
        """Whose phones are drawn, by their names: the numbers."""
        self.inbox: list[Letter] = []
        """What came through a second channel."""
        self.pages: str | None = None
        """Where the pages of the service are."""
        self.on_alert: Callable[[str], None] | None = None
        """Has a sample alert posted, with the status given."""
        self.released = threading.Event()
        self._server = _Server((host, port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def accounts(self) -> tuple[Emulator, ...]:
        """This one and the others."""
        return (self, *self.beside)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The base URL of the API, for ``ovh.endpoint``."""
        return f"http://127.0.0.1:{self.port}/1.0"

    @property
    def inbox_url(self) -> str:
        """The URL of the inbox, as apprise reads it; a name after it is that of the recipient."""
        return f"json://127.0.0.1:{self.port}/emulator/inbox"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and listen no more."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._server.close_connections()

    @contextmanager
    def running(self) -> Iterator[Emulator]:
        """Answer within the context."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def call_back(self) -> None:
        """Deliver due messages, and call the account's ``callBack`` for each receipt, as OVHcloud does."""
        target = self.emulation.settings.get("callBack")
        for sms in self.emulation.settle():
            if target:
                _get(target, {"id": sms.id, "ptt": sms.ptt, "date": int(time.time()),
                              "description": sms.delivery_receipt, "descriptionDlr": ""})  # fmt: skip

    def reply(self, phone: str, text: str) -> None:
        """Let *phone* reply, and call the account's ``cgiUrl``."""
        reply = self.emulation.reply(phone, text)
        response = self.emulation.settings.get("smsResponse") or {}
        if response.get("responseType") == "cgi" and response.get("cgiUrl"):
            _get(response["cgiUrl"], {"id": reply.id, "senderid": reply.sender, "message": reply.message})


def _get(target: str, query: dict[str, Any]) -> None:
    url = f"{target}{'&' if '?' in target else '?'}{urlencode(query)}"
    if url.startswith(("http://", "https://")):
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310
            pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, address: tuple[str, int], emulator: Emulator) -> None:
        self.emulator = emulator
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        self.close_request(request)  # without a shutdown before, so that a reset is one

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a caller that goes away is no error here."""

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Answered(Exception):
    """The answer is written already."""


class _Dropped(Exception):
    """The connection is to be closed without an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Be quiet."""

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode() if length else ""
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        try:
            if path in _FILES:
                self._file(*_FILES[path])
            elif path.startswith("/emulator/") and self._is_foreign():
                raise Refusal(403, "Client::Forbidden", "A page of another site may not do that")
            elif path.startswith("/emulator/"):
                self._answer(
                    200, control(self.server.emulator, self.command, path.removeprefix("/emulator/"), body)
                )
            else:
                self._answer(200, self._faulty(path, dict(parse_qsl(parts.query)), body))
        except Refusal as refusal:
            self._answer(refusal.status, refusal.body)
        except _Answered:
            pass
        except _Dropped:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 (names of the standard library's)

    def _is_foreign(self) -> bool:
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        return is_foreign({"headers": headers})

    def _file(self, name: str, kind: str) -> None:
        self._write(200, kind, (_SITE / name).read_bytes(), _GUARD)

    def _faulty(self, path: str, query: dict[str, str], body: str) -> Any:
        emulator = self.server.emulator
        emulator.requests.append((self.command, path))
        if emulator.latency:
            time.sleep(emulator.latency)
        fault = emulator.faults.take(self.command, path)
        if fault is None:
            return self._api(path, query, body)
        if fault.kind is FaultKind.RESET_BEFORE:
            self._reset()
        if fault.kind is FaultKind.HANG_BEFORE:
            self._hang(fault.seconds)
        if fault.kind in (FaultKind.ERROR, FaultKind.HTML):
            self._fail(fault)
        answer = self._api(path, query, body)
        if fault.kind is FaultKind.RESET_AFTER:
            self._reset()
        if fault.kind is FaultKind.HANG_AFTER:
            self._hang(fault.seconds)
        if fault.kind is FaultKind.GARBAGE:
            self._write(200, "text/html", b"<html>all is well</html>", {})
            raise _Answered
        return answer

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _Dropped

    def _hang(self, seconds: float) -> None:
        self.server.emulator.released.wait(seconds)
        raise _Dropped

    def _fail(self, fault: Fault) -> None:
        if fault.kind is FaultKind.HTML:
            page = f"<html><body><h1>{fault.status} {fault.message}</h1></body></html>".encode()
            self._write(fault.status, "text/html", page, fault.headers)
        else:
            error = Refusal(fault.status, fault.error_class, fault.message, fault.error_code)
            self._write(fault.status, "application/json", json.dumps(error.body).encode(), fault.headers)
        raise _Answered

    def _answer(self, status: int, content: Any) -> None:
        self._write(status, "application/json; charset=utf-8", json.dumps(content).encode(), {})

    def _write(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-OVH-QUERYID", f"EU.ext-1.{secrets.token_hex(6)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    # OVHcloud's own

    def _api(self, path: str, query: dict[str, str], body: str) -> Any:
        emulation = self.server.emulator.emulation
        if path == "/auth/oauth2/token":
            _, _, basic = self.headers.get("Authorization", "").partition("Basic ")
            client_id, _, secret = base64.b64decode(basic).decode().partition(":")
            return emulation.issue_token(client_id, secret)
        if not path.startswith("/1.0/"):
            raise Refusal(404, "Client::NotFound", "Got an invalid (or empty) URL")
        path = path.removeprefix("/1.0")
        if path == "/auth/time":
            return int(emulation.server_time())
        if path == "/auth/credential" and self.command == "POST":
            if self.headers.get("X-Ovh-Application") != emulation.credentials.application_key:
                raise Refusal(403, "Client::Forbidden", "Invalid application key", "INVALID_KEY")
            return emulation.request_credential(parse_mapping(body))
        host = self.headers.get("Host", "")
        headers = {name.title(): value for name, value in self.headers.items()}
        emulation.authenticate(headers, self.command, f"http://{host}{self.path}", path, body)
        steps = path.strip("/").split("/")
        return self._telephony(steps, body) if steps[0] == "telephony" else self._sms(steps, query, body)

    def _telephony(self, steps: list[str], body: str) -> Any:
        telephony = self.server.emulator.emulation.telephony
        own = ["telephony", telephony.billing_account, "line", telephony.line, "automaticCall"]
        match self.command, steps[:5] == own, steps[5:]:
            case "POST", True, []:
                return telephony.call(parse_mapping(body))
            case "GET", True, []:
                return telephony.identifiers()
            case "GET", True, [identifier]:
                return telephony.get(identifier)
            case _:
                raise not_found()

    def _sms(self, steps: list[str], query: dict[str, str], body: str) -> Any:  # noqa: C901 (a table of routes)
        emulator = self.server.emulator
        emulation = emulator.emulation
        match self.command, steps:
            case "GET", ["sms"]:
                return [emulation.service_name]
            case "POST", ["sms", "estimate"]:
                return emulation.estimate(parse_mapping(body))
            case "GET", ["sms", "ptts"]:
                return emulation.ptt(query)
            case _, ["sms", service, *_] if service != emulation.service_name:
                raise Refusal(404, "Client::NotFound", "This service does not exist")
            case "GET", ["sms", _]:
                return emulation.account()
            case "PUT", ["sms", _]:
                return emulation.change(parse_mapping(body))
            case "POST", ["sms", _, "jobs"]:
                return self._send(parse_mapping(body), None)
            case "POST", ["sms", _, "virtualNumbers", number, "jobs"]:
                return self._send(parse_mapping(body), number)
            case "GET", ["sms", _, "virtualNumbers", number, *_] if number not in emulation.virtual_numbers:
                raise not_found()
            case "GET", ["sms", _, "virtualNumbers", number, *rest]:
                return self._listed(rest, query, number)
            case "GET", ["sms", _, ("jobs" | "outgoing" | "incoming"), *_]:
                return self._listed(steps[2:], query, None)
            case "GET", ["sms", _, "senders"]:
                return list(emulation.senders)
            case "GET", ["sms", _, "senders", name]:
                return emulation.sender(name)
            case "GET", ["sms", _, "blacklists"]:
                return sorted(emulation.invalid_numbers)
            case _:
                raise not_found()

    def _listed(self, steps: list[str], query: dict[str, str], number: str | None) -> Any:
        """Return a list of the account, or of a virtual *number*, or one item of it."""
        emulation = self.server.emulator.emulation
        match steps:
            case ["jobs"]:
                return emulation.pending(number)
            case ["jobs", id_] if id_.isdecimal():
                return emulation.job(int(id_), number)
            case ["outgoing"]:
                return emulation.outgoing(query, number)
            case ["outgoing", id_] if id_.isdecimal():
                return emulation.sms(int(id_), number)
            case ["incoming"]:
                return emulation.incoming(query, number)
            case ["incoming", id_] if id_.isdecimal():
                return emulation.incoming_reply(int(id_), number)
            case _:
                raise not_found()

    def _send(self, body: dict[str, Any], virtual_number: str | None) -> Any:
        emulator = self.server.emulator
        answer = emulator.emulation.send(body, virtual_number)
        if emulator.on_accepted is not None and answer["ids"]:
            ids = set(answer["ids"])
            emulator.on_accepted([sms for sms in list(emulator.emulation.accepted) if sms.id in ids])
        return answer
