"""Second channels: an HTTP receiver and a mail server, with failures that a test chooses."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from tests.support.processes import free_ports


class Receiver:
    """Takes what apprise posts to ``json://``: (title, text)."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []
        self.status = 200
        self.hang = threading.Event()
        self.hang.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.hang.wait(30)
                if receiver.status == 200:
                    receiver.got.append((body["title"], body["message"]))
                self.send_response(receiver.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"json://user:s3cret-pass@127.0.0.1:{self._server.server_port}/hook"

    def close(self) -> None:
        self.hang.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


class Mailbox:
    """Keeps the mails of a server: (recipients, subject, text)."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], str, str]] = []
        self.refusal = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        if self.refusal:
            return self.refusal
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        text = message.get_body(("plain", "html"))
        self.got.append((envelope.rcpt_tos, message["Subject"], text.get_content().strip()))
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Mailbox, str]]:
    """Run a mail server; yield its mailbox, and the URL for mails to alice."""
    mailbox = Mailbox()
    (port,) = free_ports(1)
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox, f"mailto://127.0.0.1:{port}?to=alice@example.net&from=notifier@example.net"
    finally:
        controller.stop()
