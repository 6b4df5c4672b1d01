"""Who is on call: against recurrence as iCalendar computes it, against changes of clocks written by hand."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import recurring_ical_events
from hypothesis import given
from hypothesis import strategies as st
from icalendar import Calendar as ICalendar
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.config.loading import load
from notifier.oncall.schedules import Calendar, Schedule, Schedules
from tests.support.clock import PARIS, at
from tests.support.files import Files


def schedule(files: Files, rotations: Any, zone: Any = "Europe/Paris", **more: Any) -> Any:
    contacts = [
        {"name": name, "phone": f"+3363998000{n}"}
        for n, name in enumerate(("alice", "bob", "carol", "dan"), 1)
    ]
    written = {"name": "platform", "time_zone": zone, "rotations": rotations, **more}
    loading = load(files.write(contacts=contacts, schedules=[written]))
    assert loading.errors == []
    return Schedules.of(loading.configuration, {})["platform"]


def shifts(schedule: Any, start: Any, end: Any) -> Any:
    return [(s.contact, s.start, s.end) for s in schedule.shifts(start, end)]


def weekly(start: Any = "2026-01-05T09:00", contacts: Any = ("alice", "bob"), **more: Any) -> Any:
    return {"start": start, "every": "1w", "contacts": list(contacts), **more}


# -- rotations ---------------------------------------------------------------------------------------------


def test_contacts_take_turns(files: Files) -> None:
    one = schedule(files, [weekly()])
    assert shifts(one, at("2026-01-05T08:00"), at("2026-01-26T08:00")) == [
        ("alice", at("2026-01-05T08:00"), at("2026-01-12T08:00")),
        ("bob", at("2026-01-12T08:00"), at("2026-01-19T08:00")),
        ("alice", at("2026-01-19T08:00"), at("2026-01-26T08:00")),
    ]
    assert one.on_call(at("2026-01-12T07:59:59")) == "alice"
    assert one.on_call(at("2026-01-12T08:00")) == "bob"


def test_nobody_is_on_call_before_the_first_turn(files: Files) -> None:
    one = schedule(files, [weekly()])
    assert one.on_call(at("2026-01-05T07:59")) is None
    assert one.at(at("2026-01-01T00:00")).end == at("2026-01-05T08:00")


@pytest.mark.parametrize(
    ("zone", "start", "handovers"),
    [  # hand-overs at 09:00 on Mondays around both changes of the year, in UTC
        ("Europe/Paris", "2026-03-16T09:00", ["2026-03-23T08:00", "2026-03-30T07:00", "2026-04-06T07:00"]),
        ("Europe/Paris", "2026-10-12T09:00", ["2026-10-19T07:00", "2026-10-26T08:00", "2026-11-02T08:00"]),
        ("Europe/London", "2026-03-16T09:00", ["2026-03-23T09:00", "2026-03-30T08:00", "2026-04-06T08:00"]),
        ("Europe/London", "2026-10-12T09:00", ["2026-10-19T08:00", "2026-10-26T09:00", "2026-11-02T09:00"]),
        ("America/New_York", "2026-02-23T09:00", ["2026-03-02T14:00", "2026-03-09T13:00", "2026-03-16T13:00"]),
        ("America/New_York", "2026-10-19T09:00", ["2026-10-26T13:00", "2026-11-02T14:00", "2026-11-09T14:00"]),
        ("Australia/Sydney", "2026-03-23T09:00", ["2026-03-29T22:00", "2026-04-05T23:00", "2026-04-12T23:00"]),
        ("Australia/Sydney", "2026-09-21T09:00", ["2026-09-27T23:00", "2026-10-04T22:00", "2026-10-11T22:00"]),
        ("Australia/Lord_Howe", "2026-03-23T09:00", ["2026-03-29T22:00", "2026-04-05T22:30", "2026-04-12T22:30"]),
        ("Australia/Lord_Howe", "2026-09-21T09:00", ["2026-09-27T22:30", "2026-10-04T22:00", "2026-10-11T22:00"]),
        ("Pacific/Auckland", "2026-03-23T09:00", ["2026-03-29T20:00", "2026-04-05T21:00", "2026-04-12T21:00"]),
        ("Pacific/Auckland", "2026-09-14T09:00", ["2026-09-20T21:00", "2026-09-27T20:00", "2026-10-04T20:00"]),
    ],
)  # fmt: skip
def test_hand_overs_stay_at_their_hour_when_the_clocks_change(
    files: Files, zone: Any, start: Any, handovers: Any
) -> None:
    one = schedule(files, [weekly(start)], zone)
    instants = [at(text) for text in handovers]
    found = one.shifts(instants[0] - timedelta(days=1), instants[-1] + timedelta(days=1))
    assert [shift.end for shift in found[:-1]] == instants
    assert [shift.contact for shift in found] == ["alice", "bob", "alice", "bob"]


def test_a_shift_that_spans_the_change_is_an_hour_longer_or_shorter(files: Files) -> None:
    nights = schedule(files, [{"start": "2026-01-01T21:00", "every": "12h", "contacts": ["alice", "bob"]}])
    for day, hours in (("2026-03-28", 11), ("2026-10-24", 13), ("2026-06-01", 12)):
        shift = nights.at(at(f"{day}T23:00", PARIS))
        assert (shift.end - shift.start) == timedelta(hours=hours)


def test_hand_overs_that_the_clocks_skip_or_repeat(files: Files) -> None:
    one = schedule(files, [{"start": "2026-03-27T02:30", "every": "1d", "contacts": ["alice", "bob"]}])
    # 02:30 does not exist on March 29th: the offset before the change makes it 03:30, 01:30 in UTC
    assert one.at(at("2026-03-29T12:00", PARIS)).start == at("2026-03-29T01:30")
    # it comes twice on October 25th: the first one counts
    assert one.at(at("2026-10-25T12:00", PARIS)).start == at("2026-10-25T00:30")


def test_leap_days_and_year_ends(files: Files) -> None:
    one = schedule(files, [{"start": "2027-12-31T09:00", "every": "1d", "contacts": ["alice", "bob"]}])
    assert one.on_call(at("2027-12-31T12:00")) == "alice"
    assert one.on_call(at("2028-01-01T12:00")) == "bob"
    assert one.on_call(at("2028-02-28T12:00")) == "bob"
    assert one.on_call(at("2028-02-29T12:00")) == "alice"
    assert one.on_call(at("2028-03-01T12:00")) == "bob"


ZONES = st.sampled_from(
    [
        "UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
        "America/St_Johns", "Pacific/Apia", "Africa/Casablanca", "America/Santiago",
    ]
)  # fmt: skip


def recurrence(zone: Any, start: Any, unit: Any, interval: Any, first: Any, last: Any) -> Any:
    """Return the hand-overs from *first* to *last* as iCalendar has them."""
    text = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        f"DTSTART;TZID={zone}:{start:%Y%m%dT%H%M%S}\r\nRRULE:FREQ={unit};INTERVAL={interval}\r\n"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    events = recurring_ical_events.of(ICalendar.from_ical(text)).between(first, last)
    return sorted(event["DTSTART"].dt.astimezone(UTC) for event in events)


@given(
    zone=ZONES,
    start=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda d: d.replace(second=0, microsecond=0)),
    unit=st.sampled_from(["DAILY", "WEEKLY"]),
    interval=st.integers(1, 6),
    later=st.integers(0, 700),
    people=st.integers(1, 4),
)  # fmt: skip
def test_hand_overs_are_those_of_a_recurring_event(
    zone: Any, start: Any, unit: Any, interval: Any, later: Any, people: Any
) -> None:
    from notifier.oncall.schedules import Rotation

    every = timedelta(days=interval * (7 if unit == "WEEKLY" else 1))
    contacts = ("alice", "bob", "carol", "dan")[:people]
    one = Schedule("s", ZoneInfo(zone), (Rotation(ZoneInfo(zone), start, every, contacts),))
    first = start.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) + timedelta(days=later)
    last = first + 4 * every + timedelta(days=1)
    expected = [
        instant for instant in recurrence(zone, start, unit, interval, first, last) if first < instant < last
    ]
    found = one.shifts(first, last)
    assert [shift.start for shift in found[1:]] == expected
    turns = [contacts.index(shift.contact) for shift in found]
    assert all((b - a) % people == 1 % people for a, b in itertools.pairwise(turns))


@given(
    zone=ZONES,
    every=st.integers(1, 200),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),
    hours=st.tuples(st.times(), st.times()).filter(lambda t: t[0] != t[1]),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    moment=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),
)
def test_shifts_leave_no_gap_and_agree_with_who_is_on_call(
    zone: Any, every: Any, start: Any, hours: Any, days: Any, moment: Any
) -> None:
    from notifier.oncall.schedules import Hours, Rotation

    zone = ZoneInfo(zone)
    layers = (
        Rotation(zone, start, timedelta(hours=every), ("alice", "bob")),
        Rotation(zone, start, timedelta(days=1), ("carol",), days, (Hours(*hours),)),
    )
    one = Schedule("s", zone, layers)
    first = moment.replace(tzinfo=UTC)
    found = one.shifts(first, first + timedelta(days=9))
    assert found[0].start == first
    assert found[-1].end == first + timedelta(days=9)
    for before, after in itertools.pairwise(found):
        assert before.end == after.start
    for shift in found:
        assert shift.start < shift.end
        middle = shift.start + (shift.end - shift.start) / 2
        assert one.on_call(middle) == one.on_call(shift.start) == shift.contact
        wall = middle.astimezone(zone).replace(tzinfo=None)
        is_within = any(
            begins <= wall < ends
            for day in (wall.date(), wall.date() - timedelta(days=1))
            if day.weekday() in days
            for begins, ends in [Hours(*hours).on(day)]
        )
        shift_crosses_change = (
            shift.start.astimezone(zone).utcoffset() != shift.end.astimezone(zone).utcoffset()
        )
        if not shift_crosses_change and middle > start.replace(tzinfo=zone).astimezone(UTC) + timedelta(
            days=1
        ):
            assert (shift.contact == "carol") == is_within


# -- layers and overrides ----------------------------------------------------------------------------------


def test_later_layers_take_precedence_where_they_apply(files: Files) -> None:
    one = schedule(
        files,
        [
            weekly(contacts=["alice"]),
            weekly(contacts=["bob"], days=["monday:friday"], hours="09:00-17:00"),
        ],
    )
    found = shifts(one, at("2026-06-05T00:00", PARIS), at("2026-06-08T12:00", PARIS))
    assert found == [
        ("alice", at("2026-06-05T00:00", PARIS), at("2026-06-05T09:00", PARIS)),
        ("bob", at("2026-06-05T09:00", PARIS), at("2026-06-05T17:00", PARIS)),
        ("alice", at("2026-06-05T17:00", PARIS), at("2026-06-08T09:00", PARIS)),
        ("bob", at("2026-06-08T09:00", PARIS), at("2026-06-08T12:00", PARIS)),
    ]


def test_hours_past_midnight_belong_to_the_day_they_begin_on(files: Files) -> None:
    one = schedule(
        files,
        [weekly(contacts=["alice"], days="friday", hours=[{"start_time": "22:00", "end_time": "06:00"}])],
    )
    assert one.on_call(at("2026-06-05T23:00", PARIS)) == "alice"
    assert one.on_call(at("2026-06-06T05:59", PARIS)) == "alice"
    assert one.on_call(at("2026-06-06T06:00", PARIS)) is None
    assert one.on_call(at("2026-06-06T23:00", PARIS)) is None
    assert one.on_call(at("2026-06-05T05:00", PARIS)) is None


def test_follow_the_sun(files: Files) -> None:
    rotations = [
        {"start": "2026-01-01T00:00", "every": "1d", "contacts": [name], "hours": hours}
        for name, hours in (("alice", "00:00-08:00"), ("bob", "08:00-16:00"), ("carol", "16:00-24:00"))
    ]
    one = schedule(files, rotations, "UTC")
    found = one.shifts(at("2026-02-01T00:00"), at("2026-02-03T00:00"))
    assert [shift.contact for shift in found] == ["alice", "bob", "carol"] * 2
    assert one.gaps(at("2026-01-01T00:00"), at("2026-12-31T00:00")) == []


def test_overrides_lie_over_all(files: Files) -> None:
    one = schedule(
        files,
        [weekly(contacts=["alice", "bob"])],
        overrides=[
            {"start": "2026-01-06T12:00", "end": "2026-01-07T12:00", "contact": "carol"},
            {"start": "2026-01-07T00:00", "end": "2026-01-08T00:00", "contact": None},
            {"start": "2026-01-09T00:00Z", "end": "2026-01-10T00:00Z", "contact": "alice"},
        ],
    )
    assert shifts(one, at("2026-01-05T08:00"), at("2026-01-12T08:00")) == [
        ("alice", at("2026-01-05T08:00"), at("2026-01-06T11:00")),
        ("carol", at("2026-01-06T11:00"), at("2026-01-06T23:00")),
        (None, at("2026-01-06T23:00"), at("2026-01-07T23:00")),
        ("alice", at("2026-01-07T23:00"), at("2026-01-12T08:00")),
    ]
    assert one.contacts(at("2026-01-05T08:00"), at("2026-01-13T08:00")) == ["alice", "carol", "bob"]


# -- configuration -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"rotations": [weekly(contacts=[])]}, "must have at least one item"),
        ({"rotations": [weekly(contacts=["alcie"])]}, 'there is no contact "alcie"; did you mean "alice"?'),
        ({"rotations": [weekly(start="yesterday")]}, '"yesterday" is not a date and time'),
        ({"rotations": [weekly(start="0001-01-01T00:00")]}, "not within the years"),
        ({"rotations": [{**weekly(), "every": "90m"}]}, '"90m" is not a number of hours, days or weeks'),
        ({"rotations": [{**weekly(), "every": "0"}]}, "must be longer than 0s"),
        ({"rotations": [weekly(days=["moonday"])]}, '"moonday" is not a day'),
        ({"rotations": [weekly(days=[])]}, "must name a day"),
        ({"rotations": [weekly(hours="9 to 5")]}, '"9 to 5" is not a part of the day'),
        ({"rotations": [weekly(hours="09:00-25:00")]}, '"25:00" is not a time'),
        ({"rotations": [weekly(hours="09:00-09:00")]}, "begins and ends at 09:00"),
        ({"rotations": []}, "has neither rotations nor ics"),
        ({"rotations": [weekly()], "ics": "https://example.net/a.ics"}, "ics stands in place of rotations"),
        ({"ics": "nowhere.ics"}, "nowhere.ics cannot be read"),
        ({"ics": "webcal://example.net/a.ics"}, "is no calendar"),
        ({"rotations": [weekly()], "overrides": [{"start": "2026-01-02T00:00", "end": "2026-01-01T00:00", "contact": None}]},
         "is not after start"),
        ({"rotations": [weekly()], "overrides": [{"start": "2026-01-02T00:00", "end": "2026-01-03T00:00"}]},
         'the key "contact" is missing; name a contact, or write contact: null for nobody'),
        ({"rotations": [weekly()], "overrides": [{"start": "2026-01-02T00:00", "end": "2026-01-03T00:00", "contact": "x"}]},
         'there is no contact "x"'),
        ({"rotations": [weekly()], "name": "alice"}, '"alice" is already named'),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_schedule_is_said(files: Files, written: Any, expected: Any) -> None:
    loading = load(files.write(schedules=[{"name": "platform", **written}]))
    assert any(expected in problem.message for problem in loading.errors), loading.errors


def run(files: Files, *arguments: Any, **changes: Any) -> Any:
    file = files.write(**changes)
    return CliRunner().invoke(app, [arguments[0], "--config", str(file), *arguments[1:]])


PLATFORM = {"name": "platform", "time_zone": "Europe/Paris", "rotations": [weekly()]}


def test_oncall_answers_for_any_time(files: Files) -> None:
    asked = run(
        files, "oncall", "platform", "--at", "2026-01-12T08:59", "--output", "json", schedules=[PLATFORM]
    )
    assert json.loads(asked.stdout) == [
        {
            "schedule": "platform",
            "contact": "alice",
            "start": "2026-01-05T08:00:00Z",
            "end": "2026-01-12T08:00:00Z",
        }
    ]
    asked = run(files, "oncall", "--at", "2026-01-01T00:00Z", "-o", "json", schedules=[PLATFORM])
    assert json.loads(asked.stdout)[0]["contact"] is None


def test_oncall_prints_every_shift(files: Files) -> None:
    asked = run(
        files, "oncall", "--at", "2026-03-20T00:00", "--until", "2026-04-01T00:00", schedules=[PLATFORM]
    )
    assert asked.stdout.splitlines() == [
        "platform: alice from Mon 2026-03-16 09:00 to Mon 2026-03-23 09:00 (Europe/Paris)",
        "platform: bob from Mon 2026-03-23 09:00 to Mon 2026-03-30 09:00 (Europe/Paris)",
        "platform: alice from Mon 2026-03-30 09:00 to Mon 2026-04-06 09:00 (Europe/Paris)",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["nobody"], 1, 'there is no schedule "nobody"'),
        (["--at", "noon"], 2, "is not a date and time"),
        (["--at", "2026-01-02T00:00", "--until", "2026-01-01T00:00"], 2, "must be after"),
    ],
)
def test_oncall_says_what_is_wrong(files: Files, arguments: Any, code: Any, expected: Any) -> None:
    asked = run(files, "oncall", *arguments, schedules=[PLATFORM])
    assert asked.exit_code == code
    assert expected in asked.stderr


def test_check_lists_the_holes_of_the_next_90_days(files: Files) -> None:
    now = datetime.now(PARIS)
    start, end = (f"{now + timedelta(days=days):%Y-%m-%dT12:00}" for days in (10, 12))
    override = {"start": start, "end": end, "contact": None}
    far = {
        "start": f"{now + timedelta(days=100):%Y-%m-%dT12:00}",
        "end": f"{now + timedelta(days=101):%Y-%m-%dT12:00}",
    }
    written = {**PLATFORM, "overrides": [override, {**far, "contact": None}]}
    checked = run(files, "check", schedules=[written])
    assert checked.exit_code == 0
    gaps = [line for line in checked.stdout.splitlines() if "nobody is on call" in line]
    shown = f"from {start.replace('T', ' ')} to {end.replace('T', ' ')}"
    assert len(gaps) == 1
    assert 'warning: schedules[0]: nobody is on call in "platform"' in gaps[0]
    assert shown in gaps[0]


# -- calendars ---------------------------------------------------------------------------------------------


def test_of_events_that_overlap_the_one_that_began_last_counts() -> None:
    calendar = Calendar("x.ics")
    calendar.set_events(
        [
            (at("2026-01-01T00:00"), at("2026-01-05T00:00"), "alice"),
            (at("2026-01-02T00:00"), at("2026-01-03T00:00"), "bob"),
            (at("2026-01-07T00:00"), at("2026-01-08T00:00"), "alice"),
        ],
        at("2026-01-01T00:00"),
    )
    one = Schedule("s", ZoneInfo("UTC"), (calendar,))
    assert [s.contact for s in one.shifts(at("2026-01-01T00:00"), at("2026-01-09T00:00"))] == [
        "alice", "bob", "alice", None, "alice", None,
    ]  # fmt: skip
    assert one.on_call(at("2026-01-04T23:59")) == "alice"
    assert one.on_call(at("2026-01-05T00:00")) is None
