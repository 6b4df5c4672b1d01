"""Who may page, read, act, send and reload: tokens, users, and callers without credentials."""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import bcrypt
import pytest
import requests

from notifier.clock import utc_now
from notifier.config.web import Web
from notifier.logs import LogLevel, configure_logging
from notifier.metrics import Metrics
from notifier.permissions import Permission, Role
from notifier.web.access import AccessControl, Denial
from notifier.web.authentication import Authentication, Identity
from notifier.web.peers import peer_of
from tests.support.files import Files
from tests.support.processes import wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, payload, webhook

PASSWORD = "a-password"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
TOKENS = {permission: f"the-token-that-may-{permission}" for permission in Permission}
WEB: dict[str, Any] = {
    "tokens": [{"name": f"for-{one}", "token": token, "may": [one]} for one, token in TOKENS.items()],
    "users": {role.value: {"password_hash": HASH, "role": role.value} for role in Role},
}
FEEDS = "the-secret-of-the-feeds"
ACK, SEND = {"by": "alice"}, {"to": "alice", "text": "x"}
ASKED = {
    ("POST", "/alert"): Permission.WEBHOOK,
    ("POST", "/alert/ops"): Permission.WEBHOOK,
    ("GET", "/"): Permission.READ,
    ("GET", "/incidents/1"): Permission.READ,
    ("GET", "/oncall"): Permission.READ,
    ("GET", "/messages"): Permission.READ,
    ("GET", "/settings"): Permission.READ,
    ("GET", "/live?path=/nowhere"): Permission.READ,
    ("GET", "/api/v1/incidents"): Permission.READ,
    ("GET", "/api/v1/incidents/1"): Permission.READ,
    ("GET", "/api/v1/messages"): Permission.READ,
    ("GET", "/api/v1/oncall"): Permission.READ,
    ("POST", "/api/v1/incidents/1/ack"): Permission.ACT,
    ("POST", "/api/v1/incidents/1/close"): Permission.ACT,
    ("POST", "/incidents/1/ack"): Permission.ACT,
    ("POST", "/incidents/1/escalate"): Permission.ACT,
    ("POST", "/incidents/1/close"): Permission.ACT,
    ("POST", "/settings/test"): Permission.SEND,
    ("GET", "/who"): Permission.READ,
    ("POST", "/api/v1/send"): Permission.SEND,
    ("POST", "/-/reload"): Permission.ADMIN,
}
"""What each path asks for; closing comes last of what acts."""


def ask(running: Running, method: Any, path: Any, **how: Any) -> Any:
    """Make one request that its caller could make; return its status."""
    if path.startswith(("/incidents/", "/settings/")) and method == "POST":
        how["headers"] = {**how.get("headers", {}), "Origin": running.url}
        how["data"] = {"by": "alice"}
    elif path.startswith("/alert"):
        how["data"] = payload("firing-one")
    elif method == "POST":
        how["json"] = SEND if path.endswith("/send") else ACK
    return requests.request(method, running.url + path, timeout=10, allow_redirects=False, **how).status_code


@pytest.fixture
def guarded(files: Files, run: Callable[..., Running], phones: Phones) -> Any:
    running = run(files.write(web=WEB))
    token = {"Authorization": f"Bearer {TOKENS[Permission.WEBHOOK]}"}
    assert running.post(webhook(alert(instance="db-1"), key="a"), headers=token).status_code == 200
    phones.wait(1)
    return running


def bearer(permission: Any) -> Any:
    return {"headers": {"Authorization": f"Bearer {TOKENS[permission]}"}}


@pytest.mark.parametrize("given", Permission)
def test_a_token_is_good_for_what_it_may_and_for_nothing_else(guarded: Any, given: Any) -> None:
    for (method, path), asked in ASKED.items():
        is_form = method == "POST" and path.startswith(("/incidents/", "/settings/"))  # for people
        is_allowed = given in (asked, Permission.ADMIN) and not is_form
        status = ask(guarded, method, path, **bearer(given))
        assert (status not in (401, 403)) is is_allowed, (given, method, path, status)
        if not is_allowed:
            assert status == 403


@pytest.mark.parametrize("role", Role)
def test_a_user_may_do_what_the_role_says_and_nothing_else(guarded: Any, role: Any) -> None:
    for (method, path), asked in ASKED.items():
        is_allowed = asked in role.permissions or role is Role.ADMIN
        status = ask(guarded, method, path, auth=(role.value, PASSWORD))
        assert (status not in (401, 403)) is is_allowed, (role, method, path, status)


def test_a_stranger_may_do_nothing(guarded: Any) -> None:
    for method, path in ASKED:
        assert ask(guarded, method, path) == 401, path
        assert ask(guarded, method, path, headers={"Authorization": "Bearer wrong"}) == 401, path
        assert ask(guarded, method, path, auth=("admin", "wrong")) == 401, path
    assert guarded.metric("notifier_authentication_failures_total") == 3 * len(ASKED)


def test_the_answer_names_what_is_missing(guarded: Any) -> None:
    answer = requests.get(guarded.url + "/api/v1/messages", timeout=10, **bearer(Permission.WEBHOOK))
    assert answer.json() == {"error": 'the token "for-webhook" may not do this: it takes the permission read'}


def reload(running: Running) -> None:
    assert ask(running, "POST", "/-/reload", **bearer(Permission.ADMIN)) == 200


def test_two_tokens_are_good_while_one_replaces_the_other(files: Files, run: Callable[..., Running]) -> None:
    old, new = (
        {"name": "alertmanager", "token": f"the-{age}-token", "may": ["webhook"]} for age in ("old", "new")
    )
    admin = {"name": "admin", "token": TOKENS[Permission.ADMIN], "may": ["admin"]}
    running = run(files.write(web={"tokens": [admin, old]}))
    for tokens, expected in (([old], [200, 401]), ([old, new], [200, 200]), ([new], [401, 200])):
        files.write(web={"tokens": [admin, *tokens]})
        reload(running)
        answers = [
            running.post(payload("firing-one"), headers={"Authorization": f"Bearer {one['token']}"})
            for one in (old, new)
        ]
        assert [answer.status_code for answer in answers] == expected


def test_a_stranger_sees_no_warnings_and_with_the_key_no_metrics(
    files: Files, run: Callable[..., Running]
) -> None:
    web = {**WEB, "metrics_require_credentials": True}
    running = run(
        files.write(web=web, watchdog={"url": "http://127.0.0.1:1/secret-of-another-server", "every": "1m"})
    )
    whole = bearer(Permission.READ)
    wait_for(
        lambda: (
            "the watchdog cannot be called"
            in requests.get(running.url + "/-/ready", timeout=10, **whole).text
        ),
        "it is not warned of",
    )
    for how in ({}, bearer(Permission.WEBHOOK), {"auth": ("viewer", "wrong")}):
        told = requests.get(running.url + "/-/ready", timeout=10, **how)
        assert (told.status_code, told.text.splitlines()[0]) == (200, "Notifier is ready.")
        assert "watchdog" not in told.text
        assert "show credentials with the permission read to see them" in told.text
        assert requests.get(running.url + "/metrics", timeout=10, **how).status_code in (401, 403)
    assert "notifier_build_info" in requests.get(running.url + "/metrics", timeout=10, **whole).text
    person = requests.get(running.url + "/-/ready", timeout=10, auth=("viewer", PASSWORD))
    assert "the watchdog cannot be called" in person.text


def test_the_secret_of_the_feeds_reads_calendars_and_nothing_else(
    files: Files, run: Callable[..., Running]
) -> None:
    rota = {
        "name": "rota",
        "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice", "bob"]}],
    }
    web = {**WEB, "feed_secret": FEEDS}
    running = run(files.write(web=web, schedules=[rota]))
    base = f"{running.url}/oncall/feeds"
    for name in ("rota", "alice"):
        found = requests.get(f"{base}/{FEEDS}/{name}.ics", timeout=10)
        assert (found.status_code, found.text[:15]) == (200, "BEGIN:VCALENDAR")
        assert requests.get(f"{base}/{FEEDS}x/{name}.ics", timeout=10).status_code == 404
        assert requests.get(f"{running.url}/oncall/{name}.ics", timeout=10).status_code == 401
    assert requests.get(f"{base}/{FEEDS}/nobody.ics", timeout=10).status_code == 404
    whole = bearer(Permission.READ)
    assert (
        f"/oncall/feeds/{FEEDS}/alice.ics"
        in requests.get(running.url + "/oncall?calendar=alice", timeout=10, **whole).text
    )
    assert FEEDS not in requests.get(running.url + "/settings", timeout=10, **whole).text
    bearing = {"Authorization": f"Bearer {FEEDS}"}
    for method, path in ASKED:
        assert ask(running, method, path, headers=bearing) == 401, path


# -- passwords ---------------------------------------------------------------------------------------------


def test_while_too_many_passwords_wait_a_webhook_is_put_off_and_not_refused(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.web.access._MAX_VERIFIED", 0)
    running = run(files.write(web=WEB))
    for auth in (("admin", PASSWORD), ("admin", "wrong"), ("nobody", "x")):
        answer = running.post(payload("firing-one"), auth=auth)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")  # Alertmanager repeats it
        assert ask(running, "GET", "/", auth=auth) == 503
        assert ask(running, "GET", "/api/v1/messages", auth=auth) == 503
    assert ask(running, "POST", "/alert", **bearer(Permission.WEBHOOK)) == 200
    assert running.metric("notifier_authentication_failures_total") == 0


def test_one_address_takes_few_of_the_places_in_which_passwords_wait(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.web.access._MAX_OF_A_PEER", 0)
    running = run(files.write(web=WEB))
    assert ask(running, "POST", "/alert", auth=("admin", PASSWORD)) == 503


def test_wrong_passwords_of_strangers_leave_places_to_users_behind_the_same_proxy(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()

    def check(password: Any, hash_: Any) -> Any:
        released.wait(60)
        return password == PASSWORD.encode()

    monkeypatch.setattr(bcrypt, "checkpw", check)
    running = run(files.write(web=WEB))
    with ThreadPoolExecutor(20) as pool:
        guesses = [pool.submit(ask, running, "GET", "/", auth=(f"guess{n}", "wrong")) for n in range(12)]
        wait_for(lambda: sum(one.done() for one in guesses) == 8, "the guesses beyond four are not put off")
        credentials = base64.b64encode(f"viewer:{PASSWORD}".encode()).decode()
        with socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])), 60) as user:
            user.sendall(
                f"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()
            )
            for _ in range(3):  # until the user's request has been read
                assert ask(running, "GET", "/", auth=("guess", "wrong")) == 503
            released.set()
            assert user.recv(100).startswith(b"HTTP/1.1 200")
        assert sorted(one.result() for one in guesses) == [401] * 4 + [503] * 8


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("/run/notifier.sock", "/run/notifier.sock"),
    ],
)
def test_a_network_of_64_bits_is_one_peer(address: Any, peer: Any) -> None:
    assert peer_of(address) == peer


def test_a_right_password_is_known_after_a_reload_that_does_not_change_it(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write(web=WEB))
    assert ask(running, "GET", "/", auth=("viewer", PASSWORD)) == 200
    assert ask(running, "GET", "/", auth=("responder", PASSWORD)) == 200
    changed = {
        **WEB["users"],
        "responder": {"password_hash": HASH.replace("$2b$", "$2y$"), "role": "responder"},
    }
    files.write(web={**WEB, "users": changed})
    reload(running)
    monkeypatch.setattr("notifier.web.access._MAX_VERIFIED", 0)
    assert ask(running, "GET", "/", auth=("viewer", PASSWORD)) == 200
    assert ask(running, "GET", "/", auth=("responder", PASSWORD)) == 503, "its hash is another"


def test_refusals_fill_no_disk(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    configure_logging(level=LogLevel.WARNING, stream=written)
    clock = [1000.0]
    monkeypatch.setattr("notifier.web.access.elapsed", lambda: clock[0])
    running = run(files.write(web=WEB))
    wrong = {"Authorization": "Bearer wrong"}
    for _ in range(200):
        assert running.post(b"", "/alert/" + "x" * 5000, headers=wrong).status_code == 401
    assert written.getvalue().count("credentials refused") == 10
    assert len(written.getvalue()) < 5000
    clock[0] += 61
    running.post(b"", headers=wrong)
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)
    assert written.getvalue().count("credentials refused") == 11
    assert "unlogged_before=190" in written.getvalue()
    assert running.metric("notifier_authentication_failures_total") == 201


def test_refusals_of_many_peers_fill_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    configure_logging(level=LogLevel.WARNING, stream=written)
    access = AccessControl(Web(**WEB), b"key", Metrics(), utc_now)

    async def ask_all() -> None:
        for number in range(5000):
            client = (f"2001:db8:{number:x}::1", 1)
            headers = [(b"authorization", b"Bearer wrong")]
            scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": client}
            assert cast("Denial", await access.admit(scope, Permission.READ)).status == 401

    asyncio.run(ask_all())
    access.close()
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)
    assert 100 <= written.getvalue().count("credentials refused") <= 200


def test_a_long_password_with_anything_after_it_makes_no_other_forgotten() -> None:
    long = "x" * 80
    hashes = {"long": bcrypt.hashpw(long[:72].encode(), bcrypt.gensalt(4)).decode(), "short": HASH}
    users = {name: {"password_hash": hash_, "role": "viewer"} for name, hash_ in hashes.items()}
    checking = Authentication.of(Web(users=users))

    def basic(name: Any, password: Any) -> Any:
        return b"Basic " + base64.b64encode(f"{name}:{password}".encode())

    assert checking.verify(basic("short", PASSWORD))
    for number in range(150):
        assert checking.verify(basic("long", f"{long}{number}"))
    assert checking.known(basic("short", PASSWORD)) is not True, "it is still remembered"


def test_an_unknown_name_takes_as_long_as_the_password_that_takes_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dear = HASH.replace("$04$", "$12$")
    compared = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda _, hash_: compared.append(hash_.decode()) or False)
    users = {
        "cheap": {"password_hash": HASH},
        "dear": {"password_hash": dear},
        "other": {"password_hash": HASH},
    }
    checking = Authentication.of(Web(users=users))
    assert checking.verify(b"Basic " + base64.b64encode(b"nobody:x")) is False
    assert compared == [dear]


# -- without credentials -----------------------------------------------------------------------------------


def test_a_page_whose_name_was_moved_here_reaches_nothing(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    """DNS rebinding: to a browser, this service is then the page's own."""
    running = run(files.write())
    port = running.url.rpartition(":")[2]
    rebound = {"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}
    for method, path in ASKED:
        if method == "POST":
            assert ask(running, method, path, headers=rebound) == 403, path
        else:
            assert ask(running, method, path, headers={"Host": rebound["Host"]}) == 403, path
    strange = {"Host": rebound["Host"]}
    assert requests.get(running.url + "/metrics", headers=strange, timeout=10).status_code == 403
    assert phones.all() == []
    # A webhook that does not come from a browser is not lost for its Host.
    assert running.post(payload("firing-one"), headers={"Host": "pager.example.net"}).status_code == 200
    phones.wait(1)


# -- authors -----------------------------------------------------------------------------------------------


def test_what_is_done_is_recorded_with_who_did_it(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(
        files.write(
            web=WEB,
            receivers=[
                {"name": "ops", "notify": ["alice"], "escalate": [{"after": "1h", "notify": ["bob"]}]}
            ],
        )
    )
    whole = bearer(Permission.ADMIN)
    for number in (1, 2, 3):
        running.post(webhook(alert(instance=f"db-{number}"), key=str(number)), **whole)
    phones.wait(3)

    def act(number: Any, body: Any, **how: Any) -> Any:
        url = f"{running.url}/api/v1/incidents/{number}/ack"
        return requests.post(url, json=body, timeout=10, **how)

    responder = {"auth": ("responder", PASSWORD)}
    assert act(1, {"by": "alice"}, **responder).json()["acknowledged_by"] == "alice"
    assert act(2, {}, **responder).json()["acknowledged_by"] == "responder"
    assert act(3, {"by": "alice"}, **bearer(Permission.ACT)).json()["acknowledged_by"] == "alice"
    by = [
        [event["by"] for event in found["events"] if event["kind"] == "acknowledged"]
        for found in (
            requests.get(f"{running.url}/api/v1/incidents/{n}", timeout=10, **whole).json() for n in (1, 2, 3)
        )
    ]
    assert by == [["responder for alice"], ["responder"], ["for-act for alice"]]
    # Whoever was named did not do it, and must know.
    assert any("responder for alice has it: #1" in sms.message for sms in phones.wait(5))


def test_sends_and_reloads_are_recorded_with_who_asked_for_them(
    files: Files, run: Callable[..., Running]
) -> None:
    written = io.StringIO()
    configure_logging(level=LogLevel.INFO, stream=written)
    running = run(files.write(web=WEB))
    assert ask(running, "POST", "/api/v1/send", auth=("responder", PASSWORD)) == 200
    reload(running)
    file = running.service.reloader.file
    whole = file.read_text()
    file.write_text("nonsense: 1")
    assert ask(running, "POST", "/-/reload", **bearer(Permission.ADMIN)) == 500
    file.write_text(whole)
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)
    lines = written.getvalue().splitlines()
    assert any('event="message requested"' in line and "by=responder" in line for line in lines)
    assert any('event="configuration reloaded"' in line and "by=for-admin" in line for line in lines)

    def read(path: Any) -> Any:
        return requests.get(running.url + path, timeout=10, **bearer(Permission.READ))

    (sent,) = read("/api/v1/messages").json()["items"]
    assert sent["author"] == "responder"
    details = read(f"/api/v1/messages/{sent['id']}").json()["timeline"]
    assert ("requested", "by responder") in [(line["what"], line["detail"]) for line in details]
    wait_for(lambda: read("/settings").text.count("by for-admin") == 2, "the reloads are not recorded")
    assert "unknown key" in read("/settings").text


@pytest.mark.parametrize("number", ["+37369000001", "+9607000001", "+33 6 39 98 77 66"])
def test_the_api_reaches_no_number_that_is_not_configured(
    files: Files, run: Callable[..., Running], phones: Phones, number: Any
) -> None:
    running = run(files.write())
    answer = running.post({"to": number, "text": "x"}, "/api/v1/send")
    assert answer.status_code == 404
    if number.startswith("+33"):
        assert answer.json()["error"].endswith("is not in the configuration; see api.send_to_any_number")
    assert running.post({"to": "alice", "text": "x"}, "/api/v1/send").status_code == 200
    assert len(phones.wait(1)) == 1


def test_texts_by_the_api_meet_a_limit_of_credits_that_nobody_set(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    assert running.service.configuration.limits.credits.amount == 5000


def test_an_identity_has_what_it_may() -> None:
    assert Identity(frozenset({Permission.ADMIN})).has(Permission.SEND)
    assert not Identity(frozenset({Permission.READ})).has(Permission.ACT)
