"""Phone calls: a key acknowledges, no answer escalates, and nothing else depends on them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.delivery.calls import LONGEST_CALL, CallEnd, CallState, end_of, needless, not_made
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.emulator.telephony import Answer
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.ovh.errors import Failure, Fate
from notifier.ovh.models import AutomaticCall
from notifier.ovh.telephony import Line
from notifier.rendering.phrases import spoken
from notifier.timeline import message_timeline
from notifier.web.api.models import MessageDetails
from notifier.workers.actions import Via
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB
from tests.support.pager import Pager
from tests.support.postgres import both_engines
from tests.support.team import CAROL, CONTACTS, firing, later, over, told

pytestmark = pytest.mark.usefixtures("by_hand")

TELEPHONY = {"telephony": {"billing_account": "emu12345-ovh-1", "line": "0033199001234"}}
CALLS = "/automaticCall"


def calling(*names: str, **changes: Any) -> Any:
    """Return a configuration that pages alice, calls *names* after 3 minutes, and pages carol after another 10."""
    steps = [
        {"after": "3m", "notify": list(names or ["bob"]), "call": True},
        {"after": "10m", "notify": ["carol"]},
    ]
    return {
        "ovh": TELEPHONY,
        "contacts": CONTACTS,
        "receivers": [{"name": "ops", "notify": ["alice"], "escalate": steps}],
        **changes,
    }


def paged(pager: Pager, seconds: int = 190) -> None:
    """Page alice, and let 3 minutes pass."""
    pager.post(firing("A"))
    pager.run(170, step=10)
    pager.run(seconds - 170, step=1)


def events(pager: Pager) -> list[tuple[str, str | None, str | None]]:
    (incident,) = pager.store.incidents.latest(9)
    return [(event.kind, event.by, event.via) for event in pager.store.incidents.history(incident.id)]


def states(pager: Pager) -> list[tuple[str, str | None]]:
    found = pager.store.calls.of([row["id"] for row in pager.rows()])
    return [(one.state, one.detail) for _, one in sorted(found.items())]


@both_engines
def test_a_key_acknowledges(make: Callable[..., Pager], emulator: Emulator, engine_name: str) -> None:
    pager = make(**calling())
    emulator.emulation.telephony.answers[BOB] = Answer.KEY
    paged(pager)
    (call,) = emulator.emulation.telephony.calls
    assert (call.receiver, call.caller) == (BOB, "0033199001234")
    words = "critical alert number 1: A db-1. Press any key to acknowledge."
    assert call.text == f"Notifier. {words} {words}"
    assert events(pager)[-1] == ("acknowledged", "bob", "call")
    assert states(pager) == [("acknowledged", "key 1 pressed")]
    pager.run(900, step=10)
    assert [who for who, _ in told(emulator)] == ["alice", "bob", "alice"]  # alice is told that bob has it
    assert pager.count('notifier_acknowledgements_total{via="call"}') == 1
    assert pager.count('notifier_calls_total{outcome="acknowledged"}') == 1
    assert len(emulator.emulation.telephony.calls) == 1


@both_engines
@pytest.mark.parametrize(
    ("answer", "seconds", "detail"),
    [
        (Answer.NONE, 40, "not answered (CodeSip480NoAnswerFromUser)"),
        (Answer.REJECT, 0, "not answered (CodeSip603CallRejected)"),
        (Answer.HANG_UP, 0, "answered, but no key pressed (NormalCallClearing)"),
        (Answer.MAILBOX, 50, "answered, but no key pressed (NormalCallClearing)"),
    ],
)
def test_who_does_not_press_a_key_was_not_reached_and_the_next_step_comes_at_once(
    make: Callable[..., Pager],
    emulator: Emulator,
    engine_name: str,
    answer: Answer,
    seconds: int,
    detail: str,
) -> None:
    pager = make(**calling())
    emulator.emulation.telephony.answers[BOB] = answer
    paged(pager, 180 + seconds - 1)
    assert [who for who, _ in told(emulator)] == ["alice", "bob"][: 1 + bool(seconds)]
    pager.run(10, step=1)
    assert [who for who, _ in told(emulator)] == ["alice", "bob", "carol"]
    assert states(pager) == [("unanswered", detail)]
    pager.run(1200, step=10)
    assert len(emulator.emulation.telephony.calls) == 1
    assert len(told(emulator)) == 3


def test_of_two_who_are_called_one_key_is_enough_and_one_who_rings_is_waited_for(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**calling("bob", "alice"))
    emulator.emulation.telephony.answers |= {BOB: Answer.REJECT}
    paged(pager, 200)
    assert {call.receiver for call in emulator.emulation.telephony.calls} == {BOB, ALICE}
    assert "carol" not in [who for who, _ in told(emulator)]
    emulator.emulation.telephony.press(ALICE, "5")
    pager.run(30, step=1)
    assert events(pager)[-1] == ("acknowledged", "alice", "call")
    pager.run(1200, step=10)
    assert "carol" not in [who for who, _ in told(emulator)]


@pytest.mark.parametrize("how", ["acknowledged", "resolved"])
def test_nobody_is_called_for_what_is_over_and_a_call_that_rings_does_not_take_over(
    make: Callable[..., Pager], emulator: Emulator, how: str
) -> None:
    pager = make(**calling())
    paged(pager, 185)
    (incident,) = pager.store.incidents.latest(9)
    if how == "acknowledged":
        pager.actions.acknowledge(incident.id, "alice", Via.SMS)
    else:
        later(pager, over("A"), seconds=1)
    emulator.emulation.telephony.press(BOB, "1")
    pager.run(20, step=1)
    (after,) = pager.store.incidents.latest(9)
    assert (after.state, after.acknowledged_by) == (how, "alice" if how == "acknowledged" else None)
    assert pager.count('notifier_acknowledgements_total{via="call"}') == 0


def test_a_call_that_waits_while_somebody_acknowledges_is_not_made(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, path=CALLS, times=1))
    pager = make(**calling())
    paged(pager, 183)
    (incident,) = pager.store.incidents.latest(9)
    pager.actions.acknowledge(incident.id, "alice", Via.SMS)
    pager.run(60, step=1)
    assert emulator.emulation.telephony.calls == []
    assert states(pager) == [("withdrawn", "the incident is acknowledged")]


def test_who_was_called_a_moment_ago_is_not_called_for_the_next_incident(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    """The SMS is there, and the step comes when it is due."""
    pager = make(**calling())
    pager.post(firing("A", key="a"))
    pager.post(firing("B", key="b"))
    pager.run(170, step=10)
    pager.run(20, step=1)
    assert len(emulator.emulation.telephony.calls) == 1
    assert ("withdrawn", "called a moment ago") in states(pager)
    emulator.emulation.telephony.press(BOB, "1")
    pager.run(60, step=1)
    assert sorted(one.state for one in pager.store.incidents.latest(9)) == ["acknowledged", "open"]
    assert "carol" not in [who for who, _ in told(emulator)]
    pager.run(600, step=10)
    assert "carol" in [who for who, _ in told(emulator)]


@pytest.mark.parametrize(
    ("fault", "made", "detail"),
    [
        (
            Fault(kind=FaultKind.ERROR, status=403, path=CALLS, times=None),
            0,
            "403 InternalServerError: Internal",
        ),
        (
            Fault(kind=FaultKind.ERROR, status=503, path=CALLS, times=None),
            0,
            "503 InternalServerError: Internal",
        ),
        (Fault(kind=FaultKind.RESET_BEFORE, path=CALLS, times=None), 0, "OVHcloud may have called"),
        (Fault(kind=FaultKind.RESET_AFTER, path=CALLS, times=1), 1, "OVHcloud may have called"),
    ],
)
def test_a_call_that_fails_is_reported_and_the_steps_go_on_in_time(
    make: Callable[..., Pager], emulator: Emulator, fault: Fault, made: int, detail: str
) -> None:
    emulator.faults.add(fault)
    pager = make(**calling())
    paged(pager, 240)
    assert len(emulator.emulation.telephony.calls) == made
    ((state, why),) = states(pager)
    assert state == "failed"
    assert detail in (why or "")
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]  # not at once
    pager.run(600, step=10)
    assert [who for who, _ in told(emulator)] == ["alice", "bob", "carol"]
    problem = pager.workers.calls.problem
    assert problem is not None
    assert detail in problem
    pager.hand.move(hours=1)
    assert pager.workers.calls.problem is None
    assert pager.count('notifier_calls_total{outcome="failed"}') == 1


def test_a_transient_error_is_tried_again(make: Callable[..., Pager], emulator: Emulator) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, path=CALLS, times=2))
    pager = make(**calling())
    emulator.emulation.telephony.answers[BOB] = Answer.KEY
    paged(pager, 210)
    assert len(emulator.emulation.telephony.calls) == 1
    assert events(pager)[-1] == ("acknowledged", "bob", "call")


def test_while_the_outcome_cannot_be_read_it_is_asked_for_again(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**calling())
    paged(pager, 181)
    (call,) = emulator.emulation.telephony.calls
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, method="GET", status=500, path="/" + call.identifier, times=3)
    )
    emulator.emulation.telephony.press(BOB, "1")
    pager.run(20, step=1)
    assert events(pager)[-1] == ("acknowledged", "bob", "call")


@both_engines
def test_a_call_is_not_made_twice_by_a_process_that_ended_meanwhile(
    make: Callable[..., Pager], emulator: Emulator, engine_name: str
) -> None:
    pager = make(**calling())
    paged(pager, 179)
    pager.hand.move(seconds=2)
    while pager.escalator.work() is not None:
        pass
    claimed = pager.store.calls.claim(pager.hand(), timedelta(minutes=1)).result(10)
    assert claimed is not None  # and the process is killed
    pager.restart()
    pager.run(59, step=1)
    assert states(pager) == [("calling", None)]
    pager.run(5, step=1)
    assert states(pager) == [("failed", "its answer was lost; OVHcloud may have called")]
    assert emulator.emulation.telephony.calls == []


def test_after_a_kill_a_call_that_rings_is_still_followed(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**calling())
    paged(pager, 185)
    pager.restart()
    emulator.emulation.telephony.press(BOB, "1")
    pager.run(5, step=1)
    assert events(pager)[-1] == ("acknowledged", "bob", "call")


def test_a_reload_without_the_line_ends_its_calls(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**calling())
    paged(pager, 185)
    plain = calling()
    plain["receivers"][0]["escalate"][0].pop("call")
    pager.reload(**{**plain, "ovh": {}})
    pager.run(10, step=1)
    assert states(pager) == [("failed", "ovh.telephony is not configured any more")]
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]


def test_a_number_without_a_name_is_not_called(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**calling(CAROL))
    paged(pager)
    assert emulator.emulation.telephony.calls == []
    assert [who for who, _ in told(emulator)] == ["alice", "carol"]


def test_timeline_and_api_tell_of_the_call(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**calling())
    emulator.emulation.telephony.answers[BOB] = Answer.REJECT
    paged(pager)
    message = next(row for row in pager.rows() if row["contact"] == "bob")
    details = pager.store.ledger.details(message["id"])
    assert details is not None
    lines = [(line.what, line.detail) for line in message_timeline(details)]
    assert ("calling", "") in lines
    assert ("call unanswered", "not answered (CodeSip603CallRejected)") in lines
    shown = MessageDetails.with_timeline(details, lambda text: text)
    assert shown.call is not None
    assert (shown.call.state, shown.call.detail) == ("unanswered", "not answered (CodeSip603CallRejected)")


def test_who_was_called_for_an_earlier_step_is_called_again_only_later_and_does_not_hold_the_next_step_up(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    changes = calling()
    changes["receivers"][0]["escalate"].insert(1, {"after": "5m", "notify": ["bob", "alice"], "call": True})
    emulator.emulation.telephony.answers |= {BOB: Answer.REJECT, ALICE: Answer.REJECT}
    pager = make(**changes)
    paged(pager, 200)
    assert [call.receiver for call in emulator.emulation.telephony.calls] == [BOB, ALICE]
    assert "carol" in [who for who, _ in told(emulator)]


def test_a_fault_of_the_network_leaves_the_steps_at_their_time(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.telephony.answers[BOB] = Answer.OUT_OF_ORDER
    pager = make(**calling())
    paged(pager, 240)
    assert states(pager) == [("failed", "OVHcloud could not call: CodeSip503NetworkOutOfOrder")]
    assert [who for who, _ in told(emulator)] == ["alice", "bob"]
    assert pager.workers.calls.problem is not None


def test_a_step_with_a_number_that_is_not_called_keeps_its_time(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.emulation.telephony.answers[BOB] = Answer.REJECT
    changes = calling("bob", "+33639980009")
    changes["receivers"][0]["escalate"][1]["notify"] = ["alice"]
    pager = make(**changes)
    paged(pager, 240)
    assert states(pager) == [("unanswered", "not answered (CodeSip603CallRejected)")]
    assert len(emulator.emulation.accepted) == 3


def test_a_call_does_not_outlive_its_step(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**calling())
    paged(pager, 179)
    pager.hand.move(seconds=2)
    while pager.escalator.work() is not None:
        pass
    pager.hand.move(hours=12)  # killed, and started again
    pager.restart()
    pager.run(30, step=5)
    assert emulator.emulation.telephony.calls == []
    assert states(pager) == [("withdrawn", "another step has been taken")]


def test_a_contact_with_a_new_number_is_called_there(make: Callable[..., Pager], emulator: Emulator) -> None:
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=429, path=CALLS, times=1))
    pager = make(**calling())
    paged(pager, 183)
    moved = [{**one, "phone": "+33639980009"} if one["name"] == "bob" else one for one in CONTACTS]
    pager.reload(**{**calling(), "contacts": moved})
    pager.run(15, step=1)
    assert [call.receiver for call in emulator.emulation.telephony.calls] == ["+33639980009"]


def test_a_call_whose_answer_cannot_be_understood_keeps_no_other_from_being_read(
    make: Callable[..., Pager], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.emulation.telephony.answers[ALICE] = Answer.KEY
    pager = make(**calling("bob", "alice"))
    real = Line.get

    def get(line: Line, identifier: str) -> AutomaticCall:
        call = next(one for one in emulator.emulation.telephony.calls if one.identifier == identifier)
        if call.receiver == BOB:
            raise RecursionError("nested too deeply")
        return real(line, identifier)

    monkeypatch.setattr(Line, "get", get)
    paged(pager, 190)
    assert events(pager)[-1] == ("acknowledged", "alice", "call")
    pager.run(200, step=5)
    assert ("failed", "its outcome cannot be read: RecursionError: nested too deeply") in states(pager)


def test_a_call_is_ended_once_by_whichever_replica_is_first(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**calling())
    paged(pager, 185)
    pager.hand.move(seconds=5)
    claimed = pager.store.calls.claim(pager.hand(), timedelta(minutes=1)).result(10)
    assert claimed is not None
    ends = [
        pager.store.calls.end(claimed, state, "", pager.hand()).result(10)
        for state in (CallState.ACKNOWLEDGED, CallState.FAILED)
    ]
    assert ends == [True, False]
    assert [state for state, _ in states(pager)] == ["acknowledged"]


AT = "2026-11-22T12:20:00Z"


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        ({}, None, ""),
        ({"answerDatetime": AT}, None, ""),
        ({"dtmf": ""}, None, ""),
        ({"dtmf": ","}, None, ""),
        ({"hangupCause": "UnknownOrCallUnfinished"}, None, ""),
        ({"hangupCause": "UnknownOrCallUnfinished", "answerDatetime": AT}, None, ""),
        ({"hangupDatetime": "nonsense"}, None, ""),
        ({"dtmf": "1,2"}, CallState.ACKNOWLEDGED, "key 1 pressed"),
        ({"dtmf": 5, "answerDatetime": ""}, CallState.ACKNOWLEDGED, "key 5 pressed"),
        ({"dtmf": "#"}, CallState.ACKNOWLEDGED, "key # pressed"),
        ({"dtmf": "1", "hangupCause": "NormalCallClearing"}, CallState.ACKNOWLEDGED, "key 1 pressed"),
        ({"hangupCause": "CodeSip486UserBusy"}, CallState.UNANSWERED, "not answered (CodeSip486UserBusy)"),
        ({"hangupDatetime": AT}, CallState.UNANSWERED, "not answered"),
        (
            {"hangupCause": "UnknownOrCallUnfinished", "hangupDatetime": AT},
            CallState.UNANSWERED,
            "not answered",
        ),
        (
            {"hangupCause": "NormalCallClearing", "answerDatetime": AT},
            CallState.UNANSWERED,
            "answered, but no key pressed (NormalCallClearing)",
        ),
        ({"hangupCause": "GatewayDown"}, CallState.FAILED, "OVHcloud could not call: GatewayDown"),
        ({"hangupCause": "NewCause"}, CallState.FAILED, "OVHcloud could not call: NewCause"),
    ],
)
def test_how_a_call_ended(hand: Hand, answer: Any, state: CallState | None, detail: str) -> None:
    call = AutomaticCall.model_validate(answer)
    end = end_of(call, hand(), hand() + timedelta(seconds=5))
    assert (end and (end.state, end.detail)) == (state and (state, detail))
    if state is None:
        over_ = CallEnd(CallState.UNANSWERED, "OVHcloud has not reported its end")
        assert end_of(call, hand(), hand() + LONGEST_CALL) == over_
        assert end_of(call, hand(), hand() - timedelta(hours=1)) is None  # the clock was set back


@pytest.mark.parametrize(
    ("failure", "attempts", "state", "detail"),
    [
        (Failure(Fate.NOT_SENT, "no connection"), 1, None, ""),
        (Failure(Fate.ANSWERED, "slow down", 429), 2, None, ""),
        (Failure(Fate.ANSWERED, "bad token", 401, is_preparing=True), 1, None, ""),
        (Failure(Fate.NOT_SENT, "no connection"), 3, CallState.FAILED, "no connection"),
        (Failure(Fate.ANSWERED, "no such line", 404), 1, CallState.FAILED, "404: no such line"),
        (Failure(Fate.ANSWERED, "oops", 504), 1, CallState.FAILED, "504: oops; OVHcloud may have called"),
        (Failure(Fate.LOST, "no answer"), 1, CallState.FAILED, "no answer; OVHcloud may have called"),
    ],
)
def test_a_call_is_made_again_only_if_it_was_surely_not_made(
    failure: Failure, attempts: int, state: CallState | None, detail: str
) -> None:
    end = not_made(failure, attempts)
    assert (end and (end.state, end.detail, end.is_fault)) == (state and (state, detail, True))


@pytest.mark.parametrize(
    ("incident", "how", "expected"),
    [
        ({}, {}, None),
        (
            {"state": IncidentState.RESOLVED, "resolved_at": datetime(2026, 1, 1, tzinfo=UTC)},
            {},
            "the incident is resolved",
        ),
        (
            {"state": IncidentState.ACKNOWLEDGED, "acknowledged_by": "alice"},
            {},
            "the incident is acknowledged",
        ),
        ({"silenced_by": "alice"}, {}, "the incident is silenced"),
        ({}, {"is_of_last_step": False}, "another step has been taken"),
        ({}, {"is_contact": False}, "the contact is not configured any more"),
        ({}, {"has_been_called": True}, "called a moment ago"),
    ],
)
def test_whether_a_call_is_needed(incident: Any, how: Any, expected: str | None) -> None:
    values = {
        "state": IncidentState.OPEN,
        "labels": {},
        "alerts": frozenset(),
        "webhook_id": None,
        **incident,
    }
    about = Incident("i", 7, "ops", "g", title="A", opened_at=datetime(2026, 1, 1, tzinfo=UTC), **values)
    usual = {"is_of_last_step": True, "is_contact": True, "has_been_called": False}
    assert needless(about, **{**usual, **how}) == expected


def test_the_text_is_read_in_the_language_of_the_contact() -> None:
    words = "Alerte critical numéro 7 : Disque db-1. Appuyez sur une touche pour la prendre en charge."
    assert spoken("fr", 7, "critical", "Disque db-1") == f"Notifier. {words} {words}"
    assert "  " not in spoken("en", 7, "", "A")
