"""The second channel: messages that OVHcloud does not accept in time also go through other services."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from hashlib import blake2b

import structlog

from notifier import second_channel
from notifier.clock import CLOCK_STEP, elapsed
from notifier.delivery.fallback import LONGEST_RETRY, FallbackState, is_needed, retry_after
from notifier.delivery.message import NewMessage
from notifier.store.engine import StoreUnavailable
from notifier.store.fallbacks import DueFallback, FallbackMessage, NewFallback
from notifier.workers.context import Context
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

Send = Callable[[str, str, str, float, Callable[[], None]], None]
"""Sends a title and a text to a URL within some seconds, and calls a function when the call has really ended."""

_BATCH = 200
_MAX_AT_ONCE = 32
_MAX_OF_ONE = 8
"""The number of messages that are sent to one URL at the same time: one that hangs delays no other."""
_SECONDS = 20.0
"""How long a service has for one message."""
_LEASE = timedelta(minutes=1)
"""When a message is tried again whose sending was cut off, as by a kill."""
_GIVE_UP_AFTER = timedelta(hours=1)
_LONGEST_TITLE = 100
_INSTEAD = "sent through the second channel instead"
"""Why an SMS was withdrawn."""


class FallbackSender(Worker):
    """Sends messages through the second channel of their contacts, at least once each; OVHcloud never waits for it."""

    name = "fallback"

    def __init__(
        self, context: Context, is_paused: Callable[[], bool], send: Send = second_channel.send
    ) -> None:
        """Prepare to send; *is_paused* returns whether OVHcloud takes no messages at all now."""
        super().__init__(context, idle=1.0)
        self._is_paused = is_paused
        self._call = send
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        """How many calls are under way, by target; one that was given up may be."""
        self._sending = 0
        """How many messages are being sent, until their outcome is written."""
        self._last: datetime | None = None
        self._failures: dict[str, tuple[str, str]] = {}
        """By target: its service, and why the last message to it was not sent."""

    def work(self) -> float | None:
        """Find the messages that are late or have failed, and send what is due."""
        configuration = self._current.runtime.configuration
        own = {one.name for one in configuration.contacts if one.fallback}
        everybody = bool(configuration.fallback.urls)
        if not own and not everybody:
            return None
        now = self._clock()
        if self._last is None or now < self._last - CLOCK_STEP:
            self._store.fallbacks.reset_due_times(now, now + LONGEST_RETRY).result()
        self._last = now
        late = now if self._is_paused() else now - configuration.fallback.after
        found = self._store.fallbacks.missing(now, late, None if everybody else own, _BATCH)
        if found:
            new = [fallback for message in found for fallback in self._fallbacks_of(message)]
            self._store.fallbacks.add(new, now).result()
        if configuration.fallback.instead:
            self._withdraw_sms(now)  # also after a lost answer, once the SMS is back in the queue
        with self._lock:
            free = _MAX_AT_ONCE - self._busy.total()
            full = [target for target, count in self._busy.items() if count >= _MAX_OF_ONE]
        limit = min(free, _MAX_OF_ONE)
        url = configuration.page_url
        due = []
        if limit > 0:
            due = self._store.fallbacks.claim(now, _LEASE, limit, without=full, linked_url=url).result()
        for one in due:
            self._start(one)
        return 0.0 if len(found) == _BATCH or (due and len(due) == limit) else None

    def send(self, messages: Sequence[NewMessage]) -> None:
        """Send *messages* at once, besides their SMS.

        Raises:
            StoreUnavailable: it cannot be written down now.
        """
        new = [
            NewFallback(message.id, target, second_channel.service(url), FallbackState.WAITING)
            for message in messages
            for target, url in self._urls(message.contact).items()
        ]
        self._store.fallbacks.add(new, self._clock()).result()
        self.wake()

    @property
    def problems(self) -> dict[str, str]:
        """Why the last message to a URL was not sent, by the name of its service; of URLs that are configured."""
        contacts = self._current.runtime.configuration.contacts
        known = {target for name in ("", *(one.name for one in contacts)) for target in self._urls(name)}
        return {service: why for target, (service, why) in self._failures.items() if target in known}

    @property
    def is_busy(self) -> bool:
        """Whether a message is being sent."""
        return self._sending > 0

    def join(self, timeout: float) -> bool:
        """Wait up to *timeout* seconds for the end, also of the messages that are being sent."""
        end = elapsed() + timeout
        is_ended = super().join(timeout)
        over = threading.Event()
        while self.is_busy and elapsed() < end:
            over.wait(0.05)
        return is_ended and not self.is_busy

    def _urls(self, contact: str) -> dict[str, str]:
        """Return the URLs of a contact by their digests."""
        return {_digest(url): url for url in self._current.runtime.configuration.fallback_urls(contact)}

    def _fallbacks_of(self, message: FallbackMessage) -> list[NewFallback]:
        state = FallbackState.WAITING if _is_needed(message) else FallbackState.WITHDRAWN
        return [
            NewFallback(message.id, target, second_channel.service(url), state)
            for target, url in self._urls(message.contact).items()
        ]

    def _withdraw_sms(self, now: datetime) -> None:
        """Withdraw SMS whose fallback was sent: to a URL of the contact's own, if there are any."""
        contacts = {one.name: one.fallback for one in self._current.runtime.configuration.contacts}
        enough = []
        for id_, contact, targets in self._store.fallbacks.waiting_though_sent():
            own = {_digest(url.get_secret_value()) for url in contacts.get(contact, ())}
            if not own or own & targets:
                enough.append(id_)
        if enough:
            self._store.outbox.withdraw(enough, now, _INSTEAD).result()

    def _start(self, due: DueFallback) -> None:
        url = self._urls(due.message.contact).get(due.target)
        if url is None:  # a reload has changed it: the message goes to the URLs that there are now
            self._store.fallbacks.add(self._fallbacks_of(due.message), self._clock()).result()
        if url is None or not _is_needed(due.message):
            self._store.fallbacks.withdraw(due.id, self._clock()).result()
            return
        with self._lock:
            self._busy[due.target] += 1
            self._sending += 1
        thread = threading.Thread(target=self._send, args=(due, url), name="fallback-sending", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread can be started: it is tried again after the lease
            self._end(due.target)
            self._done()

    def _end(self, target: str) -> None:
        with self._lock:
            self._busy[target] -= 1
        self.wake()

    def _done(self) -> None:
        with self._lock:
            self._sending -= 1
        self.wake()

    def _send(self, due: DueFallback, url: str) -> None:
        """Send *due* to *url*, and write down the outcome."""
        error, text = None, due.message.text
        title = text.partition(": ")[0][:_LONGEST_TITLE]
        if due.link is not None:
            text += due.link.ending
        ends: list[None] = []

        def ended() -> None:
            if not ends:
                ends.append(None)
                self._end(due.target)

        try:
            self._call(url, title, text, _SECONDS, ended)
        except second_channel.SendingFailed as failure:
            error = str(failure)[:500]
        except Exception as fault:
            log.exception("fallback failed unexpectedly", message=due.message.id, service=due.service)
            error = second_channel.without_secrets(f"{type(fault).__name__}: {fault}"[:500], url)
            ended()
        try:
            self._write(due, error)
        except StoreUnavailable:  # it is sent again after the lease
            log.warning("outcome of a fallback cannot be stored", message=due.message.id, service=due.service)
        finally:
            self._done()

    def _write(self, due: DueFallback, error: str | None) -> None:
        now = self._clock()
        about = {
            "message": due.message.id,
            "incident": due.message.incident,
            "to": due.message.contact or None,
            "service": due.service,
            "attempt": due.attempts,
        }
        if error is None:
            self._store.fallbacks.sent(due, now).result()
            self._metrics.fallback.labels(due.service, "sent").inc()
            self._failures = {key: why for key, why in self._failures.items() if key != due.target}
            log.info("message sent by the second channel", **about)
            return
        again_at = now + retry_after(due.attempts)
        is_over = again_at > due.created_at + _GIVE_UP_AFTER
        self._store.fallbacks.failed(due, error, now, None if is_over else again_at).result()
        self._metrics.fallback.labels(due.service, "failed").inc()
        self._failures = {**self._failures, due.target: (due.service, error)}
        log.warning("second channel failed", **about, error=error, again=not is_over)


def _is_needed(message: FallbackMessage) -> bool:
    return is_needed(message.kind, message.state, message.incident_state, is_silenced=message.is_silenced)


def _digest(url: str) -> str:
    return blake2b(url.encode(), digest_size=8).hexdigest()
