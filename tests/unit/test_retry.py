from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.delivery.retry import (
    LISTING_DELAY,
    LISTING_GRACE_AFTER_5XX,
    LONGEST_BACKOFF,
    LONGEST_RETRY_AFTER,
    Accepted,
    Ask,
    AskAgain,
    NotAccepted,
    Pause,
    PauseReason,
    Reject,
    Resynchronise,
    Retry,
    Split,
    backoff,
    decide_retry,
    settle,
)
from notifier.ovh.errors import Failure, Fate


def answered(
    status: Any, code: Any = None, message: Any = "no", retry_after: Any = None, is_json: Any = True
) -> Any:
    return Failure(Fate.ANSWERED, message, status, code, None, retry_after, is_json)


SECOND = timedelta(seconds=1)
BACKOFF = Retry(SECOND)

# Every error of the API, as its documentation and the wrapper have them.
TABLE = [
    ("no connection", Failure(Fate.NOT_SENT, "refused"), BACKOFF),
    ("no answer", Failure(Fate.LOST, "time-out"), Ask(SECOND, LISTING_DELAY)),
    ("garbage in a 200", Failure(Fate.LOST, "html"), Ask(SECOND, LISTING_DELAY)),
    ("too many requests", answered(429), BACKOFF),
    ("too many requests, wait", answered(429, retry_after=7), Retry(7 * SECOND)),
    ("too many requests, wait a day", answered(429, retry_after=86400), Retry(LONGEST_RETRY_AFTER)),
    ("conflict", answered(409), BACKOFF),
    ("request time-out", answered(408), BACKOFF),
    ("internal error", answered(500), Ask(SECOND, LISTING_GRACE_AFTER_5XX)),
    ("bad gateway, HTML", answered(502, is_json=False), Ask(SECOND, LISTING_GRACE_AFTER_5XX)),
    ("unavailable, HTML", answered(503, is_json=False), Ask(SECOND, LISTING_GRACE_AFTER_5XX)),
    ("gateway time-out", answered(504, is_json=False), Ask(SECOND, LISTING_DELAY)),
    ("a proxy's 403 page", answered(403, is_json=False), BACKOFF),
    ("right missing", answered(403, "NOT_GRANTED_CALL"), Pause(PauseReason.RIGHTS)),
    ("no credential", answered(403, "NOT_CREDENTIAL"), Pause(PauseReason.CREDENTIALS)),
    ("invalid key", answered(403, "INVALID_KEY"), Pause(PauseReason.CREDENTIALS)),
    ("expired credential", answered(403, "INVALID_CREDENTIAL"), Pause(PauseReason.CREDENTIALS)),
    ("forbidden", answered(403, "FORBIDDEN"), Pause(PauseReason.ACCOUNT)),
    ("another 403", answered(403, "Forbidden"), Pause(PauseReason.ACCOUNT)),
    ("OAuth2 refused", answered(401, "OAUTH2"), Pause(PauseReason.CREDENTIALS)),
    ("token refused", answered(401, "INVALID_TOKEN"), Pause(PauseReason.CREDENTIALS)),
    ("no credit", answered(403, "FORBIDDEN", "Not enough credits"), Pause(PauseReason.CREDITS)),
    ("no credit, as 400", answered(400, "BadRequest", "You have no more credit"), Pause(PauseReason.CREDITS)),
    ("payment required", answered(402), Pause(PauseReason.ACCOUNT)),
    ("service expired", answered(460), Pause(PauseReason.ACCOUNT)),
    ("no such account", answered(404, "NotFound", "This service does not exist"), Pause(PauseReason.ACCOUNT)),
    ("several accounts", Failure(Fate.ANSWERED, "2", code="SERVICE_NAME"), Pause(PauseReason.ACCOUNT)),
    ("bad signature", answered(400, "INVALID_SIGNATURE"), Pause(PauseReason.CREDENTIALS)),
    (
        "bad signature, no code",
        answered(400, "BadRequest", "Invalid signature"),
        Pause(PauseReason.CREDENTIALS),
    ),
    ("clock", answered(400, "QUERY_TIME_OUT"), Resynchronise()),
    ("clock, no code", answered(400, "BadRequest", "Invalid timestamp"), Resynchronise()),
    (
        "sender not valid",
        answered(400, "BadRequest", "[sender] Sender X is not valid"),
        Pause(PauseReason.SENDER),
    ),
    ("no such sender", answered(404, "NotFound", "This sender does not exist"), Pause(PauseReason.SENDER)),
    ("bad parameter", answered(400, "BadRequest", "[message] too long"), Reject()),
    ("unprocessable", answered(422), Reject()),
]


@pytest.mark.parametrize(("failure", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_what_each_error_calls_for(failure: Any, expected: Any) -> None:
    assert decide_retry(failure, attempts=1, recipients=1, chance=1.0) == expected


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_what_fails_before_the_call_never_ends_a_message_nor_needs_asking(row: Any) -> None:
    _, failure, expected = row
    decision = decide_retry(replace(failure, is_preparing=True), attempts=1, recipients=1, chance=1.0)
    assert decision == (expected if isinstance(expected, Pause) else BACKOFF)


def test_one_bad_recipient_among_many_is_looked_for() -> None:
    assert decide_retry(answered(400), attempts=1, recipients=2, chance=0) == Split()


def test_a_sender_is_refused_for_a_number_until_it_is_known_to_be_refused_for_any() -> None:
    refused = answered(403, message="Sms sender ACME does not exists. Please create it first")
    assert decide_retry(refused, attempts=1, recipients=2, chance=0) == Split()
    assert decide_retry(refused, attempts=1, recipients=1, chance=0) == Pause(PauseReason.SENDER)


@pytest.mark.parametrize("message", ["[message] too long", "[tag] too long"])
def test_what_is_wrong_with_the_whole_job_is_not_looked_for_in_its_recipients(message: Any) -> None:
    assert decide_retry(answered(400, message=message), attempts=1, recipients=500, chance=0) == Reject()


def test_a_clock_that_stays_out_of_step_pauses() -> None:
    assert decide_retry(answered(400, "QUERY_TIME_OUT"), attempts=3, recipients=1, chance=0) == Pause(
        PauseReason.CLOCK
    )


@given(st.integers(1, 1000), st.floats(0, 1))
def test_backoff_doubles_within_bounds(attempts: Any, chance: Any) -> None:
    wait = backoff(attempts, chance)
    whole = min(SECOND * 2 ** min(attempts - 1, 10), LONGEST_BACKOFF)
    assert whole / 2 <= wait <= whole


statuses = st.none() | st.integers(400, 599)


@given(
    st.sampled_from(Fate), statuses, st.none() | st.text(max_size=12), st.text(max_size=30),
    st.none() | st.floats(0, 1e9), st.booleans(), st.integers(1, 50), st.integers(1, 500), st.floats(0, 1),
)  # fmt: skip
def test_there_is_a_decision_for_anything_and_it_never_resends_what_may_be_taken(
    fate: Any,
    status: Any,
    code: Any,
    message: Any,
    retry_after: Any,
    is_json: Any,
    attempts: Any,
    recipients: Any,
    chance: Any,
) -> None:
    decision = decide_retry(
        Failure(fate, message, status, code, None, retry_after, is_json), attempts, recipients, chance
    )
    if fate is Fate.LOST:
        assert decision == Ask(SECOND, LISTING_DELAY)
    if isinstance(decision, Retry):
        assert timedelta(0) <= decision.after <= LONGEST_RETRY_AFTER


def verdict(**changes: Any) -> Any:
    facts = {
        "missing": 1,
        "found": 0,
        "failure": None,
        "since": timedelta(seconds=5),
        "listing_grace": LISTING_DELAY,
        "settle_timeout": timedelta(minutes=2),
        "settle_attempts": 0,
        "is_replaceable": False,
        "chance": 1.0,
    }
    return settle(**{**facts, **changes})


HANGS = Failure(Fate.LOST, "time-out")
DOWN = Failure(Fate.NOT_SENT, "refused")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"missing": 0}, Accepted()),
        ({}, AskAgain(SECOND)),
        ({"settle_attempts": 3}, AskAgain(8 * SECOND)),
        ({"settle_attempts": 9, "since": 12 * SECOND}, AskAgain(8 * SECOND)),
        ({"since": LISTING_DELAY, "settle_attempts": 2}, NotAccepted(is_certain=True)),
        # a clock that was stepped does not make an answer old: it is asked three times at least
        ({"since": timedelta(hours=1), "settle_attempts": 1}, AskAgain(timedelta(milliseconds=100))),
        ({"listing_grace": LISTING_GRACE_AFTER_5XX}, NotAccepted(is_certain=True)),
        # where some were taken, all were: the others are not listed yet
        ({"listing_grace": LISTING_GRACE_AFTER_5XX, "found": 1}, AskAgain(SECOND)),
        ({"failure": HANGS, "since": LISTING_DELAY}, AskAgain(SECOND)),
        ({"failure": HANGS, "since": timedelta(minutes=2)}, NotAccepted(is_certain=False)),
        ({"failure": HANGS, "since": timedelta(minutes=2), "found": 1}, AskAgain(SECOND)),
        ({"failure": answered(500), "since": timedelta(minutes=2)}, NotAccepted(is_certain=False)),
        # with no right to ask, it is sent again; with no right to anything, or no network, that is no use
        (
            {"failure": answered(403, "NOT_GRANTED_CALL"), "since": timedelta(minutes=2)},
            NotAccepted(is_certain=False),
        ),
        ({"failure": answered(403, "INVALID_CREDENTIAL"), "since": timedelta(hours=1)}, AskAgain(SECOND)),
        ({"failure": DOWN, "since": timedelta(hours=1)}, AskAgain(SECOND)),
    ],
)
def test_what_became_of_a_job(facts: Any, expected: Any) -> None:
    assert verdict(**facts) == expected


def test_a_403_of_iam_is_about_rights_and_one_about_the_sender_about_the_sender() -> None:
    def refused(message: Any) -> Any:
        return decide_retry(Failure(Fate.ANSWERED, message, status=403, code="Forbidden"), 1, 1, 0.5)

    assert refused("User not granted for this request") == Pause(PauseReason.RIGHTS)
    assert refused("Sms sender ACME does not exists. Please create it first") == Pause(PauseReason.SENDER)
    assert refused("This service is disabled") == Pause(PauseReason.ACCOUNT)
