from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.sms.encoding import (
    Coding,
    Encoding,
    clean,
    clip,
    encode,
    measure,
    shorten,
    transliterate,
    without_contacts,
)

TEXT = st.text(max_size=700)


@pytest.mark.parametrize(
    ("text", "coding", "length", "parts", "part_length"),
    [
        ("", Coding.GSM, 0, 1, 160),
        ("a" * 160, Coding.GSM, 160, 1, 160),
        ("a" * 161, Coding.GSM, 161, 2, 153),
        ("a" * 306, Coding.GSM, 306, 2, 153),
        ("a" * 307, Coding.GSM, 307, 3, 153),
        ("€" * 80, Coding.GSM, 160, 1, 160),
        ("€" * 81, Coding.GSM, 162, 2, 153),
        # the euro does not fit into the last septet of the first part, and takes that septet with it
        ("a" * 152 + "€" + "b" * 152, Coding.GSM, 306, 3, 153),
        ("a" * 151 + "€" + "b" * 153, Coding.GSM, 306, 2, 153),
        ("é" * 160, Coding.GSM, 160, 1, 160),
        ("ê" * 70, Coding.UCS2, 70, 1, 70),
        ("ê" * 71, Coding.UCS2, 71, 2, 67),
        ("🔥" * 35, Coding.UCS2, 70, 1, 70),
        ("🔥" * 36, Coding.UCS2, 72, 2, 67),
        # 33 pairs fill 66 of 67 units: the 34th begins the second part
        ("🔥" * 67, Coding.UCS2, 134, 3, 67),
        ("^{}\\[~]|", Coding.GSM, 16, 1, 160),
    ],
)
def test_counts_parts_as_the_estimate_does(
    text: Any, coding: Any, length: Any, parts: Any, part_length: Any
) -> None:
    size = measure(text)
    assert (size.coding, size.length, size.parts, size.part_length) == (coding, length, parts, part_length)


@given(TEXT)
def test_transliteration_is_gsm_alone_and_keeps_what_gsm_has(text: Any) -> None:
    result = transliterate(text)
    assert measure(result).coding is Coding.GSM
    assert transliterate(result) == result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("La température dépasse 35 €", "La température dépasse 35 €"),
        ("“quotes” – dash…", '"quotes" - dash...'),
        ("Œuvre ê ç À `x`", "Oeuvre e c A 'x'"),
        ("fire 🔥 snow ☃ done", "fire snow done"),
        ("cafe\u0301", "café"),
        ("日本", "RiBen"),
        ("a\u202eb\u200bc\x1b[31m", "abc[31m"),
    ],
)
def test_the_rest_becomes_its_nearest_letters_or_goes(text: Any, expected: Any) -> None:
    assert encode(text, Encoding.GSM) == expected


@given(TEXT, st.sampled_from(Encoding))
def test_every_text_encodes(text: Any, encoding: Any) -> None:
    result = encode(text, encoding)
    result.encode("utf-16-le")
    assert not any(char in result for char in "\x00\x1b\r\u202e\ud800")
    if encoding is Encoding.GSM:
        assert measure(result).coding is Coding.GSM


@given(TEXT)
def test_auto_takes_whichever_has_fewer_parts(text: Any) -> None:
    parts = {e: measure(encode(text, e)).parts for e in Encoding}
    assert parts[Encoding.AUTO] == min(parts.values())


def test_auto_keeps_the_letters_unless_that_costs_parts() -> None:
    assert encode("Été ê", Encoding.AUTO) == "Été ê"
    assert encode("ê" * 71, Encoding.AUTO) == "e" * 71


@given(TEXT, st.integers(1, 6))
def test_shortened_text_fits_and_is_not_cut_inside_a_word(text: Any, parts: Any) -> None:
    text = encode(text, Encoding.UNICODE)
    short = shorten(text, parts)
    assert measure(short).parts <= parts
    if short != text:
        assert short.endswith("...")
        kept = short[:-3]
        assert text.startswith(kept)
        if any(c.isspace() for c in text[: len(kept)].strip()):
            assert text[len(kept) :].lstrip(" \n,;:-") != text[len(kept) :] or text[len(kept)].isspace()


def test_a_word_longer_than_the_message_is_cut() -> None:
    assert shorten("x" * 500, 1) == "x" * 157 + "..."


def test_clean_keeps_line_ends_and_folds_other_white_space() -> None:
    assert clean("a\r\nb\tc\u00a0 d\x00e") == "a\nb c de"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("down: see https://run.example.net/a?b=c now", "down: see now"),
        ("ask ops.team@example.net or mailto:x@y.fr now", "ask or now"),
        ("call +33 6 39 98 00 01, 0033639980001 or 06 39 98 00 01 now", "call , or now"),
        (
            "12:13 on 2026-11-25: 10.0.0.5 has 1234567 of 100 GB",
            "12:13 on 2026-11-25: 10.0.0.5 has 1234567 of 100 GB",
        ),
        ("www.example.net is down", "is down"),
        ("shop.example.net/cart slow", "slow"),
        ("db-1.example.net:9100 down 12.5% a/b", "db-1.example.net:9100 down 12.5% a/b"),
        ("Runbook: http://x.y", "Runbook"),
    ],
)
def test_urls_are_removed(text: Any, expected: Any) -> None:
    assert without_contacts(text) == expected


@given(st.text(max_size=80), st.integers(10, 60))
def test_clipping_keeps_the_words_that_fit(text: Any, length: Any) -> None:
    clipped = clip(text, length)
    assert measure(transliterate(clipped)).length <= length
    if clipped != text:
        assert clipped.endswith("...")
        assert text.startswith(clipped.removesuffix("..."))


def test_what_counts_twice_is_clipped_as_such() -> None:
    assert clip("{a} {b} {c} {d}", 14) == "{a} {b}..."  # 5 + 1 + 5, and the dots
    assert clip("one two three", 13) == "one two three"
    assert clip("one two three", 12) == "one two..."
    assert clip("unbroken" * 3, 12) == "unbrokenu..."
