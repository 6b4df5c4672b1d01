"""The dispatcher: messages that are due become jobs, and jobs are handed to threads.

The claim of a job is committed before its call, and the outcome after it. A job without an outcome (its answer was
lost, or the process was killed) is looked up at OVHcloud by its tag before anything is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

import structlog

from notifier.clock import elapsed
from notifier.delivery.accounts import Paused, fallback_accounts, free_slots, round_robin, unsendable
from notifier.delivery.message import Hold
from notifier.delivery.retry import LISTING_DELAY, LONGEST_RETRY_AFTER
from notifier.delivery.selection import select, select_unchanged
from notifier.delivery.snapshot import Limits, Selection, Turns
from notifier.runtime import Runtime
from notifier.sms.phones import mask
from notifier.store.engine import StoreUnavailable
from notifier.store.records import Due
from notifier.workers.accounts import Accounts
from notifier.workers.context import Context
from notifier.workers.delivery import ClaimedAt, Delivery
from notifier.workers.job_threads import JobThreads, Work
from notifier.workers.log_fields import message_fields, recipient_fields, subjects_fields
from notifier.workers.outcomes import Outcomes
from notifier.workers.set_aside import MAX_ATTEMPTS
from notifier.workers.settlement import Settlement
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_CHECK_CLAIMS_EVERY = timedelta(seconds=1)
_OVERDUE_AFTER = timedelta(seconds=30)
"""How long after its time-out a job may be sending before that is reported."""
_AFTER_PARTIAL = 0.05
"""Seconds before selecting again after another replica locked rows."""
_IDLE = 0.5
_MAX_LOGGED = 20
"""The number of held messages whose alerts a line of the log names."""


class Dispatcher(Worker):
    """Sends queued messages, up to ``max_concurrency`` jobs at once."""

    name = "sender"
    longest_work = 60.0  # pages wait for this worker; calls are made on other threads

    def __init__(
        self,
        context: Context,
        chance: Callable[[], float] = random.random,
        seconds: Callable[[], float] = elapsed,
    ) -> None:
        """Prepare to send the messages of *context*'s store.

        *chance* gives numbers from 0 to 1, for the jitter; *seconds* is a monotonic time.
        """
        super().__init__(context, idle=_IDLE)
        self.accounts = Accounts(context.current, context.metrics)
        self.threads = JobThreads(context, self.wake)
        outcomes = Outcomes(context, lambda: self.is_stopping)
        self.delivery = Delivery(context, self.accounts, self.threads, outcomes, chance)
        self.settlement = Settlement(context, self.accounts, self.threads, outcomes, chance, seconds)
        self.overdue = 0
        """How many jobs have been sending for longer than a call can take."""
        self._last_account: str | None = None
        self._is_expecting = False
        self._worked_at: datetime | None = None
        self._claims_checked_at: datetime | None = None
        self._runtime: Runtime | None = None

    def work(self) -> float | None:
        """Start jobs with the due messages, on as many threads as allowed."""
        now, runtime = self._clock(), self._current.runtime
        self._note_reload(runtime)
        self._note_clock(now)
        self._check_claims(now, runtime)
        is_expecting, self._is_expecting = self._is_expecting, False
        due = Due(now, None) if is_expecting else self._store.outbox.next_due()
        wait = None
        if due.message_at is not None and due.message_at <= now:
            wait = self._send_due(now, runtime)
        # Settlement has its own quota of threads, so that lost answers cannot delay new pages.
        if due.job_at is not None and due.job_at <= now and self._settle_due(now, runtime):
            wait = 0.0
        if wait == 0.0:
            return None  # a job that ends wakes this worker
        if wait is not None:
            return wait
        return 0.0 if is_expecting else self._until(due, now, runtime)

    def expect(self) -> None:
        """Look at once for messages that are due, without asking first whether there are any."""
        self._is_expecting = True
        self.wake()

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return self.threads.is_busy

    @property
    def paused(self) -> Paused | None:
        """The pause of the first account if all accounts are paused; else None."""
        return self.accounts.paused

    def stop(self) -> None:
        """Hand out nothing more."""
        super().stop()
        self.threads.stop()

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the calls under way to be answered and written down."""
        super().join(timeout)
        return self.threads.join(timeout)

    # what changed since the last look

    def _note_reload(self, runtime: Runtime) -> None:
        if runtime is not self._runtime:
            # An account that refused a message may accept it since, and the others may have been removed.
            self._store.outbox.forget_refusals().result()
            self.accounts.forget_rates()
            self._runtime = runtime
        self.accounts.show_pauses(if_renamed=True)

    def _note_clock(self, now: datetime) -> None:
        store, last = self._store, self._worked_at
        if last is None:
            orphans = store.jobs.free_orphans(now, LISTING_DELAY).result()
            if orphans:
                log.warning("jobs without an outcome found, asking OVHcloud", jobs=orphans)
        if last is None or now < last:
            # The clock may have been set back: a due time beyond the longest delay of a retry is reset to now.
            store.outbox.reset_due_times(now, now + LONGEST_RETRY_AFTER).result()
            self.accounts.forget_times()
        self._worked_at = now

    def _check_claims(self, now: datetime, runtime: Runtime) -> None:
        """Return claimed jobs that were never started to the queue, and have OVHcloud asked about faulty ones.

        A claim may have been committed though its answer was lost, and a server may commit it long after the
        connection broke. So this is done every second.
        """
        self.threads.write_faults()
        checked_at = self._claims_checked_at
        if checked_at is not None and timedelta() <= now - checked_at < _CHECK_CLAIMS_EVERY:
            return
        store, in_hand = self._store, self.threads.tags
        claims = store.jobs.claims()
        own = {claim.tag for claim in claims if claim.is_own}
        if own - in_hand() and (lost := store.jobs.release_claims(in_hand, now).result()):
            log.warning("claims without an answer from the database returned to the queue", jobs=lost)
        timeout = max(account.timeout for account in runtime.configuration.accounts)
        overdue = sum(claim.since < now - timeout - _OVERDUE_AFTER for claim in claims)
        if overdue and not self.overdue:
            log.error("jobs have been sending for longer than a call can take", jobs=overdue)
        self.overdue = overdue
        self._metrics.jobs_overdue.set(overdue)
        self._claims_checked_at = now

    def _until(self, due: Due, now: datetime, runtime: Runtime) -> float | None:
        times = [] if due.job_at is None else [due.job_at]
        if due.message_at is not None:
            healths = self.accounts.all(runtime.apis).values()
            times.append(max(due.message_at, min(health.ready_at(now) for health in healths)))
        if not times:
            return None
        wait = (min(times) - now).total_seconds()
        # Work that is due and was not begun waits for a job under way: look again when that ends, or after _IDLE.
        return max(wait, 0.001) if wait > 0 else _IDLE

    # handing out

    def _settle_due(self, now: datetime, runtime: Runtime) -> bool:
        """Begin to settle the jobs that are due; return whether there are any."""
        most = sum(account.max_concurrency for account in runtime.configuration.accounts)
        room = max(1, most // 2) - self.threads.count(Work.SETTLE).total()
        if room <= 0:
            return False
        in_hand = self.threads.tags()
        jobs = self._store.jobs.unsettled(now, room + len(in_hand))
        chosen = [job for job in jobs if job.tag not in in_hand][:room]
        for job in chosen:
            self.settlement.begin(job)
        return bool(chosen)

    def _send_due(self, now: datetime, runtime: Runtime) -> float | None:
        """Begin jobs for the messages that are due.

        Returns 0 if any were begun; else after how many seconds to try again, None if there is nothing to wait for.
        """
        turns = self._turns(now, runtime)
        if not turns.order and not turns.fallback:
            return None
        outbox, waiting = self._store.outbox, self.set_aside.waiting(now)
        try:
            wait = self._select_and_begin(now, runtime, turns, without=waiting)
        except StoreUnavailable:
            raise
        except Exception:  # whatever is wrong, it is about one message: the others are sent all the same
            log.exception("messages cannot be selected together, selecting those of each number alone")
        else:
            if tried := self.set_aside.items().keys() - waiting:
                for phone in tried - set(outbox.phones_due(now, waiting)):  # their messages are gone
                    self.set_aside.discard(phone)
            return wait
        waits = [self._send_alone(phone, now, runtime, turns) for phone in outbox.phones_due(now, waiting)]
        return min((wait for wait in waits if wait is not None), default=None)

    def _send_alone(self, phone: str, now: datetime, runtime: Runtime, turns: Turns) -> float | None:
        """Begin the jobs for one number; if that keeps failing, send the messages unchanged."""
        try:
            wait = self._select_and_begin(now, runtime, turns, phone=phone)
        except StoreUnavailable:
            raise
        except Exception as error:
            attempts = self.set_aside.add(phone, error, now)
            log.error("messages cannot be selected", phone=mask(phone), attempts=attempts, exc_info=error)
            if attempts < MAX_ATTEMPTS:
                return None
        else:
            self.set_aside.discard(phone)
            return wait
        if self.resort(lambda: self._send_unchanged(phone, now, runtime), phone=mask(phone)):
            self.set_aside.discard(phone)
            return 0.0
        return None

    def _send_unchanged(self, phone: str, now: datetime, runtime: Runtime) -> bool:
        snapshot = self._store.outbox.snapshot(now, Limits(None, None, {}), 1, phone=phone)
        claimed_at = ClaimedAt.now()
        selection = select_unchanged(snapshot, runtime.api.account_name)
        return self._begin(self._store.outbox.apply(snapshot, selection).result(), claimed_at)

    def _select_and_begin(
        self,
        now: datetime,
        runtime: Runtime,
        turns: Turns,
        *,
        phone: str | None = None,
        without: Collection[str] = (),
    ) -> float | None:
        with self._context.backpressure.limited_share():
            outbox, limits = self._store.outbox, Limits.of(runtime)
            usable = [limits.accounts[name] for name in (*turns.order, *turns.fallback)]
            blocked = unsendable(set(usable), limits.accounts.values())
            snapshot = outbox.snapshot(
                now, limits, len(usable), phone=phone, without=without, blocked=blocked
            )
            selection = select(snapshot, runtime, turns)
            if selection.unread:
                snapshot = outbox.with_queues(snapshot, selection.unread)
                selection = select(snapshot, runtime, turns)
            for name, until in selection.rate_limited_until.items():
                self.accounts.limit_until(name, until)
            if selection.is_empty():
                return None
            claimed_at = ClaimedAt.now()
            applied = outbox.apply(snapshot, selection).result()
            has_more = snapshot.is_cut and not applied.jobs and not applied.is_partial
            if applied.merged or applied.notices or applied.readdressed or has_more:
                self.expect()
            if self._begin(applied, claimed_at):
                return 0.0
            return _AFTER_PARTIAL if applied.is_partial else None

    def _begin(self, selection: Selection, claimed_at: ClaimedAt) -> bool:
        """Begin the jobs of *selection*, which was written; return whether there are any."""
        for job in selection.jobs:
            self._last_account = self.accounts.name_of(job.account)
            self.delivery.begin(job, claimed_at)
        self._report(selection)
        return bool(selection.jobs)

    def _turns(self, now: datetime, runtime: Runtime) -> Turns:
        """Return which accounts may begin a job now, in turn, and which may where those have refused it."""
        most = {name: api.settings.max_concurrency for name, api in runtime.apis.items()}
        under_way = self.threads.count(Work.SEND)
        busy = {name: under_way[name] for name in runtime.apis}
        healths = self.accounts.all(runtime.apis)
        room = free_slots(healths, most, busy, now)
        order = round_robin(room, self._last_account)
        if self._context.backpressure.is_high:
            order = order[:2]
        fallback = [name for name in fallback_accounts(healths, busy, now) if name not in room]
        return Turns(order, fallback if len(runtime.apis) > 1 else (), is_trial=self.paused is not None)

    def _report(self, selection: Selection) -> None:
        """Log and count the applied selection."""
        for message in selection.expired:
            self._metrics.sms.labels(message.receiver, "expired").inc()
            log.error("message expired", **message_fields(message))
        for message in selection.withdrawn:
            log.info("message withdrawn", **message_fields(message))
        for merged in selection.merged:
            first = merged.messages[0]
            self._metrics.sms_merged.labels(first.receiver).inc(len(merged.messages))
            log.warning(
                "messages merged into a digest",
                message=merged.digest.id,
                merged=len(merged.messages),
                **subjects_fields(merged.messages),
                **recipient_fields(first),
            )
        for hold in selection.held:
            log.info(
                "messages held",
                reason=hold.reason,
                until=hold.until.isoformat(timespec="seconds"),
                held=len(hold.messages),
                **subjects_fields(hold.messages[:_MAX_LOGGED]),
                **(recipient_fields(hold.messages[0]) if hold.reason is Hold.DIGEST else {}),
            )
        for account, until in selection.rate_limited_until.items():
            log.info("rate used up", account=account, until=until.isoformat(timespec="seconds"))
        if selection.notices:
            held = sum(len(held.messages) for held in selection.held if held.reason is Hold.CREDITS)
            log.error("limits.credits is used up, messages are held", held=held)
