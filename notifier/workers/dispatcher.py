"""Sending: queued messages become jobs, jobs are sent, and what became of each is written down.

Before a call it is written down that the job is about to be sent; after it, how it went. A job of which
the second is missing (its answer was lost, or the process was killed) is settled by asking OVHcloud for
its tag before anything is sent again.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, TypeVar

import structlog

from notifier.alertmanager.durations import format_duration
from notifier.clock import Clock, elapsed
from notifier.config.model import CreditLimit, PerContact
from notifier.delivery import retry
from notifier.delivery.accounts import (
    Accounts,
    Paused,
    assign_accounts,
    fallback_accounts,
    free_slots,
    round_robin,
    unsendable,
)
from notifier.delivery.message import Ending, Hold, Job, Message, MessageState, NewMessage, Reduced
from notifier.delivery.throttle import (
    CRITICAL,
    SHORTEST_WAIT,
    Throttled,
    digest,
    in_full,
    resolutions_at,
    throttle,
)
from notifier.failpoints import reach
from notifier.ids import new_id
from notifier.incidents.lifecycle import Incident, Kind
from notifier.metrics import Metrics
from notifier.ovh.api import Outcome, Outgoing, OvhClient, e164
from notifier.ovh.errors import CallFailed, Failure, Fate
from notifier.rendering.compose import LATE_AFTER, say_late
from notifier.rendering.phrases import notice
from notifier.rendering.reduction import Reduction, reduce
from notifier.runtime import Current, Runtime
from notifier.sms.encoding import measure, shorten
from notifier.sms.phones import mask
from notifier.store.engine import StoreUnavailable
from notifier.store.followup import Followed
from notifier.store.outbox import Outbox
from notifier.store.records import Due
from notifier.store.store import Store
from notifier.workers.backpressure import Backpressure
from notifier.workers.set_aside import MOST_ATTEMPTS
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_RECIPIENTS = 500
"""How many recipients one job is for at most, by OVHcloud's own advice."""

_FREE = frozenset({Kind.ANSWER, Kind.DIGEST})
"""What does not wait: who asks is answered, and a digest has waited already."""

_CREDITS_TOLD = "credits-told"
_BEFORE_EXPIRY = timedelta(seconds=30)
_CREDITS_LOOK = timedelta(minutes=1)
_RATE_LOOK = timedelta(milliseconds=50)
_SKEW = timedelta(seconds=5)
"""By how much the clocks of replicas may differ."""

_CHECK_CLAIMS_EVERY = timedelta(seconds=1)
_OVERDUE_AFTER = timedelta(seconds=30)
"""How long after its time-out a job may be sending before that is reported."""

_LONGEST_CLAIM = 3.0
"""Seconds within which a job must begin: less than after how many a silent replica's jobs are taken over."""
_MOST_WRITTEN = 5
"""How many texts that people wrote go one by one when others go as a digest, which would cut them off."""
_MOST_NOTICES = 2
"""So many notices of what people did a digest holds; of others it says how many there are."""

_MOST_AS_THEY_ARE = 5
"""How many messages to a number are sent as they are, when selecting them keeps failing."""

_MAX_THREADS = 256
_MAX_PENDING = 100
_IDLE = 0.5


class Claim(NamedTuple):
    """When jobs were claimed: in seconds of `elapsed`, and since 1970."""

    at: float
    time: float


def gather(due: Sequence[Message], most: int, now: datetime) -> list[Job]:
    """Return up to *most* jobs for the *due* messages, oldest first: those of the same text go together.

    A number stands in a job once; a second message to it with the same text waits for the next. What different
    accounts have refused is kept apart.
    """
    groups: dict[tuple[str, frozenset[str]], dict[str, Message]] = {}
    for message in due:
        key = message.text, message.refusing
        if key not in groups and len(groups) == most:
            continue
        group = groups.setdefault(key, {})
        if len(group) < MAX_RECIPIENTS:
            group.setdefault(message.phone, message)
    return [Job(new_id(now), text, now, tuple(group.values())) for (text, _), group in groups.items()]


def endings(job: Job, outcome: Outcome) -> list[Ending]:
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


def matching(job: Job, found: Sequence[Outgoing]) -> list[Ending]:
    """Return which messages of *job* are among those *found* at OVHcloud: by tag, or failing that by text."""
    known: dict[str, Outgoing] = {}
    for sms in found:
        if sms.tag == job.tag or (not sms.tag and sms.message == job.text):
            known.setdefault(e164(sms.receiver), sms)
    return [
        Ending(message.id, MessageState.ACCEPTED, of.id, credits=of.credits)
        for message in job.messages
        if (of := known.get(message.phone)) is not None
    ]


@dataclass(slots=True)
class Selection:
    """What a look into the outbox came to: the jobs that are to be sent now, and what became of the rest."""

    jobs: list[Job] = field(default_factory=list)
    expired: list[Message] = field(default_factory=list)
    withdrawn: list[Message] = field(default_factory=list)
    merged: list[tuple[NewMessage, Sequence[Message]]] = field(default_factory=list)
    critical_pending: dict[str, bool] = field(default_factory=dict)
    credits_held: int = 0
    exhausted: dict[str, datetime] = field(default_factory=dict)
    """The accounts whose rate is used up, and until when."""
    spent: float = 0.0
    """Seconds of computing that it took."""


class Dispatcher(Worker):
    """Sends what is queued, up to ``max_concurrency`` jobs at once, each on a thread of its own."""

    name = "sender"
    longest_work = 60.0  # pages wait for it, and it makes no calls

    def __init__(
        self,
        store: Store,
        current: Current,
        clock: Clock,
        metrics: Metrics,
        backpressure: Backpressure,
        chance: Callable[[], float] = random.random,
        seconds: Callable[[], float] = elapsed,
    ) -> None:
        """Prepare to send what is in *store*.

        *chance* gives numbers from 0 to 1, for the jitter; *seconds* a time that no clock that is set changes.
        """
        super().__init__(metrics, idle=_IDLE)
        self._store = store
        self._current = current
        self._clock = clock
        self._backpressure = backpressure
        self._chance = chance
        self._seconds = seconds
        self._first_asked: dict[str, float] = {}  # when OVHcloud was first asked for a job, by this process
        self._foreign: dict[str, set[int]] = {}  # pending jobs of others, by account
        self._pool = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="sending")
        self._lock = threading.Lock()
        self._in_hand: dict[Callable[[Job], None], dict[str, str]] = {self._send: {}, self._settle: {}}
        self._last_turn: str | None = None
        self._has_begun = False
        self._is_expecting = False
        self._critical_pending: dict[
            str, bool
        ] = {}  # by number, whether something critical waits for the next digest
        self._last: datetime | None = None
        self._checked_at: datetime | None = None  # when claims were last compared with what is in hand
        self._doubted: dict[str, Job] = {}  # jobs that met a fault, until that is written down
        self.held: Mapping[str, int] = {}
        """How many messages a limit holds, by reason."""
        self.overdue = 0
        """How many jobs have been sending for longer than a call can take."""
        self._runtime: Runtime | None = None  # for which refusals and rates were forgotten
        self._phones: dict[str, str] = {}  # of the contacts, by their names
        self._labels: dict[str, str] = {}  # of the accounts, in metrics
        self.accounts = Accounts()
        """How it stands with each account."""

    # the dispatcher

    def work(self) -> float | None:
        """Hand out what is due to as many threads as there may be."""
        now = self._clock()
        if (runtime := self._current.runtime) is not self._runtime:
            # An account that refused a message may be mended since, and the others may have been removed.
            self._store.forget_refusals().result()
            contacts = [contact.name for contact in runtime.configuration.contacts]
            self._phones = {name: runtime.configuration.recipient(name).phone for name in contacts}
            self.accounts.forget_rates()
            self._runtime = runtime
        if self._labels != self._account_labels():
            self._count_pauses()  # of the accounts that there are now, by the names that are known now
        if not self._has_begun:
            orphans = self._store.free_orphans(now, retry.LISTING_DELAY).result()
            if orphans:
                log.warning("jobs of unknown outcome found, asking OVHcloud", jobs=orphans)
        if not self._has_begun or (self._last is not None and now < self._last):
            # The clock may have been set back; what is due later than anything is ever put off is due now.
            self._store.reset_due_times(now, now + retry.LONGEST_RETRY_AFTER).result()
            self.accounts.forget_times()
        self._has_begun, self._last = True, now
        self._check_claims(now)
        is_expecting, self._is_expecting = self._is_expecting, False
        due = Due(now, None) if is_expecting else self._store.next_due()
        most = sum(account.max_concurrency for account in self._current.runtime.configuration.accounts)
        begun = False
        if _is_past(due.message, now):
            begun |= self._hand_out_due(now)
        # Asking has places of its own, lest lost answers keep new pages waiting.
        if _is_past(due.job, now) and (room := max(1, most // 2) - len(self._in_hand[self._settle])) > 0:
            begun |= self._hand_out_unsettled(now, room)
        if begun:
            return None  # the first that ends has it looked again
        return 0.0 if is_expecting else self._until(due, now)

    def _check_claims(self, now: datetime) -> None:
        """Return claimed jobs that were never started to the queue, and have OVHcloud asked about faulty ones.

        A claim may have been committed though its answer was lost, and a server may commit it long after the
        connection broke. So this is done every second.
        """
        for job in list(self._doubted.values()):
            try:
                self._write_doubt(job).result()
            except StoreUnavailable:
                raise
            except Exception:  # it stays in hand: it may have been sent
                log.exception("a job's fault cannot be written down, will try again", job=job.tag)
                continue
            with self._lock:
                self._doubted.pop(job.tag, None)
        if self._checked_at is not None and timedelta() <= now - self._checked_at < _CHECK_CLAIMS_EVERY:
            return
        timeout = max(account.timeout for account in self._current.runtime.configuration.accounts)
        claims = self._store.claims(now - timeout - _OVERDUE_AFTER)
        if claims.own - self._tags_in_hand() and (
            lost := self._store.release_claims(self._tags_in_hand, now).result()
        ):
            log.warning("claims without an answer of the database are returned to the queue", jobs=lost)
        if claims.overdue and not self.overdue:
            log.error("jobs have been sending for longer than a call can take", jobs=claims.overdue)
        self.overdue = claims.overdue
        self.held = self._store.held()
        self._metrics.jobs_overdue.set(claims.overdue)
        self._checked_at = now

    def _tags_in_hand(self) -> set[str]:
        with self._lock:
            return {tag for tags in self._in_hand.values() for tag in tags} | set(self._doubted)

    def expect(self) -> None:
        """Look at once for messages that are due, without asking first whether there are any."""
        self._is_expecting = True
        self.wake()

    @property
    def is_busy(self) -> bool:
        """Whether a call is under way."""
        return any(self._in_hand.values())

    def stop(self) -> None:
        """Hand out nothing more."""
        super().stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the calls under way to be answered and written down."""
        deadline = threading.Event()
        super().join(timeout)
        waited = 0.0
        while self.is_busy and waited < timeout:
            deadline.wait(0.05)
            waited += 0.05
        return not self.is_busy

    @property
    def paused(self) -> Paused | None:
        """What hinders sending: how the first account is paused, where all of them are."""
        standings = self.accounts.all(self._current.runtime.apis)
        pauses = [standing.paused for standing in standings.values()]
        return pauses[0] if all(pauses) else None

    def _until(self, due: Due, now: datetime) -> float | None:
        times = [] if due.job is None else [due.job]
        if due.message is not None:
            standings = self.accounts.all(self._current.runtime.apis)
            times.append(max(due.message, min(one.ready_at(now) for one in standings.values())))
        if not times:
            return None
        wait = (min(times) - now).total_seconds()
        # What is due and yet was not handed out is in hand, or its like is: the next wake-up sees to it.
        return max(wait, 0.001) if wait > 0 else _IDLE

    def _hand_out_unsettled(self, now: datetime, room: int) -> bool:
        in_hand = self._tags_in_hand()
        jobs = self._store.unsettled_jobs(now, room + len(in_hand))
        chosen = [job for job in jobs if job.tag not in in_hand][:room]
        for job in chosen:
            self._submit(job, self._settle)
        return bool(chosen)

    def _hand_out_due(self, now: datetime) -> bool:
        order, others = self._turns(now)
        if self._backpressure.is_high:
            order = order[:2]
        if not order and not others:
            return False
        waiting = self.set_aside.waiting(now)
        choose = partial(self._choose, order=order, others=others, now=now, without=waiting)
        try:
            begun = self._begin(choose)
        except StoreUnavailable:
            raise
        except Exception:  # whatever is wrong, it is about one message: the others are sent all the same
            log.exception("messages cannot be selected together, selecting those of each number alone")
        else:
            if tried := self.set_aside.items().keys() - waiting:
                for phone in tried - set(self._store.phones_due(now, waiting)):  # their messages are gone
                    self.set_aside.discard(phone)
            return begun
        begun = False
        for phone in self._store.phones_due(now, waiting):
            begun |= self._begin_alone(phone, partial(choose, phone=phone), now)
        return begun

    def _begin(self, choose: Callable[[Outbox], Selection]) -> bool:
        """Begin the jobs that *choose* selects; return whether there are any."""
        claim = Claim(elapsed(), time.time())
        selection = self._store.apply(choose).result()
        self._tell(selection)
        if selection.jobs:
            self._last_turn = self._name(selection.jobs[-1])
        for job in selection.jobs:
            self._submit(job, partial(self._send_in_time, claim), self._send)
        self._backpressure.wait_after(selection.spent)
        return bool(selection.jobs)

    def _begin_alone(self, phone: str, choose: Callable[[Outbox], Selection], now: datetime) -> bool:
        """Begin the jobs for one number; where that keeps failing, send its messages as they are."""
        try:
            begun = self._begin(choose)
        except StoreUnavailable:
            raise
        except Exception as error:
            attempts = self.set_aside.add(phone, error, now)
            log.error("messages cannot be selected", phone=mask(phone), attempts=attempts, exc_info=error)
            if attempts < MOST_ATTEMPTS:
                return False
        else:
            self.set_aside.discard(phone)
            return begun
        as_they_are = partial(self._choose_as_they_are, phone=phone, now=now)
        is_done = self.resort(partial(self._begin, as_they_are), phone=mask(phone))
        if is_done:
            self.set_aside.discard(phone)
        return is_done

    def _turns(self, now: datetime) -> tuple[list[str], list[str]]:
        """Return which accounts may begin a job now, in turn, and which may where those have refused it."""
        apis = self._current.runtime.apis
        most = {name: api.settings.max_concurrency for name, api in apis.items()}
        with self._lock:
            under_way = Counter(self._in_hand[self._send].values())
        busy = {name: under_way[name] for name in apis}
        standings = self.accounts.all(apis)
        room = free_slots(standings, most, busy, now)
        others = [name for name in fallback_accounts(standings, busy, now) if name not in room]
        return round_robin(room, self._last_turn), others if len(apis) > 1 else []

    def _name(self, job: Job) -> str:
        """Return what the account of *job* is known by in the configuration."""
        api = self._current.runtime.api_of(job.account)
        return job.account if api is None else api.name

    def _named(self, job: Job) -> Job:
        """Return *job* with the name of its account, which a call has OVHcloud tell where it is not configured."""
        api = self._current.runtime.api_of(job.account)
        return job if job.account or api is None else replace(job, account=api.account_name)

    def _has_other(self, job: Job, now: datetime) -> bool:
        """Whether another account may send instead of that of *job*."""
        others = [name for name in self._current.runtime.apis if name != self._name(job)]
        return any(standing.is_sound(now) for standing in self.accounts.all(others).values())

    def _for_others(self, job: Job) -> list[Message]:
        """Return which messages of *job*, refused by its account, there is another account for."""
        names = {api.account_name for api in self._current.runtime.apis.values()}
        return [message for message in job.messages if names - message.refusing - {job.account}]

    # what goes now: in the transaction that writes it down, which may be run again

    def _choose_as_they_are(self, outbox: Outbox, phone: str, now: datetime) -> Selection:
        """Choose the due messages to one number without limits, digests or accounts' turns: the last resort."""
        free = outbox.lock([f"phone/{phone}"])
        due = outbox.due(now, _MOST_AS_THEY_ARE, phone=phone) if free else []
        selection = Selection(expired=[message for message in due if message.expires_at <= now])
        outbox.expire(selection.expired, now)
        account = self._current.runtime.api.account_name
        jobs = gather([message for message in due if message.expires_at > now], len(due), now)
        selection.jobs = outbox.claim([replace(job, account=account) for job in jobs])
        return selection

    def _choose(
        self,
        outbox: Outbox,
        order: Sequence[str],
        others: Sequence[str],
        now: datetime,
        without: Collection[str] = (),
        phone: str | None = None,
    ) -> Selection:
        """Choose jobs from the *outbox*, one for each turn, and write down what becomes of all that was looked at.

        Only messages to *phone* if it is given, and none to the numbers *without*.
        """
        selection, begun, room = Selection(), time.thread_time(), len(order) + len(others)
        limit = room * 4 + 16
        named = {name: api.account_name for name, api in self._current.runtime.apis.items()}
        blocked = unsendable({named[name] for name in (*order, *others)}, named.values())
        due = outbox.due(now, limit, phone=phone, without=without, blocked=blocked)
        if len(due) == limit and due[-1].text in {message.text for message in due[:room]}:
            due = outbox.due(now, limit + 2 * MAX_RECIPIENTS, phone=phone, without=without, blocked=blocked)
        free = outbox.lock(f"phone/{message.phone}" for message in due) if due else set()
        due = [message for message in due if f"phone/{message.phone}" in free]
        due = self._addressed(outbox, due)
        selection.expired = [message for message in due if message.expires_at <= now]
        if selection.expired:
            outbox.expire(selection.expired, now)
        due = self._needed(outbox, selection, [m for m in due if m.expires_at > now], now)
        due = self._calmed(outbox, selection, due, now)
        # In a trial, first what failed least: a sender may be refused for one message alone.
        if self.paused is not None:
            due = sorted(due, key=lambda message: message.attempts)
        chosen = [self._made_late(message, now) for message in due]
        if chosen:
            allowed = self._allowed(outbox, selection, {*order, *others}, now)
            made = assign_accounts(
                gather(chosen, room, now),
                [named[name] for name in order],
                {named[name]: count for name, count in allowed.items()},
                [named[name] for name in others],
            )
            selection.jobs = outbox.claim(made)
        selection.spent = time.thread_time() - begun
        return selection

    def _addressed(self, outbox: Outbox, due: Sequence[Message]) -> list[Message]:
        """Return the messages that are *due*, those to contacts with the number that these have now."""
        moved = {
            message.id: phone
            for message in due
            if (phone := self._phones.get(message.contact, message.phone)) != message.phone
        }
        if not moved:
            return list(due)
        free = outbox.lock(f"phone/{phone}" for phone in moved.values())
        moved = {id_: phone for id_, phone in moved.items() if f"phone/{phone}" in free}
        outbox.readdress(moved)
        return [replace(message, phone=moved.get(message.id, message.phone)) for message in due]

    def _allowed(
        self, outbox: Outbox, selection: Selection, accounts: Iterable[str], now: datetime
    ) -> dict[str, int]:
        """Return how many messages each of the *accounts* that have a rate may send now."""
        allowed = {}
        for name, api in self._current.runtime.apis.items():
            rate = api.settings.rate
            if name not in accounts or rate is None:
                continue
            if not outbox.lock([f"rate/{name}"]):  # another replica sends by it now
                allowed[name], selection.exhausted[name] = 0, now + _RATE_LOOK
                continue
            # What was sent by a clock that was ahead, and was set back since, does not count.
            sent = outbox.sent_by(api.account_name, now - rate.per, now + _SKEW, rate.messages)
            allowed[name] = rate.messages - len(sent)
            if not allowed[name]:
                selection.exhausted[name] = min(sent[-1], now) + rate.per
        return allowed

    def _needed(
        self, outbox: Outbox, selection: Selection, waiting: Sequence[Message], now: datetime
    ) -> list[Message]:
        """Return those of *waiting* that are needed still; the others are withdrawn."""
        gone = set(outbox.overtaken(waiting))
        if gone:
            outbox.withdraw(gone, now)
        selection.withdrawn += [message for message in waiting if message.id in gone]
        return [message for message in waiting if message.id not in gone]

    def _calmed(
        self, outbox: Outbox, selection: Selection, due: Sequence[Message], now: datetime
    ) -> list[Message]:
        """Return those of *due* that go now; the rest is put off, or gathered into digests."""
        limit = self._current.runtime.configuration.limits.per_contact
        due = self._afforded(outbox, selection, due, now)
        bound: dict[str, list[Message]] = {}
        for message in due:
            if message.kind not in _FREE:
                bound.setdefault(message.phone, []).append(message)
        if limit is None or not bound:
            return list(due)
        sent = outbox.sent_to(bound, now - limit.per)
        digests = outbox.digests_to(bound, now - SHORTEST_WAIT)
        going = [message for message in due if message.kind in _FREE]
        for phone, waiting in bound.items():
            digest_at = digests.get(phone)
            others = self._resolutions(outbox, selection, waiting, digest_at, now)
            if others:
                going += self._calm(outbox, selection, others, sent[phone], limit, digest_at, now)
        return going

    def _resolutions(
        self,
        outbox: Outbox,
        selection: Selection,
        waiting: Sequence[Message],
        digest_at: datetime | None,
        now: datetime,
    ) -> Sequence[Message]:
        """Return which of the messages *waiting* for one number are sent like others.

        Those are all, but for resolutions in a storm, which are held and go as one digest.
        """
        resolved = [message for message in waiting if message.kind == Kind.RESOLVED]
        if not resolved:
            return waiting
        phone = waiting[0].phone
        oldest = min(message.received_at for message in resolved)
        at = resolutions_at(len(resolved), oldest, digest_at, is_anything_held=outbox.is_held(phone), now=now)
        if at is None:
            return waiting
        others = [message for message in waiting if message.kind != Kind.RESOLVED]
        if at > now:
            outbox.hold([message.id for message in resolved], at, Hold.DIGEST)
            return others
        queued = [m for m in outbox.waiting_for(phone) if m.kind not in _FREE and m.expires_at > now]
        every = [message for message in queued if message.kind == Kind.RESOLVED]
        if _critical(message for message in queued if message.kind != Kind.RESOLVED)[0]:
            # If they go as a digest, it takes these along; a digest of resolutions alone would put it off.
            outbox.hold([message.id for message in resolved], now + SHORTEST_WAIT, Hold.DIGEST)
            return others
        if len(every) == 1:
            return waiting
        digest_ = self._digest(every, now)
        if outbox.merge(digest_, every[0].receiver, now, [message.id for message in every], now):
            selection.merged.append((digest_, every))
        return others

    def _afforded(
        self, outbox: Outbox, selection: Selection, due: Sequence[Message], now: datetime
    ) -> Sequence[Message]:
        """Return those of *due* that may be paid for; beyond the limit that is what is critical."""
        limit = self._current.runtime.configuration.limits.credits
        if limit is None or not due:
            return due
        if not outbox.lock(["credits"]):  # another replica spends them now
            return [message for message in due if message.urgency == CRITICAL]
        used = outbox.parts_since(now - limit.per)
        going, held = [], []
        for message in due:
            is_free = message.urgency == CRITICAL or message.kind in (Kind.ANSWER, Kind.NOTICE)
            if is_free or used + message.parts <= limit.amount:
                used += message.parts
                going.append(message)
            else:
                held.append(message.id)
        if held:
            outbox.hold(held, now + _CREDITS_LOOK, Hold.CREDITS)
            told_at = outbox.mark(_CREDITS_TOLD)
            if told_at is None or not timedelta() <= now - told_at < limit.per:
                outbox.add_notices(self._notices_of_credits(limit, now), _CREDITS_TOLD, now)
                selection.credits_held = len(held)
        return going

    def _notices_of_credits(self, limit: CreditLimit, now: datetime) -> list[NewMessage]:
        configuration = self._current.runtime.configuration
        notices = []
        for contact in configuration.contacts:
            if not contact.admin:
                continue
            admin = configuration.recipient(contact.name)
            per = format_duration(limit.per)
            text = notice("credits", admin.language, amount=limit.amount, per=per)
            expires_at = now + configuration.global_.expire_after
            parts = measure(text).parts
            notices.append(
                NewMessage(new_id(now), admin.name, admin.phone, text, parts, expires_at, Kind.NOTICE)
            )
        return notices

    def _calm(
        self,
        outbox: Outbox,
        selection: Selection,
        waiting: Sequence[Message],
        sent: Sequence[datetime],
        limit: PerContact,
        digest_at: datetime | None,
        now: datetime,
    ) -> Sequence[Message]:
        """Return which messages to one number, of which *waiting* are due, go now."""
        phone = waiting[0].phone
        was_hurried = self._critical_pending.get(phone, False)
        critical, since = _critical(waiting)
        has_critical = was_hurried or critical > 0
        paced = throttle(sent, len(waiting), critical or int(was_hurried), limit, now, since, digest_at)
        pacing = _in_time(paced, waiting)
        if pacing.rest_at is None:
            return waiting
        if not pacing.singles and pacing.rest_at > now and has_critical == was_hurried:
            outbox.hold([message.id for message in waiting], pacing.rest_at, Hold.DIGEST)
            return ()
        every = [m for m in outbox.waiting_for(phone) if m.kind not in _FREE and m.expires_at > now]
        every = self._needed(outbox, selection, every, now)
        critical, since = _critical(every)
        pacing = _in_time(throttle(sent, len(every), critical, limit, now, since, digest_at), every)
        first, rest = every[: pacing.singles], every[pacing.singles :]
        if pacing.rest_at is not None and pacing.rest_at > now:
            selection.critical_pending[phone] = any(message.urgency == CRITICAL for message in rest)
            outbox.hold([message.id for message in rest], pacing.rest_at, Hold.DIGEST)
            return first
        written = [message for message in rest if message.kind == Kind.TEXT][:_MOST_WRITTEN]
        first, rest = [*first, *written], [message for message in rest if message not in written]
        if len(rest) > 1:
            digest_ = self._digest(rest, now)
            if outbox.merge(digest_, rest[0].receiver, now, [message.id for message in rest], now):
                selection.critical_pending[phone] = False
                selection.merged.append((digest_, rest))
            return first
        return every

    def _digest(self, rest: Sequence[Message], now: datetime) -> NewMessage:
        """Return one message in place of *rest*."""
        configuration = self._current.runtime.configuration
        contact = next((c for c in configuration.contacts if c.name == rest[0].contact), None)
        receiver = configuration.receiver(rest[0].receiver)
        max_parts = receiver.max_parts if receiver is not None else 2
        code = self._current.runtime.reply_code(rest[0].phone, now)
        language = contact.language if contact else "en"
        told = digest([m.digest_entry for m in rest if m.digest_entry], language, max_parts, code)
        others = list(
            dict.fromkeys(m.text for m in rest if not m.digest_entry)
        )  # what people did, which is no alert
        if len(others) > _MOST_NOTICES:
            others[_MOST_NOTICES:] = [f"+{len(others) - _MOST_NOTICES}"]
        counted = shorten("; ".join(filter(None, (told, *others))), max_parts)
        text = in_full([message.text for message in rest], measure(counted).parts) or counted
        return NewMessage(
            id=new_id(now),
            contact=rest[0].contact,
            phone=rest[0].phone,
            text=text,
            parts=measure(text).parts,
            expires_at=max(m.expires_at for m in rest),
            kind=Kind.DIGEST,
            urgency=rest[0].urgency,
        )

    def _made_late(self, message: Message, now: datetime) -> Message:
        if now - message.received_at < LATE_AFTER or message.kind in (Kind.RESOLVED, Kind.NOTICE):
            return message  # what is over says itself when it was; a notice may have been held by a limit of ours
        configuration = self._current.runtime.configuration
        receiver = configuration.receiver(message.receiver)
        contact = next((c for c in configuration.contacts if c.name == message.contact), None)
        text = say_late(
            message.text,
            now - message.received_at,
            contact.language if contact else "en",
            max(message.parts, receiver.max_parts if receiver else 1),
        )
        return replace(message, text=text, parts=measure(text).parts)

    def _tell(self, selection: Selection) -> None:
        """Log and count what was written down."""
        for message in selection.expired:
            self._metrics.sms.labels(message.receiver, "expired").inc()
            log.error("message expired, given up", **_about(message))
        for message in selection.withdrawn:
            log.info("message is not needed any more", **_about(message))
        for new, rest in selection.merged:
            self._metrics.sms_merged.labels(rest[0].receiver).inc(len(rest))
            log.warning(
                "messages merged into a digest",
                message=new.id,
                merged=len(rest),
                **_of_all(rest),
                **_to(rest[0]),
            )
        if selection.credits_held:
            log.error("limits.credits reached, only what is critical goes", held=selection.credits_held)
        for phone, is_hurried in selection.critical_pending.items():
            if is_hurried:
                self._critical_pending[phone] = True
            else:
                self._critical_pending.pop(phone, None)
        for name, until in selection.exhausted.items():
            self.accounts.spend(name, until)
        if selection.merged or selection.credits_held:
            self.expect()

    def _submit(
        self, job: Job, work: Callable[[Job], None], kind: Callable[[Job], None] | None = None
    ) -> None:
        kind = kind or work
        with self._lock:
            self._in_hand[kind][job.tag] = self._name(job)

        def run() -> None:
            try:
                with self._backpressure.limited_share():
                    work(job)
            except Exception:
                log.exception("job met a fault, asking OVHcloud what became of it", job=job.tag)
                self._doubt(job)

        def ended(future: Future[None] | None = None) -> None:
            if future is not None and future.cancelled() and kind != self._settle:
                now = self._clock()  # the stop came first: it was never started
                self._store.requeue(job, now, "was not started: Notifier stopped", now)
            with self._lock:
                self._in_hand[kind].pop(job.tag, None)
            self.wake()

        try:
            self._pool.submit(run).add_done_callback(ended)
        except RuntimeError as error:  # stopping, or no thread to be had
            log.warning("job not begun", job=job.tag, error=str(error))
            self._doubt(job)
            ended()

    def _doubt(self, job: Job) -> None:
        """Have OVHcloud asked what became of *job*: the dispatcher writes that down, however often it takes."""
        with self._lock:
            self._doubted[job.tag] = job
        if self.is_stopping:  # there is no dispatcher any more
            self._write_doubt(job)

    def _write_doubt(self, job: Job) -> Future[None]:
        now, fault = self._clock(), "internal error of Notifier"
        return self._store.unsettle(job, now, now + retry.FIRST_BACKOFF, retry.LISTING_DELAY, fault)

    # on the threads

    def _write(self, operation: Callable[[], Future[T]]) -> T:
        """Write down what happened, trying for as long as the store cannot."""
        patience = threading.Event()
        while True:
            try:
                return operation().result()
            except StoreUnavailable:
                self._metrics.store_errors.inc()
                if self.is_stopping:
                    raise
                patience.wait(0.5)

    def _send_in_time(self, claim: Claim, job: Job) -> None:
        """Send *job*, but not where another replica may hold this one for gone, and the job for its own."""
        if self._store.backend.is_shared and elapsed() - claim.at > _LONGEST_CLAIM:
            now = self._clock()
            log.warning("job not begun in time, going back to the queue", job=job.tag)
            self._write(lambda: self._store.requeue(job, now, "not begun in time", now))
            return
        self._send(job, claim.time if self._store.backend.is_shared else None)

    def _send(self, job: Job, signed_at: float | None = None) -> None:
        reach("before-call")
        try:
            phones = [message.phone for message in job.messages]
            outcome = self._api(job).send(job.text, phones, job.tag, signed_at)
            reach("after-call")
        except CallFailed as error:
            self._failed(self._named(job), error.failure)
            return
        now, job = self._clock(), self._named(job)
        found = endings(job, outcome)
        if len(found) == len(job.messages):
            rejected = {one.message_id for one in found if one.state is MessageState.REJECTED}
            refused = [message for message in self._for_others(job) if message.id in rejected]
            found = [one for one in found if one.message_id not in {message.id for message in refused}]
            self._write(
                lambda: self._store.finish(job, found, now, query_id=outcome.query_id, refused=refused)
            )
        else:
            reason = "OVHcloud's answer does not mention the number"
            log.warning("answer incomplete, asking OVHcloud", job=job.tag, query=outcome.query_id)
            due_at = now + retry.FIRST_BACKOFF
            self._write(lambda: self._store.unsettle(job, now, due_at, retry.LISTING_DELAY, reason, found))
        self._resume(job)
        if any(one.state is MessageState.ACCEPTED for one in found):
            self.accounts.note_acceptance(self._name(job), now)
        self._ended(job, found, now, outcome.query_id)
        self._metrics.sms_credits.inc(max(0.0, outcome.sent.total_credits_removed or 0.0))
        if outcome.sent.credits_left is not None and outcome.service_name is not None:
            self._metrics.ovh_credits_left.labels(outcome.service_name).set(outcome.sent.credits_left)

    def _ended(self, job: Job, found: Sequence[Ending], now: datetime, query_id: str | None) -> None:
        by_id = {message.id: message for message in job.messages}
        for ending in found:
            message = by_id[ending.message_id]
            self._metrics.sms.labels(message.receiver, ending.state).inc()
            about = {**_about(message), "job": job.tag, "query": query_id}
            if ending.state is MessageState.ACCEPTED:
                latency = (now - message.received_at).total_seconds()
                self._metrics.sms_parts.inc(message.parts)
                self._metrics.page_latency.labels(message.receiver).observe(max(0.0, latency))
                log.info("message accepted", **about, ovh_id=ending.ovh_id, seconds=round(latency, 3))
            else:
                log.error(f"message {ending.state}", **about, error=ending.error)

    def _failed(self, job: Job, failure: Failure) -> None:
        now = self._clock()
        attempts = max(message.attempts for message in job.messages) + 1
        decision = retry.decide_retry(failure, attempts, len(job.messages), self._chance())
        about = {
            "job": job.tag,
            "messages": [message.id for message in job.messages],
            **subject_of(job.messages[0]),
            "error": str(failure),
            "decision": type(decision).__name__.lower(),
        }
        log.warning("job failed", **about, attempts=attempts)
        name, api = self._name(job), self._current.runtime.api_of(job.account)
        is_alone = len(self._current.runtime.apis) == 1
        match decision:
            case retry.Retry(after):
                self._retry(job, failure, after)
            case retry.Ask(after, listing_grace):
                if not is_alone:
                    self.accounts.back_off(name, now)
                self._write(lambda: self._store.unsettle(job, now, now + after, listing_grace, str(failure)))
            case retry.Reject():
                self._reject(job, failure)
            case retry.Reduce():
                self._resume(job)
                self._reduce(job, failure)
            case retry.Split():
                self._split(job, failure)
            case retry.Pause(reason):
                if reason is retry.PauseReason.CLOCK and api is not None:
                    api.forget_clock()
                # A sender may be refused for the country of one number: the next trial is of another message, and where
                # others were accepted meanwhile, only this one waits.
                is_of_message = reason is retry.PauseReason.SENDER and self._has_taken_others(job)
                if not is_of_message:
                    self._pause(job, reason, failure, now)
                waits = reason is retry.PauseReason.SENDER and not self._has_other(job, now)
                after = retry.backoff(attempts, self._chance()) if waits else timedelta()
                self._requeue(job, now + after, failure)
            case retry.Resynchronise():
                if api is not None:
                    api.forget_clock()
                self._requeue(job, now, failure)

    def _requeue(self, job: Job, due_at: datetime, failure: Failure) -> None:
        now = self._clock()
        self._write(lambda: self._store.requeue(job, due_at, str(failure), now, failure.query_id))

    def _retry(self, job: Job, failure: Failure, after: timedelta) -> None:
        """Return *job* to the queue. Of several accounts, it is the one that failed that waits, not the page."""
        now, name, is_alone = self._clock(), self._name(job), len(self._current.runtime.apis) == 1
        if failure.status == 429:
            self.accounts.delay_until(name, now + after)
        elif not is_alone:
            self.accounts.back_off(name, now)
        self._requeue(job, now + after if is_alone else now, failure)

    def _reject(self, job: Job, failure: Failure) -> None:
        """End the messages of *job*, but for those that another account may take."""
        now, query, why = self._clock(), failure.query_id, str(failure)
        refused = self._for_others(job)
        found = [
            Ending(message.id, MessageState.REJECTED, error=why)
            for message in job.messages
            if message not in refused
        ]
        self._write(lambda: self._store.finish(job, found, now, query_id=query, refused=refused, error=why))
        self._resume(job)
        self._ended(job, found, now, query)

    def _reduce(self, job: Job, failure: Failure) -> None:
        """Send the messages of *job* again with less in their texts; reject those with nothing left to leave out."""
        now, query, why = self._clock(), failure.query_id, str(failure)
        reducible = [message for message in job.messages if message.reduction < Reduction.MINIMAL]
        if not reducible:
            self._reject(job, failure)
            return
        texts = [self._reduced(message) for message in reducible]
        ended = [
            Ending(message.id, MessageState.REJECTED, error=why)
            for message in job.messages
            if message not in reducible
        ]
        self._write(lambda: self._store.reduce(job, texts, ended, why, now, query))
        for message in reducible:
            self._metrics.sms_reduced.labels(message.receiver).inc()
        self._ended(job, ended, now, query)

    def _reduced(self, message: Message) -> Reduced:
        runtime = self._current.runtime
        incident = self._store.incidents.get(message.incident_id) if message.incident_id else None
        return reduced(runtime, message, incident)

    def _split(self, job: Job, failure: Failure) -> None:
        now = self._clock()
        middle = len(job.messages) // 2
        halves = [
            Job(new_id(now), job.text, now, part, account=job.account)
            for part in (job.messages[:middle], job.messages[middle:])
        ]
        with self._lock:  # before they are written: else they would look like claims without an answer
            self._in_hand[self._send] |= {half.tag: self._name(half) for half in halves}
        claimed: list[Job] = []
        claim = Claim(elapsed(), time.time())
        try:
            claimed = self._write(lambda: self._store.split(job, halves, str(failure)))
        finally:
            with self._lock:
                for half in halves:
                    if half not in claimed:
                        self._in_hand[self._send].pop(half.tag, None)
        for half in claimed:
            self._submit(half, partial(self._send_in_time, claim), self._send)

    def _api(self, job: Job) -> OvhClient:
        """Return the client of the account that *job* is of.

        Raises:
            CallFailed: it is not in the configuration any more.
        """
        api = self._current.runtime.api_of(job.account)
        if api is None:
            message = f"the account {job.account} is not in the configuration any more"
            raise CallFailed(Failure(Fate.ANSWERED, message, code="UNKNOWN_ACCOUNT", is_preparing=True))
        return api

    def _pause(self, job: Job, reason: retry.PauseReason, failure: Failure, now: datetime) -> None:
        before = self.accounts.pause(self._name(job), reason, str(failure), now)
        if before is None:
            log.error("sending paused", reason=reason, error=str(failure), **_by(job))
        self._count_pauses()

    def _has_taken_others(self, job: Job) -> bool:
        """Whether the account of *job* took something since the messages of *job* came."""
        accepted_at = self.accounts.all([self._name(job)])[self._name(job)].accepted_at
        return accepted_at is not None and accepted_at > max(m.received_at for m in job.messages)

    def _resume(self, job: Job) -> None:
        before = self.accounts.resume(self._name(job))
        if before is not None:
            self._count_pauses()
            log.info("sending resumed", after=before.reason, **_by(job))

    def _account_labels(self) -> dict[str, str]:
        return {name: api.account_name or name for name, api in self._current.runtime.apis.items()}

    def _count_pauses(self) -> None:
        labels = self._labels = self._account_labels()  # another thread may renew them
        gauge = self._metrics.sending_paused
        gauge.clear()  # of accounts that a reload removed, too
        for name, standing in self.accounts.all(labels).items():
            for reason in retry.PauseReason:
                is_paused = standing.paused is not None and standing.paused.reason is reason
                gauge.labels(labels[name], reason).set(is_paused)

    # settling

    def _settle(self, job: Job) -> None:
        # Clocks of replicas differ, and may be set: the time since the attempt is counted by this process.
        # And up to the question: what has passed since, in a container that was stopped say, proves nothing.
        asked_at = self._seconds()
        first_look = self._first_asked.setdefault(job.tag, asked_at)
        found, failure, is_complete = self._find(job)
        if failure is not None and isinstance(retry.decide_retry(failure, 1, 1, 0.0), retry.Resynchronise):
            self._api(job).forget_clock()
        now = self._clock()
        missing = [m for m in job.messages if m.id not in {ending.message_id for ending in found}]
        verdict = retry.settle(
            missing=len(missing),
            found=len(found),
            failure=failure,
            since=timedelta(seconds=asked_at - first_look),
            is_complete=is_complete,
            listing_grace=job.listing_grace,
            settle_timeout=self._settle_timeout(job),
            settle_attempts=job.settle_attempts,
            is_replaceable=self._has_other(job, now),
            chance=self._chance(),
        )
        about = {
            "job": job.tag,
            **subject_of(job.messages[0]),
            "found": len(found),
            "missing": len(missing),
            "error": failure and str(failure),
        }
        match verdict:
            case retry.AskAgain(after):
                if not job.settle_attempts:  # once, not at each look
                    log.info("job not settled yet, asking again", **about)
                given_up = [m for m in missing if m.expires_at <= now]
                ended = found + [
                    Ending(m.id, MessageState.EXPIRED, error="it was never learnt whether it was taken")
                    for m in given_up
                ]
                if len(ended) == len(job.messages):
                    self._write(lambda: self._store.finish(job, ended, now))
                else:
                    self._write(lambda: self._store.look_again(job, now + after, ended, now))
                self._ended(job, ended, now, None)
                return
            case retry.Taken():
                log.info("job was taken", **about)
            case retry.NotTaken(is_certain):
                if not is_certain:
                    self._metrics.sms_resent.inc(len(missing))
                log.warning("job was not taken, sending again", **about, certain=is_certain)
        self._first_asked.pop(job.tag, None)
        self._write(lambda: self._store.finish(job, found, now))
        self._ended(job, found, now, None)

    def _find(self, job: Job) -> tuple[list[Ending], Failure | None, bool]:
        """Return which messages of *job* OVHcloud knows: in its history, or else among its pending jobs.

        What was found before a call failed is returned with the failure; last, whether all pending jobs were looked
        at. Where it is not known which account the job went to, all of them are asked.
        """
        known: list[Outgoing] = []
        is_complete = True
        try:
            apis = [self._api(job)] if job.account else list(self._current.runtime.apis.values())
            for api in apis:
                is_complete &= self._look(api, job, known)
        except CallFailed as error:
            return matching(job, known), error.failure, is_complete
        return matching(job, known), None, is_complete

    def _look(self, api: OvhClient, job: Job, known: list[Outgoing]) -> bool:
        """Add to *known* what the account of *api* has of *job*; return whether all of its pending jobs were looked at.

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
            if sms.tag and sms.tag != job.tag and not self._store.replies.is_tag_known(sms.tag):
                foreign.add(id_)
        return len(newest) <= _MAX_PENDING

    def _settle_timeout(self, job: Job) -> timedelta:
        runtime = self._current.runtime
        return (runtime.api_of(job.account) or runtime.api).settings.settle_timeout

    def _unknown(self, account: str, ids: Collection[int]) -> list[int]:
        """Return those of the *ids* of *account* that no message is known to have."""
        known = self._store.accepted_ids(ids, account)
        return [id_ for id_ in ids if id_ not in known]


def reduced(runtime: Runtime, message: Message | Followed, incident: Incident | None) -> Reduced:
    """Return *message*, which is about *incident*, with the text that it is sent again with."""
    configuration = runtime.configuration
    try:
        recipient = configuration.recipient(message.contact or message.phone)
    except ValueError:  # it is no contact any more
        recipient = configuration.recipient(message.phone)
    reduction = Reduction(message.reduction + 1)
    code = runtime.reply_code(message.phone, message.received_at)
    text = reduce(
        message.text, message.kind, incident, reduction, recipient.language, recipient.time_zone, code
    )
    return Reduced(message.id, text, measure(text).parts, reduction)


def _in_time(pacing: Throttled, waiting: Sequence[Message]) -> Throttled:
    """Return *pacing*, but so that none of the messages *waiting* expires before the rest of them goes."""
    if pacing.rest_at is None:
        return pacing
    last = min(message.expires_at for message in waiting) - _BEFORE_EXPIRY
    return replace(pacing, rest_at=min(pacing.rest_at, last))


def _critical(waiting: Iterable[Message]) -> tuple[int, datetime | None]:
    """Return how many of those *waiting* are critical, and since when the oldest of them is."""
    since = [message.received_at for message in waiting if message.urgency == CRITICAL]
    return len(since), min(since, default=None)


def _by(job: Job) -> dict[str, object]:
    return {"account": job.account} if job.account else {}


def _is_past(instant: datetime | None, now: datetime) -> bool:
    return instant is not None and instant <= now


def _about(message: Message) -> dict[str, object]:
    return {
        "message": message.id,
        "notification": message.notification_id,
        **subject_of(message),
        **_to(message),
    }


def subject_of(message: Message | Followed) -> dict[str, object]:
    """Return what *message* tells of, for the log; the messages of a job have the same text, and tell of the same."""
    return {
        "webhook": message.webhook_id,
        "incident": message.incident_number,
        "alert": message.alert,
        "receiver": message.receiver,
    }


def _of_all(some: Sequence[Message]) -> dict[str, object]:
    """Return the webhooks, incidents, alerts and receivers of several messages, for the log."""
    return {
        "webhooks": sorted({message.webhook_id for message in some if message.webhook_id}),
        "incidents": sorted({m.incident_number for m in some if m.incident_number is not None}),
        "alerts": sorted({message.alert for message in some if message.alert}),
        "receivers": sorted({message.receiver for message in some}),
    }


def _to(message: Message) -> dict[str, object]:
    return {"to": message.contact or mask(message.phone), "phone": mask(message.phone)}
