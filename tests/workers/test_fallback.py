"""The second channel: pages arrive while OVHcloud does not take them, and OVHcloud never waits for it."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from notifier import second_channel
from notifier.config.loading import load
from notifier.config.secrets import secrets_of
from notifier.delivery.fallback import is_needed, retry_after
from notifier.delivery.message import Ending, MessageState
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.lifecycle import IncidentState, Kind
from notifier.store.schema import fallbacks, messages
from notifier.workers.actions import Via
from tests.support.channels import Receiver, mail_server, receiver
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager, texts
from tests.support.postgres import both_engines
from tests.support.team import CONTACTS, firing, later, over, storm, team

DOWN = Fault(kind=FaultKind.ERROR, status=503, times=None)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def with_channel(hook: Receiver, *steps: Any, **changes: Any) -> dict[str, Any]:
    """Return a configuration in which alice has *hook*."""
    own = team(*steps)
    own["contacts"] = [
        {**one, **({"fallback": [hook.url]} if one["name"] == "alice" else {})} for one in CONTACTS
    ]
    return {**own, **changes}


@both_engines
def test_a_page_that_ovhcloud_does_not_accept_goes_through_the_second_channel_after_a_while(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver, engine_name: str
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.run(115, step=5)
    assert hook.got == []
    pager.run(15, step=5)
    text = "FIRING #1 critical A db-1 since 12:13"
    assert hook.got == [("", text)]
    pager.run(600, step=30)
    assert len(hook.got) == 1
    emulator.faults.clear()
    pager.run(120, step=5)
    assert [one for one in texts(emulator) if one.startswith("LATE")] != []  # the SMS as well
    (message,) = pager.store.ledger.latest(9)
    details = pager.store.ledger.details(message.id)
    assert details is not None
    assert [(one.service, one.error) for one in details.fallbacks] == [("JSON", None)]
    assert pager.count('notifier_fallback_total{outcome="sent",service="JSON"}') == 1


def test_a_page_that_ovhcloud_accepts_does_not_go_through_it(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.run(300, step=5)
    assert (len(texts(emulator)), hook.got) == (1, [])


@pytest.mark.parametrize("state", [MessageState.REJECTED, MessageState.UNDELIVERED, MessageState.EXPIRED])
def test_a_page_that_failed_goes_through_it_at_once(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver, state: MessageState
) -> None:
    changes = with_channel(hook, ("5m", ["bob"]))
    pager = make(**changes)
    pager.post(firing("A"))
    while pager.planner.work() is not None:
        pass
    (row,) = pager.rows()
    pager.store.submit(
        lambda connection: pager.store.jobs.end_in(
            connection, [Ending(row["id"], state, None, "it failed")], pager.hand()
        )
    ).result(10)
    pager.turn()
    assert [text for _, text in hook.got] == ["FIRING #1 critical A db-1 since 12:13"]
    later(pager, over("A"), minutes=1)
    assert any(text.startswith("RESOLVED") for text in texts(emulator)), (
        "she knows of it, so she hears of its end"
    )


def test_while_sending_is_paused_it_goes_at_once(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    pager = make(**with_channel(hook))
    emulator.emulation.credits = 0
    pager.post(firing("A"))
    pager.turn(2)
    assert pager.sender.paused is not None
    assert len(hook.got) == 1


def test_what_is_acknowledged_or_over_does_not_go_through_it(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook))
    for name in ("A", "B"):
        pager.post(firing(name, key=name))
        pager.turn()
    pager.actions.acknowledge(pager.store.incidents.numbered(1).id, "bob", Via.API)
    pager.hand.move(seconds=30)
    pager.post(over("B", key="B"))
    pager.run(240, step=10)
    assert [text.split(" ")[0] for _, text in hook.got] == ["bob", "RESOLVED"]


def test_a_message_is_withdrawn_when_ovhcloud_was_faster(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    hook.status = 500
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.run(130, step=5)
    assert pager.count('notifier_fallback_total{outcome="failed",service="JSON"}') >= 1
    emulator.faults.clear()
    pager.run(60, step=5)
    hook.status = 200
    pager.run(600, step=10)
    assert (len(texts(emulator)), hook.got) == (1, [])


def test_a_service_that_fails_is_tried_again_until_it_takes_the_message(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    hook.status = 500
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.run(400, step=10)
    assert hook.got == []
    (problem,) = pager.workers.fallback.problems.values()
    assert "500" in problem
    (message,) = pager.store.ledger.latest(9)
    failed = len(pager.store.ledger.details(message.id).fallbacks)
    assert 3 <= failed <= 6
    hook.status = 200
    pager.run(310, step=10)
    assert len(hook.got) == 1
    assert pager.workers.fallback.problems == {}


def test_it_is_given_up_after_an_hour(make: Callable[..., Pager], emulator: Emulator, hook: Receiver) -> None:
    emulator.faults.add(DOWN)
    hook.status = 500
    pager = make(**with_channel(hook, **{"global": {"expire_after": "6h"}}))
    pager.post(firing("A"))
    pager.run(7200, step=60)
    hook.status = 200
    pager.run(1200, step=60)
    assert hook.got == []


def test_a_service_that_hangs_delays_no_sms(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    hook.hang.clear()
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.hand.move(minutes=3)
    while pager.planner.work() is not None:
        pass
    pager.hand.move(minutes=3)
    pager.workers.fallback.work()
    assert pager.workers.fallback.is_busy
    emulator.faults.clear()
    pager.post(firing("B", key="b"))
    while pager.planner.work() is not None:
        pass
    pager.hand.move(seconds=30)
    pager.sender.work()
    pager.wait_while(lambda: pager.sender.is_busy, "a job hangs")
    assert any(" B db-1" in text for text in texts(emulator))
    hook.hang.set()
    pager.turn()


def test_instead_of_the_sms(make: Callable[..., Pager], emulator: Emulator, hook: Receiver) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook, fallback={"instead": True}))
    pager.post(firing("A"))
    pager.run(130, step=5)
    assert len(hook.got) == 1
    emulator.faults.clear()
    pager.run(300, step=10)
    assert texts(emulator) == []
    later(pager, over("A"), minutes=1)
    assert [text.split(" ")[0] for text in texts(emulator)] == ["RESOLVED"]


def test_urls_for_everybody_serve_bare_numbers_and_contacts_without_their_own(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    changes = team()
    changes["receivers"][0]["notify"] = ["bob", "+33639980009"]
    pager = make(**changes, fallback={"after": "30s", "urls": [hook.url]})
    pager.post(firing("A"))
    pager.run(45, step=5)
    assert len(hook.got) == 2


def test_a_digest_goes_through_it_in_place_of_the_pages_that_it_holds(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    limits = {"per_contact": {"messages": 2, "per": "10m"}}
    pager = make(**with_channel(hook, limits=limits))
    storm(pager, [f"W{number}" for number in range(6)], "critical")
    pager.run(400, step=10)
    digests = [one for one in pager.rows() if one["kind"] == "digest"]
    assert digests != []
    assert {one["text"] for one in digests} <= {text for _, text in hook.got}
    assert len(hook.got) < 6


def test_a_mail_server_gets_the_page(make: Callable[..., Pager], emulator: Emulator) -> None:
    emulator.faults.add(DOWN)
    with mail_server() as (mailbox, url):
        changes = team()
        changes["contacts"] = [{**CONTACTS[0], "fallback": [url]}, *CONTACTS[1:]]
        pager = make(**changes)
        pager.post(firing("A"))
        pager.run(130, step=5)
        text = "FIRING #1 critical A db-1 since 12:13"
        assert mailbox.got == [(["alice@example.net"], text, text)]


def test_no_secret_of_a_url_is_shown(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    pager = make(**with_channel(hook, fallback={"urls": ["ntfys://bob:t0psecret@ntfy.example.net/a"]}))
    secrets = set(secrets_of(pager.current.runtime.configuration))
    assert {"s3cret-pass", "t0psecret", hook.url} <= secrets
    assert not {"ntfy.example.net", "127.0.0.1", "hook", "user"} & secrets
    hook.status = 500
    emulator.faults.add(DOWN)
    pager.post(firing("A"))
    pager.run(130, step=5)
    assert pager.workers.fallback.problems != {}
    for text in (caplog.text, str(pager.workers.fallback.problems), str(pager.current.runtime.written)):
        assert "s3cret-pass" not in text
        assert "t0psecret" not in text


@pytest.mark.parametrize("engine_name", ["postgresql"])
def test_replicas_send_it_once(
    files: Files, hand: Hand, emulator: Emulator, hook: Receiver, engine_name: str
) -> None:
    emulator.faults.add(DOWN)
    replicas = [Pager(files, hand, with_channel(hook)) for _ in range(3)]
    replicas[0].post(firing("A"))
    for _ in range(40):
        for one in replicas:
            one.turn()
        hand.move(seconds=5)
    assert len(hook.got) == 1
    for one in replicas:
        one.close()


def test_a_kill_while_it_is_sent_sends_it_again(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook))
    pager.post(firing("A"))
    pager.run(100, step=5)

    def dies(*_: Any) -> None:
        raise RuntimeError

    pager.workers.fallback._call = dies
    pager.hand.move(seconds=30)
    pager.workers.fallback.work()
    pager.restart()
    pager.run(80, step=5)
    assert len(hook.got) == 1


@pytest.mark.parametrize(
    ("kind", "state", "incident_state", "is_silenced", "expected"),
    [
        (Kind.PAGE, MessageState.QUEUED, IncidentState.OPEN, False, True),
        (Kind.PAGE, MessageState.HELD, IncidentState.OPEN, False, True),
        (Kind.PAGE, MessageState.UNSETTLED, IncidentState.OPEN, False, True),
        (Kind.PAGE, MessageState.UNDELIVERED, IncidentState.OPEN, False, True),
        (Kind.PAGE, MessageState.ACCEPTED, IncidentState.OPEN, False, False),
        (Kind.PAGE, MessageState.WITHDRAWN, IncidentState.OPEN, False, False),
        (Kind.PAGE, MessageState.MERGED, IncidentState.OPEN, False, False),
        (Kind.PAGE, MessageState.QUEUED, IncidentState.ACKNOWLEDGED, False, False),
        (Kind.UPDATE, MessageState.QUEUED, IncidentState.ACKNOWLEDGED, False, True),
        (Kind.PAGE, MessageState.QUEUED, IncidentState.RESOLVED, False, False),
        (Kind.PAGE, MessageState.QUEUED, IncidentState.OPEN, True, False),
        (Kind.RESOLVED, MessageState.QUEUED, IncidentState.RESOLVED, False, True),
        (Kind.DIGEST, MessageState.QUEUED, None, False, True),
        (Kind.ANSWER, MessageState.QUEUED, None, False, False),
    ],
)
def test_what_still_has_to_reach_somebody(
    kind: Any, state: Any, incident_state: Any, is_silenced: Any, expected: Any
) -> None:
    assert is_needed(kind, state, incident_state, is_silenced=is_silenced) is expected


def test_retries_are_less_and_less_often() -> None:
    assert [retry_after(n).total_seconds() for n in (1, 2, 3, 6, 99)] == [10, 20, 40, 300, 300]


@pytest.mark.parametrize("url", ["nope://x", "http://example.net", "mailto://", "", "x" * 5000])
def test_a_url_that_cannot_be_used_is_refused_without_being_shown(url: str) -> None:
    reason = second_channel.problem(url)
    assert reason is not None
    assert "apprise" in reason
    assert len(reason) < 200


def test_after_a_reload_a_message_goes_to_the_url_that_there_is_now(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    changes = with_channel(hook)
    good, bad = hook.url, hook.url.replace("s3cret-pass", "wrong")
    changes["contacts"][0]["fallback"] = [bad]
    hook.status = 401
    pager = make(**changes)
    pager.post(firing("A"))
    pager.run(200, step=10)
    hook.status = 200
    changes["contacts"][0]["fallback"] = [good]
    pager.reload(**changes)
    pager.run(120, step=10)
    assert len(hook.got) == 1
    assert pager.workers.fallback.problems == {}


def with_fallback(pager: Pager) -> set[str]:
    """Return the messages that have a fallback."""
    with pager.store.reading() as connection:
        return set(connection.execute(select(fallbacks.c.message_id)).scalars())


def test_pages_of_a_digest_that_expired_do_not_go_out_one_by_one(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook, limits={"per_contact": {"messages": 2, "per": "10m"}}))
    storm(pager, [f"W{number}" for number in range(12)], "critical")
    pager.run(600, step=60)
    before = with_fallback(pager)
    pager.run(3900, step=60)
    merged = {one["id"] for one in pager.rows() if one["merged_into"] and one["state"] == "expired"}
    assert len(merged) >= 10
    assert not merged & (with_fallback(pager) - before)


def test_what_failed_before_there_was_a_second_channel_is_old_news(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    pager = make(**team())
    pager.post(firing("A"))
    pager.turn()
    pager.write(messages.update().values(state=MessageState.UNDELIVERED, receipt_at=pager.hand()))
    pager.hand.move(hours=2)
    pager.reload(**with_channel(hook))
    pager.turn(2)
    assert hook.got == []


@pytest.mark.parametrize("works", ["own", "shared"])
def test_an_sms_is_withdrawn_only_if_a_url_of_the_contact_took_it(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver, works: str
) -> None:
    emulator.faults.add(DOWN)
    with receiver() as archive:
        pager = make(**with_channel(hook, fallback={"instead": True, "urls": [archive.url]}))
        (hook if works == "shared" else archive).status = 500
        pager.post(firing("A"))
        pager.run(130, step=5)
        emulator.faults.clear()
        pager.run(300, step=10)
        assert len(texts(emulator)) == (1 if works == "shared" else 0)


def test_a_clock_that_is_set_back_stops_nothing(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    hook.status = 500
    pager = make(**with_channel(hook))
    pager.post(firing("A", key="a"))
    pager.run(200, step=10)
    pager.post(firing("B", key="b"))
    pager.turn()
    hook.status = 200
    pager.hand.move(hours=-3)
    pager.run(200, step=10)
    assert len({text for _, text in hook.got}) == 2


def test_an_error_that_nobody_expects_is_recorded_and_given_up_after_an_hour(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook))

    def fails(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    pager.workers.fallback._call = fails
    pager.post(firing("A"))
    pager.run(7200, step=60)
    first = pager.store.ledger.latest(9)[-1]
    attempts = pager.store.ledger.details(first.id).fallbacks
    assert 10 < len(attempts) < 25
    assert attempts[0].error == "RuntimeError: can't start new thread"


def test_a_call_that_hangs_keeps_its_place_until_it_ends(hook: Receiver) -> None:
    hook.hang.clear()
    ended = threading.Event()
    with pytest.raises(second_channel.SendingFailed, match=r"no answer within 0\.2 s"):
        second_channel.send(hook.url, "t", "t", 0.2, ended.set)
    assert not ended.is_set()
    hook.hang.set()
    assert ended.wait(10)


def test_a_mail_holds_the_text_as_it_is(make: Callable[..., Pager]) -> None:
    text = "FIRING <db-1> load <5 & x <a href='http://evil'>click</a>"
    with mail_server() as (mailbox, url):
        second_channel.send(url, text, text, 20.0)
        ((_, subject, body),) = mailbox.got
    assert subject == text
    assert text in html.unescape(body)


def test_a_reply_acknowledges_what_was_paged_by_the_second_channel_alone(
    make: Callable[..., Pager], emulator: Emulator, hook: Receiver
) -> None:
    emulator.faults.add(DOWN)
    pager = make(**with_channel(hook, fallback={"instead": True}))
    pager.post(firing("A"))
    pager.run(140, step=5)
    alice = pager.current.runtime.contacts["alice"]
    found = pager.store.paged.open_of(alice, pager.hand())
    assert [one.number for one in found] == [1]
    assert pager.store.paged.latest_of(alice, pager.hand(), IncidentState.OPEN) == found


@pytest.mark.parametrize(
    "written",
    [
        ["mailto:bob:HUNTER22X@example.net"],
        ["xoxb-123456-HUNTER22X"],
        ["nope://bob:HUNTER22X@example.net/x"],
        "mailto://bob:HUNTER22X@example.net",
        {"url": "HUNTER22X"},
        [{"url": "HUNTER22X"}],
    ],
)
def test_a_mistyped_url_is_not_shown(files: Files, hook: Receiver, written: Any, caplog: Any) -> None:
    changes = with_channel(hook)
    changes["contacts"][0]["fallback"] = written
    loading = load(files.write(**changes))
    problems = [problem.message for problem in loading.problems]
    assert problems != []
    assert "HUNTER22X" not in str(problems) + caplog.text


def test_a_service_that_takes_html_gets_the_text_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[str] = []

    class Answer:
        status_code, content, text = 200, b"{}", "{}"

    def post(*_: Any, **how: Any) -> Any:
        posted.append(how["data"])
        return Answer()

    monkeypatch.setattr("requests.post", post)
    url = "tgram://123456789:ABCdefghijkABCdefghijklABCdefghijkl12345/123"
    second_channel.send(url, "x", "FIRING <db-1> load <5 & x", 20.0)
    assert "&lt;db-1&gt;" in posted[-1]
    assert "<db-1>" not in posted[-1]


def test_a_title_that_the_text_repeats_is_not_sent(hook: Receiver) -> None:
    for title, text, expected in (
        ("FIRING A", "FIRING A", ""),
        ("FIRING A", "FIRING A\nhttps://pager.example.net/i/x", ""),
        ("hello\nworld", "hello\nworld", ""),
        ("FIRING A", "FIRING A: down for 5 minutes", "FIRING A"),
        ("Notifier", "hello", "Notifier"),
    ):
        second_channel.send(hook.url, title, text, 5.0)
        assert hook.got[-1] == (expected, text)
