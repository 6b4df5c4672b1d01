"""The threads that send and settle jobs, and which jobs they have in hand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum

import structlog

from notifier.delivery.message import Job
from notifier.delivery.retry import FIRST_BACKOFF, LISTING_DELAY
from notifier.store.engine import StoreUnavailable
from notifier.workers.context import Context

log = structlog.get_logger(__name__)

_MAX_THREADS = 256
_FAULT = "internal error of Notifier"
_STOPPED = "was not started: Notifier stopped"


class Work(Enum):
    """The kinds of work on a job: OVHcloud is called, or asked about an earlier call."""

    SEND = "send"
    SETTLE = "settle"


class JobThreads:
    """Works on jobs, each on a thread of its own.

    A job is in hand from before its claim is written until its outcome is. One that met a fault stays in hand until
    it is written down that OVHcloud is to be asked about it.
    """

    def __init__(self, context: Context, wake: Callable[[], None]) -> None:
        """Have no job in hand. *wake* is called whenever one is done."""
        self._context = context
        self._wake = wake
        self._pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="sending")
        self._lock = threading.Lock()
        self._in_hand: dict[Work, dict[str, str]] = {Work.SEND: {}, Work.SETTLE: {}}
        self._faulty: dict[str, Job] = {}
        self.is_stopping = False

    def add(self, jobs: Iterable[Job], account: str, work: Work) -> None:
        """Take *jobs* in hand for the account of that name, before they are claimed."""
        with self._lock:
            self._in_hand[work] |= {job.tag: account for job in jobs}

    def discard(self, jobs: Iterable[Job], work: Work) -> None:
        """Let go of *jobs*."""
        with self._lock:
            for job in jobs:
                self._in_hand[work].pop(job.tag, None)

    def tags(self) -> set[str]:
        """Return the tags of the jobs in hand."""
        with self._lock:
            return {tag for jobs in self._in_hand.values() for tag in jobs} | set(self._faulty)

    def count(self, work: Work) -> Counter[str]:
        """Return how many jobs each account has in hand, by its name."""
        with self._lock:
            return Counter(self._in_hand[work].values())

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return any(self._in_hand.values())

    def submit(self, job: Job, account: str, work: Work, act: Callable[[Job], None]) -> None:
        """Have *act* work on *job*, for the account of that name, on a thread."""
        self.add([job], account, work)

        def run() -> None:
            try:
                with self._context.backpressure.limited_share():
                    act(job)
            except Exception:
                log.exception("job failed unexpectedly, asking OVHcloud about it", job=job.tag)
                self._add_fault(job)

        def done(future: Future[None] | None = None) -> None:
            if future is not None and future.cancelled() and work is Work.SEND:
                now = self._context.clock()  # it was never started
                self._context.store.jobs.requeue(job, now, _STOPPED, now)
            self.discard([job], work)
            self._wake()

        try:
            self._pool.submit(run).add_done_callback(done)
        except RuntimeError as error:  # stopping, or no thread can be started
            log.warning("job not started", job=job.tag, error=str(error))
            self._add_fault(job)
            done()

    def write_faults(self) -> None:
        """Write down that OVHcloud is to be asked about the jobs that met a fault.

        Raises:
            StoreUnavailable: the store cannot be used.
        """
        for job in list(self._faulty.values()):
            try:
                self._unsettle(job).result()
            except StoreUnavailable:
                raise
            except Exception:  # it stays in hand: it may have been sent
                log.exception("job failure cannot be stored, will try again", job=job.tag)
                continue
            with self._lock:
                self._faulty.pop(job.tag, None)

    def stop(self) -> None:
        """Begin nothing more."""
        self.is_stopping = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the calls under way; return whether all of them are over."""
        over = threading.Event()
        waited = 0.0
        while self.is_busy and waited < timeout:
            over.wait(0.05)
            waited += 0.05
        return not self.is_busy

    def _add_fault(self, job: Job) -> None:
        with self._lock:
            self._faulty[job.tag] = job
        if self.is_stopping:  # nobody calls `write_faults` any more
            self._unsettle(job)

    def _unsettle(self, job: Job) -> Future[None]:
        now = self._context.clock()
        return self._context.store.jobs.unsettle(job, now, now + FIRST_BACKOFF, LISTING_DELAY, _FAULT)
