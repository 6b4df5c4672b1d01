"""Texts by the API: to whom, within which limits, and once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.files import Files
from tests.support.processes import wait_for
from tests.support.service import Phones, Running

ROTA = {
    "name": "platform",
    "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice", "bob"]}],
}


def test_a_message_can_be_sent(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    running = run(files.write(schedules=[ROTA], api={"send_to_any_number": True}))
    sent = running.post({"to": "alice", "text": "Hello  {{ 7 * 7 }}\u202e"}, "/api/v1/send")
    assert sent.status_code == 200
    assert (sent.json()["state"], sent.json()["to"]) == ("queued", "alice")
    (sms,) = phones.wait(1)
    assert sms.message == "Hello {{ 7 * 7 }}"
    assert running.post({"to": "platform", "text": "x"}, "/api/v1/send").json()["to"] in ("alice", "bob")
    assert running.post({"to": "+33 6 39 98 00 07", "text": "x"}, "/api/v1/send").json()["to"] is None
    assert {sms.receiver for sms in phones.wait(3)} >= {"+33639980007"}


def test_what_is_sent_by_the_api_is_paid_for_like_the_rest(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(
        files.write(limits={"credits": {"amount": 2, "per": "1d"}}, api={"send_to_any_number": True})
    )
    for number in range(5):
        running.post({"to": f"+3363998000{number}", "text": "x"}, "/api/v1/send")
    phones.wait(2)
    wait_for(
        lambda: (
            sorted(
                one["state"]
                for one in requests.get(running.url + "/api/v1/messages", timeout=10).json()["items"]
            )
            == ["accepted"] * 2 + ["held"] * 3
        ),
        "the others are not held",
    )


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, 'the body lacks "to"; write {"to": "alice", "text": "hello"}'),
        ({"to": "alice"}, 400, 'the body lacks "text"; write {"to": "alice", "text": "hello"}'),
        ({"to": "alice", "text": ""}, 400, "text must be a text"),
        ({"to": "alice", "text": "\u202e"}, 400, "the text is empty"),
        ({"to": "alice", "text": "x" * 1000}, 400, "OVHcloud sends at most 6"),
        ({"to": "nobody", "text": "x"}, 404, '"nobody" is no contact, schedule or mobile number'),
        ({"to": "+33 1 99 00 00 01", "text": "x"}, 404, "is no contact"),
        ({"to": "alice", "text": "x", "when": 1}, 400, '"when" is not known; known are to, text'),
        ({"to": "empty", "text": "x"}, 409, 'nobody is on call in "empty"'),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_said(
    files: Files, run: Callable[..., Running], body: Any, status: Any, words: Any
) -> None:
    empty = {
        "name": "empty",
        "rotations": [{"start": "2099-01-05T09:00", "every": "1w", "contacts": ["bob"]}],
    }
    running = run(files.write(schedules=[empty]))
    answer = running.post(body, "/api/v1/send")
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
