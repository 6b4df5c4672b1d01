"""Two real Alertmanagers of a cluster, asked before anybody else is woken, through a night of silences and failures."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from notifier.emulator import Emulator
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.processes import free_ports, program, running, wait_for
from tests.support.team import team, told


class Inbox:
    """Takes the webhooks of Alertmanager."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        inbox = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inbox.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Cluster:
    """Two members, each of which can be stopped and started."""

    def __init__(self, directory: Path, inbox: Inbox) -> None:
        self.directory = directory
        self.ports = free_ports(4)
        self._members: dict[int, contextlib.ExitStack] = {}
        (directory / "alertmanager.yml").write_text(
            json.dumps({
                "route": {"receiver": "ops", "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
                "receivers": [{"name": "ops", "webhook_configs": [{"url": inbox.url, "send_resolved": True}]}],
                "inhibit_rules": [{"source_matchers": ['alertname="NodeDown"'], "target_matchers": ['severity="critical"'], "equal": ["instance"]}],
            })
        )  # fmt: skip

    def url(self, member: int) -> str:
        return f"http://127.0.0.1:{self.ports[member]}/am"

    def start(self, member: int) -> None:
        port, cluster, peer = self.ports[member], self.ports[2 + member], self.ports[3 - member]
        stack = self._members[member] = contextlib.ExitStack()
        stack.enter_context(running([
            program("prometheus-alertmanager"), f"--config.file={self.directory}/alertmanager.yml",
            f"--storage.path={self.directory}/am{member}", f"--web.listen-address=127.0.0.1:{port}",
            "--web.route-prefix=/am", f"--web.external-url={self.url(member)}",
            f"--cluster.listen-address=127.0.0.1:{cluster}", f"--cluster.peer=127.0.0.1:{peer}",
            "--cluster.settle-timeout=2s", "--cluster.peer-timeout=1s", "--cluster.gossip-interval=50ms",
            "--cluster.pushpull-interval=1s",
        ], self.directory / f"am{member}.log"))  # fmt: skip

    def is_ready(self, member: int) -> bool:
        answer = requests.get(f"{self.url(member)}/api/v2/status", timeout=5).json()
        return bool(answer["cluster"]["status"] == "ready")

    def stop(self, member: int) -> None:
        self._members.pop(member).close()

    def close(self) -> None:
        for member in list(self._members):
            self.stop(member)

    def fire(self, *members: int, ends: bool = False, **labels: str) -> None:
        now = datetime.now(UTC)
        started, ended = now - timedelta(minutes=5), now - timedelta(seconds=1)
        alert = {
            "labels": labels,
            "startsAt": started.isoformat(),
            "endsAt": (ended if ends else now + timedelta(hours=4)).isoformat(),
        }
        for member in members:
            assert requests.post(f"{self.url(member)}/api/v2/alerts", json=[alert], timeout=10).ok

    def silence(self, member: int, name: str) -> str:
        now = datetime.now(UTC)
        given = {
            "matchers": [{"name": "alertname", "value": name, "isRegex": False, "isEqual": True}],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=8)).isoformat(),
            "createdBy": "dave",
            "comment": "moving the database",
        }
        return str(
            requests.post(f"{self.url(member)}/api/v2/silences", json=given, timeout=10).json()["silenceID"]
        )

    def expire(self, member: int, silence: str) -> None:
        assert requests.delete(f"{self.url(member)}/api/v2/silence/{silence}", timeout=10).ok

    def state(self, member: int, name: str) -> str | None:
        query = {"filter": f'alertname="{name}"'}
        found = requests.get(f"{self.url(member)}/api/v2/alerts", query, timeout=10).json()
        return str(found[0]["status"]["state"]) if found else None

    def wait(self, name: str, state: str | None, *members: int) -> None:
        for member in members:
            wait_for(
                lambda member=member: self.state(member, name) == state,
                f"{name} is not {state} on member {member}",
            )


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    made = Inbox()
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path: Path, inbox: Inbox) -> Iterator[Cluster]:
    made = Cluster(tmp_path, inbox)
    made.start(0)
    made.start(1)
    for member in (0, 1):
        wait_for(lambda member=member: made.is_ready(member), "the Alertmanagers do not form a cluster")
    yield made
    made.close()


@pytest.mark.timeout(200)
def test_a_night_of_silences(files: Files, emulator: Emulator, cluster: Cluster, inbox: Inbox) -> None:
    changes = {"alertmanager": {"urls": [cluster.url(0), cluster.url(1)]}}
    pager = Pager(files, Hand(datetime.now(UTC)), changes | team(("5m", ["bob"]), ("30m", ["carol"])))

    def receive(count: int) -> None:
        wait_for(lambda: len(inbox.bodies) >= count, "Alertmanager posts no webhook")
        for body in inbox.bodies[:count]:
            pager.post(body)
        del inbox.bodies[:count]
        pager.turn()

    def texts(after: int = 0) -> list[tuple[str, str]]:
        return [(who, text.partition(" #")[0]) for who, text in told(emulator)[after:]]

    def incident(number: int) -> Any:
        return pager.store.incidents.numbered(number)

    cluster.fire(0, 1, alertname="Disk", instance="db-1", severity="critical")
    receive(1)
    assert texts() == [("alice", "FIRING")]

    # Silenced on one member: the other hears of it, and nobody else is paged.
    silence = cluster.silence(0, "Disk")
    cluster.wait("Disk", "suppressed", 0, 1)
    pager.run(600, step=60)
    quiet = incident(1)
    assert (quiet.shown_state, quiet.silenced_by, quiet.silence_comment) == (
        "silenced",
        "dave",
        "moving the database",
    )
    assert quiet.silenced_until is not None
    assert [who for who, _ in texts()] == ["alice", "alice"]
    assert " silenced by dave until " in told(emulator)[1][1]

    # One member is down: the other knows enough.
    cluster.stop(0)
    pager.run(600, step=60)
    assert incident(1).shown_state == "silenced"

    # The silence ends while the alert fires: the next step is taken at once.
    cluster.expire(1, silence)
    cluster.wait("Disk", "active", 1)
    pager.run(120, step=60)
    assert texts(after=2) == [("bob", "SILENCE ENDED")]

    # A member that has just started knows no alerts; that resolves nothing.
    cluster.start(0)
    wait_for(lambda: cluster.is_ready(0), "the Alertmanager does not join again")
    pager.run(120, step=60)
    assert incident(1).shown_state == "open"
    cluster.fire(0, alertname="Disk", instance="db-1", severity="critical")

    # Inhibited by another alert.
    cluster.fire(0, 1, alertname="NodeDown", instance="db-1", severity="page")
    cluster.wait("Disk", "suppressed", 0, 1)
    receive(len(inbox.bodies) or 1)
    pager.run(2400, step=120)
    held = incident(1)
    assert (held.shown_state, held.silence_comment) == ("silenced", "inhibited by NodeDown")
    assert "carol" not in [who for who, text in told(emulator) if "#1 " in text]

    # It ends while it is inhibited, of which Alertmanager posts no webhook.
    cluster.fire(0, 1, alertname="Disk", instance="db-1", severity="critical", ends=True)
    cluster.wait("Disk", None, 0, 1)
    before = len(told(emulator))
    pager.run(240, step=60)
    assert incident(1).shown_state == "resolved"
    assert sorted(who for who, text in told(emulator)[before:] if text.startswith("RESOLVED #1 ")) == [
        "alice",
        "bob",
    ]

    # Both are down: it goes on as without them.
    cluster.fire(0, 1, alertname="Queue", instance="mq-1", severity="critical")
    wait_for(lambda: any(b'"Queue"' in body for body in inbox.bodies), "Alertmanager posts no webhook")
    receive(len(inbox.bodies))
    cluster.silence(1, "Queue")
    cluster.wait("Queue", "suppressed", 0, 1)
    cluster.stop(0)
    cluster.stop(1)
    before = len(told(emulator))
    pager.run(360, step=60)
    newest = pager.store.incidents.latest(1)[0]
    assert newest.title.startswith("Queue")
    assert ("bob", "ESCALATED") in texts(after=before)
    assert pager.store.incidents.history(newest.id)[-1].detail == "bob; Alertmanager could not be asked"
    pager.close()
