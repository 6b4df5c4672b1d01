"""Decisions about a job that failed, or whose answer was lost.

Three kinds of failure. Transient errors are retried with exponential backoff and jitter. What
will never pass ends the message of that recipient at once. A problem that the operator must fix pauses sending
until a trial succeeds. Where the job may have been taken, OVHcloud is asked before anything is sent
again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from notifier.ovh.errors import Failure, Fate

FIRST_BACKOFF = timedelta(seconds=1)
LONGEST_BACKOFF = timedelta(minutes=1)
LONGEST_RETRY_AFTER = timedelta(minutes=5)

LISTING_DELAY = timedelta(seconds=20)
"""For how long a job that was taken may be missing from OVHcloud's lists: some seconds, and a margin."""


LISTING_GRACE_AFTER_5XX = timedelta(seconds=3)
"""The same after a 5xx, after which OVHcloud has hardly ever accepted the job."""

MIN_SETTLE_ATTEMPTS = 3
"""The minimum number of lookups before "not found" is final, so that a stepped clock does not decide."""


class PauseReason(StrEnum):
    """The problem that the operator has to fix before anything can be sent."""

    CREDENTIALS = "credentials"
    RIGHTS = "rights"
    ACCOUNT = "account"
    CREDITS = "credits"
    SENDER = "sender"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True)
class Retry:
    """OVHcloud did not accept it; send it again after *after*."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Ask:
    """OVHcloud may have accepted it: ask after *after*; "not found" is final once *listing_grace* has elapsed."""

    after: timedelta
    listing_grace: timedelta


@dataclass(frozen=True, slots=True)
class Reject:
    """OVHcloud will never accept it; end it."""


@dataclass(frozen=True, slots=True)
class Reduce:
    """Its content was refused; send it again at once with less in its text."""


@dataclass(frozen=True, slots=True)
class Split:
    """One of its recipients is refused; find out which by sending to each half."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing can be sent until the problem *reason* is fixed."""

    reason: PauseReason


@dataclass(frozen=True, slots=True)
class Resynchronise:
    """Our clock is out of step with OVHcloud's; ask for the time and send it again at once."""


Decision = Retry | Ask | Reject | Reduce | Split | Pause | Resynchronise

_CREDIT = re.compile(r"\bcredits?\b", re.IGNORECASE)
_CONTENT = re.compile(r"contact information|shortcode|\bspam\b|content not", re.IGNORECASE)
"""The words of OVHcloud for a text that it does not take, as a short number's with a URL."""
_RIGHTS = re.compile(r"not granted", re.IGNORECASE)
"""The words of OVHcloud's IAM for an action that no policy allows: ``User not granted for this request``."""
_SENDER = re.compile(r"\bsender", re.IGNORECASE)
"""The words of OVHcloud for a sender that it does not take: ``Sms sender X does not exists``, as 400, 403 or 404."""
_OF_THE_JOB = re.compile(r"\[(message|tag|charset|priority|noStopClause)\]", re.IGNORECASE)
"""Errors of the whole job, not of one of its recipients."""
_PAUSES = {
    "NOT_GRANTED_CALL": PauseReason.RIGHTS,
    "NOT_CREDENTIAL": PauseReason.CREDENTIALS,
    "INVALID_KEY": PauseReason.CREDENTIALS,
    "INVALID_CREDENTIAL": PauseReason.CREDENTIALS,
    "INVALID_SIGNATURE": PauseReason.CREDENTIALS,
    "OAUTH2": PauseReason.CREDENTIALS,
    "CONFIGURATION": PauseReason.CREDENTIALS,
    "SERVICE_NAME": PauseReason.ACCOUNT,
}
_MAX_SPLITS = 10
"""The number of attempts after which a sender counts as refused for all recipients."""
_PASSING = frozenset({408, 409, 423, 425, 429})
_PERHAPS_ACCEPTED = frozenset({504})


def decide_retry(failure: Failure, attempts: int, recipients: int, chance: float) -> Decision:
    """Return what to do about a job that failed.

    Args:
        failure: how it failed.
        attempts: how often its messages were sent before, this time included.
        recipients: how many it was for.
        chance: a random number from 0 to 1, for the jitter.
    """
    after = backoff(attempts, chance)
    if failure.is_preparing:
        return _before_the_call(failure, after, attempts)
    if failure.fate is Fate.NOT_SENT:
        return Retry(after)
    if failure.fate is Fate.LOST or failure.status in _PERHAPS_ACCEPTED:
        return Ask(FIRST_BACKOFF, LISTING_DELAY)
    if failure.status in _PASSING:
        if failure.retry_after is not None:
            wanted = timedelta(seconds=failure.retry_after)
            after = min(max(wanted, FIRST_BACKOFF * chance), LONGEST_RETRY_AFTER)
        return Retry(after)
    if failure.status is not None and failure.status >= 500:
        # The 5xx may come from a proxy in front of OVHcloud, so the job is looked up before it is sent again.
        return Ask(after, LISTING_GRACE_AFTER_5XX)
    if not failure.is_json:
        return Retry(after)  # a proxy's page: OVHcloud itself was not reached
    return _refused(failure, recipients, attempts)


def _refused(failure: Failure, recipients: int, attempts: int) -> Decision:
    if failure.status == 400 and _CONTENT.search(failure.message):
        return Reduce()
    if failure.code == "QUERY_TIME_OUT" or (failure.status == 400 and _is_about_time(failure)):
        return Resynchronise() if attempts <= 2 else Pause(PauseReason.CLOCK)
    if (reason := _PAUSES.get(failure.code or "")) is not None:
        return Pause(reason)
    if failure.status == 400 and re.search("signature", failure.message, re.IGNORECASE):
        return Pause(PauseReason.CREDENTIALS)
    if failure.status in (400, 402, 403) and _CREDIT.search(failure.message):
        return Pause(PauseReason.CREDITS)
    if failure.status == 401:
        return Pause(PauseReason.CREDENTIALS)
    if failure.status == 403 and _RIGHTS.search(failure.message):
        return Pause(PauseReason.RIGHTS)
    if failure.status in (400, 403, 404) and _SENDER.search(failure.message):
        is_for_one = recipients > 1 and attempts <= _MAX_SPLITS  # perhaps: for the country of its number
        return Split() if is_for_one else Pause(PauseReason.SENDER)
    if failure.status in (402, 403, 404, 460):
        return Pause(PauseReason.ACCOUNT)
    return Split() if recipients > 1 and not _OF_THE_JOB.search(failure.message) else Reject()


def _before_the_call(failure: Failure, after: timedelta, attempts: int) -> Decision:
    """Nothing was sent: retry, unless the operator has to fix something."""
    if failure.fate is Fate.ANSWERED and failure.is_json and (failure.status or 400) < 500:
        decision = _refused(failure, 1, attempts)
        if isinstance(decision, Pause):
            return decision
    return Retry(after)


def _is_about_time(failure: Failure) -> bool:
    return bool(re.search(r"timestamp|out of time|query.?time", failure.message, re.IGNORECASE))


def backoff(attempts: int, chance: float) -> timedelta:
    """Return how long to wait after *attempts* failed attempts: doubling, and between half and the whole of it."""
    doublings = max(0, min(attempts - 1, 10))
    whole: timedelta = min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)
    return whole * (0.5 + chance / 2)


# -- settling ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Accepted:
    """OVHcloud lists the job for all recipients: it was accepted."""


@dataclass(frozen=True, slots=True)
class NotAccepted:
    """OVHcloud does not list the job: send it again. *is_certain* is whether its lists could be read completely."""

    is_certain: bool


@dataclass(frozen=True, slots=True)
class AskAgain:
    """It is not known whether the job was accepted: ask again after *after*."""

    after: timedelta


Settled = Accepted | NotAccepted | AskAgain


def settle(
    *,
    missing: int,
    found: int,
    failure: Failure | None,
    since: timedelta,
    listing_grace: timedelta,
    settle_timeout: timedelta,
    settle_attempts: int,
    is_replaceable: bool,
    chance: float,
    is_complete: bool = True,
) -> Settled:
    """Return whether OVHcloud accepted a job whose answer was lost.

    Args:
        missing: of how many recipients OVHcloud's lists hold nothing.
        found: of how many they hold something.
        failure: why OVHcloud did not give its lists, if it did not.
        since: the time since this process first looked.
        listing_grace: for how long a job may be missing from the lists.
        settle_timeout: time after which the job is sent again if OVHcloud's lists could not be read completely.
        settle_attempts: how often OVHcloud was asked before.
        is_replaceable: whether another account could send it.
        chance: a random number from 0 to 1, for the jitter.
        is_complete: whether all of the lists was looked at; an absence from a list that was cut off is no evidence.
    """
    if failure is None and not missing:
        return Accepted()
    if failure is None and not is_complete:
        return (
            NotAccepted(is_certain=False)
            if since >= max(settle_timeout, listing_grace)
            else AskAgain(FIRST_BACKOFF)
        )
    if found:
        listing_grace = max(
            listing_grace, LISTING_DELAY
        )  # it was accepted; the others are only not listed yet
    believed = settle_attempts + 1 >= MIN_SETTLE_ATTEMPTS or listing_grace < LISTING_DELAY
    if failure is None and since >= listing_grace and believed:
        return NotAccepted(is_certain=True)
    if (
        failure is not None
        and not found
        and since >= max(settle_timeout, listing_grace)
        and (is_replaceable or not _bars_sending(failure))
    ):
        return NotAccepted(is_certain=False)
    wait = min(backoff(settle_attempts + 1, chance), timedelta(seconds=10))
    if failure is None:
        wait = min(wait, max(listing_grace - since, timedelta(milliseconds=100)))
    return AskAgain(wait)


def _bars_sending(failure: Failure) -> bool:
    """Return whether the failure of a lookup would also prevent sending."""
    if failure.fate is Fate.NOT_SENT:
        return True
    decision = decide_retry(failure, attempts=3, recipients=1, chance=0)
    return isinstance(decision, Pause) and decision.reason is not PauseReason.RIGHTS
