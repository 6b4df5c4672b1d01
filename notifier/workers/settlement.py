"""The settlement of one job: OVHcloud is asked whether it accepted a job whose answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

import structlog

from notifier.delivery import retry
from notifier.delivery.message import Ending, Job, Message, MessageState
from notifier.incidents.links import is_sent_text
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed, Failure
from notifier.ovh.models import Outgoing, e164
from notifier.workers.accounts import Accounts
from notifier.workers.context import Context
from notifier.workers.delivery import client_of
from notifier.workers.job_threads import JobThreads, Work
from notifier.workers.log_fields import subject_fields
from notifier.workers.outcomes import Outcomes

log = structlog.get_logger(__name__)

_MAX_PENDING = 100
"""How many pending jobs of an account are looked at at once."""


class Settlement:
    """Settles jobs, each on a thread of `JobThreads`."""

    def __init__(
        self,
        context: Context,
        accounts: Accounts,
        threads: JobThreads,
        outcomes: Outcomes,
        chance: Callable[[], float],
        seconds: Callable[[], float],
    ) -> None:
        """Ask by the *accounts*.

        *chance* gives numbers from 0 to 1, for the jitter; *seconds* is a monotonic time.
        """
        self._context = context
        self._accounts = accounts
        self._threads = threads
        self._outcomes = outcomes
        self._chance = chance
        self._seconds = seconds
        self._first_asked: dict[str, float] = {}
        """When OVHcloud was first asked about each job, by this process."""
        self._foreign: dict[str, set[int]] = {}
        """The pending jobs of other programs, by account."""

    def begin(self, job: Job) -> None:
        """Have a thread settle *job*."""
        self._threads.submit(job, self._accounts.name_of(job.account), Work.SETTLE, self._settle)

    def _settle(self, job: Job) -> None:
        # Clocks of replicas differ, and may be set: the time since the attempt is counted by this process.
        # And up to the question: what has passed since, in a container that was stopped say, proves nothing.
        asked_at = self._seconds()
        first_asked = self._first_asked.setdefault(job.tag, asked_at)
        found, failure, is_complete = self.find(job)
        if failure is not None and isinstance(retry.decide_retry(failure, 1, 1, 0.0), retry.Resynchronise):
            client_of(self._context.current.runtime, job).forget_clock()
        now = self._context.clock()
        missing = [one for one in job.messages if one.id not in {ending.message_id for ending in found}]
        verdict = retry.settle(
            missing=len(missing),
            found=len(found),
            failure=failure,
            since=timedelta(seconds=asked_at - first_asked),
            is_complete=is_complete,
            listing_grace=job.listing_grace,
            settle_timeout=self._settle_timeout(job),
            settle_attempts=job.settle_attempts,
            is_replaceable=self._accounts.has_other(job.account, now),
            chance=self._chance(),
        )
        fields = {
            "job": job.tag,
            **subject_fields(job.messages[0]),
            "found": len(found),
            "missing": len(missing),
            "error": failure and str(failure),
        }
        match verdict:
            case retry.AskAgain(after):
                if not job.settle_attempts:  # once, not at each look
                    log.info("job not settled yet, asking again", **fields)
                self._ask_again(job, found, missing, after, now)
                return
            case retry.Accepted():
                log.info("job had been accepted", **fields)
            case retry.NotAccepted(is_certain):
                if not is_certain:
                    self._context.metrics.sms_resent.inc(len(missing))
                outcome = (
                    "job had not been accepted"
                    if is_certain
                    else "it is unknown whether the job was accepted"
                )
                log.warning(f"{outcome}, sending again", **fields, certain=is_certain)
        self._first_asked.pop(job.tag, None)
        self._outcomes.write(lambda: self._context.store.jobs.finish(job, found, now))
        self._outcomes.report(job, found, now)

    def _ask_again(
        self, job: Job, found: Sequence[Ending], missing: Sequence[Message], after: timedelta, now: datetime
    ) -> None:
        """Have OVHcloud asked again *after* a while, except about messages that have expired."""
        error, jobs = "it is unknown whether OVHcloud accepted it", self._context.store.jobs
        expired = [
            Ending(one.id, MessageState.EXPIRED, error=error) for one in missing if one.expires_at <= now
        ]
        ended = [*found, *expired]
        if len(ended) == len(job.messages):
            self._outcomes.write(lambda: jobs.finish(job, ended, now))
        else:
            self._outcomes.write(lambda: jobs.ask_again(job, now + after, ended, now))
        self._outcomes.report(job, ended, now)

    def find(self, job: Job) -> tuple[Sequence[Ending], Failure | None, bool]:
        """Return which messages of *job* OVHcloud knows: in its history, or else among its pending jobs.

        Messages found before a call failed are returned with the failure; last, whether all pending jobs were looked
        at. Where it is not known which account the job went to, all of them are asked.
        """
        runtime = self._context.current.runtime
        known: list[Outgoing] = []
        is_complete = True
        try:
            apis = [client_of(runtime, job)] if job.account else list(runtime.apis.values())
            for api in apis:
                is_complete &= self.look(api, job, known)
        except CallFailed as error:
            return matching(job, known), error.failure, is_complete
        return matching(job, known), None, is_complete

    def look(self, api: OvhClient, job: Job, known: list[Outgoing]) -> bool:
        """Add the messages of *job* at an account to *known*; return whether all of its pending jobs were looked at.

        An account that is shared with other programs may have more of them than are looked at at once. Those of
        others are remembered, so that each look gets further.
        """
        account = api.service_name()
        for id_ in self._unknown(account, api.outgoing_ids(job.tag)):
            known.append(api.outgoing(id_))  # noqa: PERF401 (one that fails leaves those before it)
        if len(matching(job, known)) == len(job.messages):
            return True
        pending = set(api.pending_ids())
        foreign = self._foreign.setdefault(account, set())
        foreign &= pending
        unknown = self._unknown(account, pending - foreign - {sms.id for sms in known})
        newest = sorted(unknown, reverse=True)
        for id_ in newest[:_MAX_PENDING]:
            if (sms := api.pending(id_)) is None:
                continue
            known.append(sms)
            if sms.tag and sms.tag != job.tag and not self._context.store.replies.is_tag_known(sms.tag):
                foreign.add(id_)
        return len(newest) <= _MAX_PENDING

    def _settle_timeout(self, job: Job) -> timedelta:
        runtime = self._context.current.runtime
        return (runtime.api_of(job.account) or runtime.api).settings.settle_timeout

    def _unknown(self, account: str, ids: Collection[int]) -> list[int]:
        """Return those of the *ids* of *account* that no message is known to have."""
        known = self._context.store.jobs.accepted_ids(ids, account)
        return [id_ for id_ in ids if id_ not in known]


def matching(job: Job, found: Sequence[Outgoing]) -> Sequence[Ending]:
    """Return which messages of *job* are among those *found* at OVHcloud: by tag, or failing that by text."""
    known: dict[str, Outgoing] = {}
    for sms in found:
        if sms.tag == job.tag or (not sms.tag and is_sent_text(sms.message or "", job.text)):
            known.setdefault(e164(sms.receiver), sms)
    return [
        Ending(message.id, MessageState.ACCEPTED, of.id, credits=of.credits)
        for message in job.messages
        if (of := known.get(message.phone)) is not None
    ]
