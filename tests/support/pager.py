"""The workers, made to work by hand, with time moved by hand and the emulator over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Executable

from notifier.alertmanager.webhook import group_hash, identity, parse_envelope
from notifier.delivery.message import Job
from notifier.delivery.retry import LISTING_DELAY
from notifier.delivery.snapshot import Limits
from notifier.emulator import Emulator
from notifier.ids import new_id
from notifier.metrics import Metrics
from notifier.reload import load
from notifier.runtime import Current, prepare
from notifier.store.records import NewWebhook
from notifier.store.schema import messages
from notifier.store.store import Store
from notifier.workers.backpressure import Backpressure
from notifier.workers.context import Context
from notifier.workers.wiring import Workers
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.webhooks import alert, webhook


def claim(store: Store, job: Job) -> bool:
    """Claim *job* as the dispatcher does; return whether its messages were all queued."""
    return bool(store.submit(lambda connection: store.jobs.claim(connection, job)).result(10))


class Pager:
    """The workers, made to work by hand."""

    def __init__(self, files: Files, hand: Hand, changes: Any) -> None:
        self.files, self.hand, self.changes = files, hand, changes
        self.metrics = Metrics()
        self.backpressure = Backpressure()
        self.replica = ""
        self.seconds: Callable[[], float] = lambda: self.hand().timestamp()
        self.open()

    def open(self) -> None:
        self.current = Current(self.runtime(**self.changes))
        self.store = Store(self.current.runtime.configuration.storage.place(self.files.directory))
        self.store.start()
        self.restart()

    def runtime(self, **changes: Any) -> Any:
        loading, templates = load(self.files.write(**changes))
        assert loading.errors == []
        return prepare(loading, templates, self.metrics.observe_call)

    def reload(self, **changes: Any) -> None:
        """Put another configuration in force."""
        self.current.runtime = self.runtime(**changes)

    def reopen(self) -> None:
        """Begin anew from the file, as another process would."""
        self.store.stop()
        self.open()

    def restart(self) -> None:
        """Begin anew from the store, as after a kill that others have noticed."""
        if self.store.backend.is_shared:
            self.store.replicas.leave(self.replica, self.hand(), LISTING_DELAY).result(10)
            self.store.replica = self.replica = new_id(self.hand())
            self.store.replicas.heartbeat(self.replica, self.hand()).result(10)
        else:
            self.store.replica = new_id(self.hand())
        self.context = Context(self.store, self.current, self.hand, self.metrics, self.backpressure)
        self.workers = Workers(
            self.context,
            chance=lambda: 1.0,
            seconds=lambda: self.seconds(),  # noqa: PLW0108 (tests replace it)
            monotonic=lambda: self.hand().timestamp(),
        )
        self.sender, self.planner = self.workers.dispatcher, self.workers.planner
        self.escalator, self.actions = self.workers.escalator, self.workers.actions
        self.receipts, self.replies = self.workers.receipts, self.workers.replies
        self.heartbeats = self.workers.heartbeats

    def post(self, body: Any, posted_to: Any = None) -> Any:
        return self.post_all([body], posted_to)

    def post_all(self, bodies: Any, posted_to: Any = None) -> Any:
        now, batch = self.hand(), []
        for body in bodies:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            envelope = parse_envelope(data)
            digest = identity(envelope, posted_to)
            batch.append(NewWebhook(new_id(now), digest, now, posted_to, data, group_hash(envelope)))
        return self.store.webhooks.add(batch, timedelta(minutes=2)).result(10)

    def turn(self, times: Any = 1) -> None:
        """Plan what is stored, hand out what is due, and wait until it is written down."""
        for _ in range(times):
            while self.planner.work() is not None:
                pass
            self.heartbeats.work()
            self.workers.alertmanager_check.work()
            while self.escalator.work() is not None:
                pass
            self.sender.work()
            self.wait_while(lambda: self.sender.is_busy, "a job hangs")
            while self.workers.calls.work() == 0.0:
                pass
            self.workers.fallback.work()
            self.wait_while(lambda: self.workers.fallback.is_busy, "a fallback hangs")

    @staticmethod
    def wait_while(is_busy: Callable[[], bool], complaint: str) -> None:
        """Wait until nothing is under way any more; fail with *complaint* after 20 seconds."""
        idle = threading.Event()
        for _ in range(20_000):
            if not is_busy():
                return
            idle.wait(0.001)
        raise AssertionError(complaint)

    def follow(self) -> None:
        """Ask for the receipts that are due."""
        while (wait := self.receipts.work()) is not None and wait < 1:
            pass

    def listen(self) -> None:
        """Read what was replied."""
        while self.replies.work() == 0.0:
            pass

    def run(self, seconds: Any, step: Any = 1.0) -> None:
        """Let time pass, turning at every *step*."""
        end = self.hand() + timedelta(seconds=seconds)
        while self.hand() < end:
            self.turn()
            self.hand.move(seconds=step)
        self.turn()

    def write(self, statement: Executable) -> None:
        """Write to the database what no worker would."""
        self.store.submit(lambda connection: connection.execute(statement).rowcount).result(10)

    def rows(self) -> Any:
        with self.store.reading() as connection:
            return [
                dict(row._mapping) for row in connection.execute(messages.select().order_by(messages.c.id))
            ]

    def states(self) -> Any:
        return [row["state"] for row in self.rows()]

    def count(self, series: Any) -> Any:
        for line in self.metrics.exposition().decode().splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def close(self) -> None:
        self.store.stop()


ONE = webhook(alert(instance="db-1", severity="critical"))


def due_in(store: Any, now: Any, limit: Any = 10) -> Any:
    """Return the messages that are due in *store*, up to *limit*."""
    return list(store.outbox.snapshot(now, Limits(None, None, {}), limit).due[:limit])


def texts(emulator: Emulator) -> Any:
    return [sms.message for sms in emulator.emulation.accepted]
