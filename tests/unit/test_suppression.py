"""What Alertmanager's answers mean for an incident."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.alertmanager.api import AlertmanagerApi, AlertStatus, MemberAnswer, Silence
from notifier.incidents.lifecycle import INHIBITION, Incident, IncidentState
from notifier.incidents.suppression import (
    GONE_FOR,
    KNOWS_ALL_AFTER,
    Judgement,
    Move,
    Standing,
    described,
    follow,
    judge,
)

NOW = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACTIVE = AlertStatus()
SILENCED = AlertStatus(("s1",))
INHIBITED = AlertStatus((), ("source",))


def answer(age: timedelta = timedelta(hours=1), **alerts: AlertStatus) -> MemberAnswer:
    return MemberAnswer(AlertmanagerApi("http://am", 1.0), NOW - age, alerts)


YOUNG = KNOWS_ALL_AFTER - timedelta(seconds=1)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([], Standing.UNKNOWN),
        ([answer(a=ACTIVE, b=ACTIVE)], Standing.FIRING),
        ([answer(a=SILENCED, b=ACTIVE)], Standing.FIRING),
        ([answer(a=SILENCED, b=SILENCED)], Standing.SUPPRESSED),
        ([answer(a=SILENCED, b=INHIBITED)], Standing.SUPPRESSED),
        ([answer(a=SILENCED)], Standing.SUPPRESSED),  # b is over
        ([answer(YOUNG, a=SILENCED)], Standing.UNKNOWN),  # b may not be known yet
        ([answer(YOUNG, a=SILENCED, b=SILENCED)], Standing.SUPPRESSED),
        ([answer()], Standing.GONE),
        ([answer(other=ACTIVE)], Standing.GONE),
        ([answer(YOUNG)], Standing.UNKNOWN),
        ([answer(YOUNG), answer()], Standing.GONE),
        ([answer(YOUNG, a=ACTIVE), answer()], Standing.FIRING),
        ([answer(a=SILENCED, b=SILENCED), answer(a=ACTIVE, b=SILENCED)], Standing.FIRING),
        ([answer(a=SILENCED, b=SILENCED), answer()], Standing.SUPPRESSED),
        ([answer(a=SILENCED), answer(b=INHIBITED)], Standing.SUPPRESSED),
    ],
)
def test_the_state_of_alerts_by_the_answers_of_members(answers: Any, expected: Any) -> None:
    judgement = judge(("a", "b"), answers, NOW)
    assert judgement.standing is expected
    assert judgement.is_listed is any({"a", "b"} & one.alerts.keys() for one in answers)


def test_without_fingerprints_nothing_is_known() -> None:
    assert judge((), [answer(a=ACTIVE)], NOW) == Judgement(Standing.UNKNOWN)


OPEN = Incident(
    id="1",
    number=7,
    receiver="ops",
    group_key="g",
    state=IncidentState.OPEN,
    title="t",
    labels={},
    alerts=frozenset("a"),
    webhook_id=None,
    opened_at=NOW,
    step=1,
    steps_taken=1,
    due_at=NOW + 10 * MINUTE,
    is_listed=True,
)
DUE = replace(OPEN, due_at=NOW)
QUIET = replace(OPEN, silenced_by="alice", silenced_until=NOW + 60 * MINUTE)
TAKEN = replace(OPEN, state=IncidentState.ACKNOWLEDGED, acknowledged_by="bob")


def learnt(standing: Standing) -> Judgement:
    return Judgement(standing, is_listed=standing in (Standing.FIRING, Standing.SUPPRESSED))


@pytest.mark.parametrize(
    ("incident", "standing", "expected", "changes"),
    [
        (OPEN, Standing.FIRING, Move.NONE, {}),
        (replace(OPEN, is_listed=False), Standing.FIRING, Move.NONE, {"is_listed": True}),
        (replace(OPEN, gone_since=NOW), Standing.FIRING, Move.NONE, {"gone_since": None}),
        (OPEN, Standing.UNKNOWN, Move.NONE, {}),
        (DUE, Standing.UNKNOWN, Move.NONE, {}),
        (OPEN, Standing.SUPPRESSED, Move.SILENCED, {}),
        (DUE, Standing.SUPPRESSED, Move.SILENCED, {"due_at": NOW + MINUTE}),
        (TAKEN, Standing.SUPPRESSED, Move.SILENCED, {}),
        (replace(TAKEN, due_at=NOW), Standing.SUPPRESSED, Move.SILENCED, {"due_at": NOW + MINUTE}),
        (replace(DUE, is_step_requested=True), Standing.SUPPRESSED, Move.SILENCED, {}),
        (QUIET, Standing.SUPPRESSED, Move.NONE, {}),
        (replace(QUIET, due_at=NOW), Standing.SUPPRESSED, Move.HELD, {"due_at": NOW + MINUTE}),
        (replace(QUIET, due_at=NOW, is_step_requested=True), Standing.SUPPRESSED, Move.NONE, {}),
        (QUIET, Standing.FIRING, Move.RELEASED, {"due_at": NOW}),
        (replace(QUIET, due_at=None, step=2), Standing.FIRING, Move.RELEASED, {"due_at": NOW, "step": 1}),
        (
            replace(TAKEN, silenced_by="alice"),
            Standing.FIRING,
            Move.RELEASED,
            {"silenced_by": "", "silenced_until": None},
        ),
        (replace(OPEN, is_listed=False), Standing.GONE, Move.NONE, {}),
        (replace(DUE, is_listed=False), Standing.GONE, Move.NONE, {}),
        (OPEN, Standing.GONE, Move.NONE, {"gone_since": NOW}),
        (DUE, Standing.GONE, Move.HELD, {"gone_since": NOW, "due_at": NOW + MINUTE}),
        (
            replace(DUE, gone_since=NOW - GONE_FOR / 2),
            Standing.GONE,
            Move.HELD,
            {"due_at": NOW + GONE_FOR / 2},
        ),
        (replace(OPEN, gone_since=NOW - GONE_FOR), Standing.GONE, Move.RESOLVED, {}),
        (replace(TAKEN, gone_since=NOW - GONE_FOR), Standing.GONE, Move.RESOLVED, {}),
    ],
)
def test_the_effect_on_an_incident(incident: Any, standing: Any, expected: Any, changes: Any) -> None:
    move, after = follow(incident, learnt(standing), NOW, MINUTE)
    assert move is expected
    assert after == replace(incident, **changes)


def silence(by: str, comment: str, hours: int) -> Silence:
    return Silence(createdBy=by, comment=comment, endsAt=NOW + timedelta(hours=hours))


def test_who_silenced_alerts_why_and_until_when() -> None:
    known = {
        "s1": silence("alice", "deploy", 1),
        "s2": silence("bob", "", 3),
        "s3": silence("alice", "deploy", 2),
    }
    both = Judgement(Standing.SUPPRESSED, (("s1", "s2"), ("s3",)))
    assert described(both, known, {}) == ("alice, bob", "deploy", NOW + timedelta(hours=2))
    unknown = Judgement(Standing.SUPPRESSED, (("s1",), ("s9",)))
    assert described(unknown, known, {}) == ("alice", "deploy", None)
    inhibited = Judgement(Standing.SUPPRESSED, inhibited_by=frozenset({"f", "g"}))
    assert described(inhibited, {}, {"f": "NodeDown"}) == (INHIBITION, "inhibited by NodeDown", None)
    hostile = {"s1": silence("a\nb\x1b[2J", "x" * 9999, 1)}
    assert described(Judgement(Standing.SUPPRESSED, (("s1",),)), hostile, {})[:2] == ("a b [2J", "x" * 200)
