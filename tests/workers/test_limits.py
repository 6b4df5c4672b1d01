"""Limits: what a storm costs a contact, and the account."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifier.config.model import PerContact
from notifier.delivery.digest import digest_text, in_full
from notifier.delivery.throttle import SHORTEST_WAIT, burst, throttle
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.lifecycle import ShownState
from notifier.planning.plans import plan
from notifier.sms.encoding import measure
from notifier.store.schema import messages, webhooks
from notifier.workers.actions import Via
from tests.support.clock import Hand
from tests.support.files import ALICE, Files
from tests.support.pager import Pager, texts
from tests.support.postgres import both_engines
from tests.support.team import CONTACTS, over, storm, team, told
from tests.support.webhooks import alert, webhook

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEFAULT = PerContact()


# -- the pace ----------------------------------------------------------------------------------------------


def test_the_first_half_goes_one_by_one() -> None:
    assert burst(DEFAULT) == 10
    assert burst(PerContact(messages=1)) == 1
    assert burst(PerContact(messages=20, per="1m")) == 19
    assert throttle([], 10, 10, DEFAULT, NOW).rest_at is None
    assert throttle([], 11, 0, DEFAULT, NOW).singles == 10
    assert throttle([], 15, 15, DEFAULT, NOW).singles == 14  # some more are kept for what is critical
    assert throttle([NOW] * 10, 5, 1, DEFAULT, NOW).singles == 1
    assert throttle([], 5, 0, PerContact(messages=1), NOW).singles == 1


def test_what_is_critical_waits_for_a_minute_at_most_and_the_rest_ever_longer() -> None:
    sent = [NOW] * 14
    assert throttle(sent, 5, 1, DEFAULT, NOW).rest_at == NOW + SHORTEST_WAIT
    waits, sent = [], [NOW] * 10
    for _ in range(4):
        rest_at = throttle(sent, 5, 0, DEFAULT, sent[-1]).rest_at
        waits.append((rest_at - sent[-1]) // timedelta(minutes=1))
        sent.append(rest_at)
    assert waits == [1, 2, 4, 8]


@settings(max_examples=200)
@example(messages=1, minutes=1, arrivals=[(0, 3, True)])
@example(messages=1, minutes=1, arrivals=[(0, 1, False), (1, 2, True)])
@example(messages=1, minutes=4, arrivals=[(0, 2, True), (17, 2, True)])
@given(
    messages=st.integers(1, 40),
    minutes=st.integers(1, 60),
    arrivals=st.lists(st.tuples(st.integers(0, 240), st.integers(1, 30), st.booleans()), max_size=60),
)
def test_the_limit_holds_whatever_comes(messages: Any, minutes: Any, arrivals: Any) -> None:
    """Simulate a contact by quarters of a minute; only what is critical may exceed, by one a minute."""
    limit = PerContact(messages=messages, per=f"{minutes}m")
    sent: list[Any] = []
    came: dict[Any, Any] = {}
    critical_sent, waiting, critical, critical_since = set(), 0, 0, None
    for quarter, count, is_critical in arrivals:
        came.setdefault(quarter, []).append((count, is_critical))
    for quarter in range(400):
        now = NOW + timedelta(seconds=15 * quarter)
        for count, is_critical in came.get(quarter, ()):
            waiting += count
            critical += count * is_critical
        if critical and critical_since is None:
            critical_since = now
        if not waiting:
            continue
        recent = [at for at in sent if at > now - limit.per]
        paced = throttle(recent, waiting, critical, limit, now, critical_since)
        if paced.singles:
            sent += [now] * paced.singles
            if critical:
                critical_sent.add(now)
            waiting, critical = waiting - paced.singles, max(0, critical - paced.singles)
        elif paced.rest_at <= now:
            sent.append(now)
            if critical:
                critical_sent.add(now)
            waiting = critical = 0
        if not critical:
            critical_since = None
        else:
            assert now - critical_since <= SHORTEST_WAIT
    for at in sent:
        window = [one for one in sent if at - limit.per < one <= at]
        assert len(window) <= limit.messages or at in critical_sent


@given(
    st.lists(
        st.tuples(st.sampled_from(["firing", "resolved"]), st.text(max_size=30), st.sampled_from(["critical", "warning", "", "info"]), st.integers(1, 300)),
        min_size=1, max_size=60,
    ),
    st.integers(1, 3),
)  # fmt: skip
def test_a_digest_fits_and_counts_all(kinds: Any, max_parts: Any) -> None:
    text = digest_text([json.dumps([status, [[n, s, c]]]) for status, n, s, c in kinds], "en", max_parts)
    assert measure(text).parts <= max_parts
    firing = sum(count for status, _, _, count in kinds if status == "firing")
    if firing:
        assert text.startswith(f"{firing} more alert{'s' if firing > 1 else ''}: ")


def test_a_digest_names_the_most_severe_first() -> None:
    digest_entries = [json.dumps(["firing", [["HighLoad", "warning", 1]]])] * 40
    digest_entries += [json.dumps(["firing", [["DiskFull", "critical", 2], ["Down", "critical", 1]]]), None]
    digest_entries += [json.dumps(["resolved", [["HighLoad", "warning", 3]]])]
    assert digest_text(digest_entries, "en", 2) == (
        "43 more alerts: critical DiskFull 2, Down; warning HighLoad 40; resolved 3: warning HighLoad 3; all takes all"
    )
    assert digest_text(digest_entries[-1:], "fr", 2) == "3 résolues : warning HighLoad 3"
    assert digest_text(digest_entries[:1], "fr", 2) == "1 autre alerte : warning HighLoad"
    assert digest_text(digest_entries, "fr", 3) == (
        "43 autres alertes : critical DiskFull 2, Down; warning HighLoad 40; 3 résolues : warning HighLoad 3; "
        "tout les prend toutes"
    )
    assert digest_text(digest_entries[:1], "en", 2) == "1 more alert: warning HighLoad"


def test_what_a_digest_can_hold_in_full_it_does(make: Callable[..., Pager], emulator: Emulator) -> None:
    """Number, place and time, and not how many of which name, where that costs no part more."""
    pager = make(**team())
    storm(pager, [f"A{n}" for n in range(12)])
    pager.turn(5)
    pager.run(70, step=1)
    singles, last = [text for _, text in told(emulator)[:-1]], told(emulator)[-1][1]
    held = last.split("; ")
    assert len(singles) == 10
    assert len(held) == 2
    assert sorted(int(text.split("#")[1].split()[0]) for text in singles + held) == list(range(1, 13))
    assert all(text.startswith("FIRING #") and text.endswith(" db-1 since 12:13") for text in held)


# -- a contact in a storm ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("severity", "each", "first"), [("warning", 25, 10), ("critical", 10, 14)])
def test_a_storm_of_thousands_costs_no_more_than_twenty(
    make: Callable[..., Pager], emulator: Emulator, severity: Any, each: Any, first: Any
) -> None:
    pager = make(**team())
    start, count = pager.hand(), 60 * each
    first_at = None
    for second in range(60):
        storm(pager, [f"A{second}x{n}" for n in range(each)], severity)
        pager.turn(4)
        if first_at is None and told(emulator):
            first_at = pager.hand()
        pager.hand.move(seconds=1)
    pager.run(540, step=15)
    assert first_at - start < timedelta(seconds=2)
    assert first < len(told(emulator)) <= 20
    assert sum(int(text.split()[0]) for _, text in told(emulator)[first:]) == count - first
    with pager.store.reading() as connection:
        assert len(connection.execute(webhooks.select()).all()) == count
    assert len(pager.store.incidents.latest(5000)) == count
    assert sorted(set(pager.states())) == ["accepted", "merged"]
    assert pager.store.outbox.queue().messages["queued"] == 0
    assert pager.count('notifier_sms_merged_total{receiver="ops"}') == count - first


@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_pages_that_are_planned_late_cost_no_more_than_a_digest_a_minute(
    make: Callable[..., Pager], emulator: Emulator, severity: Any
) -> None:
    pager = make(**team())
    for number in range(400):
        storm(pager, [f"A{number}"], severity)
    pager.hand.move(minutes=2)  # planning lags behind
    start = pager.hand()
    while pager.store.webhooks.unplanned(1, 1):
        pager.planner.work()
        pager.turn()
        pager.hand.move(seconds=0.5)
    pager.run(120, step=1)
    minutes = (pager.hand() - start).total_seconds() / 60
    digests = sum(row["kind"] == "digest" for row in pager.rows())
    assert 1 <= digests <= minutes + 1
    assert len(told(emulator)) <= 20 + minutes
    pager.run(900, step=15)
    assert sorted(set(pager.states())) == ["accepted", "merged"]


def test_resolutions_in_a_storm_go_as_one_digest(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    names = [f"A{number}" for number in range(8)]
    storm(pager, names)
    pager.turn(3)
    assert len(told(emulator)) == 8
    pager.post_all(
        [
            webhook(alert(name, severity="warning", instance="db-1", status="resolved"), key=name)
            for name in names
        ]
    )
    pager.turn(3)
    assert len(told(emulator)) == 8, "they are collected"
    assert pager.store.outbox.held() == {"digest": 8, "credits": 0}
    assert (pager.store.outbox.queue().messages["held"], pager.store.outbox.queue().oldest) == (8, None)
    pager.run(70, step=1)
    assert [text for _, text in told(emulator)[8:]] == ["resolved 8: warning A0, A1, A2; +5 more kinds"]


def test_what_a_limit_holds_hides_nothing_that_does_not_drain(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    pager = make(**team(), limits={"credits": {"amount": 1, "per": "1d"}})
    storm(pager, ["A", "B"])
    pager.turn(2)
    assert sorted(pager.states()) == ["accepted", "held"]
    is_held = messages.c.state == "held"
    pager.store.submit(
        lambda c: c.execute(messages.update().where(is_held).values(error="it failed once"))
    ).result()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, times=None))
    pager.hand.move(minutes=2)
    assert pager.store.ledger.waiting_longest(hand(), timedelta(minutes=1)) is None
    storm(pager, ["C"], severity="critical")
    pager.turn()
    assert "429" in pager.store.ledger.waiting_longest(hand(), timedelta(minutes=1)).error


def test_resolutions_put_off_nothing_that_is_critical(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    names = [f"A{number}" for number in range(14)]
    storm(pager, names, severity="critical")
    pager.run(100)
    assert len(told(emulator)) == 14, "all that may go one by one"
    ended = [webhook(alert(name, severity="critical", status="resolved"), key=name) for name in names[:8]]
    pager.post_all(ended)
    pager.run(40)
    storm(pager, ["B", "C"], severity="critical")
    pager.run(62)
    (text,) = [text for _, text in told(emulator)[14:]]
    assert text.startswith("2 more alerts: critical B, C; resolved 8: critical A0, A1, A2")


def test_a_resolution_outside_of_a_storm_goes_at_once(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    storm(pager, ["A"])
    pager.turn()
    pager.post(webhook(alert("A", severity="warning", instance="db-1", status="resolved"), key="A"))
    pager.turn()
    assert [text.split()[0] for _, text in told(emulator)] == ["FIRING", "RESOLVED"]


def test_a_notice_that_a_limit_held_is_not_marked_late(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(notify=["alice", "bob"]), limits={"per_contact": {"messages": 1, "per": "3m"}})
    storm(pager, ["A"])
    pager.turn(2)
    pager.actions.acknowledge(pager.store.incidents.latest(1)[0].id, "bob", Via.API)
    pager.run(300, step=5)
    assert [text for who, text in told(emulator) if who == "alice"][1:] == ["bob has it: #1 A db-1"]


def test_what_is_critical_overtakes_and_waits_for_a_minute_at_most(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    storm(pager, [f"Load{n}" for n in range(40)])
    pager.turn(5)
    assert len(told(emulator)) == 10
    storm(pager, ["Disk"], severity="critical")
    pager.turn(2)
    assert told(emulator)[10][1].startswith("FIRING #41 critical Disk")  # a place was kept for it
    storm(pager, [f"Disk{n}" for n in range(5)], severity="critical")
    pager.turn(2)
    assert len(told(emulator)) == 14
    pager.run(61, step=1)
    assert told(emulator)[14][1].startswith("32 more alerts: critical Disk")


def test_a_single_one_that_waited_goes_as_it_is(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    storm(pager, [f"A{n}" for n in range(10)])
    pager.turn(5)
    storm(pager, ["B"])
    pager.turn(2)
    assert len(told(emulator)) == 10
    pager.run(65, step=1)
    assert told(emulator)[10][1].endswith(" warning B db-1 since 12:13")


def test_one_contact_in_a_storm_holds_up_no_other(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(
        contacts=CONTACTS,
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["bob"]}],
    )
    storm(pager, [f"A{n}" for n in range(300)])
    pager.turn(10)
    pager.post(webhook(alert("B"), receiver="db", key="b"))
    pager.turn()
    assert [who for who, _ in told(emulator)].count("bob") == 1


@both_engines
def test_the_reply_that_a_digest_names_takes_all_that_it_told_of(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    pager = make(ovh={"sender": ..., "sender_for_response": True}, **team(("30m", ["bob"])))
    storm(pager, [f"A{n}" for n in range(15)])
    pager.post(webhook(alert("Info", severity="info", instance="db-1"), key="info"))
    pager.turn(5)
    pager.run(65, step=1)
    text = told(emulator)[-1][1]
    assert text.startswith("6 more alerts")
    assert text.endswith("all takes all")
    pager.hand.move(seconds=5)
    emulator.emulation.reply(ALICE, "all")
    pager.hand.move(seconds=2)
    pager.listen()
    states = [incident.state.value for incident in pager.store.incidents.latest(50)]
    assert states.count("acknowledged") == 16


def test_ack_does_not_take_what_waits_unseen(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    pager = make(ovh={"sender": ..., "sender_for_response": True}, **team())
    storm(pager, [f"A{n}" for n in range(10)])
    pager.turn(5)
    storm(pager, ["X"])
    pager.turn(2)
    pager.hand.move(seconds=5)
    emulator.emulation.reply(ALICE, "ack")
    pager.hand.move(seconds=2)
    pager.listen()
    assert [one.title for one in pager.store.incidents.latest(50) if one.state == "open"] == ["X db-1"]


def test_what_waits_goes_before_it_expires(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(expire_after="3m"))
    for minute in range(12):
        storm(pager, [f"A{minute}x{n}" for n in range(3)])
        pager.run(60, step=5)
    assert "expired" not in pager.states()


def test_what_people_did_is_told_in_a_digest_too(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team(notify=["alice", "bob"]))
    storm(pager, [f"A{n}" for n in range(15)])
    pager.turn(5)
    for incident in pager.store.incidents.latest(50):
        pager.actions.acknowledge(incident.id, "alice", Via.API)
    pager.run(300, step=5)
    assert "rejected" not in pager.states()
    assert "alice has it: #" in [text for who, text in told(emulator) if who == "bob"][-1]


def test_a_digest_that_reaches_nobody_escalates_all_it_told_of(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(("10h", ["bob"])))
    storm(pager, [f"A{n}" for n in range(13)])
    pager.turn(5)
    emulator.emulation.invalid_numbers.add(ALICE)
    pager.run(70, step=1)
    assert sum(who == "bob" for who, _ in told(emulator)) == 3


def test_a_digest_stands_for_what_was_said_once_for_several_receivers(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    steps = [{"after": "10h", "notify": ["bob"]}]
    pager = make(
        contacts=CONTACTS,
        receivers=[
            {"name": "ops", "notify": ["alice"], "escalate": steps},
            {"name": "db", "notify": ["alice"], "escalate": steps},
        ],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    storm(pager, [f"A{n}" for n in range(12)])
    pager.turn(5)
    assert len(told(emulator)) == 10  # each told once for both
    emulator.emulation.invalid_numbers.add(ALICE)
    pager.run(70, step=1)
    escalated = {one.title for one in pager.store.incidents.latest(50) if one.steps_taken == 2}
    of_both = [one.receiver for one in pager.store.incidents.latest(50) if one.title in escalated]
    assert sorted(of_both) == ["db", "db", "ops", "ops"]


@both_engines
def test_ack_of_a_number_in_a_digest_takes_what_was_told_once_for_several_receivers(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    steps = [{"after": "10h", "notify": ["bob"]}]
    pager = make(
        contacts=CONTACTS,
        ovh={"sender": ..., "sender_for_response": True},
        receivers=[
            {"name": "ops", "notify": ["alice"], "escalate": steps},
            {"name": "db", "notify": ["alice"], "escalate": steps},
        ],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    pager.listen()
    storm(pager, [f"A{n}" for n in range(12)])
    pager.turn(5)
    pager.run(70, step=1)
    line = told(emulator)[-1][1].split("; ")[0]
    pager.hand.move(seconds=5)
    emulator.emulation.reply(ALICE, f"ack {line.split('#')[1].split()[0]}")
    pager.hand.move(seconds=2)
    pager.listen()
    taken = [one for one in pager.store.incidents.latest(50) if one.state == "acknowledged"]
    assert sorted(one.receiver for one in taken) == ["db", "ops"]
    assert len({one.group_key for one in taken}) == 1


def test_alike_texts_are_counted_not_told_as_one() -> None:
    assert in_full(["firing Disk", "firing Disk"], 2) is None
    assert in_full(["firing Disk 1", "firing Disk 2"], 2) == "firing Disk 1; firing Disk 2"
    assert in_full(["x" * 100, "y" * 100], 1) is None


def test_answers_cost_no_page_its_place(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    pager = make(ovh={"sender": ..., "sender_for_response": True}, **team())
    pager.listen()
    storm(pager, ["A"])
    pager.turn()
    for _ in range(5):
        pager.hand.move(seconds=2)
        emulator.emulation.reply(ALICE, "who")
        pager.hand.move(seconds=2)
        pager.listen()
        pager.turn()
    assert len(told(emulator)) == 6
    storm(pager, [f"B{n}" for n in range(9)])
    pager.turn(3)
    assert len(told(emulator)) == 15


@both_engines
def test_what_is_over_is_told_in_the_digest_too(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    storm(pager, [f"A{n}" for n in range(12)])
    pager.turn(5)
    pager.hand.move(seconds=10)
    for n in range(12):
        pager.post(over(f"A{n}", key=f"A{n}"))
    pager.turn(2)
    pager.run(600, step=5)
    assert len(told(emulator)) <= 20
    assert "resolved" in told(emulator)[-1][1]


def test_without_a_limit_all_go(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(limits={"per_contact": None}, **team())
    storm(pager, [f"A{n}" for n in range(30)])
    pager.turn(8)
    assert len(told(emulator)) == 30


def test_a_restart_forgets_nothing_of_the_limit(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    storm(pager, [f"A{n}" for n in range(30)])
    pager.turn(5)
    pager.reopen()
    pager.turn(5)
    assert len(told(emulator)) == 10
    pager.run(70, step=1)
    assert len(told(emulator)) == 11


# -- credits -----------------------------------------------------------------------------------------------


@both_engines
def test_beyond_the_credits_only_what_is_critical_goes_and_admins_are_told_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    contacts = [*CONTACTS[:1], {**CONTACTS[1], "admin": True}]
    changes = {**team(), "contacts": contacts, "limits": {"credits": {"amount": 3, "per": "10m"}}}
    pager = make(**changes)
    storm(pager, ["A", "B", "C", "D", "E"])
    pager.turn(3)
    assert [who for who, _ in told(emulator)] == ["alice"] * 3 + ["bob"]
    assert (
        told(emulator)[3][1] == "Notifier: 3 credits spent within 10m, the limit. Only critical pages go now."
    )
    storm(pager, ["F"])
    storm(pager, ["G"], severity="critical")
    pager.turn(3)
    assert [who for who, _ in told(emulator)[4:]] == ["alice"]
    assert " critical G " in told(emulator)[4][1]
    pager.run(700, step=20)
    assert [who for who, _ in told(emulator)[5:]] == ["alice"] * 3  # what was held goes when it may


def test_admins_are_told_of_the_limit_once_in_its_time(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    contacts = [*CONTACTS[:1], {**CONTACTS[1], "admin": True}]
    pager = make(**{**team(), "contacts": contacts, "limits": {"credits": {"amount": 4, "per": "10m"}}})
    for minute in range(20):
        storm(pager, [f"A{minute}x{n}" for n in range(2)])
        pager.run(60, step=10)
    assert 1 <= [who for who, _ in told(emulator)].count("bob") <= 2


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"per_contact": {"messages": 0}}, "greater than or equal to 1"),
        ({"per_contact": {"per": "0s"}}, "must be longer than 0s"),
        ({"credits": {"per": "1d"}}, 'the key "amount" is missing'),
        ({"per_receiver": 1}, 'unknown key "per_receiver"'),
    ],
)
def test_what_is_wrong_with_limits_is_said(files: Files, written: Any, expected: Any) -> None:
    from notifier.config.loading import load

    loading = load(files.write(limits=written))
    assert any(expected in problem.message for problem in loading.errors), loading.errors


def test_what_people_write_is_not_cut_off_by_a_digest(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**team())
    storm(pager, [f"Service{number:02}Unavailable" for number in range(60)])
    pager.turn(3)
    pager.actions.send("alice", "Join the bridge now")
    pager.run(1200, step=10)
    assert "Join the bridge now" in [text for _, text in told(emulator)]


def test_a_digest_counts_what_is_paged_in_a_built_in_text(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team())

    def failing(runtime: Any, webhook: Any, *rest: Any) -> Any:
        return 1 / 0 if "Broken" in webhook.alerts[0].labels["alertname"] else plan(runtime, webhook, *rest)

    monkeypatch.setattr("notifier.workers.planner.plan", failing)
    storm(pager, [f"A{number}" for number in range(20)], "warning")
    pager.turn(3)
    for number in range(3):
        pager.post(webhook(alert("Broken", severity="critical", instance=f"db-{number}"), key=f"b{number}"))
    pager.run(1200, step=5)
    texts = [text for _, text in told(emulator)]
    alone = sum("FIRING critical Broken db-" in text for text in texts)
    counted = [
        int(found[1] or 1) for text in texts if (found := re.search(r"critical Broken( \d+)?[;,]", text))
    ]
    assert alone + sum(counted) == 3


def test_a_severity_of_ones_own_is_as_urgent_as_the_configuration_says(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    own = {"severities": {"SEV1": "critical", "sev5": "info"}}
    pager = make(**team(), **{"global": own}, limits={"per_contact": {"messages": 4, "per": "10m"}})
    named = {"Low": "sev5", "Middle": "sev3", "High": "sev1", "Usual": "critical"}
    pager.post(webhook(*(alert(name, severity=of, instance="db-1") for name, of in named.items()), key="one"))
    pager.turn()
    (first,) = texts(emulator)
    assert first.index("High") < first.index("Low")
    (incident,) = pager.store.incidents.latest(9)
    assert incident.severity == "sev1"
    assert [row["urgency"] for row in pager.rows()] == [0]
    pager.post_all([webhook(alert(name, severity=of), key=name) for name, of in named.items()])
    pager.turn()
    severities = pager.current.runtime.severities
    worst = pager.store.incidents.worst((ShownState.OPEN,), 9, severities)
    assert [severities.urgency(one.severity) for one in worst] == [0, 0, 0, 2, 3]
    assert [one.severity for one in worst[3:]] == ["sev3", "sev5"]
    assert [severities.level(of) for of in ("Sev1", "sev5", "sev3", "")] == [
        "critical",
        "info",
        "warning",
        "warning",
    ]
    pager.run(300, 30)
    later = "".join(texts(emulator)[1:3])
    assert ("sev1" in later, "sev5" in later) == (True, False), "the least urgent waits for the digest"


def test_a_digest_names_the_most_urgent_first_by_the_configuration(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        **team(),
        **{"global": {"severities": {"sev5": "info"}}},
        limits={"per_contact": {"messages": 4, "per": "10m"}},
    )
    fired = [
        ("Early", "sev5"),
        *((f"Middle{n}", "sev3") for n in range(4)),
        ("Low", "sev5"),
        ("Less", "sev5"),
    ]
    pager.post_all([webhook(alert(name, severity=of, instance="db-1"), key=name) for name, of in fired])
    pager.run(900, 30)
    digest = next(text for text in texts(emulator) if "sev3" in text and "sev5" in text)
    assert digest.index("sev3") < digest.index("sev5")


def test_an_incident_takes_the_severity_of_what_joins_it_by_the_configuration(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team(), **{"global": {"severities": {"sev5": "info"}}})
    alerts = [alert("Low", severity="sev5"), alert("Less", severity="sev5"), alert("Middle", severity="sev3")]
    pager.post(webhook(alerts[0]))
    pager.turn()
    pager.hand.move(minutes=5)
    pager.post(webhook(*alerts))
    pager.turn()
    (incident,) = pager.store.incidents.latest(9)
    assert incident.severity == "sev3"
    update = texts(emulator)[-1]
    assert update.index("Middle") < update.index("Less"), "the update names the most urgent first"
