"""The planner: a stored webhook opens, joins, updates or resolves incidents, and people are notified.

A plan depends on the incidents that are open. They are read first; if somebody else has changed one of them when the
plan is written, the plan is made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from notifier.alertmanager.durations import brief_duration
from notifier.alertmanager.webhook import Webhook, group_key, parse_webhook
from notifier.delivery.message import NewMessage
from notifier.ids import new_id
from notifier.incidents.heartbeats import HEARTBEATS, SEEN, seen_in
from notifier.incidents.lifecycle import (
    Event,
    Incident,
    Reason,
)
from notifier.planning import last_resort
from notifier.planning.division import Key, ReceiverAlerts, divide, ended_in
from notifier.planning.moves import move
from notifier.planning.plans import Plan, plan, plan_without_alerts, plans_of_move
from notifier.planning.receivers import recipients_of
from notifier.planning.texts import new_messages
from notifier.rendering.compose import (
    title,
)
from notifier.sms.recipient import Recipient
from notifier.store.records import IncidentChange, NewNotification, StoredWebhook
from notifier.store.timestamps import SOURCES
from notifier.workers.context import Context
from notifier.workers.set_aside import MAX_ATTEMPTS, isolate
from notifier.workers.template_failures import report_failures
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_BATCH = 16
_MAX_REFUSALS = 20
"""A plan that is refused more often than this meets something else than changes of its incident."""
_MAX_NAMED = 5
"""How many names of alerts a line of the log holds at most."""
_BATCH_BYTES = 4 * 1024 * 1024
_FEW_BYTES = 64 * 1024
_MAX_SOURCES = 20
"""How many Alertmanagers are remembered by name."""
_LONGEST_URL = 200


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored webhook, parsed, and its alerts by receiver."""

    stored: StoredWebhook
    webhook: Webhook
    divided: list[ReceiverAlerts]


@dataclass(frozen=True, slots=True)
class _Open:
    """The open incidents of the groups in a batch, numbers for new ones, and *others* that hold some of the alerts."""

    incidents: Mapping[Key, Incident]
    numbers: Mapping[Key, int]
    others: Sequence[Incident]


class Planner(Worker):
    """Plans the webhooks that the intake stored."""

    name = "planner"
    longest_work = 60.0  # pages wait for it, and it makes no calls

    def __init__(self, context: Context, send: Callable[[], None]) -> None:
        """Prepare to plan webhooks; *send* is called when there are messages to send."""
        super().__init__(context, idle=1.0)
        self._send = send
        self._groups: dict[str, str] = {}  # the groups of the webhooks that are set aside
        self._behind: dict[
            str, str
        ] = {}  # webhook id -> the set-aside webhook of its group that must be planned first
        self._sources: set[str] = set()
        self._refusals: Counter[str] = Counter()  # how often the plan of each webhook was refused

    def work(self) -> float | None:
        """Plan the oldest webhooks."""
        now = self._clock()
        waiting = self.set_aside.waiting(now)
        self._behind = {id_: first for id_, first in self._behind.items() if first in waiting}
        self._groups = {id_: group for id_, group in self._groups.items() if id_ in self.set_aside.items()}
        todo = self._store.webhooks.unplanned(_BATCH, _BATCH_BYTES, without=[*waiting, *self._behind])
        batch = self._read(todo, waiting, now)
        done: list[str] = []
        if batch:
            isolate(batch, lambda some: done.extend(self._process(some, now)), self._fail)
        # The intake wakes the planner for what comes meanwhile.
        is_all = len(todo) < _BATCH and sum(len(stored.body) for stored in todo) < _FEW_BYTES
        delayed = {*done, *self.set_aside.items(), *self._behind}
        return None if is_all and all(stored.id in delayed for stored in todo) else 0.0

    def _process(self, batch: Sequence[_Read], now: datetime) -> list[str]:
        """Plan the webhooks of *batch* and write down the plans, all or none; return the ids of those written.

        A webhook is not written if one of its incidents was changed meanwhile: it is planned again.
        """
        known = self._incidents(batch)
        planned: list[tuple[str, list[NewNotification]]] = []
        seen: dict[str, datetime] = {}
        for read in batch:
            with self._context.backpressure.limited_share():
                planned.append((read.stored.id, self.plan(read, known, now)))
                seen |= dict.fromkeys(self._beats(read.webhook), read.stored.received_at)
                seen[self._source(read.webhook)] = read.stored.received_at
        with self._context.backpressure.limited_share():
            refused = self._store.webhooks.add_plans(planned, self._clock(), seen).result()
        self._send()
        for read in batch:
            if read.stored.id in refused:
                self._refuse(read)
            else:
                self._refusals.pop(read.stored.id, None)
                self.set_aside.discard(read.stored.id)
        return [id_ for id_, _ in planned if id_ not in refused]

    def _refuse(self, read: _Read) -> None:
        """Have a webhook planned again whose plan was refused; set it aside if that happens again and again."""
        self._refusals[read.stored.id] += 1
        if self._refusals[read.stored.id] < _MAX_REFUSALS:
            log.info("incident was changed meanwhile, planning again", webhook=read.stored.id)
        else:
            self._fail(read, RuntimeError("the database refuses its plan again and again"))

    def _source(self, webhook: Webhook) -> str:
        """Return the name of the timestamp for the Alertmanager that sent *webhook*."""
        url = webhook.external_url[:_LONGEST_URL]
        if len(self._sources) < _MAX_SOURCES:
            self._sources.add(url)
        return SOURCES + (url if url in self._sources else "")

    def _fail(self, read: _Read, error: Exception) -> None:
        self._set_aside(read.stored, read.webhook, error)

    def _set_aside(self, stored: StoredWebhook, webhook: Webhook | None, error: Exception) -> None:
        """Retry a failed webhook later, and the later webhooks of its group after it; page with a built-in text after
        `MAX_ATTEMPTS` failures.
        """
        now = self._clock()
        attempts = self.set_aside.add(stored.id, error, now)
        self._groups[stored.id] = group_key(webhook) if webhook is not None else ""
        log.error("planning failed", **_about(stored, webhook), attempts=attempts, exc_info=error)
        if attempts < MAX_ATTEMPTS:
            return

        def page() -> bool:
            pages = last_resort.page_of(self._current.runtime, stored, now)
            self._store.webhooks.add_plans([(stored.id, pages)], now).result()
            return bool(pages)

        if self.resort(page, webhook=stored.id):
            self._refusals.pop(stored.id, None)
            self.set_aside.discard(stored.id)
            self._send()

    def _read(self, todo: Sequence[StoredWebhook], waiting: Collection[str], now: datetime) -> list[_Read]:
        """Return the webhooks to plan now: at most one of each group, none of a group whose set-aside webhook is not
        due.
        """
        runtime = self._current.runtime
        batch: list[_Read] = []
        touched: set[str] = set()
        held = {group: id_ for id_, group in self._groups.items() if id_ in waiting}
        for stored in todo:
            webhook: Webhook | None = None
            with self._context.backpressure.limited_share():
                try:
                    webhook = parse_webhook(stored.body)
                    group = group_key(webhook)
                    if group in touched:
                        break
                    if group in held:
                        self._behind[stored.id] = held[group]
                        continue
                    divided = divide(runtime, webhook, stored.posted_to, now)
                except Exception as error:  # whatever is wrong with one webhook must not delay the others
                    self._set_aside(stored, webhook, error)
                    continue
            touched.add(group)
            batch.append(_Read(stored, webhook, divided))
        return batch

    def _incidents(self, batch: Iterable[_Read]) -> _Open:
        """Return the incidents that are open, those that alerts may move from, and numbers for new ones."""
        divided = [(read, routed) for read in batch for routed in read.divided]
        open_ = self._store.incidents.find({group_key(read.webhook) for read in batch})
        unknown = [(read, routed) for read, routed in divided if routed.key not in open_]
        keys = {key for read, routed in unknown for key in routed.firing | ended_in(read.webhook, routed)}
        others = self._store.incidents.with_alerts(keys) if keys else []
        new = [routed.key for _, routed in unknown if routed.firing]
        numbers = dict(zip(new, self._store.incidents.numbers(len(new)) if new else (), strict=True))
        return _Open(open_, numbers, others)

    def plan(self, read: _Read, known: _Open, now: datetime) -> list[NewNotification]:
        """Return the notifications that a webhook leads to, with the incidents that are *known* to be open."""
        stored, webhook, runtime = read.stored, read.webhook, self._current.runtime
        if stored.posted_to is None and runtime.routing.is_unknown(webhook.receiver):
            self._metrics.webhooks_unknown_receiver.inc()
            log.warning("unknown receiver, the first one is paged", **_about(stored, webhook))
        plans: list[Plan] = []
        moved: set[str] = set()
        for routed in read.divided:
            incident = known.incidents.get(routed.key)
            if incident is None:
                others = [one for one in known.others if one.id not in moved]
                moving = move(routed, ended_in(webhook, routed), others)
                incident = moving.incident
                plans += plans_of_move(routed, moving, now)
                moved |= {
                    one.id for one in (moving.incident, *moving.resolved, *moving.reduced) if one is not None
                }
            involved = self._involved(incident) if incident is not None else ()
            planned = plan(runtime, webhook, routed, incident, involved, known.numbers.get(routed.key), now)
            plans.append(planned)
            if not planned.pages:
                log.info(
                    "nothing to send",
                    **{**_about(stored, webhook), "receiver": routed.key[0]},
                    incident=planned.incident and planned.incident.number,
                    change=planned.reason,
                )
        for incident in self._strays(stored, webhook, read.divided, known.incidents):
            if incident.id not in moved:
                plans.append(plan_without_alerts(runtime, webhook, incident, self._involved(incident), now))
        sent_texts: dict[tuple[object, ...], str] = {}
        notes = (self._new_notification(stored, planned, sent_texts, now) for planned in plans)
        return [note for note in notes if note is not None]

    def _strays(
        self,
        stored: StoredWebhook,
        webhook: Webhook,
        divided: Iterable[ReceiverAlerts],
        open_: Mapping[Key, Incident],
    ) -> Iterator[Incident]:
        """Return the incidents of the same group that *webhook* has no alerts for any more.

        Incidents of another URL or another of Alertmanager's receivers are left out.
        """
        if webhook.truncated_alerts:
            return
        group, keys = group_key(webhook), {routed.key for routed in divided}
        for key, incident in open_.items():
            if key[1] != group or key in keys or group.startswith(HEARTBEATS):
                continue
            last = self._store.incidents.webhook(incident)
            if last is None or last[1] != stored.posted_to:
                continue
            if parse_webhook(last[0]).receiver == webhook.receiver:
                yield incident

    def _beats(self, webhook: Webhook) -> set[str]:
        configured = self._current.runtime.configuration.heartbeats
        return {SEEN + name for name in seen_in(configured, webhook)}

    def _involved(self, incident: Incident) -> tuple[Recipient, ...]:
        return recipients_of(self._current.runtime, self._store.paged.involved(incident.id))

    def _new_notification(
        self, stored: StoredWebhook, planned: Plan, sent_texts: dict[tuple[object, ...], str], now: datetime
    ) -> NewNotification | None:
        notification, routed, runtime = planned.notification, planned.routed, self._current.runtime
        if notification is None and planned.incident is None:
            return None
        status = "firing" if routed.firing else "resolved"
        self._metrics.notifications.labels(routed.receiver.name, status).inc()
        report_failures(self._metrics, planned.pages, webhook=stored.id)
        written: tuple[NewMessage, ...] = ()
        incident = planned.incident
        if incident is not None and planned.is_of_webhook:
            incident = replace(incident, webhook_id=stored.id)
        if incident is not None and notification is not None:
            written = new_messages(
                runtime, routed.receiver, incident, notification, planned.pages, stored.received_at, now
            )
            written = tuple(_sent_once(message, routed, sent_texts) for message in written)
        new = NewNotification(
            id=new_id(now),
            webhook_id=stored.id,
            receiver=routed.receiver.name,
            status=status,
            group_key=routed.group_key,
            alerts=len(routed.positions),
            received_at=stored.received_at,
            messages=written,
            change=None if incident is None else _incident_change(planned, incident),
            muted_by=", ".join(routed.muted_by) or None,
        )
        if routed.muted_by:
            self._metrics.notifications_muted.labels(routed.receiver.name).inc()
        log.info(
            "notification planned",
            notification=new.id,
            webhook=stored.id,
            receiver=routed.receiver.name,
            status=status,
            alerts=len(routed.positions),
            incident=incident and incident.number,
            alert=title(notification) if notification is not None else incident and incident.title,
            change=planned.reason,
            muted_by=new.muted_by,
            messages=[message.id for message in written],
            after=brief_duration(now - stored.received_at),
        )
        return new


def _incident_change(planned: Plan, incident: Incident) -> IncidentChange:
    """Return the change of *incident* that was *planned*, with its event unless it only repeats."""
    muted = "muted by " + ", ".join(planned.routed.muted_by) if planned.routed.muted_by else None
    is_news = planned.reason is not Reason.REPEATED
    events = (Event(planned.reason, detail=planned.detail or muted),) if is_news else ()
    return IncidentChange(incident, planned.reason is Reason.OPENED, events)


def _sent_once(
    message: NewMessage, routed: ReceiverAlerts, sent_texts: dict[tuple[object, ...], str]
) -> NewMessage:
    """Return *message*, merged into an earlier one with the same text to the same person about this webhook."""
    receiver = routed.receiver
    words = (
        message.phone,
        message.kind,
        routed.positions,
        receiver.template,
        receiver.max_parts,
        receiver.encoding,
    )
    first = sent_texts.setdefault(words, message.id)
    return message if first == message.id else replace(message, merged_into=first)


def _about(stored: StoredWebhook, webhook: Webhook | None) -> dict[str, object]:
    """Return the fields of a webhook for the log."""
    names = {alert.labels.get("alertname", "") for alert in webhook.alerts} if webhook is not None else ()
    return {
        "webhook": stored.id,
        "receiver": webhook and (stored.posted_to or webhook.receiver),
        "alert": ", ".join(sorted(filter(None, names))[:_MAX_NAMED]) or None,
    }
