"""Receipts: polls OVHcloud for the receipt of each accepted message, less often as the message gets older."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

import structlog

from notifier.delivery.message import MessageState
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.ovh.models import REASONS, Outgoing
from notifier.rendering.reduction import CONTENT_PTTS, Reduction
from notifier.sms.phones import mask
from notifier.store.receipts import Followed, ReceiptSeen
from notifier.workers.context import Context
from notifier.workers.delivery import reduced
from notifier.workers.log_fields import subject_fields
from notifier.workers.set_aside import isolate
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

DELIVERED, FAILED, FAILED_UNBILLED = 1, 2, 16
"""The receipts that are final (``deliveryReceipt``)."""

GIVE_UP = timedelta(hours=76)
"""A phone that is off is tried for 48 to 72 hours; a message without a receipt by then will have none."""

_BATCH = 500
_ONE_BY_ONE = 10
_MARGIN = timedelta(hours=1)
_AFTER_FAILURE = timedelta(seconds=30)
_UNKNOWN_ACCOUNT = timedelta(minutes=5)


def _about(one: Followed) -> dict[str, object]:
    return {"message": one.id, **subject_fields(one), "to": one.contact or mask(one.phone)}


def next_look(age: timedelta, poll_interval: timedelta) -> timedelta | None:
    """Return how long to wait before the receipt of a message of *age* is asked for again; None to give up."""
    if age >= GIVE_UP:
        return None
    if age < timedelta(minutes=5):
        return poll_interval
    return max(poll_interval, min(age / 5, timedelta(hours=1)))


class ReceiptPoller(Worker):
    """Asks for receipts: one by one while they are few, else by lists of those that ended."""

    name = "receipts"

    def __init__(self, context: Context, send: Callable[[], None], escalate: Callable[[], None]) -> None:
        """Prepare to follow messages that were accepted.

        *send* is called when there are messages to send, *escalate* when a page reached nobody.
        """
        super().__init__(context, idle=5.0)
        self._send = send
        self._escalate = escalate
        self._described: dict[int, str] = {}
        self._is_hinted = False
        self._last: datetime | None = None

    def hint(self) -> None:
        """Ask now: OVHcloud reports a new receipt."""
        self._is_hinted = True
        self.wake()

    def work(self) -> float | None:
        """Ask for the receipts that are due."""
        now = self._clock()
        hinted, self._is_hinted = self._is_hinted, False
        if hinted or (self._last is not None and now < self._last):  # or the clock was set back
            self._store.receipts.poll_now(now).result()
        self._last = now
        self.keep_accounts([api.name for api in self._current.runtime.apis.values()])
        waiting = self.set_aside.waiting(now)
        due = self._store.receipts.due(now, _BATCH, without=waiting)
        if not due and waiting:
            return None
        if not due:
            following = self._store.receipts.next_due()
            return None if following is None else max(0.1, (following - now).total_seconds())
        by_account = attrgetter("account")
        for account, group in groupby(sorted(due, key=by_account), key=by_account):
            isolate(list(group), partial(self._follow, account, now), partial(self._fail, now))
        return 0.0 if len(due) == _BATCH else 0.1

    def _follow(self, account: str, now: datetime, due: Sequence[Followed]) -> None:
        """Ask for the receipts of messages that one account sent, and write down all of them, or none."""
        seen = self._ask(account, due, now)
        self._store.receipts.write(seen, now).result()
        for one in due:
            self.set_aside.discard(one.id)
        self._report(due, seen)

    def _fail(self, now: datetime, one: Followed, error: Exception) -> None:
        attempts = self.set_aside.add(one.id, error, now)
        log.error("receipt cannot be read, will try again", **_about(one), attempts=attempts, exc_info=error)

    def _ask(self, account: str, due: Sequence[Followed], now: datetime) -> list[ReceiptSeen]:
        """Return the receipts of one account's messages; those that cannot be read are asked for later."""
        api = self._current.runtime.api_of(account)
        if api is None:
            log.warning("receipts cannot be asked for, the account is not configured", account=account)
            return [
                self._put_off(one, now, next_look(now - one.accepted_at, _UNKNOWN_ACCOUNT)) for one in due
            ]
        if len(due) <= _ONE_BY_ONE:
            return self._one_by_one(api, due, now)
        try:
            seen = self._by_lists(api, due, now)
        except CallFailed as error:
            self.note_answer(api.name, error)
            return [self._put_off(one, now, _AFTER_FAILURE) for one in due]
        self.note_answer(api.name, None)
        return seen

    @staticmethod
    def _put_off(one: Followed, now: datetime, wait: timedelta | None) -> ReceiptSeen:
        seen = ReceiptSeen(one.id, one.ovh_id, MessageState.ACCEPTED)
        return replace(seen, error="no receipt came") if wait is None else replace(seen, due_at=now + wait)

    def _one_by_one(self, api: OvhClient, due: Sequence[Followed], now: datetime) -> list[ReceiptSeen]:
        seen: list[ReceiptSeen] = []
        failed: list[CallFailed] = []
        for one in due:
            try:
                seen.append(self.outcome_of(api, one, self._find(api, one), now))
            except CallFailed as error:  # the others are asked for all the same
                failed.append(error)
                seen.append(self._put_off(one, now, _AFTER_FAILURE))
                if error.failure.status is None:  # but not where there is no answer
                    break
        self.note_answer(api.name, failed[-1] if len(failed) == len(seen) else None)
        return seen + [self._put_off(one, now, _AFTER_FAILURE) for one in due[len(seen) :]]

    def _find(self, api: OvhClient, one: Followed) -> Outgoing | None:
        try:
            return api.outgoing(one.ovh_id)
        except CallFailed as error:
            if error.failure.status == 404:  # not listed yet
                return None
            raise

    def _by_lists(self, api: OvhClient, due: Sequence[Followed], now: datetime) -> list[ReceiptSeen]:
        since = min(one.accepted_at for one in due) - _MARGIN
        delivered = api.outgoing_since(since, DELIVERED)
        failed = api.outgoing_since(since, FAILED) | api.outgoing_since(since, FAILED_UNBILLED)
        seen = []
        for one in due:
            found: Outgoing | None = None
            if one.ovh_id in delivered:
                found = Outgoing(id=one.ovh_id, receiver=one.phone, deliveryReceipt=DELIVERED, ptt=4)
            elif one.ovh_id in failed:
                found = self._find(api, one)
            seen.append(self.outcome_of(api, one, found, now))
        return seen

    def outcome_of(self, api: OvhClient, one: Followed, found: Outgoing | None, now: datetime) -> ReceiptSeen:
        """Return the meaning of the receipt *found* for a message; None if it is not listed."""
        receipt, ptt = (found.delivery_receipt, found.ptt) if found is not None else (None, None)
        if receipt == DELIVERED and found is not None:
            at = api.local_time(found.delivered_at) if found.delivered_at is not None else now
            at = max(at, one.accepted_at)
            seen = ReceiptSeen(one.id, one.ovh_id, MessageState.DELIVERED, receipt, ptt, delivered_at=at)
            return replace(seen, credits=found.credits)
        if receipt in (FAILED, FAILED_UNBILLED) and found is not None:
            reason = self._reason(api, ptt)
            seen = ReceiptSeen(one.id, one.ovh_id, MessageState.UNDELIVERED, receipt, ptt, reason)
            if ptt in CONTENT_PTTS and one.reduction < Reduction.MINIMAL:
                incident = self._store.incidents.get(one.incident_id) if one.incident_id else None
                again = reduced(self._current.runtime, one, incident)
                seen = replace(seen, state=MessageState.QUEUED, reduced=again)
            return replace(seen, credits=found.credits)
        wait = next_look(now - one.accepted_at, api.settings.receipts.poll_interval)
        return replace(self._put_off(one, now, wait), receipt=receipt, ptt=ptt)

    def _reason(self, api: OvhClient, ptt: int | None) -> str:
        if ptt is None:
            return "undelivered, no reason given"
        if ptt not in REASONS and ptt not in self._described:
            try:
                self._described[ptt] = api.describe_ptt(ptt)
            except CallFailed:
                return f"ptt {ptt}"
        return f"{REASONS.get(ptt) or self._described[ptt]} (ptt {ptt})"

    def _report(self, due: Sequence[Followed], seen: Sequence[ReceiptSeen]) -> None:
        for one, receipt in zip(due, seen, strict=True):
            about = {**_about(one), "ovh_id": one.ovh_id, "ptt": receipt.ptt}
            if receipt.state is MessageState.DELIVERED and receipt.delivered_at is not None:
                latency = max(0.0, (receipt.delivered_at - one.received_at).total_seconds())
                self._metrics.sms_delivery.labels(one.receiver, "delivered").inc()
                self._metrics.delivery_latency.labels(one.receiver).observe(latency)
                log.info("message delivered", **about, seconds=round(latency, 1))
            elif receipt.reduced is not None:
                self._metrics.sms_reduced.labels(one.receiver).inc()
                log.warning("content refused, sending a reduced text", **about, error=receipt.error)
                self._send()
            elif receipt.state is MessageState.UNDELIVERED:
                self._metrics.sms_delivery.labels(one.receiver, "undelivered").inc()
                log.error("message undelivered", **about, error=receipt.error)
                self._escalate()
            elif receipt.due_at is None:
                log.warning("no receipt received, not asking any more", **about)
