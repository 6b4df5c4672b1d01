"""A thread that does its work whenever it is woken, and now and then unasked."""

from __future__ import annotations

import threading

import structlog

from notifier.metrics import Metrics
from notifier.paging.set_aside import SetAside
from notifier.store.engine import StoreUnavailable

log = structlog.get_logger(__name__)

_AFTER_FAILURE = 1.0  # seconds


class Worker:
    """Calls `work` from `start` to `stop`, each time for as long as it says there is more."""

    name = "worker"

    def __init__(self, metrics: Metrics, idle: float) -> None:
        """Prepare to work at least every *idle* seconds."""
        self._metrics = metrics
        self._idle = idle
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.is_stopping = False
        self.set_aside = SetAside()
        """The items that could not be processed."""

    def work(self) -> float | None:
        """Do a piece of work; return after how many seconds to do the next, None for when it is woken."""
        raise NotImplementedError

    def wake(self) -> None:
        """Have `work` called at once."""
        self._awake.set()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Finish the piece of work in hand, then end."""
        self.is_stopping = True
        self._awake.set()

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the end; return whether it came."""
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self.is_stopping:
            self._awake.clear()
            wait: float | None = _AFTER_FAILURE
            try:
                wait = self.work()
            except StoreUnavailable as error:
                self._metrics.store_errors.inc()
                log.warning("store unavailable, will try again", worker=self.name, error=str(error))
            except Exception:
                # A fault of ours must not end the thread: what it works on is in the store, to be tried again.
                log.exception("work failed, will try again", worker=self.name)
            self._awake.wait(self._idle if wait is None else min(wait, self._idle))
