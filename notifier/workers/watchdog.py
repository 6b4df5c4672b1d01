"""The watchdog: calls the operator's dead man's switch while pages are sent."""

from __future__ import annotations

import math
from collections.abc import Callable

import requests
import structlog

from notifier.http_client import call
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_TIMEOUT = 10.0  # seconds
_LOOK = 5.0  # seconds; how soon a watchdog that a reload brought is called


class Watchdog(Worker):
    """Calls ``watchdog.url``, but not while nobody would be paged: while webhooks are not taken or nothing is sent."""

    name = "watchdog"

    def __init__(self, context: Context, does_page: Callable[[], bool]) -> None:
        """Prepare to call while *does_page* is true."""
        super().__init__(context, idle=3600.0)
        self._does_page = does_page
        self.problem: str | None = None
        """Why the last call failed."""
        self._record(math.nan)

    def work(self) -> float | None:
        """Call once, if all is well."""
        watchdog = self._current.runtime.configuration.watchdog
        if watchdog is None:
            self.problem = None
            self._record(math.nan)
            return _LOOK
        if math.isnan(self._last_success):
            self._record(self._clock().timestamp())
        if self._does_page():
            self._call(watchdog.url)
        return watchdog.every.total_seconds()

    def _record(self, at: float) -> None:
        self._last_success = at
        self._metrics.watchdog_success_timestamp.set(at)

    def _call(self, url: str) -> None:
        try:
            answer = call("GET", url, seconds=_TIMEOUT)
            problem = None if answer.ok else f"it answers {answer.status_code}"
        except requests.RequestException as error:
            problem = type(error).__name__
        if problem is None:
            self._record(self._clock().timestamp())
        if problem != self.problem:
            if problem is None:
                log.info("watchdog can be called again")
            else:
                log.warning("watchdog cannot be called", error=problem)
        self.problem = problem
