"""Hostile input over real HTTP: nothing is answered 5xx, nothing hangs, nothing grows, nobody gets in."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import itertools
import json
import re
import resource
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from starlette.routing import Route

from notifier.config.web import Web
from notifier.emulator import Emulator
from notifier.logs import LogLevel, configure_logging
from notifier.web.api.openapi import document
from notifier.web.api.routes import OPERATIONS
from notifier.web.authentication import Authentication
from notifier.web.connections import LONGEST_WAIT, Connections
from notifier.web.origin import is_foreign
from tests.support.connections import request, talk
from tests.support.files import ALICE, BOB, Files
from tests.support.processes import memory, wait_for
from tests.support.service import Phones, Running, start
from tests.support.webhooks import alert, payload, webhook

# The service, in threads of this process, uses chance while examples are made.
pytestmark = [
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning"),
    pytest.mark.xdist_group("hostile"),  # the tests share a service, and look at what others have left behind
]

SECRET = "a-long-enough-callback-secret"
ROTA = {
    "name": "platform",
    "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice", "bob"]}],
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A service that all of these tests share, as whoever is hostile does."""
    with Emulator().running() as emulator:
        files = Files(tmp_path_factory.mktemp("hostile"), emulator)

        def write(zone: Any) -> Any:
            return files.write(
                schedules=[ROTA],
                ovh={"callback_secret": SECRET},
                limits={"per_contact": {"messages": 1000, "per": "1s"}},
                receivers=RECEIVERS,
                **{"global": {"time_zone": zone}},
            )

        running: Any = start(write(ZONES[0]))
        running.post(payload("firing-one"))
        running.emulator, running.write = emulator, write
        running.shown = {zone: set() for zone in ZONES}
        yield running
        for _ in ZONES:
            require_pages(running)
        running.stop()


def ready(served: Any) -> Any:
    return "Notifier is ready." in served.get("/-/ready")


ZONES = ("Pacific/Auckland", "America/New_York")
"""Far east and far west of Greenwich: neither may meet a time that it cannot show."""
RECEIVERS = [
    {"name": "ops", "notify": ["alice"]},
    {"name": "sound", "notify": ["alice"], "escalate": [{"after": "100ms", "notify": ["bob"]}]},
]
_zones = itertools.cycle(ZONES)
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def sound_alerts_are_paged_and_escalated_afterwards(request: pytest.FixtureRequest) -> Iterator[Any]:
    """After each hostile input, a sound alert must be paged and escalated, and every page shown in one of `ZONES`."""
    yield
    if "served" in request.fixturenames:
        require_paging(request.getfixturevalue("served"))


def require_paging(served: Any) -> None:
    """Require it of *served*, and that it shows its pages."""
    host = f"sound-{next(_numbers)}"
    assert served.post(webhook(alert(instance=host), key=host), "/alert/sound").status_code == 200
    deadline = time.monotonic() + 30
    paged: set[str] = set()
    while paged != {ALICE, BOB}:
        assert time.monotonic() < deadline, f"a sound alert was not paged and escalated, only to {paged}"
        time.sleep(0.02)
        paged = {sms.receiver for sms in served.emulator.emulation.accepted if f" {host} " in sms.message}
    require_pages(served)


def require_pages(served: Any) -> None:
    """Require that *served* shows its pages, and the incidents not yet shown there, in one of `ZONES`: by turns."""
    zone = next(_zones)
    served.write(zone)
    assert served.post(b"", "/-/reload").text == "reloaded\n"
    found = requests.get(served.url + "/api/v1/incidents?limit=40", timeout=10).json()["items"]
    new = {one["id"] for one in found} - served.shown[zone]
    served.shown[zone] |= new
    paths = [
        "/",
        "/?all=1",
        "/oncall",
        "/messages",
        "/settings",
        "/api/v1/messages",
        "/api/v1/oncall",
        "/metrics",
    ]
    paths += [f"{where}/incidents/{number}" for number in new for where in ("", "/api/v1")]
    for path in paths:
        assert requests.get(served.url + path, timeout=10).status_code == 200, (zone, path)


DATES = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00-12:00",
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
    "9999-12-31T23:59:59+14:00",
    "1970-01-01T00:00:00Z",
)


@pytest.mark.parametrize("date", DATES)
def test_an_alert_with_a_date_that_cannot_be_shown_is_paged_and_resolved(served: Any, date: Any) -> None:
    host, body = f"odd-{date}", {"key": date, "receiver": "ops"}
    odd = alert("OddDate", starts_at=date, instance=host)
    assert served.post(webhook(odd, **body)).status_code == 200
    assert (
        served.post(webhook(odd, alert("Joined", starts_at=date, instance=host), **body)).status_code == 200
    )
    require_paging(served)
    over = {**odd, "status": "resolved", "endsAt": date}
    assert served.post(webhook(over, **body)).status_code == 200


def test_a_database_that_holds_a_date_that_cannot_be_read_recovers(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    file = files.write(receivers=RECEIVERS[1:], **{"global": {"time_zone": ZONES[1]}})
    first = run(file)
    first.post(webhook(alert(instance="db-1"), key="a"))
    phones.wait(2)
    first.stop()
    with sqlite3.connect(files.directory / "notifier.db") as database:
        database.execute("UPDATE incidents SET began_at = -62135647200000000, due_at = 1, labels = '{'")
    second = run(file)
    second.post(webhook(alert(instance="db-1"), alert("Other", instance="db-1"), key="a"))
    second.post(webhook(alert(instance="db-2"), key="b"))
    texts = [sms.message for sms in phones.wait(7)]
    assert any("UPDATE #1 Other db-1" in text for text in texts)
    assert sum("#2 InstanceDown db-2" in text for text in texts) == 2, texts
    for path in ("/", "/incidents/1", "/api/v1/incidents"):
        assert requests.get(second.url + path, timeout=10).status_code == 200


# -- as the description says -------------------------------------------------------------------------------

SCHEMA = schemathesis.openapi.from_dict(document(OPERATIONS))


@SCHEMA.parametrize()
@settings(max_examples=15, deadline=None, derandomize=True)
def test_what_is_asked_is_answered_as_described(case: Any, served: Any) -> None:
    # A webhook is refused only when it cannot page anybody: what is refused is lost.
    is_lenient = case.operation.path.startswith("/alert")
    # Not described can be: times one after the other, within 400 days; texts of which something is left to be sent;
    # that a service without credentials must be told in whose name.
    path = case.operation.path
    is_picky = path in ("/api/v1/oncall", "/api/v1/send") or path.startswith("/api/v1/incidents/{id}/")
    excluded = [negative_data_rejection] * is_lenient + [positive_data_acceptance] * is_picky
    case.call_and_validate(base_url=served.url, timeout=10, excluded_checks=excluded)


def test_the_description_holds_every_path(served: Any) -> None:
    """And what each answers is held against it by the test before."""
    described = {
        (path, method.upper())
        for path, methods in document(OPERATIONS)["paths"].items()
        for method in methods
    }
    routes = {
        (route.path.replace(":name", ""), method)
        for route in served.service.app.routes
        if isinstance(route, Route)
        for method in route.methods
        if method != "HEAD"
    }
    pages = {
        (route.path, method)
        for route in served.service.pages.routes()
        for method in route.methods
        if method != "HEAD"
    }
    assert described | pages == routes
    assert requests.get(served.url + "/api/v1/openapi.json", timeout=10).json() == document(OPERATIONS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
mutated = st.fixed_dictionaries(
    {},
    optional={
        "receiver": json_values,
        "status": st.sampled_from(["firing", "resolved", "", None]),
        "groupKey": json_values,
        "groupLabels": json_values,
        "commonLabels": json_values,
        "commonAnnotations": json_values,
        "externalURL": json_values,
        "truncatedAlerts": json_values,
        "alerts": json_values
        | st.lists(
            st.fixed_dictionaries(
                {
                    "status": st.sampled_from(["firing", "resolved"]),
                    "labels": st.dictionaries(st.text(), st.text(), max_size=4),
                    "startsAt": st.sampled_from(["2026-11-22T12:13:30Z", *DATES]),
                },
                optional={
                    "annotations": json_values,
                    "endsAt": json_values,
                    "fingerprint": json_values,
                    "generatorURL": json_values,
                },
            ),
            max_size=3,
        ),
    },
)


@settings(max_examples=150)
@given(
    st.binary(max_size=200)
    | json_values.map(json.dumps).map(str.encode)
    | mutated.map(lambda m: {**webhook(alert()), **m}).map(json.dumps).map(str.encode)
)
def test_any_webhook_is_stored_or_refused_and_what_is_stored_is_planned(served: Any, body: Any) -> None:
    assert served.post(body).status_code in (200, 400)


def test_all_of_it_was_planned(served: Any) -> None:
    deadline = time.monotonic() + 20
    while served.service.store.outbox.queue().unplanned and time.monotonic() < deadline:
        time.sleep(0.05)
    assert served.service.store.outbox.queue().unplanned == 0
    assert ready(served)


# -- too much ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (json.dumps(webhook(alert(), extra=0)).replace("0}", "[" * 100 + "]" * 100 + "}").encode(), 200),
        (json.dumps(webhook(alert(**{f"l{n}": "v" for n in range(100_000)}))).encode(), 200),
        (json.dumps(webhook(*[alert(instance=f"i{n}") for n in range(10_000)])).encode(), 200),
        (json.dumps(webhook(alert(instance="x" * 3_000_000))).encode(), 200),
        (json.dumps(webhook(alert())).replace('"firing"', '"firing", "status": "firing"', 1).encode(), 200),
    ],
    ids=["deep lists", "deep objects", "deep and let through", "many labels", "many alerts", "a long label", "twice the same key"],
)  # fmt: skip
def test_what_is_deep_wide_or_long_is_stored_or_refused(served: Any, body: Any, status: Any) -> None:
    assert served.post(body).status_code == status
    test_all_of_it_was_planned(served)


def test_a_hundred_megabytes_are_refused_without_being_held(served: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = b"POST /alert HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    host, port = served.url.removeprefix("http://").split(":")
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    answer, sent = b"", 0
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(head)
        try:
            for _ in range(100):
                connection.sendall(chunk)
                sent += 1
            answer = connection.recv(1000)
        except OSError:
            pass  # it was hung up on
    assert sent < 100 or b"413" in answer
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000, f"{grown} KB"
    assert ready(served)


@pytest.mark.parametrize(
    "flood",
    [
        b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 200_000,
        b"GET / HTTP/1.1\r\nX-A: " + b"b" * 1_000_000,
        b"GET /" + b"a" * 1_000_000,
        b"POST /alert HTTP/1.1\r\nContent-Length: 10\r\n" + b"X-A: b\r\n" * 200_000,
    ],
    ids=["many headers", "a long header", "a long line", "of a webhook"],
)
def test_a_flood_of_headers_is_hung_up_on(served: Any, flood: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), 10) as connection:
        try:
            connection.sendall(flood)
            answer = connection.recv(1000)
        except ConnectionError:  # hung up on; to wait for it in vain is a failure
            pass
    assert answer == b"" or re.match(rb"HTTP/1\.1 (431|400) ", answer)
    assert ready(served)


def test_a_request_may_have_many_headers_all_the_same(served: Any) -> None:
    body = payload("firing-one")
    headers = b"".join(b"X-%d: %s\r\n" % (n, b"v" * 50) for n in range(100))
    assert b" 200 " in talk(served.url, request(body, headers=headers))
    assert b" 200 " in talk(served.url, request(body + b" " * 3_000_000, headers=headers))


def test_thousands_of_idle_connections_keep_nobody_out(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    most = 200  # in place of thousands, which this process could not open itself
    held = []
    connections = served.service.connections
    before, connections.most = connections.most, most
    try:
        for number in range(3 * most):
            held.append(socket.create_connection((host, int(port)), 10))
            if number % 2:
                held[-1].sendall(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(5):
            assert served.post(payload("firing-one")).status_code == 200
    finally:
        connections.most = before
        for connection in held:
            connection.close()
    assert ready(served)


class Conn:
    """A connection that notes when it is ended."""

    def __init__(self, connections: Any, log: Any, name: Any, peer: Any = "10.0.0.1") -> None:
        self.connections, self.log, self.name, self.peer = connections, log, name, peer

    def abort(self) -> None:
        self.log.append(self.name)
        self.connections.remove(self)


def test_who_has_kept_us_waiting_longest_is_ended_first() -> None:
    async def scenario() -> None:
        log: list[str] = []
        connections: Any = Connections(3)
        a, b, c, d, e = (Conn(connections, log, name) for name in "abcde")
        connections.add(a, 0)
        connections.add(b, 1)
        connections.add(c, 2)
        connections.work(a)  # its request is complete
        connections.add(d, 3)
        assert log == ["b"]
        connections.wait(c, 10)
        connections.sweep(3 + LONGEST_WAIT)
        assert log[1:] == ["d"]
        connections.sweep(10 + LONGEST_WAIT)
        assert log[2:] == ["c"]
        connections.add(c, 80)
        connections.add(d, 80)
        for one in (c, d):
            connections.work(one)
        connections.add(e, 81)
        assert log[3:] == ["e"], "nobody keeps us waiting: there is no place"
        connections.wait(c, 81)  # it does not take its answer
        connections.add(e, 82)
        assert log[4:] == ["c"]
        connections.remove(e)
        connections.wait(e, 83)  # too late
        connections.sweep(200)
        assert len(log) == 5

    asyncio.run(scenario())


def test_who_has_most_connections_gives_way_first() -> None:
    async def scenario() -> None:
        log: list[str] = []
        connections: Any = Connections(17)
        connections.add(Conn(connections, log, "first", "10.0.0.9"), 0)
        for number in range(18):
            connections.add(Conn(connections, log, f"crowd {number}"), 1 + number)
        assert log == ["crowd 0", "crowd 1"]

    asyncio.run(scenario())


def test_who_has_a_few_connections_gives_way_to_no_crowd_of_addresses() -> None:
    async def scenario() -> None:
        log: list[str] = []
        connections: Any = Connections(20)
        for number in range(16):
            connections.add(Conn(connections, log, f"stranger {number}", f"10.0.1.{number}"), number)
        for number in range(4):
            connections.add(Conn(connections, log, f"alertmanager {number}", "10.0.0.9"), 20 + number)
        for number in range(8):
            connections.add(Conn(connections, log, "late", f"10.0.2.{number}"), 30 + number)
        assert log == [f"stranger {number}" for number in range(8)]

    asyncio.run(scenario())


def connections_of(served: Any, client: Any) -> Any:
    """Return the connections that *client*, a socket, has to the service; it has closed what it will."""
    name = client.getsockname()
    return [one for one in list(served.service.connections.open) if one.client == name]


def sweep(served: Any, client: Any) -> None:
    """Have the service look at its connections `LONGEST_WAIT` later, with one of *client* among them."""
    (one,) = connections_of(served, client)
    one.loop.call_soon_threadsafe(lambda: served.service.connections.sweep(one.loop.time() + LONGEST_WAIT))


def test_a_body_that_comes_little_by_little_is_not_waited_for(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port)), 10) for _ in range(3)]
    slow[0].sendall(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    slow[1].sendall(b"POST /alert/ops HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    slow[2].sendall(b"POST /api/v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    served.get("/-/healthy")  # by now they have been heard
    sweep(served, slow[0])
    for connection in slow:
        with contextlib.suppress(ConnectionResetError):  # not 408: Alertmanager would not retry
            assert connection.recv(1000) == b""
        connection.close()
    assert ready(served)
    assert served.service.webhook.reserved == 0


def test_more_than_can_be_held_is_put_off(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.web.webhook.MAX_RESERVED", 1000)
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as first:
        first.sendall(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{")
        served.get("/-/healthy")
        answer = served.post(payload("firing-one"))
        assert answer.status_code == 503
        assert "too many large webhooks are being posted at the same time" in answer.text
    deadline = time.monotonic() + 10
    while served.service.webhook.reserved and time.monotonic() < deadline:
        time.sleep(0.01)
    monkeypatch.undo()
    assert served.post(payload("firing-one")).status_code == 200


def answered(connection: Any) -> Any:
    """Read one whole answer; return its status."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


@pytest.mark.parametrize(
    "early", [b"GET /-/healthy", b"POST /alert/nope", b"GET /alert", b"POST /ovh/receipt/wrong"]
)
def test_who_was_answered_early_is_waited_for_no_longer_than_others(served: Any, early: Any) -> None:
    """A body that comes after the answer must not make a connection one that we owe something."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(early + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
        answered(connection)
        connection.sendall(b"x")
        served.get("/-/healthy")
        (one,) = connections_of(served, connection)
        assert one in served.service.connections.waiting
        connection.sendall(request(payload("firing-one")))
        assert answered(connection) == 200


def test_trailers_without_end_are_hung_up_on(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(b"POST /alert/nope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        is_hung_up_on = False
        try:
            for _ in range(1000):
                connection.sendall(b"a: b\r\n" * 10_000)
        except ConnectionError:
            is_hung_up_on = True
        assert is_hung_up_on
    body = b'5\r\n{"a":\r\n2\r\n1}\r\n0\r\nX-Trailer: y\r\n\r\n'
    data = b"POST /alert HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    assert b" 400 " in talk(served.url, data), "a trailer is no reason to refuse"


def test_requests_that_are_sent_ahead_are_read_no_faster_than_they_are_answered(served: Any) -> None:
    """One connection took 2.6 GB in 20 s when all that was sent was read at once."""
    host, port = served.url.removeprefix("http://").split(":")
    ahead = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n" * 100_000
    served.get("/-/healthy")
    before, _ = memory()
    with socket.create_connection((host, int(port)), 1) as connection, contextlib.suppress(TimeoutError):
        for _ in range(20):
            connection.sendall(ahead)
    assert memory()[0] - before < 60
    assert ready(served)


UPGRADE = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQBAAAAAAIAAAAA\r\n"
)


def test_a_body_is_read_where_an_upgrade_is_offered(served: Any) -> None:
    """As clients in Java offer it with each request: the body was taken for another request."""
    body = json.dumps(webhook(alert(instance="java-1"), key="java")).encode()
    assert b" 200 " in talk(served.url, request(body, headers=UPGRADE))
    host, port = served.url.removeprefix("http://").split(":")
    hidden = request(b"", path=b"/-/reload")
    with socket.create_connection((host, int(port)), 2) as connection:
        head = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (UPGRADE, len(hidden))
        connection.sendall(head)
        served.get("/-/healthy")
        connection.sendall(hidden)
        connection.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = b""
        while chunk := connection.recv(65536):
            answers += chunk
    assert answers.count(b"Notifier is healthy.") == 2
    assert b"reloaded" not in answers


def test_who_does_not_take_the_answers_is_hung_up_on(served: Any) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 300 + b"GET / HTT")
        served.get("/-/healthy")
        sweep(served, connection)
        wait_for(lambda: not connections_of(served, connection), "it is still open")


def test_nothing_is_left_of_connections_that_have_ended(served: Any) -> None:
    connections = served.service.connections
    with requests.Session() as session:
        for _ in range(100):
            session.post(served.url + "/alert", payload("firing-one"), timeout=10)
            session.get(served.url + "/-/healthy", timeout=10)
    wait_for(lambda: not connections.open, "connections are left")
    assert connections.waiting == {}
    assert served.service.webhook.reserved == 0


def test_half_a_request_of_any_kind_does_no_harm(served: Any) -> None:
    whole = request(payload("firing-one"))
    for end in (1, 10, 30, 60, len(whole) // 2, len(whole) - 1):
        talk_and_go(served.url, whole[:end])
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n" * 100, b"GET\r\n\r\n", b"POST /alert HTTP/9.9\r\n\r\n",
                     b"POST /alert HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                     b"POST /alert HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
                     b"POST /alert HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     b"GET /\xff HTTP/1.1\r\n\r\n", b"GET /%ff%00 HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"):  # fmt: skip
        talk_and_go(served.url, nonsense)
    assert ready(served)
    assert served.service.webhook.reserved == 0


def talk_and_go(url: Any, data: Any) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:
            pass
    assert not re.match(rb"HTTP/1\.1 5", answer), answer


# -- who gets in -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_page_of_another_site_can_do_nothing(served: Any, headers: Any) -> None:
    for path, body in (
        ("/alert", payload("firing-one")),
        ("/alert/ops", payload("firing-one")),
        ("/api/v1/incidents/1/ack", b""),
        ("/api/v1/send", b'{"to": "alice", "text": "x"}'),
        ("/-/reload", b""),
    ):
        assert served.post(body, path, headers=headers).status_code == 403, path


def test_a_page_of_ours_can(served: Any) -> None:
    host = served.url.removeprefix("http://")
    for headers in ({"Origin": served.url}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://x"}, {}):
        assert served.post(payload("firing-one"), headers=headers).status_code == 200
    assert not is_foreign({"headers": [(b"origin", b"http://" + host.encode()), (b"host", host.encode())]})


@pytest.mark.parametrize(
    "given", ["", "x", SECRET[:-1], SECRET + "x", SECRET.upper(), "%00", "..", SECRET + "%2fx", "é"]
)
def test_callbacks_with_a_wrong_secret_are_not_found(served: Any, given: Any) -> None:
    for kind in ("receipt", "reply"):
        assert requests.get(f"{served.url}/ovh/{kind}/{given}", timeout=10).status_code == 404
        assert requests.get(f"{served.url}/ovh/{kind}/{SECRET}", timeout=10).status_code == 200


def test_callbacks_are_not_found_where_there_is_no_secret(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write())
    assert requests.get(f"{running.url}/ovh/receipt/None", timeout=10).status_code == 404


def test_a_token_is_compared_whole_whatever_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """By digests: neither the length nor the beginning of what is given makes a difference to the comparison."""
    compared = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr(
        "notifier.web.authentication.hmac.compare_digest",
        lambda a, b: compared.append((len(a), len(b))) or real(a, b),
    )
    checking = Authentication.of(Web(bearer_token="right-token"))
    given = [b"", b"r", b"right-token", b"right-tokem", b"x" * 5000]
    known = [checking.known(b"Bearer " + token) is not False for token in given]
    assert known == [False, False, True, False, False]
    assert set(compared) == {(32, 32)}


def test_refusals_are_logged_with_the_address_of_the_peer_and_no_secret(
    files: Files, run: Callable[..., Running]
) -> None:
    written = io.StringIO()
    configure_logging(level=LogLevel.WARNING, stream=written)
    running = run(files.write(web={"bearer_token": "the-right-token"}))
    for token in ("the-wrong-token", "the-right-toke"):
        assert running.post(b"{}", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    of_another_site = {"Authorization": "Bearer the-right-token", "Origin": "https://evil.example"}
    assert running.post(b"{}", headers=of_another_site).status_code == 403
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)
    lines = written.getvalue()
    assert lines.count('event="credentials refused" peer=127.0.0.1 path=/alert') == 2
    assert lines.count('event="request refused" peer=127.0.0.1 path=/alert') == 1
    assert "token" not in lines.replace("bearer_token", "")
    assert running.metric("notifier_authentication_failures_total") == 2


HALVES = [
    '{"to": "\\ud800", "text": "x"}',
    '{"to": "alice", "text": "\\ud800"}',
    '{"\\ud800": 1}',
    '{"to": "a\\u0000", "text": "x"}',
]


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_what_cannot_be_written_down_is_refused(
    files: Files, run: Callable[..., Running], phones: Phones, engine_name: str
) -> None:
    running = run(files.write())
    running.post(payload("firing-one"))
    phones.wait(1)
    for body in HALVES:
        assert running.post(body.encode(), "/api/v1/send").status_code == 400, body
    for by in ('{"by": "\\ud800"}', '{"by": "a\\u0000"}'):
        assert running.post(by.encode(), "/api/v1/incidents/1/ack").status_code == 400
    for path in ("/api/v1/messages/%00", "/api/v1/messages?cursor=%00", "/api/v1/messages?receiver=a%00", "/incidents/%00",
                 "/api/v1/incidents/%00", "/api/v1/incidents?cursor=%00", "/messages?q=%00", "/messages?cursor=%00"):  # fmt: skip
        assert requests.get(running.url + path, timeout=10).status_code in (400, 404), path
    assert "Notifier is ready." in running.get("/-/ready")
