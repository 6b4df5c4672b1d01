"""Heartbeats: seen, lost, back; a service that was down itself; the watchdog."""

from __future__ import annotations

import http.server
import math
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from notifier.config.secrets import secrets_of
from notifier.emulator import Emulator
from notifier.store.schema import notifications
from notifier.workers.actions import Via
from notifier.workers.watchdog import Watchdog
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.postgres import both_engines
from tests.support.processes import wait_for
from tests.support.service import Running
from tests.support.team import team, the_incident, told
from tests.support.webhooks import alert, webhook

BEAT = {"name": "watchdog", "matchers": ['alertname="Watchdog"'], "timeout": "10m", "receiver": "ops"}


def beating(*steps: Any, **receiver: Any) -> Any:
    return {**team(*steps, **receiver), "heartbeats": [BEAT]}


def beat(pager: Pager, **labels: Any) -> None:
    pager.post(webhook(alert("Watchdog", **labels), key="watchdog"))
    pager.turn()


def test_a_heartbeat_pages_nobody_and_is_remembered(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    pager.hand.move(minutes=3)
    beat(pager)
    assert told(emulator) == []
    assert pager.store.incidents.latest(9) == []
    seen = 'notifier_heartbeat_last_seen_timestamp_seconds{heartbeat="watchdog"}'
    assert pager.count(seen) == pager.hand().timestamp()
    with pager.store.reading() as connection:
        assert connection.execute(notifications.select()).all() == []


def test_alerts_beside_a_heartbeat_page(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    pager.post(webhook(alert("Watchdog"), alert("A", instance="db-1")))
    pager.turn()
    assert [text for _, text in told(emulator)] == ["FIRING #1 A db-1 since 12:13"]


def test_when_none_comes_the_monitoring_is_silent_and_when_it_does_it_is_back(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating(("10m", ["bob"])))
    beat(pager)
    pager.run(595, step=5)
    assert told(emulator) == []
    pager.run(20, step=5)
    assert told(emulator) == [
        ("alice", "FIRING #1 critical MonitoringSilent watchdog since 12:20: not seen for 10m: Prometheus, "
                  "Alertmanager or the network between them is down"),
    ]  # fmt: skip
    pager.run(620, step=5)
    who, text = told(emulator)[1]
    assert who == "bob"
    assert text.endswith(
        "since 12:20: not seen for 20m: Prometheus, Alertmanager or the network between them is down"
    )
    beat(pager)
    pager.turn()
    assert sorted(told(emulator)[2:]) == [
        ("alice", "RESOLVED #1 critical MonitoringSilent watchdog at 12:40 after 10m"),
        ("bob", "RESOLVED #1 critical MonitoringSilent watchdog at 12:40 after 10m"),
    ]
    pager.run(300, step=5)
    assert len(told(emulator)) == 4


def test_one_that_never_came_is_lost_too(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    pager.run(620, step=5)
    assert len(told(emulator)) == 1


def test_a_resolved_heartbeat_is_no_sign_of_life(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    pager.hand.move(seconds=30)
    pager.turn()
    pager.post(webhook(alert("Watchdog", status="resolved"), key="watchdog"))
    pager.run(575, step=5)
    assert len(told(emulator)) == 1


def test_a_restart_does_not_lose_the_time_last_seen(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    pager.run(300, step=5)
    pager.reopen()
    pager.run(290, step=5)
    assert told(emulator) == []
    pager.run(20, step=5)
    assert len(told(emulator)) == 1


def test_a_notifier_that_was_down_itself_says_so(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    pager.run(60, step=5)
    pager.hand.move(hours=2)
    pager.reopen()
    pager.run(590, step=5)
    assert told(emulator) == []  # there was no time to see one
    pager.run(20, step=5)
    (text,) = (text for _, text in told(emulator))
    assert text.endswith("not seen for 2h11m; Notifier itself was down for 2h of it")


@both_engines
def test_a_second_restart_does_not_forget_that_it_was_down(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating())
    beat(pager)
    pager.run(60, step=5)
    pager.hand.move(hours=2)
    pager.reopen()
    pager.run(30, step=5)
    pager.reopen()
    pager.run(580, step=5)
    (text,) = (text for _, text in told(emulator))
    assert text.endswith("Notifier itself was down for 2h of it")


def test_a_clock_that_was_set_back_hides_no_silence(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    pager.run(60, step=5)
    pager.hand.move(hours=-24)
    pager.run(700, step=5)
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING"]
    beat(pager)
    pager.turn()
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING", "RESOLVED"]


def test_a_heartbeat_that_waits_to_be_planned_counts(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**beating())
    beat(pager)
    for _ in range(12):
        pager.heartbeats.work()
        pager.hand.move(seconds=50)
    pager.hand.move(seconds=20)
    pager.post(webhook(alert("Watchdog", starts_at="2026-11-22T10:00:00Z"), key="watchdog"))
    pager.heartbeats.work()
    pager.turn()
    assert told(emulator) == []


def test_a_notifier_that_was_down_blames_nobody_when_the_heartbeat_is_there(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating())
    beat(pager)
    pager.hand.move(hours=2)
    pager.reopen()
    pager.run(120, step=5)
    beat(pager)
    pager.run(590, step=5)
    assert told(emulator) == []


@pytest.mark.parametrize("hours", [3, -3])
def test_a_clock_that_jumps_makes_no_silence(
    make: Callable[..., Pager], emulator: Emulator, hours: Any
) -> None:
    pager = make(**beating())
    beat(pager)
    pager.run(60, step=5)
    pager.hand.move(hours=hours)
    pager.run(60, step=5)
    pager.post(webhook(alert("Watchdog", starts_at="2026-11-22T10:00:00Z"), key="watchdog"))
    pager.run(500, step=5)
    assert told(emulator) == []


def test_a_heartbeat_that_is_waited_for_no_more_is_closed(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating())
    pager.run(620, step=5)
    pager.reload(**team())
    pager.turn()
    assert the_incident(pager).state == "resolved"
    assert len(told(emulator)) == 1


def test_the_silence_is_acknowledged_like_any_incident(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating(("10m", ["bob"])))
    pager.run(620, step=5)
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.run(1200, step=30)
    assert len(told(emulator)) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"receiver": "opps"}, 'there is no receiver "opps"; did you mean "ops"?'),
        ({"timeout": "1m"}, "is not longer than global.dedupe_window (2m)"),
        ({"matchers": []}, "must have at least one item"),
        ({"matchers": ["a=~("]}, "in 'a=~('"),
    ],
)
def test_what_is_wrong_with_a_heartbeat_is_said(files: Files, change: Any, expected: Any) -> None:
    from notifier.config.loading import load

    loading = load(files.write(heartbeats=[{**BEAT, **change}]))
    assert any(expected in problem.message for problem in loading.errors), loading.errors


# -- the watchdog ------------------------------------------------------------------------------------------


@pytest.fixture
def switch() -> Iterator[Any]:
    class Handler(http.server.BaseHTTPRequestHandler):
        server: Any

        def do_GET(self) -> None:
            self.server.calls.append(self.path)
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.calls, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_watchdog_that_was_never_called_is_late_from_its_first_turn_and_none_is_never(
    make: Callable[..., Pager],
) -> None:
    series = "notifier_watchdog_last_success_timestamp_seconds"
    pager = make()
    watchdog, first = Watchdog(pager.context, lambda: False), pager.hand()
    watchdog.work()
    assert math.isnan(pager.count(series)), "time() - NaN > 600 holds never"
    pager.reload(watchdog={"url": "http://127.0.0.1:9/ping", "every": "30s"})
    for _ in range(2):
        watchdog.work()
        pager.hand.move(minutes=5)
    assert pager.count(series) == first.timestamp()


def test_the_watchdog_is_told_that_this_service_lives(make: Callable[..., Pager], switch: Any) -> None:
    url = f"http://127.0.0.1:{switch.server_port}/ping/secret"
    pager = make(watchdog={"url": url, "every": "30s"})
    is_well = [True]
    watchdog = Watchdog(pager.context, lambda: is_well[0])
    assert timedelta(seconds=watchdog.work()) == timedelta(seconds=30)
    assert switch.calls == ["/ping/secret"]
    assert pager.count("notifier_watchdog_last_success_timestamp_seconds") == pager.hand().timestamp()
    switch.status = 500
    watchdog.work()
    assert watchdog.problem == "it answers 500"
    is_well[0] = False
    watchdog.work()
    assert len(switch.calls) == 2  # a service that cannot store pages nobody, and does not say it lives
    assert url in list(secrets_of(pager.current.runtime.configuration))
    is_well[0] = True


def test_without_a_watchdog_nothing_is_called(make: Callable[..., Pager]) -> None:
    pager = make(**team())
    assert Watchdog(pager.context, lambda: True).work() == 5.0


def test_a_heartbeat_that_is_configured_again_is_waited_for_from_then_on(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating())
    beat(pager)
    pager.reload(**{**beating(), "heartbeats": []})
    for _ in range(120):
        pager.hand.move(seconds=30)
        pager.heartbeats.work()
    assert 'heartbeat="watchdog"' not in pager.metrics.exposition().decode(), "its series are gone"
    pager.reload(**beating())
    pager.run(590, step=5)
    assert told(emulator) == []
    pager.run(20, step=5)
    assert [text.split(" since ")[0] for _, text in told(emulator)] == [
        "FIRING #1 critical MonitoringSilent watchdog"
    ]


def test_a_heartbeat_that_cannot_be_judged_delays_no_other_and_is_paged_when_it_is_silent(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**{**beating(), "heartbeats": [{**BEAT, "name": "bad"}, BEAT]})
    real = pager.heartbeats.update_incident

    def judge(one: Any, *rest: Any) -> None:
        if one.name == "bad":
            raise RuntimeError("a fault")
        real(one, *rest)

    monkeypatch.setattr(pager.heartbeats, "update_incident", judge)
    pager.run(590, step=5)
    assert told(emulator) == []
    pager.run(320, step=5)
    assert sorted(text.split(" since ")[0] for _, text in told(emulator)) == [
        "FIRING #1 critical MonitoringSilent watchdog",
        "FIRING #2 critical MonitoringSilent bad",
    ]
    assert set(pager.heartbeats.set_aside.items()) == {"bad"}
    monkeypatch.setattr(pager.heartbeats, "update_incident", real)
    pager.post(webhook(alert("Watchdog"), key="w"))
    pager.turn()
    pager.run(400, step=5)
    assert {one.state.value for one in pager.store.incidents.latest(5)} == {"resolved"}
    assert pager.heartbeats.set_aside.items() == {}


def test_repetitions_of_a_heartbeat_within_the_dedupe_window_are_signs_of_life(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write(**{**beating(), "heartbeats": [{**BEAT, "timeout": "3m"}]}))
    seen = 'notifier_heartbeat_last_seen_timestamp_seconds{heartbeat="watchdog"}'
    body = webhook(alert("Watchdog"), key="watchdog")
    for _ in range(2):
        running.post(body)
        wait_for(lambda: running.metric(seen) > 0, "the heartbeat is not seen")
        before = running.metric(seen)
    assert running.metric("notifier_webhooks_duplicate_total") == 1
    wait_for(
        lambda: running.post(body).ok and running.metric(seen) > before, "a repetition is no sign of life"
    )


@both_engines
def test_after_the_clock_was_set_back_a_silence_is_paged_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**beating())

    def beats(times: int) -> None:
        for _ in range(times):
            beat(pager)
            pager.hand.move(seconds=30)

    beats(20)
    pager.hand.move(minutes=-10)
    pager.turn()
    beats(40)
    pager.run(900, 20)
    assert len(emulator.emulation.accepted) == len(pager.store.incidents.latest(9)) == 1
