"""Intake: a webhook is stored, with whatever others come at the same time, and then answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from notifier.alertmanager import webhook as alertmanager
from notifier.ids import new_id
from notifier.incidents.heartbeats import SEEN, seen_in
from notifier.store.engine import StoreUnavailable
from notifier.store.records import NewWebhook
from notifier.workers.context import Context

_MAX_BATCH = 256
_MAX_WAITING_BYTES = 64 * 1024 * 1024


class Stored(NamedTuple):
    """The result of storing a webhook as *id*; if *is_duplicate*, it repeats a stored webhook and was not written."""

    id: str
    is_duplicate: bool


_Waiting = tuple[NewWebhook, frozenset[str], asyncio.Future[Stored]]
"""A webhook, the names of the heartbeats whose alerts fire in it, and the future that its request awaits."""


class Intake:
    """Stores webhooks; belongs to the event loop on which it is called."""

    def __init__(self, context: Context, plan: Callable[[], None]) -> None:
        """Prepare to store webhooks; *plan* is called when there are webhooks to plan."""
        self._store = context.store
        self._current = context.current
        self._clock = context.clock
        self._plan = plan
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._is_writing = False

    async def store(self, body: bytes, posted_to: str | None = None) -> Stored:
        """Store the webhook in *body*, posted for the receiver *posted_to* if it was; return once it is on disk.

        Raises:
            alertmanager.WebhookError: the body is not a webhook.
            StoreUnavailable: it could not be stored, or too many wait already.
        """
        webhook = alertmanager.parse_envelope(body)
        if self._waiting_bytes + len(body) > _MAX_WAITING_BYTES:
            raise StoreUnavailable("more webhooks wait to be stored than can be held")
        now = self._clock()
        new = NewWebhook(
            new_id(now),
            alertmanager.identity(webhook, posted_to),
            now,
            posted_to,
            body,
            alertmanager.group_hash(webhook),
        )
        heartbeats = self._current.runtime.configuration.heartbeats
        seen = frozenset(seen_in(heartbeats, webhook)) if heartbeats else frozenset()
        stored: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting.append((new, seen, stored))
        self._waiting_bytes += len(body)
        if not self._is_writing:
            # Not at once: what else came in with the same turn of the loop goes into the same commit.
            self._is_writing = True
            asyncio.get_running_loop().call_soon(self._write)
        return await stored

    def _write(self) -> None:
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        window = self._current.runtime.configuration.global_.dedupe_window
        loop = asyncio.get_running_loop()
        written = self._store.webhooks.add([new for new, _, _ in batch], window)
        written.add_done_callback(lambda done: loop.call_soon_threadsafe(self._answer, batch, done))

    def _answer(self, batch: list[_Waiting], written: Future[set[str]]) -> None:
        self._is_writing = bool(self._waiting)
        if self._waiting:
            self._write()
        self._waiting_bytes -= sum(len(new.body) for new, _, _ in batch)
        error = written.exception()
        if error is None:
            self._plan()
            repeated = written.result()
            # A repetition is not planned, but it still counts as a heartbeat.
            if times := {
                SEEN + name: new.received_at for new, seen, _ in batch if new.id in repeated for name in seen
            }:
                self._store.timestamps.set(times)
            for new, _, stored in batch:
                if not stored.done():  # else whoever posted it has gone
                    stored.set_result(Stored(new.id, new.id in repeated))
        else:
            outage = error if isinstance(error, StoreUnavailable) else StoreUnavailable(str(error))
            for *_, stored in batch:
                if not stored.done():
                    stored.set_exception(outage)
