"""The page behind a link: an incident as the person paged sees it, and nothing else."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest
import requests

from notifier.emulator import Emulator, Fault, FaultKind
from notifier.logs import LogLevel, configure_logging
from notifier.store.incidents import MAX_NOTES
from notifier.web.unknown_links import MAX_UNKNOWN, UnknownLinks
from notifier.workers.actions import LONGEST_NOTE
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.processes import wait_for
from tests.support.reading import words
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, webhook

SAME = {"Sec-Fetch-Site": "same-origin"}
PASSWORD = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()


def configured(**changes: Any) -> dict[str, Any]:
    return {
        "global": {"external_url": "http://pager.example.net"},
        "links": True,
        "web": {
            "listen_address": "127.0.0.1:0",
            "users": {"ops": {"password_hash": PASSWORD, "role": "admin"}},
        },
        "receivers": [
            {"name": "ops", "notify": ["alice"], "escalate": [{"after": "1h", "notify": ["bob"]}]},
        ],
        **changes,
    }


@pytest.fixture
def running(files: Files, run: Callable[..., Running], hand: Hand) -> Running:
    """Return a service whose pages need a password; its time is moved by hand."""
    return run(files.write(**configured()), clock=hand)


def page_alice(running: Running, phones: Phones, name: str = "A") -> str:
    """Page alice; return the path of her link."""
    before = len(phones.all())
    running.post(webhook(alert(name), key=name), auth=("ops", "right"))
    return path_in(phones.wait(before + 1)[-1].message)


def path_in(text: str) -> str:
    found = re.search(r"\nhttp://pager\.example\.net(/i/\w+)$", text)
    assert found is not None, text
    return found[1]


def see(running: Running, path: str, **how: Any) -> requests.Response:
    return requests.get(running.url + path, timeout=30, **how)


def press(running: Running, path: str, button: str, headers: Any = SAME, **fields: Any) -> requests.Response:
    return requests.post(
        f"{running.url}{path}/{button}", data=fields, headers=headers, timeout=30, allow_redirects=False
    )


def story(running: Running) -> set[tuple[str, str | None, str | None]]:
    found = requests.get(running.url + "/api/v1/incidents/1", auth=("ops", "right"), timeout=30).json()
    return {(event["kind"], event["by"], event["via"]) for event in found["events"]}


def test_the_person_paged_sees_the_incident_acknowledges_notes_and_escalates_without_signing_in(
    running: Running, phones: Phones
) -> None:
    path = page_alice(running, phones)
    assert see(running, "/incidents/1").status_code == 401
    for _ in range(3):
        answer = see(running, path)
        assert answer.status_code == 200
    assert requests.head(running.url + path, timeout=30).status_code == 200
    assert story(running) == {("opened", None, None)}  # to look changes nothing
    shown = " ".join(answer.text.split())
    assert "Timeline" in shown
    assert "Page to alice" in words(shown)
    assert "<nav" not in shown
    assert "sse-connect" not in shown
    assert "/close" not in shown
    assert "can act as alice on this incident until" in shown
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["x-robots-tag"] == "noindex"

    acknowledged = press(running, path, "ack", holder="", steps="1")
    assert (acknowledged.status_code, acknowledged.headers["location"]) == (303, f"{path}?did=ack")
    assert "set-cookie" not in acknowledged.headers
    assert "You have it." in see(running, f"{path}?did=ack").text
    assert press(running, path, "note", text="the disk is full").status_code == 303
    assert "Note by alice by the link in a page: the disk is full" in see(running, path).text
    assert press(running, path, "escalate", holder="alice", steps="1").status_code == 303
    assert phones.wait(2)[-1].receiver == "+33639980002"
    assert story(running) >= {
        ("acknowledged", "alice", "link"),
        ("noted", "alice", "link"),
        ("next", "alice", "link"),
    }
    assert running.metric('notifier_acknowledgements_total{via="link"}') == 1


def test_a_link_opens_one_incident_and_closes_none(running: Running, phones: Phones) -> None:
    first, second = page_alice(running, phones), page_alice(running, phones, "B")
    assert [number in words(see(running, first).text) for number in ("#1", "#2")] == [True, False]
    assert [number in words(see(running, second).text) for number in ("#1", "#2")] == [False, True]
    assert press(running, first, "close").status_code in (404, 405)
    assert "can act as alice" in see(running, first, headers={"Cookie": "notifier-me=bob"}).text
    forged = press(running, first, "ack", holder="", by="bob")
    assert forged.status_code == 303
    assert story(running) == {("opened", None, None), ("acknowledged", "alice", "link")}


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}]
)
def test_a_form_of_another_site_does_nothing(running: Running, phones: Phones, headers: Any) -> None:
    path = page_alice(running, phones)
    assert press(running, path, "ack", headers=headers, holder="").status_code == 403
    assert story(running) == {("opened", None, None)}


def test_a_link_ends_after_48_hours(running: Running, phones: Phones, hand: Hand) -> None:
    path = page_alice(running, phones)
    hand.move(hours=47, minutes=59)
    assert see(running, path).status_code == 200
    hand.move(minutes=1)
    assert see(running, path).status_code == 410
    assert "48 hours after it was sent" in see(running, path).text
    assert press(running, path, "ack", holder="").status_code == 410


def test_a_link_ends_a_day_after_its_incident_and_takes_notes_until_then(
    running: Running, phones: Phones, hand: Hand
) -> None:
    path = page_alice(running, phones)
    running.post(webhook(alert("A", status="resolved"), key="A"), auth=("ops", "right"))
    wait_for(lambda: "resolved" in str(story(running)), "it is resolved")
    hand.move(hours=23, minutes=59)
    assert press(running, path, "ack", holder="").headers["location"] == f"{path}?did=resolved"
    assert press(running, path, "note", text="it was the backup").status_code == 303
    assert "it was the backup" in see(running, path).text
    hand.move(minutes=1)
    assert see(running, path).status_code == 410


@pytest.mark.parametrize(
    "changes",
    [
        {"links": False},
        {
            "contacts": [{"name": "bob", "phone": "+33639980002"}],
            "receivers": [{"name": "ops", "notify": ["bob"]}],
        },
    ],
)
def test_a_reload_without_links_or_without_the_contact_ends_it(
    running: Running, phones: Phones, files: Files, changes: Any
) -> None:
    path = page_alice(running, phones)
    files.write(**configured(**changes))
    requests.post(running.url + "/-/reload", auth=("ops", "right"), timeout=30).raise_for_status()
    assert see(running, path).status_code == 410


def test_who_tries_links_is_refused_and_keeps_nobody_out(running: Running, phones: Phones) -> None:
    written = io.StringIO()
    configure_logging(level=LogLevel.WARNING, stream=written)
    path = page_alice(running, phones)
    for number in range(MAX_UNKNOWN):
        assert see(running, f"/i/{number:014}").status_code == 404
    refused = see(running, "/i/00000000000zzz")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert see(running, path).status_code == 200
    assert press(running, path, "ack", holder="").status_code == 303
    assert running.metric("notifier_authentication_failures_total") == MAX_UNKNOWN + 1
    configure_logging(level=LogLevel.WARNING, stream=sys.__stderr__)
    assert written.getvalue().count('path=/i/ error="unknown link"') == 10
    assert "00000000000001" not in written.getvalue()
    assert path.removeprefix("/i/") not in written.getvalue()


def test_unknown_links_are_counted_by_network_and_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("notifier.web.unknown_links.elapsed", lambda: now[0])
    unknown = UnknownLinks()
    assert [unknown.count(f"2001:db8::{number:x}") for number in range(3)] == [1, 2, 3]
    assert unknown.count("192.0.2.1") == 1
    now[0] = 60.0
    assert unknown.count("2001:db8::1") == 1
    for number in range(1000):
        unknown.count(f"198.51.{number // 250}.{number % 250}")
    assert unknown.count("2001:db8::1") == 1  # the oldest were forgotten


def test_a_linked_page_tells_nothing_of_other_incidents_and_its_errors_lead_back_to_it(
    running: Running, phones: Phones, emulator: Emulator
) -> None:
    path = page_alice(running, phones)
    emulator.faults.add(
        Fault(
            kind=FaultKind.ERROR, status=403, error_code="INVALID_CREDENTIAL", message="of Corp", times=None
        )
    )
    running.post(webhook(alert("B"), key="b"), auth=("ops", "right"))
    wait_for(lambda: "of Corp" in running_page(running), "the page of who may read shows it")
    assert "of Corp" not in see(running, path).text
    empty = press(running, path, "note", text=" ")
    assert empty.status_code == 400
    assert f'<a class="button" href="{path}">Back</a>' in empty.text
    assert "<nav" not in empty.text
    unknown = see(running, "/i/unknown")
    assert "<nav" not in unknown.text


def running_page(running: Running) -> str:
    return requests.get(running.url + "/", auth=("ops", "right"), timeout=30).text


def test_the_longest_note_in_any_alphabet_is_taken_and_no_more_than_a_hundred_notes(
    running: Running, phones: Phones
) -> None:
    path = page_alice(running, phones)
    assert press(running, path, "note", text="あ" * LONGEST_NOTE).status_code == 303
    for number in range(MAX_NOTES - 1):
        assert press(running, path, "note", text=f"note {number}").status_code == 303
    refused = press(running, path, "note", text="one more")
    assert refused.status_code == 400
    assert "the incident has 100 notes, the maximum" in refused.text
    assert "one more" not in see(running, path).text


@pytest.mark.parametrize("token", ["", "x" * 5000, "%00", "..%2F..", "é" * 14])
def test_what_is_no_token_opens_nothing(running: Running, emulator: Emulator, token: str) -> None:
    assert see(running, f"/i/{token}").status_code in (404, 414)
