"""Schedules kept in calendars: what they may hold, and what is made of those that cannot be had."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icalendar import Calendar as ICalendar
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.emulator import Emulator
from notifier.oncall import calendars
from notifier.oncall.calendars import CalendarError, Event, feed, fetch, match_contacts, parse
from notifier.oncall.schedules import Shift
from notifier.reload import load as load_all
from tests.support.files import Files
from tests.support.pager import ONE, Pager

PARIS = ZoneInfo("Europe/Paris")


def at(text: Any) -> Any:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ics(*events: Any) -> Any:
    body = "".join(
        f"BEGIN:VEVENT\r\nUID:{n}\r\nDTSTAMP:20260101T000000Z\r\n{e}\r\nEND:VEVENT\r\n"
        for n, e in enumerate(events)
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\n{body}END:VCALENDAR\r\n".encode()


WEEKLY = "DTSTART;TZID=Europe/Paris:20260105T090000\r\nDTEND;TZID=Europe/Paris:20260112T090000\r\n"


BAD_EVENTS = {
    "far": "DTSTART:20260201T120000\r\nDTEND:99991231T235959\r\nSUMMARY:bob",
    "first year": "DTSTART:00010101T000000Z\r\nDTEND:00010101T000001Z\r\nRRULE:FREQ=DAILY;UNTIL=x\r\nSUMMARY:bob",
    "no date": "DTSTART:garbage\r\nSUMMARY:bob",
    "endless": "DTSTART:20260201T120000\r\nRRULE:FREQ=SECONDLY;INTERVAL=0\r\nSUMMARY:bob",
}


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_bad_event_spoils_no_other(bad: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calendars, "WHOLE_TIMEOUT", 1.0)
    good = WEEKLY + "RRULE:FREQ=WEEKLY;INTERVAL=2\r\nSUMMARY:alice"
    found = parse(ics(good, bad, good), PARIS, at("2026-01-10T00:00"), at("2026-02-05T00:00"))
    assert [event.start for event in found if event.names[0] == "alice"] == 2 * [
        at("2026-01-05T08:00"),
        at("2026-01-19T08:00"),
        at("2026-02-02T08:00"),
    ]


def test_recurring_floating_and_whole_day_events_are_understood() -> None:
    found = parse(
        ics(
            WEEKLY + "RRULE:FREQ=WEEKLY;INTERVAL=2\r\nSUMMARY:alice",
            "DTSTART:20260201T120000\r\nDTEND:20260201T130000\r\nSUMMARY:bob",
            "DTSTART;VALUE=DATE:20260202\r\nDTEND;VALUE=DATE:20260203\r\nSUMMARY:carol\r\n"
            "ATTENDEE;CN=Dan Doe:mailto:dan@example.net",
        ),
        PARIS, at("2026-01-10T00:00"), at("2026-02-05T00:00"),
    )  # fmt: skip
    assert sorted((e.names[0], e.start, e.end) for e in found) == [
        ("alice", at("2026-01-05T08:00"), at("2026-01-12T08:00")),
        ("alice", at("2026-01-19T08:00"), at("2026-01-26T08:00")),
        ("alice", at("2026-02-02T08:00"), at("2026-02-09T08:00")),
        ("bob", at("2026-02-01T11:00"), at("2026-02-01T12:00")),
        ("carol", at("2026-02-01T23:00"), at("2026-02-02T23:00")),
    ]
    assert next(e for e in found if e.names[0] == "carol").names == ("carol", "Dan Doe", "dan")


@pytest.mark.parametrize(
    ("names", "contact"),
    [
        (("alice",), "alice"),
        (("On call: Alice (week 3)",), "alice"),
        (("malice",), None),
        (("week 3", "Alice"), "alice"),
        (("week 3", "Anybody", "bob"), "bob"),
        (("alice and bob", "bob"), "bob"),
        ((), None),
    ],
)
def test_whom_an_event_names(names: Any, contact: Any) -> None:
    found, unknown = match_contacts(
        [Event(at("2026-01-01T00:00"), at("2026-01-02T00:00"), names)], ["alice", "bob"]
    )
    assert [name for _, _, name in found] == ([contact] if contact else [])
    assert bool(unknown) == (contact is None)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is no iCalendar"),
        (b"<html>", "it is no iCalendar"),
        (b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:a\r\n", "no good iCalendar"),
        (b"\xff\xfe BEGIN:VCALENDAR", "no good iCalendar"),
        (ics(WEEKLY + "RRULE:FREQ=SECONDLY\r\nSUMMARY:alice"), ""),
    ],
    ids=["empty", "html", "cut off", "not UTF-8", "every second"],
)  # fmt: skip
def test_a_broken_calendar_is_a_clear_error(data: Any, reason: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not reason:  # it takes as long as it may; the others need time to start on a busy machine
        monkeypatch.setattr(calendars, "_PARSE_TIMEOUT", 4.0)
    with pytest.raises(CalendarError, match="cannot be read") as caught:
        parse(data, PARIS, at("2026-01-01T00:00"), at("2026-12-31T00:00"))
    assert reason in str(caught.value)
    assert "Traceback" not in str(caught.value)


@settings(max_examples=4)
@given(st.binary(max_size=300))
def test_whatever_a_calendar_holds_it_is_read_or_refused(noise: Any) -> None:
    try:
        parse(b"BEGIN:VCALENDAR\r\n" + noise, PARIS, at("2026-01-01T00:00"), at("2026-02-01T00:00"))
    except CalendarError:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server: Any = self.server
            status, body = server.answer
            if callable(body):
                body(self)
                return
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    running: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    running.url = f"http://127.0.0.1:{running.server_port}/rota.ics"
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def trickle(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        try:
            handler.wfile.write(b"x" * 10)
        except OSError:
            return
        time.sleep(0.05)


def test_a_calendar_is_fetched(server: Any, tmp_path: Path) -> None:
    server.answer = 200, b"hello"
    assert fetch(server.url) == b"hello"
    (tmp_path / "rota.ics").write_bytes(b"file")
    assert fetch(str(tmp_path / "rota.ics")) == b"file"


def test_what_is_missing_huge_or_slow_is_a_clear_error(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = 404, b""
    with pytest.raises(CalendarError, match="the server answers 404"):
        fetch(server.url)
    server.answer = 200, b"x" * (calendars.MAX_BYTES + 1)
    with pytest.raises(CalendarError, match="larger than 5 MiB"):
        fetch(server.url)
    with pytest.raises(CalendarError, match="cannot be fetched: No such file"):
        fetch(str(tmp_path / "none.ics"))
    with pytest.raises(CalendarError, match="ConnectionError"):
        fetch("http://127.0.0.1:1/a.ics")
    monkeypatch.setattr(calendars, "_FETCH_TIMEOUT", 0.2)
    server.answer = 200, trickle
    with pytest.raises(CalendarError, match="takes longer"):
        fetch(server.url)


def test_an_event_that_was_cancelled_does_not_count() -> None:
    def event(name: Any, more: Any = "") -> Any:
        return (
            f"BEGIN:VEVENT\r\nUID:{name}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260105T080000Z\r\n"
            f"DTEND:20260112T080000Z\r\nSUMMARY:{name}\r\n{more}END:VEVENT\r\n"
        )

    events = event("bob") + event("alice", "STATUS:CANCELLED\r\n")
    data = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\n{events}END:VCALENDAR\r\n".encode()
    found = parse(data, PARIS, at("2026-01-01T00:00"), at("2026-02-01T00:00"))
    assert [one.names for one in found] == [("bob",)]


def test_what_is_subscribed_to_can_be_read_back() -> None:
    shifts = [Shift("rota", "alice", at("2026-01-05T08:00"), at("2026-01-12T08:00")),
              Shift("rota", None, at("2026-01-12T08:00"), at("2026-01-13T08:00"))]  # fmt: skip
    data = feed("On call: rota", shifts, at("2026-01-01T00:00"))
    assert str(ICalendar.from_ical(data)["X-WR-CALNAME"]) == "On call: rota"
    found = parse(data, PARIS, at("2026-01-01T00:00"), at("2026-02-01T00:00"))
    assert match_contacts(found, ["alice"])[0] == [(at("2026-01-05T08:00"), at("2026-01-12T08:00"), "alice")]


# -- the watch ---------------------------------------------------------------------------------------------


def kept_in(source: Any) -> Any:
    return {"schedules": [{"name": "rota", "time_zone": "Europe/Paris", "ics": source}],
            "receivers": [{"name": "ops", "notify": ["rota"]}]}  # fmt: skip


def watching(pager: Pager) -> Any:
    return pager.workers.calendars


def on_call(pager: Pager) -> Any:
    return pager.current.runtime.schedules["rota"].on_call(pager.hand())


DAILY = "DTSTART;TZID=Europe/Paris:20260101T000000\r\nDTEND;TZID=Europe/Paris:20260102T000000\r\nRRULE:FREQ=DAILY\r\n"


def test_the_last_good_copy_holds_and_its_age_is_told(make: Callable[..., Pager], server: Any) -> None:
    server.answer = 200, ics(DAILY + "SUMMARY:alice", DAILY + "SUMMARY:nobody we know")
    pager = make(**kept_in(server.url))
    watch = watching(pager)
    assert on_call(pager) is None
    watch.work()
    assert (on_call(pager), watch.problems) == ("alice", {})
    server.answer = 500, b""
    pager.hand.move(minutes=30)
    assert watch.work() == 60.0
    assert on_call(pager) == "alice"
    assert "the server answers 500" in watch.problems["rota"]
    read_at = pager.count('notifier_calendar_last_read_timestamp_seconds{schedule="rota"}')
    assert pager.hand().timestamp() - read_at == 1800
    pager.reopen()
    assert on_call(pager) is None
    again = watching(pager)
    again.recall()
    assert on_call(pager) == "alice"
    server.answer = 200, ics(DAILY + "SUMMARY:bob")
    again.work()
    assert (on_call(pager), again.problems) == ("bob", {})
    read_at = pager.count('notifier_calendar_last_read_timestamp_seconds{schedule="rota"}')
    assert read_at == pager.hand().timestamp()


def test_a_calendar_that_names_who_is_no_contact_any_more_is_a_hole(
    make: Callable[..., Pager], server: Any, emulator: Emulator
) -> None:
    server.answer = 200, ics(DAILY + "SUMMARY:alice")
    pager = make(**kept_in(server.url))
    watching(pager).work()
    rota = pager.current.runtime.schedules["rota"]
    kept = {(rota.calendar.source, str(rota.zone)): rota.calendar}
    changed = {**kept_in(server.url), "contacts": [{"name": "bob", "phone": "+33639980002"}]}
    loading, templates = load_all(pager.files.write(**changed))
    from notifier.runtime import prepare

    pager.current.runtime = prepare(loading, templates, pager.metrics.observe_call, kept)
    assert on_call(pager) == "alice"
    pager.post(ONE)
    pager.turn()
    assert [sms.receiver for sms in emulator.emulation.accepted] == ["+33639980002"]


def test_a_broken_copy_changes_nothing(make: Callable[..., Pager], server: Any) -> None:
    server.answer = 200, ics(DAILY + "SUMMARY:alice")
    pager = make(**kept_in(server.url))
    watch = watching(pager)
    watch.work()
    server.answer = 200, b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"
    watch.work()
    assert on_call(pager) == "alice"


def test_a_calendar_that_cannot_be_read_is_tried_less_and_less_often_until_a_reload(
    make: Callable[..., Pager], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    server.answer = 200, b"nonsense"
    pager = make(**kept_in(server.url))
    monkeypatch.setattr(calendars, "parse", lambda *given: read.append(pager.hand()) or parse(*given))
    watch = watching(pager)
    start = pager.hand()
    for _ in range(130):
        watch.work()
        pager.hand.move(minutes=1)
    assert [(at - start) // timedelta(minutes=1) for at in read] == [0, 1, 3, 7, 15, 31, 63, 123]
    server.answer = 200, ics(DAILY + "SUMMARY:alice")
    watch.work()
    assert on_call(pager) is None
    watch.wake()  # as a reload does
    watch.work()
    assert (on_call(pager), watch.problems) == ("alice", {})
    server.answer = 500, b""
    watch.work()
    server.answer = 200, ics(DAILY + "SUMMARY:bob")
    watch.work()
    assert on_call(pager) == "bob", "a calendar that can be read rests for nothing"


def test_a_reload_while_a_calendar_is_read_has_it_read_again(
    make: Callable[..., Pager], server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**kept_in(server.url))
    watch = watching(pager)

    def parse_meanwhile(*given: Any) -> Any:
        watch.wake()
        server.answer = 200, ics(DAILY + "SUMMARY:alice")
        return parse(*given)

    monkeypatch.setattr(calendars, "parse", parse_meanwhile)
    server.answer = 200, b"nonsense"
    watch.work()
    monkeypatch.setattr(calendars, "parse", parse)
    watch.work()
    assert on_call(pager) == "alice"


def test_commands_read_calendars(files: Files, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    event = f"DTSTART:{now - timedelta(days=1):%Y%m%dT%H%M%SZ}\r\nDTEND:{now + timedelta(days=1):%Y%m%dT%H%M%SZ}\r\nSUMMARY:"
    (tmp_path / "rota.ics").write_bytes(ics(event + "bob", event + "Holidays"))
    file = files.write(**kept_in("rota.ics"))
    asked = CliRunner().invoke(app, ["oncall", "--config", str(file), "--output", "json"])
    assert json.loads(asked.stdout)[0]["contact"] == "bob"
    checked = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert 'warning: schedules[0].ics: the event "Holidays" names no contact' in checked.stdout
    assert 'nobody is on call in "rota" from' in checked.stdout
    (tmp_path / "rota.ics").write_bytes(b"nonsense")
    checked = CliRunner().invoke(app, ["check", "--config", str(file)])
    assert "warning: schedules[0].ics: the calendar cannot be read: it is no iCalendar" in checked.stdout
