"""What the pages say, asked for as a browser does, without one."""

import re

import pytest
import requests

from notifier.ovh.emulator import Fault, FaultKind
from notifier.web.gate import STRANGE, is_ours
from tests.conftest import alert, webhook
from tests.postgres import both_engines
from tests.processes import wait_for


def shown(running, path="/"):
    answer = requests.get(running.url + path, timeout=30)
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def test_how_long_the_credits_last_is_told_of_an_account_without_a_name(files, run, phones):
    running = run(files.write(ovh={"service_name": ...}))
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    told = r"about (6993|7000) days at the rate of the last week"  # 999 or 1000 are left, one went in 7 days
    wait_for(lambda: re.search(told, shown(running)), "the days are told")


def test_messages_say_what_they_cost(files, run, phones, emulator):
    emulator.emulation.prices["+33639980001"] = 2.5
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    wait_for(lambda: "1 part, 2.5 credits" in shown(running, "/messages"), "the cost is told")


def press(running, button, number=1, by="alice", **fields):
    """Press a button of an incident's page, as a browser does; return the page that follows."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    return requests.post(
        f"{running.url}/incidents/{number}/{button}", data={"by": by, **fields}, headers=headers, timeout=30
    )


def test_whoever_has_a_name_from_anywhere_can_act_and_is_remembered(files, run, phones):
    running = run(
        files.write(
            contacts=[{"name": "Łukasz", "phone": "+33639980001"}],
            receivers=[{"name": "ops", "notify": ["Łukasz"]}],
        )
    )
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    answer = press(running, "ack", by="Łukasz")
    assert answer.status_code == 200
    assert "<option selected>Łukasz" in answer.text


def test_numbers_in_what_ovhcloud_answers_are_masked(files, run, phones, emulator):
    said = "Invalid receivers 33639980001, 0033639980001, 0639980001, 06 39 98 00 01 and +33639980001"
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, status=400, message=said, error_class="Client::BadRequest")
    )
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    wait_for(lambda: "Invalid receivers" in shown(running, "/messages"), "it is told")
    (message,) = requests.get(running.url + "/api/v1/messages", timeout=30).json()["items"]
    for told in (
        shown(running, "/incidents/1"),
        shown(running, "/messages"),
        shown(running, f"/api/v1/messages/{message['id']}"),
        shown(running, "/api/v1/incidents/1"),
    ):
        assert "Invalid receivers" in told
        assert not re.search("39980001|39 98 00 01", told)


@both_engines
@pytest.mark.parametrize("sought", ["écran", "ÉCRAN", "Écran N", "łukasz", "ŁUKASZ", "100%_"])
def test_what_is_sought_is_found_whatever_its_letters(files, run, phones, sought):
    running = run(
        files.write(
            contacts=[{"name": "Łukasz", "phone": "+33639980001"}],
            receivers=[{"name": "ops", "notify": ["Łukasz"], "encoding": "unicode"}],
        )
    )
    running.post(webhook(alert("Écran noir 100%_"), key="a"))
    phones.wait(1)
    assert "Écran noir" in requests.get(running.url + "/messages", {"q": sought}, timeout=30).text
    assert "None found" in requests.get(running.url + "/messages", {"q": "100__"}, timeout=30).text


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1:9876", True), ("[::1]:9876", True), ("localhost", True), ("pager", True), ("a.localhost:1", True),
     ("pager.example.net", True), ("evil.example:9876", False), ("127.0.0.1.evil.example", False), ("", True)],
)  # fmt: skip
def test_names_that_others_may_have_moved_here_are_not_ours(host, expected):
    assert is_ours({"headers": [(b"host", host.encode())]}, "pager.example.net") is expected


def test_a_page_whose_name_was_moved_here_learns_and_does_nothing(files, run, phones):
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    moved = {"Host": "evil.example:80", "Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example:80"}
    for path in ("/", "/live?path=/", "/messages", "/api/v1/incidents", "/oncall/alice.ics"):
        answer = requests.get(running.url + path, headers=moved, timeout=30)
        assert (answer.status_code, STRANGE in answer.text) == (403, True), path
    for path in ("/-/reload", "/incidents/1/ack", "/api/v1/incidents/1/ack", "/api/v1/send"):
        assert requests.post(running.url + path, headers=moved, timeout=30).status_code == 403, path
    assert (
        running.post(webhook(alert("B"), key="b"), headers={"Host": "pager.example.net"}).status_code == 200
    )
    phones.wait(2)  # Alertmanager may know us by any name


def test_credentials_that_nobody_asks_for_name_nobody(files, run, phones):
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    for header in ("Basic a", "Basic bm9ib2R5Og==", "Basic", "Bearer x"):
        assert requests.get(running.url + "/incidents/1", headers={"Authorization": header}, timeout=30).ok
    answer = requests.post(
        running.url + "/incidents/1/ack",
        headers={"Sec-Fetch-Site": "same-origin"},
        auth=("nobody", ""),
        timeout=30,
    )
    assert (answer.status_code, "Who are you?" in answer.text) == (400, True)


@pytest.mark.parametrize("path", ["//%5B", "/incidents/%00", "/incidents/", "/nowhere", "%", "/?%5B"])
def test_what_is_no_page_is_not_kept_current(files, run, path):
    running = run(files.write())
    answer = requests.get(running.url + "/live", {"path": path}, timeout=30, stream=True)
    assert answer.status_code in (200, 404)
    if path != "/?%5B":
        assert b"".join(answer.iter_content(1000)) == b""
