"""The API, the commands that use it, and calendars to subscribe to; over real HTTP."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from icalendar import Calendar as ICalendar
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.emulator import Emulator
from tests.support.alertmanager import members
from tests.support.files import Files
from tests.support.processes import wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, webhook

ROTA = {
    "name": "platform",
    "time_zone": "Europe/Paris",
    "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice", "bob"]}],
}


@pytest.fixture
def running(files: Files, run: Callable[..., Running]) -> Any:
    return run(files.write(schedules=[ROTA], receivers=[{"name": "ops", "notify": ["alice", "bob"]}]))


def ask(running: Running, path: Any, method: Any = "GET", **how: Any) -> Any:
    return requests.request(method, running.url + path, timeout=30, **how)


def page(running: Running, phones: Phones, number: Any = 1, **labels: Any) -> None:
    starts_at = f"2026-11-22T12:13:{30 + number}Z"
    running.post(webhook(alert("A", instance="db-1", starts_at=starts_at, **labels), key=str(number)))
    phones.wait(2 * number)


def test_incidents_are_listed_newest_first_by_pages(running: Running, phones: Phones) -> None:
    for number in (1, 2, 3):
        page(running, phones, number)
    first = ask(running, "/api/v1/incidents?limit=2").json()
    assert [one["number"] for one in first["items"]] == [3, 2]
    rest = ask(running, f"/api/v1/incidents?limit=2&cursor={first['next']}").json()
    assert [one["number"] for one in rest["items"]] == [1]
    assert rest["next"] is None
    (one,) = rest["items"]
    assert {"id", "number", "receiver", "group_key", "state", "labels", "opened_at", "acknowledged_by",
            "acknowledged_at", "resolved_at"} <= set(one)  # fmt: skip
    assert (one["receiver"], one["group_key"], one["state"], one["acknowledged_by"]) == (
        "ops",
        "1",
        "open",
        None,
    )
    assert datetime.fromisoformat(one["opened_at"]).tzinfo == UTC
    assert ask(running, "/api/v1/incidents?state=resolved").json()["items"] == []
    assert running.metric('notifier_incidents{receiver="ops",state="open"}') == 3


def test_an_incident_is_acknowledged_and_the_others_are_told(running: Running, phones: Phones) -> None:
    page(running, phones)
    answer = ask(running, "/api/v1/incidents/1/ack", "POST", json={"by": "alice"})
    assert answer.status_code == 200
    assert (answer.json()["state"], answer.json()["acknowledged_by"]) == ("acknowledged", "alice")
    assert phones.wait(3)[-1].message == "alice s'en charge : #1 A db-1"
    shown = ask(running, f"/api/v1/incidents/{answer.json()['id']}").json()
    assert [(event["kind"], event["by"], event["via"]) for event in shown["events"]] == [
        ("opened", None, None), ("acknowledged", "alice", "api"),
    ]  # fmt: skip
    page_, *_ = sorted(shown["messages"], key=lambda one: (one["created_at"], one["to"]))
    assert (page_["kind"], page_["to"], page_["phone"], page_["state"]) == (
        "page",
        "alice",
        "+336••••0001",
        "accepted",
    )
    assert page_["text"].startswith("FIRING #1 A db-1")
    running.post(webhook(alert("A", status="resolved"), key="1"))
    phones.wait(5)
    assert ask(running, "/api/v1/incidents/1/ack", "POST").status_code == 409


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "expected"),
    [
        ("GET", "/api/v1/incidents/99", None, 404, "there is no incident"),
        ("POST", "/api/v1/incidents/nothing/ack", None, 404, "there is no incident"),
        ("POST", "/api/v1/incidents/1/ack", b"{", 400, "cannot be read as JSON"),
        ("POST", "/api/v1/incidents/1/ack", b"[]", 400, "must be an object"),
        ("POST", "/api/v1/incidents/1/ack", b'{"by": 7}', 400, "by must be a text"),
        ("POST", "/api/v1/incidents/1/ack", b'{"by": null}', 400, "by must be a text"),
        ("POST", "/api/v1/incidents/1/ack", b'{"by": "\\ud800"}', 400, "cannot be read as JSON"),
        ("POST", "/api/v1/incidents/1/ack", b'\xef\xbb\xbf{"take": 1}', 400, "take must be true or false"),
        ("POST", "/api/v1/incidents/1/ack", b" " * 70_000, 413, "larger than"),
        ("GET", "/api/v1/incidents?limit=0", None, 400, "limit must be"),
        (
            "GET",
            "/api/v1/incidents?state=odd",
            None,
            400,
            "is not a state; known are open, silenced, acknowledged, resolved, all",
        ),
        ("GET", "/api/v1/oncall?schedule=odd", None, 404, "no schedule"),
        ("GET", "/api/v1/oncall?at=noon", None, 400, "not a date and time"),
        ("GET", "/api/v1/oncall?until=2020-01-01", None, 400, "until must be after"),
        ("GET", "/oncall/odd.ics", None, 404, "no schedule or contact"),
    ],
)
def test_what_cannot_be_done_is_said(
    running: Running, method: Any, path: Any, body: Any, status: Any, expected: Any
) -> None:
    answer = ask(running, path, method, data=body)
    assert answer.status_code == status
    assert expected in answer.json()["error"]


def test_of_many_who_acknowledge_at_once_one_has_it_and_none_meets_a_fault(
    running: Running, phones: Phones
) -> None:
    page(running, phones)

    def acknowledge(number: int) -> int:
        body = {"by": "alice" if number % 2 else "bob"}
        return int(ask(running, "/api/v1/incidents/1/ack", "POST", json=body).status_code)

    with ThreadPoolExecutor(24) as pool:
        statuses = set(pool.map(acknowledge, range(48)))
    assert statuses <= {200, 409, 503}, "503 says that it is to be tried again"
    assert 200 in statuses
    events = ask(running, "/api/v1/incidents/1").json()["events"]
    assert [event["kind"] for event in events].count("acknowledged") == 1


def test_a_row_with_odd_values_hides_no_other(running: Running, phones: Phones, files: Files) -> None:
    """As a newer replica may write, or OVHcloud may report."""
    page(running, phones)
    wait_for(
        lambda: {one["state"] for one in ask(running, "/api/v1/messages").json()["items"]} == {"accepted"},
        "the outcome is stored",
    )
    with sqlite3.connect(files.directory / "notifier.db") as database:
        database.execute(
            "UPDATE messages SET kind = 'odd', state = 'odd', held_for = 'odd', credits = -1, ptt = -1"
        )
        database.execute("UPDATE jobs SET state = 'odd'")
        database.execute('UPDATE incidents SET acknowledged_via = \'odd\', labels = \'{"a": 1, "b": "c"}\'')
        database.execute("UPDATE incidents SET due_at = 'odd', opened_at = 'odd'")
        database.execute("UPDATE events SET kind = 'odd'")
    message = ask(running, "/api/v1/messages").json()["items"][0]
    assert (message["kind"], message["state"], message["ptt"]) == ("odd", "odd", -1)
    assert ask(running, f"/api/v1/messages/{message['id']}").json()["tries"][0]["state"] == "odd"
    incident = ask(running, "/api/v1/incidents/1").json()
    assert (incident["labels"], incident["events"][0]["kind"]) == ({"b": "c"}, "odd")
    for path in ("/", "/incidents/1", "/messages"):
        assert ask(running, path).status_code == 200, path


def test_nobody_without_credentials_is_let_in(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write(web={"bearer_token": "hush-hush"}, schedules=[ROTA]))
    for path in ("/api/v1/incidents", "/api/v1/oncall", "/oncall/platform.ics"):
        assert ask(running, path).status_code == 401
        right = ask(running, path, headers={"Authorization": "Bearer hush-hush"})
        assert right.status_code == 200


def test_who_is_on_call_is_told(running: Running) -> None:
    (now,) = ask(running, "/api/v1/oncall").json()["items"]
    assert now["contact"] in ("alice", "bob")
    assert running.metric(f'notifier_oncall_info{{contact="{now["contact"]}",schedule="platform"}}') == 1
    answer = ask(running, "/api/v1/oncall?at=2026-01-05T09:00&until=2026-01-19T09:00").json()
    assert answer == {
        "items": [
            {"schedule": "platform", "contact": "alice", "start": "2026-01-05T08:00:00Z", "end": "2026-01-12T08:00:00Z"},
            {"schedule": "platform", "contact": "bob", "start": "2026-01-12T08:00:00Z", "end": "2026-01-19T08:00:00Z"},
        ],
        "next": None,
    }  # fmt: skip


def test_calendars_can_be_subscribed_to(running: Running) -> None:
    answer = ask(running, "/oncall/platform.ics")
    assert answer.headers["content-type"].startswith("text/calendar")
    events: list[Any] = ICalendar.from_ical(answer.content).walk("VEVENT")
    starts = sorted(event["DTSTART"].dt for event in events)
    assert len(events) > 50
    assert all(b - a in (timedelta(weeks=1), timedelta(weeks=1, hours=1), timedelta(weeks=1, hours=-1))
               for a, b in itertools.pairwise(starts))  # fmt: skip
    assert len({event["UID"] for event in events}) == len(events)
    hers = ICalendar.from_ical(ask(running, "/oncall/alice.ics").content).walk("VEVENT")
    assert {str(event["SUMMARY"]) for event in hers} == {"alice on call: platform"}
    assert abs(2 * len(hers) - len(events)) <= 1


# -- commands ----------------------------------------------------------------------------------------------


def command(*arguments: Any) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_commands_look_at_and_acknowledge_incidents(running: Running, phones: Phones) -> None:
    assert command("incidents", "--url", running.url).stdout == "nothing is open\n"
    page(running, phones)
    assert command("incidents", "--url", running.url).stdout.endswith("ops: A db-1 (open)\n")
    acknowledged = command("ack", "1", "--by", "bob", "--url", running.url)
    assert (acknowledged.exit_code, acknowledged.stdout) == (0, "bob has #1 A db-1\n")
    (one,) = json.loads(command("incidents", "--url", running.url, "--output", "json").stdout)
    assert one["acknowledged_by"] == "bob"
    assert "(bob has it)" in command("incidents", "--url", running.url).stdout
    refused = command("ack", "9", "--url", running.url)
    assert refused.exit_code == 1
    assert 'there is no incident "9"' in refused.stderr
    for wrong, why in (
        (("ack", "1"), "say in whose name"),
        (("ack", "1", "--by", "zorro"), 'there is no contact "zorro"'),
        (("ack", "1", "--by", "alice"), "bob has incident 1; to take it over"),
        (("close", "1", "--by", "bop"), 'did you mean "bob"?'),
    ):
        refused = command(*wrong, "--url", running.url)
        assert (refused.exit_code, why in refused.stderr) == (1, True), refused.stderr
    assert "alice has #1" in command("ack", "1", "--by", "alice", "--take", "--url", running.url).stdout
    assert command("close", "1", "--by", "alice", "--url", running.url).stdout == "#1 A db-1 is closed\n"
    assert "is resolved already" in command("close", "1", "--by", "alice", "--url", running.url).stderr


def test_commands_say_what_is_wrong(files: Files, run: Callable[..., Running], tmp_path: Path) -> None:
    assert "cannot be reached" in command("incidents", "--url", "http://127.0.0.1:1").stderr
    running = run(files.write(web={"bearer_token": "hush-hush"}))
    assert "wants credentials" in command("incidents", "--url", running.url).stderr
    assert "cannot be read" in command("incidents", "--token-file", str(tmp_path / "none")).stderr
    (tmp_path / "token").write_text("hush-hush\n")
    right = command("incidents", "--url", running.url, "--token-file", str(tmp_path / "token"))
    assert (right.exit_code, right.stdout) == (0, "nothing is open\n")


def test_something_else_at_the_address_is_told(emulator: Emulator) -> None:
    assert "but it is not Notifier" in command("incidents", "--url", emulator.url).stderr


def test_a_shift_that_began_long_ago_is_in_the_calendar(files: Files, run: Callable[..., Running]) -> None:
    long_ = {
        **ROTA,
        "rotations": [{"start": "2026-01-05T09:00", "every": "12w", "contacts": ["alice", "bob"]}],
    }
    running = run(files.write(schedules=[long_]), clock=lambda: datetime(2026, 2, 24, tzinfo=UTC))
    events: list[Any] = ICalendar.from_ical(ask(running, "/oncall/alice.ics").text).walk("VEVENT")
    assert min(event.start for event in events) == datetime(2026, 1, 5, 8, tzinfo=UTC)


def test_a_silenced_incident_is_listed_with_who_silenced_it_why_and_until_when(
    files: Files, run: Callable[..., Running]
) -> None:
    def now() -> datetime:
        return datetime.now(UTC)

    with members(1, now) as (member,):
        running = run(files.write(alertmanager={"url": member.url, "check_interval": "1s"}))
        member.fire(alert("A"))
        running.post(webhook(alert("A")))
        wait_for(lambda: ask(running, "/api/v1/incidents?state=open").json()["items"], "it is opened")
        member.silence(by="dave", comment="deploy <of> db")
        (one,) = wait_for(
            lambda: ask(running, "/api/v1/incidents?state=silenced").json()["items"], "it is seen"
        )
        assert (one["state"], one["silenced_by"], one["silence_comment"]) == (
            "silenced",
            "dave",
            "deploy <of> db",
        )
        assert one["silenced_until"] == one["next_step_at"] is not None
        assert ask(running, "/api/v1/incidents?state=open").json()["items"] == []
        assert len(ask(running, "/api/v1/incidents?state=all").json()["items"]) == 1
        assert running.metric('notifier_incidents{receiver="ops",state="silenced"}') == 1
        for path in ("/", "/incidents/1"):
            page = requests.get(running.url + path, timeout=10).text
            assert "silenced in Alertmanager by dave until" in page
            assert "deploy &lt;of&gt; db" in page
        assert "Silenced in Alertmanager" in requests.get(running.url + "/incidents/1", timeout=10).text
        listed = CliRunner().invoke(app, ["incidents", "--url", running.url])
        assert "(silenced by dave)" in listed.stdout
        member.answer = lambda _: (503, b"")
        warning = f"Alertmanager cannot be asked, incidents are escalated all the same; {member.url}: it answers 503"
        wait_for(
            lambda: warning in requests.get(running.url + "/-/ready", timeout=10).text, "it is warned of"
        )
