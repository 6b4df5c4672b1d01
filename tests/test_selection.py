"""What is selected to be sent, and how much of it is written when others change the outbox at the same time."""

from dataclasses import replace
from datetime import timedelta

import pytest

from notifier.delivery.message import MessageState
from notifier.delivery.selection import Backlog, Limits, Snapshot, Turns, Usage, select
from notifier.store.schema import messages
from tests.conftest import ALICE, alert, webhook
from tests.pager import Pager
from tests.postgres import both_engines

ONE_A_MINUTE = {"limits": {"per_contact": {"messages": 1, "per": "1m"}}}


def planned(pager, *names):
    for name in names:
        pager.post(webhook(alert(name), key=name))
        pager.planner.work()


def selected(pager):
    """Return a snapshot of the outbox of *pager*, and what is selected from it."""
    runtime, now = pager.current.runtime, pager.hand()
    turns = Turns([""] * 4)
    snapshot = pager.store.outbox.snapshot(now, Limits.of(runtime), 4)
    selection = select(snapshot, runtime, turns)
    if selection.unread:
        snapshot = pager.store.outbox.with_queues(snapshot, selection.unread)
        selection = select(snapshot, runtime, turns)
    return snapshot, selection


def test_nothing_is_decided_on_a_number_before_its_queue_is_read(make):
    pager = make(**ONE_A_MINUTE)
    planned(pager, "A", "B")
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(pager.current.runtime), 4)
    selection = select(snapshot, pager.current.runtime, Turns([""] * 4))
    assert selection.unread == {ALICE}
    assert selection.is_empty()


def test_a_backlog_counts_what_waits_whether_it_is_due_or_not(make):
    pager = make(**ONE_A_MINUTE)
    pager.post(webhook(alert("A", severity="critical"), key="a"))
    planned(pager, "B")
    later = messages.update().values(due_at=pager.hand() + timedelta(hours=1))
    pager.store.submit(lambda connection: connection.execute(later).rowcount).result(10)
    planned(pager, "C")
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(pager.current.runtime), 4)
    (message,) = snapshot.due
    expires_at = pager.hand() + timedelta(hours=1)
    assert snapshot.backlogs == {message.phone: Backlog(3, 1, pager.hand(), expires_at, has_held=False)}


@both_engines
def test_what_was_changed_since_it_was_read_is_left_out(make, engine_name):
    pager = make()
    planned(pager, "A", "B", "C")
    snapshot, selection = selected(pager)
    first, second, third = (job.messages[0].id for job in selection.jobs)
    for id_, change in ((first, {"attempts": 1}), (second, {"state": MessageState.WITHDRAWN})):
        statement = messages.update().where(messages.c.id == id_).values(**change)
        pager.store.submit(
            lambda connection, statement=statement: connection.execute(statement).rowcount
        ).result(10)
    applied = pager.store.outbox.apply(snapshot, selection).result(10)
    assert [job.messages[0].id for job in applied.jobs] == [third]
    assert applied.is_partial
    assert pager.states() == ["queued", "withdrawn", "sending"]


@both_engines
def test_a_selection_is_written_once(make, engine_name):
    pager = make()
    planned(pager, "A")
    snapshot, selection = selected(pager)
    assert len(pager.store.outbox.apply(snapshot, selection).result(10).jobs) == 1
    again = pager.store.outbox.apply(snapshot, selection).result(10)
    assert (again.jobs, again.is_partial) == ([], True)


def put_all(pager, state):
    """Put all messages into *state*."""
    statement = messages.update().values(state=state)
    pager.store.submit(lambda connection: connection.execute(statement).rowcount).result(10)


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
def test_replicas_that_select_at_once_keep_to_the_limits_together(files, hand, engine_name, limits):
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


def test_usage_is_read_for_each_limit_that_is_set(make):
    pager = make(limits={"per_contact": None})
    planned(pager, "A")
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(pager.current.runtime), 4)
    assert (snapshot.usage, snapshot.backlogs) == (Usage(), {})


def test_a_snapshot_without_due_messages_selects_nothing(make):
    pager = make()
    snapshot = Snapshot(pager.hand(), Limits.of(pager.current.runtime), ())
    assert select(snapshot, pager.current.runtime, Turns([""])).is_empty()


def test_messages_that_another_replica_took_while_the_snapshot_was_read_are_left_to_it(make):
    pager = make()
    planned(pager, "A")
    runtime = pager.current.runtime
    snapshot = pager.store.outbox.snapshot(pager.hand(), Limits.of(runtime), 4)
    assert len(select(snapshot, runtime, Turns([""])).jobs) == 1
    assert select(replace(snapshot, backlogs={}), runtime, Turns([""])).is_empty()
    queue_is_empty = replace(
        snapshot,
        backlogs={ALICE: Backlog(99, 0, None, pager.hand() + timedelta(hours=1), has_held=True)},
        queues={ALICE: []},
    )
    assert select(queue_is_empty, runtime, Turns([""])).is_empty()
