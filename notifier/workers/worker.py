"""A thread that does its work whenever it is woken, and now and then unasked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

import structlog

from notifier.clock import elapsed
from notifier.ovh.errors import CallFailed
from notifier.store.engine import StoreUnavailable
from notifier.workers.context import Context
from notifier.workers.set_aside import SetAside

log = structlog.get_logger(__name__)

LONGEST_FAILURE = 30.0
"""Seconds for which a worker may fail before that is reported."""
_AFTER_FAILURE = 1.0  # seconds


class Worker:
    """Calls `work` from `start` to `stop`, again at once while it returns 0."""

    name = "worker"
    longest_work = 600.0
    """The number of seconds after which a piece of work is reported as hanging: it may make many calls, each with its
    time-out.
    """

    def __init__(self, context: Context, idle: float) -> None:
        """Prepare to work with *context*, at least every *idle* seconds."""
        self._context = context
        self._store = context.store
        self._current = context.current
        self._clock = context.clock
        self._metrics = context.metrics
        self._idle = idle
        self._awake = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self.is_stopping = False
        self.set_aside = SetAside()
        """The items that could not be processed."""
        self._failing_since: float | None = None
        self._busy_since: float | None = None
        self._error = ""
        self._unreadable: dict[str, tuple[float, str]] = {}
        """The accounts that OVHcloud does not let it read: since when, and why."""

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

    def failure(self, now: float) -> str | None:
        """Return the problem at *now* (as `elapsed` gives it); None when all is well.

        It fails, or OVHcloud does not let it read, for `LONGEST_FAILURE`; or one piece of work hangs; or its thread
        has ended before `stop` was called.
        """
        if self._thread.ident is not None and not self._thread.is_alive() and not self.is_stopping:
            return f"the thread of the {self.name} has ended, restart Notifier"
        if self._failing_since is not None and now - self._failing_since >= LONGEST_FAILURE:
            return f"the {self.name} has failed for {now - self._failing_since:.0f} s: {self._error}"
        if self._busy_since is not None and now - self._busy_since >= self.longest_work:
            return f"the {self.name} has been busy with one piece of work for {now - self._busy_since:.0f} s"
        for since, error in self._unreadable.values():
            if now - since >= LONGEST_FAILURE:
                return f"no {self.name} could be read from OVHcloud for {now - since:.0f} s: {error}"
        return None

    def _run(self) -> None:
        while not self.is_stopping:
            self._awake.clear()
            wait = self.attempt()
            self._awake.wait(self._idle if wait is None else min(wait, self._idle))

    def attempt(self) -> float | None:
        """Do a piece of work and record how it went; return after how many seconds to do the next."""
        self._busy_since = elapsed()
        try:
            wait = self.work()
        except StoreUnavailable as error:
            self._metrics.store_errors.inc()
            if self._failing_since is None:  # once, not each second
                log.warning("store unavailable, will try again", worker=self.name, error=str(error))
            self._note_failure(str(error))
        except Exception as error:
            # A fault of ours must not end the thread: what it works on is in the store, to be tried again.
            description = f"{type(error).__name__}: {error}"
            if description != self._error:
                log.exception("worker failed, will try again", worker=self.name)
            self._note_failure(description)
        else:
            if self._failing_since is not None:
                log.info("worker recovered", worker=self.name, error=self._error)
            self._failing_since, self._error = None, ""
            self._metrics.worker_last_success.labels(self.name).set_to_current_time()
            return wait
        finally:
            self._busy_since = None
        return _AFTER_FAILURE

    def resort(self, page: Callable[[], bool], **about: object) -> bool:
        """Have *page* send what it can for an item that keeps failing; return whether *page* succeeded.

        *page* returns whether there was anything to page for; *about* names the item in the log. If *page* fails, that
        is logged, and it is tried again.

        Raises:
            StoreUnavailable: the store cannot be used.
        """
        try:
            if page():
                log.error(
                    "item cannot be processed, it is paged without what fails", worker=self.name, **about
                )
                self._metrics.last_resort.labels(self.name).inc()
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("last resort failed, will try again", worker=self.name, **about)
            return False
        return True

    def note_answer(self, account: str, error: CallFailed | None) -> None:
        """Remember whether OVHcloud could be asked about *account*, or the *error*; each change is logged once."""
        before = self._unreadable.get(account)
        others = {name: known for name, known in self._unreadable.items() if name != account}
        about = {"worker": self.name, "account": account or None}
        if error is not None:
            since = before[0] if before is not None else elapsed()
            others[account] = since, str(error)[:200]
            self._metrics.worker_failures.labels(self.name).inc()
            if before is None:
                log.warning("OVHcloud cannot be asked, will try again", **about, error=str(error))
        elif before is not None:
            log.info("OVHcloud can be asked again", **about)
        self._unreadable = others  # a new one: other threads read it

    def keep_accounts(self, accounts: Collection[str]) -> None:
        """Forget which accounts could not be asked, except those in *accounts*: the others are not configured now."""
        self._unreadable = {name: known for name, known in self._unreadable.items() if name in accounts}

    def _note_failure(self, error: str) -> None:
        self._metrics.worker_failures.labels(self.name).inc()
        if self._failing_since is None:
            self._failing_since = elapsed()
        self._error = error[:200]
