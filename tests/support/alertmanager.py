"""A member of an Alertmanager cluster, as far as Notifier asks it, with answers that a test chooses."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from notifier.alertmanager.webhook import fingerprint


class Member:
    """Answers ``/api/v2/status``, ``alerts`` and ``silence/ID``."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.started_at = now() - timedelta(hours=1)
        self.cluster = "ready"
        self.alerts: dict[str, dict[str, Any]] = {}
        self.silences: dict[str, dict[str, Any]] = {}
        self.answer: Callable[[str], tuple[int, bytes] | None] = lambda path: None
        """Returns what to answer instead, by path."""
        self.paths: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        member = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                member.paths.append(self.path)
                member.headers.append(dict(self.headers))
                status, body = member.answer(self.path) or member.answered(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/prefix"

    def answered(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(path)
        match parts.path.removeprefix("/prefix/api/v2/").split("/"):
            case ["status"]:
                body: Any = {
                    "uptime": self.started_at.isoformat(),
                    "cluster": {"status": self.cluster, "peers": []},
                    "versionInfo": {"version": "0.28.0"},
                    "config": {"original": ""},
                }
            case ["alerts"]:
                wanted = dict(self._pair(one) for one in parse_qs(parts.query).get("filter", ()))
                body = [one for one in self.alerts.values() if wanted.items() <= one["labels"].items()]
            case ["silence", id_] if id_ in self.silences:
                body = self.silences[id_]
            case _:
                return 404, b""
        return 200, json.dumps(body).encode()

    @staticmethod
    def _pair(text: str) -> tuple[str, str]:
        found = re.fullmatch(r'(\w+)="(.*)"', text)
        assert found is not None, text
        return found[1], found[2]

    def fire(self, *alerts: Mapping[str, Any]) -> None:
        """Know *alerts*, as they are in a webhook."""
        for one in alerts:
            id_ = one["fingerprint"] or fingerprint(one["labels"])
            self.alerts[id_] = {
                "fingerprint": id_,
                "labels": one["labels"],
                "annotations": {},
                "startsAt": one["startsAt"],
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
            }

    def silence(self, *, by: str = "alice", comment: str = "deploy", hours: float = 2.0) -> None:
        """Silence all alerts."""
        id_ = f"silence-{len(self.silences)}"
        ends = self.now() + timedelta(hours=hours)
        self.silences[id_] = {"createdBy": by, "comment": comment, "endsAt": ends.isoformat()}
        for one in self.alerts.values():
            one["status"] |= {"state": "suppressed", "silencedBy": [id_]}

    def inhibit(self, by: str) -> None:
        """Have an alert of the name *by* inhibit all others."""
        for one in self.alerts.values():
            one["status"] |= {"state": "suppressed", "inhibitedBy": ["source"]}
        labels = {"alertname": by}
        self.fire({"fingerprint": "source", "labels": labels, "startsAt": self.now().isoformat()})

    def release(self) -> None:
        """End all silences and inhibitions."""
        for one in self.alerts.values():
            one["status"] |= {"state": "active", "silencedBy": [], "inhibitedBy": []}

    def end(self) -> None:
        """Forget all alerts."""
        self.alerts.clear()

    def asked(self) -> int:
        """Return how often its alerts were asked for."""
        return sum("/api/v2/alerts" in path for path in self.paths)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def members(count: int, now: Callable[[], datetime]) -> Iterator[list[Member]]:
    """Run *count* members."""
    made = [Member(now) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            one.close()
