"""Reply codes: two letters in a page, which a reply must hold where ``ovh.replies.require_code`` is set.

The sender number of an SMS can be forged, so a number alone does not prove who writes. A forger has not seen the page.
A person's code is the same for a day, and is good on the day after it, too.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

_LETTERS = "BCDFGJKLNPQRSTVWXZ"
"""No vowels, H or M, so that a code is never a word or a unit of time ("hr", "ms")."""
_CODE = re.compile(rf"(?<![^\W\d_])[{_LETTERS}]{{2}}(?![^\W\d_])", re.IGNORECASE)
MAX_WRONG = 10
"""How many replies without the right code a number may send within `WRONG_PER`; after that, none is obeyed."""
WRONG_PER = timedelta(days=1)


def reply_code(key: bytes, phone: str, now: datetime) -> str:
    """Return the code of the day of *now* for who has *phone*; *key* is a secret of this installation."""
    day = now.astimezone(UTC).date().isoformat()
    digest = hmac.digest(key, f"{phone} {day}".encode(), "sha256")
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:2])


def _good_codes(key: bytes, phone: str, at: datetime) -> set[str]:
    """Return the codes that a reply of *phone* may hold at *at*: those of the day and of the day before."""
    return {reply_code(key, phone, day) for day in (at, at - timedelta(days=1))}


def without_code(text: str, key: bytes, phone: str, at: datetime) -> tuple[str, bool]:
    """Return *text*, written at *at* by who has *phone*, without codes, and whether the one that it held is theirs.

    A code follows a number (``7KP``, ``#7 kp``) or stands alone (``ok KP``).
    """
    codes = _good_codes(key, phone, at)
    given = {code.upper() for code in _CODE.findall(text)}
    # One alone: a reply may not hold guesses.
    return _CODE.sub(" ", text), len(given) == 1 and given <= codes


def hide_codes(text: str, key: bytes, phone: str, times: Iterable[datetime]) -> str:
    """Return *text* with the codes replaced that a reply of *phone* may hold at *times*.

    A digest may quote pages of the day before, with their codes.
    """
    codes = {code for at in times for code in _good_codes(key, phone, at)}
    return re.sub(rf"(?<![^\W\d_])({'|'.join(codes)})(?![^\W\d_])", "··", text) if codes else text
