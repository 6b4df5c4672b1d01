"""Retention: deletes rows older than ``storage.retention`` in small portions, so that nothing waits for it."""

from __future__ import annotations

from datetime import timedelta

import structlog

from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_CHUNK = 200
_BETWEEN_CHUNKS = 0.1  # seconds, for the pages in between
_ROUND = 600.0
_FIRST_ROUND = 5.0


class Retention(Worker):
    """Deletes old rows, every ten minutes."""

    name = "retention"

    def __init__(self, context: Context) -> None:
        """Prepare to delete old rows."""
        super().__init__(context, idle=_ROUND)
        self._deleted = 0
        self._is_first = True

    def work(self) -> float | None:
        """Delete one chunk; come back soon if there is more."""
        if self._is_first:
            self._is_first = False
            return _FIRST_ROUND
        if self._context.backpressure.is_high:
            return 1.0
        now, configuration = self._clock(), self._current.runtime.configuration
        if self._store.backend.is_shared and not self._deleted:  # one replica at a time does
            every = timedelta(seconds=_ROUND * 0.9)
            if not self._store.timestamps.take_turn("turn/retention", now, every).result():
                return None
        gone = self._store.retention.delete_before(now - configuration.storage.retention, _CHUNK).result()
        self._deleted += gone
        if gone:
            return _BETWEEN_CHUNKS
        if self._deleted:
            log.info("history deleted", rows=self._deleted, older_than=str(configuration.storage.retention))
            self._deleted = 0
        return None
