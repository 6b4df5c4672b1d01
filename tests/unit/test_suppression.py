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
    Standing,
    Verdict,
    described,
    follow,
    judge,
)

NOW = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACTIVE = AlertStatus(silencedBy=(), inhibitedBy=())
SILENCED = AlertStatus(silencedBy=("s1",), inhibitedBy=())
INHIBITED = AlertStatus(silencedBy=(), inhibitedBy=("source",))


AM = AlertmanagerApi("http://am", 1.0)
LISTED_AT = NOW - timedelta(minutes=10)
OPEN = Incident(
    id="1",
    number=7,
    receiver="ops",
    group_key="g",
    state=IncidentState.OPEN,
    title="t",
    labels={},
    alerts=frozenset("ab"),
    firing=frozenset("ab"),
    webhook_id=None,
    opened_at=NOW,
    step=1,
    steps_taken=1,
    due_at=NOW + 10 * MINUTE,
    listed=frozenset("ab"),
    listed_by=frozenset({AM.id}),
    listed_at=LISTED_AT,
)
KEYS = {"a": "a", "b": "b"}


def answer(age: timedelta = timedelta(days=1), url: str = "http://am", **alerts: AlertStatus) -> MemberAnswer:
    return MemberAnswer(AlertmanagerApi(url, 1.0), NOW - age, alerts)


YOUNG = timedelta(minutes=9)  # it was started after it had listed the alerts
OTHER = "http://other"


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
        ([answer(KNOWS_ALL_AFTER)], Standing.GONE),
        ([answer(YOUNG), answer()], Standing.GONE),
        ([answer(YOUNG, a=ACTIVE), answer()], Standing.FIRING),
        ([answer(url=OTHER)], Standing.UNKNOWN),  # of another cluster, perhaps
        ([answer(url=OTHER), answer()], Standing.GONE),
        ([answer(a=SILENCED, b=SILENCED), answer(a=ACTIVE, b=SILENCED)], Standing.FIRING),
        ([answer(a=SILENCED, b=SILENCED), answer(url=OTHER)], Standing.SUPPRESSED),
        ([answer(a=SILENCED), answer(url=OTHER, b=INHIBITED)], Standing.SUPPRESSED),
    ],
)
def test_the_state_of_alerts_by_the_answers_of_members(answers: Any, expected: Any) -> None:
    judgement = judge(OPEN, KEYS, answers, NOW)
    assert judgement.standing is expected
    assert judgement.listed == {key for one in answers for key in KEYS if key in one.alerts}
    assert judgement.listed_by.keys() == {one.id for one in answers if {"a", "b"} & one.alerts.keys()}


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [({}, Standing.UNKNOWN), ({"a": SILENCED}, Standing.UNKNOWN), ({"b": ACTIVE}, Standing.FIRING)],
)
def test_an_alert_that_was_never_listed_may_be_of_another_sender(alerts: Any, expected: Any) -> None:
    assert judge(replace(OPEN, listed=frozenset("a")), KEYS, [answer(**alerts)], NOW).standing is expected


def test_without_fingerprints_nothing_is_known() -> None:
    assert judge(OPEN, {}, [answer(a=ACTIVE)], NOW) == Judgement(Standing.UNKNOWN)


DUE = replace(OPEN, due_at=NOW)
QUIET = replace(OPEN, silenced_by="alice", silence_seen_at=NOW - MINUTE)
TAKEN = replace(OPEN, state=IncidentState.ACKNOWLEDGED, acknowledged_by="bob")
LATE = NOW + 3 * MINUTE
HOUR = 60 * MINUTE
OVER = {"silenced_by": "", "silence_seen_at": None}


@pytest.mark.parametrize(
    ("incident", "standing", "expected", "changes"),
    [
        (OPEN, Standing.FIRING, Verdict.NONE, {}),
        (replace(OPEN, gone_since=NOW), Standing.FIRING, Verdict.NONE, {"gone_since": None}),
        (OPEN, Standing.UNKNOWN, Verdict.NONE, {}),
        (DUE, Standing.UNKNOWN, Verdict.NONE, {}),
        (QUIET, Standing.UNKNOWN, Verdict.LOST, OVER),
        (
            replace(QUIET, due_at=NOW + 2 * MINUTE),
            Standing.UNKNOWN,
            Verdict.LOST,
            OVER | {"due_at": NOW},
        ),
        (
            replace(QUIET, due_at=None, step=2),
            Standing.UNKNOWN,
            Verdict.LOST,
            OVER | {"due_at": NOW, "step": 1},
        ),
        (replace(QUIET, state=IncidentState.ACKNOWLEDGED), Standing.UNKNOWN, Verdict.LOST, OVER),
        (OPEN, Standing.SUPPRESSED, Verdict.SILENCED, {"silence_seen_at": NOW}),
        (DUE, Standing.SUPPRESSED, Verdict.SILENCED, {"silence_seen_at": NOW, "due_at": LATE}),
        (TAKEN, Standing.SUPPRESSED, Verdict.SILENCED, {"silence_seen_at": NOW}),
        (
            replace(TAKEN, due_at=NOW),
            Standing.SUPPRESSED,
            Verdict.SILENCED,
            {"silence_seen_at": NOW, "due_at": LATE},
        ),
        (
            replace(DUE, is_step_requested=True),
            Standing.SUPPRESSED,
            Verdict.SILENCED,
            {"silence_seen_at": NOW},
        ),
        (QUIET, Standing.SUPPRESSED, Verdict.NONE, {"silence_seen_at": NOW}),
        (
            replace(QUIET, due_at=NOW + MINUTE),
            Standing.SUPPRESSED,
            Verdict.NONE,
            {"silence_seen_at": NOW, "due_at": LATE},
        ),
        (
            replace(QUIET, due_at=NOW),
            Standing.SUPPRESSED,
            Verdict.HELD,
            {"silence_seen_at": NOW, "due_at": LATE},
        ),
        (
            replace(QUIET, due_at=NOW, silenced_until=NOW + MINUTE),
            Standing.SUPPRESSED,
            Verdict.HELD,
            {"silence_seen_at": NOW, "due_at": NOW + MINUTE},
        ),
        (
            replace(QUIET, due_at=NOW, is_step_requested=True),
            Standing.SUPPRESSED,
            Verdict.NONE,
            {"silence_seen_at": NOW},
        ),
        (QUIET, Standing.FIRING, Verdict.RELEASED, {"due_at": NOW}),
        (
            replace(QUIET, due_at=None, step=2),
            Standing.FIRING,
            Verdict.RELEASED,
            {"due_at": NOW, "step": 1},
        ),
        (replace(QUIET, is_step_requested=True), Standing.FIRING, Verdict.RELEASED, OVER),
        (replace(QUIET, released_at=NOW - HOUR), Standing.FIRING, Verdict.RELEASED, {"due_at": NOW}),
        (
            replace(QUIET, released_at=NOW - 4 * MINUTE),  # an inhibition flaps
            Standing.FIRING,
            Verdict.RELEASED,
            OVER | {"due_at": NOW + 6 * MINUTE},
        ),
        (replace(TAKEN, silenced_by="alice"), Standing.FIRING, Verdict.RELEASED, OVER),
        (OPEN, Standing.GONE, Verdict.NONE, {"gone_since": NOW}),
        (DUE, Standing.GONE, Verdict.HELD, {"gone_since": NOW, "due_at": NOW + MINUTE}),
        (
            replace(DUE, gone_since=NOW - GONE_FOR / 2),
            Standing.GONE,
            Verdict.HELD,
            {"due_at": NOW + GONE_FOR / 2},
        ),
        (replace(OPEN, gone_since=NOW - GONE_FOR), Standing.GONE, Verdict.RESOLVED, {}),
        (replace(OPEN, gone_since=NOW + HOUR), Standing.GONE, Verdict.NONE, {"gone_since": NOW}),
        (replace(TAKEN, gone_since=NOW - GONE_FOR), Standing.GONE, Verdict.RESOLVED, {}),
    ],
)
def test_the_effect_on_an_incident(incident: Any, standing: Any, expected: Any, changes: Any) -> None:
    verdict, after = follow(incident, Judgement(standing), NOW, MINUTE)
    assert verdict is expected
    assert after == replace(incident, **changes)


@pytest.mark.parametrize(
    ("seen", "until", "expected"),
    [(MINUTE, None, True), (2 * MINUTE, None, False), (MINUTE, NOW, False), (MINUTE, NOW + MINUTE, True)],
)
def test_without_an_answer_a_silence_is_believed_for_a_moment(seen: Any, until: Any, expected: Any) -> None:
    incident = replace(QUIET, due_at=NOW, silence_seen_at=NOW - seen, silenced_until=until)
    verdict, after = follow(incident, Judgement(Standing.UNKNOWN), NOW, MINUTE, is_answered=False)
    assert (verdict is Verdict.HELD) is expected
    assert (after.silenced_by == "alice") is expected


def test_the_time_of_the_list_moves_with_members_that_started_later() -> None:
    listing = Judgement(Standing.FIRING, listed=frozenset("a"), listed_by={"old": NOW - HOUR})
    _, after = follow(OPEN, listing, NOW, MINUTE)
    assert (after.listed_at, set(after.listed_by)) == (LISTED_AT, {AM.id, "old"})
    _, after = follow(OPEN, replace(listing, listed_by={"new": NOW - MINUTE}), NOW, MINUTE)
    assert (after.listed_at, set(after.listed_by)) == (NOW, {"new"})


def test_a_member_that_was_restarted_does_not_know_what_another_has_listed_since() -> None:
    """Both were restarted, one after the other; the alerts have come to the second alone, which does not answer now."""
    both = [answer(YOUNG), answer(YOUNG / 2, OTHER, a=ACTIVE, b=ACTIVE)]
    _, after = follow(OPEN, judge(OPEN, KEYS, both, NOW), NOW, MINUTE)
    assert judge(after, KEYS, both[:1], NOW).standing is Standing.UNKNOWN


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
