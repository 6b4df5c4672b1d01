"""Incidents: opened, escalated, acknowledged, joined, resolved; with time moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event

from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.lifecycle import (
    IncidentState,
    Policy,
    Reason,
    Step,
    classify_webhook,
    next_number,
    next_step,
)
from notifier.store.incidents import last_number
from notifier.store.records import IncidentChange
from notifier.workers.actions import ActionOutcome, Actions, Via
from tests.support.files import ALICE
from tests.support.pager import ONE, Pager
from tests.support.postgres import both_engines
from tests.support.team import CONTACTS, firing, later, over, person, team, the_incident, told
from tests.support.webhooks import alert, webhook

NOW = datetime(2026, 1, 1, tzinfo=UTC)


# -- decisions ---------------------------------------------------------------------------------------------


def whom(*gaps: Any) -> Any:
    return lambda names: tuple(name for name in names if name not in gaps)


LADDER = Policy(
    (
        Step(timedelta(), ("a",)),
        Step(timedelta(minutes=10), ("b",)),
        Step(timedelta(minutes=15), ("c",)),
    ),
    repeat=1,
)


def test_steps_are_taken_in_turn_and_start_over() -> None:
    step, round_, now, taken = 0, 0, NOW, []
    while True:
        outcome = next_step(LADDER, step, round_, now, whom())
        taken.append((outcome.recipients, (now - NOW) // timedelta(minutes=1)))
        if outcome.due_at is None:
            break
        step, round_, now = outcome.step, outcome.round, outcome.due_at
    assert taken == [(("a",), 0), (("b",), 10), (("c",), 25), (("a",), 40), (("b",), 50), (("c",), 65)]


def test_a_hole_gives_way_to_the_next_step_at_once() -> None:
    outcome = next_step(LADDER, 0, 0, NOW, whom("a"))
    assert (outcome.recipients, outcome.step, outcome.due_at) == (("b",), 2, NOW + timedelta(minutes=15))
    outcome = next_step(LADDER, 0, 0, NOW, whom("a", "b"))
    assert (outcome.recipients, outcome.step, outcome.round) == (("c",), 0, 1)


def test_where_nobody_is_to_be_had_the_steps_go_on_in_their_time() -> None:
    outcome = next_step(LADDER, 0, 0, NOW, whom("a", "b", "c"))
    assert (outcome.recipients, outcome.step, outcome.due_at) == ((), 1, NOW + timedelta(minutes=10))


def test_a_policy_that_was_shortened_takes_its_last_step() -> None:
    assert next_step(LADDER, 7, 1, NOW, whom()).recipients == ("c",)


@given(last=st.integers(0, 1200), in_use=st.sets(st.integers(1, 999), max_size=999))
def test_numbers_are_small_and_not_in_use(last: Any, in_use: Any) -> None:
    number = next_number(last, in_use)
    assert number not in in_use
    assert 1 <= number <= (999 if len(in_use) < 999 else 9999)


def test_numbers_go_round() -> None:
    assert next_number(0, ()) == 1
    assert next_number(6, {7, 8}) == 9
    assert next_number(999, {1}) == 2
    assert next_number(5, set(range(1, 1000))) == 1000


def test_an_alert_that_was_known_is_not_new() -> None:
    assert classify_webhook(None, ()) is Reason.NOTHING
    assert classify_webhook(None, {"a"}) is Reason.OPENED


# -- a page and its incident -------------------------------------------------------------------------------


def test_an_incident_opens_once_while_anything_fires(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn()
    opened = the_incident(pager)
    assert (opened.number, opened.receiver, opened.state, opened.title) == (1, "ops", "open", "A db-1")
    assert opened.labels == {}  # what the group has in common: nothing that Alertmanager told
    later(pager, over("A"), minutes=5)
    closed = the_incident(pager)
    assert (closed.state, closed.resolved_at) == (IncidentState.RESOLVED, pager.hand())
    later(pager, firing("A"), minutes=5)
    assert [i.number for i in pager.store.incidents.latest(10)] == [2, 1]
    assert [who for who, _ in told(emulator)] == ["alice"] * 3


def test_groups_and_receivers_have_incidents_of_their_own(make: Callable[..., Pager]) -> None:
    pager = make(
        contacts=CONTACTS,
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["bob"]}],
    )
    pager.post(firing("A", key="1"))
    pager.post(firing("B", key="2"))
    pager.post(firing("A", key="1", receiver="db"))
    pager.turn(3)
    found = {(i.receiver, i.group_key) for i in pager.store.incidents.latest(10)}
    assert found == {("ops", "1"), ("ops", "2"), ("db", "1")}
    assert sorted(i.number for i in pager.store.incidents.latest(10)) == [1, 2, 3]


def test_while_nothing_happens_nothing_is_written(make: Callable[..., Pager]) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.run(60)
    commits: list[object] = []
    event.listen(pager.store.backend.engine, "commit", commits.append)
    pager.run(5)
    assert commits == []
    pager.post(firing("B"))
    pager.run(5)
    assert commits != []


@both_engines
def test_nobody_answers_and_the_next_is_paged(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("10m", ["bob"]), ("15m", ["carol", "alice"])))
    pager.post(firing("A"))
    pager.turn()
    pager.run(9 * 60, step=30)
    assert [who for who, _ in told(emulator)] == ["alice"]
    pager.run(61, step=30)
    assert told(emulator)[1] == ("bob", "ESCALATED #1 critical A db-1 since 12:13")
    pager.run(15 * 60, step=30)
    assert sorted(who for who, _ in told(emulator)[2:]) == ["alice", "carol"]
    pager.run(7200, step=60)
    assert len(told(emulator)) == 4
    assert pager.count('notifier_escalations_total{receiver="ops"}') == 2


def test_steps_start_over_as_often_as_wanted(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("5m", ["bob"]), repeat=2))
    pager.post(firing("A"))
    pager.turn()
    pager.run(3600, step=30)
    assert [who for who, _ in told(emulator)] == ["alice", "bob"] * 3


def test_who_is_on_call_is_decided_when_the_step_comes(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    rotation = {"start": "2026-11-22T12:25", "every": "1d", "contacts": ["bob", "alice"]}
    before = {"start": "2026-11-01T12:25", "every": "1d", "contacts": ["carol"]}
    pager = make(
        schedules=[{"name": "rota", "rotations": [before, rotation]}],
        **team(("10m", ["rota"]), notify=["rota"]),
    )
    pager.post(firing("A"))
    pager.turn()
    pager.run(700, step=30)
    assert [who for who, _ in told(emulator)] == ["carol", "bob"]


def test_a_page_that_meets_a_hole_goes_to_the_next_step_at_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    rotation = {"start": "2030-01-01T00:00", "every": "1d", "contacts": ["bob"]}
    pager = make(
        schedules=[{"name": "rota", "rotations": [rotation]}],
        **team(("10m", ["carol"]), ("10m", ["alice"]), notify=["rota"]),
    )
    pager.post(firing("A"))
    pager.turn()
    assert [who for who, _ in told(emulator)] == ["carol"]
    pager.run(620, step=10)
    assert [who for who, _ in told(emulator)] == ["carol", "alice"]


def test_where_everything_is_a_hole_somebody_is_paged_all_the_same(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    rotation = {"start": "2026-11-25T00:00", "every": "1d", "contacts": ["bob"]}
    pager = make(schedules=[{"name": "rota", "rotations": [rotation]}], **team(notify=["rota"]))
    pager.post(firing("A"))
    pager.turn()
    assert [who for who, _ in told(emulator)] == ["bob"]  # of the rota, though not yet
    rotation["start"] = "2030-01-01T00:00"
    other = make(
        storage={"url": "sqlite:///other.db"},
        schedules=[{"name": "rota", "rotations": [rotation]}],
        **team(notify=["rota"]),
    )
    other.post(firing("A"))
    other.turn()
    assert {who for who, _ in told(emulator)[1:]} == {"alice", "bob", "carol"}


def test_a_number_that_is_invalid_counts_as_not_reached(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make(**team(("10m", ["bob"]), ("10m", ["carol"])))
    pager.post(firing("A"))
    pager.turn(2)
    assert [who for who, _ in told(emulator)] == ["bob"]
    pager.run(620, step=10)
    assert [who for who, _ in told(emulator)] == ["bob", "carol"]


def test_who_is_reached_beside_an_invalid_number_gets_their_time(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make(**team(("10m", ["carol"]), notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn(2)
    assert [who for who, _ in told(emulator)] == ["bob"]


# -- more of the same --------------------------------------------------------------------------------------


def test_alerts_that_join_are_told_to_those_involved(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.run(320, step=10)
    later(pager, firing("A", "B"), seconds=10)
    assert sorted(told(emulator)[2:]) == [
        ("alice", "UPDATE #1 critical B db-1 since 12:13"),
        ("bob", "UPDATE #1 critical B db-1 since 12:13"),
    ]


def test_repeats_remind_only_while_nobody_has_it(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn()
    later(pager, firing("A"), hours=4)
    assert told(emulator)[1:] == [("alice", "STILL FIRING #1 critical A db-1 since 12:13")]
    assert pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API) is ActionOutcome.DONE
    later(pager, firing("A"), hours=4)
    assert len(told(emulator)) == 2


def test_resolution_is_told_to_exactly_those_who_were_paged_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("5m", ["bob"]), ("5m", ["carol"])))
    pager.post(firing("A"))
    pager.turn()
    pager.run(320, step=10)
    later(pager, over("A"), seconds=10)
    later(pager, over("A"), minutes=3)
    said = [(who, text.split()[0]) for who, text in told(emulator)]
    assert said[:2] == [("alice", "FIRING"), ("bob", "ESCALATED")]
    assert sorted(said[2:]) == [("alice", "RESOLVED"), ("bob", "RESOLVED")]
    pager.run(1200, step=60)
    assert len(told(emulator)) == 4


def test_an_alert_that_fires_anew_within_the_incident_is_told(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    pager.post(webhook(alert("A"), alert("B")))
    pager.turn()
    later(pager, webhook(alert("A"), alert("B", status="resolved")), minutes=5)
    later(pager, webhook(alert("A"), alert("B", starts_at="2026-11-22T12:40:00Z")), minutes=20)
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING", "UPDATE"]


def test_two_alertmanagers_that_know_different_alerts_do_not_make_news(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    pager.post(firing("A", "B"))
    pager.turn()
    later(pager, firing("A"), minutes=1)
    later(pager, firing("A", "B"), minutes=3)
    assert "UPDATE" not in " ".join(text for _, text in told(emulator))


# -- acknowledgement ---------------------------------------------------------------------------------------


def test_a_note_is_in_the_timeline_and_changes_nothing_else(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    opened = the_incident(pager)
    pager.hand.move(seconds=1)
    for text, problem in ((" \n\u200b", "is empty"), ("x" * 501, "501 characters; 500 is the maximum")):
        with pytest.raises(ValueError, match=problem):
            pager.actions.note(opened.id, "alice", Via.WEB, text)
    assert pager.actions.note(opened.id, "alice", Via.WEB, "disk\nis \x1bfull") is ActionOutcome.DONE
    kept = the_incident(pager)
    assert replace(kept, version=opened.version) == opened
    noted = pager.store.incidents.history(opened.id)[-1]
    assert (noted.kind, noted.by, noted.via, noted.detail) == ("noted", "alice", "web", "disk is full")
    pager.run(320, step=10)
    assert [who for who, _ in told(emulator)] == [
        "alice",
        "bob",
    ]  # nobody was notified, and escalation goes on
    later(pager, over("A"), seconds=10)
    assert pager.actions.note(opened.id, "bob", Via.WEB, "was the backup") is ActionOutcome.DONE
    assert pager.actions.note("unknown", "bob", Via.WEB, "x") is ActionOutcome.UNKNOWN


def test_an_acknowledgement_stops_escalation_and_is_told_to_the_others(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("5m", ["bob"]), ("5m", ["carol"])))
    pager.post(firing("A"))
    pager.turn()
    pager.run(320, step=10)
    assert pager.actions.acknowledge(the_incident(pager).id, "alice", Via.SMS) is ActionOutcome.DONE
    pager.run(3600, step=60)
    assert told(emulator)[2:] == [("bob", "alice has it: #1 A db-1")]
    kept = the_incident(pager)
    assert (kept.state, kept.acknowledged_by, kept.acknowledged_via) == ("acknowledged", "alice", "sms")
    assert pager.count('notifier_acknowledgements_total{via="sms"}') == 1
    assert [(e.kind, e.by) for e in pager.store.incidents.history(kept.id)] == [
        ("opened", None), ("escalated", None), ("acknowledged", "alice"),
    ]  # fmt: skip


def test_others_are_not_told_if_that_is_not_wanted(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(notify=["alice", "bob"], tell_others=False))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.turn()
    assert len(told(emulator)) == 2


def test_an_acknowledgement_lapses(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("5m", ["bob"]), reopen_after="1h"))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.run(3590, step=10)
    assert len(told(emulator)) == 1
    pager.run(20, step=10)
    assert told(emulator)[1] == ("alice", "REOPENED #1 critical A db-1 since 12:13")
    assert the_incident(pager).state == "open"
    pager.run(320, step=10)
    assert told(emulator)[2][0] == "bob"


def test_what_is_over_or_unknown_is_not_acknowledged(make: Callable[..., Pager]) -> None:
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn()
    id_ = the_incident(pager).id
    later(pager, over("A"), minutes=5)
    assert pager.actions.acknowledge(id_, "alice", Via.API) is ActionOutcome.RESOLVED
    assert pager.actions.acknowledge("nothing", "alice", Via.API) is ActionOutcome.UNKNOWN
    assert pager.actions.escalate(id_, "alice", Via.API) is ActionOutcome.RESOLVED


def test_passing_on_takes_the_next_step_at_once(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("1h", ["bob"]), ("1h", ["carol"])))
    pager.post(firing("A"))
    pager.turn()
    id_ = the_incident(pager).id
    assert pager.actions.escalate(id_, "alice", Via.API) is ActionOutcome.DONE
    pager.turn()
    pager.actions.acknowledge(id_, "bob", Via.API)
    assert pager.actions.escalate(id_, "bob", Via.API) is ActionOutcome.DONE
    pager.turn()
    assert [who for who, text in told(emulator) if text.startswith(("FIRING", "ESCALATED"))] == [
        "alice",
        "bob",
        "carol",
    ]
    assert pager.actions.escalate(id_, "carol", Via.API) is ActionOutcome.EXHAUSTED


def test_taking_over_is_told_and_taking_twice_is_not(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    id_ = the_incident(pager).id
    for who in ("alice", "alice", "bob"):
        pager.actions.acknowledge(id_, who, Via.API)
        pager.turn()
    assert told(emulator)[2:] == [("bob", "alice has it: #1 A db-1"), ("alice", "bob has it: #1 A db-1")]


# -- one message for several incidents ---------------------------------------------------------------------


@both_engines
def test_whoever_is_reached_through_two_receivers_has_both_incidents(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        contacts=CONTACTS,
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["alice", "bob"]}],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    pager.post(ONE)
    pager.turn()
    assert sorted(who for who, _ in told(emulator)) == ["alice", "bob"]
    assert sorted(pager.states()) == ["accepted", "accepted", "merged"]
    pager.hand.move(seconds=5)
    found = pager.store.paged.latest_of(person(pager, "alice"), pager.hand(), IncidentState.OPEN)
    assert [incident.receiver for incident in found] == ["ops", "db"]
    (bobs,) = pager.store.paged.latest_of(person(pager, "bob"), pager.hand(), IncidentState.OPEN)
    assert bobs.receiver == "db"
    assert [i.number for i in pager.store.paged.paged_with(found[0], person(pager, "alice"))] == [1, 2]


@both_engines
def test_a_message_that_pages_for_two_incidents_is_sent_though_one_of_them_is_closed(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        contacts=CONTACTS,
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["alice"]}],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429))
    pager.post(ONE)
    pager.turn()
    assert sorted(pager.states()) == ["merged", "queued"]
    (ops,) = [one for one in pager.store.incidents.latest(9) if one.receiver == "ops"]
    pager.actions.close(ops.id, "alice", Via.API)
    pager.run(30)
    assert {one.receiver: one.state for one in pager.store.incidents.latest(9)} == {
        "ops": "resolved",
        "db": "open",
    }
    assert [who for who, _ in told(emulator)][:1] == ["alice"]
    assert told(emulator)[0][1].startswith("FIRING")


def test_what_was_merged_into_a_message_that_fails_has_failed(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    step = [{"after": "10m", "notify": ["bob"]}]
    pager = make(
        contacts=CONTACTS,
        receivers=[
            {"name": "ops", "notify": ["alice"]},
            {"name": "db", "notify": ["alice"], "escalate": step},
        ],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    pager.post(ONE)
    pager.turn(2)
    assert [who for who, _ in told(emulator)] == ["bob"]


# -- when things change meanwhile --------------------------------------------------------------------------


def test_a_plan_made_on_an_incident_that_changed_is_made_anew(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    id_ = the_incident(pager).id
    find = pager.store.incidents.find

    def find_and_be_overtaken(keys: Any) -> Any:
        found = find(keys)
        monkeypatch.undo()
        pager.actions.acknowledge(id_, "alice", Via.API)
        return found

    monkeypatch.setattr(pager.store.incidents, "find", find_and_be_overtaken)
    later(pager, firing("A"), hours=1)
    assert [text.split()[0] for _, text in told(emulator)] == ["FIRING", "FIRING", "alice"]
    assert the_incident(pager).state == "acknowledged"
    assert pager.store.webhooks.unplanned(10, 1000) == []


def test_a_step_is_taken_once_even_if_two_are_at_it(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(minutes=5)
    due = pager.store.incidents.due(pager.hand(), 10)
    assert len(due) == 1
    monkeypatch.setattr(pager.store.incidents, "due", lambda now, limit, without: due)
    pager.escalator.work()
    pager.escalator.work()
    monkeypatch.undo()
    pager.turn()
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]


def test_retention_deletes_incidents_that_are_over_and_leaves_those_that_are_not(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("5m", ["bob"])))
    pager.post(firing("A", key="1"))
    pager.post(firing("B", key="2"))
    pager.run(400, step=20)
    pager.post(over("A", key="1"))
    pager.turn()
    pager.hand.move(days=100)
    before = pager.hand() - timedelta(days=90)
    while pager.store.retention.delete_before(before, 100).result(10):
        pass
    assert [(i.title, i.state.value) for i in pager.store.incidents.latest(9)] == [("B db-1", "open")]
    kept = {row["incident_id"] for row in pager.rows()}
    assert kept == {pager.store.incidents.latest(9)[0].id}
    assert len(pager.rows()) == 2
    pager.post(over("B", key="2"))
    pager.turn()
    assert sorted(who for who, text in told(emulator) if text.startswith("RESOLVED #") and " B " in text) == [
        "alice",
        "bob",
    ]


def test_when_nobody_was_reached_the_next_webhook_pages_anew(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn(2)
    emulator.emulation.invalid_numbers.clear()
    later(pager, firing("A"), hours=4)
    later(pager, firing("A", "B"), hours=4)
    assert [text.split("#")[0] for _, text in told(emulator)] == ["STILL FIRING ", "UPDATE "]


def test_what_fires_beyond_what_was_sent_still_fires(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    pager.post(webhook(alert("A", status="resolved"), status="firing", truncatedAlerts=5))
    pager.turn()
    assert the_incident(pager).state == "open"
    assert told(emulator)[0][1].startswith("FIRING #1")


def test_what_fires_beyond_what_was_sent_is_kept_open_where_resolutions_are_not_sent(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(send_resolved=False))
    pager.post(firing("A", "B"))
    pager.turn()
    pager.post(webhook(alert("A", status="resolved"), status="firing", truncatedAlerts=1))
    pager.turn()
    assert the_incident(pager).state == "open"
    pager.post(webhook(alert("A", status="resolved"), status="resolved"))
    pager.turn()
    assert the_incident(pager).state == "resolved"


# -- what changes meanwhile --------------------------------------------------------------------------------


def renamed(name: Any, *steps: Any) -> Any:
    changes = team(*steps)
    changes["receivers"][0]["name"] = name
    return changes


@both_engines
def test_the_end_is_told_though_the_receiver_was_renamed(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.reload(**renamed("ops2", ("10m", ["bob"])))
    later(pager, over("A"), minutes=5)
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING", "RESOLVED"]
    pager.run(1200, step=60)
    assert len(told(emulator)) == 2


def test_what_reaches_others_now_is_closed_without_a_word(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.reload(**renamed("ops2"))
    later(pager, firing("A"), minutes=5)
    assert {one.receiver: one.state for one in pager.store.incidents.latest(9)} == {
        "ops": "resolved",
        "ops2": "open",
    }
    assert [text.split(" ")[0] for _, text in told(emulator)] == ["FIRING", "FIRING"]
    pager.run(1200, step=60)
    assert len(told(emulator)) == 2


def test_what_another_address_told_of_is_no_concern_of_this_one(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    changes = team()
    changes["receivers"].append({"name": "db", "notify": ["bob"]})
    pager = make(**changes)
    pager.post(firing("A"), posted_to="ops")
    pager.post(firing("A"), posted_to="db")
    pager.turn()
    later(pager, over("A"), minutes=3)  # told of to neither
    assert {one.state for one in pager.store.incidents.latest(9) if one.receiver == "db"} == {"open"}
    pager.post(over("A"), posted_to="ops")
    pager.turn()
    assert {one.receiver: one.state for one in pager.store.incidents.latest(9)} == {
        "ops": "resolved",
        "db": "open",
    }


def test_a_webhook_that_cannot_be_planned_keeps_its_place_before_others_of_its_group(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team())
    real, failing = pager.planner.plan, [True]

    def plan(stored: Any, *rest: Any) -> Any:
        if failing[0]:
            raise RuntimeError("a fault")
        return real(stored, *rest)

    monkeypatch.setattr(pager.planner, "plan", plan)
    pager.post(firing("A"))
    pager.turn()
    failing[0] = False
    pager.hand.move(seconds=0.5)
    pager.post(over("A"))
    pager.post(firing("B", key="other"))
    pager.turn()
    assert [one.title for one in pager.store.incidents.latest(9)] == ["B db-1"]
    pager.hand.move(seconds=1)
    pager.turn(3)
    assert sorted((one.title, one.state.value) for one in pager.store.incidents.latest(9)) == [
        ("A db-1", "resolved"),
        ("B db-1", "open"),
    ]


def test_an_incident_that_cannot_be_escalated_delays_no_other_and_is_paged_in_the_end(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(("5m", ["bob"])))
    pager.post(firing("A", key="a"))
    pager.turn()
    pager.post(firing("B", key="b"))
    pager.turn()
    real = pager.escalator.change_of

    def change(runtime: Any, incident: Any, now: Any) -> Any:
        if incident.title == "A db-1":
            raise RuntimeError("a fault")
        return real(runtime, incident, now)

    monkeypatch.setattr(pager.escalator, "change_of", change)
    pager.hand.move(minutes=5)
    pager.turn()
    assert [who for who, _ in told(emulator)] == ["alice", "alice", "bob"]
    for _ in range(3):
        pager.hand.move(seconds=5)
        pager.turn()
    assert sorted(told(emulator)[3:]) == [(who, "ESCALATED #1 critical A db-1") for who in ("alice", "bob")]
    assert pager.store.incidents.numbered(1).due_at > pager.hand(), "it is paged again if nobody acknowledges"


def test_a_last_resort_that_fails_delays_no_other_incident(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(("5m", ["bob"])))
    real = pager.escalator.change_of

    def change(runtime: Any, incident: Any, now: Any) -> Any:
        return 1 / 0 if incident.title == "A db-1" else real(runtime, incident, now)

    monkeypatch.setattr(pager.escalator, "change_of", change)
    monkeypatch.setattr("notifier.planning.last_resort._messages", lambda *_: 1 / 0)
    pager.post(firing("A", key="a"))
    pager.turn()
    pager.run(300, step=60)
    pager.run(30, step=5)
    pager.post(firing("B", key="b"))
    pager.turn()
    pager.hand.move(minutes=5)
    pager.turn()
    assert told(emulator)[-1] == ("bob", "ESCALATED #2 critical B db-1 since 12:13")


def test_a_fault_while_an_update_is_composed_reopens_no_acknowledged_incident(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    unmuted = replace(the_incident(pager), unmute_at=pager.hand())
    pager.store.incidents.change([IncidentChange(unmuted)], pager.hand()).result()
    monkeypatch.setattr(pager.escalator, "_unmute", lambda *_: 1 / 0)
    for _ in range(10):
        pager.turn()
        pager.hand.move(seconds=10)
    assert (the_incident(pager).state, the_incident(pager).acknowledged_by) == ("acknowledged", "alice")
    assert {text for _, text in told(emulator)[1:]} == {"UPDATE #1 critical A db-1"}, "it is not lost, either"


@both_engines
def test_an_alert_that_fires_again_within_the_dedupe_window_is_paged_again(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    """Two Prometheus servers of which one is late: Alertmanager keeps the earliest startsAt."""
    pager = make(**team(("5m", ["bob"])))
    for body in (firing("A"), over("A"), firing("A")):
        pager.post(body)
        pager.turn()
        pager.hand.move(seconds=20)
    assert [text.split()[0] for _, text in told(emulator)] == ["FIRING", "RESOLVED", "FIRING"]
    pager.post(over("A"))
    pager.turn()
    assert {one.state.value for one in pager.store.incidents.latest(9)} == {"resolved"}, (
        "or escalation would never end"
    )


def test_webhooks_that_differ_in_truncation_or_status_are_no_repetitions(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("5m", ["bob"])))
    whole = firing("A")
    assert pager.post_all([whole, {**whole, "truncatedAlerts": 3}]) == set()
    cut = {**over("A"), "truncatedAlerts": 3}
    assert pager.post_all([{**cut, "status": "firing"}, {**cut, "status": "resolved"}]) == set()


def test_webhooks_without_a_group_key_do_not_share_an_incident(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    one, two = (webhook(alert(name, instance="db-1"), key="") for name in "AB")
    for body in (one, two, webhook(alert("B", instance="db-1", status="resolved"), key="")):
        pager.post(body)
        pager.turn()
    assert {i.title: i.state.value for i in pager.store.incidents.latest(9)} == {
        "A db-1": "open",
        "B db-1": "resolved",
    }
    labels: dict[str, Any] = {"key": "", "groupLabels": {"cluster": "x"}}
    pager.post(webhook(alert("C"), **labels))
    pager.post(webhook(alert("C"), alert("D"), **labels))
    pager.turn(2)
    assert len(pager.store.incidents.latest(9)) == 3, "the labels of the group tell it"


def test_no_webhook_can_pass_for_the_incident_of_a_heartbeat(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    beat = {"name": "watchdog", "matchers": ['alertname="Watchdog"'], "timeout": "10m", "receiver": "ops"}
    pager = make(**team(), heartbeats=[beat])
    pager.post(webhook(alert("Other"), key="heartbeat/watchdog"))
    pager.run(620, step=10)
    assert [text.split()[2] for _, text in told(emulator)] == ["Other", "critical"]
    assert "MonitoringSilent" in told(emulator)[1][1]


# -- other groups, other people -----------------------------------------------------------------------------


@both_engines
def test_an_alert_that_arrives_under_another_group_key_takes_its_incident_along(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A", key="old"))
    pager.turn()
    later(pager, firing("A", key="new"), minutes=1)
    assert [(one.number, one.group_key, one.state) for one in pager.store.incidents.latest(9)] == [
        (1, "new", "open")
    ]
    later(pager, firing("A", "B", key="new"), minutes=1)
    assert [text.split(" since")[0] for _, text in told(emulator)] == [
        "FIRING #1 critical A db-1",
        "UPDATE #1 critical B db-1",
    ]
    later(pager, over("A", "B", key="new"), minutes=1)
    assert the_incident(pager).state == "resolved"
    pager.run(1800, step=60)
    assert len(told(emulator)) == 3, "the end, and nothing after it"


def test_a_group_that_is_divided_leaves_no_incident_behind(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A", "B", key="old"))
    pager.turn()
    later(pager, firing("A", key="a"), seconds=10)
    later(pager, firing("B", key="b"), seconds=10)
    assert {one.group_key: one.state.value for one in pager.store.incidents.latest(9)} == {
        "a": "open",
        "b": "open",
    }
    later(pager, over("A", key="a"), seconds=10)
    later(pager, over("B", key="b"), seconds=10)
    assert {one.state.value for one in pager.store.incidents.latest(9)} == {"resolved"}


def test_groups_that_are_united_go_on_as_the_one_that_nobody_has(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A", key="a"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.post(firing("B", key="b"))
    pager.turn()
    later(pager, firing("A", "B", key="ab"), seconds=10)
    found = {one.number: (one.group_key, one.state.value) for one in pager.store.incidents.latest(9)}
    assert found == {1: ("a", "resolved"), 2: ("ab", "open")}
    assert len(told(emulator)) == 2


def test_an_alert_that_ends_without_the_others_of_a_group_that_has_no_key_closes_its_incident(
    make: Callable[..., Pager],
) -> None:
    pager = make(**team())
    pager.post(webhook(alert("A"), alert("B"), key=""))
    pager.turn()
    for name in "AB":
        assert the_incident(pager).state == "open"
        pager.post(webhook(alert(name, status="resolved"), key=""))
        pager.turn()
    assert the_incident(pager).state == "resolved"


ROTA = {
    "schedules": [{"name": "rota", "rotations": [{"start": "2026-11-22T12:00", "every": "12h", "contacts": ["alice", "bob"]}]}],
    "global": {"time_zone": "UTC"},
}  # fmt: skip


def test_what_joins_after_a_hand_over_goes_to_who_is_on_call_now_and_the_holder(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**{**team(notify=["rota"]), **ROTA})
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    later(pager, firing("A", "B"), hours=14)
    assert told(emulator)[0][0] == "alice"
    assert {(who, text.split()[0]) for who, text in told(emulator)[1:]} == {
        ("bob", "UPDATE"),
        ("alice", "UPDATE"),
    }


def test_what_joins_an_incident_that_paged_nobody_yet_goes_to_the_first_step(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        **team(("15m", ["bob"])),
        time_intervals=[
            {"name": "lunch", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "14:00"}]}]}
        ],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "mute_time_intervals": ["lunch"]}]},
    )
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "carol", Via.API)
    later(pager, firing("A", "B"), hours=6)
    assert {(who, text.split()[0]) for who, text in told(emulator)} == {
        ("alice", "UPDATE"),
        ("carol", "UPDATE"),
    }


def test_a_reminder_goes_to_who_is_on_call_now_and_not_to_who_left(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**{**team(notify=["rota"]), **ROTA})
    pager.post(firing("A"))
    pager.turn()
    without = [one for one in CONTACTS if one["name"] != "alice"]
    rotation = {"start": "2026-11-22T12:00", "every": "12h", "contacts": ["bob"]}
    changed = {"contacts": without, "schedules": [{"name": "rota", "rotations": [rotation]}]}
    pager.reload(**{**team(notify=["rota"]), **ROTA, **changed})
    later(pager, firing("A"), hours=14)
    assert [(who, text.split()[0]) for who, text in told(emulator)] == [("alice", "FIRING"), ("bob", "STILL")]


def test_a_receiver_that_was_renamed_escalates_to_its_own_people(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    web = {"name": "web", "notify": ["carol"]}
    route = {"receiver": "web", "routes": [{"receiver": "dba", "matchers": ["severity=critical"]}]}
    dba = {"name": "dba", "notify": ["alice"], "escalate": [{"after": "10m", "notify": ["bob"]}]}
    pager = make(contacts=CONTACTS, receivers=[web, dba], route=route)
    pager.post(firing("A"))
    pager.turn()
    route = {"receiver": "web", "routes": [{"receiver": "database", "matchers": ["severity=critical"]}]}
    pager.reload(contacts=CONTACTS, receivers=[web, {**dba, "name": "database"}], route=route)
    pager.run(620, step=10)
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]
    assert the_incident(pager).receiver == "database"
    later(pager, firing("A"), hours=1)
    assert the_incident(pager).number == 1, "the repetition finds it"


def test_without_routes_those_who_were_paged_come_before_the_first_receiver(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    """A receiver that is not in the file any more, and that nothing says the new name of."""
    web = {"name": "web", "notify": ["carol"]}
    dba = {"name": "dba", "notify": ["alice"], "escalate": [{"after": "10m", "notify": ["bob"]}]}
    pager = make(contacts=CONTACTS, receivers=[web, dba])
    pager.post(webhook(alert("A"), receiver="dba"))
    pager.turn()
    pager.reload(contacts=CONTACTS, receivers=[web, {**dba, "name": "database"}])
    pager.run(620, step=10)
    assert [who for who, _ in told(emulator)] == ["alice", "alice"]
    pager.run(300, step=10)
    assert [who for who, _ in told(emulator)] == ["alice", "alice", "carol"], "nobody has answered"
    assert the_incident(pager).receiver == "web"


def test_who_left_the_file_is_told_nothing_more_and_who_was_renamed_is(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(contacts=CONTACTS, receivers=[{"name": "ops", "notify": ["alice", "bob"]}])
    pager.post(firing("A"))
    pager.turn()
    others = [contact for contact in CONTACTS if contact["name"] not in ("alice", "bob")]
    bob = next(contact for contact in CONTACTS if contact["name"] == "bob")
    pager.reload(
        contacts=[{**bob, "name": "robert"}, *others], receivers=[{"name": "ops", "notify": ["carol"]}]
    )
    pager.post(over("A"))
    pager.turn()
    assert [who for who, text in told(emulator) if text.startswith("RESOLVED")] == ["bob"]


# -- what reaches nobody ------------------------------------------------------------------------------------


@both_engines
@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_an_update_that_reaches_nobody_has_the_next_step_come(
    make: Callable[..., Pager], emulator: Emulator, is_acknowledged: Any
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    if is_acknowledged:
        pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    emulator.emulation.invalid_numbers.add(ALICE)
    later(pager, firing("A", "B"), minutes=1)
    pager.turn(3)
    whom = {who for who, text in told(emulator) if " B" in text.replace(";", " ")}
    assert whom == {"bob"}
    assert the_incident(pager).state == "open"


def test_an_outage_longer_than_expire_after_pages_the_first_step_again(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**{**team(("10m", ["bob"]), ("10m", ["carol"])), "global": {"expire_after": "1h"}})
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "60"}, times=None))
    pager.post(firing("A"))
    pager.run(3 * 3600, step=60)
    assert told(emulator) == []
    emulator.faults.clear()
    pager.run(600, step=20)
    assert "alice" in {who for who, _ in told(emulator)}, "who is on call is paged, too"
    assert len({who for who, _ in told(emulator)}) == len(told(emulator)), "nobody is paged twice"


def test_a_corrected_number_is_used_at_once(make: Callable[..., Pager], emulator: Emulator) -> None:
    changes = team()
    changes["contacts"] = [{"name": "alice", "phone": "+33639980009"}, *CONTACTS[1:]]
    pager = make(**changes)
    pager.post(firing("A"))
    pager.turn()
    pager.reload(**team())
    later(pager, firing("A", "B"), minutes=5)
    assert [sms.receiver for sms in emulator.emulation.accepted] == ["+33639980009", ALICE]


def test_a_hole_in_the_last_step_goes_to_the_first_while_rounds_are_left() -> None:
    policy = Policy((Step(timedelta(), ("a",)), Step(timedelta(minutes=5), ("b",))), repeat=1)
    outcome = next_step(policy, 1, 0, NOW, whom("b"))
    assert (outcome.recipients, outcome.step, outcome.round) == (("a",), 1, 1)
    assert next_step(policy, 1, 1, NOW, whom("b")).recipients == ()
    assert next_step(policy, 0, 0, NOW, whom("a", "b")).recipients == ()


@pytest.mark.parametrize("tell_others", [True, False])
def test_who_has_it_learns_that_another_took_it_though_never_paged(
    make: Callable[..., Pager], emulator: Emulator, tell_others: Any
) -> None:
    pager = make(**team(("10m", ["bob"]), tell_others=tell_others))
    pager.post(firing("A"))
    pager.turn()
    number = the_incident(pager).id
    pager.actions.acknowledge(number, "carol", Via.WEB)
    pager.turn()
    before = len(told(emulator))
    pager.actions.acknowledge(number, "bob", Via.WEB)
    pager.turn()
    assert ("carol", "bob has it: #1 A db-1") in told(emulator)[before:]
    assert (("alice", "bob has it: #1 A db-1") in told(emulator)[before:]) is tell_others
    pager.actions.acknowledge(number, "carol", Via.WEB)
    pager.actions.escalate(number, "alice", Via.WEB)
    pager.turn()
    assert ("carol", "alice passed it on: #1 A db-1") in told(emulator)[before:]


@pytest.mark.parametrize("action", [Actions.acknowledge, Actions.close])
def test_who_acts_is_not_notified_on_their_own_phone_under_another_name(
    make: Callable[..., Pager], emulator: Emulator, action: Any
) -> None:
    changes = team(tell_others=True)
    changes["contacts"] = [*CONTACTS, {"name": "on-duty", "phone": ALICE}]
    changes["receivers"][0]["notify"] = ["on-duty", "bob"]
    pager = make(**changes)
    pager.post(firing("A"))
    pager.turn()
    before = len(told(emulator))
    action(pager.actions, the_incident(pager).id, "alice", Via.API)
    pager.turn()
    assert [who for who, _ in told(emulator)[before:]] == ["bob"]


def test_an_acknowledgement_is_of_what_fires_then(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    later(pager, firing("A", "B"), minutes=5)
    assert the_incident(pager).state == "acknowledged"  # A fires still
    later(pager, firing("C"), hours=9)
    assert the_incident(pager).state == "open"
    assert told(emulator)[-1] == ("alice", "REOPENED #1 critical C db-1 since 12:13")


def test_some_of_it_over_is_no_reminder(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    pager.post(firing("A", "B", "C"))
    pager.turn()
    later(pager, firing("A", "B"), minutes=5)
    later(pager, firing("A"), minutes=5)
    assert len(told(emulator)) == 1
    later(pager, firing("A"), hours=4)
    assert told(emulator)[-1][1].startswith("STILL FIRING #1 critical A db-1")


def test_a_page_that_was_not_sent_yet_is_withdrawn_by_an_acknowledgement(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    from notifier.emulator import Fault, FaultKind

    pager = make(**team(notify=["alice", "bob"]))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    emulator.faults.clear()
    pager.run(300, step=10)
    assert sorted(pager.states()) == ["accepted", "withdrawn", "withdrawn"]
    assert "FIRING" not in str(told(emulator))


@both_engines
def test_the_end_goes_in_place_of_a_page_that_was_not_sent_yet(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    from notifier.emulator import Fault, FaultKind

    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(firing("A"))
    pager.turn()
    later(pager, over("A"), minutes=8)
    emulator.faults.clear()
    pager.run(300, step=10)
    ((who, text),) = told(emulator)
    assert (who, text.split(" ")[0]) == ("alice", "RESOLVED")
    assert pager.states() == ["withdrawn", "accepted"]


def test_without_a_word_of_the_end_a_late_page_goes_all_the_same(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    from notifier.emulator import Fault, FaultKind

    pager = make(**team(send_resolved=False))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(firing("A"))
    pager.turn()
    later(pager, over("A"), minutes=8)
    emulator.faults.clear()
    pager.run(300, step=10)
    assert ["FIRING" in text for _, text in told(emulator)] == [True]


def test_whoever_has_it_learns_that_it_was_passed_on(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(("10m", ["bob"]), ("10m", ["carol"])))
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    pager.actions.escalate(the_incident(pager).id, "bob", Via.API)
    pager.turn(2)
    assert ("alice", "bob passed it on: #1 A db-1") in told(emulator)


# -- a whole night -----------------------------------------------------------------------------------------

NIGHT = [
    # minute, what happens
    (0, lambda p: p.post(firing("A"))),
    (12, lambda p: p.post(firing("A"))),  # Alertmanager repeats
    (16, lambda p: p.actions.acknowledge(the_incident(p).id, "bob", Via.SMS)),
    (20, lambda p: p.post(firing("A", "B"))),
    (40, lambda p: p.post(firing("A", "B"))),  # repeats, but bob has it
    (90, lambda p: p.actions.acknowledge(the_incident(p).id, "alice", Via.SMS)),
    (100, lambda p: p.post(over("A", "B"))),
]
EXPECTED = [
    # minute, who, what
    (0, "alice", "FIRING #1 critical A db-1 since 12:13"),
    (10, "bob", "ESCALATED #1 critical A db-1 since 12:13"),
    (12, "alice", "STILL FIRING #1 critical A db-1 since 12:13"),
    (12, "bob", "STILL FIRING #1 critical A db-1 since 12:13"),
    (16, "alice", "bob has it: #1 A db-1"),
    (20, "alice", "UPDATE #1 critical B db-1 since 12:13"),
    (20, "bob", "UPDATE #1 critical B db-1 since 12:13"),
    (76, "alice", "REOPENED #1 critical A db-1; B db-1 since 12:13"),  # bob's acknowledgement lapses
    (86, "bob", "ESCALATED #1 critical A db-1; B db-1 since 12:13"),
    (90, "bob", "alice has it: #1 A db-1"),
    (100, "alice", "RESOLVED #1 critical A db-1; B db-1 at 12:20 after 6m"),
    (100, "bob", "RESOLVED #1 critical A db-1; B db-1 at 12:20 after 6m"),
]


@pytest.mark.parametrize(("engine_name", "restarting"), [("sqlite", False), ("postgresql", True)])
def test_a_whole_night(make: Callable[..., Pager], emulator: Emulator, restarting: Any) -> None:
    pager = make(**team(("10m", ["bob"]), ("60m", ["carol"]), reopen_after="1h"))
    start, found, seen = pager.hand(), [], 0
    happenings: dict[int, Callable[[Pager], Any]] = dict(NIGHT)
    eventful = {minute for minute, *_ in EXPECTED} | set(happenings)
    for minute in range(180):
        if restarting and minute in eventful:
            pager.reopen()
        if minute in happenings:
            happenings[minute](pager)
        if restarting and minute in eventful:
            pager.reopen()
        for _ in range(3):
            pager.turn()
            accepted = told(emulator)
            found += sorted(
                (int((pager.hand() - start).total_seconds()) // 60, *one) for one in accepted[seen:]
            )
            seen = len(accepted)
            pager.hand.move(seconds=20)
    assert found == EXPECTED
    assert set(pager.states()) == {"accepted"}


@pytest.mark.parametrize("restarts", [False, True])
@both_engines
def test_a_clock_that_was_ahead_puts_off_no_step(
    make: Callable[..., Pager], emulator: Emulator, restarts: Any
) -> None:
    pager = make(**team(("10m", ["bob"])))
    pager.hand.move(days=1)
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(days=-1)
    if restarts:
        pager.restart()
    pager.run(540, step=60)
    assert [who for who, _ in told(emulator)] == ["alice"]
    pager.run(120, step=60)
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]


def test_numbers_go_on_after_the_last_of_many_that_came_together(make: Callable[..., Pager]) -> None:
    pager = make(**team())
    pager.post_all([firing(f"A{number}", key=str(number)) for number in range(8)])
    pager.turn()
    pager.post_all([over(f"A{number}", key=str(number)) for number in range(8)])
    pager.turn()
    later(pager, firing("B", key="b"), seconds=1)
    assert [one.number for one in pager.store.incidents.latest(9) if one.title == "B db-1"] == [9]


def test_the_number_given_last() -> None:
    assert last_number([]) == 0
    assert last_number([("0123456789a", 3), ("0123456789b", 5), ("0123456788c", 900)]) == 5
    assert last_number([("0123456789a", 999), ("0123456789b", 2), ("0123456789c", 1)]) == 2


def test_a_page_whose_fate_was_unknown_is_not_sent_after_somebody_closed_the_incident(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE))
    pager.post(firing("A"))
    pager.turn(1)
    pager.actions.close(the_incident(pager).id, "bob", Via.API)
    pager.run(60)
    assert not [text for _, text in told(emulator) if text.startswith("FIRING")]
