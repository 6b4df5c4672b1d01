from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from notifier.config.model import CreditLimit, PerContact
from notifier.config.ovh import Rate
from notifier.delivery.message import Ending, Job, MessageState, NewMessage
from notifier.delivery.snapshot import Limits, Snapshot
from notifier.ids import first_id, new_id
from notifier.incidents.lifecycle import Event, Incident, IncidentState, Reason
from notifier.sms.recipient import Recipient
from notifier.store import migrations
from notifier.store.dedupe import Dedupe
from notifier.store.engine import HEAD, StoreRefused, StoreUnavailable, migrate, revision
from notifier.store.records import IncidentChange, NewNotification, NewWebhook
from notifier.store.schema import JobState, events, incident_alerts, jobs, messages, metadata, notifications
from notifier.store.sqlite import SQLite, open_engine
from notifier.store.store import Store
from tests.support.clock import Hand
from tests.support.files import ALICE, BOB
from tests.support.pager import claim, due_in

WINDOW = timedelta(minutes=2)


@pytest.fixture
def path(tmp_path: Path) -> Any:
    return tmp_path / "notifier.db"


@pytest.fixture
def in_file(path: Any, blank: Path) -> Iterator[Any]:
    """A store in a file."""
    shutil.copy(blank, path)
    opened = Store(path)
    opened.start()
    yield opened
    opened.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, path: Any, blank: Path) -> Any:
    """Where a store may be, whose schema is up to date."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    shutil.copy(blank, path)
    return path


@pytest.fixture
def store(place: Any) -> Iterator[Any]:
    opened = Store(place)
    opened.start()
    yield opened
    opened.stop()


def new(now: Any, identity: Any = b"i", body: Any = b"{}", posted_to: Any = None, group: Any = None) -> Any:
    return NewWebhook(new_id(now), identity, now, posted_to, body, next(GROUPS) if group is None else group)


GROUPS = itertools.count(1)


def add(store: Any, *batch: Any, window: Any = WINDOW) -> Any:
    return store.webhooks.add(batch, window).result(10)


def planned(store: Any, now: Any, *phones: Any, text_: Any = "hello", identity: Any = b"i") -> Any:
    webhook = new(now, identity)
    add(store, webhook)
    note = NewNotification(
        new_id(now), webhook.id, "ops", "firing", "{}", 1, now,
        tuple(NewMessage(new_id(now), "", phone, text_, 1, now + timedelta(hours=1)) for phone in phones),
    )  # fmt: skip
    store.webhooks.add_plans([(webhook.id, [note])], now).result(10)
    return webhook, note


def rows(store: Any, table: Any) -> Any:
    with store.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(table.select())]


def claimed(store: Any, now: Any, *phones: Any, **how: Any) -> Any:
    planned(store, now, *phones, **how)
    found = due_in(store, now)
    job = Job(new_id(now), found[0].text, now, tuple(found))
    assert claim(store, job)
    return job


# -- the schema --------------------------------------------------------------------------------------------


def test_the_migrations_make_the_schema(store: Any) -> None:
    with store.backend.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, metadata) == []
    assert revision(store.backend.engine) == HEAD


def test_the_migrations_make_partial_indexes_as_the_schema_says(in_file: Any) -> None:
    statement = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    with in_file.reading() as connection:
        made = {
            name: re.search("(?i)[)] where (.*)", sql) for name, sql in connection.exec_driver_sql(statement)
        }
    said = {
        index.name: index.info.get("where") for table in metadata.tables.values() for index in table.indexes
    }
    assert {name: found and found[1] for name, found in made.items()} == said


def test_what_is_stopped_is_whole_in_its_file(in_file: Any, path: Any, hand: Hand, tmp_path: Path) -> None:
    """Though a page is being read while it stops: whoever copies the file alone has all of it."""
    with in_file.reading() as connection:
        connection.exec_driver_sql("SELECT 1").all()
        add(in_file, new(hand(), b"kept"))
        in_file.stop()
        copied = tmp_path / "copied.db"
        shutil.copy(path, copied)
    assert not Path(f"{path}-wal").exists() or not Path(f"{path}-wal").stat().st_size
    again = Store(copied)
    again.start()
    assert len(again.webhooks.unplanned(10, 10**6)) == 1
    again.stop()


REVISIONS = {
    "v0001_first.py": "3fb6d2c6ecc93e304317c5639250cbc1686d6098c69cf5c38ba562987fbb3a31",
    "v0002_silences.py": "db65698499a58fe9bf965a9a2027bfbe18d283b6acf27fcf18af04bda9d003a9",
    "v0003_fallbacks.py": "951bc589ddabe1f29c31a4412bf46d1f42338e55a913ad198e3a200fe04871d1",
    "v0004_links.py": "6e7b60c716048496e56ce1e2e5167522c3b66be6edf3fd87376f785e428f9139",
    "v0005_calls.py": "3770d09c6f972205bbea901f5e4be4144b941aaee3d32adc49092801b95d88a6",
}
"""The SHA-256 of each revision: one that exists is in use somewhere, so it changes no more; add another."""


def test_a_revision_that_exists_does_not_change() -> None:
    files = (Path(migrations.__file__).parent / "versions").glob("v*.py")
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files} == REVISIONS


@pytest.mark.parametrize("revision_", [name[1:5] for name in REVISIONS])
def test_a_database_of_an_earlier_revision_keeps_what_it_holds(path: Any, revision_: Any) -> None:
    """From a dump of each revision, made when it was the newest: one page that waits, with all that belongs to it."""
    with sqlite3.connect(path) as connection:
        connection.executescript((Path(__file__).parents[1] / "databases" / f"{revision_}.sql").read_text())
    connection.close()
    migrate(SQLite(path))
    store = Store(path)
    store.start()
    try:
        (message,) = due_in(store, datetime(2026, 12, 24, tzinfo=UTC))
        assert message.text == "FIRING #1 critical InstanceDown db-1 since 22 Nov 12:13"
        (incident,) = store.incidents.latest(10)
        assert (incident.title, incident.number) == ("InstanceDown db-1", 1)
        details = store.ledger.details(message.id)
        assert (details.origin.group_key, len(details.attempts)) == ("a", 3)
    finally:
        store.stop()


def test_a_file_that_is_no_database_says_so_where_its_schema_would_be_made(path: Any) -> None:
    path.write_bytes(b"x" * 9999)
    with pytest.raises(StoreUnavailable, match="cannot be brought up to date: file is not a database"):
        migrate(SQLite(path))


def test_databases_are_migrated_at_once(tmp_path: Path) -> None:
    backends = [SQLite(tmp_path / f"{number}.db") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(migrate, backends))
    assert [revision(backend.engine) for backend in backends] == [HEAD] * 8


def test_writes_are_flushed_to_the_disk_and_readers_do_not_block(in_file: Any) -> None:
    with in_file.backend.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_newer_schema_is_refused(path: Any) -> None:
    first = Store(path)
    first.start()
    first.submit(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'"))).result(10)
    first.stop()
    second = Store(path)
    with pytest.raises(StoreRefused, match=r"its schema \(9999\) is newer than this program knows"):
        second.start()
    second.backend.engine.dispose()
    second.backend.release()


def test_a_second_process_is_refused(in_file: Any, path: Any) -> None:
    with pytest.raises(StoreRefused, match="another process works on"):
        Store(path)


def test_a_place_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="cannot be made"):
        Store(tmp_path / "file" / "notifier.db")
    (tmp_path / "x.db.lock").mkdir()
    with pytest.raises(StoreUnavailable, match="cannot be written"):
        Store(tmp_path / "x.db")


def test_the_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    opened = Store(tmp_path / "made" / "notifier.db")
    opened.start()
    opened.stop()
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    for file in (tmp_path / "made").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file


# -- intake ------------------------------------------------------------------------------------------------


def test_a_repetition_within_the_window_is_not_stored(store: Any, hand: Hand) -> None:
    first, second = new(hand()), new(hand())
    assert add(store, first) == set()
    assert add(store, second) == {second.id}
    assert [w.id for w in store.webhooks.unplanned(10, 1000)] == [first.id]


def test_a_repetition_in_the_same_commit_is_not_stored(store: Any, hand: Hand) -> None:
    batch = [new(hand(), b"a"), new(hand(), b"b"), new(hand(), b"a")]
    assert add(store, *batch) == {batch[2].id}
    assert len(store.webhooks.unplanned(10, 1000)) == 2


def test_only_the_last_of_a_scope_is_repeated(store: Any, hand: Hand) -> None:
    firing, resolved, other = (b"scope 01" + rest for rest in (b"firing", b"resolved", b"other"))
    for identity in (firing, resolved, firing, resolved, other):
        assert add(store, new(hand(), identity)) == set()
        again = new(hand(), identity)
        assert add(store, again, new(hand(), b"scope 02" + identity[8:])) == {again.id}
    assert len(store.webhooks.unplanned(100, 10_000)) == 10


def test_a_scope_that_changes_within_one_commit_keeps_its_order(store: Any, hand: Hand) -> None:
    first, second = b"scope 01a", b"scope 01b"
    batch = [new(hand(), identity) for identity in (first, first, second, second, first)]
    assert add(store, *batch) == {batch[1].id, batch[3].id}
    assert len(add(store, new(hand(), first))) == 1
    assert add(store, new(hand(), second)) == set()


def test_after_the_window_it_is_no_repetition(store: Any, hand: Hand) -> None:
    add(store, new(hand()))
    hand.move(seconds=119)
    assert len(add(store, new(hand()))) == 1
    hand.move(seconds=1)
    assert add(store, new(hand())) == set()


def test_a_restart_remembers_what_was_stored(place: Any, hand: Hand) -> None:
    first = Store(place)
    first.start()
    for n in range(20):
        add(first, new(hand(), b"kept%d" % n))
        hand.move(seconds=5)
    add(first, new(hand(), b"kept0"), window=timedelta(0))
    first.stop()
    second = Store(place)
    second.start()
    hand.move(seconds=10)
    for n in [0, *range(1, 20)]:
        assert len(add(second, new(hand(), b"kept%d" % n))) == 1, n
    assert add(second, new(hand(), b"other")) == set()
    second.stop()


def test_many_at_once_are_all_stored_once(store: Any, hand: Hand) -> None:
    batches = [[new(hand(), bytes([n % 50])) for n in range(k, k + 100)] for k in range(0, 500, 100)]
    results = []
    threads = [threading.Thread(target=lambda b=b: results.append(add(store, *b))) for b in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.webhooks.unplanned(1000, 10**6)) == 50
    assert sum(map(len, results)) == 450


def test_what_was_not_stored_is_not_taken_for_stored(store: Any, hand: Hand) -> None:
    def fail(connection: Any) -> None:
        raise ValueError("no")

    broken = NewWebhook(None, b"x", hand(), None, b"{}")
    with pytest.raises(Exception, match=r"(?i)not.null"):
        add(store, broken)
    assert add(store, new(hand(), b"x")) == set()


def test_recent_forgets_what_is_old(hand: Hand) -> None:
    recent = Dedupe()
    for n in range(100):
        assert recent.take(str(n).encode(), hand(), WINDOW)
        hand.move(seconds=60)
    assert len(recent) <= 4


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from((0, 1, 30, 119, 120, 300)), st.booleans()),
        max_size=200,
    )
)
def test_recent_knows_each_for_as_long_as_the_window(steps: Any) -> None:
    known: dict[Any, Any] = {}
    recent, now = Dedupe(), datetime(2026, 1, 5, tzinfo=UTC)
    for number, seconds, is_undone in steps:
        now += timedelta(seconds=seconds)
        webhook = new(now, blake2b(bytes([number])).digest())
        before = known.get(number)
        assert recent.take(webhook.identity, now, WINDOW) == (before is None or now - before >= WINDOW)
        if before is None or now - before >= WINDOW:
            known[number] = now
            if is_undone:
                recent.forget([webhook])
                del known[number]
        assert len(recent) <= 31


def test_a_storm_of_webhooks_is_known_in_little_memory(hand: Hand) -> None:
    tracemalloc.start()
    try:
        recent, digests = Dedupe(), [blake2b(b"%d" % n, digest_size=16).digest() for n in range(50_000)]
        before = tracemalloc.get_traced_memory()[0]
        assert all(recent.take(digest, hand(), WINDOW) for digest in digests)
        assert tracemalloc.get_traced_memory()[0] - before < 250 * len(digests)
    finally:
        tracemalloc.stop()
    assert not any(recent.take(digest, hand(), WINDOW) for digest in digests)


def test_of_more_than_can_be_known_the_latest_are(hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("notifier.store.dedupe._MOST", 100)
    recent, digests = Dedupe(), [blake2b(b"%d" % n).digest() for n in range(1000)]
    for digest in digests:
        assert recent.take(digest, hand(), WINDOW)
        hand.move(seconds=0.05)
        assert len(recent) <= 400
    assert not any(recent.take(digest, hand(), WINDOW) for digest in digests[-50:])


def test_a_clock_that_goes_back_and_forth_makes_no_second_page(hand: Hand) -> None:
    recent = Dedupe()
    assert recent.take(b"a", hand(), WINDOW)
    hand.move(seconds=-3600)
    assert all(recent.take(str(n).encode(), hand(), WINDOW) for n in range(50))
    hand.move(seconds=3610)
    assert not recent.take(b"a", hand(), WINDOW)


def test_more_than_can_be_known_by_a_clock_that_was_ahead_is_let_go(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.dedupe._MOST", 100)
    recent = Dedupe()
    assert all(recent.take(blake2b(b"%d" % n).digest(), hand(), WINDOW) for n in range(150))
    hand.move(seconds=-3600)
    assert all(recent.take(blake2b(b"back %d" % n).digest(), hand(), WINDOW) for n in range(300))
    assert len(recent) <= 400


def test_what_was_rolled_back_is_new_whatever_the_clock_says() -> None:
    recent, start = Dedupe(), datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    webhook = new(start, b"a")
    assert recent.take(b"a", start, WINDOW)
    recent.forget([webhook])
    assert recent.take(b"a", start, WINDOW)


def test_a_clock_that_is_set_back_makes_no_second_page(hand: Hand) -> None:
    recent = Dedupe()
    recent.take(b"a", hand(), WINDOW)
    hand.move(seconds=-30)
    assert not recent.take(b"a", hand(), WINDOW)


def test_large_webhooks_are_handed_out_little_by_little(store: Any, hand: Hand) -> None:
    for n in range(3):
        add(store, new(hand(), bytes([n]), b"x" * 1000))
        hand.move(seconds=1)
    assert len(store.webhooks.unplanned(10, 2000)) == 2
    assert len(store.webhooks.unplanned(10, 1)) == 1
    assert len(store.webhooks.unplanned(2, 10**6)) == 2
    first = store.webhooks.unplanned(1, 10**6)[0].id
    assert first not in [w.id for w in store.webhooks.unplanned(10, 2000, without={first})]


def test_ids_sort_by_time(hand: Hand) -> None:
    ids = []
    for _ in range(50):
        ids.append(new_id(hand()))
        hand.move(seconds=0.002)
    assert ids == sorted(ids)
    assert len(set(ids)) == 50
    assert all(len(id_) == 20 for id_ in ids)
    assert first_id(hand()) > ids[-1]
    assert first_id(hand()) <= new_id(hand())


# -- planning and sending ----------------------------------------------------------------------------------


def test_a_webhook_is_planned_once(store: Any, hand: Hand) -> None:
    webhook, note = planned(store, hand(), ALICE)
    again = NewNotification(new_id(hand()), webhook.id, "ops", "firing", "{}", 1, hand(), note.messages)
    assert store.webhooks.add_plans([(webhook.id, [again])], hand()).result(10) == [webhook.id]
    assert len(rows(store, messages)) == 1
    assert store.webhooks.unplanned(10, 1000) == []


def opened(now: Any, group: str, number: int) -> Incident:
    alert = frozenset({f"alert-of-{group}"})
    return Incident(
        new_id(now), number, "ops", group, IncidentState.OPEN, "DiskFull", {}, alert, None, now, firing=alert
    )  # fmt: skip


def plan_of(store: Any, now: Any, change: IncidentChange) -> tuple[str, list[NewNotification]]:
    """Return the plan of a new webhook that leads to *change* and a page."""
    webhook = new(now, new_id(now).encode())
    add(store, webhook)
    page = NewMessage(new_id(now), "", ALICE, "hello", 1, now + timedelta(hours=1))
    group = change.incident.group_key
    return webhook.id, [
        NewNotification(new_id(now), webhook.id, "ops", "firing", group, 1, now, (page,), change)
    ]


def opening(store: Any, now: Any, group: str, number: int) -> tuple[str, list[NewNotification]]:
    change = IncidentChange(opened(now, group, number), is_new=True, events=(Event(Reason.OPENED),))
    return plan_of(store, now, change)


def test_a_plan_that_is_refused_costs_no_other(store: Any, hand: Hand) -> None:
    first = opening(store, hand(), "a", 1)
    same_group, same_number = opening(store, hand(), "a", 2), opening(store, hand(), "b", 1)
    last = opening(store, hand(), "c", 3)
    together = [first, same_group, same_number, last]
    assert store.webhooks.add_plans(together, hand()).result(10) == [same_group[0], same_number[0]]
    found = store.incidents.find(["a", "b", "c"])
    assert {key: incident.number for key, incident in found.items()} == {("ops", "a"): 1, ("ops", "c"): 3}
    assert {row["webhook_id"] for row in rows(store, notifications)} == {first[0], last[0]}
    assert len(rows(store, messages)) == len(rows(store, events)) == len(rows(store, incident_alerts)) == 2
    unplanned = {webhook.id for webhook in store.webhooks.unplanned(10, 1000)}
    assert unplanned == {same_group[0], same_number[0]}


def test_an_incident_that_ends_gives_its_group_and_number_to_a_new_one_at_once(
    store: Any, hand: Hand
) -> None:
    first = opening(store, hand(), "a", 1)
    assert store.webhooks.add_plans([first], hand()).result(10) == []
    [incident] = store.incidents.find(["a"]).values()
    over = replace(incident, state=IncidentState.RESOLVED, resolved_at=hand(), firing=frozenset())
    new_one = opening(store, hand(), "a", 1)
    ended = plan_of(store, hand(), IncidentChange(over, events=(Event(Reason.RESOLVED),)))
    assert store.webhooks.add_plans([ended, new_one], hand()).result(10) == []
    [now_open] = store.incidents.find(["a"]).values()
    assert now_open.id == new_one[1][0].change.incident.id
    assert [row["incident_id"] for row in rows(store, incident_alerts)] == [now_open.id]


def test_an_incident_may_be_opened_and_changed_in_one_plan(store: Any, hand: Hand) -> None:
    new_incident = opened(hand(), "a", 1)
    joined = replace(new_incident, firing=frozenset({"alert-1", "alert-2"}))
    changes = [
        IncidentChange(new_incident, is_new=True, events=(Event(Reason.OPENED),)),
        IncidentChange(joined, events=(Event(Reason.JOINED),)),
        IncidentChange(replace(joined, version=1, title="Joined"), events=(Event(Reason.JOINED),)),
    ]
    webhook_id, notes = plan_of(store, hand(), changes[0])
    more = [replace(notes[0], id=new_id(hand()), messages=(), change=change) for change in changes[1:]]
    assert store.webhooks.add_plans([(webhook_id, [*notes, *more])], hand()).result(10) == []
    [incident] = store.incidents.find(["a"]).values()
    assert (incident.title, incident.version) == ("Joined", 2)
    assert {row["alert"] for row in rows(store, incident_alerts)} == {"alert-1", "alert-2"}
    assert len(store.incidents.history(incident.id)) == 3


def test_claiming_takes_each_message_once(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE, BOB)
    assert due_in(store, hand()) == []
    second = Job(new_id(hand()), "hello", hand(), job.messages)
    assert not claim(store, second)
    assert {row["tag"] for row in rows(store, messages)} == {job.tag}
    assert {row["attempts"] for row in rows(store, messages)} == {1}


def test_finishing_ends_those_named_and_queues_the_others(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE, BOB)
    alice, bob = job.messages
    store.jobs.finish(job, [Ending(alice.id, MessageState.ACCEPTED, 7)], hand(), query_id="q").result(10)
    assert [m.id for m in due_in(store, hand())] == [bob.id]
    kept = {row["id"]: row for row in rows(store, messages)}
    assert (kept[alice.id]["state"], kept[alice.id]["ovh_id"]) == ("accepted", 7)
    assert rows(store, jobs)[0]["state"] == JobState.DONE
    assert rows(store, jobs)[0]["query_id"] == "q"
    assert store.jobs.accepted_ids([7, 8], "") == {7}


def test_a_job_put_back_is_due_later(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE)
    store.jobs.requeue(job, hand() + timedelta(seconds=5), "429", hand()).result(10)
    assert due_in(store, hand()) == []
    assert store.outbox.next_due() == (hand() + timedelta(seconds=5), None)
    hand.move(seconds=5)
    assert len(due_in(store, hand())) == 1


def test_a_job_whose_answer_was_lost_keeps_the_time_of_its_attempt(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE)
    hand.move(seconds=7)
    store.jobs.unsettle(job, hand(), hand(), timedelta(), "no answer").result(10)
    (found,) = store.jobs.unsettled(hand(), 10)
    assert found.attempted_at == job.attempted_at


def test_a_split_job_goes_on_in_its_halves(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE, BOB)
    halves = [Job(new_id(hand()), "hello", hand(), (message,)) for message in job.messages]
    assert store.jobs.split(job, halves, "400").result(10) == halves
    assert {row["tag"] for row in rows(store, messages)} == {half.tag for half in halves}


def test_orphans_are_found_and_settled(store: Any, hand: Hand) -> None:
    job = claimed(store, hand(), ALICE, BOB)
    hand.move(seconds=7)
    assert store.jobs.free_orphans(hand(), timedelta(seconds=20)).result(10) == 1
    (found,) = store.jobs.unsettled(hand(), 10)
    assert found.attempted_at == job.attempted_at
    assert (found.tag, found.listing_grace, len(found.messages)) == (job.tag, timedelta(seconds=20), 2)
    later = hand() + timedelta(seconds=3)
    store.jobs.ask_again(
        found, later, [Ending(found.messages[0].id, MessageState.ACCEPTED, 1)], hand()
    ).result(10)
    assert store.jobs.unsettled(hand(), 10) == []
    (again,) = store.jobs.unsettled(later, 10)
    assert (again.settle_attempts, len(again.messages)) == (1, 1)


def test_the_queue_tells_what_is_under_way(store: Any, hand: Hand) -> None:
    assert store.outbox.queue().oldest is None
    start = hand()
    planned(store, hand(), ALICE)
    hand.move(seconds=5)
    claimed(store, hand(), BOB, identity=b"j")
    add(store, new(hand(), b"k"))
    queue = store.outbox.queue()
    assert queue.messages == {"queued": 0, "held": 0, "sending": 2, "unsettled": 0}
    assert (queue.unplanned, queue.oldest) == (1, start)


LIMITS = Limits(PerContact(), CreditLimit(amount=9), {"sms-a": Rate(messages=2)})
LOOKS = {
    "a snapshot": lambda store, now: store.outbox.snapshot(now, LIMITS, 2),
    "a snapshot of a number": lambda store, now: store.outbox.snapshot(now, LIMITS, 2, phone=ALICE),
    "queues": lambda store, now: store.outbox.with_queues(Snapshot(now, LIMITS, ()), [ALICE]),
    "unplanned": lambda store, now: store.webhooks.unplanned(10, 1000),
    "unsettled jobs": lambda store, now: store.jobs.unsettled(now, 10),
    "orphans": lambda store, now: store.jobs.free_orphans(now, WINDOW),
    "next due": lambda store, now: store.outbox.next_due(),
    "queue": lambda store, now: store.outbox.queue(),
    "since when something can change": lambda store, now: store.ledger.unfinished_since(),
    "incidents of groups": lambda store, now: store.incidents.find(["a", "b"]),
    "incidents due": lambda store, now: store.incidents.due(now, 10),
    "incidents unmuted": lambda store, now: store.incidents.unmuting(now, 10),
    "numbers": lambda store, now: store.incidents.numbers(1),
    "involved": lambda store, now: store.paged.involved("i"),
    "latest page": lambda store, now: store.paged.latest_of(
        Recipient("alice", ALICE, "en", ZoneInfo("UTC")), now, IncidentState.OPEN
    ),
    "receipts due": lambda store, now: store.receipts.due(now, 10),
    "next receipt": lambda store, now: store.receipts.next_due(),
    "ids known": lambda store, now: store.jobs.accepted_ids([1, 2], "sms-a"),
    "retention": lambda store, now: store.retention.delete_before(now, 10),
    "an ending": lambda store, now: store.jobs.finish(
        Job("t", "", now, ()),
        [Ending("m", MessageState.ACCEPTED, 1), Ending("n", MessageState.REJECTED)],
        now,
    ),
}


@pytest.mark.parametrize("look", LOOKS)
def test_looking_for_work_reads_no_table_from_end_to_end(store: Any, hand: Hand, look: Any) -> None:
    """Whatever the engine is asked for a page, it can find by an index, however long the history."""
    seen = []

    def note(
        connection: Any, cursor: Any, statement: Any, parameters: Any, context: Any, executemany: Any
    ) -> None:
        if not statement.startswith(("SAVEPOINT", "RELEASE", "PRAGMA", "BEGIN")):
            seen.append((statement, parameters[0] if executemany else parameters))

    event.listen(store.backend.engine, "before_cursor_execute", note)
    result = LOOKS[look](store, hand())
    if isinstance(result, Future):
        result.result(10)
    event.remove(store.backend.engine, "before_cursor_execute", note)
    assert seen
    with store.backend.engine.connect() as connection:
        is_sqlite = not store.backend.is_shared
        if not is_sqlite:
            connection.exec_driver_sql("SET enable_seqscan = off")  # the tables are empty
        for statement, parameters in seen:
            explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
            rows = connection.exec_driver_sql(explain + statement, parameters)
            plan = "\n".join(str(row[-1]) for row in rows)
            scans = re.findall(r"(?m)^SCAN (\w+)(?! USING)" if is_sqlite else r"Seq Scan on (\w+)", plan)
            assert not set(scans) & BIG, f"{statement}\n{plan}"


BIG = {"webhooks", "notifications", "messages", "jobs", "incidents", "events", "attempts", "last_webhooks"}


# -- retention ---------------------------------------------------------------------------------------------


def test_jobs_of_what_is_kept_hold_up_no_others(store: Any, hand: Hand) -> None:
    """However many old ones there are: an alert may fire for longer than the history is kept."""
    kept = [claimed(store, hand(), ALICE, identity=b"%d" % n) for n in range(15)]  # and never ended
    for number in range(10):
        hand.move(seconds=1)
        job = claimed(store, hand(), BOB, identity=b"b%d" % number)
        store.jobs.finish(job, [Ending(m.id, MessageState.ACCEPTED, 1) for m in job.messages], hand()).result(
            10
        )
    hand.move(days=2)
    while store.retention.delete_before(hand(), 2).result(10):
        pass
    assert {row["tag"] for row in rows(store, jobs)} == {job.tag for job in kept}


def test_retention_deletes_what_is_over_and_old(store: Any, hand: Hand) -> None:
    old = claimed(store, hand(), ALICE)
    store.jobs.finish(old, [Ending(old.messages[0].id, MessageState.ACCEPTED, 1)], hand()).result(10)
    planned(store, hand(), BOB, identity=b"under way")
    hand.move(days=91)
    planned(store, hand(), ALICE, identity=b"new")
    cutoff = hand() - timedelta(days=90)
    while store.retention.delete_before(cutoff, 1).result(10):
        pass
    assert sorted(row["phone"] for row in rows(store, messages)) == [ALICE, BOB]
    assert rows(store, jobs) == []


# -- trouble -----------------------------------------------------------------------------------------------


def test_a_locked_database_fails_what_waits_and_recovers_by_itself(
    in_file: Any, path: Any, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.writer._PROBE_INTERVAL", 0.05)
    add(in_file, new(hand(), b"before"))
    in_file.submit(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=50")).result(10)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"):
        add(in_file, new(hand(), b"during"))
    assert "locked" in in_file.outage
    other.execute("ROLLBACK")
    other.close()
    recovered(in_file)
    assert add(in_file, new(hand(), b"during")) == set()


def test_a_corrupt_database_is_told_and_one_put_in_its_place_is_taken(
    in_file: Any, path: Any, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.writer._PROBE_INTERVAL", 0.05)
    add(in_file, new(hand(), b"a"))
    for name in ("", "-wal", "-shm"):
        file = path.with_name(path.name + name)
        if file.exists():
            file.rename(file.with_name("aside" + name))
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        add(in_file, new(hand(), b"b"))
    assert in_file.outage
    path.unlink()
    recovered(in_file)
    assert add(in_file, new(hand(), b"b")) == set()
    assert len(in_file.webhooks.unplanned(10, 1000)) == 1


def test_a_full_disk_is_told_and_recovers_by_itself(
    in_file: Any, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.store.writer._PROBE_INTERVAL", 0.05)
    add(in_file, new(hand(), b"a"))
    used = in_file.submit(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar()).result(10)
    in_file.submit(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={used}")).result(10)
    with pytest.raises(StoreUnavailable, match="full"):
        add(in_file, new(hand(), b"b", b"x" * 100_000))
    assert add(in_file, new(hand(), b"b", b"x" * 100_000)) == set()  # the connection made anew has no limit


def recovered(store: Any) -> None:
    for _ in range(400):
        if store.outage is None:
            return
        threading.Event().wait(0.025)
    pytest.fail(f"the store does not recover: {store.outage}")


def test_one_operation_that_fails_does_not_harm_those_beside_it(store: Any, hand: Hand) -> None:
    access = threading.Event()
    held = store.submit(lambda c: access.wait(10))
    bad = store.submit(lambda c: c.exec_driver_sql("INSERT INTO jobs (tag) VALUES ('x')"))
    good = store.webhooks.add([new(hand(), b"good")], WINDOW)
    access.set()
    held.result(10)
    with pytest.raises(Exception, match=r"(?i)not.null"):
        bad.result(10)
    assert good.result(10) == set()
    assert len(store.webhooks.unplanned(10, 1000)) == 1


def test_a_database_that_cannot_be_opened_at_the_start_is_opened_later(
    path: Any, monkeypatch: pytest.MonkeyPatch, hand: Hand
) -> None:
    monkeypatch.setattr("notifier.store.writer._PROBE_INTERVAL", 0.05)
    path.write_bytes(b"x" * 5000)
    store = Store(path)
    store.start()
    assert "not a database" in store.outage
    with pytest.raises(StoreUnavailable):
        store.webhooks.unplanned(1, 1)
    path.unlink()
    recovered(store)
    assert add(store, new(hand())) == set()
    store.stop()


def test_what_is_handed_in_after_the_end_fails_at_once(path: Any, hand: Hand) -> None:
    store = Store(path)
    store.start()
    store.stop()
    with pytest.raises(StoreUnavailable, match="closed"):
        add(store, new(hand()))


def test_looking_after_the_file_lets_go_of_no_lock(in_file: Any, path: Any, hand: Hand) -> None:
    """Whoever else looks into the file must not take it for one that nobody uses, and clear away its log."""
    add(in_file, new(hand()))
    look = (
        f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT 1 FROM webhooks'); c.close()"
    )
    with in_file.reading() as connection:
        connection.execute(text("SELECT 1 FROM webhooks")).all()
        in_file.backend.prepare()
        subprocess.run([sys.executable, "-c", look], check=True)
        assert Path(f"{path}-wal").exists()
        assert connection.execute(text("SELECT count(*) FROM webhooks")).scalar() == 1


def test_a_connection_that_met_an_outage_is_not_used_again(in_file: Any) -> None:
    seen = []

    def meet(trouble: Any = None) -> None:
        with in_file.reading() as connection:
            seen.append(connection.connection.dbapi_connection)
            if trouble is not None:
                raise OperationalError("SELECT", {}, trouble)

    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        meet(sqlite3.OperationalError("disk I/O error"))
    meet()
    meet()
    assert seen[0] is not seen[1]
    assert seen[1] is seen[2]


def test_reading_does_not_take_the_write_lock(in_file: Any, path: Any) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert in_file.webhooks.unplanned(1, 1) == []
    other.execute("ROLLBACK")
    other.close()


def test_the_engine_is_given_a_path_with_odd_characters(tmp_path: Path) -> None:
    path = tmp_path / "a b?c#d%41.db"
    path.touch()
    engine = open_engine(path)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
        connection.commit()
    engine.dispose()
    assert path.exists()


def test_a_database_that_is_made_again_while_it_is_in_use_is_for_its_owner_alone(
    path: Any, hand: Hand
) -> None:
    store = Store(path)
    store.start()
    add(store, new(hand()))
    before = os.umask(0o022)
    try:
        for file in path.parent.glob("notifier.db*"):
            if not file.name.endswith(".lock"):
                file.rename(file.with_name("aside-" + file.name))
        with contextlib.suppress(StoreUnavailable):
            store.outbox.queue()
        add(store, new(hand(), b"again"))
        store.outbox.queue()
    finally:
        os.umask(before)
        store.stop()
    assert path.exists()
    for file in path.parent.glob("notifier.db*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_webhook_that_is_planned_late_does_not_move_the_time_of_its_sender_back(
    store: Any, hand: Hand
) -> None:
    timestamps, start = store.timestamps, hand()

    def plan(**passed: float) -> Any:
        marks = {"source/a": start + timedelta(**passed)}
        store.webhooks.add_plans([], hand(), marks).result()
        return timestamps.all("source/")

    hand.move(minutes=10)
    assert plan(minutes=9) == {"a": start + timedelta(minutes=9)}
    assert plan(minutes=2) == {"a": start + timedelta(minutes=9)}
    assert plan(minutes=10, seconds=2) == {"a": start + timedelta(minutes=10, seconds=2)}, (
        "of another replica"
    )
    assert plan(minutes=3) == {"a": start + timedelta(minutes=10, seconds=2)}
    hand.move(minutes=-5)  # the clock was ahead: nobody can have posted later than now
    assert plan(minutes=4) == {"a": start + timedelta(minutes=4)}
