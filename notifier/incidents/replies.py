"""Parses replies, tolerating the accidents of phone keyboards."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from notifier.alertmanager.durations import parse_duration

_LONGEST = 160
_MAX_NUMBERS, _HIGHEST = 10, 999_999
_KINDS = {
    "ack": (
        *("ack", "acked", "acknowledge", "acknowledged", "ok", "okay", "okey", "oki", "oke", "0k", "k"),
        *("yes", "yep", "mine", "oui", "vu", "pris"),
    ),
    "take": ("take", "prends", "reprends"),
    "all": ("all", "tout", "tous", "toutes"),
    "next": ("next", "nxt", "escalate", "suivant"),
    "close": ("close", "closed", "resolve", "resolved", "clore", "clos", "fermer"),
    "who": ("who", "whos", "qui"),
}
_KIND = {word: kind for kind, words in _KINDS.items() for word in words}
"""What each word asks for."""
_HELP = frozenset({"help", "aide", "aidez"})
_MAX_WORDS_OF_HELP = 3
_MUTE = frozenset({"mute", "silence", "sourdine"})
_POLITE = frozenset({"thanks", "thank", "thx", "please", "pls", "merci", "svp", "stp"})
_PHRASES = {"thank you": "thanks", "i m on it": "ok", "got it": "ok", "on it": "ok", "je m en occupe": "ok"}
_THUMBS = ("👍", "👌", "✅")
_NO_NUMBER = re.compile(r"\?|\d\s*[-:./+]\s*\d|\+\s*\d|\b0\d")
"""Characters that make digits a time, a range, a telephone number or a question."""
_DURATION = re.compile(r"(?:\d+\s*(?:mins?|hrs?|min|ms|[smhdw])\s*)+$")
_UNITS = (("mins", "m"), ("min", "m"), ("hrs", "h"), ("hr", "h"))


_KNOWN = _KIND.keys() | _POLITE


@dataclass(frozen=True, slots=True)
class Ack:
    """The sender has the incidents of these *numbers*; without any, the last they were paged for.

    An incident that somebody else has is left to them, unless the sender takes it *over*.
    """

    numbers: tuple[int, ...] = ()
    over: bool = False
    every: bool = False
    """Whether the sender has *everything* that they were paged for."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the incidents of these *numbers*, which Alertmanager does not resolve."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Help:
    """The sender asks what can be replied."""


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


Command = Ack | Next | Close | Who | Help | Mute | Unclear


def command_of(command: Command) -> str:
    """Return the name of *command* in the key ``replies.may``."""
    return type(command).__name__.lower()


def parse_reply(text: str) -> Command:
    """Return what *text* means.

    Case, punctuation, spaces of any kind, doubled letters and missing spaces (``ACK7``, ``#7 ok!!``) do not matter,
    nor do a few polite words. A text with any other word, a question, a time or a telephone number has no meaning: a
    page must not count as taken by mistake.
    """
    if len(text) > _LONGEST:
        return Unclear()
    given = unicodedata.normalize("NFKC", text).casefold()
    if any(thumb in given for thumb in _THUMBS):
        given = re.sub("[^\\w\\s#]", " ", given) + (" ok" if not re.search(r"[a-z]", given) else "")
    if _asks_for_help(given):
        return Help()
    is_unclear = _NO_NUMBER.search(given) is not None
    given = " ".join(re.sub(r"[^\w\s]|_", " ", given).split())
    for phrase, word in _PHRASES.items():
        given = re.sub(rf"\b{phrase}\b", word, given)
    if _KIND.get(given) == "who":
        return Who()
    if is_unclear:
        return Unclear()
    if (mute := _mute(given)) is not None:
        return mute
    words, numbers = [], []
    for token in re.findall(r"0k|\d+|[^\W\d]+", given):
        if token.isdecimal():
            numbers.append(int(token[:7]))
        elif token not in _POLITE:
            words.append(token if token in _KNOWN else re.sub(r"(.)\1+", r"\1", token))
    if len(numbers) > _MAX_NUMBERS or any(number > _HIGHEST for number in numbers):
        return Unclear()
    is_polite = not _POLITE.isdisjoint(given.split())
    return _command(
        {_KIND.get(word, "unknown") for word in words}, tuple(dict.fromkeys(numbers)), len(words), is_polite
    )


def _asks_for_help(given: str) -> bool:
    words = re.findall(r"\w+", given)
    is_command = any(word in _KNOWN - _POLITE or not word.isalpha() for word in words)
    is_short = len(words) <= _MAX_WORDS_OF_HELP
    return given.strip(" .!") == "?" or (is_short and not is_command and not _HELP.isdisjoint(words))


def _command(kinds: Collection[str], numbers: tuple[int, ...], words: int, is_polite: bool) -> Command:
    """Return the meaning of one or two *words* of these *kinds*, with *numbers*, with or without polite words."""
    if kinds == {"all"} or kinds == {"all", "ack"}:  # "all", "ack all"
        is_thanks = is_polite and kinds == {"all"}  # "thanks all"
        return Ack(every=True) if not (numbers or words > 2 or is_thanks) else Unclear()
    if len(kinds) > 1 or words > 2 or not (kinds or numbers):
        return Unclear()
    match next(iter(kinds), "ack"):
        case "ack":
            return Ack(numbers)
        case "take":
            return Ack(numbers, over=True)
        case "next":
            return Next(numbers)
        case "close" if numbers:
            return Close(numbers)
        case "who" if not numbers:
            return Who()
    return Unclear()


def _mute(given: str) -> Mute | None:
    words = [w for w in re.sub(r"\b(mute|silence)(?=\d)", r"\1 ", given).split() if w not in _POLITE]
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
