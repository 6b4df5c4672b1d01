"""Signing in on a page, as a browser does, without one."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
import requests

from notifier.config.loading import load
from tests.support.files import Files
from tests.support.reading import words
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, webhook

PASSWORD = "right"
FROM_A_PAGE = {"Sec-Fetch-Site": "same-origin"}


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


WEB = {
    "users": {
        "alice": {"password_hash": hashed(PASSWORD), "role": "responder"},
        "viewer": {"password_hash": hashed(PASSWORD), "role": "viewer"},
        "admin": {"password_hash": hashed(PASSWORD), "role": "admin"},
    }
}


@pytest.fixture
def running(files: Files, run: Callable[..., Running], phones: Phones) -> Running:
    started = run(files.write(web=WEB))
    assert started.post(webhook(alert(), key="a"), auth=("admin", PASSWORD)).status_code == 200
    phones.wait(1)
    return started


def sign_in(running: Running, name: str = "alice", password: str = PASSWORD, **fields: Any) -> Any:
    """Return a browser that has signed in, and the answer to the form."""
    browser = requests.Session()
    answer = browser.post(
        running.url + "/login",
        data={"name": name, "password": password, **fields},
        headers=FROM_A_PAGE,
        timeout=30,
        allow_redirects=False,
    )
    return browser, answer


def test_a_stranger_is_asked_on_a_page_and_goes_on_where_he_wanted_to(running: Running) -> None:
    asked = requests.get(running.url + "/incidents/1?did=ack", timeout=30)
    assert asked.status_code == 401
    assert "Basic" not in asked.headers["www-authenticate"]  # the browser would ask by a prompt of its own
    assert 'name="next" value="/incidents/1?did=ack"' in asked.text
    assert "InstanceDown" not in asked.text
    assert asked.headers["cache-control"] == "no-store"
    browser, answer = sign_in(running, next="/incidents/1?did=ack")
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/1?did=ack")
    cookie = answer.headers["set-cookie"].lower()
    assert all(word in cookie for word in ("httponly", "samesite=lax", "max-age=2592000", "path=/"))
    assert "secure" not in cookie  # there is no TLS here
    assert "InstanceDown" in browser.get(running.url + "/incidents/1", timeout=30).text
    assert browser.get(running.url + "/api/v1/incidents", timeout=30).status_code == 200
    assert browser.get(running.url + "/live?path=/", timeout=30, stream=True).status_code == 200


def test_who_is_signed_in_acts_under_that_name(running: Running) -> None:
    browser, _ = sign_in(running)
    data = {"by": "bob", "holder": "", "steps": "1"}
    answer = browser.post(running.url + "/incidents/1/ack", data=data, headers=FROM_A_PAGE, timeout=30)
    assert "Acknowledged by alice on this page" in words(answer.text)
    assert "Signed in as alice" in browser.get(running.url + "/who", timeout=30).text
    out = browser.post(running.url + "/logout", headers=FROM_A_PAGE, timeout=30)
    assert (out.url, out.status_code) == (running.url + "/login", 200)
    assert browser.get(running.url + "/", timeout=30).status_code == 401
    lost = browser.post(running.url + "/incidents/1/ack", data=data, headers=FROM_A_PAGE, timeout=30)
    assert (lost.status_code, "You were signed out. Nothing was done." in lost.text) == (401, True)
    assert 'name="next" value="/incidents/1"' in lost.text


def test_a_login_that_a_team_shares_says_who_acts(running: Running) -> None:
    browser, _ = sign_in(running, "admin")  # no contact
    data = {"holder": "", "steps": "1"}
    url = running.url + "/incidents/1/ack"
    asked = browser.post(url, data=data, headers=FROM_A_PAGE, timeout=30)
    assert re.findall('name="by" value="([^"]+)"', asked.text) == ["alice", "bob", "admin"]
    forged = browser.post(url, data={**data, "by": "mallory"}, headers=FROM_A_PAGE, timeout=30)
    assert "<h1>Who are you?</h1>" in forged.text
    browser.post(url, data={**data, "by": "bob"}, headers=FROM_A_PAGE, timeout=30)
    admin = ("admin", PASSWORD)
    incident = requests.get(running.url + "/api/v1/incidents/1", auth=admin, timeout=30).json()
    assert incident["acknowledged_by"] == "bob"
    passed = browser.post(
        running.url + "/incidents/1/note", data={"text": "on it"}, headers=FROM_A_PAGE, timeout=30
    )
    assert "bob" in words(passed.text)  # the browser remembers


def test_a_session_is_good_for_what_the_role_may(running: Running) -> None:
    browser, _ = sign_in(running, "viewer")
    assert browser.get(running.url + "/", timeout=30).status_code == 200
    acted = browser.post(
        running.url + "/incidents/1/ack", data={"by": "bob"}, headers=FROM_A_PAGE, timeout=30
    )
    assert (acted.status_code, "<h1>Not allowed</h1>" in acted.text) == (403, True)
    for path in ("/", "/incidents/1", "/settings"):
        assert '<form method="post"' not in browser.get(running.url + path, timeout=30).text
    assert browser.post(running.url + "/-/reload", timeout=30).status_code == 403


def test_a_page_of_another_site_does_nothing_with_a_session(running: Running) -> None:
    browser, _ = sign_in(running)
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    for path in (
        "/incidents/1/ack",
        "/incidents/acknowledge",
        "/login",
        "/logout",
        "/who",
        "/api/v1/incidents/1/ack",
    ):
        answer = browser.post(
            running.url + path,
            data={"name": "alice", "password": PASSWORD, "numbers": "1"},
            headers=foreign,
            timeout=30,
            allow_redirects=False,
        )
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), path
    assert browser.get(running.url + "/api/v1/incidents/1", timeout=30).json()["state"] == "open"
    for path in ("/login", "/logout", "/who"):
        assert browser.post(running.url + path, timeout=30).status_code == 403, path  # no page at all


def test_a_wrong_password_is_refused_and_counted(running: Running) -> None:
    before = running.metric("notifier_authentication_failures_total")
    for name, password in (("alice", "wrong"), ("nobody", PASSWORD), ("alice", ""), ("a:b", "c")):
        browser, answer = sign_in(running, name, password, next="//evil.example")
        assert (answer.status_code, len(browser.cookies)) == (401, 0)
        assert "The name or the password is wrong." in answer.text
        assert 'name="next" value="/"' in answer.text
    assert running.metric("notifier_authentication_failures_total") == before + 4


def test_a_session_ends_with_its_password(files: Files, running: Running) -> None:
    browser, _ = sign_in(running)
    admin = ("admin", PASSWORD)
    users = {**WEB["users"], "alice": {"password_hash": hashed("new"), "role": "responder"}}
    files.write(web={"users": users})
    assert requests.post(running.url + "/-/reload", auth=admin, timeout=30).status_code == 200
    assert browser.get(running.url + "/", timeout=30).status_code == 401
    again, _ = sign_in(running, password="new")
    assert again.get(running.url + "/", timeout=30).status_code == 200


def test_programs_are_told_of_their_credentials_as_before(running: Running) -> None:
    wrong = requests.get(running.url + "/", auth=("alice", "wrong"), timeout=30)
    assert (wrong.status_code, "Basic" in wrong.headers["www-authenticate"]) == (401, True)
    api = requests.get(running.url + "/api/v1/incidents", timeout=30)
    assert (api.status_code, "Basic" in api.headers["www-authenticate"]) == (401, True)


def test_the_cookie_is_for_tls_alone_where_people_use_that(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write(web=WEB, **{"global": {"external_url": "https://pager.example.net"}}))
    _, answer = sign_in(running)
    assert "secure" in answer.headers["set-cookie"].lower()
    assert answer.headers["set-cookie"].startswith("__Host-notifier-session=")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    assert requests.get(running.url + "/", headers=cookie, timeout=30).status_code == 200


# -- by a proxy ---------------------------------------------------------------------------------------------


def by_proxy(running: Running, *names: str, path: str = "/", header: str = "X-Forwarded-User") -> int:
    """Ask as a proxy does, with the header once for each name; return the status."""
    host, port = running.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.putrequest("GET", path)
    for name in names:
        connection.putheader(header, name)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_proxy_names_the_user_from_its_own_address_alone(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    proxied = {"proxy_auth": {"from": ["127.0.0.1/32", "::1/128"]}, **WEB}
    known = {"global": {"external_url": "http://pager.example.net"}}
    running = run(files.write(web=proxied, **known))
    admin = ("admin", PASSWORD)
    assert running.post(webhook(alert(), key="a"), auth=admin).status_code == 200
    phones.wait(1)
    assert by_proxy(running, "bob") == 200
    assert by_proxy(running) == by_proxy(running, "") == 401
    assert by_proxy(running, "bob", "admin") == 401, "one of them may be the client's"
    assert by_proxy(running, "x" * 300) == by_proxy(running, "a\tb") == 401
    assert by_proxy(running, "bob", header="X-User") == 401
    headers = {**FROM_A_PAGE, "X-Forwarded-User": "bob"}
    data = {"holder": "", "steps": "1", "by": "alice"}
    taken = requests.post(running.url + "/incidents/1/ack", data=data, headers=headers, timeout=30)
    assert taken.status_code == 200
    assert (
        requests.get(running.url + "/api/v1/incidents/1", auth=admin, timeout=30).json()["acknowledged_by"]
        == "bob"
    )
    foreign = {"X-Forwarded-User": "bob", "Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert (
        requests.post(running.url + "/incidents/1/close", data=data, headers=foreign, timeout=30).status_code
        == 403
    )
    assert (
        requests.post(running.url + "/-/reload", headers={"X-Forwarded-User": "bob"}, timeout=30).status_code
        == 403
    )
    viewer = {**FROM_A_PAGE, "X-Forwarded-User": "viewer"}  # web.users has a role for this name
    assert (
        requests.post(running.url + "/incidents/1/close", data=data, headers=viewer, timeout=30).status_code
        == 403
    )

    moved = {"X-Forwarded-User": "bob", "Host": "evil.example", "Origin": "http://evil.example"}
    assert requests.get(running.url + "/", headers=moved, timeout=30).status_code == 401, "DNS rebinding"
    ours = {"X-Forwarded-User": "bob", "Host": "pager.example.net"}
    assert requests.get(running.url + "/", headers=ours, timeout=30).status_code == 200
    passed_on = {"X-Forwarded-User": "bob", "Authorization": "Bearer the-token-of-the-provider"}
    assert requests.get(running.url + "/", headers=passed_on, timeout=30).status_code == 200
    browser, _ = sign_in(running, "admin")
    page = browser.get(running.url + "/who", headers={"X-Forwarded-User": "bob"}, timeout=30)
    assert "Connecté comme bob" in page.text, "the proxy knows better than an old session"

    files.write(web={**proxied, "proxy_auth": {"from": ["192.0.2.0/24"]}}, **known)
    assert requests.post(running.url + "/-/reload", auth=admin, timeout=30).status_code == 200
    assert by_proxy(running, "bob") == 401, "the proxy calls from another address"


def test_without_passwords_the_page_names_the_proxy(files: Files, run: Callable[..., Running]) -> None:
    known = {"global": {"external_url": "http://pager.example.net"}}
    running = run(files.write(web={"proxy_auth": {"from": ["192.0.2.1/32"]}}, **known))
    answer = requests.get(running.url + "/", headers={"X-Forwarded-User": "bob"}, timeout=30)
    assert (answer.status_code, "sign in through the proxy" in answer.text) == (401, True)


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"from": ["127.0.0.1/8"]}, "is not a network"), ({"from": ["x"]}, "is not a network"), ({"from": []}, "from"),
     ({"from": ["0.0.0.0/0"]}, "every address"), ({"from": ["10.0.0.0/8"]}, "external_url"),
     ({"from": ["10.0.0.0/8"], "header": "X-Forwarded-For"}, "is not a header"),
     ({}, "from"), ({"from": ["10.0.0.0/8"], "header": "Cookie"}, "is not a header"),
     ({"from": ["10.0.0.0/8"], "header": "a b"}, "is not a header")],
)  # fmt: skip
def test_a_proxy_that_is_written_wrongly_is_an_error(files: Files, given: Any, problem: str) -> None:
    loading = load(files.write(web={"proxy_auth": given}))
    assert loading.configuration is None
    assert any(problem in str(error) for error in loading.errors)
