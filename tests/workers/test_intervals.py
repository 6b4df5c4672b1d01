"""Time intervals: against Alertmanager's documentation and amtool, and what they mute."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.alertmanager.time_intervals import Interval, first_after
from notifier.config.loading import load
from notifier.config.routes import IntervalConfig
from notifier.emulator import Emulator
from notifier.web.api.models import Incident
from notifier.workers.actions import Via
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.processes import program
from tests.support.team import team, the_incident, told
from tests.support.webhooks import alert, webhook


def at(text: Any) -> Any:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def contains(written: Any, instant: Any) -> Any:
    return IntervalConfig.model_validate(written).interval().contains(at(instant))


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [  # those of Alertmanager's documentation, and the edges of each
        ({"times": [{"start_time": "06:00", "end_time": "23:59"}]},
         ["2026-01-01T06:00", "2026-01-01T23:58:59"], ["2026-01-01T05:59:59", "2026-01-01T23:59"]),
        ({"times": [{"start_time": "23:00", "end_time": "24:00"}]}, ["2026-01-01T23:59:59"], ["2026-01-02T00:00"]),
        ({"weekdays": ["monday:wednesday", "saturday", "sunday"]},
         ["2026-01-05T00:00", "2026-01-07T23:59", "2026-01-10T12:00", "2026-01-11T12:00"], ["2026-01-08T00:00", "2026-01-09T12:00"]),
        ({"days_of_month": ["1:5", "-3:-1"]},
         ["2026-02-01T00:00", "2026-02-05T23:59", "2026-02-26T00:00", "2026-02-28T12:00", "2028-02-29T12:00", "2028-02-27T12:00"],
         ["2026-02-06T00:00", "2026-02-25T23:59", "2028-02-26T12:00"]),
        ({"days_of_month": ["31"]}, ["2026-01-31T12:00"], ["2026-02-28T12:00", "2026-04-30T12:00"]),
        ({"days_of_month": ["28:31"]}, ["2026-02-28T12:00"], ["2026-02-27T12:00", "2026-03-01T12:00"]),
        ({"days_of_month": ["1:-1"]}, ["2026-02-28T12:00", "2026-02-01T12:00"], []),
        ({"months": ["1:3", "may:august", "december"]},
         ["2026-01-15T12:00", "2026-03-31T23:59", "2026-05-01T00:00", "2026-08-31T12:00", "2026-12-25T12:00"],
         ["2026-04-01T00:00", "2026-09-01T00:00", "2026-11-30T23:59"]),
        ({"years": ["2020:2022", "2030"]}, ["2020-01-01T00:00", "2022-12-31T23:59", "2030-06-01T12:00"], ["2023-01-01T00:00", "2029-12-31T23:59"]),
        ({"weekdays": ["monday:friday"], "times": [{"start_time": "09:00", "end_time": "17:00"}], "location": "Australia/Sydney"},
         ["2026-01-04T22:00", "2026-07-05T23:00"], ["2026-01-04T21:59", "2026-07-05T22:59", "2026-01-05T06:00"]),
        ({}, ["2026-01-01T00:00"], []),
        ({"weekdays": []}, [], ["2026-01-01T00:00"]),
    ],
)  # fmt: skip
def test_what_an_interval_holds(written: Any, inside: Any, outside: Any) -> None:
    for instant in inside:
        assert contains(written, instant), instant
    for instant in outside:
        assert not contains(written, instant), instant


WRITTEN = st.one_of(
    st.fixed_dictionaries({"weekdays": st.lists(st.sampled_from(
        ["monday", "Sunday", "monday:friday", "friday:monday", "sunday:saturday", "saturday:sunday", "mon", "1", "monday:", "a:b:c"]), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"days_of_month": st.lists(st.one_of(
        st.integers(-33, 33).map(str), st.tuples(st.integers(-32, 32), st.integers(-32, 32)).map(lambda t: f"{t[0]}:{t[1]}")), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"months": st.lists(st.sampled_from(
        ["january", "May:August", "1:3", "12", "august:may", "3:may", "jan"]), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"years": st.lists(st.sampled_from(["2020", "2020:2022", "2022:2020", "x", "2020:2022:2023"]), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"times": st.lists(st.fixed_dictionaries({
        "start_time": st.sampled_from(["00:00", "09:00", "17:00", "23:59", "24:00", "9:00", "25:00"]),
        "end_time": st.sampled_from(["00:00", "09:00", "17:00", "24:00", "24:01"])}), min_size=1, max_size=2)}),
    st.fixed_dictionaries({"location": st.sampled_from(["Europe/Paris", "UTC", "Mars/Olympus"])}),
)  # fmt: skip


def test_what_alertmanager_takes_is_taken_and_what_it_refuses_is_refused(tmp_path: Path) -> None:
    amtool = program("amtool")
    file = tmp_path / "alertmanager.yml"
    tried = []

    @settings(max_examples=60)
    @given(WRITTEN)
    def compare(written: Any) -> None:
        file.write_text(yaml.safe_dump({
            "route": {"receiver": "a"}, "receivers": [{"name": "a"}],
            "time_intervals": [{"name": "t", "time_intervals": [written]}],
        }))  # fmt: skip
        theirs = (
            subprocess.run([amtool, "check-config", file], capture_output=True, timeout=20).returncode == 0
        )
        try:
            IntervalConfig.model_validate(written)
            ours = True
        except ValueError:
            ours = False
        assert ours == theirs, written
        tried.append(ours)

    compare()
    assert {True, False} == set(tried)


@pytest.mark.parametrize("month", ["0", "13"])
def test_a_month_that_never_comes_is_refused(month: Any) -> None:
    with pytest.raises(ValueError, match="not a month"):  # Alertmanager takes it, and it never holds
        IntervalConfig.model_validate({"months": [month]})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"time_intervals": [{"name": "t", "time_intervals": [{"times": [{"start_time": "17:00", "end_time": "09:00"}]}]}]},
         "start_time 17:00 is not before end_time 09:00; write two ranges for what passes midnight"),
        ({"time_intervals": [{"name": "t", "time_intervals": [{"weekdays": ["friday:monday"]}]}]}, '"friday:monday" ends before it starts'),
        ({"time_intervals": [{"name": "t", "time_intervals": [{"weekday": ["friday"]}]}]}, 'unknown key "weekday"; did you mean "weekdays"?'),
        ({"time_intervals": [{"name": "t", "time_intervals": []}, {"name": "t", "time_intervals": []}]}, '"t" is already named'),
        ({"route": {"receiver": "ops", "routes": [{"mute_time_intervals": ["night"]}]}}, 'there is no time interval "night"'),
        ({"route": {"receiver": "ops", "mute_time_intervals": ["t"]}}, "the top of the tree takes every alert"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(files: Files, changes: Any, expected: Any) -> None:
    loading = load(files.write(**changes))
    assert any(expected in problem.message for problem in loading.errors), loading.errors


# -- muting ------------------------------------------------------------------------------------------------

UNTIL_ONE = [{"name": "noon", "time_intervals": [{"times": [{"start_time": "12:00", "end_time": "13:00"}]}]}]


def muted(
    *steps: Any, key: Any = "mute_time_intervals", names: Any = ("noon",), intervals: Any = UNTIL_ONE
) -> Any:
    route = {"receiver": "ops", "routes": [{"matchers": ['severity="info"'], key: list(names)}]}
    return {**team(*steps), "route": route, "time_intervals": intervals}


def info(*names: Any, **more: Any) -> Any:
    return webhook(*(alert(name, severity="info", instance="db-1") for name in names), **more)


def test_what_is_muted_is_told_when_it_is_over_if_it_fires_still(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**muted(("10m", ["bob"])))
    pager.post(info("A"))
    pager.post(webhook(alert("B", severity="critical"), key="2"))
    pager.turn(2)
    assert [text.split()[3] for _, text in told(emulator)] == ["B"]
    assert pager.count('notifier_notifications_muted_total{receiver="ops"}') == 1
    incident = next(i for i in pager.store.incidents.latest(9) if i.title == "A db-1")
    assert [(e.kind, e.detail) for e in pager.store.incidents.history(incident.id)] == [
        ("opened", "muted by noon")
    ]
    pager.actions.acknowledge(
        next(i for i in pager.store.incidents.latest(9) if i.title == "B").id, "alice", Via.API
    )
    pager.run(39 * 60, step=60)
    assert len(told(emulator)) == 1
    pager.run(90, step=30)
    assert told(emulator)[1:] == [("alice", f"FIRING #{incident.number} info A db-1 since 12:13")]
    pager.run(600, step=60)
    assert [who for who, _ in told(emulator)] == ["alice", "alice", "bob"]
    assert pager.count('notifier_escalations_total{receiver="ops"}') == 1


def test_what_is_over_before_the_mute_is_is_told_to_nobody(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**muted())
    pager.post(info("A"))
    pager.turn()
    pager.hand.move(minutes=10)
    pager.post(webhook(alert("A", severity="info", instance="db-1", status="resolved")))
    pager.run(3600, step=60)
    assert told(emulator) == []
    assert the_incident(pager).state == "resolved"


def test_a_long_mute_is_looked_at_again_every_hour(make: Callable[..., Pager], emulator: Emulator) -> None:
    intervals = [{"name": "day", "time_intervals": [{"days_of_month": ["22"]}]}]
    pager = make(**muted(names=("day",), intervals=intervals))
    pager.post(info("A"))
    pager.turn()
    assert the_incident(pager).due_at == pager.hand() + timedelta(hours=1)
    pager.run(12 * 3600, step=300)
    assert len(told(emulator)) == 1


@pytest.mark.parametrize(("minutes", "count"), [(0, 1), (45, 0)])
def test_outside_of_the_active_intervals_it_is_muted(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand, minutes: Any, count: Any
) -> None:
    hand.move(minutes=minutes)
    pager = make(**muted(key="active_time_intervals"))
    pager.post(info("A"))
    pager.turn()
    assert len(told(emulator)) == count


def test_an_alert_that_another_route_lets_through_is_told(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    changes = muted()
    changes["route"]["routes"][0]["continue"] = True
    changes["route"]["routes"].append({"matchers": ['instance="db-1"']})
    pager = make(**changes)
    pager.post(info("A"))
    pager.turn()
    assert len(told(emulator)) == 1


def test_a_group_of_which_something_is_heard_is_told_whole(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**muted())
    pager.post(webhook(alert("A", severity="info"), alert("B", severity="critical", instance="db-2")))
    pager.turn()
    assert [text for _, text in told(emulator)] == ["FIRING #1 critical B db-2; info A since 12:13"]
    pager.hand.move(minutes=5)
    pager.post(
        webhook(
            alert("A", severity="info"), alert("B", severity="critical", instance="db-2", status="resolved")
        )
    )
    pager.turn()
    assert the_incident(pager).state == "open"


def test_what_is_heard_and_joins_what_is_muted_is_paged_at_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**muted())
    pager.post(info("A"))
    pager.turn()
    pager.hand.move(minutes=5)
    pager.post(
        webhook(
            alert("A", severity="info", instance="db-1"), alert("B", severity="critical", instance="db-2")
        )
    )
    pager.turn()
    assert len(told(emulator)) == 1


def test_what_joins_while_it_is_muted_is_told_when_it_is_heard_again(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    hand.move(minutes=-25)  # 11:55
    pager = make(**muted())
    pager.post(info("A"))
    pager.turn()
    pager.hand.move(minutes=10)
    pager.post(info("A", "B"))
    pager.run(50 * 60, step=60)
    assert len(told(emulator)) == 1
    pager.run(10 * 60, step=60)
    assert len(told(emulator)) == 2
    assert " B " in told(emulator)[1][1]


def test_escalation_waits_for_the_mute_to_be_over(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    hand.move(minutes=-25)  # 11:55
    pager = make(**muted(("10m", ["bob"])))
    pager.post(info("A"))
    pager.run(60 * 60, step=60)
    assert [who for who, _ in told(emulator)] == ["alice"]
    pager.run(10 * 60, step=60)
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]


def test_a_mute_takes_no_step_before_its_time_and_what_joined_is_told_after_it(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    hand.move(minutes=-25)  # 11:55
    pager = make(**muted(("3h", ["bob"])))
    pager.post(info("A"))
    pager.turn()
    pager.hand.move(minutes=10)
    pager.post(info("A", "B"))
    pager.run(70 * 60, step=60)
    assert [(who, " B " in text) for who, text in told(emulator)] == [("alice", False), ("alice", True)]
    pager.run(105 * 60, step=60)
    assert [who for who, _ in told(emulator)] == ["alice", "alice", "bob"]


def test_what_joins_an_acknowledged_incident_in_a_mute_is_told_after_it(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    hand.move(minutes=-25)  # 11:55
    pager = make(**muted())
    pager.post(info("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.hand.move(minutes=10)
    pager.post(info("A", "B"))
    pager.run(70 * 60, step=60)
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING", "UPDATE"]
    assert the_incident(pager).state == "acknowledged"


ZONES = ("Europe/Paris", "Australia/Lord_Howe", "America/St_Johns", "UTC")


@settings(max_examples=60)
@given(
    start=st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda d: d.replace(tzinfo=UTC)),
    zone=st.sampled_from(ZONES),
    times=st.none()
    | st.tuples(st.integers(0, 1438), st.integers(1, 300)).map(lambda t: (t[0], min(t[0] + t[1], 1440))),
    days=st.none() | st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted).map(tuple),
)
def test_the_end_of_an_interval_is_found_to_the_minute(start: Any, zone: Any, times: Any, days: Any) -> None:
    interval = Interval((times,) if times else None, (days,) if days else None, location=ZoneInfo(zone))
    is_in = interval.contains(start)
    found = first_after(lambda at: interval.contains(at) is not is_in, [interval], start, timedelta(days=3))
    minute = start.replace(second=0, microsecond=0)
    expected = next(
        (
            at
            for n in range(1, 3 * 1440)
            if interval.contains(at := minute + timedelta(minutes=n)) is not is_in
        ),
        None,
    )
    assert found == expected or (expected is None and found == start + timedelta(days=3))


def test_a_muted_incident_says_until_when(make: Callable[..., Pager], emulator: Emulator, hand: Hand) -> None:
    """Office hours begin at 9: the page says so, not when it is looked at again."""
    hours = {
        "name": "office-hours",
        "time_intervals": [
            {
                "weekdays": ["monday:friday"],
                "times": [{"start_time": "09:00", "end_time": "18:00"}],
                "location": "Europe/Paris",
            }
        ],
    }
    route = {
        "receiver": "ops",
        "routes": [
            {"receiver": "ops", "matchers": ["severity=info"], "active_time_intervals": ["office-hours"]}
        ],
    }
    pager = make(**team(("10m", ["bob"])), time_intervals=[hours], route=route)  # it is a Sunday
    pager.post(info("A"))
    pager.turn()
    incident = the_incident(pager)
    assert (incident.muted_by, incident.muted_until) == ("outside office-hours", at("2026-11-23T08:00"))
    assert incident.due_at == pager.hand() + timedelta(hours=1), "a reload may change the hours"
    shown = Incident.of(incident).model_dump(mode="json")
    assert shown["next_step_at"] == shown["muted_until"] == "2026-11-23T08:00:00.000Z"
    assert shown["muted_by"] == "outside office-hours"
    pager.run(3 * 3600, step=600)
    assert the_incident(pager).muted_until == at("2026-11-23T08:00")
    hand.now = at("2026-11-23T07:59")
    pager.run(120, step=30)
    assert [who for who, _ in told(emulator)] == ["alice"]
    assert (the_incident(pager).muted_by, the_incident(pager).muted_until) == ("", None)


def test_thousands_of_muted_alerts_are_looked_at_together(make: Callable[..., Pager]) -> None:
    """The end of a mute is computed once for all alerts that take the same way."""
    hours = {"name": "never", "time_intervals": [{"years": ["1999"]}]}
    route = {
        "receiver": "ops",
        "active_time_intervals": [],
        "routes": [{"receiver": "ops", "matchers": ["severity=info"], "active_time_intervals": ["never"]}],
    }
    pager = make(**team(), time_intervals=[hours], route=route)
    routing, asked = pager.current.runtime.routing, []
    real = type(routing).unmuted_at
    pager.post(webhook(*[alert("A", severity="info", instance=f"i{n}") for n in range(2000)]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(routing), "unmuted_at", lambda *a: asked.append(a) or real(*a))
        pager.turn()
    assert len(asked) == 1
    assert (the_incident(pager).muted_by, the_incident(pager).muted_until) == ("outside never", None)
    assert the_incident(pager).due_at == pager.hand() + timedelta(hours=1), (
        "a reload may change the intervals"
    )
    assert the_incident(pager).next_step_at is None
