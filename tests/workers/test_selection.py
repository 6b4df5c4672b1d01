"""What is selected to be sent, and how much of it is written when others change the outbox at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from notifier.delivery.message import Hold, MessageState
from notifier.delivery.selection import select
from notifier.delivery.snapshot import Backlog, Limits, Snapshot, Turns, Usage
from notifier.emulator import Emulator
from notifier.incidents.lifecycle import Kind
from notifier.store.schema import messages
from tests.support.clock import Hand
from tests.support.files import ALICE, Files, account
from tests.support.pager import Pager, texts
from tests.support.postgres import both_engines
from tests.support.webhooks import alert, webhook

ONE_A_MINUTE = {"limits": {"per_contact": {"messages": 1, "per": "1m"}}}


def planned(pager: Pager, *names: Any) -> None:
    for name in names:
        pager.post(webhook(alert(name), key=name))
        pager.planner.work()


def put_all(pager: Pager, state: Any, **values: Any) -> None:
    """Put all messages into *state*."""
    pager.write(messages.update().values(state=state, **values))


def selected(pager: Pager) -> Any:
    """Return a snapshot of the outbox of *pager*, and what is selected from it."""
    runtime, now = pager.current.runtime, pager.hand()
    turns = Turns([""] * 4)
    snapshot = pager.store.outbox.snapshot(now, Limits.of(runtime), 4)
    selection = select(snapshot, runtime, turns)
    if selection.unread:
        snapshot = pager.store.outbox.with_queues(snapshot, selection.unread)
        selection = select(snapshot, runtime, turns)
    return snapshot, selection


def test_nothing_is_decided_on_a_number_before_its_queue_is_read(make: Callable[..., Pager]) -> None:
    pager = make(**ONE_A_MINUTE)
    planned(pager, "A", "B")
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(pager.current.runtime), 4)
    selection = select(snapshot, pager.current.runtime, Turns([""] * 4))
    assert selection.unread == {ALICE}
    assert selection.is_empty()


def test_a_backlog_tells_what_is_held_for_a_digest(make: Callable[..., Pager]) -> None:
    pager = make(**ONE_A_MINUTE)
    found: list[Any] = []
    limits = Limits.of(pager.current.runtime)
    for severity in ("warning", "warning", "critical", "critical"):
        pager.post(webhook(alert(f"A{len(found)}", severity=severity), key=f"{len(found)}"))
        pager.planner.work()
        found.append(pager.store.outbox.snapshot(pager.hand(), limits, 4).backlogs[ALICE])
        put_all(pager, MessageState.HELD, due_at=pager.hand() + timedelta(hours=1), held_for=Hold.DIGEST)
    assert found == [Backlog(False, False), Backlog(True, False), Backlog(True, False), Backlog(True, True)]


@both_engines
def test_what_was_changed_since_it_was_read_is_left_out(make: Callable[..., Pager], engine_name: str) -> None:
    pager = make()
    planned(pager, "A", "B", "C")
    snapshot, selection = selected(pager)
    first, second, third = (job.messages[0].id for job in selection.jobs)
    for id_, change in ((first, {"attempts": 1}), (second, {"state": MessageState.WITHDRAWN})):
        statement = messages.update().where(messages.c.id == id_).values(**change)
        pager.write(statement)
    applied = pager.store.outbox.apply(snapshot, selection).result(10)
    assert [job.messages[0].id for job in applied.jobs] == [third]
    assert applied.is_partial
    assert pager.states() == ["queued", "withdrawn", "sending"]


@both_engines
def test_a_selection_is_written_once(make: Callable[..., Pager], engine_name: str) -> None:
    pager = make()
    planned(pager, "A")
    snapshot, selection = selected(pager)
    assert len(pager.store.outbox.apply(snapshot, selection).result(10).jobs) == 1
    again = pager.store.outbox.apply(snapshot, selection).result(10)
    assert (again.jobs, again.is_partial) == ([], True)


@pytest.mark.parametrize("engine_name", ["postgresql"])
@pytest.mark.parametrize(
    "limits",
    [
        ONE_A_MINUTE,
        {"limits": {"per_contact": None, "credits": {"amount": 1, "per": "1h"}}},
        {"limits": {"per_contact": None}, "ovh": {"rate": {"messages": 1, "per": "1m"}, "sender": "ACME"}},
    ],
    ids=["contact", "credits", "rate"],
)
def test_replicas_that_select_at_once_keep_to_the_limits_together(
    files: Files, hand: Hand, engine_name: str, limits: Any
) -> None:
    """Each of two replicas selects another message before either has written what it selected."""
    first, second = Pager(files, hand, limits), Pager(files, hand, limits)
    try:
        planned(first, "A")
        one = selected(first)
        put_all(first, MessageState.WITHDRAWN)  # so that the other selects another message
        planned(first, "B")
        other = selected(second)
        put_all(first, MessageState.QUEUED)
        chosen = {selection.jobs[0].messages[0].id for _, selection in (one, other)}
        assert chosen == {row["id"] for row in first.rows()}
        assert len(second.store.outbox.apply(*other).result(10).jobs) == 1
        applied = first.store.outbox.apply(*one).result(10)
        assert (applied.jobs, applied.is_partial) == ([], True)
    finally:
        first.close()
        second.close()


def test_usage_is_read_for_each_limit_that_is_set(make: Callable[..., Pager]) -> None:
    pager = make(limits={"per_contact": None})
    planned(pager, "A")
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(pager.current.runtime), 4)
    assert (snapshot.usage, snapshot.backlogs) == (Usage(), {})


def test_a_snapshot_without_due_messages_selects_nothing(make: Callable[..., Pager]) -> None:
    pager = make()
    snapshot = Snapshot(pager.hand(), Limits.of(pager.current.runtime), ())
    assert select(snapshot, pager.current.runtime, Turns([""])).is_empty()


def test_messages_that_another_replica_took_while_the_snapshot_was_read_are_left_to_it(
    make: Callable[..., Pager],
) -> None:
    pager = make()
    planned(pager, "A")
    runtime = pager.current.runtime
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(runtime), 4)
    assert len(select(snapshot, runtime, Turns([""])).jobs) == 1
    assert select(replace(snapshot, backlogs={}), runtime, Turns([""])).is_empty()
    queue_is_empty = replace(
        snapshot,
        backlogs={ALICE: Backlog(has_held=True, has_critical_held=False)},
        queues={ALICE: []},
    )
    assert select(queue_is_empty, runtime, Turns([""])).is_empty()


def test_resolutions_that_another_replica_took_meanwhile_are_left_to_it(make: Callable[..., Pager]) -> None:
    pager = make()
    planned(pager, "A", "B", "C")
    put_all(pager, MessageState.QUEUED, kind=Kind.RESOLVED)
    pager.hand.move(seconds=61)
    runtime, outbox = pager.current.runtime, pager.store.outbox
    snapshot = outbox.snapshot(pager.hand(), Limits.of(runtime), 4)
    assert select(snapshot, runtime, Turns([""])).unread == {ALICE}
    put_all(pager, MessageState.SENDING)
    assert select(outbox.with_queues(snapshot, [ALICE]), runtime, Turns([""])).is_empty()


def test_a_rate_holds_though_the_name_of_the_account_is_learnt_meanwhile(make: Callable[..., Pager]) -> None:
    pager = make(ovh={"rate": {"messages": 1, "per": "1m"}, "sender": "ACME"}, limits={"per_contact": None})
    planned(pager, "A", "B", "C")
    runtime, outbox = pager.current.runtime, pager.store.outbox
    snapshot = outbox.snapshot(pager.hand(), Limits.of(runtime), 4)
    assert (runtime.api.account_name, runtime.api.service_name()) == ("", runtime.api.account_name)
    assert len(outbox.apply(snapshot, select(snapshot, runtime, Turns([""] * 4))).result(10).jobs) == 1


@pytest.mark.parametrize("engine_name", ["postgresql"])
def test_nothing_is_held_for_credits_that_another_replica_spends_now(
    make: Callable[..., Pager], engine_name: str
) -> None:
    contacts = [{"name": "alice", "phone": ALICE, "admin": True}]
    pager = make(contacts=contacts, limits={"credits": {"amount": 1, "per": "1h"}})
    planned(pager, "A", "B")
    snapshot, selection = selected(pager)
    assert (len(selection.jobs), len(selection.held), len(selection.notices)) == (1, 1, 1)
    stale = replace(snapshot, usage=replace(snapshot.usage, parts=7))
    applied = pager.store.outbox.apply(stale, selection).result(10)
    assert (applied.jobs, applied.held, applied.notices, applied.is_partial) == ([], [], [], True)
    assert pager.states() == ["queued", "queued"]


@pytest.mark.parametrize("count", [5, 9, 10, 12, 30])
def test_a_storm_that_credits_hold_spends_no_more_of_them(
    make: Callable[..., Pager], emulator: Emulator, count: Any
) -> None:
    pager = make(limits={"credits": {"amount": 3, "per": "1d"}})
    pager.post_all([webhook(alert(f"W{n}x", severity="warning"), key=f"{n}") for n in range(count)])
    pager.turn(4)
    assert len(texts(emulator)) == 3
    pager.run(600, step=20)
    assert len(texts(emulator)) == 3


@pytest.mark.parametrize("severity", ["warning", "critical"])
@pytest.mark.parametrize("count", [3, 9, 10, 14])
def test_a_page_does_not_wait_behind_what_no_account_may_send(
    make: Callable[..., Pager],
    emulator: Emulator,
    other: Any,
    count: Any,
    severity: Any,
) -> None:
    pager = make(ovh=[account(emulator), account(other)])
    first, second = pager.current.runtime.apis
    pager.turn()  # the first forgets what accounts wait for
    pager.sender.accounts.delay_until(second, pager.hand() + timedelta(minutes=30))
    planned(pager, *(f"W{n}x" for n in range(count)))
    refusing = pager.current.runtime.account_names[first]
    put_all(pager, MessageState.QUEUED, refused_by=refusing, urgency=0 if severity == "critical" else 2)
    pager.turn(2)
    assert texts(emulator) == []
    pager.post(webhook(alert("New", severity=severity), key="new"))
    pager.turn(2)
    assert ["New" in text for text in texts(emulator)] == [True]


def test_a_message_that_is_retried_later_is_not_sent_before(
    make: Callable[..., Pager], emulator: Emulator
) -> None:
    pager = make()
    planned(pager, *(f"W{n}x" for n in range(12)))
    put_all(pager, MessageState.QUEUED, due_at=pager.hand() + timedelta(minutes=4), attempts=5)
    pager.post(webhook(alert("New", severity="warning"), key="new"))
    pager.turn(4)
    assert ["New" in text for text in texts(emulator)] == [True]


def test_of_what_was_held_for_a_digest_no_more_is_sent_than_credits_allow(make: Callable[..., Pager]) -> None:
    """Messages that are held for a digest, and go one by one once there is room, are paid for like others.

    The younger ones, which are due and wait now, keep none of them from going.
    """
    pager = make(limits={"credits": {"amount": 12, "per": "1d"}})
    planned(pager, *(f"W{n}x" for n in range(11)))
    put_all(pager, MessageState.HELD, due_at=pager.hand() + timedelta(hours=1), held_for=Hold.DIGEST)
    pager.hand.move(seconds=1)
    planned(pager, *(f"N{n}x" for n in range(11)))
    snapshot, selection = selected(pager)
    assert ["W" in job.text for job in selection.jobs] == [True] * 4
    almost_spent = replace(snapshot, usage=replace(snapshot.usage, parts=9))
    jobs = select(almost_spent, pager.current.runtime, Turns([""] * 20)).jobs
    assert sum(message.parts for job in jobs for message in job.messages) == 3


def test_messages_that_were_withdrawn_before_they_are_held_are_not_held(make: Callable[..., Pager]) -> None:
    pager = make(**ONE_A_MINUTE)
    planned(pager, "A", "B")
    snapshot, selection = selected(pager)
    (held,) = selection.held
    ids = [message.id for message in held.messages]
    pager.write(messages.update().where(messages.c.id.in_(ids)).values(state=MessageState.WITHDRAWN))
    applied = pager.store.outbox.apply(snapshot, selection).result(10)
    assert applied.held == []
    assert len(applied.jobs) == 1
