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
from notifier.incidents.links import VALID_FOR, Link, token_hash, without_link
from notifier.ovh.models import Outgoing
from notifier.sms.encoding import measure
from notifier.store.schema import links, metadata
from notifier.workers.actions import Via
from notifier.workers.settlement import matching
from tests.support.channels import receiver
from tests.support.clock import Hand
from tests.support.pager import Pager, due_in, texts
from tests.support.postgres import both_engines
from tests.support.team import firing, later, over, storm, team, told

URL = "https://pager.example.net"
LINK = re.compile(rf"\n{URL}/i/([A-Za-z0-9]{{14}})$")
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
    (incident,) = pager.store.incidents.page(9)
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
    (incident,) = pager.store.incidents.page(9)
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


def test_a_late_page_keeps_its_link_within_its_parts(make: Callable[..., Pager], emulator: Emulator) -> None:
    emulator.faults.add(DOWN)
    pager = make(**linked(receivers=[{"name": "ops", "notify": ["alice"], "max_parts": 1}]))
    pager.post(firing("AnAlertWithALongName" * 5))
    pager.run(300, step=10)
    emulator.faults.clear()
    pager.run(300, step=10)
    (text,) = texts(emulator)
    assert text.startswith("LATE ")
    assert (measure(text).parts, LINK.search(text) is not None) == (1, True)
    with pager.store.reading() as connection:
        assert len(connection.execute(select(links)).all()) > 1  # each attempt had one of its own


def test_a_page_whose_content_is_refused_is_sent_again_without_its_link(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    emulator.faults.add(
        Fault(kind=FaultKind.ERROR, status=400, times=1, message="cannot send contact information")
    )
    pager = make(**linked())
    pager.post(firing("A"))
    pager.run(10)
    (text,) = texts(emulator)
    assert "\n" not in text
    assert "A db-1" in text


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
    assert without_link("FIRING A" + link.ending + ".") != "FIRING A"


def test_a_token_has_80_random_bits_and_a_link_only_letters_that_every_phone_takes_as_one() -> None:
    found = {Link.new(URL).token for _ in range(1000)}
    assert len(found) == 1000
    assert all(re.fullmatch("[A-Za-z0-9]{14}", token) for token in found)  # 62 ** 14 > 2 ** 83
    assert 62**14 > 2**80
