"""Alertmanager is asked before anybody else is woken."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.suppression import KNOWS_ALL_AFTER
from notifier.workers.actions import Via
from tests.support.alertmanager import Member, members
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.team import firing, later, over, team, the_incident, told
from tests.support.webhooks import webhook

STEPS = ("5m", ["bob"]), ("10m", ["carol"])


@pytest.fixture
def pair(hand: Hand) -> Iterator[list[Member]]:
    with members(2, hand) as made:
        yield made


def asking(make: Callable[..., Pager], pair: list[Member], *steps: Any, **receiver: Any) -> Pager:
    """Return a pager that asks *pair*, and has paged alice of an alert that fires there."""
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(*(steps or STEPS), **receiver))
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.turn()
    return pager


def events(pager: Pager) -> list[tuple[str, str | None, str | None]]:
    history = pager.store.incidents.history(the_incident(pager).id)
    return [(one.kind, one.by, one.detail) for one in history]


def heads(emulator: Emulator, *, after: int = 0) -> list[tuple[str, str]]:
    """Return who got a text, and how it begins."""
    return [(who, text.partition(" #")[0]) for who, text in told(emulator)[after:]]


def test_a_silence_keeps_the_next_person_asleep_until_it_ends(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence(by="dave", comment="deploy of db", hours=1)
    pager.run(1200, step=20)
    incident = the_incident(pager)
    assert (incident.shown_state, incident.silenced_by, incident.silence_comment) == (
        "silenced",
        "dave",
        "deploy of db",
    )
    assert incident.silenced_until is not None
    assert incident.next_step_at == incident.silenced_until
    assert told(emulator)[1:] == [("alice", "#1 silenced by dave until 13:20: A db-1")]
    assert events(pager)[1:] == [("silenced", "dave", "until 2026-11-22 13:20 UTC: deploy of db")]
    for one in pair:
        one.release()
    pager.run(80, step=20)
    assert told(emulator)[2:] == [("bob", "SILENCE ENDED #1 critical A db-1 since 12:13")]
    assert events(pager)[2:] == [("unsilenced", None, "bob")]
    assert the_incident(pager).shown_state == "open"
    pager.run(700, step=20)
    assert heads(emulator, after=3) == [("carol", "ESCALATED")]


def test_a_silence_is_seen_before_a_step_without_waiting_for_the_regular_check(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    changes = team(*STEPS)
    pager = make(alertmanager={"urls": [one.url for one in pair], "check_interval": "10m"}, **changes)
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.turn()
    for one in pair:
        one.silence()
    pager.run(290, step=10)
    assert the_incident(pager).shown_state == "open"
    pager.run(20, step=10)
    assert the_incident(pager).shown_state == "silenced"
    assert heads(emulator) == [("alice", "FIRING")]  # she silenced it herself


def test_after_the_last_step_the_end_of_a_silence_pages_it_again(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair, ("5m", ["bob"]))
    pager.run(400, step=20)
    for one in pair:
        one.silence()
    pager.run(120, step=20)
    for one in pair:
        one.release()
    before = len(told(emulator))
    pager.run(120, step=20)
    assert heads(emulator, after=before) == [("bob", "SILENCE ENDED")]


def test_an_acknowledged_incident_is_silenced_without_a_notice_and_reopens_when_the_silence_is_over(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair, reopen_after="10m", tell_others=False)
    pager.actions.acknowledge(the_incident(pager).id, "bob", Via.API)
    for one in pair:
        one.silence(by="dave")
    pager.run(1200, step=30)
    incident = the_incident(pager)
    assert (incident.shown_state, incident.silenced_by) == ("acknowledged", "dave")
    assert heads(emulator) == [("alice", "FIRING")]
    for one in pair:
        one.release()
    pager.run(120, step=30)
    assert heads(emulator, after=1) == [("alice", "REOPENED")]
    assert the_incident(pager).shown_state == "open"


def test_alerts_that_are_gone_resolve_their_incident(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence(by="dave")
    pager.run(70, step=10)
    for one in pair:
        one.end()  # Alertmanager posts no webhook of the end of a silenced alert
    before = len(told(emulator))
    pager.run(60, step=10)
    assert the_incident(pager).shown_state == "silenced"
    pager.run(70, step=10)
    assert the_incident(pager).shown_state == "resolved"
    assert heads(emulator, after=before) == [("alice", "RESOLVED")]
    assert events(pager)[-1] == ("resolved", None, "Alertmanager no longer knows its alerts")
    pager.run(900, step=30)
    assert len(told(emulator)) == before + 1


def test_a_step_waits_while_alerts_seem_to_be_gone(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    pager.run(285, step=15)
    for one in pair:
        one.end()
    pager.run(30, step=15)
    assert heads(emulator) == [("alice", "FIRING")]
    for one in pair:  # it was not gone
        one.fire(*firing("A")["alerts"])
    pager.run(90, step=15)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]
    assert the_incident(pager).gone_since is None


def test_an_incident_of_alerts_that_alertmanager_never_listed_is_left_alone(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(*STEPS))
    pager.post(firing("A"))  # by a script, or another Alertmanager
    pager.run(1200, step=30)
    assert the_incident(pager).shown_state == "open"
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED"), ("carol", "ESCALATED")]


@pytest.mark.parametrize("young", ["all", "one"])
def test_a_member_that_has_just_started_resolves_nothing(
    make: Callable[..., Pager], pair: list[Member], hand: Hand, young: str
) -> None:
    pager = asking(make, pair, ("1h", ["bob"]))
    pager.run(70, step=10)
    for one in pair if young == "all" else pair[:1]:
        one.started_at = hand()
    if young == "one":
        pair[1].answer = lambda _: (503, b"")  # the other is down
    for one in pair:
        one.end()
    pager.run(KNOWS_ALL_AFTER.total_seconds() - 60, step=30)
    assert the_incident(pager).shown_state == "open"
    pager.run(240, step=30)
    assert the_incident(pager).shown_state == "resolved"


def test_a_member_of_a_cluster_that_is_settling_is_not_trusted(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.cluster = "settling"
        one.silence()
    pager.run(320, step=20)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]


@pytest.mark.parametrize("down", [0, 1])
def test_one_member_that_is_down_changes_nothing(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member], down: int
) -> None:
    pager = asking(make, pair)
    pair[down].answer = lambda _: (503, b"")
    pair[1 - down].silence(by="dave")
    pager.run(600, step=20)
    assert the_incident(pager).shown_state == "silenced"
    assert heads(emulator)[1:] == [("alice", "#1 silenced by dave until 14:20: A db-1")]
    assert not pager.workers.alert_states.is_silent
    assert list(pager.workers.alert_states.problems.values()) == ["it answers 503"]


STATUS = json.dumps({"uptime": "2020-01-01T00:00:00Z", "cluster": {"status": "ready"}}).encode()


def hostile(body: bytes, status: int = 200) -> Callable[[str], tuple[int, bytes]]:
    return lambda path: (status, body if "/alerts" in path else STATUS)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: (503, b"starting"),
        lambda _: (401, b""),
        lambda _: (302, b""),
        lambda _: (200, b"[]"),  # not even its status
        hostile(b""),
        hostile(b"null"),
        hostile(b"{}"),
        hostile(b"[" * 100_000),
        hostile(b"[1, 2]"),
        hostile(b'[{"fingerprint": 1}]'),
        hostile(b"\xff\xfe"),
        hostile(b"<html>"),
        hostile(b" " * 17_000_000),
        hostile(b"[]", 500),
        lambda path: (200, STATUS.replace(b"2020-01-01T00:00:00Z", b"never")),
    ],
)
def test_an_answer_that_cannot_be_used_escalates_as_without(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member], answer: Any
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.answer = answer
        one.silence()
    pager.run(320, step=20)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]
    assert events(pager)[-1] == ("escalated", None, "bob; Alertmanager could not be asked")
    assert pager.workers.alert_states.is_silent
    assert pager.count('notifier_alertmanager_queries_total{outcome="failed"}') >= 2


def test_a_member_that_does_not_answer_delays_a_step_by_seconds_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # it takes connections and is silent
        urls = [f"http://127.0.0.1:{deaf.getsockname()[1]}", "http://127.0.0.1:1"]
        pager = make(alertmanager={"urls": urls, "check_interval": "10m"}, **team(*STEPS))
        pager.post(firing("A"))
        pager.turn()
        pager.run(310, step=10)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]
    assert sorted(pager.workers.alert_states.problems) == sorted(urls)


def test_a_silence_is_believed_for_a_moment_when_alertmanager_is_gone(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence(by="dave")
    pager.run(400, step=20)
    for one in pair:
        one.answer = lambda _: (503, b"")
    before = len(told(emulator))
    pager.run(50, step=10)  # Alertmanager is restarted
    assert told(emulator)[before:] == []
    pager.run(120, step=10)  # it does not come back
    assert heads(emulator, after=before) == [("bob", "ESCALATED")]


def test_an_inhibited_incident_pages_nobody_and_shows_the_reason(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.inhibit("NodeDown")
    pager.run(600, step=20)
    incident = the_incident(pager)
    assert (incident.shown_state, incident.silenced_by) == ("silenced", "inhibition")
    assert incident.silence_comment == "inhibited by NodeDown"
    assert told(emulator)[1:] == [("alice", "#1 inhibited in Alertmanager: A db-1")]


def test_a_step_that_a_person_asks_for_is_taken_though_it_is_silenced(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence()
    pager.run(120, step=20)
    pager.actions.escalate(the_incident(pager).id, "alice", Via.WEB)
    pager.turn()
    assert heads(emulator, after=1) == [("bob", "ESCALATED")]
    pager.run(1200, step=30)
    assert heads(emulator, after=1) == [("bob", "ESCALATED")]
    assert the_incident(pager).shown_state == "silenced"


def test_a_page_that_a_silence_overtook_is_not_sent_and_comes_first_when_it_ends(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    pager = asking(make, pair)
    for one in pair:
        one.silence()
    pager.run(120, step=20)
    assert set(pager.states()) == {"withdrawn"}
    emulator.faults.clear()
    for one in pair:
        one.release()
    pager.run(120, step=20)
    assert heads(emulator) == [("alice", "FIRING")]


def test_alerts_that_join_a_silenced_incident_are_paged(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence(by="dave")
    pager.run(120, step=20)
    for one in pair:
        one.fire(*firing("B")["alerts"])
    before = len(told(emulator))
    later(pager, firing("B"), seconds=5)
    pager.run(80, step=20)
    assert heads(emulator, after=before) == [("alice", "UPDATE"), ("bob", "SILENCE ENDED")]


def test_a_truncated_webhook_does_not_tell_all_alerts_so_its_incident_is_escalated(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(*STEPS))
    for one in pair:
        one.fire(*firing("A")["alerts"])
        one.silence()
    pager.post(firing("A", truncatedAlerts=3))
    pager.run(320, step=20)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]


def test_heartbeats_are_not_asked_about(make: Callable[..., Pager], pair: list[Member]) -> None:
    heartbeat = {"name": "w", "matchers": ['alertname="W"'], "timeout": "10m", "receiver": "ops"}
    pager = make(alertmanager={"urls": [one.url for one in pair]}, heartbeats=[heartbeat], **team(*STEPS))
    pager.turn()
    pager.run(1200, step=30)
    assert the_incident(pager).title.startswith("MonitoringSilent")
    assert pair[0].asked() == 0


def test_one_call_serves_many_incidents(make: Callable[..., Pager], pair: list[Member]) -> None:
    pager = make(alertmanager={"url": pair[0].url}, **team(("1h", ["bob"])))
    names = [f"A{number}" for number in range(30)]
    for name in names:
        pair[0].fire(*firing(name)["alerts"])
    pager.post_all([firing(name, key=name, groupLabels={"alertname": name}) for name in names])
    pager.turn(8)
    pager.hand.move(minutes=2)
    before = pair[0].asked()
    pager.turn()
    assert pair[0].asked() == before + 1
    assert all(one.listed for one in pager.store.incidents.latest(50))


def test_few_incidents_are_asked_about_by_the_labels_of_their_groups(
    make: Callable[..., Pager], pair: list[Member]
) -> None:
    pager = make(alertmanager={"url": pair[0].url}, **team(*STEPS))
    pair[0].fire(*firing("A")["alerts"])
    pager.post(firing("A", groupLabels={"alertname": "A", "instance": "db-1"}))
    pager.turn()
    pager.hand.move(minutes=2)
    pager.turn()
    assert "filter=alertname%3D%22A%22&filter=instance%3D%22db-1%22" in pair[0].paths[-1]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bearer_token": "t0ken"}, "Bearer t0ken"),
        ({"http_config": {"authorization": {"credentials": "t0ken"}}}, "Bearer t0ken"),
        ({"http_config": {"authorization": {"type": "ApiKey", "credentials": "k"}}}, "ApiKey k"),
        ({"http_config": {"basic_auth": {"username": "u", "password": "p"}}}, "Basic dTpw"),
    ],
)
def test_credentials_are_sent_as_prometheus_does(
    make: Callable[..., Pager], pair: list[Member], settings: Any, expected: Any
) -> None:
    pager = make(alertmanager={"url": pair[0].url, **settings}, **team(*STEPS))
    pair[0].fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(minutes=2)
    pager.turn()
    assert {one["Authorization"] for one in pair[0].headers} == {expected}


@pytest.mark.parametrize("engine_name", ["postgresql"])
def test_replicas_share_the_regular_check(
    files: Files, hand: Hand, pair: list[Member], engine_name: str
) -> None:
    changes = {"alertmanager": {"url": pair[0].url}, **team(("1h", ["bob"]))}
    replicas = [Pager(files, hand, changes) for _ in range(3)]
    pair[0].fire(*firing("A")["alerts"])
    replicas[0].post(firing("A"))
    replicas[0].turn()
    before = pair[0].asked()
    for _ in range(5):
        hand.move(minutes=1)
        for one in replicas:
            one.turn()
    assert pair[0].asked() == before + 5
    for one in replicas:
        one.close()


def test_without_the_section_nothing_is_asked(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(*STEPS))
    pager.post(firing("A"))
    pager.run(320, step=20)
    assert heads(emulator) == [("alice", "FIRING"), ("bob", "ESCALATED")]
    assert events(pager)[-1] == ("escalated", None, "bob")


LUNCH: dict[str, Any] = {
    "time_intervals": [
        {"name": "lunch", "time_intervals": [{"times": [{"start_time": "12:30", "end_time": "14:00"}]}]}
    ],
    "route": {"receiver": "ops", "routes": [{"receiver": "ops", "mute_time_intervals": ["lunch"]}]},
}


def in_lunch(make: Callable[..., Pager], pair: list[Member]) -> Pager:
    """Return a pager whose incident A is muted from 12:30 to 14:00; it is 12:31."""
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(("5m", ["bob"])), **LUNCH)
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.run(660, step=20)
    return pager


@pytest.mark.parametrize("is_taken", [False, True])
def test_an_alert_that_joined_during_a_mute_keeps_its_incident_when_the_first_is_gone(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member], is_taken: bool
) -> None:
    pager = in_lunch(make, pair)
    if is_taken:
        pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    for one in pair:
        one.end()
        one.fire(*firing("B")["alerts"])
    pager.post(webhook(*over("A")["alerts"], *firing("B")["alerts"]))
    pager.run(6000, step=60)
    assert any(" B db-1" in text for _, text in told(emulator))


def test_alerts_that_joined_during_a_mute_and_are_silenced_when_it_ends_are_not_notified(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = in_lunch(make, pair)
    for one in pair:
        one.fire(*firing("B")["alerts"])
    pager.post(firing("A", "B"))
    pager.turn()
    for one in pair:
        one.silence(hours=9)
    before = len(told(emulator))
    pager.run(6000, step=300)
    assert [text for _, text in told(emulator)[before:] if text.startswith("UPDATE")] == []
    for one in pair:
        one.release()
    pager.run(300, step=20)
    assert any(text.startswith("UPDATE") for _, text in told(emulator)[before:])


def test_a_silence_that_ends_during_a_mute_is_shown_as_the_mute(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(("5m", ["bob"])), **LUNCH)
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.turn()
    for one in pair:
        one.silence(hours=0.5)
    pager.run(1500, step=60)
    for one in pair:
        one.release()
    pager.run(600, step=60)
    version = the_incident(pager).version
    pager.run(600, step=60)
    incident = the_incident(pager)
    assert (incident.shown_state, incident.muted_by) == ("open", "during lunch")
    assert incident.version == version


def test_an_incident_that_cannot_be_judged_any_more_is_not_silenced_for_ever(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    """Alertmanager answers all the time, but the last webhook does not name all alerts."""
    pager = asking(make, pair)
    for one in pair:
        one.silence()
    pager.run(120, step=20)
    for one in pair:
        one.release()
        one.fire(*firing("C")["alerts"])
    pager.post(firing("C", key="other"))
    pager.post(firing("A", "B", truncatedAlerts=3))
    before = len(told(emulator))
    pager.run(600, step=20)
    assert ("bob", "ESCALATED") in heads(emulator, after=before)


@pytest.mark.parametrize("loss", ["down", "reload"])
def test_a_page_that_a_silence_withdrew_is_sent_when_alertmanager_is_lost(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member], loss: str
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team())
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.turn()
    for one in pair:
        one.silence(by="dave", hours=0.1)
    pager.run(120, step=20)
    emulator.faults.clear()
    if loss == "reload":
        pager.reload(**team())
    for one in pair:
        one.answer = lambda _: (503, b"")
    pager.run(900, step=30)
    assert [who for who, _ in told(emulator)] == ["alice"]
    assert the_incident(pager).silenced_by == ""


def test_another_cluster_after_a_reload_resolves_nothing(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = make(alertmanager={"url": pair[0].url}, **team(("5h", ["bob"])))
    pair[0].fire(*firing("A")["alerts"])
    pager.post(firing("A"))
    pager.run(120, step=20)
    pager.reload(**{**pager.changes, "alertmanager": {"url": pair[1].url}})
    pager.run(7200, step=60)
    assert the_incident(pager).shown_state == "open"


def test_a_member_whose_clock_was_wrong_when_it_started_resolves_nothing(
    make: Callable[..., Pager], pair: list[Member]
) -> None:
    pager = asking(make, pair, ("9h", ["bob"]))
    pager.run(120, step=20)
    for one in pair:
        one.started_at -= timedelta(days=300)
        one.end()
    pager.run(600, step=20)
    assert the_incident(pager).shown_state == "open"


@pytest.mark.parametrize("first", ["silenced", "gone"])
def test_an_alert_of_another_sender_in_the_same_group_keeps_its_incident_open(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member], first: str
) -> None:
    pager = make(alertmanager={"urls": [one.url for one in pair]}, **team(*STEPS))
    for one in pair:
        one.fire(*firing("A")["alerts"])
    pager.post(firing("A", "of-a-script"))
    pager.run(120, step=20)
    for one in pair:
        one.silence() if first == "silenced" else one.end()
    pager.run(240, step=20)
    assert the_incident(pager).shown_state == "open"
    assert ("bob", "ESCALATED") in heads(emulator)


def test_a_restart_of_notifier_wakes_nobody_while_alertmanager_restarts_as_well(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence(by="dave")
    pager.run(400, step=20)
    for one in pair:
        one.answer = lambda _: (503, b"")
    pager.restart()
    before = len(told(emulator))
    pager.run(40, step=10)
    assert told(emulator)[before:] == []


def test_next_as_the_silence_ends_pages_one_step(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.silence()
    pager.run(110, step=10)
    for one in pair:
        one.release()
    pager.actions.escalate(the_incident(pager).id, "alice", Via.WEB)
    pager.run(130, step=10)
    assert heads(emulator, after=1) == [("bob", "ESCALATED")]


def test_a_step_that_was_asked_for_is_forgotten_with_an_acknowledgement(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair, reopen_after="30m")
    pager.actions.escalate(the_incident(pager).id, "alice", Via.SMS)
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.SMS)
    for one in pair:
        one.silence(hours=5)
    pager.run(3600, step=60)
    assert "REOPENED" not in [head for _, head in heads(emulator)]


def test_an_update_of_an_acknowledged_incident_is_sent_though_it_is_silenced(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=503, times=None))
    for one in pair:
        one.fire(*firing("B")["alerts"])
    pager.post(firing("A", "B"))
    pager.turn()
    for one in pair:
        one.silence()
    pager.run(180, step=20)
    emulator.faults.clear()
    pager.run(180, step=20)
    assert any("B" in text for _, text in told(emulator)[1:])


def test_an_inhibition_that_flaps_costs_few_messages(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for _ in range(30):
        for one in pair:
            one.inhibit("NodeDown")
        pager.run(80, step=20)
        for one in pair:
            one.release()
        pager.run(80, step=20)
    assert len(told(emulator)) <= 14


def test_a_member_that_hangs_delays_a_storm_once(
    make: Callable[..., Pager], emulator: Emulator, pair: list[Member]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        urls = [f"http://127.0.0.1:{deaf.getsockname()[1]}", pair[0].url]
        pager = make(alertmanager={"urls": urls}, limits={"per_contact": None}, **team(*STEPS))
        names = [f"A{number}" for number in range(48)]
        for name in names:
            pair[0].fire(*firing(name)["alerts"])
        pager.post_all([firing(name, key=name, groupLabels={"alertname": name}) for name in names])
        pager.turn(8)
        pager.hand.move(minutes=6)
        before = pair[0].asked()
        while pager.escalator.work() is not None:
            pass
        assert pair[0].asked() - before <= 2
        assert len([one for one in pager.store.incidents.latest(99) if one.step == 2]) == 48


def test_what_hinders_asking_is_forgotten_when_nothing_is_open(
    make: Callable[..., Pager], pair: list[Member]
) -> None:
    pager = asking(make, pair)
    for one in pair:
        one.answer = lambda _: (503, b"")
    pager.run(120, step=20)
    assert pager.workers.alert_states.is_silent
    later(pager, over("A"), seconds=5)
    pager.turn()
    assert not pager.workers.alert_states.is_silent
