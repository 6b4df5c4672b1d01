"""Several accounts: they take turns, and stand in for each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.delivery.accounts import (
    AccountHealth,
    Paused,
    assign_accounts,
    free_slots,
    round_robin,
    unsendable,
)
from notifier.delivery.message import Job, Message
from notifier.delivery.retry import PauseReason
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.emulator.models import bad_request
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB, Files, account
from tests.support.fixtures import OTHER
from tests.support.pager import ONE, Pager, texts
from tests.support.postgres import both_engines
from tests.support.service import Running
from tests.support.webhooks import alert, webhook

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FIRST = "sms-emu12345-1"


def pages(pager: Pager, count: Any, name: Any = "db") -> None:
    pager.post_all([webhook(alert(instance=f"{name}-{n}"), key=f"{name}{n}") for n in range(count)])


# -- whose turn it is --------------------------------------------------------------------------------------


def message(number: Any, phone: Any = ALICE) -> Any:
    return Message(f"m{number}", None, "ops", "", phone, "text", 1, NOW, NOW, 0)


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 5)), st.none() | st.sampled_from("abcde"))
def test_each_gets_as_many_turns_as_it_has_room_and_none_two_while_another_waits(
    room: Any, after: Any
) -> None:
    order = round_robin(room, after)
    assert {name: order.count(name) for name in room} == room
    if order and after in room and len(room) > 1:
        assert order[0] != after
    for place, name in enumerate(order):
        before = order[:place]
        assert all(before.count(name) <= before.count(one) or before.count(one) == room[one] for one in room)


@given(
    st.lists(st.integers(1, 4), max_size=6),
    st.lists(st.sampled_from("ab"), max_size=8),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 5)),
)
def test_nobody_sends_more_than_their_rate_or_out_of_turn(sizes: Any, order: Any, free: Any) -> None:
    jobs = [Job(f"j{n}", "text", NOW, tuple(map(message, range(size)))) for n, size in enumerate(sizes)]
    found = assign_accounts(jobs, order, free)
    for name in "ab":
        own = [job for job in found if job.account == name]
        assert len(own) <= order.count(name)
        assert sum(len(job.messages) for job in own) <= free.get(name, 100)
    assert all(job.messages for job in found)
    assert [job.tag for job in found] == [job.tag for job in jobs[: len(found)]]
    if not free:
        assert len(found) == min(len(jobs), len(order))


def paused(until: Any, reason: Any = PauseReason.CREDITS) -> Any:
    return Paused(reason, "none left", until, 0)


@pytest.mark.parametrize(
    ("healths", "busy", "expected"),
    [
        ({"a": AccountHealth(), "b": AccountHealth()}, {}, {"a": 4, "b": 4}),
        ({"a": AccountHealth(), "b": AccountHealth()}, {"a": 4, "b": 1}, {"b": 3}),
        ({"a": AccountHealth(problem="no credits"), "b": AccountHealth()}, {}, {"b": 4}),
        (
            {"a": AccountHealth(problem="no credits"), "b": AccountHealth(problem="no sender")},
            {},
            {"a": 4, "b": 4},
        ),
        ({"a": AccountHealth(backs_off_until=NOW + SECOND), "b": AccountHealth()}, {}, {"b": 4}),
        ({"a": AccountHealth(backs_off_until=NOW + SECOND)}, {}, {}),
        (
            {"a": AccountHealth(rate_limited_until=NOW + SECOND), "b": AccountHealth(problem="x")},
            {},
            {"b": 4},
        ),
        (
            {"a": AccountHealth(paused=paused(NOW), backs_off_until=NOW + SECOND), "b": AccountHealth()},
            {},
            {"b": 4},
        ),
        ({"a": AccountHealth(backs_off_until=NOW), "b": AccountHealth()}, {}, {"a": 4, "b": 4}),
        ({"a": AccountHealth(held_until=NOW + SECOND), "b": AccountHealth()}, {}, {"b": 4}),
        ({"a": AccountHealth(held_until=NOW + SECOND), "b": AccountHealth(problem="x")}, {}, {"b": 4}),
        ({"a": AccountHealth(held_until=NOW + SECOND)}, {}, {}),
        ({"a": AccountHealth(paused=paused(NOW + SECOND))}, {}, {}),
        ({"a": AccountHealth(paused=paused(NOW))}, {}, {"a": 1}),
        ({"a": AccountHealth(paused=paused(NOW))}, {"a": 1}, {}),
        ({"a": AccountHealth(paused=paused(NOW)), "b": AccountHealth()}, {}, {"a": 1, "b": 4}),
        ({"a": AccountHealth(paused=paused(NOW), problem="no credits"), "b": AccountHealth()}, {}, {"b": 4}),
        (
            {"a": AccountHealth(paused=paused(NOW + timedelta(hours=1)))},
            {},
            {"a": 1},
        ),  # the clock was set back
    ],
)
def test_who_may_send_and_how_much(healths: Any, busy: Any, expected: Any) -> None:
    most = dict.fromkeys(healths, 4)
    assert free_slots(healths, most, {**dict.fromkeys(healths, 0), **busy}, NOW) == expected


def test_who_fails_is_passed_over_for_longer_each_time(make: Callable[..., Pager]) -> None:
    accounts, now, waits = make().sender.accounts, NOW, []
    for _ in range(8):
        accounts.back_off("a", now)
        accounts.back_off("a", now)  # what was under way beside it
        until = accounts.all(["a"])["a"].backs_off_until
        waits.append((until - now).total_seconds())
        now = until
    assert waits == [2, 4, 8, 10, 10, 10, 10, 10]
    accounts.resume("a")
    assert accounts.all(["a"])["a"] == AccountHealth()
    accounts.delay_until("a", NOW + timedelta(seconds=60))
    accounts.delay_until("a", NOW + SECOND)
    assert accounts.all(["a"])["a"].held_until == NOW + timedelta(seconds=60)


def test_a_trial_that_fails_puts_off_the_next_one(make: Callable[..., Pager]) -> None:
    accounts = make().sender.accounts
    accounts.pause("a", PauseReason.CREDITS, "none left", NOW)
    until = accounts.all(["a"])["a"].paused.until
    accounts.back_off("a", until)
    assert accounts.all(["a"])["a"].paused.until - until == timedelta(seconds=4)


# -- sending -----------------------------------------------------------------------------------------------


@both_engines
def test_accounts_take_turns(make: Callable[..., Pager], emulator: Emulator, other: Any) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 6)
    pager.turn()
    assert (len(texts(emulator)), len(texts(other))) == (3, 3)
    assert pager.states() == ["accepted"] * 6
    pages(pager, 1, "web")
    pager.turn()
    pages(pager, 1, "app")
    pager.turn()
    assert (len(texts(emulator)), len(texts(other))) == (4, 4)


SPOILT: dict[str, Any] = {
    "out of credits": ({"credits": 0.0}, {"credits": 100.0}),
    "disabled": ({"status": "disable"}, {"status": "enable"}),
    "key revoked": ({"is_valid_credential": False}, {"is_valid_credential": True}),
    "right missing": ({"rules": [("GET", "/*")]}, {"rules": [("*", "/*")]}),
    "sender refused": ({"senders": {"ACME": "refused"}}, {"senders": {"ACME": "enable"}}),
}


@pytest.mark.parametrize("what", SPOILT)
def test_another_account_sends_what_one_cannot(
    make: Callable[..., Pager], emulator: Emulator, other: Any, what: Any
) -> None:
    spoil, heal = SPOILT[what]
    for name, value in spoil.items():
        setattr(emulator.emulation, name, value)
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 4)
    pager.run(1)
    assert len(texts(other)) == 4
    assert pager.states() == ["accepted"] * 4
    assert pager.sender.paused is None
    for name, value in heal.items():
        setattr(emulator.emulation, name, value)
    pager.run(40)
    pages(pager, 2, "web")
    pager.run(2)
    pages(pager, 2, "app")
    pager.run(2)
    assert pager.states() == ["accepted"] * 8
    assert len(texts(emulator)) >= 2, "it is used again"


def test_another_account_sends_what_one_that_cannot_be_reached_should_have(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    emulator.stop()
    pages(pager, 4)
    pager.run(1)
    assert len(texts(other)) == 4
    pages(pager, 4, "web")
    pager.turn()
    assert pager.states() == ["accepted"] * 8, "it is passed over for a while"


def test_of_accounts_that_all_fail_each_is_tried(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    for one in (emulator, other):
        one.emulation.credits = 0.0
    pages(pager, 2)
    pager.run(5)
    assert pager.states() == ["queued"] * 2
    assert pager.sender.paused.reason is PauseReason.CREDITS
    paused = [f'notifier_sending_paused{{account="{name}",reason="credits"}}' for name in (FIRST, OTHER)]
    assert [pager.count(series) for series in paused] == [1, 1]
    other.emulation.credits = 10.0
    pager.run(35)
    assert pager.states() == ["accepted"] * 2
    assert len(texts(other)) == 2
    assert sum(pager.count(series) for series in paused) == 1
    pager.reload(ovh=[account(other)])
    pager.turn()
    assert sum(pager.count(series) for series in paused) == 0


def test_a_sender_that_no_account_may_use_keeps_pages_waiting_until_one_may(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    for one in (emulator, other):
        one.emulation.senders = {}
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 1)
    pager.run(3)
    assert pager.states() == ["queued"]
    assert pager.sender.paused.reason is PauseReason.SENDER
    other.emulation.senders = {"ACME": "enable"}
    pager.run(65)
    assert len(texts(other)) == 1


def test_what_the_watch_finds_keeps_pages_from_an_account(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    watch = pager.workers.account_monitor
    emulator.emulation.credits = 0.0
    watch.work()
    assert list(watch.problems) == [FIRST]
    before = len(emulator.requests)
    pages(pager, 2)
    pager.turn()
    assert len(texts(other)) == 2
    assert len(emulator.requests) == before, "no page is the first to find out"
    emulator.emulation.credits = 10.0
    watch.work()
    assert watch.problems == {}
    pages(pager, 2, "web")
    pager.turn()
    assert len(texts(emulator)) == 1


BUSY = {"status": 429, "headers": {"Retry-After": "2"}}


def test_what_one_account_refuses_waits_for_one_that_is_only_busy(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    emulator.emulation.senders = {}
    other.faults.add(Fault(kind=FaultKind.ERROR, **BUSY))
    pager = make(ovh=[account(other), account(emulator)])
    pages(pager, 1)
    pager.run(10)
    assert pager.states() == ["accepted"]
    assert len(texts(other)) == 1


def test_pages_that_no_account_may_send_now_do_not_stand_before_others(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    contacts = [{"name": "alice", "phone": ALICE}, {"name": "bob", "phone": BOB}]
    receivers = [{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["bob"]}]
    pager = make(
        ovh=[account(emulator), account(other)],
        contacts=contacts,
        receivers=receivers,
        limits={"per_contact": None},
    )
    emulator.emulation.invalid_numbers.add(ALICE)  # she has sent STOP
    other.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "300"}, times=None))
    pages(pager, 120)
    pager.run(20, step=2)
    assert len(texts(emulator)) == 0
    pager.post(webhook(alert("B"), receiver="db", key="b"))
    pager.run(4, step=1)
    assert [sms.receiver for sms in emulator.emulation.accepted] == [BOB]


def test_which_refusals_leave_no_account_to_send() -> None:
    assert unsendable(["a"], ["a", "b"]) == ["a", "a b"]
    assert unsendable(["a", "b"], ["a", "b", "c"]) == ["a b", "a b c"]
    assert unsendable([], ["a", "b"]) == []


def test_what_one_account_refuses_goes_by_another_against_which_something_speaks(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    emulator.emulation.senders = {}
    pager = make(ovh=[account(emulator), account(other)])
    pager.sender.accounts.note_problem(OTHER, "it was away a moment ago")
    pages(pager, 3)
    pager.run(5)
    assert pager.states() == ["accepted"] * 3
    assert len(texts(other)) == 3


@pytest.mark.parametrize(
    ("refusal", "last"),
    [
        ({"message": "[senderForResponse] is not available for this account"}, "queued"),
        ({"message": "[receivers] this account may not send to this country"}, "rejected"),
    ],
)
def test_whatever_one_account_refuses_is_tried_by_the_others(
    make: Callable[..., Pager], emulator: Emulator, other: Any, refusal: Any, last: Any
) -> None:
    fault = Fault(kind=FaultKind.ERROR, status=400, error_class="Client::BadRequest", times=None, **refusal)
    emulator.faults.add(fault)
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 2)
    pager.run(3)
    assert pager.states() == ["accepted"] * 2
    other.faults.add(fault.model_copy())
    pages(pager, 1, "web")
    pager.run(3)
    assert pager.states() == ["accepted"] * 2 + [last]


def test_a_number_that_one_account_holds_for_invalid_is_tried_by_another(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    """As when its owner has replied STOP to that account."""
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 2)
    pager.run(3)
    assert pager.states() == ["accepted"] * 2
    other.emulation.invalid_numbers.add(ALICE)
    pages(pager, 1, "web")
    pager.run(3)
    assert pager.states() == ["accepted"] * 2 + ["rejected"]


def test_a_page_does_not_wait_as_long_as_the_account_that_failed(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    other.faults.add(Fault(kind=FaultKind.ERROR, **BUSY))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "300"}))
    pager = make(ovh=[account(other), account(emulator)])
    pages(pager, 1)
    pager.run(5)
    assert pager.states() == ["accepted"]
    assert len(texts(other)) == 1


def test_an_account_that_fails_its_trials_is_left_alone(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    emulator.emulation.rules = [("GET", "/*")]
    pages(pager, 2)
    pager.run(3)
    emulator.emulation.rules = [("*", "/*")]
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE, times=None))
    before = len([one for one in emulator.requests if one[0] == "POST"])
    for second in range(60):
        pages(pager, 1, f"s{second}x")
        pager.turn()
        pager.hand.move(seconds=1)
    assert len([one for one in emulator.requests if one[0] == "POST"]) - before <= 8


# -- in doubt ----------------------------------------------------------------------------------------------


@both_engines
def test_the_account_that_may_have_taken_it_is_asked(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER, method="POST"))
    pager.post(ONE)
    pager.turn()
    assert pager.states() == ["unsettled"]
    pager.run(30)
    assert pager.states() == ["accepted"]
    assert (len(texts(emulator)), len(texts(other))) == (1, 0)
    pager.follow()
    assert pager.states() == ["delivered"]


def test_in_doubt_for_longer_than_settle_timeout_another_account_sends_it(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator, settle_timeout="1m"), account(other)])
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER, method="POST"))
    pager.post(ONE)
    pager.turn()
    emulator.stop()
    pager.run(58)
    assert texts(other) == []
    pager.run(30)
    assert len(texts(other)) == 1
    assert pager.states() == ["accepted"]
    assert pager.count("notifier_sms_resent_unsettled_total") == 1


def test_what_an_account_has_that_is_no_more_is_sent_by_another(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator, settle_timeout="1m"), account(other)])
    emulator.faults.add(Fault(kind=FaultKind.HANG_BEFORE, method="POST", seconds=5))
    pager.post(ONE)
    pager.turn()
    pager.reload(ovh=[account(other, settle_timeout="1m")])
    pager.run(90)
    assert len(texts(other)) == 1
    assert pager.states() == ["accepted"]


# -- rates -------------------------------------------------------------------------------------------------


@both_engines
def test_an_account_keeps_to_its_rate(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(ovh=[account(emulator, rate={"messages": 2, "per": "10s"})])
    pages(pager, 5)
    sent = []
    for _ in range(25):
        pager.turn()
        sent.append(len(texts(emulator)))
        pager.hand.move(seconds=1)
    assert sent == [2] * 10 + [4] * 10 + [5] * 5


def test_a_clock_that_was_ahead_does_not_use_up_a_rate(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(ovh=[account(emulator, rate={"messages": 1})])
    pager.hand.move(minutes=20)
    pages(pager, 1)
    pager.turn()
    pager.hand.move(minutes=-20)
    pages(pager, 1, "web")
    pager.run(5)
    assert pager.states() == ["accepted"] * 2


def test_a_rate_that_is_raised_holds_at_once(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(ovh=[account(emulator, rate={"messages": 1, "per": "1h"})])
    pages(pager, 1)
    pager.turn()
    pages(pager, 1, "web")
    pager.turn()
    assert "queued" in pager.states()
    pager.reload(ovh=[account(emulator, rate={"messages": 9, "per": "1h"})])
    pager.turn(2)
    assert pager.states() == ["accepted"] * 2


@pytest.mark.parametrize("engine_name", ["postgresql"])
def test_replicas_keep_to_a_rate_together(
    make: Callable[..., Pager], emulator: Emulator, engine_name: str
) -> None:
    rated = [account(emulator, rate={"messages": 3, "per": "10s"})]
    first, second = make(ovh=rated), make(ovh=rated)
    pages(first, 8)
    for _ in range(3):
        first.turn()
        second.turn()
    assert len(texts(emulator)) == 3
    first.hand.move(seconds=10)
    second.turn()
    first.turn()
    assert len(texts(emulator)) == 6


def test_what_is_beyond_the_rate_of_one_goes_by_another(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator, rate={"messages": 1}), account(other)])
    pages(pager, 4)
    pager.turn(2)
    assert (len(texts(emulator)), len(texts(other))) == (1, 3)


def test_a_text_to_more_people_than_the_rate_allows_goes_in_parts(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    numbers = [f"+3363998{n:04}" for n in range(5)]
    pager = make(
        ovh=[account(emulator, rate={"messages": 2, "per": "1m"})],
        receivers=[{"name": "ops", "notify": numbers}],
    )
    pager.post(ONE)
    pager.turn()
    assert len(texts(emulator)) == 2
    pager.run(125, step=5)
    assert sorted(sms.receiver for sms in emulator.emulation.accepted) == numbers


# -- following up ------------------------------------------------------------------------------------------


@both_engines
def test_receipts_are_asked_of_the_account_that_sent(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    """Both number their messages alike."""
    other.emulation.receipts[ALICE] = (2, 23)
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 2)
    pager.turn()
    assert [row["ovh_id"] for row in pager.rows()] == [100_000_001] * 2
    pager.follow()
    assert sorted(pager.states()) == ["delivered", "undelivered"]


def test_an_account_that_cannot_be_asked_does_not_hold_up_the_receipts_of_another(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 2)
    pager.turn()
    emulator.emulation.is_valid_credential = False
    pager.follow()
    assert sorted(pager.states()) == ["accepted", "delivered"]
    emulator.emulation.is_valid_credential = True
    pager.hand.move(seconds=31)
    pager.follow()
    assert pager.states() == ["delivered"] * 2


def test_receipts_of_an_account_that_is_no_more_are_given_up_in_the_end(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 2)
    pager.turn()
    pager.reload(ovh=[account(other)])
    pager.follow()
    assert sorted(pager.states()) == ["accepted", "delivered"]
    pager.hand.move(hours=80)
    pager.follow()
    (lost,) = [row for row in pager.rows() if row["state"] == "accepted"]
    assert (lost["receipt_due_at"], lost["error"]) == (None, "no receipt came")


@both_engines
def test_replies_are_read_from_every_account(
    make: Callable[..., Pager], emulator: Emulator, other: Any, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both number their replies alike."""
    for one in (emulator, other):
        one.emulation.clock = lambda: hand().timestamp()
    monkeypatch.setattr("notifier.ovh.client.time.time", lambda: hand().timestamp())
    taking = {"sender": ..., "sender_for_response": True}
    made = [{k: v for k, v in account(one, **taking).items() if v is not ...} for one in (emulator, other)]
    pager = make(
        ovh=made,
        receivers=[{"name": "ops", "notify": ["alice", "bob"], "tell_others": False}],
    )
    pages(pager, 2)
    pager.turn()
    numbers = [incident.number for incident in pager.store.incidents.latest(10)]
    hand.move(seconds=5)
    emulator.emulation.reply(ALICE, f"ack {numbers[0]}")
    other.emulation.reply(BOB, f"ack {numbers[1]}")
    pager.hand.move(seconds=15)
    pager.listen()
    assert pager.count('notifier_acknowledgements_total{via="sms"}') == 2
    emulator.emulation.is_valid_credential = False
    pager.post(webhook(alert(instance="db-9"), key="9"))
    pager.turn(2)
    pager.hand.move(seconds=5)
    other.emulation.reply(ALICE, "ack")
    pager.hand.move(seconds=15)
    pager.listen()
    assert pager.count('notifier_acknowledgements_total{via="sms"}') == 3


# -- seen from outside -------------------------------------------------------------------------------------


def test_readiness_says_which_account_does_not_send(
    files: Files, run: Callable[..., Running], emulator: Emulator, other: Any
) -> None:
    emulator.emulation.credits = 0.0
    running = run(files.write(ovh=[account(emulator), account(other)]))
    running.service.workers.account_monitor.work()
    answer = running.get("/-/ready")
    assert f"warning: {FIRST}: the account {FIRST} has no credits left" in answer
    assert "warning: the other accounts send instead" in answer
    other.emulation.credits = 0.0
    running.service.workers.account_monitor.work()
    answer = running.get("/-/ready")
    assert f"{OTHER}: the account" in answer
    assert "send instead" not in answer


def test_each_account_may_call_back_with_its_own_secret(
    files: Files, run: Callable[..., Running], emulator: Emulator, other: Any
) -> None:
    secrets = ("first-secret-of-all", "second-secret-of-all")
    made = [account(e, callback_secret=s) for e, s in zip((emulator, other), secrets, strict=True)]
    running = run(files.write(ovh=made))
    assert [running.get(f"/ovh/receipt/{secret}") for secret in (*secrets, "neither")] == [
        "ok",
        "ok",
        "Not Found",
    ]


def test_the_story_tells_which_account_was_tried(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    emulator.emulation.credits = 0.0
    pager.post(ONE)
    pager.run(1)
    (row,) = pager.rows()
    details = pager.store.ledger.details(row["id"])
    assert [one.account for one in details.attempts] == [FIRST, OTHER]


def test_jobs_of_an_account_without_a_name_are_found_by_one_with_a_name(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER, method="POST"))
    pager.post(ONE)
    pager.turn()
    pager.reload(ovh=account(emulator))
    pager.run(30)
    pager.follow()
    assert pager.states() == ["delivered"]
    assert len(texts(emulator)) == 1


def nameless(emulator: Emulator, **more: Any) -> Any:
    return {key: value for key, value in account(emulator, **more).items() if key != "service_name"}


@pytest.mark.parametrize("is_first", [True, False])
def test_what_was_sent_without_a_name_is_looked_for_at_its_own_account(
    make: Callable[..., Pager], emulator: Emulator, other: Any, is_first: Any
) -> None:
    """One account that grows into a list, at either end of it."""
    pager = make(ovh=nameless(emulator))
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    pager.post(ONE)
    pager.turn()
    both = [account(emulator), account(other)]
    pager.reload(ovh=both if is_first else both[::-1])
    pager.run(60)
    assert pager.states() == ["accepted"]
    assert (len(texts(emulator)), len(texts(other))) == (1, 0)
    other.emulation.receipts[ALICE] = (2, 23)
    pager.follow()
    assert pager.states() == ["delivered"]


def test_another_account_that_has_no_name_is_not_taken_for_the_one_that_is_gone(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    pager = make(ovh=[account(emulator, settle_timeout="1m")])
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    pager.post(ONE)
    pager.turn()
    pager.reload(ovh=nameless(other, settle_timeout="1m"))
    pager.current.runtime.api.service_name()  # as the watch does first
    pager.run(30)
    assert pager.states() == ["unsettled"], "it is not known that it was not taken"
    pager.run(60)
    assert pager.count("notifier_sms_resent_unsettled_total") == 1


def test_a_reply_counts_once_though_the_account_gets_a_name(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.emulation.clock = lambda: hand().timestamp()
    monkeypatch.setattr("notifier.ovh.client.time.time", lambda: hand().timestamp())
    steps = [{"after": "10m", "notify": ["bob"]}, {"after": "10m", "notify": ["+33639980003"]}]

    def taking(make_one: Any) -> Any:
        made = make_one(emulator, sender_for_response=True)
        del made["sender"]
        return [made]

    pager = make(ovh=taking(account), receivers=[{"name": "ops", "notify": ["alice"], "escalate": steps}])
    pager.post(ONE)
    pager.turn()
    pager.listen()
    hand.move(seconds=5)
    emulator.emulation.reply(ALICE, "next")
    for configured in (account, nameless, account):
        pager.reload(
            ovh=taking(configured), receivers=[{"name": "ops", "notify": ["alice"], "escalate": steps}]
        )
        hand.move(seconds=20)
        pager.listen()
        pager.turn()
    assert sorted({sms.receiver for sms in emulator.emulation.accepted}) == [ALICE, BOB]


def test_a_job_keeps_its_account_when_it_is_split(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    numbers = [f"+3363998{n:04}" for n in range(4)]
    take = emulator.emulation.send

    def refusing(body: Any, virtual_number: Any = None) -> Any:
        if numbers[1] in body.get("receivers", ()):
            raise bad_request("[receivers] is not valid")
        return take(body, virtual_number)

    emulator.emulation.send = refusing
    pager = make(ovh=[account(emulator), account(other)], receivers=[{"name": "ops", "notify": numbers}])
    pager.post(ONE)
    pager.run(2)
    assert pager.states() == ["accepted"] * 4
    assert [sms.receiver for sms in other.emulation.accepted] == [numbers[1]]


def test_ids_are_of_their_account(make: Callable[..., Pager], emulator: Emulator, other: Any) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    pages(pager, 1)
    pager.turn()
    (id_,) = [sms.id for sms in emulator.emulation.accepted]
    assert pager.store.jobs.accepted_ids([id_], FIRST) == {id_}
    assert pager.store.jobs.accepted_ids([id_], OTHER) == set()


# -- commands ----------------------------------------------------------------------------------------------


def notifier(*arguments: Any) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_commands_ask_each_account(files: Files, emulator: Emulator, other: Any) -> None:
    other.emulation.credits = 0.0
    file = files.write(ovh=[account(emulator), account(other)])
    checked = notifier("check", "--config", file, "--online")
    assert checked.exit_code == 1
    assert f"ok: {FIRST}: credits: 1000 left" in checked.output
    assert f"FAILED: {OTHER}: credits: 0 left; buy some" in checked.output
    told = json.loads(notifier("ovh", "account", "--config", file, "--output", "json").output)
    assert [one["service_name"] for one in told] == [FIRST, OTHER]
    emulator.emulation.is_valid_credential = False
    told = notifier("ovh", "account", "--config", file)
    assert told.exit_code == 1
    assert f"{OTHER}: status enable, credits left 0" in told.output
    assert f"{FIRST}: OVHcloud cannot be asked: 403" in told.stderr


def test_a_test_message_goes_by_the_account_that_is_named(
    files: Files, emulator: Emulator, other: Any
) -> None:
    file = files.write(ovh=[account(emulator), account(other)])
    assert notifier("send", "--config", file, "--to", "alice", "--account", OTHER, "hello").exit_code == 0
    assert notifier("send", "--config", file, "--to", "alice", "hello").exit_code == 0
    assert (len(texts(emulator)), len(texts(other))) == (1, 1)
    wrong = notifier("send", "--config", file, "--to", "alice", "--account", "sms-x", "hello")
    assert f'there is no account "sms-x" under ovh; known are {FIRST}, {OTHER}' in wrong.stderr


def test_a_key_is_obtained_for_the_account_that_is_named(
    files: Files, emulator: Emulator, other: Any
) -> None:
    made = [{**account(one), "consumer_key_file": f"key-{n}"} for n, one in enumerate((emulator, other))]
    for one in made:
        del one["consumer_key"]
    file = files.write(ovh=made)
    result = notifier("ovh", "login", "--config", file, "--account", OTHER)
    assert result.exit_code == 0, result.output
    assert (files.directory / "key-1").read_text() == "emulator-consumer\n"
    assert not (files.directory / "key-0").exists()
    wrong = notifier("ovh", "login", "--config", file, "--account", "sms-x")
    assert f'there is no account "sms-x"; known are {FIRST}, {OTHER}' in wrong.stderr


def test_what_one_account_refused_is_tried_again_when_the_accounts_are_changed(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    """Else a page waits for ever if the only account left refused it before it was mended."""
    senders, emulator.emulation.senders = emulator.emulation.senders, {}
    other.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "300"}, times=None))
    pager = make(ovh=[account(emulator), account(other)])
    pager.post(webhook(alert("A", severity="critical"), key="a"))
    pager.run(5)
    assert emulator.emulation.accepted == []
    emulator.emulation.senders = senders
    pager.reload(ovh=[account(emulator)])
    pager.run(10)
    assert [sms.receiver for sms in emulator.emulation.accepted] == [ALICE]


def test_what_one_account_refuses_for_its_content_another_may_send(
    make: Callable[..., Pager], emulator: Emulator, other: Any
) -> None:
    spam = {"status": 400, "error_class": "Client::BadRequest", "message": "message identified as spam"}
    emulator.faults.add(Fault(kind=FaultKind.ERROR, times=None, **spam))
    pager = make(ovh=[account(emulator), account(other)], limits={"per_contact": None})
    for number in range(6):
        pager.post(webhook(alert(f"A{number}", severity="critical"), key=str(number)))
    pager.turn(12)
    assert len(other.emulation.accepted) == 6
    assert set(pager.states()) == {"accepted"}
