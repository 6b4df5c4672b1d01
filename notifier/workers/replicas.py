"""Replicas: this one shows that it lives, and frees the work of those that do not any more.

Whether another lives is judged by whether its counter moves, by the time that passes here: clocks that differ
do not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from notifier.delivery import retry
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

LEASE = 5.0
"""Seconds without a sign of life after which a replica's work is taken over."""
_CALL_IS_GOOD_FOR = timedelta(seconds=27)
"""After `LEASE`, a call that was signed when its job was claimed is older than the 30 s for which OVHcloud accepts it.
"""
_EVERY = 1.0
_LEAVING = 2.0
"""Seconds that a stop waits for the database to take note."""


class Replicas(Worker):
    """Keeps the list of the replicas of a database."""

    name = "replicas"

    def __init__(
        self,
        context: Context,
        settle: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to work; *settle* is called when there are jobs to settle."""
        super().__init__(context, idle=_EVERY)
        self._settle = settle
        self._monotonic = monotonic
        self._others: dict[str, tuple[int, float]] = {}  # how often each has beaten, and since when

    def work(self) -> float | None:
        """Show a sign of life, and look for those of the others."""
        now, instant = self._clock(), self._monotonic()
        beats = self._store.replicas.heartbeat(self._store.replica, now).result()
        self._others = {
            replica: self._others[replica]
            if replica in self._others and self._others[replica][0] == count
            else (count, instant)
            for replica, count in beats.items()
        }
        self._metrics.replicas.set(1 + len(beats))
        silent = {
            replica: count for replica, (count, since) in self._others.items() if instant - since >= LEASE
        }
        if silent:
            # It may have lost only the database, while its call to OVHcloud is still under way.
            accounts = self._current.runtime.configuration.accounts
            timeout = max(account.timeout for account in accounts)
            listing_grace = max(timeout, _CALL_IS_GOOD_FOR) + retry.LISTING_DELAY
            jobs = self._store.replicas.expire(silent, now, listing_grace).result()
            log.warning("stale replicas found, taking over their work", replicas=sorted(silent), jobs=jobs)
            self._settle()
        return None

    def leave(self) -> None:
        """Say that this replica ends, so that others take over its work at once."""
        left = self._store.replicas.leave(self._store.replica, self._clock(), retry.LISTING_DELAY)
        left.result(timeout=_LEAVING)
