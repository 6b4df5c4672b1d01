"""The delivery of one job: the call to OVHcloud, and the consequences of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import structlog

from notifier.clock import elapsed
from notifier.delivery import retry
from notifier.delivery.message import Ending, Job, Message, MessageState, Reduced
from notifier.failpoints import reach
from notifier.ids import new_id
from notifier.incidents.lifecycle import Incident
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed, Failure, Fate
from notifier.ovh.models import Outcome, e164
from notifier.rendering.reduction import Reduction, next_reduction, reduce
from notifier.runtime import Runtime
from notifier.store.receipts import Followed
from notifier.workers.accounts import Accounts
from notifier.workers.context import Context
from notifier.workers.job_threads import JobThreads, Work
from notifier.workers.log_fields import subject_fields
from notifier.workers.outcomes import Outcomes

log = structlog.get_logger(__name__)

_LONGEST_CLAIM = 3.0
"""Seconds after its claim within which a job must begin; less than `replicas.LEASE`, after which another replica takes
it over.
"""


class ClaimedAt(NamedTuple):
    """When jobs were claimed: in seconds of `elapsed`, and since 1970."""

    elapsed: float
    time: float

    @classmethod
    def now(cls) -> ClaimedAt:
        """Return the present."""
        return cls(elapsed(), time.time())


class Delivery:
    """Sends jobs, each on a thread of `JobThreads`."""

    def __init__(
        self,
        context: Context,
        accounts: Accounts,
        threads: JobThreads,
        outcomes: Outcomes,
        chance: Callable[[], float],
    ) -> None:
        """Send by the *accounts*; *chance* gives numbers from 0 to 1, for the jitter of retries."""
        self._context = context
        self._accounts = accounts
        self._threads = threads
        self._outcomes = outcomes
        self._chance = chance

    @property
    def _runtime(self) -> Runtime:
        return self._context.current.runtime

    def begin(self, job: Job, claimed_at: ClaimedAt) -> None:
        """Have a thread send *job*, which was claimed then."""
        name = self._accounts.name_of(job.account)
        self._threads.submit(job, name, Work.SEND, partial(self._send_in_time, claimed_at))

    def _send_in_time(self, claimed_at: ClaimedAt, job: Job) -> None:
        """Send *job*; on a shared database, return it to the queue if it was claimed more than `_LONGEST_CLAIM` ago:
        another replica may have taken it over.
        """
        store = self._context.store
        if store.backend.is_shared and elapsed() - claimed_at.elapsed > _LONGEST_CLAIM:
            now = self._context.clock()
            log.warning("job not started in time, returned to the queue", job=job.tag)
            self._outcomes.write(lambda: store.jobs.requeue(job, now, "not begun in time", now))
            return
        self._send(job, claimed_at.time if store.backend.is_shared else None)

    def _send(self, job: Job, signed_at: float | None) -> None:
        reach("before-call")
        try:
            phones = [message.phone for message in job.messages]
            outcome = client_of(self._runtime, job).send(job.sent_text, phones, job.tag, signed_at)
            reach("after-call")
        except CallFailed as error:
            self._handle_failure(self._with_account(job), error.failure)
            return
        self._handle_answer(self._with_account(job), outcome)

    def _handle_answer(self, job: Job, outcome: Outcome) -> None:
        now, store, metrics = self._context.clock(), self._context.store, self._context.metrics
        query_id = outcome.query_id
        ended = endings(job, outcome)
        if len(ended) == len(job.messages):
            rejected = {one.message_id for one in ended if one.state is MessageState.REJECTED}
            refused = [message for message in self._for_other_accounts(job) if message.id in rejected]
            ended = [one for one in ended if one.message_id not in {message.id for message in refused}]
            self._outcomes.write(
                lambda: store.jobs.finish(job, ended, now, query_id=query_id, refused=refused)
            )
        else:
            reason = "OVHcloud's answer does not mention the number"
            log.warning("answer incomplete, asking OVHcloud", job=job.tag, query=query_id)
            due_at = now + retry.FIRST_BACKOFF
            self._outcomes.write(
                lambda: store.jobs.unsettle(job, now, due_at, retry.LISTING_DELAY, reason, ended)
            )
        name = self._accounts.name_of(job.account)
        self._accounts.resume(name)
        if any(one.state is MessageState.ACCEPTED for one in ended):
            self._accounts.note_acceptance(name, now)
        self._outcomes.report(job, ended, now, query_id)
        metrics.sms_credits.inc(max(0.0, outcome.sent.total_credits_removed or 0.0))
        if outcome.sent.credits_left is not None and outcome.service_name is not None:
            metrics.ovh_credits_left.labels(outcome.service_name).set(outcome.sent.credits_left)

    def _handle_failure(self, job: Job, failure: Failure) -> None:
        now = self._context.clock()
        attempts = max(message.attempts for message in job.messages) + 1
        decision = retry.decide_retry(failure, attempts, len(job.messages), self._chance())
        log.warning(
            "job failed",
            job=job.tag,
            messages=[message.id for message in job.messages],
            **subject_fields(job.messages[0]),
            error=str(failure),
            decision=type(decision).__name__.lower(),
            attempts=attempts,
        )
        match decision:
            case retry.Retry(after):
                self._retry(job, failure, after, now)
            case retry.Ask(after, listing_grace):
                self._ask(job, failure, now + after, listing_grace, now)
            case retry.Reject():
                self._reject(job, failure, now)
            case retry.Reduce():
                self._accounts.resume(self._accounts.name_of(job.account))
                self._reduce(job, failure, now)
            case retry.Split():
                self._split(job, failure, now)
            case retry.Pause(reason):
                self._pause(job, failure, reason, attempts, now)
            case retry.Resynchronise():
                self._forget_clock(job)
                self._requeue(job, now, failure)

    def _retry(self, job: Job, failure: Failure, after: timedelta, now: datetime) -> None:
        """Return *job* to the queue. With several accounts, the failed account backs off and the messages are due at
        once.
        """
        name, is_alone = self._accounts.name_of(job.account), len(self._runtime.apis) == 1
        if failure.status == 429:
            self._accounts.delay_until(name, now + after)
        elif not is_alone:
            self._accounts.back_off(name, now)
        self._requeue(job, now + after if is_alone else now, failure)

    def _ask(
        self, job: Job, failure: Failure, due_at: datetime, listing_grace: timedelta, now: datetime
    ) -> None:
        """Have OVHcloud asked about *job*, which it may have accepted."""
        if len(self._runtime.apis) > 1:
            self._accounts.back_off(self._accounts.name_of(job.account), now)
        jobs = self._context.store.jobs
        self._outcomes.write(lambda: jobs.unsettle(job, now, due_at, listing_grace, str(failure)))

    def _reject(self, job: Job, failure: Failure, now: datetime) -> None:
        """End the messages of *job*, but for those that another account may take."""
        refused, error = self._for_other_accounts(job), str(failure)
        ended = [
            Ending(message.id, MessageState.REJECTED, error=error)
            for message in job.messages
            if message not in refused
        ]
        finish = partial(self._context.store.jobs.finish, query_id=failure.query_id, error=error)
        self._outcomes.write(lambda: finish(job, ended, now, refused=refused))
        self._accounts.resume(self._accounts.name_of(job.account))
        self._outcomes.report(job, ended, now, failure.query_id)

    def _reduce(self, job: Job, failure: Failure, now: datetime) -> None:
        """Send the messages of *job* again with less in their texts; reject those with nothing left to leave out."""
        reducible = [message for message in job.messages if message.reduction < Reduction.MINIMAL]
        if not reducible:
            self._reject(job, failure, now)
            return
        incidents, error, query_id = self._context.store.incidents, str(failure), failure.query_id
        has_link = job.link is not None
        texts = [
            reduced(
                self._runtime,
                one,
                incidents.get(one.incident_id) if one.incident_id else None,
                has_link=has_link,
            )
            for one in reducible
        ]
        ended = [
            Ending(message.id, MessageState.REJECTED, error=error)
            for message in job.messages
            if message not in reducible
        ]
        jobs = self._context.store.jobs
        self._outcomes.write(lambda: jobs.reduce(job, texts, ended, error, now, query_id))
        for message in reducible:
            self._context.metrics.sms_reduced.labels(message.receiver).inc()
        self._outcomes.report(job, ended, now, query_id)

    def _split(self, job: Job, failure: Failure, now: datetime) -> None:
        """Send *job* as two halves; one or both will be accepted."""
        name = self._accounts.name_of(job.account)
        middle = len(job.messages) // 2
        halves = [
            Job(new_id(now), job.text, now, half, account=job.account)
            for half in (job.messages[:middle], job.messages[middle:])
        ]
        self._threads.add(halves, name, Work.SEND)  # else they would look like claims without an answer
        claimed: list[Job] = []
        claimed_at = ClaimedAt.now()
        try:
            split = self._context.store.jobs.split
            claimed = self._outcomes.write(lambda: split(job, halves, str(failure)))
        finally:
            self._threads.discard([half for half in halves if half not in claimed], Work.SEND)
        for half in claimed:
            self.begin(half, claimed_at)

    def _pause(
        self, job: Job, failure: Failure, reason: retry.PauseReason, attempts: int, now: datetime
    ) -> None:
        """Return *job* to the queue, and pause its account until a trial succeeds."""
        is_sender, wait = reason is retry.PauseReason.SENDER, timedelta()
        if reason is retry.PauseReason.CLOCK:
            self._forget_clock(job)
        # A sender may be refused for the country of one number: the next trial is of another message, and where
        # others were accepted meanwhile, only this one waits.
        if not (is_sender and self._has_accepted_others(job)):
            self._accounts.pause(self._accounts.name_of(job.account), reason, str(failure), now)
        if is_sender and not self._accounts.has_other(job.account, now):
            wait = retry.backoff(attempts, self._chance())
        self._requeue(job, now + wait, failure)

    def _requeue(self, job: Job, due_at: datetime, failure: Failure) -> None:
        now, jobs = self._context.clock(), self._context.store.jobs
        self._outcomes.write(lambda: jobs.requeue(job, due_at, str(failure), now, failure.query_id))

    def _forget_clock(self, job: Job) -> None:
        api = self._runtime.api_of(job.account)
        if api is not None:
            api.forget_clock()

    def _with_account(self, job: Job) -> Job:
        """Return *job* with the name of its account, which OVHcloud was asked for if it is not configured."""
        api = self._runtime.api_of(job.account)
        return job if job.account or api is None else replace(job, account=api.account_name)

    def _for_other_accounts(self, job: Job) -> list[Message]:
        """Return which messages of *job*, refused by its account, there is another account for."""
        names = set(self._runtime.account_names.values())
        return [message for message in job.messages if names - message.refusing - {job.account}]

    def _has_accepted_others(self, job: Job) -> bool:
        """Return whether the account of *job* accepted something since the messages of *job* came."""
        accepted_at = self._accounts.get(self._accounts.name_of(job.account)).accepted_at
        return accepted_at is not None and accepted_at > max(one.received_at for one in job.messages)


def client_of(runtime: Runtime, job: Job) -> OvhClient:
    """Return the client of the account that *job* is of.

    Raises:
        CallFailed: it is not in the configuration any more.
    """
    api = runtime.api_of(job.account)
    if api is None:
        message = f"the account {job.account} is not in the configuration any more"
        raise CallFailed(Failure(Fate.ANSWERED, message, code="UNKNOWN_ACCOUNT", is_preparing=True))
    return api


def endings(job: Job, outcome: Outcome) -> Sequence[Ending]:
    """Return how the messages of *job* ended, as OVHcloud answered; those it did not mention are left out."""
    sent = outcome.sent
    ids: dict[str, int | None] = dict.fromkeys(map(e164, sent.valid_receivers))
    ids.update(zip(map(e164, sent.valid_receivers), sent.ids, strict=False))
    invalid = set(map(e164, sent.invalid_receivers))
    # Until the receipt says it exactly:
    each = max(0.0, sent.total_credits_removed or 0.0) / len(ids) if ids else None
    found = []
    for message in job.messages:
        if message.phone in ids:
            found.append(Ending(message.id, MessageState.ACCEPTED, ids[message.phone], credits=each))
        elif message.phone in invalid:
            error = "OVHcloud holds the number for invalid"
            found.append(Ending(message.id, MessageState.REJECTED, error=error))
    return found


def reduced(
    runtime: Runtime, message: Message | Followed, incident: Incident | None, *, has_link: bool = False
) -> Reduced:
    """Return the shorter text of *message*, which is about *incident*, for the next attempt.

    With *has_link*, the link at its end is left out first.
    """
    reduction = next_reduction(message.reduction, has_link=has_link)
    if reduction is Reduction.WITHOUT_LINK:
        return Reduced(message.id, None, reduction)
    configuration = runtime.configuration
    try:
        recipient = configuration.recipient(message.contact or message.phone)
    except ValueError:  # it is no contact any more
        recipient = configuration.recipient(message.phone)
    code = runtime.reply_code(message.phone, message.received_at)
    text = reduce(
        message.text, message.kind, incident, reduction, recipient.language, recipient.time_zone, code
    )
    return Reduced(message.id, text, reduction)
