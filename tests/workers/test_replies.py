"""Receipts and replies, through the emulator over real HTTP, with time moved by hand."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

import pytest
import requests

from notifier.alertmanager.api import AlertmanagerApi
from notifier.alertmanager.silences import SilenceRefused, make_silences, matchers_of
from notifier.clock import elapsed
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.lifecycle import IncidentState
from notifier.incidents.reply_codes import MAX_WRONG, hide_codes, reply_code
from notifier.store.schema import replies
from notifier.workers.actions import Via
from notifier.workers.receipts import GIVE_UP, next_look
from notifier.workers.replies import MAX_ANSWERS
from tests.support.alertmanager import members
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB, Files
from tests.support.pager import Pager
from tests.support.postgres import both_engines
from tests.support.processes import wait_for
from tests.support.service import Phones, Running
from tests.support.team import CAROL, firing, later, over, team, the_incident, told
from tests.support.webhooks import alert, webhook


@pytest.fixture
def answering(make: Callable[..., Pager], by_hand: None) -> Any:
    """Make a pager to which people can reply."""

    def making(**changes: Any) -> Any:
        may = ["ack", "close", "next", "who", *(["mute"] if "alertmanager" in changes else [])]
        replies = {"poll_interval": "5s", "may": may, **changes.pop("replies", {})}
        ovh = {"sender": ..., "sender_for_response": True, "replies": replies}
        ovh |= changes.pop("ovh", {})
        pager = make(ovh=ovh, **changes)
        pager.listen()
        return pager

    return making


def reply(pager: Pager, emulator: Emulator, phone: Any, text: Any, seconds: Any = 10) -> None:
    pager.hand.move(seconds=seconds)
    emulator.emulation.reply(phone, text)
    pager.hand.move(seconds=1)
    pager.listen()
    pager.turn()


def outcomes(pager: Pager) -> Any:
    with pager.store.reading() as connection:
        return [row.outcome for row in connection.execute(replies.select().order_by(replies.c.id))]


def said_to(emulator: Emulator, phone: Any, start: Any = 0) -> Any:
    return [sms.message for sms in emulator.emulation.accepted[start:] if sms.receiver == phone]


# -- replies -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1", "ack", "ACK 1", "ok", "Ok!", "#1 ok"])
def test_a_reply_acknowledges(answering: Callable[..., Pager], emulator: Emulator, text: Any) -> None:
    pager = answering(**team(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, text)
    incident = the_incident(pager)
    assert (incident.state, incident.acknowledged_by, incident.acknowledged_via) == (
        "acknowledged",
        "alice",
        "sms",
    )
    replied = pager.store.replies.last_of_contacts(incident.opened_at, pager.hand())
    assert replied == {"alice": pager.hand() - timedelta(seconds=1)}
    assert pager.store.replies.last_of_contacts(pager.hand(), pager.hand()) == {}, (
        "the page tells those since"
    )
    pager.run(900, step=30)
    assert told(emulator)[1:] == [("alice", "You have #1 A db-1.")], "no command is carried out silently"
    assert pager.count('notifier_acknowledgements_total{via="sms"}') == 1


def test_the_others_are_told_who_has_it(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, BOB, "ok")
    assert sorted(told(emulator)[2:]) == [("alice", "bob has it: #1 A db-1"), ("bob", "You have #1 A db-1.")]


def test_a_stranger_changes_nothing_and_is_told_nothing(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, "+33639989999", "ack 1")
    assert the_incident(pager).state == "open"
    assert outcomes(pager) == ["stranger"]
    assert len(told(emulator)) == 1


@both_engines
def test_ack_without_a_number_means_the_most_severe_that_are_open(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    severities = {"A": "critical", "B": "warning", "C": "critical", "D": "critical", "E": "info"}
    for name, severity in severities.items():
        later(pager, webhook(alert(name, severity=severity), key=name), seconds=30)
    later(pager, webhook(alert("D", severity="critical", status="resolved"), key="D"), seconds=30)
    reply(pager, emulator, ALICE, "ack")
    assert {i.title: i.state.value for i in pager.store.incidents.latest(9)} == {
        "A": "acknowledged", "B": "open", "C": "acknowledged", "D": "resolved", "E": "open",
    }  # fmt: skip
    assert (
        said_to(emulator, ALICE)[-1] == "You have 2: #3 #1. Open: 1 warning, 1 info. Reply all for the rest."
    )
    reply(pager, emulator, ALICE, "ack", seconds=20)
    assert said_to(emulator, ALICE)[-1] == "You have #2 B. Open: 1 info. Reply all for the rest."


@pytest.mark.parametrize("text", ["all", "ack all", "ALL", "tout", "ok tout"])
def test_all_acknowledges_everything_that_the_sender_was_paged_for(
    answering: Callable[..., Pager], emulator: Emulator, text: Any
) -> None:
    limit = {"per_contact": {"messages": 3, "per": "10m"}}
    pager = answering(**{**team(), "limits": limit})
    for number in range(12):
        pager.post(
            webhook(alert(f"W{number}", severity="warning" if number % 2 else "critical"), key=str(number))
        )
    pager.run(90, step=5)
    assert any("all takes" in said for said in said_to(emulator, ALICE)), "most of it came in a digest"
    reply(pager, emulator, ALICE, text)
    assert {one.state.value for one in pager.store.incidents.latest(20)} == {"acknowledged"}
    assert said_to(emulator, ALICE)[-1].startswith("You have 12: #")


def test_help_is_always_given_to_who_asks_for_it(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    for text in ("what?", "help", "help", "aide", "?"):
        reply(pager, emulator, ALICE, text)
    assert len(said_to(emulator, ALICE)) == 1 + 5


def test_commands_are_confirmed_beyond_the_limit_for_answers(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    for number in range(9):
        later(pager, firing(f"A{number}", key=str(number)), seconds=5)
        reply(pager, emulator, ALICE, str(number + 1), seconds=1)
    confirmed = [said for said in said_to(emulator, ALICE) if said.startswith("You have")]
    assert len(confirmed) == 9


def test_a_reply_that_the_network_delivers_twice_counts_once(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(("5m", ["bob"]), ("5m", ["carol"])))
    later(pager, firing("A", key="a"), seconds=1)
    later(pager, webhook(alert("W", severity="warning"), key="w"), seconds=5)
    emulator.emulation.reply(ALICE, "ack")
    emulator.emulation.reply(ALICE, "ack")
    pager.hand.move(seconds=10)
    pager.listen()
    assert outcomes(pager) == ["done", "repeated"]
    assert {i.title: i.state.value for i in pager.store.incidents.latest(9)} == {
        "A db-1": "acknowledged",
        "W": "open",
    }


@pytest.mark.parametrize(("pause", "outcome"), [(10, "repeated"), (40, "done")])
def test_the_same_words_again_count_once_unless_the_answer_was_read(
    answering: Callable[..., Pager], emulator: Emulator, pause: Any, outcome: Any
) -> None:
    pager = answering(**team(("5m", ["bob"]), ("5m", ["carol"])))
    later(pager, firing("A", key="a"), seconds=1)
    later(pager, webhook(alert("W", severity="warning"), key="w"), seconds=5)
    reply(pager, emulator, ALICE, "ack")
    assert said_to(emulator, ALICE)[-1] == "You have #1 A db-1. Open: 1 warning. Reply all for the rest."
    reply(pager, emulator, ALICE, "ack", seconds=pause)
    assert outcomes(pager) == ["done", outcome]
    if outcome == "repeated":
        said = "Received twice, counted once. Open: 1 warning. Reply all for the rest."
        assert said_to(emulator, ALICE)[-1] == said


def test_the_same_words_about_a_page_that_came_in_between_count(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(("5m", ["bob"])))
    later(pager, firing("A", key="a"), seconds=1)
    emulator.emulation.reply(ALICE, "ack")
    later(pager, firing("B", key="b"), seconds=5)
    pager.hand.move(seconds=20)
    emulator.emulation.reply(ALICE, "ack")
    pager.listen()
    assert outcomes(pager) == ["done", "done"]
    assert {i.state.value for i in pager.store.incidents.latest(9)} == {"acknowledged"}


def test_the_same_words_again_take_nothing_that_cannot_have_been_read(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(("5m", ["bob"])))
    later(pager, firing("A", key="a"), seconds=1)
    reply(pager, emulator, ALICE, "ok")
    later(pager, firing("B", key="b"), seconds=18)
    reply(pager, emulator, ALICE, "ok", seconds=1)
    assert {i.title: i.state.value for i in pager.store.incidents.latest(9)} == {
        "A db-1": "acknowledged",
        "B db-1": "open",
    }


def test_replies_that_are_not_taken_any_more_are_reported_no_longer(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    emulator.emulation.rules = [("POST", "/*")]
    pager.listen()
    assert "no replies could be read" in pager.replies.failure(elapsed() + 60)
    pager.reload(**team())
    pager.listen()
    assert pager.replies.failure(elapsed() + 60) is None


def test_a_reply_that_is_carried_out_in_part_counts_once_as_well(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(("5m", ["bob"]), ("5m", ["carol"])))
    later(pager, firing("A", key="a"), seconds=1)
    later(pager, firing("B", key="b"), seconds=1)
    later(pager, over("B", key="b"), seconds=1)
    for _ in range(2):
        emulator.emulation.reply(ALICE, "next 1 2")
    pager.hand.move(seconds=10)
    pager.listen()
    assert outcomes(pager) == ["done", "repeated"]


def test_a_new_number_finds_the_open_pages_of_its_owner(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    contacts = [{"name": "alice", "phone": "+33639980009"}, *team()["contacts"][1:]]
    ovh = {"sender": ..., "sender_for_response": True, "replies": {"poll_interval": "5s"}}
    pager.reload(**{**team(), "contacts": contacts, "ovh": ovh})
    reply(pager, emulator, "+33639980009", "ack")
    assert the_incident(pager).acknowledged_by == "alice"


def test_a_reply_to_another_installation_on_the_same_account_is_left_to_it(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    emulator.emulation.send(
        {"message": "of another", "receivers": [ALICE], "sender": "ACME", "tag": "other-tag"}
    )
    reply(pager, emulator, ALICE, "ack")
    reply(pager, emulator, ALICE, "gibberish")
    assert outcomes(pager) == ["to another installation"] * 2
    assert the_incident(pager).state == "open"
    assert said_to(emulator, ALICE)[2:] == []


def test_close_resolves_what_alertmanager_does_not(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "close")
    assert the_incident(pager).state == "open", "without a number it is not understood"
    reply(pager, emulator, ALICE, "close 1")
    assert the_incident(pager).state == "resolved"
    assert sorted(told(emulator)[3:]) == [("alice", "#1 is closed."), ("bob", "alice closed #1 A db-1")]
    pager.run(3600, step=60)
    assert len(told(emulator)) == 5


def test_ack_means_what_that_person_was_paged_for(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(
        contacts=team()["contacts"],
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["bob"]}],
    )
    pager.post(firing("A", key="1"))
    pager.turn()
    pager.hand.move(seconds=5)
    pager.post(firing("B", key="2", receiver="db"))
    pager.turn()
    reply(pager, emulator, ALICE, "ok")
    assert [(i.number, i.acknowledged_by) for i in pager.store.incidents.latest(9)] == [
        (2, None),
        (1, "alice"),
    ]
    reply(pager, emulator, CAROL, "ok")
    assert said_to(emulator, CAROL) == [], (
        "she was sent nothing that she could mean: it is for another installation"
    )


def test_a_reply_older_than_the_page_does_not_acknowledge_it(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(minutes=1)
    emulator.emulation.reply(ALICE, "ok")  # not read before the next opens
    pager.hand.move(minutes=1)
    pager.post(over("A"))
    pager.post(firing("B", key="2"))
    pager.turn(2)
    pager.listen()
    assert [i.state.value for i in pager.store.incidents.latest(9)] == ["open", "resolved"]


def test_next_escalates_at_once(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team(("1h", ["bob"]), ("1h", ["carol"])))
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "next")
    reply(pager, emulator, BOB, "1 next")
    reply(pager, emulator, CAROL, "next")
    assert [who for who, text in told(emulator) if text.startswith(("FIRING", "ESCALATED"))] == [
        "alice",
        "bob",
        "carol",
    ]
    assert told(emulator)[-1] == ("carol", "#1: nobody further to page.")


def test_who_is_answered_with_who_is_on_call(answering: Callable[..., Pager], emulator: Emulator) -> None:
    rotation = {"start": "2026-11-20T09:00", "every": "1d", "contacts": ["alice", "bob"]}
    pager = answering(
        schedules=[
            {"name": "rota", "rotations": [rotation]},
            {"name": "db", "rotations": [{**rotation, "start": "2030-01-01T09:00"}]},
        ],
        **team(),
    )
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "Who?")
    assert said_to(emulator, ALICE)[1:] == ["On call: rota alice until 23/11 09:00, db nobody"]


def test_what_is_over_or_unknown_is_answered(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    pager.post(firing("B", key="2"))
    pager.turn()
    later = len(told(emulator))
    pager.hand.move(seconds=10)
    pager.post(over("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "1")
    reply(pager, emulator, ALICE, "99")
    assert said_to(emulator, ALICE, later + 1) == ["#1 is resolved already.", "No open incident #99."]


def test_help_comes_at_most_once_an_hour(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    for text in ("what?", "a" * 10_000, "hello"):
        reply(pager, emulator, ALICE, text)
    assert said_to(emulator, ALICE)[1:] == [
        "Reply: ack, all, next, who, or with a number: 7, 7 next, close 7."
    ]
    reply(pager, emulator, ALICE, "and now?", seconds=3600)
    assert len(said_to(emulator, ALICE)) == 3
    with pager.store.reading() as connection:
        assert max(len(row.text) for row in connection.execute(replies.select())) == 1000


def test_ten_replies_a_second_cost_few_answers(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    for _ in range(250):
        emulator.emulation.reply(ALICE, "who")
        pager.hand.move(seconds=0.1)
    pager.listen()
    pager.turn(20)
    assert len(outcomes(pager)) == 250
    assert sum(row["kind"] == "answer" for row in pager.rows()) == MAX_ANSWERS


def test_one_reply_gets_few_answers(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "ack 901 902 903 904 905")
    assert sorted(said_to(emulator, ALICE)[1:]) == ["No open incident #901.", "No open incident #902."]


def test_replies_are_read_once_and_seldom_while_nothing_is_open(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.hand.move(minutes=16)
    pager.listen()
    emulator.requests.clear()
    pager.hand.move(seconds=55)
    pager.listen()
    assert emulator.requests == []
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "next")
    for _ in range(3):
        pager.listen()
    assert outcomes(pager) == ["nobody further"]
    pager.post(over("A"))
    pager.turn()
    pager.listen()
    pager.hand.move(minutes=60)
    pager.listen()
    emulator.requests.clear()
    pager.hand.move(seconds=50)
    pager.listen()
    assert emulator.requests == []
    reply(pager, emulator, ALICE, "who")
    assert said_to(emulator, ALICE)[-1].startswith("On call:")
    emulator.emulation.reply(ALICE, "who")
    pager.replies.hint()
    pager.listen()
    assert outcomes(pager) == ["nobody further", "who", "who"]


@both_engines
def test_half_an_emoji_holds_up_no_reply(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    emulator.emulation.reply("+33639980009", "no \ud83d\0")
    reply(pager, emulator, ALICE, "ack 1")
    assert the_incident(pager).acknowledged_by == "alice"
    assert outcomes(pager) == ["stranger", "done"]


def test_a_clock_that_is_wrong_hides_no_reply(
    answering: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    for minutes in (15, -15):
        emulator.emulation.clock = partial(lambda minutes: hand().timestamp() - 60 * minutes, minutes)
        pager.current.runtime.api.forget_clock()
        pager.current.runtime.api.refresh_clock()
        pager.listen()
        reply(pager, emulator, ALICE, "who")
    assert outcomes(pager) == ["who", "who"]


def test_a_number_means_nothing_that_came_after_the_reply(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    emulator.emulation.reply(ALICE, "1")
    pager.hand.move(seconds=30)
    pager.post(firing("A"))
    pager.turn()
    pager.listen()
    assert the_incident(pager).state == "open"
    assert outcomes(pager) == ["no_incident"]


def test_an_old_reply_is_not_answered(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.hand.move(hours=1)
    emulator.emulation.reply(ALICE, "ok thanks all good")
    pager.hand.move(hours=45)
    pager.post(firing("A"))
    pager.turn()
    pager.listen()
    pager.turn()
    assert len(said_to(emulator, ALICE)) == 1


def test_ack_takes_all_of_the_highest_severity_and_says_so(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    for name in "AB":
        later(pager, firing(name, key=name), minutes=1)
    reply(pager, emulator, ALICE, "ack")
    assert said_to(emulator, ALICE)[-1] == "You have 2: #2 #1."
    assert {one.state for one in pager.store.incidents.latest(9)} == {"acknowledged"}


def test_a_polite_ok_takes_nothing_from_whoever_has_it(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "ack")
    reply(pager, emulator, BOB, "ok")
    assert the_incident(pager).acknowledged_by == "alice"
    assert said_to(emulator, BOB)[-1] == "alice has #1 already. To take it over: take 1"
    reply(pager, emulator, BOB, "take 1")
    assert the_incident(pager).acknowledged_by == "bob"
    assert said_to(emulator, ALICE)[-1] == "bob has it: #1 A db-1"


@pytest.mark.parametrize("words", ["1", "1 next", "close 1"])
def test_whoever_was_not_paged_may_not_act_unless_any_contact_may(
    answering: Callable[..., Pager], emulator: Emulator, words: Any
) -> None:
    pager = answering(**team(("1h", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(seconds=60)
    emulator.emulation.reply(BOB, words)
    pager.listen()
    assert outcomes(pager) == ["not paged"]
    assert the_incident(pager).state is IncidentState.OPEN
    other = answering(
        storage={"url": "sqlite:///other.db"}, replies={"any_contact": True}, **team(("1h", ["bob"]))
    )
    other.post(firing("A"))
    other.turn()
    reply(other, emulator, BOB, words)
    assert outcomes(other)[-1] == "done"


@pytest.mark.parametrize("words", ["mute 1 2h", "who", "1 next", "close 1", "ok"])
def test_what_replies_may_do_can_be_chosen(
    answering: Callable[..., Pager], emulator: Emulator, words: Any
) -> None:
    pager = answering(replies={"may": ["mute"]}, **team(("1h", ["bob"])))
    if words.startswith("mute"):
        pager = answering(storage={"url": "sqlite:///other.db"}, **team(("1h", ["bob"])))  # not by default
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, words)
    assert outcomes(pager) == ["not allowed"]
    assert said_to(emulator, ALICE)[-1] == "That cannot be done by SMS here."
    assert the_incident(pager).state is IncidentState.OPEN


@pytest.mark.parametrize(
    "sender", ["DK33639980001", "+33-6-39-98-00-01x", "Alert33639980001", "+33 639980001", "٠٠٣٣٦٣٩٩٨٠٠٠١"]
)
def test_only_a_number_is_a_sender(answering: Callable[..., Pager], emulator: Emulator, sender: Any) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, sender, "ok")
    assert outcomes(pager) == ["stranger"]
    assert the_incident(pager).state is IncidentState.OPEN
    reply(pager, emulator, "0033639980001", "ok")
    assert the_incident(pager).acknowledged_by == "alice"


def code_of(text: Any) -> Any:
    return re.search(r"#\d+([A-Z]{2})", text)[1]


def test_reply_codes_are_shown_to_nobody(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    running = run(
        files.write(ovh={"sender": ..., "sender_for_response": True, "replies": {"require_code": True}})
    )
    running.post(webhook(alert("A")))
    code = re.search(r"#1([A-Z]{2})", phones.wait(1)[0].message)[1]
    (message,) = json.loads(running.get("/api/v1/messages"))["items"]
    wait_for(
        lambda: json.loads(running.get(f"/api/v1/messages/{message['id']}"))["tries"],
        "it does not come to pass",
        seconds=20,
    )
    for path in (
        "/messages",
        "/incidents/1",
        "/api/v1/messages",
        f"/api/v1/messages/{message['id']}",
        "/api/v1/incidents/1",
    ):
        shown = running.get(path)
        assert "#1·· " in shown or "#1\\u00b7\\u00b7 " in shown, path
        assert f"#1{code}" not in shown, path


def test_the_code_of_the_day_before_is_hidden_as_well() -> None:
    """A digest that is sent after midnight may quote a page of the evening, whose code is still good."""
    key, midnight = b"key", datetime(2026, 11, 23, tzinfo=UTC)
    old, new = (reply_code(key, ALICE, midnight + timedelta(hours=hours)) for hours in (-1, 1))
    text = f"FIRING #1{old} A; FIRING #2{new} B"
    assert old != new
    assert hide_codes(text, key, ALICE, [midnight + timedelta(hours=1)]) == "FIRING #1·· A; FIRING #2·· B"


def test_with_require_code_a_reply_must_hold_the_letters_of_the_page(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(replies={"require_code": True}, **team(("1h", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    page = said_to(emulator, ALICE)[0]
    code = code_of(page)
    assert page.startswith(f"FIRING #1{code} ")
    wrong = "ZZ" if code != "ZZ" else "XX"
    for words in ("ok", "1", "take 1", "all", "1 next", "close 1", f"1{wrong}", f"ok {wrong}"):
        reply(pager, emulator, ALICE, words)
        assert the_incident(pager).state is IncidentState.OPEN, words
    assert set(outcomes(pager)) == {"without the code"}
    assert said_to(emulator, ALICE)[-1].startswith("Nothing was done: add the two letters")
    reply(pager, emulator, ALICE, "who")  # it tells its owner nothing that another could use
    reply(pager, emulator, ALICE, f"#1{code.lower()} ok")
    assert the_incident(pager).acknowledged_by == "alice"
    assert said_to(emulator, ALICE)[-1] == "You have #1 A db-1."


def test_a_reply_may_not_hold_guesses(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(replies={"require_code": True}, **team())
    pager.post(firing("A"))
    pager.turn()
    code = code_of(said_to(emulator, ALICE)[0])
    reply(pager, emulator, ALICE, f"1 ok {code} " + ("BC" if code != "BC" else "BD"))
    assert outcomes(pager) == ["without the code"]
    assert the_incident(pager).state is IncidentState.OPEN


@pytest.mark.parametrize("form", ["1{}", "#1{}", "1 {}", "ok {}", "all {}", "take 1{}", "1{} ok!"])
def test_the_letters_may_stand_anywhere(
    answering: Callable[..., Pager], emulator: Emulator, form: Any
) -> None:
    pager = answering(replies={"require_code": True}, **team())
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, form.format(code_of(said_to(emulator, ALICE)[0])))
    assert the_incident(pager).acknowledged_by == "alice"


def test_the_letters_of_one_are_not_those_of_another_and_cannot_be_guessed_for_long(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(replies={"require_code": True}, **team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    alices, bobs = (code_of(said_to(emulator, phone)[0]) for phone in (ALICE, BOB))
    assert alices != bobs
    for number in range(MAX_WRONG):
        reply(pager, emulator, ALICE, f"1 {bobs}" + "!" * number)
    reply(pager, emulator, ALICE, f"1 {alices}")
    assert outcomes(pager)[-1] == "too many without the code"
    assert the_incident(pager).state is IncidentState.OPEN
    reply(pager, emulator, BOB, f"1 {bobs}")
    assert the_incident(pager).acknowledged_by == "bob"


def test_the_letters_are_good_over_midnight(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(replies={"require_code": True}, **team())
    pager.post(firing("A"))
    pager.turn()
    code = code_of(said_to(emulator, ALICE)[0])
    reply(pager, emulator, ALICE, f"1{code}", seconds=13 * 3600)  # the next day, by UTC
    assert the_incident(pager).acknowledged_by == "alice"


def test_ack_means_what_was_sent_before_though_it_was_settled_later(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    later(pager, firing("OLD", key="old"), seconds=0)
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, method="GET", path="/outgoing", status=500, times=3))
    later(pager, firing("NEW", key="new"), minutes=1)
    pager.hand.move(seconds=5)
    emulator.emulation.reply(ALICE, "ack")
    pager.run(60, step=5)
    pager.listen()
    states = {one.title: one.state.value for one in pager.store.incidents.latest(9)}
    assert states == {"OLD db-1": "acknowledged", "NEW db-1": "acknowledged"}


def equal(name: Any, value: Any) -> Any:
    return {"name": name, "value": value, "isRegex": False, "isEqual": True}


def test_a_mute_matches_the_labels_as_alertmanager_has_them() -> None:
    raw = {"alertname": "A", "path": "/mnt/My  Disk", "long": "x" * 600}
    (one,) = matchers_of([raw])
    assert one == [equal(name, raw[name]) for name in sorted(raw)]
    (several,) = matchers_of([{"alertname": "A", "host": host} for host in ("db.1", "db.2")])
    assert several == [
        equal("alertname", "A"),
        {"name": "host", "value": r"db\.1|db\.2", "isRegex": True, "isEqual": True},
    ]


def test_a_mute_of_alerts_that_differ_in_more_than_one_label_matches_each_of_them_alone() -> None:
    alerts = [{"alertname": "A", "host": "a"}, {"alertname": "B", "host": "b"}]
    assert matchers_of(alerts) == [[equal("alertname", name), equal("host", name.lower())] for name in "AB"]
    with pytest.raises(SilenceRefused, match="differ in more than one label"):
        matchers_of([{"alertname": f"A{n}", "host": f"{n}"} for n in range(11)])
    with pytest.raises(SilenceRefused, match="no labels"):
        matchers_of([{}])


def test_a_mute_that_is_refused_in_part_silences_nothing() -> None:
    kept, posted = {}, []

    class Alertmanager(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            posted.append(self.path)
            kept["one"] = True
            first = len(posted) == 1
            self._answer(200 if first else 400, {"silenceID": "one"} if first else "too many")

        def do_DELETE(self) -> None:
            del kept[self.path.rpartition("/")[2]]
            self._answer(200, {})

        def _answer(self, status: Any, body: Any) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Alertmanager)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    members = [
        AlertmanagerApi("http://127.0.0.1:1", 10.0),  # it is down
        AlertmanagerApi(f"http://127.0.0.1:{server.server_port}", 10.0),
    ]
    alerts = [{"alertname": "A", "host": "a"}, {"alertname": "B", "host": "b"}]
    with pytest.raises(SilenceRefused, match="too many"):
        make_silences(members, alerts, timedelta(hours=2), "alice", "", datetime.now(UTC))
    assert (len(posted), kept) == (2, {})
    server.shutdown()
    server.server_close()


def test_a_mute_pages_again_when_the_alerts_outlast_it_and_resolves_with_them(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(alertmanager={"url": "http://127.0.0.1:1"}, **team(("5m", ["bob"]), reopen_after=None))
    with members(1, pager.hand) as (member,):
        member.fire(*firing("A")["alerts"])
        pager.reload(**{**pager.changes, "alertmanager": {"url": member.url}})
        later(pager, firing("A"), seconds=1)
        with patch("notifier.workers.silencing.make_silences", lambda *_: "id"):
            reply(pager, emulator, ALICE, "mute 1 2h")
        member.silence(hours=2)
        before = len(told(emulator))
        pager.run(7080, step=60)
        assert the_incident(pager).silenced_by == "alice"
        member.release()
        pager.run(180, step=20)
        assert [text.partition(" #")[0] for _, text in told(emulator)[before:]] == ["REOPENED"]
        member.end()
        pager.run(180, step=20)
        assert the_incident(pager).state == "resolved"


@pytest.mark.parametrize("words", ["mute 2h", "next"])
def test_other_commands_that_the_network_delivers_twice_count_once_as_well(
    answering: Callable[..., Pager], emulator: Emulator, words: Any
) -> None:
    pager = answering(alertmanager={"url": "http://127.0.0.1:1", "timeout": "1s"}, **team(("5m", ["bob"])))
    later(pager, firing("A"), seconds=1)
    for _ in range(2):
        emulator.emulation.reply(ALICE, words)
    pager.hand.move(seconds=10)
    with patch("notifier.workers.silencing.make_silences", lambda *_: "id"):
        pager.listen()
    assert outcomes(pager) == ["done", "repeated"]


def test_mute_does_not_take_what_somebody_else_has(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(
        alertmanager={"url": "http://127.0.0.1:1", "timeout": "1s"}, **team(notify=["alice", "bob"])
    )
    pager.post(firing("A"))
    pager.turn()
    reply(pager, emulator, ALICE, "ack")
    reply(pager, emulator, BOB, "mute 1 2h")
    assert the_incident(pager).acknowledged_by == "alice"
    assert said_to(emulator, BOB)[-1].startswith("alice has #1")


def test_whoever_asks_is_answered_after_many_confirmations(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(notify=["alice", "bob"]))
    for number in range(8):
        later(pager, firing(f"A{number}", key=str(number)), seconds=1)
    for number in range(1, 8):
        reply(pager, emulator, ALICE, f"ack {number}")
    reply(pager, emulator, BOB, "ack 8")
    reply(pager, emulator, ALICE, "ack 8")
    assert said_to(emulator, ALICE)[-1].startswith("bob has #8")


def test_a_mute_that_cannot_match_exactly_is_refused(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(alertmanager={"url": "http://127.0.0.1:9"}, **team())
    pager.post(webhook(alert("A"), truncatedAlerts=3))
    pager.turn()
    reply(pager, emulator, ALICE, "mute 2h")
    said = "#1 was not muted: not all of its alerts are known, Alertmanager left some out"
    assert said_to(emulator, ALICE)[-1] == said


def test_replies_to_a_sender_that_takes_none_are_not_asked_for(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn()
    emulator.requests.clear()
    pager.listen()
    assert emulator.requests == []


def test_a_reply_that_could_not_be_read_is_read_later(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=500, times=2, method="GET", path="/incoming"))
    reply(pager, emulator, ALICE, "ok")
    assert the_incident(pager).state == "open"
    pager.listen()
    pager.listen()
    assert the_incident(pager).state == "acknowledged"


def test_a_reply_that_can_never_be_read_holds_up_no_other(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(seconds=10)
    bad = emulator.emulation.reply("+33639989999", "x")
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, status=404, times=None, method="GET", path=f"/incoming/{bad.id}")
    )
    reply(pager, emulator, ALICE, "ack 1")
    assert the_incident(pager).state == "acknowledged"


def test_a_clock_that_jumps_loses_no_reply(answering: Callable[..., Pager], emulator: Emulator) -> None:
    pager = answering(**team())
    pager.post(firing("A"))
    pager.turn()
    pager.hand.move(hours=2)
    pager.listen()
    pager.hand.move(hours=-2, seconds=30)
    reply(pager, emulator, ALICE, "ok")
    assert the_incident(pager).acknowledged_by == "alice"


@pytest.mark.parametrize(
    ("text", "labels", "answer"),
    [
        ("mute 1 2h", {"alertname": "A"}, "#1 was not muted: Alertmanager cannot be reached"),
        (
            "mute 1",
            {"alertname": "A"},
            "Reply: ack, all, next, who, or with a number: 7, 7 next, close 7, mute 7 2h.",
        ),
    ],
)
def test_a_refusal_to_mute_is_told(
    answering: Callable[..., Pager], emulator: Emulator, text: Any, labels: Any, answer: Any
) -> None:
    pager = answering(alertmanager={"url": "http://127.0.0.1:1", "timeout": "1s"}, **team())
    pager.post(firing("A", commonLabels=labels))
    pager.turn()
    reply(pager, emulator, ALICE, text)
    assert said_to(emulator, ALICE)[1:] == [answer]
    assert the_incident(pager).state == "open"


# -- receipts ----------------------------------------------------------------------------------------------


def test_delivery_is_followed_to_the_handset(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    pager = make(**team())
    emulator.emulation.delivery_delay = 7
    pager.post(firing("A"))
    pager.turn()
    pager.follow()
    assert pager.states() == ["accepted"]
    pager.hand.move(seconds=20)
    pager.follow()
    (row,) = pager.rows()
    assert (row["state"], row["receipt"], row["ptt"]) == ("delivered", 1, 4)
    assert pager.count('notifier_sms_delivery_total{outcome="delivered",receiver="ops"}') == 1
    assert pager.count('notifier_delivery_latency_seconds_sum{receiver="ops"}') == 20
    emulator.requests.clear()
    pager.hand.move(hours=1)
    pager.follow()
    assert emulator.requests == []


@both_engines
def test_what_a_message_cost_is_told_as_soon_as_it_is_known_and_exactly_by_its_receipt(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    emulator.emulation.prices[BOB] = 3.0
    emulator.emulation.delivery_delay = 7
    pager = make(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    assert [row["credits"] for row in pager.rows()] == [2.0, 2.0]  # OVHcloud told the sum alone
    pager.hand.move(seconds=20)
    pager.follow()
    assert {row["contact"]: row["credits"] for row in pager.rows()} == {"alice": 1.0, "bob": 3.0}
    spent = pager.store.ledger.spent(pager.hand() - timedelta(days=1))
    assert {name: one.credits for name, one in spent.items()} == {emulator.emulation.service_name: 4.0}


@both_engines
@pytest.mark.parametrize(
    ("ptt", "reason"),
    [
        (24, "absent, phone off (ptt 24)"),
        (23, "number invalid, blacklisted or barred (ptt 23)"),
        (999, "ptt 999"),
    ],
)
def test_a_receipt_that_fails_says_why_and_has_the_next_step_come_at_once(
    make: Callable[..., Pager], emulator: Emulator, ptt: Any, reason: Any
) -> None:
    emulator.emulation.receipts[ALICE] = (2, ptt)
    pager = make(**team(("1h", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    pager.follow()
    pager.turn()
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]
    row = next(row for row in pager.rows() if row["contact"] == "alice")
    assert (row["state"], row["error"]) == ("undelivered", reason)
    assert pager.count('notifier_sms_delivery_total{outcome="undelivered",receiver="ops"}') == 1
    pager.hand.move(minutes=1)
    pager.post(over("A"))
    pager.turn()
    assert [who for who, _ in told(emulator)[2:]] == ["bob"]  # alice was not reached


@both_engines
def test_many_receipts_are_asked_for_by_lists(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(receivers=[{"name": "ops", "notify": [f"+336399800{n:02}" for n in range(1, 31)]}])
    emulator.emulation.receipts["+33639980007"] = (16, 23)
    pager.post(firing("A"))
    pager.turn()
    emulator.requests.clear()
    pager.follow()
    assert sorted(set(pager.states())) == ["delivered", "undelivered"]
    assert len(emulator.requests) == 4  # three lists, and the one that failed


def test_an_operator_that_never_reports_is_asked_ever_less_often(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None
) -> None:
    pager = make(**team(("10m", ["bob"])))
    emulator.emulation.delivery_delay = 10**9
    pager.post(firing("A"))
    pager.turn()
    pager.actions.acknowledge(the_incident(pager).id, "alice", Via.API)
    emulator.requests.clear()
    for _ in range(80 * 12):
        pager.follow()
        pager.hand.move(minutes=5)
    assert 50 < len([r for r in emulator.requests if "outgoing" in r[1]]) < 150
    (row,) = pager.rows()
    assert (row["state"], row["error"], row["receipt_due_at"]) == ("accepted", "no receipt came", None)


def test_looks_get_rarer_and_end() -> None:
    interval, age, looks = timedelta(seconds=20), timedelta(), 0
    while (wait := next_look(age, interval)) is not None:
        assert interval <= wait <= timedelta(hours=1)
        age, looks = age + wait, looks + 1
    assert age >= GIVE_UP
    assert looks < 130


# -- callbacks ---------------------------------------------------------------------------------------------


def test_callbacks_are_hints(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    ovh = {"sender": ..., "sender_for_response": True, "callback_secret": "hush-hush",
           "receipts": {"poll_interval": "1h"}, "replies": {"poll_interval": "1h"}}  # fmt: skip
    emulator.emulation.delivery_delay = 10**9
    running = run(files.write(ovh=ovh, **team()))
    emulator.emulation.settings = {
        "callBack": f"{running.url}/ovh/receipt/hush-hush",
        "smsResponse": {"responseType": "cgi", "cgiUrl": f"{running.url}/ovh/reply/hush-hush"},
    }
    for path in ("/ovh/receipt/wrong", "/ovh/reply/wrong", "/ovh/receipt/"):
        assert requests.get(running.url + path, timeout=10).status_code == 404
    running.post(webhook(alert("A")))
    phones.wait(1)
    assert requests.get(f"{running.url}/ovh/receipt/hush-hush?id=1&ptt=5", timeout=10).status_code == 200
    emulator.emulation.delivery_delay = 0
    emulator.call_back()
    wait_for(
        lambda: running.metric('notifier_sms_delivery_total{outcome="delivered",receiver="ops"}') == 1,
        "it does not come to pass",
        seconds=20,
    )
    emulator.reply(ALICE, "ok")
    wait_for(
        lambda: running.metric('notifier_incidents{receiver="ops",state="acknowledged"}') == 1,
        "it does not come to pass",
        seconds=20,
    )


def test_of_many_callbacks_one_a_second_is_passed_on(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    hints = []
    monkeypatch.setattr(
        "notifier.workers.receipts.ReceiptPoller.hint", lambda self: hints.append(time.monotonic())
    )
    running = run(files.write(ovh={"callback_secret": "hush-hush"}))
    for _ in range(100):
        assert requests.get(f"{running.url}/ovh/receipt/hush-hush", timeout=10).status_code == 200
    wait_for(
        lambda: len(hints) >= 2, "it does not come to pass", seconds=20
    )  # the last one is passed on, too, a second after the first
    assert all(after - before > 0.1 for before, after in itertools.pairwise(hints))


def test_a_reply_that_keeps_failing_is_given_up_and_delays_no_other(
    answering: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = answering(**team(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.turn()
    real = pager.replies.reply_actions.meaning_of

    def meaning(account: Any, reply: Any, *rest: Any) -> Any:
        if reply.message == "poison":
            raise RuntimeError("a fault")
        return real(account, reply, *rest)

    monkeypatch.setattr(pager.replies.reply_actions, "meaning_of", meaning)
    emulator.emulation.reply(ALICE, "poison")
    reply(pager, emulator, ALICE, "ack")
    assert the_incident(pager).acknowledged_by == "alice"
    for _ in range(4):
        pager.hand.move(seconds=6)
        pager.listen()
    assert outcomes(pager) == ["cannot be processed because of an internal error; see the log", "done"]
    assert pager.replies.set_aside.items() == {}


def test_a_receipt_that_keeps_failing_delays_no_other(
    make: Callable[..., Pager], emulator: Emulator, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(**team(notify=["alice", "bob"]))
    pager.post(firing("A"))
    pager.turn()
    real = pager.receipts.outcome_of

    def seen(api: Any, one: Any, *rest: Any) -> Any:
        if one.contact == "alice":
            raise RuntimeError("a fault")
        return real(api, one, *rest)

    monkeypatch.setattr(pager.receipts, "outcome_of", seen)
    monkeypatch.setattr("notifier.workers.receipts._BATCH", 1)  # what was set aside takes no other's place
    pager.hand.move(seconds=30)
    pager.follow()
    assert sorted((row["contact"], row["state"]) for row in pager.rows()) == [
        ("alice", "accepted"),
        ("bob", "delivered"),
    ]
    monkeypatch.undo()
    emulator.emulation.clock = lambda: pager.hand().timestamp()
    pager.hand.move(seconds=30)
    pager.follow()
    assert pager.states() == ["delivered", "delivered"]


def test_a_bare_acknowledgement_takes_the_most_urgent_by_the_configuration(
    answering: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = answering(**team(), **{"global": {"severities": {"sev1": "critical"}}})
    pager.post_all(
        [webhook(alert(name, severity=of), key=name) for name, of in (("A", "sev1"), ("B", "sev3"))]
    )
    pager.turn()
    reply(pager, emulator, ALICE, "ack")
    assert {one.title: one.acknowledged_by for one in pager.store.incidents.latest(9)} == {
        "A": "alice",
        "B": None,
    }
