from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.alertmanager.durations import brief_duration, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("30s", 30),
        ("10m", 600),
        ("1h30m", 5400),
        ("7d", 604800),
        ("1w", 604800),
        ("1y", 365 * 86400),
        ("250ms", 0.25),
        ("1d12h", 129600),
    ],
)
def test_reads_what_prometheus_reads(text: Any, seconds: Any) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1x", "30m1h", "1h 30m", "-5m", "1.5h", "1m1m", "٣s", "9" * 30 + "y"]
)
def test_refuses_what_prometheus_refuses(text: Any) -> None:
    with pytest.raises(ValueError, match="duration|longer"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650)))
def test_what_is_written_reads_back(duration: Any) -> None:
    whole = duration // timedelta(milliseconds=1) * timedelta(milliseconds=1)
    assert parse_duration(format_duration(duration)) == whole


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (45, "45s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (11100, "3h05m"),
        (86400, "1d"),
        (187200, "2d4h"),
    ],
)
def test_writes_for_a_person_by_the_two_largest_units(seconds: Any, text: Any) -> None:
    assert brief_duration(timedelta(seconds=seconds)) == text
