"""The table of attacks: whatever a stranger exhausts, webhooks are answered 200 and their pages go out.

Times are printed, not judged: the machine is shared.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
import requests
import urllib3

from notifier.emulator import Emulator
from tests.support.connections import make_certificate
from tests.support.files import Files
from tests.support.nursery import Child, Nursery
from tests.support.processes import free_ports, memory
from tests.support.stage import IS_FULL, ask, new_emulator, until
from tests.support.webhooks import alert, webhook

pytestmark = [pytest.mark.xdist_group("attacks"), pytest.mark.timeout(120)]

TOKEN = "the-token-of-alertmanager"
HASH = bcrypt.hashpw(b"right", bcrypt.gensalt(10)).decode()
SECONDS = 4.0 if IS_FULL else 2.5
"""How long each attack lasts."""
MAX_MEMORY = 200  # MB


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@dataclass
class Target:
    """A service that is attacked while webhooks are posted to it."""

    url: str
    child: Child
    emulator: Emulator
    is_over: threading.Event = field(default_factory=threading.Event)
    statuses: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: float = 0.0

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    def connect(self) -> socket.socket:
        """Connect as a stranger: from another address than webhooks come from."""
        return socket.create_connection(self.address, 5, source_address=("127.0.0.2", 0))

    def post(self) -> None:
        """Post webhooks, each of a new group, until it is over."""
        while not self.is_over.is_set():
            host = f"host-{len(self.statuses)}"
            start = time.monotonic()
            with requests.Session() as session:
                session.trust_env, session.verify = False, False
                session.headers["Authorization"] = f"Bearer {TOKEN}"
                body = webhook(alert(instance=host), key=host)
                try:
                    answer = session.post(self.url + "/alert", json=body, timeout=30)
                    self.statuses.append(answer.status_code)
                except requests.RequestException:
                    self.statuses.append(0)
            self.seconds.append(time.monotonic() - start)
            self.peak = max(self.peak, memory(self.child.pid)[0])
            self.is_over.wait(0.05)

    def paged(self) -> set[str]:
        texts = " ".join(sms.message for sms in list(self.emulator.emulation.accepted))
        return set(re.findall(r"host-\d+\b", texts))


@contextlib.contextmanager
def target(nursery: Nursery, directory: Path, *, tls: bool = False) -> Iterator[Target]:
    with new_emulator().running() as emulator:
        (port,) = free_ports(1)
        web = {
            "listen_address": f"127.0.0.1:{port}",
            "tokens": [{"name": "alertmanager", "token": TOKEN, "may": ["webhook"]}],
            "users": {"ops": {"password_hash": HASH, "role": "viewer"}},
        }
        if tls:
            make_certificate(directory)
            web["tls_server_config"] = {"cert_file": "c.pem", "key_file": "k.pem"}
        file = Files(directory, emulator).write(
            web=web,
            ovh={"sender": ..., "sender_for_response": True, "replies": {"poll_interval": "1s"}},
            limits={"per_contact": None, "credits": None},
        )
        child = nursery.serve(file, directory / "log")
        url = f"http{'s' * tls}://127.0.0.1:{port}"

        def answers() -> bool:
            try:
                return ask("GET", url + "/-/healthy", verify=False).ok
            except requests.RequestException:
                return False

        until(answers, 60, "the service does not come up")
        try:
            yield Target(url, child, emulator)
        finally:
            child.kill()


Attack = Callable[[Target], None]


def nothing(_: Target) -> None:
    """Let webhooks alone be posted."""


def holding(number: int, data: bytes) -> Attack:
    """Hold *number* connections open, each of which has sent *data*; new ones in place of those that are closed."""

    def attack(one: Target) -> None:
        with contextlib.ExitStack() as stack:
            while not one.is_over.is_set():
                for _ in range(number):
                    with contextlib.suppress(OSError):
                        connection = stack.enter_context(one.connect())
                        connection.sendall(data)
                one.is_over.wait(1.0)
                stack.close()

    return attack


def flooding(data: bytes, *, reads: bool) -> Attack:
    """Send *data* again and again on one connection, reading the answers or not."""

    def attack(one: Target) -> None:
        while not one.is_over.is_set():
            with contextlib.suppress(OSError), one.connect() as connection:
                connection.settimeout(0.2)
                while not one.is_over.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection.send(data)
                    if reads and not connection.recv(65536):
                        break

    return attack


def guessing(one: Target) -> None:
    """Try passwords."""
    number = 0
    while not one.is_over.is_set():
        number += 1
        wrong = base64.b64encode(f"ops:{number}x{id(number)}".encode()).decode()
        with contextlib.suppress(requests.RequestException):
            ask("GET", one.url + "/", headers={"Authorization": f"Basic {wrong}"})


def texting(one: Target) -> None:
    """Write texts from strange numbers."""
    for number in range(300):
        one.emulator.emulation.reply(f"+337{number:08d}", "ok")


PIPELINED = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n" * 20_000
LONG_PATH = b"GET /" + b"x" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + b"x" * 100_000
UPGRADE = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
ATTACKS: dict[str, tuple[int, Attack]] = {
    "nothing": (1, nothing),
    "400 idle connections": (1, holding(400, b"")),
    "400 half requests": (1, holding(400, b"POST /alert HTTP/1.1\r\nHost: x\r\n")),
    "64 large bodies that do not end": (1, holding(64, LARGE)),
    "8 connections that send requests ahead and read nothing": (8, flooding(PIPELINED, reads=False)),
    "8 connections that ask for long paths": (8, flooding(LONG_PATH, reads=True)),
    "8 connections that send nonsense": (8, flooding(b"nonsense\r\n\r\n", reads=True)),
    "8 connections that offer upgrades": (8, flooding(UPGRADE, reads=True)),
    "16 who guess passwords": (16, guessing),
    "300 texts of strangers": (1, texting),
}


@pytest.mark.parametrize("name", [*ATTACKS, "400 TLS handshakes that do not end"])
def test_under_attack_webhooks_are_stored_and_pages_go_out(
    nursery: Nursery, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    count, attack = ATTACKS.get(name, (1, holding(400, b"")))
    with target(nursery, tmp_path, tls=name not in ATTACKS) as one:
        threads = [threading.Thread(target=attack, args=(one,), daemon=True) for _ in range(count)]
        posting = threading.Thread(target=one.post, daemon=True)
        for thread in (*threads, posting):
            thread.start()
        time.sleep(SECONDS)
        one.is_over.set()
        for thread in (*threads, posting):
            thread.join(60)
            assert not thread.is_alive()
        posted = {f"host-{number}" for number in range(len(one.statuses))}
        until(lambda: one.paged() >= posted, 60, "a page did not go out")
        p99 = sorted(one.seconds)[int(len(one.seconds) * 0.99)] * 1000
        log_size = (tmp_path / "log").stat().st_size / 1024
    request.node.user_properties.append(
        ("attack", f"{name:<58} {len(posted):>8} {p99:>8.0f} {one.peak:>9.0f} {log_size:>7.0f}")
    )
    assert set(one.statuses) == {200}
    assert one.peak < MAX_MEMORY
    assert log_size < 1024
