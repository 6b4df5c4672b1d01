"""From a stored webhook to what OVHcloud accepted, with time moved by hand and the emulator over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from notifier.alertmanager.webhook import parse_webhook
from notifier.delivery.message import Job, Message, MessageState
from notifier.delivery.retry import AskAgain, NotAccepted, PauseReason, settle
from notifier.delivery.selection import MAX_RECIPIENTS, gather, mark_late
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.emulator.models import Refusal, bad_request
from notifier.ids import new_id
from notifier.ovh.models import Outcome, Outgoing, Sent
from notifier.planning.plans import preview
from notifier.rendering.reduction import plain
from notifier.timeline import message_timeline
from notifier.workers.backpressure import Backpressure
from notifier.workers.delivery import endings
from notifier.workers.job_threads import Work
from notifier.workers.settlement import matching
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB, Files
from tests.support.pager import ONE, Pager, claim, due_in, texts
from tests.support.postgres import both_engines
from tests.support.processes import wait_for
from tests.support.webhooks import alert, payload, webhook

# -- planning ----------------------------------------------------------------------------------------------


def test_a_webhook_becomes_a_text_on_the_phone(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    pager.post(payload("firing-one"))
    pager.turn()
    (sms,) = emulator.emulation.accepted
    assert (sms.receiver, sms.sender) == (ALICE, "ACME")
    assert sms.message == "FIRING #1 critical InstanceDown db-1 (gra1) since 12:13: Instance db-1 down"
    assert pager.states() == ["accepted"]
    assert pager.rows()[0]["ovh_id"] == sms.id
    assert pager.count('notifier_sms_total{outcome="accepted",receiver="ops"}') == 1
    assert pager.count("notifier_sms_parts_total") == 1
    assert pager.count("notifier_sms_credits_total") == 1
    assert pager.count('notifier_ovh_credits_left{service_name="sms-emu12345-1"}') == 999
    assert pager.count('notifier_page_latency_seconds_count{receiver="ops"}') == 1


def test_each_reads_in_a_language_of_their_own(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(receivers=[{"name": "ops", "notify": ["alice", "bob"]}])
    pager.post(ONE)
    pager.turn()
    assert sorted(texts(emulator)) == [
        "ALERTE #1 critical InstanceDown db-1 depuis 12:13",
        "FIRING #1 critical InstanceDown db-1 since 12:13",
    ]


def test_the_same_text_goes_to_all_in_one_job(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(receivers=[{"name": "ops", "notify": [ALICE, BOB, "alice"]}])
    pager.post(ONE)
    pager.turn()
    assert sorted(sms.receiver for sms in emulator.emulation.accepted) == [ALICE, BOB]
    assert emulator.requests.count(("POST", "/1.0/sms/sms-emu12345-1/jobs")) == 1


def test_alerts_that_reach_the_same_receiver_make_one_notification(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": [BOB]}],
        route={"receiver": "ops", "routes": [{"matchers": ["team=db"], "receiver": "db"}]},
    )
    pager.post(
        webhook(alert(instance="db-1", team="db"), alert(instance="web-1"), alert(instance="db-2", team="db"))
    )
    pager.turn()
    assert {sms.receiver: sms.message for sms in emulator.emulation.accepted} == {
        ALICE: "FIRING #2 InstanceDown web-1 since 12:13",
        BOB: "FIRING #1 InstanceDown db-1,2 since 12:13",
    }


def test_whoever_is_reached_twice_by_the_same_words_gets_them_once(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["alice"]}],
        route={"receiver": "ops", "routes": [{"receiver": "ops", "continue": True}, {"receiver": "db"}]},
    )
    pager.post(ONE)
    pager.turn()
    assert len(emulator.emulation.accepted) == 1


def test_an_unknown_receiver_goes_to_the_first_and_is_counted(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    pager.post(webhook(alert(), receiver="nobody"))
    pager.turn()
    assert len(emulator.emulation.accepted) == 1
    assert pager.count("notifier_webhooks_unknown_receiver_total") == 1


def test_a_receiver_that_is_gone_since_still_pages_somebody(make: Callable[..., Pager]) -> None:
    pager = make()
    runtime, body = pager.current.runtime, parse_webhook(json.dumps(ONE).encode())
    (planned,) = preview(runtime, body, "gone", pager.hand())
    assert planned.routed.receiver.name == "ops"
    assert planned.pages


@pytest.mark.parametrize(("wanted", "count"), [(True, 1), (False, 0)])
def test_resolution_is_told_if_it_is_wanted(
    make: Callable[..., Pager], emulator: Emulator, wanted: Any, count: Any
) -> None:
    pager = make(receivers=[{"name": "ops", "notify": ["alice"], "send_resolved": wanted}])
    pager.post(ONE)
    pager.turn()
    pager.post(webhook(alert(instance="db-1", severity="critical", status="resolved")))
    pager.turn()
    assert len(emulator.emulation.accepted) == 1 + count
    assert pager.store.webhooks.unplanned(1, 1) == []


def test_a_template_that_fails_is_counted_and_costs_no_page(
    make: Callable[..., Pager], files: Files, emulator: Emulator
) -> None:
    (files.directory / "page.j2").write_text("{{ nothing }}")
    pager = make(templates=["page.j2"])
    pager.post(ONE)
    pager.turn()
    assert texts(emulator) == ["FIRING #1 critical InstanceDown db-1"]
    assert pager.count('notifier_template_errors_total{template="page"}') == 1


def test_a_webhook_that_planning_chokes_on_holds_up_no_other(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()
    good = pager.planner.plan

    def choking(read: Any, *rest: Any) -> Any:
        if b"poison" in read.stored.body:
            raise RuntimeError("choked")
        return good(read, *rest)

    monkeypatch.setattr(pager.planner, "plan", choking)
    pager.post(webhook(alert("poison"), key="poison"))
    pager.post(ONE)
    pager.turn()
    assert len(emulator.emulation.accepted) == 1
    assert len(pager.store.webhooks.unplanned(10, 1000)) == 1
    monkeypatch.setattr(pager.planner, "plan", good)
    pager.hand.move(seconds=1)
    pager.turn()
    assert len(emulator.emulation.accepted) == 2
    assert pager.planner.set_aside.items() == {}


def test_a_webhook_that_can_never_be_planned_is_paged_with_a_built_in_text(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make(
        receivers=[{"name": "ops", "notify": ["alice"], "escalate": [{"after": "5m", "notify": ["bob"]}]}]
    )
    monkeypatch.setattr("notifier.workers.planner.plan", lambda *_: 1 / 0)
    pager.post(ONE)
    pager.post(webhook(alert("Over", status="resolved"), key="over"))
    for _ in range(5):
        pager.turn()
        pager.hand.move(seconds=2)
    assert {sms.receiver for sms in emulator.emulation.accepted} == {ALICE, BOB}, "nobody escalates it"
    assert set(texts(emulator)) == {"FIRING critical InstanceDown db-1"}
    assert pager.store.webhooks.unplanned(10, 1000) == []
    assert pager.count('notifier_last_resort_pages_total{worker="planner"}') == 1, "a resolution pages nobody"


def test_a_plan_that_the_database_refuses_again_and_again_is_paged_with_a_built_in_text(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    fault = "BEFORE INSERT ON events WHEN new.kind = 'opened' BEGIN SELECT RAISE(ABORT, 'damaged'); END"
    pager.store.submit(lambda connection: connection.exec_driver_sql(f"CREATE TRIGGER f {fault}")).result(10)
    pager.post(ONE)
    for _ in range(5):
        pager.turn()
        pager.hand.move(seconds=2)
    assert texts(emulator) == ["FIRING critical InstanceDown db-1"]
    assert pager.store.webhooks.unplanned(10, 1000) == []
    assert pager.count('notifier_last_resort_pages_total{worker="planner"}') == 1


def test_a_message_that_cannot_be_selected_delays_no_other_and_is_sent_in_the_end(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()

    def failing(message: Any, runtime: Any, now: Any) -> Any:
        if message.phone == ALICE:
            raise RuntimeError("choked")
        return mark_late(message, runtime, now)

    monkeypatch.setattr("notifier.delivery.selection.mark_late", failing)
    pager.post(ONE)
    pager.actions.send("bob", "hello")
    pager.turn()
    assert texts(emulator) == ["hello"]
    for _ in range(4):
        pager.hand.move(seconds=5)
        pager.turn()
    assert sorted(sms.receiver for sms in emulator.emulation.accepted) == [ALICE, BOB]
    assert pager.count('notifier_last_resort_pages_total{worker="sender"}') == 1
    assert pager.sender.set_aside.items() == {}


def test_a_number_is_not_set_aside_any_more_once_its_messages_are_gone(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()
    monkeypatch.setattr("notifier.delivery.selection.mark_late", lambda *_: 1 / 0)
    pager.post(ONE)
    pager.turn()
    assert list(pager.sender.set_aside.items()) == [ALICE]
    monkeypatch.undo()
    pager.hand.move(seconds=2)
    pager.turn(2)
    assert [sms.receiver for sms in emulator.emulation.accepted] == [ALICE]
    assert pager.sender.set_aside.items() == {}


def test_a_storm_is_drained(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(limits={"per_contact": None})
    for n in range(100):
        pager.post(webhook(alert(instance=f"web-{n}"), key=str(n)))
    pager.turn(20)
    assert len(set(texts(emulator))) == 100
    assert len(emulator.emulation.accepted) == 100


# -- what to send together ---------------------------------------------------------------------------------


def message(n: Any, text: Any = "hello", phone: Any = None, hand: Hand = None) -> Any:
    now = hand()
    return Message(
        f"m{n}", "n", "ops", "", phone or f"+3363998{n:04}", text, 1, now, now + timedelta(hours=1), 0
    )


def test_jobs_hold_the_same_text_up_to_500_numbers_each_once(hand: Hand) -> None:
    due = [message(n, hand=hand) for n in range(600)]
    (job,) = gather(due, 1, hand())
    assert len(job.messages) == MAX_RECIPIENTS
    twice = [
        message(1, hand=hand),
        message(2, phone="+33639980001", hand=hand),
        message(3, "other", hand=hand),
    ]
    first, second = gather(twice, 5, hand())
    assert [m.id for m in first.messages] == ["m1"]
    assert [m.id for m in second.messages] == ["m3"]
    assert len(gather(twice, 1, hand())) == 1
    assert first.tag != second.tag
    assert len(first.tag) == 20


def test_answers_are_matched_by_number(hand: Hand) -> None:
    job = Job("t", "hello", hand(), tuple(message(n, hand=hand) for n in range(4)))
    numbers = [m.phone for m in job.messages]
    sent = Sent(
        ids=(11, 12), validReceivers=("00" + numbers[1][1:], numbers[0]), invalidReceivers=(numbers[2],)
    )
    found = {e.message_id: (e.state, e.ovh_id) for e in endings(job, Outcome(sent, None))}
    assert found == {
        "m0": (MessageState.ACCEPTED, 12),
        "m1": (MessageState.ACCEPTED, 11),
        "m2": (MessageState.REJECTED, None),
    }


def test_what_is_found_is_matched_by_tag_or_failing_that_by_text(hand: Hand) -> None:
    job = Job("t", "hello", hand(), (message(1, hand=hand), message(2, hand=hand)))
    one, two = (m.phone for m in job.messages)
    found = [
        Outgoing(id=1, receiver=one, tag="other", message="hello"),
        Outgoing(id=2, receiver=one, tag="t"),
        Outgoing(id=3, receiver=two, message="hello"),
    ]
    assert {e.message_id: e.ovh_id for e in matching(job, found)} == {"m1": 2, "m2": 3}


# -- when sending fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.ERROR, status=500, times=3),
        Fault(kind=FaultKind.HTML, status=502, times=3),
        Fault(kind=FaultKind.ERROR, status=429, times=3, headers={"Retry-After": "2"}),
        Fault(kind=FaultKind.ERROR, status=409, times=3),
        Fault(kind=FaultKind.RESET_BEFORE, times=2),
        Fault(kind=FaultKind.RESET_AFTER, times=1),
        Fault(kind=FaultKind.HANG_BEFORE, times=1, seconds=3),
        Fault(kind=FaultKind.HANG_AFTER, times=1, seconds=3),
        Fault(kind=FaultKind.GARBAGE, times=1),
        Fault(kind=FaultKind.ERROR, status=400, error_code="QUERY_TIME_OUT", times=2),
        Fault(kind=FaultKind.ERROR, status=403, error_code="INVALID_CREDENTIAL", times=3),
        Fault(kind=FaultKind.ERROR, status=403, error_code="NOT_GRANTED_CALL", times=3),
        Fault(kind=FaultKind.RESET_AFTER, method="GET", path="/auth/time"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)  # fmt: skip
def test_whatever_passes_is_outlasted_and_nothing_is_sent_twice(
    make: Callable[..., Pager], emulator: Emulator, fault: Any
) -> None:
    pager = make()
    emulator.faults.add(fault.model_copy())  # it counts its times, and is of another test, too
    pager.post(ONE)
    pager.run(90)
    assert len(emulator.emulation.accepted) == 1
    assert pager.states() == ["accepted"]


def test_a_lost_answer_is_asked_for_until_it_shows(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    emulator.emulation.clock = lambda: pager.hand().timestamp()
    emulator.emulation.listing_delay = 10
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    pager.post(ONE)
    with moved_clock(pager):
        pager.run(8)
        assert pager.states() == ["unsettled"]
        pager.run(20)
    assert pager.states() == ["accepted"]
    assert len(emulator.emulation.accepted) == 1
    assert emulator.requests.count(("POST", "/1.0/sms/sms-emu12345-1/jobs")) == 1


def moved_clock(pager: Pager) -> Any:
    """OVHcloud's clock is moved by hand; the client must not find it out of step all the time."""
    patch = pytest.MonkeyPatch.context()

    class Both:
        def __enter__(self) -> None:
            self.patch = patch.__enter__()
            self.patch.setattr("notifier.ovh.client.time.time", lambda: pager.hand().timestamp())

        def __exit__(self, *error: Any) -> None:
            patch.__exit__(*error)

    return Both()


def test_a_job_that_never_arrived_is_sent_again_once_that_is_certain(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE))
    pager.post(ONE)
    pager.run(15)
    assert emulator.emulation.accepted == []
    assert pager.states() == ["unsettled"]
    pager.run(15)
    assert len(emulator.emulation.accepted) == 1
    assert pager.count("notifier_sms_resent_unsettled_total") == 0
    lines = message_timeline(pager.store.ledger.details(pager.rows()[0]["id"]))
    [first, second] = [line for line in lines if line.what in ("looked up", "answered")]
    assert (first.what, second.what, second.detail.partition(" ")[0]) == ("looked up", "answered", "accepted")
    assert first.detail.startswith("no answer (")
    assert first.detail.endswith("; not found at OVHcloud")
    assert first.at - lines[0].at > timedelta(seconds=15)


def test_where_ovhcloud_will_not_say_it_is_sent_again_and_counted(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(ovh={"settle_timeout": "1m"})
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    emulator.faults.add(Fault(kind=FaultKind.ERROR, method="GET", path="/outgoing", status=500, times=None))
    pager.post(ONE)
    pager.run(50)
    assert len(emulator.emulation.accepted) == 1
    pager.run(40)
    assert len(emulator.emulation.accepted) == 2  # what cannot be helped
    assert pager.count("notifier_sms_resent_unsettled_total") == 1


def test_a_process_killed_in_the_middle_of_a_call_asks_before_it_sends_again(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    pager.post(ONE)
    while pager.planner.work() is not None:
        pass
    (due,) = due_in(pager.store, pager.hand(), 1)
    job = Job(new_id(pager.hand()), due.text, pager.hand(), (due,))
    claim(pager.store, job)
    pager.current.runtime.api.send(job.text, [due.phone], job.tag)  # and here it is killed
    pager.restart()
    pager.run(30)
    assert len(emulator.emulation.accepted) == 1
    assert pager.states() == ["accepted"]


def test_a_process_killed_before_a_call_sends(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    pager.post(ONE)
    while pager.planner.work() is not None:
        pass
    (due,) = due_in(pager.store, pager.hand(), 1)
    claim(pager.store, Job(new_id(pager.hand()), due.text, pager.hand(), (due,)))
    pager.restart()
    pager.run(30)
    assert len(emulator.emulation.accepted) == 1


def test_one_invalid_number_fails_alone(make: Callable[..., Pager], emulator: Emulator) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make(receivers=[{"name": "ops", "notify": [ALICE, BOB]}])
    pager.post(ONE)
    pager.turn()
    assert {row["phone"]: row["state"] for row in pager.rows()} == {ALICE: "rejected", BOB: "accepted"}
    assert pager.count('notifier_sms_total{outcome="rejected",receiver="ops"}') == 1


def test_a_200_in_which_every_receiver_is_invalid_sent_nothing(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.invalid_numbers.add(ALICE)
    pager = make()
    pager.post(ONE)
    pager.turn()
    assert pager.states() == ["rejected"]
    assert "invalid" in pager.rows()[0]["error"]


def test_one_recipient_that_spoils_a_job_is_found_and_fails_alone(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    numbers = [f"+3363998{n:04}" for n in range(8)]
    pager = make(receivers=[{"name": "ops", "notify": numbers}])
    take = emulator.emulation.send

    def refusing(body: Any, virtual_number: Any = None) -> Any:
        if numbers[5] in body.get("receivers", ()):
            raise bad_request("[receivers] is not valid")
        return take(body, virtual_number)

    emulator.emulation.send = refusing
    pager.post(ONE)
    pager.turn()
    assert {row["phone"] for row in pager.rows() if row["state"] == "rejected"} == {numbers[5]}
    assert sorted(sms.receiver for sms in emulator.emulation.accepted) == sorted(set(numbers) - {numbers[5]})


def test_an_account_without_a_configured_name_is_called_by_its_own_in_metrics(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(ovh={"service_name": None})
    pager.post(ONE)
    pager.turn(2)
    assert pager.count('notifier_sending_paused{account="sms-emu12345-1",reason="credits"}') == 0
    assert 'notifier_sending_paused{account=""' not in pager.metrics.exposition().decode()


def test_what_waits_goes_to_the_number_that_its_contact_has_since_a_reload(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, headers={"Retry-After": "60"}))
    pager.post(ONE)
    pager.turn()
    (waiting,) = pager.rows()
    pager.reload(contacts=[{"name": "alice", "phone": "+33639980077"}, {"name": "bob", "phone": BOB}])
    pager.run(70)
    assert waiting["phone"] == ALICE
    assert [sms.receiver for sms in emulator.emulation.accepted] == ["+33639980077"]


def test_what_was_in_doubt_at_a_reload_goes_to_the_new_number_as_well(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE))
    pager.post(ONE)
    pager.turn()
    assert pager.states() == ["unsettled"]
    pager.reload(contacts=[{"name": "alice", "phone": "+33639980077"}, {"name": "bob", "phone": BOB}])
    pager.run(70)
    assert [sms.receiver for sms in emulator.emulation.accepted] == ["+33639980077"]


def test_pages_to_a_country_that_refuses_the_sender_delay_no_other(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    american, french = [f"+120255501{n}" for n in range(40, 52)], "+33639980009"
    pager = make(receivers=[{"name": "usa", "notify": american}, {"name": "france", "notify": [french]}])
    take = emulator.emulation.send

    def refusing(body: Any, virtual_number: Any = None) -> Any:
        if not {french}.issuperset(body.get("receivers", ())):
            raise bad_request("Sms sender ACME does not exists. Please create it first")
        return take(body, virtual_number)

    emulator.emulation.send = refusing
    pager.post(webhook(alert(instance="db-1"), receiver="usa", key="1"))
    pager.run(100)
    assert set(pager.states()) == {"queued"}
    for n in range(3):
        pager.post(webhook(alert(instance=f"web-{n}"), receiver="france", key=f"web-{n}"))
        pager.run(35)
        assert len(emulator.emulation.accepted) == n + 1
    assert pager.sender.paused is None, "others are accepted"


def test_a_sender_that_one_country_refuses_pages_the_others(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    american, french = "+12025550143", "+33639980009"
    receivers = {"usa": [american], "france": [french], "both": [american, french]}
    pager = make(receivers=[{"name": name, "notify": notify} for name, notify in receivers.items()])
    take = emulator.emulation.send

    def refusing(body: Any, virtual_number: Any = None) -> Any:
        if american in body.get("receivers", ()):
            raise bad_request("Sms sender ACME does not exists. Please create it first")
        return take(body, virtual_number)

    emulator.emulation.send = refusing
    pager.post(webhook(alert(instance="db-1"), receiver="usa", key="1"))
    pager.turn()
    for n in range(5):
        pager.post(webhook(alert(instance=f"web-{n}"), receiver="france", key=f"web-{n}"))
    pager.run(20)
    assert [sms.receiver for sms in emulator.emulation.accepted] == [french] * 5
    pager.post(webhook(alert(instance="db-2"), receiver="both", key="2"))
    pager.run(20)
    assert [sms.receiver for sms in emulator.emulation.accepted] == [french] * 6, "of one job as well"
    assert {row["state"] for row in pager.rows() if row["phone"] == american} == {"queued"}


def test_a_sender_that_was_refused_costs_no_page_once_it_is_mended(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.senders["ACME"] = "refused"
    escalate = [{"after": "5m", "notify": ["+33639980002"]}]
    pager = make(receivers=[{"name": "ops", "notify": ["+33639980001"], "escalate": escalate}])
    pager.post(ONE)
    pager.run(100)
    assert pager.states() == ["queued"]
    emulator.emulation.senders["ACME"] = "enable"
    pager.run(65)
    assert [sms.receiver for sms in emulator.emulation.accepted] == ["+33639980001"]


@pytest.mark.parametrize(
    ("spoil", "heal", "reason"),
    [
        ({"credits": 0.0}, {"credits": 10.0}, PauseReason.CREDITS),
        ({"status": "disable"}, {"status": "enable"}, PauseReason.ACCOUNT),
        ({"is_valid_credential": False}, {"is_valid_credential": True}, PauseReason.CREDENTIALS),
        ({"rules": [("GET", "/*")]}, {"rules": [("*", "/*")]}, PauseReason.RIGHTS),
        ({"senders": {"ACME": "refused"}}, {"senders": {"ACME": "enable"}}, PauseReason.SENDER),
    ],
)
def test_what_must_be_mended_pauses_sending_and_resumes_by_itself(
    make: Callable[..., Pager], emulator: Emulator, spoil: Any, heal: Any, reason: Any
) -> None:
    pager = make(ovh={"service_name": "sms-emu12345-1"})
    for name, value in spoil.items():
        setattr(emulator.emulation, name, value)
    for n in range(5):
        pager.post(webhook(alert(instance=f"db-{n}"), key=str(n)))
    pager.run(60)
    assert pager.sender.paused.reason is reason
    assert pager.count(f'notifier_sending_paused{{account="sms-emu12345-1",reason="{reason}"}}') == 1
    trials = emulator.requests.count(("POST", "/1.0/sms/sms-emu12345-1/jobs"))
    assert trials <= 5 + 8  # those that found out, then one at a time, less and less often
    for name, value in heal.items():
        setattr(emulator.emulation, name, value)
    pager.run(45)
    assert pager.sender.paused is None
    assert pager.count(f'notifier_sending_paused{{account="sms-emu12345-1",reason="{reason}"}}') == 0
    assert pager.states() == ["accepted"] * 5
    assert len(emulator.emulation.accepted) == 5


def test_a_page_that_goes_out_late_says_so(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=9))
    pager.post(ONE)
    pager.run(400)
    (text,) = texts(emulator)
    assert text.startswith("LATE ")
    assert text.endswith("FIRING #1 critical InstanceDown db-1 since 12:13")


def test_a_message_that_nobody_takes_is_given_up_after_an_hour_and_what_still_fires_paged_anew(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(ONE)
    pager.run(3500, step=30)
    assert pager.states() == ["queued"]
    pager.run(200, step=30)
    assert pager.states() == ["expired", "queued"]
    assert pager.count('notifier_sms_total{outcome="expired",receiver="ops"}') == 1
    emulator.faults.clear()
    pager.run(120, step=30)
    assert pager.states() == ["expired", "accepted"]
    (text,) = texts(emulator)
    assert text.endswith("FIRING #1 critical InstanceDown db-1 since 12:13")


@both_engines
def test_what_came_before_a_long_absence_is_paged_after_it(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    pager.post(ONE)
    pager.planner.work()
    pager.hand.move(minutes=65)
    pager.reopen()
    pager.turn(3)
    assert pager.states() == ["expired", "accepted"]


def test_what_is_over_is_not_paged_anew(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(ONE)
    pager.turn()
    pager.hand.move(minutes=30)
    pager.post(webhook(alert(instance="db-1", severity="critical", status="resolved")))
    pager.run(5000, step=60)
    assert "queued" not in pager.states()
    assert pager.states().count("expired") <= 2


def test_a_receiver_may_give_up_sooner(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(receivers=[{"name": "ops", "notify": ["alice"], "expire_after": "1m"}])
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409, times=None))
    pager.post(ONE)
    pager.run(90, step=5)
    assert pager.states()[0] == "expired"


def test_what_was_never_learnt_ends_with_the_page(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(receivers=[{"name": "ops", "notify": ["alice"], "expire_after": "1m"}])
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE))
    emulator.faults.add(
        Fault(
            kind=FaultKind.ERROR,
            method="GET",
            path="/outgoing",
            status=403,
            error_code="INVALID_CREDENTIAL",
            times=None,
        )
    )
    pager.post(ONE)
    pager.run(90, step=5)
    assert pager.states()[0] == "expired"
    assert "is unknown whether" in pager.rows()[0]["error"]


def test_one_call_that_hangs_holds_up_no_other(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(ovh={"timeout": "3s"})
    emulator.faults.add(Fault(kind=FaultKind.HANG_BEFORE, seconds=20))
    pager.post(webhook(alert(instance="slow"), key="slow"))
    while pager.planner.work() is not None:
        pass
    pager.sender.work()
    wait_for(lambda: not emulator.faults.armed(), "it is the first call that hangs")
    pager.post(webhook(alert(instance="fast"), key="fast"))
    while pager.planner.work() is not None:
        pass
    pager.sender.work()
    wait_for(lambda: texts(emulator), "the other is sent")
    (fast,) = texts(emulator)
    assert "fast" in fast
    pager.turn()


def test_outcomes_are_written_down_even_if_the_store_fails_meanwhile(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import Future

    from notifier.store.engine import StoreUnavailable

    pager = make()
    finish, failures = pager.store.jobs.finish, [1, 2]

    def failing(*arguments: Any, **how: Any) -> Any:
        if failures:
            failures.pop()
            future: Future[Any] = Future()
            future.set_exception(StoreUnavailable("disk full"))
            return future
        return finish(*arguments, **how)

    monkeypatch.setattr(pager.store.jobs, "finish", failing)
    pager.post(ONE)
    pager.turn()
    assert pager.states() == ["accepted"]
    assert pager.count("notifier_store_errors_total") == 2


def test_a_job_that_meets_a_fault_of_ours_is_settled_like_an_orphan(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()
    monkeypatch.setattr("notifier.workers.delivery.endings", lambda job, outcome: 1 / 0)
    pager.post(ONE)
    pager.turn()
    monkeypatch.undo()
    pager.run(30)
    assert len(emulator.emulation.accepted) == 1
    assert pager.states() == ["accepted"]


def test_a_job_refused_as_5xx_after_it_was_taken_is_not_sent_again(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    take = emulator.emulation.send
    answers: list[Any] = []

    def odd(body: Any, virtual_number: Any = None) -> Any:
        answer = take(body, virtual_number)
        if not answers:
            answers.append(answer)
            raise Refusal(502, "Server::BadGateway", "oops")
        return answer

    emulator.emulation.send = odd
    pager.post(ONE)
    pager.run(30)
    assert len(emulator.emulation.accepted) == 1
    assert pager.states() == ["accepted"]


def test_a_call_that_takes_long_does_not_use_up_the_patience(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    pager = make()
    emulator.emulation.clock = lambda: hand().timestamp()
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    emulator.emulation.listing_delay = 10
    pager.post(ONE)
    while pager.planner.work() is not None:
        pass
    send = pager.current.runtime.api.send

    def slow(text: Any, receivers: Any, tag: Any, signed_at: Any) -> Any:
        hand.move(seconds=30)
        return send(text, receivers, tag, signed_at)

    pager.current.runtime.api.send = cast("Any", slow)
    with moved_clock(pager):
        pager.run(60)
    assert len(emulator.emulation.accepted) == 1


def test_an_answer_that_does_not_mention_a_number_is_asked_about(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()
    monkeypatch.setattr("notifier.workers.delivery.endings", lambda job, outcome: [])
    pager.post(ONE)
    pager.run(40)
    assert len(emulator.emulation.accepted) == 1
    assert pager.states() == ["accepted"]


def test_numbers_come_back_in_any_form(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    take = emulator.emulation.send

    def bare(body: Any, virtual_number: Any = None) -> Any:
        answer = take(body, virtual_number)
        return {**answer, "validReceivers": [n.removeprefix("+") for n in answer["validReceivers"]]}

    emulator.emulation.send = bare
    pager.post(ONE)
    pager.turn()
    assert pager.states() == ["accepted"]


def test_a_refusal_of_what_comes_before_the_call_ends_no_message(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, method="GET", path="/sms", status=400, message="odd"))
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, method="GET", path="/auth/time", status=400, message="odd")
    )
    pager.post(ONE)
    pager.run(10)
    assert pager.states() == ["accepted"]


def test_a_clock_that_is_set_back_holds_nothing_up(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    pager = make()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=409))
    pager.post(ONE)
    pager.turn()
    hand.move(hours=-3)
    pager.run(10)
    assert len(emulator.emulation.accepted) == 1


def test_lost_answers_do_not_keep_new_pages_waiting(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(ovh={"max_concurrency": 1, "timeout": "2s"})
    emulator.faults.add(Fault(kind=FaultKind.RESET_BEFORE))
    pager.post(webhook(alert(instance="first"), key="first"))
    pager.turn()
    emulator.faults.add(
        Fault(kind=FaultKind.HANG_BEFORE, method="GET", path="/outgoing", seconds=20, times=None)
    )
    pager.hand.move(seconds=2)
    pager.sender.work()
    pager.post(webhook(alert(instance="second"), key="second"))
    while pager.planner.work() is not None:
        pass
    pager.sender.work()
    waited = threading.Event()
    for _ in range(300):
        if emulator.emulation.accepted:
            break
        waited.wait(0.005)
    assert "second" in texts(emulator)[0]
    pager.turn()


def test_a_start_without_a_zone_pages_all_the_same(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    pager.post(webhook(alert(starts_at="2026-11-22T12:13:30"), alert(instance="b")))
    pager.turn()
    assert len(emulator.emulation.accepted) == 1


# -- around it ---------------------------------------------------------------------------------------------


def test_the_account_is_watched(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    watch = pager.workers.account_monitor
    watch.work()
    assert watch.problems == {}
    assert pager.count('notifier_ovh_credits_left{service_name="sms-emu12345-1"}') == 1000
    for change, words in (
        ({"senders": {"ACME": "refused"}}, "is not enabled: its status is refused"),
        ({"senders": {}}, "is not declared"),
        ({"credits": 0}, "no credits left"),
        ({"status": "disable"}, "is not enabled"),
        ({"is_valid_credential": False}, "cannot be asked"),
    ):
        for name, value in change.items():
            setattr(emulator.emulation, name, value)
        watch.work()
        assert words in watch.problems[""]
    emulator.emulation.senders = {"ACME": "enable"}
    emulator.emulation.is_valid_credential, emulator.emulation.status, emulator.emulation.credits = (
        True,
        "enable",
        5,
    )
    watch.work()
    assert watch.problems == {}


def test_retention_goes_little_by_little(make: Callable[..., Pager], hand: Hand) -> None:
    pager = make(storage={"url": "sqlite:///notifier.db", "retention": "1d"})
    retention = pager.workers.retention
    assert retention.work() == 5.0
    for status in ("firing", "resolved"):
        pager.post(webhook(alert(status=status)))
        pager.turn()
    hand.move(days=2)
    waits = []
    while (wait := retention.work()) is not None:
        waits.append(wait)
    assert set(waits) == {0.1}
    assert pager.rows() == []
    for _ in range(4):
        pager.backpressure.enter()
    assert retention.work() == 1.0


def test_other_work_gives_way_to_a_crowd_of_webhooks() -> None:
    slept: list[Any] = []
    now, spent = [100.0], [0.0]
    backpressure = Backpressure(lambda: now[0], slept.append, lambda: spent[0])

    def work() -> None:
        with backpressure.limited_share():
            spent[0] += 0.01

    work()
    assert slept == []
    for _ in range(4):
        backpressure.enter()
    assert backpressure.is_high
    work()
    work()
    assert slept == pytest.approx([0.125, 0.25])
    for _ in range(50):
        work()
    assert max(slept) == pytest.approx(0.5)
    for _ in range(4):
        backpressure.leave()
    now[0] += 1
    work()
    assert not backpressure.is_high
    assert len(slept) == 52


def test_a_trial_waits_for_the_one_under_way(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make()
    emulator.emulation.credits = 0
    pager.post(ONE)
    pager.turn()
    paused = pager.sender.paused
    pager.hand.move(seconds=60)
    another = Job("another", "", pager.hand(), ())
    pager.sender.threads.add([another], "", Work.SEND)
    pager.sender.work()
    assert pager.sender.paused == paused
    pager.sender.threads.discard([another], Work.SEND)


def test_claims_without_an_answer_are_returned_to_the_queue_and_overdue_jobs_reported(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    pager.turn()
    pager.hand.move(seconds=1)
    pager.post(ONE)
    pager.planner.work()
    (message,) = due_in(pager.store, pager.hand(), 1)
    job = Job(new_id(pager.hand()), message.text, pager.hand(), (message,))
    assert claim(pager.store, job), "the dispatcher does not learn of it"
    pager.turn(2)
    assert (pager.states(), len(texts(emulator))) == (["accepted"], 1)

    pager.post(webhook(alert("B"), key="b"))
    pager.planner.work()
    (message,) = due_in(pager.store, pager.hand(), 1)
    claim(pager.store, replace(job, tag=new_id(pager.hand()), messages=(message,)))
    pager.store.replica = new_id(pager.hand())
    pager.hand.move(seconds=32)
    pager.turn()
    assert (pager.sender.overdue, pager.count("notifier_jobs_overdue")) == (1, 1)


@both_engines
def test_jobs_that_a_stop_cancels_are_returned_to_the_queue(
    make: Callable[..., Pager], emulator: Emulator, engine_name: str
) -> None:
    pager = make()
    pager.post(ONE)
    pager.planner.work()
    pager.sender.threads._pool.shutdown()
    pager.sender.threads._pool = ThreadPoolExecutor(1)
    wait = threading.Event()
    pager.sender.threads._pool.submit(wait.wait)
    pager.sender.work()
    assert pager.states() == ["sending"]
    pager.sender.stop()
    wait.set()
    pager.store.submit(lambda _: None).result(10)  # what was handed in before is written
    assert pager.states() == ["queued"]
    pager.restart()
    pager.turn()
    assert (pager.states(), len(texts(emulator))) == (["accepted"], 1)


SHORT = {"ovh": {"sender": ..., "sender_for_response": True}}
"""A short number sends."""


def test_a_text_that_is_refused_for_its_content_is_sent_with_less_in_it(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.refuses_host_names = True
    steps = [{"name": "ops", "notify": ["alice"], "escalate": [{"after": "5m", "notify": ["bob"]}]}]
    pager = make(receivers=steps, **SHORT)
    pager.post(webhook(alert("Down", instance="10.0.0.5", severity="critical"), key="a"))
    pager.turn(3)
    assert texts(emulator) == ["FIRING #1 critical Down 10 0 0 5 since 12:13"]
    assert pager.count('notifier_sms_reduced_total{receiver="ops"}') == 1
    pager.run(310, step=10)
    assert texts(emulator)[1] == "ALERTE #1 critical Down 10 0 0 5 depuis 12:13", "each step is reduced, too"
    tried = pager.store.ledger.failed_attempts([row["id"] for row in pager.rows()])
    assert all("contact information" in one.error for tries in tried.values() for one in tries)


def test_a_text_that_is_refused_again_holds_status_number_and_severity_alone(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    content = {
        "status": 400,
        "error_class": "Client::BadRequest",
        "message": "cannot send contact information with shortcode",
    }
    emulator.faults.add(Fault(kind=FaultKind.ERROR, times=2, **content))
    pager = make(**SHORT)
    pager.post(ONE)
    pager.turn(4)
    assert texts(emulator) == ["FIRING #1 critical"]
    emulator.faults.add(Fault(kind=FaultKind.ERROR, times=3, **content))
    pager.post(webhook(alert("B"), key="b"))
    pager.turn(6)
    assert sorted(pager.states()) == ["accepted", "rejected"], "there is nothing left to leave out"


def refuse_by_receipt(pager: Pager, emulator: Emulator, ptt: Any) -> None:
    """Page, have the network refuse the content with *ptt*, and let the reduced text go out."""
    emulator.emulation.receipts[ALICE] = (2, ptt)
    pager.post(ONE)
    pager.turn()
    pager.hand.move(seconds=30)
    pager.follow()
    del emulator.emulation.receipts[ALICE]
    pager.turn()


@pytest.mark.parametrize("ptt", [28, 29])
def test_a_text_that_an_operator_refuses_for_its_content_is_sent_with_less_in_it(
    make: Callable[..., Pager], emulator: Emulator, ptt: Any
) -> None:
    pager = make()
    refuse_by_receipt(pager, emulator, ptt)
    pager.hand.move(seconds=30)
    pager.follow()
    assert texts(emulator)[1:] == ["FIRING #1 critical InstanceDown db-1 since 12:13"]
    assert pager.states() == ["delivered"]


def test_a_receipt_that_another_replica_has_read_before_sends_nothing_again(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager, read = make(), []
    write = pager.store.receipts.write
    monkeypatch.setattr(pager.store.receipts, "write", lambda *of: (read.append(of), write(*of))[1])
    refuse_by_receipt(pager, emulator, 28)
    assert len(texts(emulator)) == 2
    write(*read[0]).result()
    pager.turn(2)
    assert len(texts(emulator)) == 2
    pager.hand.move(seconds=30)
    pager.follow()
    assert pager.states() == ["delivered"]


def test_what_a_reduced_text_leaves_out() -> None:
    assert (
        plain("see https://a.example.net/x or ops@example.net, +33 6 39 98 00 01")
        == "see https: a example net x or ops example net,"
    )
    assert plain("12:13 disk 95% of 1234567 at 10.0.0.5") == "12:13 disk 95 of 1234567 at 10 0 0 5"


def test_answers_that_come_late_or_are_read_after_a_stop_prove_nothing_about_the_time_since(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pager = make()
    emulation, start = emulator.emulation, pager.hand()
    outgoing, pending, find, looks = emulation.outgoing, emulation.pending, pager.sender.settlement.find, []

    def is_listed() -> Any:
        return pager.hand() - start >= timedelta(seconds=10)

    def found(job: Any) -> Any:
        looks.append(find(job))
        if len(looks) == 3:
            pager.hand.move(seconds=20)
        return looks[-1]

    monkeypatch.setattr(emulation, "outgoing", lambda *of: outgoing(*of) if is_listed() else [])
    monkeypatch.setattr(emulation, "pending", lambda *of: pending(*of) if is_listed() else [])
    monkeypatch.setattr(pager.sender.settlement, "find", found)
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    pager.post(ONE)
    pager.run(60)
    assert len(looks) > 3
    assert len(texts(emulator)) == 1


def test_a_clock_that_is_set_forward_does_not_end_the_search_for_a_job(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    """The patience with OVHcloud's lists is counted in seconds that pass, not by the clock."""
    pager = make()
    passed = [0.0]
    pager.seconds = lambda: passed[0]
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    emulator.emulation.listing_delay = 3600
    pager.post(ONE)
    pager.turn()
    for _ in range(6):
        pager.hand.move(minutes=5)
        passed[0] += 2
        pager.turn()
    assert pager.states() == ["unsettled"]
    emulator.emulation.listing_delay = 0
    for sms in emulator.emulation.accepted:
        sms.listed_at = 0
    pager.hand.move(minutes=1)
    pager.turn()
    assert (pager.states(), len(texts(emulator))) == (["accepted"], 1)


class BusyAccount:
    """An account on which another program has 250 newer jobs pending."""

    def service_name(self) -> Any:
        return "sms-busy"

    def outgoing_ids(self, tag: Any) -> Any:
        return []

    def pending_ids(self) -> Any:
        return list(range(1, 252))

    def pending(self, id_: Any) -> Any:
        return Outgoing(id=id_, receiver=ALICE, tag="mine" if id_ == 1 else f"other-{id_}")


def test_a_job_behind_many_pending_ones_of_others_is_found(make: Callable[..., Pager]) -> None:
    known: list[Any] = []
    pager = make()
    pager.post(ONE)
    pager.planner.work()
    (message,) = due_in(pager.store, pager.hand(), 1)
    job = Job("mine", message.text, pager.hand(), (message,))
    assert [pager.sender.settlement.look(cast("Any", BusyAccount()), job, known) for _ in range(3)] == [
        False,
        False,
        True,
    ]
    assert len(matching(job, known)) == 1


@pytest.mark.parametrize(
    ("since", "verdict"),
    [(0, AskAgain), (25, AskAgain), (400, NotAccepted)],
    ids=["at once", "later", "in the end"],
)
def test_a_look_that_was_cut_off_is_no_evidence(since: Any, verdict: Any) -> None:
    found = settle(
        missing=1, found=0, failure=None, since=timedelta(seconds=since), listing_grace=timedelta(seconds=20),
        settle_timeout=timedelta(minutes=5), settle_attempts=9, is_replaceable=True, chance=0.5, is_complete=False,
    )  # fmt: skip
    assert isinstance(found, verdict)
    assert not isinstance(found, NotAccepted) or not found.is_certain


def test_the_last_resort_pages_the_receiver_of_each_alert_that_fires(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.workers.planner.plan", lambda *_: 1 / 0)
    receivers = [{"name": name, "notify": [who]} for name, who in (("web", "alice"), ("db", "bob"))]
    routes = [{"receiver": "db", "matchers": ['team="db"']}]
    pager = make(receivers=receivers, route={"receiver": "web", "routes": routes})
    over, fires = alert("WebSlow", team="web", status="resolved"), alert("DbDown", team="db")
    pager.post(webhook(over, fires, receiver="default"))
    for _ in range(5):
        pager.turn()
        pager.hand.move(seconds=2)
    assert [(sms.receiver, sms.message) for sms in emulator.emulation.accepted] == [(BOB, "FIRING DbDown")]
