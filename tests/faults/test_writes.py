"""Every write of the store, by name, on both engines, fails in three ways: nothing may differ afterwards.

lose: it is committed, and the database's answer is lost. fail: it is rolled back. twice: it is run, rolled back
and run again. The outcome of the same day is compared with that of a day without a fault.
"""

from __future__ import annotations

import collections
import itertools
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Connection

from notifier.emulator import Emulation, Emulator, Fault, FaultKind
from notifier.store.engine import StoreUnavailable
from notifier.store.schema import fallbacks, jobs, messages, webhooks
from notifier.workers.actions import Via
from tests.support.alertmanager import members
from tests.support.channels import receiver
from tests.support.clock import Hand
from tests.support.files import ALICE, Files
from tests.support.pager import Pager
from tests.support.postgres import Server, both_engines
from tests.support.stage import IS_FULL
from tests.support.team import CONTACTS, NAMES
from tests.support.webhooks import alert, webhook

pytestmark = [pytest.mark.xdist_group("writes"), pytest.mark.timeout(3600 if IS_FULL else 280)]

OVH = {
    "sender": ...,
    "sender_for_response": True,
    "replies": {"poll_interval": "1s"},
    "receipts": {"poll_interval": "1s"},
}
MODES = ("lose", "fail", "twice")
_VARYING = r"\d\d:\d\d|\b\d+[smh]\b|\(late.*?\)|\bLATE .*?: |(?<=/i/)\w{14}"
"""What may differ between the texts of two days: times, and the tokens of links."""
COVERED: set[tuple[str, str]] = set()
NEXT_MODE = itertools.cycle(MODES)


class Writes:
    """Names every write, and has one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: collections.Counter[str] = collections.Counter()
        self.wanted: tuple[str, int, str] | None = None
        self.is_hit = False
        self.lost_next: str | None = None
        """The name of a write whose next answer is lost as a part of the day, whatever else fails."""
        self._is_lost = False
        monkeypatch.setattr("notifier.store.writer.reach", self._reach)

    def _reach(self, point: str) -> None:
        if point == "after-commit" and self._is_lost:
            self._is_lost = False
            raise OSError("the answer to COMMIT was lost")

    def watch(self, store: Any) -> None:
        submit: Callable[..., Future[Any]] = store.submit

        def submitting(operation: Callable[[Connection], Any], notifies: Collection[str] = ()) -> Future[Any]:
            return submit(self._named(operation), notifies)

        store.submit = submitting

    def _named(self, operation: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
        name = operation.__qualname__.split(".<locals>")[0]

        def run(connection: Connection) -> Any:
            self.seen[name] += 1
            if name == self.lost_next:
                self.lost_next, self._is_lost = None, True
            if self.is_hit or self.wanted is None or self.wanted[:2] != (name, self.seen[name]):
                return operation(connection)
            self.is_hit = True
            match self.wanted[2]:
                case "fail":
                    operation(connection)
                    raise OSError("the transaction failed")
                case "twice":
                    with connection.begin_nested() as attempt:
                        operation(connection)
                        attempt.rollback()
                case "lose":
                    self._is_lost = True
            return operation(connection)

        return run


class Day:
    """A day of a pager whose store may fail at any write."""

    def __init__(self, files: Files, emulator: Emulator, changes: dict[str, Any], writes: Writes) -> None:
        self.hand, self.emulator, self.writes = Hand(), emulator, writes
        self.is_order_chance = False
        """Whether it is chance which of the alerts go one by one, and which in the digest."""
        self.by_fallback: set[str] = set()
        """What the second channel took; it takes a message at least once."""
        self.pager = Pager(files, self.hand, changes)
        writes.watch(self.pager.store)
        pager = self.pager
        self.retention, self.replicas = pager.workers.retention, pager.workers.replicas
        self.retention.work()  # the first look only waits

    def tried(self, work: Callable[[], Any]) -> Any:
        """Return what *work* returns; None while the store is out. Any other error fails the test."""
        try:
            return work()
        except StoreUnavailable:
            return None

    def insist(self, work: Callable[[], Any], is_done: Callable[[], bool] = lambda: False) -> None:
        """Do *work* as a person or Alertmanager does: again while the store is out, unless it *is_done*."""
        for _ in range(5):
            try:
                work()
            except StoreUnavailable:
                if is_done():
                    return
            else:
                return
        raise AssertionError("the store does not recover")

    def tick(self, seconds: float = 1.0) -> None:
        pager = self.pager
        if pager.store.backend.is_shared:
            self.tried(self.replicas.work)
        for worker in (pager.planner, pager.heartbeats, pager.escalator):
            while self.tried(worker.work) == 0.0:
                pass
        for _ in range(3):
            self.tried(pager.sender.work)
            pager.wait_while(lambda: pager.sender.is_busy, "a job hangs")
        for other in (pager.workers.alertmanager_check, pager.workers.fallback):
            self.tried(other.work)
        pager.wait_while(lambda: pager.workers.fallback.is_busy, "a fallback hangs")
        for follower in (pager.receipts, pager.replies, self.retention):
            self.tried(follower.work)
        self.hand.move(seconds=seconds)

    def run(self, times: int, seconds: float = 1.0) -> None:
        for _ in range(times):
            self.tick(seconds)

    def post(self, *alerts: dict[str, Any], key: str, **more: Any) -> None:
        body = webhook(*alerts, key=key, **more)
        self.insist(lambda: self.pager.post(body))

    def fault(self, **fault: Any) -> None:
        self.emulator.faults.add(Fault(**fault))

    def left(self) -> list[str]:
        """Return what is under way."""
        with self.pager.store.reading() as connection:
            return [
                *(f"message {row.state}" for row in connection.execute(messages.select())
                  if row.state in ("queued", "held", "sending", "unsettled")),
                *(f"job {row.state}" for row in connection.execute(jobs.select()) if row.state != "done"),
                *("fallback" for row in connection.execute(fallbacks.select()) if row.state == "waiting"),
                *("webhook" for row in connection.execute(webhooks.select()) if row.planned_at is None),
            ]  # fmt: skip

    def settle(self) -> None:
        for _ in range(40):
            if not self.left():
                return
            self.tick(15.0)

    def outcome(self) -> tuple[Any, ...]:
        """Return who received which texts, how the incidents stand, and what is left over."""
        told = collections.Counter(
            (NAMES[sms.receiver], re.sub(_VARYING, "", sms.message))
            for sms in self.emulator.emulation.accepted
        )
        if self.is_order_chance:
            told = collections.Counter(
                (who, word) for who, text in told.elements() for word in re.findall(r"\bW\d\b|hello", text)
            )
        told.update(("second channel", text) for text in self.by_fallback)
        found = sorted(self.pager.store.incidents.latest(50), key=lambda one: (one.title, one.number))
        return told, [(one.title, one.state.value, one.acknowledged_by) for one in found], self.left()


def critical(name: str, status: str = "firing") -> dict[str, Any]:
    return alert(name, severity="critical", instance="db-1", status=status)


def acknowledged(day: Day) -> None:
    """A page is delivered, acknowledged by SMS, joined by another alert, and resolved."""
    day.post(critical("A"), key="a")
    day.run(2)
    day.emulator.emulation.reply(ALICE, "ack")
    day.run(3)
    day.post(critical("A"), critical("B"), key="a")
    day.run(2)
    day.post(critical("A", "resolved"), critical("B", "resolved"), key="a")
    day.run(3)


def escalated(day: Day) -> None:
    """A phone is off, so the next is paged; somebody acknowledges by the page, passes on, and it reopens."""
    day.emulator.emulation.receipts[ALICE] = (2, 24)
    day.post(critical("A"), key="a")
    day.run(3)
    day.run(10, 20)
    (incident,) = day.pager.store.incidents.latest(5)

    def is_acknowledged() -> bool:
        return day.pager.store.incidents.latest(5)[0].acknowledged_by == "bob"

    day.insist(lambda: day.pager.actions.acknowledge(incident.id, "bob", Via.WEB), is_acknowledged)
    day.run(2)
    day.insist(lambda: day.pager.actions.escalate(incident.id, "bob", Via.WEB), lambda: not is_acknowledged())
    day.run(2)


def refused(day: Day) -> None:
    """OVHcloud refuses a job of three as a whole, so it is split; a job's answer is lost, another is not taken."""
    day.fault(kind=FaultKind.ERROR, status=400, error_class="Client::BadRequest", message="[receivers] bad")
    day.post(critical("A"), key="a")
    day.run(3)
    day.fault(kind=FaultKind.RESET_AFTER)
    day.post(critical("B"), key="b")
    day.run(3)
    day.fault(kind=FaultKind.RESET_BEFORE)
    day.fault(kind=FaultKind.ERROR, status=503)
    day.post(critical("C"), key="c")
    day.run(8, 4)


def storm(day: Day) -> None:
    """More messages than the limit allows: the rest go as a digest; a text of a person goes out."""
    day.is_order_chance = True
    for number in range(6):
        day.post(alert(f"W{number}", severity="warning", instance="db-1"), key=f"w{number}")
    day.run(3)
    sent = len(day.pager.rows())
    day.insist(lambda: day.pager.actions.send("bob", "hello"), lambda: len(day.pager.rows()) > sent)
    day.run(15, 20)


def silent(day: Day) -> None:
    """A heartbeat is lost, and is back; what is old is deleted."""
    day.run(2)
    day.run(12, 20)
    day.post(alert("Watchdog"), key="hb")
    day.run(3)
    day.hand.move(days=40)
    day.run(3)
    day.hand.move(
        hours=2
    )  # to delete is put off to the next round where its turn was taken, and nobody learnt it
    day.run(3)
    day.post(alert("Watchdog"), key="hb")
    day.run(3)
    day.pager.reload(**{**day.pager.changes, "heartbeats": []})
    day.run(3)


def rare(day: Day) -> None:
    """A text is reduced, a call put off, a claim lost, a receipt announced, a calendar kept; a replica is gone."""
    told = "cannot send contact information with shortcode"
    day.fault(kind=FaultKind.ERROR, status=400, error_class="Client::BadRequest", message=told)
    day.post(critical("A"), key="a")
    day.run(3)
    day.fault(kind=FaultKind.ERROR, status=429)
    day.post(critical("B"), key="b")
    day.run(8, 4)
    day.post(critical("C"), key="c")
    day.tried(day.pager.planner.work)
    day.writes.lost_next = "Outbox.apply"
    day.pager.receipts.hint()
    day.run(8, 4)
    store = day.pager.store
    day.tried(lambda: store.timestamps.keep_calendar("team", day.hand(), "[]").result(20))
    if store.backend.is_shared:
        day.post(critical("D"), key="d")
        own, store.replica = store.replica, "another"
        day.tried(lambda: store.replicas.heartbeat("another", day.hand()).result(20))
        day.tried(lambda: store.webhooks.unplanned(10, 10_000))
        store.replica = own
        day.run(4, 3)
        day.tried(day.replicas.leave)
    day.run(3)


def taken_over(day: Day) -> None:
    """OVHcloud is down, so pages go by the second channel, which fails once; one ends before OVHcloud is back."""
    with receiver() as hook:
        alice = {**CONTACTS[0], "fallback": [hook.url]}
        day.pager.reload(**{**day.pager.changes, "contacts": [alice, *CONTACTS[1:]]})
        day.fault(kind=FaultKind.ERROR, status=503, times=None)
        day.post(critical("A"), key="a")
        day.run(2)
        day.post(critical("B"), key="b")
        day.run(6, 10)
        hook.status = 500
        day.run(9, 10)
        hook.status = 200
        day.run(5, 40)
        day.post(critical("B", "resolved"), key="b")
        day.run(5, 40)
        day.emulator.faults.clear()
        day.run(5, 40)
        day.by_fallback = {text for _, text in hook.got}


def silenced(day: Day) -> None:
    """An alert is silenced, so nobody else is paged; the silence ends, so they are; Alertmanager forgets the alert."""
    with members(2, day.hand) as pair:
        day.pager.reload(**{**day.pager.changes, "alertmanager": {"urls": [one.url for one in pair]}})
        for one in pair:
            one.fire(critical("A"))
        day.post(critical("A"), key="a")
        day.run(2)
        for one in pair:
            one.silence(by="dave")
        day.run(20, 20)
        for one in pair:
            one.release()
        day.run(15, 20)
        for one in pair:
            one.end()
        day.run(20, 20)


SCENARIOS: dict[Callable[[Day], None], dict[str, Any]] = {
    acknowledged: {"receivers": [{"name": "ops", "notify": ["alice", "bob"]}]},
    escalated: {
        "ovh": {**OVH, "sender": "ACME", "sender_for_response": ...},
        "links": True,
        "global": {"external_url": "https://pager.example.net"},
        "receivers": [
            {
                "name": "ops", "notify": ["alice"], "reopen_after": "2m",
                "escalate": [{"after": "10m", "notify": ["bob"]}, {"after": "2m", "notify": ["carol"]}],
            }
        ]
    },
    refused: {"receivers": [{"name": "ops", "notify": ["alice", "bob", "carol"]}]},
    storm: {"limits": {"per_contact": {"messages": 3, "per": "2m"}}},
    silent: {
        "storage": {"retention": "30d"},
        "heartbeats": [
            {"name": "hb", "matchers": ['alertname="Watchdog"'], "timeout": "3m", "receiver": "ops"}
        ],
    },
    rare: {"receivers": [{"name": "ops", "notify": ["alice", "bob"]}]},
    taken_over: {"receivers": [{"name": "ops", "notify": ["alice"]}]},
    silenced: {
        "receivers": [
            {"name": "ops", "notify": ["alice"], "escalate": [{"after": "5m", "notify": ["bob"]}]}
        ]
    },
}  # fmt: skip


@pytest.fixture
def new_files(
    engine_name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[Emulator], Files]]:
    """Return a function that makes a new database of the engine, and the files of a configuration for it."""
    numbers = itertools.count()
    is_shared = engine_name == "postgresql"
    server: Server | None = request.getfixturevalue("postgres_server") if is_shared else None
    made: list[URL] = []

    def new(emulator: Emulator) -> Files:
        directory = tmp_path / str(next(numbers))
        directory.mkdir()
        if server is None:
            shutil.copy(request.getfixturevalue("blank"), directory / "notifier.db")
            return Files(directory, emulator)
        made.append(server.create(server.blank))
        return Files(directory, emulator, made[-1].render_as_string(hide_password=False))

    yield new
    for url in made:
        assert server is not None
        server.drop(url)


@contextmanager
def played(
    scenario: Callable[[Day], None], new_files: Callable[[Emulator], Files], writes: Writes
) -> Iterator[Day]:
    with Emulator(Emulation(credits=1e9)).running() as emulator:
        changes = {"contacts": CONTACTS, "limits": {"per_contact": None}, "ovh": OVH, **SCENARIOS[scenario]}
        writes.seen.clear()
        writes.is_hit, writes.lost_next = False, None
        day = Day(new_files(emulator), emulator, changes, writes)
        try:
            scenario(day)
            day.settle()
            yield day
        finally:
            day.pager.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@both_engines
def test_no_write_that_fails_loses_or_doubles_a_page(
    scenario: Any, new_files: Any, engine_name: str, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    writes = Writes(monkeypatch)
    with played(scenario, new_files, writes) as day:
        expected, names = day.outcome(), dict(writes.seen)
    assert expected[2] == []
    modes: dict[str, tuple[str, ...]] = dict.fromkeys(names, MODES)
    if not IS_FULL:
        # The suite has its time to keep: each write once, in the first scenario that has it, in one way, and those of
        # an odd number on the one engine, of an even one on the other.
        new = [name for name in names if (engine_name, name) not in COVERED]
        COVERED.update((engine_name, name) for name in new)
        names = dict.fromkeys(new[engine_name == "postgresql" :: 2], 1)
        modes = {name: (next(NEXT_MODE),) for name in names}
    wrong = []
    for name, count in names.items():
        for mode in modes[name]:
            for number in range(1, count + 1):
                writes.wanted = (name, number, mode)
                with played(scenario, new_files, writes) as day:
                    if not writes.is_hit:
                        continue  # which of two threads writes first is chance
                    found = day.outcome()
                if found != expected:
                    wrong.append(
                        (name, number, mode, found[0] - expected[0], expected[0] - found[0], *found[1:])
                    )
    request.node.user_properties.append(
        (
            "writes",
            (engine_name, scenario.__name__, sum(names.values()), len(MODES) if IS_FULL else 1, len(wrong)),
        )
    )
    assert wrong == []
