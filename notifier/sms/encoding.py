"""The text of an SMS: its alphabet, its parts, its nearest letters, and the longest that fits.

Facts from 3GPP TS 23.038 (the GSM 7-bit default alphabet and its extension table) and TS 23.040
(concatenation): 160 septets in one part and 153 in each of several; anything outside the alphabet makes
the whole message UCS-2, 70 UTF-16 code units in one part and 67 in each of several. A character that
takes two septets, or a surrogate pair, is never split across parts.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from anyascii import anyascii

MAX_PARTS = 6
"""The most parts that OVHcloud sends as one message."""

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("^{}\\[~]|€")
_GSM = _BASIC | _EXTENSION
_JOINERS = frozenset("\u200d\ufe0f")  # they hold an emoji together
_EMOJI_NAME = re.compile(r"(:[a-z0-9_+-]+:)+")
_SPACES = re.compile(r"[^\S\n]+")
_CONTACT = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]*://|\bwww\.)\S+|\b(?:[\w-]+\.)+[a-z]{2,}/\S*"  # URLs
    r"|(?:mailto:)?[\w.%+-]+@[\w-]+(?:\.[\w-]+)+"  # e-mail addresses
    r"|(?:tel:)?(?<![\w.])(?:\+|00)\d(?:[ .()-]{0,2}\d){7,14}(?!\d)"  # telephone numbers, international
    r"|(?<![\w.:-])0\d(?:[ .-]?\d\d){4}(?![\d.:])",  # and of ten digits, as in France
    re.IGNORECASE,
)


class Coding(StrEnum):
    """How a message travels; the words are those of ``charactersClass`` in ``POST /sms/estimate``."""

    GSM = "7bits"
    UCS2 = "unicode"


class Encoding(StrEnum):
    """The encoding of a receiver (``encoding:``)."""

    GSM = "gsm"
    UNICODE = "unicode"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a text: *length* in septets or UTF-16 code units, *parts* of at most *part_length*."""

    coding: Coding
    length: int
    parts: int
    part_length: int


_LIMITS = {Coding.GSM: (160, 153), Coding.UCS2: (70, 67)}


def _width(char: str, coding: Coding) -> int:
    if coding is Coding.GSM:
        return 2 if char in _EXTENSION else 1
    return 2 if char > "\uffff" else 1


def measure(text: str) -> Size:
    """Return the coding that *text* needs and the parts it takes, as ``POST /sms/estimate`` counts them."""
    coding = Coding.GSM if _GSM.issuperset(text) else Coding.UCS2
    single, several = _LIMITS[coding]
    if coding is Coding.GSM:
        length = len(text) + sum(map(text.count, _EXTENSION))
    else:
        length = len(text.encode("utf-16-le", "surrogatepass")) // 2
    if length <= single:
        return Size(coding, length, 1, single)
    if length == len(text):  # nothing in it is wide, so nothing can be pushed to the next part
        return Size(coding, length, -(-length // several), several)
    parts, used = 1, 0
    for char in text:
        width = _width(char, coding)
        if used + width > several:
            parts, used = parts + 1, 0
        used += width
    return Size(coding, length, parts, several)


def clean(text: str) -> str:
    """Return *text* in its composed form, without characters that have no place in a message.

    Control and formatting characters (escapes, bidirectional overrides, zero-width spaces), lone
    surrogates and unassigned code points go; line ends become ``\\n`` and other white space one space.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii() and text.isprintable():
        return _SPACES.sub(" ", text)
    kept = []
    for char in unicodedata.normalize("NFC", text):
        if char.isspace():
            kept.append("\n" if char in "\n\u2028\u2029" else " ")
        elif unicodedata.category(char)[0] != "C" or char in _JOINERS:
            kept.append(char)
    return _SPACES.sub(" ", "".join(kept))


@lru_cache(maxsize=4096)
def _nearest(char: str) -> str:
    if char in _GSM:
        return char
    if char == "`":
        return "'"
    ascii_ = anyascii(char)
    if _EMOJI_NAME.fullmatch(ascii_):
        return ""
    return "".join("'" if c == "`" else c for c in ascii_ if c in _GSM or c == "`")


def transliterate(text: str) -> str:
    """Return *text* in the GSM alphabet alone: its characters are kept, others become their nearest letters.

    Characters without a transliteration (an emoji, a combining mark without its base) are dropped. The result always
    measures as `Coding.GSM`.
    """
    if _GSM.issuperset(text):
        return text
    return "".join(map(_nearest, unicodedata.normalize("NFC", text)))


def room(text: str) -> int:
    """Return how many septets are left in the parts that *text* takes in the GSM alphabet."""
    size = measure(transliterate(text))
    return size.parts * size.part_length - size.length


def encode(text: str, encoding: Encoding, ending: str = "") -> str:
    """Return *text* cleaned and as *encoding* wants it on the air.

    `Encoding.AUTO` keeps the letters unless transliterating them saves parts, counted with the *ending* that follows.
    """
    text = clean(text)
    if encoding is Encoding.UNICODE:
        return text
    gsm = _SPACES.sub(" ", transliterate(text))
    if encoding is Encoding.AUTO and measure(text + ending).parts <= measure(gsm + ending).parts:
        return text
    return gsm


def shorten(text: str, max_parts: int) -> str:
    """Return *text* if it fits into *max_parts* parts, or else as many of its words as do, then ``...``.

    A word is cut only when it alone is longer than the whole message may be.
    """
    if measure(text).parts <= max_parts:
        return text
    return _cut(text, _longest_prefix(text, max_parts))


def clip(text: str, length: int) -> str:
    """Return *text* if it takes at most *length* septets in the GSM alphabet, or else the words that do, then ``...``.

    A word is cut only when it alone is longer.
    """
    used, limit = 0, 0
    for place, char in enumerate(text):
        used += 1 if char in _BASIC else sum(_width(near, Coding.GSM) for near in _nearest(char))
        if used <= length - len("..."):
            limit = place + 1
        elif used > length:
            return _cut(text, limit)
    return text


def _cut(text: str, limit: int) -> str:
    """Return the words of *text* that end within *limit* characters, then ``...``."""
    ends = [match.end() for match in re.finditer(r"\S(?=\s)", text[: limit + 1])]
    if ends:
        return text[: ends[-1]].rstrip(" \n,;:.-") + "..."
    return text[:limit] + "..."


def _longest_prefix(text: str, max_parts: int) -> int:
    lengths = range(min(len(text), MAX_PARTS * 160) + 1)
    return bisect_right(lengths, max_parts, key=lambda at: measure(text[:at] + "...").parts) - 1


def without_contacts(text: str) -> str:
    """Return *text* without URLs, e-mail addresses and telephone numbers.

    OVHcloud refuses a message from a short number that holds contact information.
    """
    if not _CONTACT.search(text):
        return text
    lines = (_SPACES.sub(" ", _CONTACT.sub("", line)).lstrip().rstrip(" :-") for line in text.split("\n"))
    return "\n".join(line for line in lines if line.strip())
