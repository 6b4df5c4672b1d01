"""The cookies of people who signed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.web.pages.sign_in import own_path
from notifier.web.sessions import VALID_FOR, new_session, user_of

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
HASHES = {"alice": b"$2b$10$alice", "Łukasz": b"$2b$10$lukasz"}


@pytest.mark.parametrize("name", HASHES)
def test_a_session_identifies_its_user_for_thirty_days(name: Any) -> None:
    cookie = new_session(b"key", name, HASHES[name], NOW)
    for moment, expected in (
        (NOW, name),
        (NOW + VALID_FOR - timedelta(seconds=1), name),
        (NOW + VALID_FOR, None),
    ):
        assert user_of(cookie, b"key", HASHES, moment) == expected


def test_a_session_ends_with_the_password_the_user_and_the_key() -> None:
    cookie = new_session(b"key", "alice", HASHES["alice"], NOW)
    assert user_of(cookie, b"key", {**HASHES, "alice": b"$2b$10$other"}, NOW) is None
    assert user_of(cookie, b"key", {"Łukasz": HASHES["Łukasz"]}, NOW) is None
    assert user_of(cookie, b"other", HASHES, NOW) is None


def test_nobody_can_write_a_session() -> None:
    name, expires, signature = new_session(b"key", "alice", HASHES["alice"], NOW).split(".")
    other = new_session(b"key", "Łukasz", HASHES["Łukasz"], NOW).split(".")[0]
    later = str(int(expires) + 1)
    forged = [
        "", ".", "..", "a.b.c", f"{name}.{later}.{signature}", f"{other}.{expires}.{signature}",
        f"{name}.{expires}.", f"{name}.{expires}.é", f"{name}.{expires}", f"{name}.{'9' * 400}.{signature}",
        f"{name}.-1.{signature}", f"{name}.nan.{signature}", f"\x00.{expires}.{signature}", f"=.{expires}.{signature}",
    ]  # fmt: skip
    for cookie in forged:
        assert user_of(cookie, b"key", HASHES, NOW) is None, cookie


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", "/"), ("/incidents/7?did=ack", "/incidents/7?did=ack"), ("//evil.example", "/"), ("/\\evil.example", "/"),
     ("https://evil.example", "/"), ("", "/"), ("/a\r\nSet-Cookie: x", "/"), ("/a b", "/"), ("/\t/evil.example", "/")],
)  # fmt: skip
def test_signing_in_leads_to_no_other_site(path: Any, expected: Any) -> None:
    assert own_path(path) == expected
