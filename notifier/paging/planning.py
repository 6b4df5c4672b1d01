"""Planning: a stored webhook becomes notifications, and these messages, one for each recipient."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from notifier.alertmanager import Webhook, WebhookError, parse_webhook
from notifier.clock import Clock
from notifier.config import Receiver, Recipient
from notifier.durations import brief_duration
from notifier.ids import new_id
from notifier.metrics import Metrics
from notifier.paging.pressure import Pressure
from notifier.paging.sending import Sender
from notifier.paging.worker import Worker
from notifier.rendering import Notification, Text, compose, notification
from notifier.runtime import Current, Runtime
from notifier.store.store import NewMessage, NewNotification, Store, StoredWebhook

log = structlog.get_logger(__name__)

_BATCH = 16
_BATCH_BYTES = 4 * 1024 * 1024
_FEW_BYTES = 64 * 1024
_AFTER_FAULT = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Page:
    """A message that a notification calls for."""

    recipient: Recipient
    text: Text
    expire_after: timedelta


@dataclass(frozen=True, slots=True)
class Plan:
    """What one receiver is told of a webhook, and by which pages."""

    notification: Notification
    alerts: int
    pages: tuple[Page, ...]


def plan(runtime: Runtime, webhook: Webhook, posted_to: str | None, now: datetime) -> list[Plan]:
    """Return what is to be sent for *webhook*, posted for the receiver *posted_to* if it was.

    Each alert finds its receivers by itself; the alerts that reach the same one make one notification.
    Whoever is reached through several receivers by the same words gets them once.
    """
    configuration = runtime.configuration
    if posted_to is not None and configuration.receiver(posted_to) is None:
        posted_to = None  # it was there when the webhook was stored; the page must still reach somebody
    split = runtime.routing.split(
        webhook.receiver, [alert.labels for alert in webhook.alerts], only=posted_to
    )
    plans = []
    told_already: set[tuple[str, str]] = set()
    for name, positions in split.items():
        receiver = configuration.receiver(name)
        if receiver is None:  # the configuration was checked: every route names a receiver
            raise LookupError(name)
        told = notification(webhook, positions, name, send_resolved=receiver.send_resolved)
        if told is not None:
            pages = _pages(runtime, receiver, told, now)
            new = tuple(p for p in pages if (p.recipient.phone, p.text.text) not in told_already)
            told_already |= {(page.recipient.phone, page.text.text) for page in new}
            plans.append(Plan(told, len(positions), new))
    return plans


def _pages(runtime: Runtime, receiver: Receiver, told: Notification, now: datetime) -> tuple[Page, ...]:
    style, expire_after = runtime.style(receiver), runtime.configuration.expire_after(receiver)
    return tuple(
        Page(recipient, compose(runtime.templates, told, recipient, style, now), expire_after)
        for recipient in runtime.recipients(receiver.notify, now)
    )


class Planner(Worker):
    """Plans what the intake stored."""

    name = "planner"

    def __init__(
        self,
        store: Store,
        current: Current,
        clock: Clock,
        metrics: Metrics,
        pressure: Pressure,
        sender: Sender,
    ) -> None:
        """Prepare to plan what is in *store*, and to wake *sender* when there is something to send."""
        super().__init__(metrics, idle=1.0)
        self._store = store
        self._current = current
        self._clock = clock
        self._pressure = pressure
        self._sender = sender
        self._faulty: dict[str, float] = {}  # by id, until when (monotonic) not to try again

    def work(self) -> float | None:
        """Plan the oldest webhooks."""
        self._faulty = {id_: until for id_, until in self._faulty.items() if until > time.monotonic()}
        todo = self._store.unplanned(_BATCH, _BATCH_BYTES, without=self._faulty)
        planned: list[tuple[str, list[NewNotification]]] = []
        now = self._clock()
        for webhook in todo:
            with self._pressure.giving_way():
                try:
                    planned.append((webhook.id, self._plan(webhook, now)))
                except Exception:
                    # Whatever is wrong with one page must not hold up the others; it stays in the store.
                    log.exception("planning failed, will try again", webhook=webhook.id)
                    self._faulty[webhook.id] = time.monotonic() + _AFTER_FAULT
        if planned:
            with self._pressure.giving_way():
                self._store.add_plans(planned, self._clock()).result()
                self._sender.expect()
        # Of what comes meanwhile, the intake tells.
        is_all = len(todo) < _BATCH and sum(len(webhook.body) for webhook in todo) < _FEW_BYTES
        return None if is_all else 0.0

    def _plan(self, stored: StoredWebhook, now: datetime) -> list[NewNotification]:
        runtime = self._current.runtime
        try:
            webhook = parse_webhook(stored.body)
        except WebhookError as error:
            log.error("stored webhook cannot be read, nothing is sent", webhook=stored.id, error=str(error))
            return []
        plans = plan(runtime, webhook, stored.posted_to, now)
        if stored.posted_to is None and runtime.routing.is_unknown(webhook.receiver):
            self._metrics.webhooks_unknown_receiver.inc()
            log.warning("unknown receiver, the first one is paged", webhook=stored.id, named=webhook.receiver)
        if not plans:
            log.info("nothing to send", webhook=stored.id, status=webhook.status, alerts=len(webhook.alerts))
        return [self._stored_form(stored, planned, now) for planned in plans]

    def _stored_form(self, stored: StoredWebhook, planned: Plan, now: datetime) -> NewNotification:
        told = planned.notification
        self._metrics.notifications.labels(told.receiver, told.status).inc()
        for page in planned.pages:
            if (failure := page.text.failure) is not None:
                self._metrics.template_errors.labels(failure.template).inc()
                log.error(
                    "template failed, a built-in text goes out",
                    webhook=stored.id,
                    template=failure.template,
                    file=f"{failure.file}:{failure.line}",
                    error=failure.reason,
                )
        new = NewNotification(
            id=new_id(now),
            webhook_id=stored.id,
            receiver=told.receiver,
            status=told.status,
            group_key=told.group_key,
            alerts=planned.alerts,
            received_at=stored.received_at,
            messages=tuple(
                NewMessage(
                    id=new_id(now),
                    contact=page.recipient.name,
                    phone=page.recipient.phone,
                    text=page.text.text,
                    parts=page.text.size.parts,
                    expires_at=stored.received_at + page.expire_after,
                )
                for page in planned.pages
            ),
        )
        log.info(
            "notification planned",
            notification=new.id,
            webhook=stored.id,
            receiver=told.receiver,
            status=told.status,
            alerts=planned.alerts,
            messages=[message.id for message in new.messages],
            after=brief_duration(now - stored.received_at),
        )
        return new
