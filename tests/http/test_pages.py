"""What the pages say, asked for as a browser does, without one."""

from __future__ import annotations

import re
import socket
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import bcrypt
import pytest
import requests

from notifier.config.loading import load
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.health import Readiness
from notifier.oncall.schedules import Schedules
from notifier.store.ledger import Spent
from notifier.timeline import IncidentHistory, incident_timeline, message_timeline
from notifier.web.origin import STRANGE, is_ours
from notifier.web.pages.confirmations import Confirmation, brief_confirmation
from notifier.web.pages.delivery_status import (
    LATE,
    DeliveryStatus,
    Problem,
    current_status,
    delivery_status,
    lasts,
)
from notifier.web.pages.message_chart import chart
from notifier.web.pages.messages import shown_message
from notifier.web.pages.moments import Viewer, spelled
from notifier.web.pages.shift_chart import drawn
from notifier.web.pages.words import LANGUAGES
from notifier.workers.actions import Via
from notifier.workers.backpressure import Backpressure
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.postgres import both_engines
from tests.support.processes import wait_for
from tests.support.reading import words
from tests.support.service import Phones, Running
from tests.support.team import team
from tests.support.webhooks import alert, webhook

ENGLISH = [{"name": "alice", "phone": "+33639980001"}, {"name": "bob", "phone": "+33639980002"}]


def shown(running: Running, path: Any = "/") -> Any:
    """Return the HTML of a page."""
    answer = requests.get(running.url + path, timeout=30)
    assert answer.status_code == 200, answer.text
    return " ".join(answer.text.split())


def read(running: Running, path: Any = "/") -> Any:
    """Return what people read on a page."""
    return words(shown(running, path))


def test_how_long_the_credits_last_is_told_of_an_account_without_a_name(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(ovh={"service_name": ...}))
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    told = r"more than a year at the rate of the last day"  # 999 or 1000 are left, one went since the start
    wait_for(lambda: re.search(told, shown(running)), "the days are told")


def test_messages_say_what_they_cost(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    emulator.emulation.prices["+33639980001"] = 2.5
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    phones.wait(1)
    wait_for(lambda: "1 part, 2.5 credits, 1 attempt" in read(running, "/messages"), "the cost is told")


def press(running: Running, button: Any, number: Any = 1, by: Any = "alice", **fields: Any) -> Any:
    """Press a button of an incident's page, as a browser does; return the page that follows."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    with requests.Session() as browser:
        return browser.post(
            f"{running.url}/incidents/{number}/{button}",
            data={"by": by, **fields},
            headers=headers,
            timeout=30,
        )


def test_whoever_has_a_name_from_anywhere_can_act_and_is_remembered(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
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
    assert "<span>Łukasz</span></a>" in answer.text
    cookie = {"notifier-me": quote("Łukasz")}
    page = requests.get(running.url + "/incidents/1?did=ack", cookies=cookie, timeout=30)
    assert "You have it." in page.text  # this browser remembers who acts


def test_numbers_in_what_ovhcloud_answers_are_masked(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
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
def test_what_is_sought_is_found_whatever_its_letters(
    files: Files, run: Callable[..., Running], phones: Phones, sought: Any
) -> None:
    running = run(
        files.write(
            contacts=[{"name": "Łukasz", "phone": "+33639980001"}],
            receivers=[{"name": "ops", "notify": ["Łukasz"], "encoding": "unicode"}],
        )
    )
    running.post(webhook(alert("Écran noir 100%_"), key="a"))
    phones.wait(1)
    assert "Écran noir" in requests.get(running.url + "/messages", {"q": sought}, timeout=30).text
    assert "No messages found" in requests.get(running.url + "/messages", {"q": "100__"}, timeout=30).text


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1:9876", True), ("[::1]:9876", True), ("localhost", True), ("pager", True), ("a.localhost:1", True),
     ("pager.example.net", True), ("PAGER.example.net.:443", True), ("localhost.:9876", True), ("evil.example:9876", False), ("127.0.0.1.evil.example", False), ("", True)],
)  # fmt: skip
def test_names_that_others_may_have_moved_here_are_not_ours(host: Any, expected: Any) -> None:
    assert is_ours({"headers": [(b"host", host.encode())]}, "pager.example.net") is expected


def test_a_page_whose_name_was_moved_here_learns_and_does_nothing(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
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


def test_credentials_that_nobody_asks_for_name_nobody(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
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
    assert (answer.status_code, "<h1>Who are you?</h1>" in answer.text) == (200, True)
    assert requests.get(running.url + "/api/v1/incidents/1", timeout=30).json()["state"] == "open"


@pytest.mark.parametrize("path", ["//%5B", "/incidents/%00", "/incidents/", "/nowhere", "%", "/?%5B"])
def test_what_is_no_page_is_not_kept_current(files: Files, run: Callable[..., Running], path: Any) -> None:
    running = run(files.write())
    answer = requests.get(running.url + "/live", {"path": path}, timeout=30, stream=True)
    assert answer.status_code == 200
    first = next(answer.iter_content(None))
    if path == "/?%5B":
        assert first.startswith(b"data: ")
    else:
        assert first == b"event: gone\ndata: there is no such page any more\n\n"


def test_of_a_burst_of_streams_no_more_are_opened_than_there_may_be(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write())
    host, port = running.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), 10) for _ in range(90)]
    try:
        for one in held:
            one.sendall(b"GET /live?path=/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answers = [one.recv(12) for one in held]
        assert answers.count(b"HTTP/1.1 200") == 64
        assert answers.count(b"HTTP/1.1 503") == 26
    finally:
        for one in held:
            one.close()
    wait_for(
        lambda: requests.get(running.url + "/live", timeout=10, stream=True).status_code == 200,
        "the places are given back",
    )


def test_viewers_share_what_is_drawn_and_webhooks_come_before_it(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write())
    waited, calls, home = [], [], running.service.pages.home.view
    monkeypatch.setattr("notifier.web.pages.live.REFRESH", 1000)
    monkeypatch.setattr(Backpressure, "is_high", property(lambda self: True))
    monkeypatch.setattr(
        running.service.backpressure, "_sleep", lambda _: waited.append(threading.current_thread().name)
    )

    monkeypatch.setattr(
        running.service.pages.home, "view", lambda *who, **how: (calls.append(who), home(*who, **how))[1]
    )
    for _ in range(2):
        who = {"notifier-me": "alice"}
        answer = requests.get(running.url + "/live", {"path": "/"}, cookies=who, timeout=30, stream=True)
        assert next(answer.iter_content(None)).startswith(b"data: ")
    assert len(calls) == 1
    assert any(name.startswith("pages") for name in waited)


# -- what the page of an incident says ----------------------------------------------------------------------


def paged(
    running: Running, phones: Phones, count: Any, name: Any = "A", key: Any = "a", **labels: Any
) -> None:
    before = len(phones.all())
    running.post(webhook(alert(name, **labels), key=key))
    phones.wait(before + count)


def test_what_was_done_is_said_as_far_as_it_holds(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(
        files.write(
            contacts=ENGLISH,
            receivers=[
                {"name": "ops", "notify": ["alice"], "escalate": [{"after": "1h", "notify": ["bob"]}]}
            ],
        )
    )
    paged(running, phones, 1)
    assert "You have it" not in shown(running, "/incidents/1?did=ack")
    mine = press(running, "ack", by="alice", holder="", steps="1")
    assert "You have it.</p>" in mine.text  # nobody else was paged, so nobody is told
    stale = press(running, "ack", by="bob", holder="", steps="1")
    assert "Nothing was done: alice has it" in stale.text
    taken = press(running, "ack", by="bob", holder="alice", steps="1")
    assert "You have it. alice had it before. alice will be notified." in taken.text
    for cookies, expected in (({"notifier-me": "bob"}, True), ({"notifier-me": "alice"}, False), ({}, False)):
        told = requests.get(taken.url, cookies=cookies, timeout=30).text
        assert ("You have it" in told) is expected
    noted = press(running, "note", by="bob", text="disk <full>, cleaning up")
    assert "The note is in the timeline." in noted.text
    assert "Note by bob on this page: disk <full>, cleaning up" in words(noted.text)
    empty = press(running, "note", by="bob", text=" ")
    assert (empty.status_code, "Go back: the note is empty." in empty.text) == (400, True)
    unseen = press(running, "escalate", by="alice", holder="", steps="1")  # made before bob had it
    assert "Nothing was done: bob has it" in unseen.text
    passed = press(running, "escalate", by="bob", holder="bob", steps="1")
    assert re.search("Escalat(ing to|ed:) bob", passed.text)
    assert "You have it" not in requests.get(taken.url, cookies={"notifier-me": "bob"}, timeout=30).text
    phones.wait(3)
    again = press(running, "escalate", by="bob", holder="bob", steps="1")
    assert "Nothing was done: it was escalated meanwhile." in again.text
    last = press(running, "escalate", by="bob")
    assert "Nothing was done: there is no further step." in last.text
    running.post(webhook(alert("A", status="resolved"), key="a"))
    wait_for(lambda: re.search(r"resolved · \d\d:\d\d, after", read(running, "/incidents/1")), "it is over")
    assert "It was resolved already." in press(running, "ack", by="bob").text


def test_all_steps_to_come_are_told_with_their_times(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    """Who is on call then; what means nobody gives way to the next."""
    nobody = {"name": "gap", "rotations": [{"start": "2099-01-05T09:00", "every": "1w", "contacts": ["bob"]}]}
    steps = [
        {"after": "10m", "notify": ["gap"]},
        {"after": "20m", "notify": ["bob"]},
        {"after": "30m", "notify": ["alice", "bob"]},
    ]
    ops = {"name": "ops", "notify": ["alice"], "escalate": steps, "repeat": 1}
    running = run(files.write(schedules=[nobody], receivers=[ops]))
    paged(running, phones, 1)
    told = shown(running, "/incidents/1")
    rest = r'(?:then|next:) ([a-z, ]+) <time datetime="([^"]+)"'
    found = re.findall(rest, told)
    opened = datetime.fromisoformat(
        requests.get(running.url + "/api/v1/incidents/1", timeout=30).json()["opened_at"]
    )
    due = [(round((datetime.fromisoformat(at) - opened).total_seconds() / 60), whom) for whom, at in found]
    # the step of the gap is taken at once with the next one's people, after which come 30 minutes; then all over again
    assert due == [(10, "bob"), (40, "alice, bob"), (70, "alice"), (80, "bob"), (110, "alice, bob")]
    assert re.search(r"alice (sent|sending|delivered) · next: bob in \d+ min", read(running))


def test_a_hole_is_told_where_it_had_another_paged(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    nobody = {"name": "gap", "rotations": [{"start": "2099-01-05T09:00", "every": "1w", "contacts": ["bob"]}]}
    steps = [{"after": "10m", "notify": ["bob"]}]
    running = run(
        files.write(schedules=[nobody], receivers=[{"name": "ops", "notify": ["gap"], "escalate": steps}])
    )
    paged(running, phones, 1)
    told = read(running, "/incidents/1")
    assert "Opened: nobody is on call in gap" in told
    assert "Page to bob" in told


def test_of_two_who_press_at_once_one_has_it_and_the_other_is_told(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=ENGLISH, limits={"per_contact": None}))
    for number in range(1, 7):
        running.post(webhook(alert(f"A{number}"), key=f"k{number}"))
        # Not until as many messages were sent: others are told of the acknowledgement before.
        wait_for(lambda: any(f"#{number} A{number}" in sms.message for sms in phones.all()), "it is paged")
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(
                    lambda by: press(running, "ack", number, by, holder="", steps="1").text, ("alice", "bob")
                )
            )
        assert sum("Nothing was done" in answer for answer in answers) == 1
        incident = requests.get(f"{running.url}/api/v1/incidents/{number}", timeout=30).json()
        (deed,) = [event for event in incident["events"] if event["kind"] == "acknowledged"]
        assert deed["by"] == incident["acknowledged_by"]


def test_what_fires_since_when_and_who_knows_is_told_first(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    emulator.emulation.receipts["+33639980001"] = (2, 24)
    running = run(files.write(receivers=[{"name": "ops", "notify": ["alice"]}]))
    paged(running, phones, 1, severity="critical", instance="db-1", starts_at="2026-11-22T12:13:30Z")
    wait_for(lambda: "No page was delivered" in shown(running), "it is seen that nobody knows")
    for path in ("/", "/incidents/1"):
        told = shown(running, path)
        assert "nobody else will be paged" in told
        assert '<span class="chip critical">critical</span>' in told
        assert '<time datetime="2026-11-22T12:13:30Z"' in told
        assert "alice failed" in words(told)
    assert "undelivered: absent, phone off (ptt 24)" in read(running, "/incidents/1")


def test_the_worst_that_nobody_has_comes_first_and_none_is_hidden(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(limits={"per_contact": None}))
    for number in range(63):
        running.post(webhook(alert(f"Low{number}", severity="info"), key=f"k{number}"))
    running.post(webhook(alert("Worst", severity="critical"), key="worst"))
    for number in range(3):
        running.post(webhook(alert(f"Late{number}", severity="warning"), key=f"l{number}"))
    wait_for(lambda: "<title>67 incidents that nobody has" in shown(running), "all are known")
    title = re.compile(r"</span> (?:<span[^>]*>)?(\w+)(?:</span>)?</a></h3>")
    names = title.findall(shown(running))
    assert (names[0], len(names)) == ("Worst", 60)
    assert sorted(names[1:4]) == ["Late0", "Late1", "Late2"]
    assert 'href="/?all=1">7 more' in shown(running)
    assert len(title.findall(shown(running, "/?all=1"))) == 67


def test_incidents_of_one_name_are_one_row_and_all_are_acknowledged_at_once(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(limits={"per_contact": None}))
    for number in range(4):
        running.post(webhook(alert("InstanceDown", instance=f"web-{number}"), key=f"k{number}"))
    running.post(webhook(alert("DiskFull", severity="critical"), key="disk"))
    wait_for(lambda: "<title>5 incidents that nobody has" in shown(running), "all are known")
    told = read(running)
    assert re.search(r"Nobody has it 5 Acknowledge all 5 critical #\d DiskFull", told)
    assert "InstanceDown 4 firing for" in told
    (numbers,) = re.findall(r'name="numbers" value="([0-9,]+)"', shown(running))
    requests.post(running.url + "/api/v1/incidents/1/ack", json={"by": "bob"}, timeout=30)  # he was faster
    headers = {"Sec-Fetch-Site": "same-origin"}
    answer = requests.post(
        running.url + "/incidents/acknowledge",
        data={"by": "alice", "numbers": numbers + ",99,x"},
        headers=headers,
        timeout=30,
    )
    assert "You have 4 incidents." in answer.text
    assert "Nobody has it 0" in words(answer.text)
    incidents = requests.get(running.url + "/api/v1/incidents", timeout=30).json()["items"]
    held = sorted((one["number"], one["acknowledged_by"]) for one in incidents)
    assert held == [(1, "bob"), (2, "alice"), (3, "alice"), (4, "alice"), (5, "alice")]


def test_a_long_list_begins_with_the_severities_and_leads_to_each(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=ENGLISH))
    fired = {"A": "info", "B": "warning", "C": "warning", "D": "critical", "E": "info"}
    for name, severity in fired.items():
        running.post(webhook(alert(name, severity=severity), key=name))
    phones.wait(5)
    assert "critical 1 warning 2 info 2" in read(running)
    for target in re.findall(r'<a href="#([^"]+)"><span class="chip', shown(running)):
        assert f'id="{target}"' in shown(running)


def test_an_incident_that_ends_while_the_page_is_made_is_on_it_once(
    files: Files, run: Callable[..., Running], phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write(contacts=ENGLISH))
    paged(running, phones, 1)
    store = running.service.store
    (incident,) = store.incidents.latest(1)
    resolved_since = store.incidents.resolved_since

    def close_before(*given: Any) -> Any:
        running.service.workers.actions.close(incident.id, "alice", Via.WEB)
        return resolved_since(*given)

    monkeypatch.setattr(store.incidents, "resolved_since", close_before)
    assert shown(running).count(f'id="incident-{incident.id}"') == 1


def test_who_is_on_call_is_the_first_to_choose_from(files: Files, run: Callable[..., Running]) -> None:
    rota = {"name": "rota", "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["bob"]}]}
    running = run(files.write(contacts=ENGLISH, schedules=[rota]))
    assert re.findall(r'name="by" value="(\w+)"', shown(running, "/who")) == ["bob", "alice"]


def test_one_user_does_not_take_every_stream(files: Files, run: Callable[..., Running]) -> None:
    hashed = bcrypt.hashpw(b"secret-of-ops", bcrypt.gensalt(4)).decode()
    running = run(files.write(web={"basic_auth_users": {"ops": hashed, "dev": hashed}}))

    def opened(user: str) -> requests.Response:
        login = (user, "secret-of-ops")
        return requests.get(running.url + "/live", {"path": "/"}, auth=login, timeout=30, stream=True)

    held = [opened("ops") for _ in range(30)]
    assert [one.status_code for one in held].count(200) == 24
    assert opened("dev").status_code == 200
    for one in held:
        one.close()


def test_who_acts_from_the_list_stays_on_it(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    steps = [{"after": "1h", "notify": ["bob"]}]
    running = run(
        files.write(contacts=ENGLISH, receivers=[{"name": "ops", "notify": ["alice"], "escalate": steps}])
    )
    paged(running, phones, 1)
    fields = {"from": "home", "holder": "", "steps": "1"}
    asked = press(running, "ack", by="", **fields)
    assert re.search(
        r'name="steps" value="1".*<button type="submit" name="by" value="alice"', asked.text, re.DOTALL
    )
    mine = press(running, "ack", **fields)
    assert (mine.url.partition("?")[0], "You have #1." in mine.text) == (running.url + "/", True)
    assert "alice has it" in words(mine.text)
    late = press(running, "ack", by="bob", **fields)
    assert "Nothing was done: alice has #1." in late.text
    assert "#1 is passed on." in press(running, "escalate", **{**fields, "holder": "alice"}).text
    assert "#1 is closed." in press(running, "close", **{**fields, "holder": "alice"}).text
    assert "#1 was resolved already." in press(running, "close", **fields).text
    assert "closed · by alice" in read(running, "/incidents/1"), "its alert fires"
    assert "closed by alice less than a minute ago" in read(running)
    assert "Resolved in the last 24 hours 1" in read(running)


def test_an_escalation_is_confirmed_also_before_its_step_is_taken(make: Callable[..., Pager]) -> None:
    pager = make(
        receivers=[{"name": "ops", "notify": ["alice"], "escalate": [{"after": "1h", "notify": ["bob"]}]}]
    )
    pager.post(webhook(alert("A")))
    pager.turn()
    seen = pager.store.incidents.named("1")
    viewer = Viewer(ZoneInfo("UTC"), pager.hand())
    assert brief_confirmation("escalate", seen, "alice", 0, viewer) is None, "an address proves nothing"
    pager.actions.escalate(seen.id, "alice", Via.WEB)
    told = brief_confirmation("escalate", pager.store.incidents.named("1"), "alice", 0, viewer)
    assert told == Confirmation("#1 is passed on.")


def test_who_has_texted_since_is_told(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    ovh = {"sender": ..., "sender_for_response": True, "replies": {"poll_interval": "1s"}}
    running = run(files.write(contacts=ENGLISH, ovh=ovh))
    paged(running, phones, 1)
    assert "last SMS from this phone" not in read(running, "/incidents/1")
    emulator.emulation.reply(ENGLISH[0]["phone"], "who")
    wait_for(lambda: "last SMS from this phone:" in read(running, "/incidents/1"), "the reply is told")


def test_whether_pages_go_out_is_told_at_once(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    running = run(files.write())
    assert "Delivery: working" in read(running)
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    running.post(webhook(alert("A"), key="a"))
    wait_for(lambda: "Delivery is degraded: A message has waited for" in read(running), "that they are late")
    assert "503" in shown(running, "/incidents/1")
    wait_for(lambda: "attempt failed: 503" in read(running, "/incidents/1"), "what was tried is told")
    assert "attempt failed: 503" in read(running, "/messages")
    emulator.faults.clear()
    emulator.emulation.credits = 0
    wait_for(lambda: "Delivery is down:" in shown(running), "that they do not")
    assert "<title>Delivery is down: 1 incident that nobody has" in shown(running)
    emulator.emulation.credits = 100
    phones.wait(1, timeout=60)
    wait_for(lambda: "Delivery: working" in read(running), "that they do again")


def test_delivery_that_is_down_has_a_reason_also_while_the_warnings_do_not_name_one_yet(hand: Hand) -> None:
    status = delivery_status(None, (), None, hand(), is_hindered=True)
    assert (status.word, status.problems) == ("down", (Problem("No account can send."),))


def test_delivery_is_down_when_a_message_waits_for_long_and_no_other_goes_out(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    pager.post(webhook(alert("A")))
    pager.run(301, 20)
    waiting = pager.store.ledger.waiting_longest(hand(), LATE)

    def status(language: str = "en", *, is_accepting: bool) -> DeliveryStatus:
        words = LANGUAGES[language]
        return delivery_status(None, (), waiting, hand(), words, is_hindered=False, is_accepting=is_accepting)

    assert not pager.store.ledger.is_any_accepted(waiting.created_at)
    assert status(is_accepting=False).word == "down"
    assert status(is_accepting=True).word == "degraded"
    (problem,) = status("fr", is_accepting=False).problems
    assert problem.text == f"Un message attend depuis 5 min. {waiting.attempts} tentatives ont échoué."
    assert "503" in problem.detail
    context: Any = SimpleNamespace(
        store=pager.store, readiness=lambda: Readiness(None), redaction=SimpleNamespace(hide=str)
    )
    zone, words_seen = ZoneInfo("UTC"), set()
    for _ in range(60):
        words_seen.add(current_status(context, Viewer(zone, hand())).word)
        pager.run(10, 10)
    assert words_seen == {"down"}, "also between two attempts"
    emulator.faults.clear()
    pager.run(600, 20)
    assert pager.store.ledger.is_any_accepted(waiting.created_at)


def the_id(pager: Pager, number: int) -> str:
    """Return the id of the incident of that number."""
    return next(one.id for one in pager.store.incidents.latest(50) if one.number == number)


def messages_of(pager: Pager, number: Any) -> Any:
    """Return what the page tells of an incident's messages, as (what, lines)."""
    ledger, (incident,) = (
        pager.store.ledger,
        [one for one in pager.store.incidents.latest(50) if one.number == number],
    )
    messages = ledger.latest(50, incident_id=incident.id)
    carriers = ledger.of([one.merged_into for one in messages if one.merged_into])
    tries = ledger.failed_attempts([*(one.id for one in messages), *carriers])
    events = pager.store.incidents.history(incident.id)
    history = IncidentHistory(
        events, messages, carriers, tries, {}, {}, mask=lambda number: "masked", hide=lambda text: text
    )
    return [
        (f"{entry.what} to {entry.recipient}", [outcome.line for outcome in entry.outcomes])
        for entry in incident_timeline(history)
        if entry.text
    ]


@both_engines
def test_a_page_in_a_digest_shows_what_became_of_that(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    pager.post_all([webhook(alert(f"A{n}", severity="warning"), key=f"k{n}") for n in range(13)])
    pager.turn(5)
    pager.run(55)
    waiting = [
        number
        for number in range(1, 14)
        if messages_of(pager, number) == [("Page to alice", ["held: waits for a digest: limits.per_contact"])]
    ]
    assert len(waiting) == 3
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, message="slower"))
    pager.run(90)
    pager.follow()
    for number in waiting:
        ((what, lines),) = messages_of(pager, number)
        assert what == "Page to alice"
        assert lines[0] == "sent in a digest with others"
        (page,) = [one for one in pager.store.ledger.latest(50) if one.incident_id == the_id(pager, number)]
        happened = [line.what for line in message_timeline(pager.store.ledger.details(page.id))]
        assert happened[:6] == ["received", "routed", "rendered", "held", "incident opened", "merged"]
        assert sorted(happened[6:]) == ["accepted", "answered", "answered", "delivered", "tried", "tried"]
        assert "attempt failed: 429" in lines[1]
        assert lines[2:] == ["accepted by OVHcloud", "delivered"]


def test_an_answer_that_was_lost_is_no_failure_and_is_told_in_words(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    pager.post(webhook(alert("Disk", instance="db-1")))
    pager.turn(1)
    ((_, lines),) = messages_of(pager, 1)
    assert lines[0] == "no answer: network: connection reset by peer"
    assert lines[1].startswith("asking OVHcloud whether it accepted it")
    pager.run(30)
    assert len(emulator.emulation.accepted) == 1
    ((what, lines),) = messages_of(pager, 1)
    assert what == "Page to alice"
    assert lines[0] == "no answer; OVHcloud had accepted it: network: connection reset by peer"
    assert lines[1] == "accepted by OVHcloud"
    (message,) = pager.store.ledger.latest(2)
    told = [f"{line.what} {line.detail}" for line in message_timeline(pager.store.ledger.details(message.id))]
    assert any("OVHcloud had accepted it" in line for line in told)
    assert not any("Error(" in line or "Connection aborted" in line for line in told + lines)


def test_a_search_looks_through_so_many_messages_and_goes_on_from_there(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write(contacts=[{"name": "alice", "phone": "+33639980001"}]))
    monkeypatch.setattr("notifier.web.pages.messages.MAX_SEARCHED", 4)
    for number in range(10):
        running.post(webhook(alert(f"Alert{number}"), key=f"k{number}"))
        wait_for(lambda: f"Alert{number}" in shown(running, "/messages"), "it is listed")
    seen = shown(running, "/messages?q=alert1")
    assert "No messages found among 4 messages." in seen
    for _ in range(2):
        (older,) = re.findall(r'href="([^"]+)" rel="next">Search older messages', seen)
        seen = shown(running, older.replace("&amp;", "&"))
    assert re.findall(r"Alert\d", seen) == ["Alert1"]
    assert 'rel="next"' not in seen


def test_the_chart_counts_a_day_once_that_cannot_change(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write())
    running.post(webhook(alert("A"), key="a"))
    in_words = "in 30 days 0 delivered, 0 failed, 1 others"
    wait_for(lambda: in_words in shown(running, "/messages"), "it is counted, and has not arrived yet")
    messages, later = running.service.pages.messages, datetime.now(UTC) + timedelta(days=6)

    def becomes(state: Any) -> None:
        with sqlite3.connect(files.directory / "notifier.db") as database:
            database.execute("UPDATE messages SET state = ?, receipt_due_at = NULL", [state])

    def counted() -> Any:
        return [state for (_, state), count in messages.counts(later).items() if count == 1]

    wait_for(lambda: counted() == ["accepted"], "it is accepted")
    becomes("delivered")
    assert counted() == ["delivered"], "it could change still"
    becomes("undelivered")
    assert counted() == ["delivered"], "what cannot change is not counted again"
    assert not messages.counts(later + timedelta(days=40))


# -- what is drawn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["2026-10-21", "2026-10-25", "2026-03-25", "2026-03-29", "2026-06-01"])
@pytest.mark.parametrize("handover", ["23:30", "02:30", "09:00"])
def test_bars_are_as_wide_as_their_share_of_the_day_however_long_that_is(
    files: Files, day: Any, handover: Any
) -> None:
    """In the week in which the clocks change, too."""
    rotation = {"start": f"2026-01-05T{handover}", "every": "1d", "contacts": ["alice", "bob"]}
    loading = load(
        files.write(schedules=[{"name": "p", "time_zone": "Europe/Paris", "rotations": [rotation]}])
    )
    schedule = Schedules.of(loading.configuration, {})["p"]
    shown_ = drawn(schedule, {"alice": 0, "bob": 1}, datetime.fromisoformat(f"{day}T23:50:00+02:00"))
    hour, minute = map(int, handover.split(":"))
    for week in shown_.weeks:
        assert [x for x, _ in week.marks] == [round(n * 100.0, 2) for n in range(7)]
        assert all(bar.width > 0 for bar in week.bars)
        assert sum(bar.width for bar in week.bars) == pytest.approx(700)
        assert all(0 <= bar.x <= 700 and bar.x + bar.width <= 700.01 for bar in week.bars)
        ordinary = [
            bar for bar in week.bars if bar.x + bar.width < 598 and bar.x > 0
        ]  # all but a day of 23 or 25 hours
        for bar in ordinary:
            assert (bar.x + bar.width) % 100 == pytest.approx((hour * 60 + minute) / 1440 * 100, abs=0.02)


def test_an_override_to_nobody_is_marked_as_one(files: Files) -> None:
    schedule = {
        "name": "p",
        "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice"]}],
        "overrides": [{"start": "2026-06-02T09:00", "end": "2026-06-03T09:00", "contact": None}],
    }
    rota = Schedules.of(load(files.write(schedules=[schedule])).configuration, {})["p"]
    week = drawn(rota, {"alice": 0}, datetime(2026, 6, 1, tzinfo=UTC)).weeks[0]
    assert [(bar.kind, bar.label.partition(",")[0]) for bar in week.bars] == [
        ("shift", "alice"),  # until Monday at nine
        ("shift", "alice"),
        ("gap override", "nobody (override)"),
        ("shift", "alice"),
    ]


def test_a_message_that_came_late_says_so(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand, by_hand: None
) -> None:
    pager = make()
    pager.post(webhook(alert("A")))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503))
    pager.turn()
    pager.run(180, 20)
    pager.follow()
    (message,) = pager.store.ledger.latest(9)
    failed = pager.store.ledger.failed_attempts([message.id])[message.id]
    assert message.state == "delivered"
    told = shown_message(message, None, failed, Viewer(ZoneInfo("UTC"), hand()), hide=str)
    assert told.took == spelled(message.delivered_at - message.created_at + timedelta(seconds=30))
    assert [why.partition(" ")[0] for _, why in told.failures] == ["503"]


def test_a_page_that_is_not_there_is_in_the_readers_language(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write())
    for path, told in (("/incidents/999", "Cet incident n'existe pas."), ("/nothing", "Introuvable")):
        cookies, accept = {"notifier-me": "bob"}, {"Accept": "text/html"}
        answer = requests.get(running.url + path, cookies=cookies, headers=accept, timeout=10)
        assert (answer.status_code, told in words(answer.text)) == (404, True)


def test_a_shift_is_told_at_full_length_where_the_chart_cuts_it(files: Files) -> None:
    schedule = {
        "name": "p",
        "rotations": [{"start": "2026-01-07T09:00", "every": "12w", "contacts": ["alice", "bob"]}],
    }
    rota = Schedules.of(load(files.write(schedules=[schedule])).configuration, {})["p"]
    told = drawn(rota, {}, datetime(2026, 12, 1, tzinfo=UTC))
    assert [(one.who, one.span, one.lasted) for one in told.pieces] == [
        ("bob", "from Wed 16 Sep 09:00 to Wed 9 Dec 09:00", "84 d"),
        ("alice", "from Wed 9 Dec 09:00 to Wed 3 Mar 09:00", "84 d"),
    ]
    french = drawn(rota, {}, datetime(2026, 12, 1, tzinfo=UTC), 0, LANGUAGES["fr"])
    assert french.pieces[0].span == "du mer 16 sept. 09:00 au mer 9 déc. 09:00"


def test_a_calendar_that_takes_a_password_has_no_address_for_phones(
    files: Files, run: Callable[..., Running]
) -> None:
    hashed = bcrypt.hashpw(b"secret-of-ops", bcrypt.gensalt(4)).decode()
    rota = {"name": "rota", "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["bob"]}]}
    running = run(files.write(schedules=[rota], contacts=ENGLISH, web={"basic_auth_users": {"ops": hashed}}))

    def page(path: str) -> str:
        return requests.get(running.url + path, auth=("ops", "secret-of-ops"), timeout=10).text

    found = page("/oncall?calendar=alice&week=4")
    assert 'href="/oncall/alice.ics"' in found
    assert 'class="qr"' not in found
    assert "set web.feed_secret" in found
    assert 'href="/oncall?week=4&amp;calendar=bob#calendars"' in found
    assert "There is no contact nobody." in words(page("/oncall?calendar=nobody"))


def test_messages_are_counted_on_the_day_they_were_made_on_by_the_clocks_of_the_place() -> None:
    paris, today = ZoneInfo("Europe/Paris"), date(2026, 11, 10)
    at = {
        datetime(2026, 11, 10, 22, 30, tzinfo=UTC): 29,  # 23:30 today
        datetime(2026, 11, 9, 23, 15, tzinfo=UTC): 29,  # 00:15 today
        datetime(2026, 11, 9, 22, 45, tzinfo=UTC): 28,
        datetime(2026, 10, 24, 22, 0, tzinfo=UTC): 13,  # 00:00 of the day that has 25 hours
        datetime(2026, 10, 25, 22, 45, tzinfo=UTC): 13,  # 23:45 of it
        datetime(2026, 10, 12, 21, 45, tzinfo=UTC): 0,
        datetime(2026, 10, 11, 21, 45, tzinfo=UTC): None,
    }
    for instant, day in at.items():
        drawn_ = chart({(instant, "accepted"): 1}, paris, today)
        assert drawn_ is None or [bar.kind for bar in drawn_.bars] == ["other"], "it may not have arrived"
        assert (drawn_ and [bar.x // 10 for bar in drawn_.bars]) == ([day] if day is not None else None), (
            instant
        )


@pytest.mark.parametrize(
    ("credits_", "spent", "hours", "expected"),
    [
        (1000, 100, 1, "about 10 days at the rate of the last day"),
        (1000, 100, 60, "about 25 days at the rate of the last 3 days"),
        (1000, 700, 24 * 30, "about 10 days at the rate of the last 7 days"),
        (1000, 1, 24, "more than a year at the rate of the last day"),
        (None, 1, 24, None),
    ],
)
def test_how_long_credits_last_goes_by_the_present_rate(
    credits_: Any, spent: Any, hours: Any, expected: Any
) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert lasts(credits_, Spent(spent, now - timedelta(hours=hours)), now, timedelta(days=7)) == expected
    assert lasts(credits_, None, now, timedelta(days=7)) is None


def test_a_time_of_another_year_has_its_year() -> None:
    viewer = Viewer(ZoneInfo("UTC"), datetime(2026, 11, 24, 12, tzinfo=UTC))
    assert [viewer.moment(datetime(*day, 9, 5, tzinfo=UTC)).short for day in ((2026, 11, 24), (2026, 7, 1), (2031, 7, 22))] == [
        "09:05", "1 Jul 09:05", "22 Jul 2031 09:05",
    ]  # fmt: skip


def test_alerts_are_listed_with_links_that_lead_to_pages_only(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    fires = alert("A", instance="db-1")
    fires["annotations"] = {
        "runbook_url": "https://wiki.example.net/a?b=1",
        "evil": "javascript:alert(1)",
        "summary": "It is down",
    }
    running.post(webhook(fires, alert("B", instance="db-2"), key="a"))
    phones.wait(1)
    told = shown(running, "/incidents/1")
    assert re.search(
        '<a class="button" href="https://wiki.example.net/a[?]b=1" rel="noopener noreferrer">', told
    )
    assert "Runbook" in words(told)
    assert '"javascript:' not in told
    assert "It is down" in told
    assert "2 alerts" in told


def test_a_heartbeat_that_never_came_is_silent(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    beat = {"name": "watchdog", "matchers": ["alertname=Watchdog"], "timeout": "3s", "receiver": "ops"}
    running = run(files.write(heartbeats=[beat], **{"global": {"dedupe_window": "1s"}}))
    assert "Heartbeat watchdog not seen yet" in read(running)
    wait_for(lambda: "Heartbeat watchdog late not seen yet" in read(running), "it is silent")
    assert running.metric('notifier_heartbeat_late{heartbeat="watchdog"}') == 1


def test_a_page_is_in_the_language_and_the_zone_of_who_reads_it(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    alice = {"name": "alice", "phone": "+33639980001", "language": "fr", "time_zone": "Asia/Tokyo"}
    running = run(files.write(contacts=[alice, {"name": "bob", "phone": "+33639980002"}]))
    paged(running, phones, 1)

    def told(path: Any = "/", **headers: Any) -> Any:
        answer = requests.get(running.url + path, headers=headers, timeout=30)
        return words(answer.text), re.findall('<html lang="([a-z]+)"', answer.text)

    text, language = told(Cookie="notifier-me=alice")
    assert (language, "Personne ne l'a pris 1" in text, "heures de Asia/Tokyo" in text) == (
        ["fr"],
        True,
        True,
    )
    assert "Qui est au courant" in told("/incidents/1", Cookie="notifier-me=alice")[0]
    assert told(Cookie="notifier-me=bob", **{"Accept-Language": "fr"})[1] == ["en"]
    assert told(**{"Accept-Language": "de, fr;q=0.5"})[1] == ["fr"]
    assert told("/incidents/99", **{"Accept-Language": "fr"})[0].count("Introuvable") == 2
    live = requests.get(
        running.url + "/live", {"path": "/"}, headers={"Cookie": "notifier-me=alice"}, timeout=30, stream=True
    )
    assert "Personne ne l'a pris" in words(next(live.iter_content(None)).decode())


def test_an_incident_is_silenced_by_a_button_if_alertmanager_can_be_asked(
    files: Files, run: Callable[..., Running], phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write(contacts=ENGLISH, alertmanager={"url": "http://127.0.0.1:1"}))
    paged(running, phones, 1)
    fields = {"holder": "", "steps": "1"}
    refused = press(running, "silence", **fields, **{"for": "2h"})
    assert (
        refused.status_code,
        "Reason: Alertmanager cannot be reached" in refused.text,
    ) == (
        502,
        True,
    )
    assert press(running, "silence", **fields, **{"for": "x"}).status_code == 400
    asked: list[Any] = []
    monkeypatch.setattr(
        "notifier.workers.silencing.make_silences", lambda *what: asked.append(what) or "id-1"
    )
    done = press(running, "silence", **fields, **{"for": "2h"})
    assert "It is silenced in Alertmanager. If its alerts outlast that, somebody is paged." in done.text
    assert re.search("Silenced by alice on this page: silence id-1 until", words(done.text))
    ((_, alerts, duration, by, comment, _),) = asked
    assert (alerts, duration, by) == ([{"alertname": "A"}], timedelta(hours=2), "alice")
    assert comment == "incident 1 of Notifier: A"
    stale = press(running, "silence", by="bob", **fields, **{"for": "2h"})
    assert ("Nothing was done: alice has it" in stale.text, len(asked)) == (True, 1)


def test_a_silence_is_ended_if_somebody_was_faster(
    files: Files, run: Callable[..., Running], phones: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Alertmanager makes it, bob acknowledges: then "nothing was done" must be so."""
    running = run(files.write(contacts=ENGLISH, alertmanager={"url": "http://127.0.0.1:1"}))
    paged(running, phones, 1)
    ended: list[str] = []

    def make(*_: Any) -> str:
        requests.post(running.url + "/api/v1/incidents/1/ack", json={"by": "bob"}, timeout=30)
        return "id-1 id-2"

    monkeypatch.setattr("notifier.workers.silencing.make_silences", make)
    monkeypatch.setattr("notifier.workers.silencing.end_silences", lambda _, made: ended.append(made) or True)
    late = press(running, "silence", holder="", steps="1", **{"for": "2h"})
    assert ("Nothing was done: bob has it" in late.text, ended) == (True, ["id-1 id-2"])


def test_what_is_not_there_is_a_page_for_people_and_a_text_for_programs(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write())
    for path in ("/nonsense", "/static/nonsense"):
        person = requests.get(
            running.url + path, headers={"Accept": "text/html", "Accept-Language": "fr"}, timeout=30
        )
        program = requests.get(running.url + path, headers={"Accept": "*/*"}, timeout=30)
        assert (person.status_code, program.status_code, program.text) == (404, 404, "Not Found")
    assert (
        "<h1>Introuvable</h1>"
        in requests.get(
            running.url + "/nonsense", headers={"Accept": "text/html", "Accept-Language": "fr"}, timeout=30
        ).text
    )


def test_a_long_title_is_whole_on_its_own_page(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    name = "PersistentVolumeClaimOfTheDatabaseWillFillUpWithinFour"
    paged(running, phones, 1, name, instance="storage-12.gra1.example.net:9100")
    assert "..." in read(running).partition(name[:40])[2][:60]
    assert f"{name} storage-12" in read(running, "/incidents/1")


def test_an_address_that_somebody_sent_confirms_nothing(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=ENGLISH))
    paged(running, phones, 1)
    for did in ("ack", "all", "escalate", "close", "silence", "resolved", "taken"):
        for path in (f"/?did={did}&number=1", f"/incidents/1?did={did}"):
            page = requests.get(running.url + path, cookies={"notifier-me": "alice"}, timeout=30)
            assert (page.status_code, 'class="said"' in page.text) == (200, False), path
    for odd in (
        "/?did=all&number=²",
        "/?did=ack&number=%00",
        "/oncall?week=--5",
        "/oncall?week=" + "9" * 5000,
    ):
        assert requests.get(running.url + odd, timeout=30).status_code in (200, 400), odd
    assert requests.get(running.url + "/incidents/1/ack", timeout=30).url == running.url + "/incidents/1"


def test_without_an_alertmanager_there_is_no_button_that_silences(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=ENGLISH))
    paged(running, phones, 1)
    assert "/silence" not in shown(running, "/incidents/1") + shown(running)
    refused = press(running, "silence", **{"for": "2h"})
    assert (refused.status_code, "no Alertmanager is configured" in refused.text) == (502, True)


def test_a_contact_tests_the_own_phone_and_subscribes_to_the_own_shifts(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=ENGLISH, web={"feed_secret": "the-secret-of-the-feeds"}))
    me = {"notifier-me": "alice"}
    page = requests.get(running.url + "/settings", cookies=me, timeout=30).text
    assert "Pages to alice go to +336••••0001." in words(page)
    assert f"{running.url}/oncall/feeds/the-secret-of-the-feeds/alice.ics" in page
    assert page.count("<svg") > page.count('class="icon"')  # the QR code
    headers = {"Sec-Fetch-Site": "same-origin"}
    sent = requests.post(running.url + "/settings/test", cookies=me, headers=headers, timeout=30)
    assert "The test is on its way." in sent.text
    (sms,) = phones.wait(1)
    assert (sms.receiver, sms.message) == ("+33639980001", "Test of Notifier: this phone can be paged.")
    stranger = requests.post(running.url + "/settings/test", headers=headers, timeout=30)
    assert (stranger.status_code, len(phones.all())) == (400, 1)
    assert "Who are you?" in read(running, "/settings")
