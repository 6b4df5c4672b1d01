"""What replies mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.incidents.replies import Ack, Close, Help, Mute, Next, Unclear, Who, parse_reply
from notifier.incidents.reply_codes import reply_code, without_code


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("7", Ack((7,))), ("#7", Ack((7,))), (" 7 ", Ack((7,))), ("7.", Ack((7,))), ("７", Ack((7,))),
        ("ack", Ack()), ("ACK", Ack()), ("Ack.", Ack()), ("Ack!", Ack()), ("ackk", Ack()), ("\u00a0ack\u200b", Ack()),
        ("ok", Ack()), ("OK", Ack()), ("Ok!!", Ack()), ("okk", Ack()), ("Okay", Ack()), ("0k", Ack()), ("\U0001f44d", Ack()),
        ("ack 7", Ack((7,))), ("ack7", Ack((7,))), ("ACK #7", Ack((7,))), ("7 ok", Ack((7,))), ("ok 7.", Ack((7,))),
        ("Ack\n7", Ack((7,))), ("ack 7 8", Ack((7, 8))), ("ack 7, 7", Ack((7,))), ("ok ack 7", Ack((7,))),
        ("ok thanks", Ack()), ("merci, ok", Ack()), ("Got it!", Ack()), ("on it", Ack()), ("Je m'en occupe", Ack()), ("oui", Ack()), ("k", Ack()),
        ("take 7", Ack((7,), over=True)), ("Take", Ack(over=True)), ("je prends 7", Unclear()), ("prends 7", Ack((7,), over=True)),
        ("7?", Unclear()), ("ok?", Unclear()), ("17:30", Unclear()), ("06 12 34 56 78", Unclear()), ("+33 6 39 98 00 01", Unclear()),
        ("1-3", Unclear()), ("thanks", Unclear()), ("merci", Unclear()), ("qui ?", Who()), ("suivant", Next()), ("sourdine 7 2h", Mute(timedelta(hours=2), (7,))),
        ("next", Next()), ("NEXT", Next()), ("Next.", Next()), ("7 next", Next((7,))), ("next 7", Next((7,))), ("7next", Next((7,))),
        ("who", Who()), ("Who?", Who()), ("WHO ", Who()),
        ("mute 7 2h", Mute(timedelta(hours=2), (7,))), ("Mute 7 2h", Mute(timedelta(hours=2), (7,))),
        ("mute 2h", Mute(timedelta(hours=2))), ("7 mute 90 min", Mute(timedelta(minutes=90), (7,))),
        ("mute #7 1h30m", Mute(timedelta(minutes=90), (7,))), ("mute7 2h", Mute(timedelta(hours=2), (7,))),
        ("", Unclear()), ("?", Help()), ("help", Help()), ("Aide !", Help()), ("Help?", Help()), ("help me", Help()), ("Aidez-moi", Help()), ("I need help", Help()), ("ack 7 help", Unclear()), ("7 help", Unclear()), ("help? what do I reply", Unclear()), ("all", Ack(every=True)), ("ack all", Ack(every=True)),
        ("tout", Ack(every=True)), ("ack all please", Ack(every=True)), ("Thanks all", Unclear()), ("thank you all!", Unclear()), ("merci tous", Unclear()),
        ("You on it", Unclear()), ("you got it", Unclear()), ("thanks, you take", Unclear()), ("ok thank you", Ack()), ("all next", Unclear()), ("close 7", Close((7,))), ("7 resolve", Close((7,))), ("close", Unclear()), ("not ok", Unclear()), ("ack not", Unclear()),
        ("mute 7", Unclear()), ("mute 7 0h", Unclear()), ("mute", Unclear()), ("who 7", Unclear()), ("ack next", Unclear()),
        ("back", Unclear()), ("ask", Unclear()), ("I can't", Unclear()), ("STOP", Unclear()), ("12345678", Unclear()),
        ("ok I will look at it tomorrow", Unclear()), ("a" * 10_000, Unclear()), ("7" * 10_000, Unclear()),
    ],
)  # fmt: skip
def test_what_a_reply_means(text: Any, meaning: Any) -> None:
    assert parse_reply(text) == meaning


@given(st.text(max_size=200))
def test_whatever_comes_is_understood_or_not(text: Any) -> None:
    parse_reply(text)


def test_a_unit_of_time_is_no_code() -> None:
    for day in range(400):
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        code = reply_code(b"secret", "+33639980001", at)
        for words in ("mute 7 2 hr", "mute 7 90 ms"):
            text, is_theirs = without_code(f"{words} {code}", b"secret", "+33639980001", at)
            assert (text.split(), is_theirs) == (words.split(), True)
