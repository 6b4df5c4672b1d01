"""What people mean by what they reply, with the accidents of phone keyboards."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import timedelta

from notifier.durations import parse_duration

_LONGEST = 160
_ACK = frozenset({"ack", "acked", "acknowledge", "acknowledged", "ok", "okay", "okey", "oki", "oke", "0k"})
_NEXT = frozenset({"next", "nxt", "escalate"})
_WHO = frozenset({"who", "whos"})
_MUTE = frozenset({"mute", "silence"})
_THUMBS = ("👍", "👌", "✅")
_DURATION = re.compile(r"(?:\d+\s*(?:mins?|hrs?|min|ms|[smhdw])\s*)+$")
_UNITS = (("mins", "m"), ("min", "m"), ("hrs", "h"), ("hr", "h"))


@dataclass(frozen=True, slots=True)
class Ack:
    """The sender has the incidents of these *numbers*; without any, the last they were paged for."""

    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Next:
    """The next one is to be paged at once."""

    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Who:
    """The sender asks who is on call."""


@dataclass(frozen=True, slots=True)
class Mute:
    """Alertmanager is to be silent about the incident for *duration*."""

    duration: timedelta
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Unclear:
    """Nothing that is known."""


Command = Ack | Next | Who | Mute | Unclear


def parse_reply(text: str) -> Command:
    """Return what *text* means.

    Case, punctuation, spaces of any kind, doubled letters and missing spaces (``ACK7``, ``#7 ok!!``)
    do not matter. What holds any other word means nothing: a page must not count as taken by mistake.
    """
    if len(text) > _LONGEST:
        return Unclear()
    given = unicodedata.normalize("NFKC", text).casefold()
    if any(thumb in given for thumb in _THUMBS):
        given = re.sub("[^\\w\\s#]", " ", given) + (" ok" if not re.search(r"[a-z]", given) else "")
    given = " ".join(re.sub(r"[^\w\s]|_", " ", given).split())
    if (mute := _mute(given)) is not None:
        return mute
    words, numbers = [], []
    for token in re.findall(r"0k|\d+|[^\W\d]+", given):
        if token.isdecimal():
            if len(token) > 6:
                return Unclear()
            numbers.append(int(token))
        else:
            words.append(re.sub(r"(.)\1+", r"\1", token) if token not in _ACK | _WHO | _NEXT else token)
    kinds = {_kind(word) for word in words}
    if len(kinds) > 1 or len(words) > 2 or len(numbers) > 10 or not (words or numbers):
        return Unclear()
    found = tuple(dict.fromkeys(numbers))
    match next(iter(kinds), "ack"):
        case "ack":
            return Ack(found)
        case "next":
            return Next(found)
        case "who" if not found:
            return Who()
    return Unclear()


def _kind(word: str) -> str:
    if word in _ACK:
        return "ack"
    if word in _NEXT:
        return "next"
    return "who" if word in _WHO else "unknown"


def _mute(given: str) -> Mute | None:
    words = re.sub(r"\b(mute|silence)(?=\d)", r"\1 ", given).split()
    if not _MUTE.intersection(words):
        return None
    rest = " ".join(word for word in words if word not in _MUTE)
    numbers: tuple[int, ...] = ()
    if match := re.match(r"(\d{1,6})\s+(?=\d)", rest):
        numbers, rest = (int(match[1]),), rest[match.end() :]
    if not _DURATION.fullmatch(rest):
        return None
    compact = rest.replace(" ", "")
    for long, short in _UNITS:
        compact = compact.replace(long, short)
    try:
        duration = parse_duration(compact)
    except ValueError:
        return None
    return Mute(duration, numbers) if duration else None
