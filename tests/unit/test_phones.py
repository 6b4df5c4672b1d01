from __future__ import annotations

import re
from typing import Any

import pytest

from notifier.sms.phones import looks_like_number, mask, mask_all, parse_mobile


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("+33639980001", None),
        ("+33 6 39 98 00 01", None),
        ("0033639980001", None),
        ("06 39 98 00 01", "FR"),
        ("06.39.98.00.01", "FR"),
        ("+33 (0)6 39 98 00 01", None),
    ],
)
def test_reads_numbers_as_people_write_them(text: Any, region: Any) -> None:
    assert parse_mobile(text, region) == "+33639980001"


def test_reads_other_fiction_and_other_countries() -> None:
    assert parse_mobile("+44 7700 900123") == "+447700900123"
    assert parse_mobile("+1 202-555-0123") == "+12025550123"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("06 39 98 00 01", "set global.default_region"),
        ("alice", "is not a phone number"),
        ("", "is not a phone number"),
        ("+33 1 42 68 53 00", "is not a mobile number"),
        ("+33 6 39", "not a number in use"),
        ("+999 123456789", "is not a phone number"),
        ("+336xxxxxxxx", "holds more than a number"),
        ("+33 6 39 98 00 01 ext 5", "holds more than a number"),
        ("+33639980001x5", "holds more than a number"),
        ("tel:+33639980001", "holds more than a number"),
        ("+33639980001;ext=5", "holds more than a number"),
        ("+336#9980001", "holds more than a number"),
    ],
)
def test_refuses_what_receives_no_sms_and_says_why(text: Any, complaint: Any) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_mobile(text)


def test_masks_the_middle() -> None:
    assert mask("+33639980001") == "+336••••0001"
    assert mask("+3363") == "••••"
    assert mask_all("to +33639980001, +447700900123.") == "to +336••••0001, +447••••0123."
    assert mask_all("at 1795352730067962316, id 100000001") == "at 1795352730067962316, id 100000001"
    for text in (
        "0033639980001",
        "+33 6 39 98 00 01",
        "%2B33639980001",
        "x+33639980001",
        "+33.6.39.98.00.01",
    ):
        assert "6399" not in re.sub(r"\D", "", mask_all(text)), mask_all(text)
    assert mask_all("2026-11-22T12:00:00+00:00 in 2000 ms") == "2026-11-22T12:00:00+00:00 in 2000 ms"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("+33 6 39 98 00 01", True),
        ("06/39/98/00/01", True),
        ("+33\xa06\xa039\xa098\xa000\xa001", True),
        ("team1", False),
        ("alice", False),
        ("06", False),
    ],
)
def test_a_number_is_told_from_a_name(text: str, expected: bool) -> None:
    assert looks_like_number(text) is expected
