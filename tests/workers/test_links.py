"""Links at the end of pages: one for each contact, made when the page is sent, stored only as a hash."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from notifier.delivery.message import Job, Message
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.incidents.links import VALID_FOR, Link, hide_tokens, is_sent_text, token_hash
from notifier.ovh.models import Outgoing
from notifier.sms.encoding import measure
from notifier.store.schema import links, metadata
from notifier.workers.actions import Via
from notifier.workers.settlement import matching
from tests.support.channels import receiver
from tests.support.clock import Hand
from tests.support.pager import Pager, due_in, texts
from tests.support.postgres import both_engines
from tests.support.team import CAROL, CONTACTS, firing, later, over, storm, team, told

URL = "https://pager.example.net"
LINK = re.compile(rf"\n{URL}/i/([A-Za-z0-9]{{14}})$")
LINKED = Link(URL, "abcdefgh012345").ending
DOWN = Fault(kind=FaultKind.ERROR, status=503, times=None)


def linked(*steps: Any, **changes: Any) -> Any:
    return {**team(*steps), "global": {"external_url": URL + "/"}, "links": True, **changes}


def tokens(emulator: Emulator) -> list[str]:
    """Return the tokens of the links in all messages."""
    return [found[1] for text in texts(emulator) if (found := LINK.search(text))]


@both_engines
def test_each_person_paged_has_a_link_of_their_own_of_which_the_database_has_the_hash(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand, engine_name: str
) -> None:
    receivers = [{"name": "ops", "notify": ["alice", "bob"]}]
    pager = make(**linked(receivers=receivers))
    pager.post(firing("A"))
    pager.turn()
    assert [text.partition("\n")[0] for text in texts(emulator)] == [
        "FIRING #1 critical A db-1 since 12:13"
    ] * 2
    found = {who: LINK.search(text) for who, text in told(emulator)}
    first, second = (found[who][1] for who in ("alice", "bob"))
    assert first != second
    (incident,) = pager.store.incidents.latest(9)
    for token, who in ((first, "alice"), (second, "bob")):
        link = pager.store.links.get(token_hash(token))
        assert link is not None
        assert (link.incident_id, link.contact, link.expires_at) == (incident.id, who, hand() + VALID_FOR)
    with pager.store.reading() as connection:
        stored = "".join(
            repr(row) for table in metadata.sorted_tables for row in connection.execute(select(table))
        )
    assert first not in stored
    assert second not in stored
    assert {row["parts"] for row in pager.rows()} == {1}


def test_pages_alone_have_links(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**linked(("5m", ["bob"])))
    pager.post(firing("A"))
    pager.run(310, step=10)
    (incident,) = pager.store.incidents.latest(9)
    pager.actions.acknowledge(incident.id, "alice", Via.LINK)
    pager.actions.send("carol", "hello")
    later(pager, firing("A", "B"), minutes=1)
    later(pager, over("A", "B"), minutes=1)
    found = [(who, text.split(" ")[0], bool(LINK.search(text))) for who, text in told(emulator)]
    assert found[:2] + sorted(found[2:]) == [
        ("alice", "FIRING", True),
        ("bob", "ESCALATED", True),
        ("alice", "RESOLVED", False),
        ("alice", "UPDATE", True),
        ("bob", "RESOLVED", False),
        ("bob", "UPDATE", True),
        ("bob", "alice", False),
        ("carol", "hello", False),
    ]


@pytest.mark.parametrize("changes", [{"links": False}, {"ovh": {"sender": ..., "sender_for_response": True}}])
def test_without_links_or_with_a_short_number_that_takes_no_urls_pages_have_none(
    make: Callable[..., Pager], emulator: Emulator, changes: Any
) -> None:
    pager = make(**{**linked(), **changes})
    pager.post(firing("A"))
    pager.turn()
    assert texts(emulator) == ["FIRING #1 critical A db-1 since 12:13"]


def test_a_link_takes_its_place_within_max_parts(make: Callable[..., Pager], emulator: Emulator) -> None:
    pager = make(**linked(receivers=[{"name": "ops", "notify": ["alice"], "max_parts": 1}]))
    pager.post(firing(*(f"AnAlertWithALongName{n}" for n in range(20))))
    pager.turn()
    (text,) = texts(emulator)
    assert (measure(text).parts, LINK.search(text) is not None) == (1, True)
    assert "AnAlertWithALongName0" in text


@pytest.mark.parametrize(("letters", "has_link"), [(20, True), (100, False)])
def test_a_late_page_keeps_its_words_and_its_link_where_there_is_room(
    make: Callable[..., Pager], emulator: Emulator, letters: int, has_link: bool
) -> None:
    """With 100 letters in the address, the link fits after the text, and not after the text with its delay."""
    url = f"https://{'p' * (letters - 20)}.example.net"
    emulator.faults.add(DOWN)
    ops = {"name": "ops", "notify": ["alice"], "max_parts": 1}
    pager = make(**{**linked(receivers=[ops]), "global": {"external_url": url}})
    pager.post(firing("A"))
    pager.run(300, step=10)
    emulator.faults.clear()
    pager.run(300, step=10)
    (text,) = texts(emulator)
    assert re.match(r"LATE \d+m: FIRING #1 critical A db-1 since 12:13(\n|$)", text)
    assert (measure(text).parts, f"\n{url}/i/" in text) == (1, has_link)
    with pager.store.reading() as connection:
        assert len(connection.execute(select(links)).all()) > 1  # each attempt in time had one of its own


@pytest.mark.parametrize("encoding", ["gsm", "unicode", "auto"])
def test_a_link_never_replaces_what_the_page_is_about(
    make: Callable[..., Pager], emulator: Emulator, encoding: str
) -> None:
    name = "DisquePleinBientôt"
    ops = {"name": "ops", "notify": ["alice"], "max_parts": 1, "encoding": encoding}
    pager = make(**linked(receivers=[ops]))
    pager.post(firing(name))
    pager.turn()
    (text,) = texts(emulator)
    assert ("DisquePleinBient" in text, "db-1" in text, measure(text).parts) == (True, True, 1)


def test_auto_counts_the_link_when_it_chooses_the_alphabet(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    ops = {"name": "ops", "notify": ["alice"], "encoding": "auto"}
    pager = make(**linked(receivers=[ops]))
    pager.post(firing("DisqueBientôtPlein"))
    pager.turn()
    (text,) = texts(emulator)
    assert "DisqueBientotPlein" in text
    assert (measure(text).parts, LINK.search(text) is not None) == (1, True)


def test_a_number_without_a_contact_has_no_link_and_no_room_is_kept_for_one(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(
        **linked(receivers=[{"name": "ops", "notify": [CAROL], "max_parts": 1}], contacts=CONTACTS[:2])
    )
    pager.post(firing("AnAlertWithALongName" * 5))
    pager.turn()
    (text,) = texts(emulator)
    assert "\n" not in text
    assert [row["parts"] for row in pager.rows()] == [measure(text).parts] == [1]


def test_a_page_with_a_link_that_is_refused_is_first_sent_without_it(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    told_ = "cannot send contact information"
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=400, times=1, message=told_))
    pager = make(**linked())
    pager.post(firing("A"))
    pager.run(10)
    assert texts(emulator) == ["FIRING #1 critical A db-1 since 12:13"]
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=400, times=2, message=told_))
    pager.post(firing("B", key="b"))
    pager.run(10)
    assert texts(emulator)[1:] == ["FIRING #2 critical B db-1 since 12:13"]  # reduced after that
    assert [row["reduction"] for row in pager.rows()] == [-1, 1]


def test_an_error_that_repeats_the_text_is_kept_without_the_token(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    assert hide_tokens(f"[message] Given data (A\n{URL}/i/abcdefgh012345) is not valid") == (
        f"[message] Given data (A\n{URL}/i/[secret]) is not valid"
    )
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, status=500, times=1, message=f"bad: {URL}/i/abcdefgh012345")
    )
    pager = make(**linked())
    pager.post(firing("A"))
    pager.run(30, step=5)
    with pager.store.reading() as connection:
        stored = "".join(
            repr(row) for table in metadata.sorted_tables for row in connection.execute(select(table))
        )
    assert "/i/[secret]" in stored
    assert "abcdefgh012345" not in stored


def test_a_digest_has_no_link_and_pages_before_it_have(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make(**linked())
    storm(pager, [f"A{number}" for number in range(30)])
    pager.run(100)
    *pages, digest = texts(emulator)
    assert len(pages) == len([text for text in pages if LINK.search(text)]) == 10
    assert digest.startswith("20 more alerts: ")
    assert not LINK.search(digest)


def test_each_page_of_a_reload_that_begins_with_links_has_one_where_there_is_room(
    make: Callable[..., Pager], emulator: Emulator, hand: Hand
) -> None:
    """Its text was written without a link: it gets one only if it takes no further part."""
    pager = make(**linked(links=False))
    pager.post(firing("A"))
    pager.planner.work()
    (message,) = due_in(pager.store, hand() + timedelta(minutes=1))
    assert message.parts == 1
    pager.reload(**linked())
    pager.turn()
    assert len(tokens(emulator)) == 1


@both_engines
def test_a_page_by_the_second_channel_has_a_link_also_where_its_sms_may_not(
    make: Callable[..., Pager], emulator: Emulator, engine_name: str
) -> None:
    emulator.faults.add(DOWN)
    with receiver() as hook:
        changes = linked(ovh={"sender": ..., "sender_for_response": True})
        pager = make(**changes, fallback={"after": "1m", "urls": [hook.url]})
        pager.post(firing("A"))
        pager.run(90, step=10)
        ((title, text),) = hook.got
    assert title == ""
    assert text.startswith("FIRING #1 critical A db-1 since 12:13\n")
    token = LINK.search(text)
    assert token is not None
    found = pager.store.links.get(token_hash(token[1]))
    assert found is not None
    assert found.contact == "alice"


def test_a_job_is_found_by_its_text_though_its_link_is_not_stored(hand: Hand) -> None:
    """OVHcloud may list a message without its tag."""
    link = Link.new(URL)
    message = Message("m", None, "ops", "alice", "+33639980001", "FIRING A", 1, hand(), hand(), 1)
    job = Job("t", "FIRING A", hand(), (message,))
    listed = Outgoing.model_validate(
        {"id": 7, "receiver": "+33639980001", "message": "FIRING A" + link.ending, "creationDatetime": hand()}
    )
    assert [ending.ovh_id for ending in matching(job, [listed])] == [7]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("FIRING A", True),
        ("FIRING A" + LINKED, True),
        ("FIRING A" + Link("HTTPS://Pager.example.net/", "a" * 14).ending, True),
        ("FIRING A and more", False),
        ("FIRING A" + LINKED + "x", False),
        ("FIRING A\nsecond line" + LINKED, False),
        ("FIRING B" + LINKED, False),
    ],
)
def test_whether_a_text_was_sent_as_it_is_or_with_a_link(sent: str, expected: bool) -> None:
    assert is_sent_text(sent, "FIRING A") is expected


def test_a_token_has_80_random_bits_and_a_link_only_letters_that_every_phone_takes_as_one() -> None:
    found = {Link.new(URL).token for _ in range(1000)}
    assert len(found) == 1000
    assert all(re.fullmatch("[A-Za-z0-9]{14}", token) for token in found)  # 62 ** 14 > 2 ** 83
    assert 62**14 > 2**80
