"""An emulated VoIP line that makes phone calls.

Source: ``telephony.CallsGenerated`` in OVHcloud's API schema. How the real one behaves was never tried.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from notifier.emulator.models import bad_request, not_found, rfc3339

_PARAMETERS = {
    "bridgeNumberDialplan",
    "calledNumber",
    "callingNumber",
    "dialplan",
    "isAnonymous",
    "playbackAudioFileDialplan",
    "timeout",
    "ttsTextDialplan",
}
_MAILBOX = 25.0
"""Seconds after which a mailbox answers, and after which it hangs up."""


class Answer(StrEnum):
    """What somebody does when the phone rings."""

    NONE = "none"
    """Lets it ring."""
    KEY = "key"
    """Answers, and presses a key."""
    HANG_UP = "hang-up"
    """Answers, and hangs up without pressing a key."""
    REJECT = "reject"
    MAILBOX = "mailbox"
    OUT_OF_ORDER = "out-of-order"
    """The network of OVHcloud is out of order."""


@dataclass(slots=True)
class PhoneCall:
    """A phone call."""

    identifier: str
    receiver: str
    caller: str | None
    text: str
    began_at: float
    rings_until: float
    answered_at: float | None = None
    ended_at: float | None = None
    cause: str | None = None
    dtmf: str = ""

    def json(self) -> dict[str, Any]:
        """Return it as ``/automaticCall/{identifier}`` does."""

        def at(instant: float | None) -> str | None:
            return None if instant is None else rfc3339(instant)

        is_talk = self.answered_at is not None and self.ended_at is not None
        return {
            "identifier": self.identifier,
            "uuid": self.identifier,
            "callee": self.receiver,
            "caller": self.caller,
            "callCreatedDatetime": at(self.began_at),
            "answerDatetime": at(self.answered_at),
            "hangupDatetime": at(self.ended_at),
            "hangupCause": self.cause or "UnknownOrCallUnfinished",
            "callDuration": int((self.ended_at or 0) - (self.answered_at or 0)) if is_talk else 0,
            "dtmf": self.dtmf or None,
        }


@dataclass
class Telephony:
    """A billing account with one line. Its attributes may be changed while it is in use."""

    clock: Callable[[], float]
    billing_account: str = "emu12345-ovh-1"
    line: str = "0033199001234"
    answers: dict[str, Answer] = field(default_factory=dict)
    """What the owner of each number does; who is not here lets it ring."""
    calls: list[PhoneCall] = field(default_factory=list)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def call(self, body: Mapping[str, Any]) -> str:
        """Call a number, as ``POST …/automaticCall`` does; return the identifier."""
        for name in body:
            if name not in _PARAMETERS:
                raise bad_request(f"[{name}] Given parameter is not known")
        if body.get("dialplan") != "ReadText":
            raise bad_request("[dialplan] is not one of those that this emulator knows")
        if not isinstance(body.get("isAnonymous"), bool):
            raise bad_request("[isAnonymous] Missing parameter")
        number, text = str(body.get("calledNumber") or ""), body.get("ttsTextDialplan")
        if not number.removeprefix("+").isdecimal() or not isinstance(text, str) or not text:
            raise bad_request("[calledNumber] or [ttsTextDialplan] Missing parameter")
        with self._lock:
            now = self.clock()
            made = PhoneCall(
                f"call-{next(self._ids)}",
                "+" + number.removeprefix("+").removeprefix("00"),
                body.get("callingNumber"),
                text,
                now,
                now + float(body.get("timeout") or 20),
            )
            self.calls.append(made)
            answer = self.answers.get(made.receiver, Answer.NONE)
            if answer is Answer.KEY:
                self._press(made, "1")
            elif answer is Answer.HANG_UP:
                made.answered_at = made.ended_at = now
                made.cause = "NormalCallClearing"
            elif answer is Answer.OUT_OF_ORDER:
                made.ended_at, made.cause = now, "CodeSip503NetworkOutOfOrder"
            elif answer is Answer.REJECT:
                made.ended_at, made.cause = now, "CodeSip603CallRejected"
        return made.identifier

    def get(self, identifier: str) -> dict[str, Any]:
        """Return a call."""
        for one in self._current():
            if one.identifier == identifier:
                return one.json()
        raise not_found()

    def identifiers(self) -> list[str]:
        """Return the identifiers of all calls."""
        return [one.identifier for one in self._current()]

    def ringing(self, number: str) -> PhoneCall | None:
        """Return the call that makes the phone of *number* ring now."""
        return next((one for one in self._current() if one.receiver == number and one.cause is None), None)

    def press(self, number: str, key: str) -> None:
        """Answer the phone of *number* and press *key*; with none, hang up."""
        with self._lock:
            ringing = self.ringing(number)
            if ringing is None:
                raise bad_request("[phone] It does not ring")
            if key:
                self._press(ringing, key)
            else:
                ringing.ended_at, ringing.cause = self.clock(), "CodeSip603CallRejected"

    def _press(self, call: PhoneCall, key: str) -> None:
        call.answered_at = call.ended_at = self.clock()
        call.dtmf, call.cause = key, "NormalCallClearing"

    def _current(self) -> list[PhoneCall]:
        """Return the calls as they are now: those that nobody answered have ended."""
        with self._lock:
            now = self.clock()
            for one in self.calls:
                if one.cause is not None:
                    continue
                if self.answers.get(one.receiver) is Answer.MAILBOX and now >= one.began_at + _MAILBOX:
                    one.answered_at = one.began_at + _MAILBOX
                    if now >= one.answered_at + _MAILBOX:
                        one.ended_at, one.cause = one.answered_at + _MAILBOX, "NormalCallClearing"
                elif now >= one.rings_until:
                    one.ended_at, one.cause = one.rings_until, "CodeSip480NoAnswerFromUser"
            return list(self.calls)
