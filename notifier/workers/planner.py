"""Planning: a stored webhook opens, joins, reminds of or resolves incidents, and messages say so.

What a webhook comes to depends on the incidents that are open. They are read first; if somebody else has
changed one when the plan is written down, it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b

import structlog

from notifier.alertmanager.durations import brief_duration
from notifier.alertmanager.webhook import Alert, Webhook, WebhookError, fingerprint, group_key, parse_webhook
from notifier.clock import is_known
from notifier.config.model import Receiver, Recipient
from notifier.delivery.message import NewMessage
from notifier.ids import new_id
from notifier.incidents.heartbeats import SEEN, beats, seen_in
from notifier.incidents.lifecycle import (
    PAGING,
    Change,
    Event,
    Incident,
    IncidentState,
    Kind,
    classify_webhook,
    escalated,
    next_step,
    resolved,
    urgency,
)
from notifier.metrics import Metrics
from notifier.planning import last_resort
from notifier.rendering.compose import (
    Notification,
    Text,
    build_notification,
    compose,
    digest_entry,
    notification_from_incident,
    since,
    title,
)
from notifier.runtime import Runtime
from notifier.store.incidents import HEARTBEATS, Involved
from notifier.store.records import IncidentChange, NewNotification, StoredWebhook
from notifier.workers.context import Context
from notifier.workers.set_aside import MOST_ATTEMPTS, isolate
from notifier.workers.worker import Worker

log = structlog.get_logger(__name__)

_BATCH = 16
_MOST_NAMED = 5
"""How many names of alerts a line of the log holds at most."""
_BATCH_BYTES = 4 * 1024 * 1024
_FEW_BYTES = 64 * 1024
_LOOK_AHEAD = timedelta(hours=1)

Key = tuple[str, str]
"""A receiver and a group key: what an incident is known by while it is open."""


@dataclass(frozen=True, slots=True)
class ReceiverAlerts:
    """The alerts of one webhook that reach one receiver, by their *positions*.

    *notification* is what the receiver is notified of, None if of nothing; *firing* are the keys of those that fire.
    """

    receiver: Receiver
    group_key: str
    positions: tuple[int, ...]
    notification: Notification | None
    firing: frozenset[str]
    muted_by: tuple[str, ...] = ()
    """The time intervals that mute all of it that fires now, or else all of it."""
    muted_until: datetime | None = None
    """When some of it is muted no longer; None if that is too far away to be known."""
    is_whole: bool = True
    """Whether the webhook told of all alerts of its group: Alertmanager may cut off some."""

    def look_at(self, now: datetime) -> datetime:
        """Return when to look again at what is muted: a reload may change the time intervals."""
        soon = now + _LOOK_AHEAD
        return soon if self.muted_until is None else min(self.muted_until, soon)

    @property
    def key(self) -> Key:
        """What its incident is known by."""
        return self.receiver.name, self.group_key


@dataclass(frozen=True, slots=True)
class OutgoingText:
    """A message that is called for."""

    recipient: Recipient
    text: Text
    kind: Kind


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one part: what it does to its incident, and whom that is told."""

    part: ReceiverAlerts
    change: Change
    incident: Incident | None
    notification: Notification | None
    pages: tuple[OutgoingText, ...] = ()
    detail: str | None = None
    is_of_webhook: bool = True
    """Whether the webhook is about the incident: it is not where alerts only move away from it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of incidents whose alerts arrive under another group key.

    *incident* goes on under the new key, *over* is resolved since all of its alerts have moved or ended, and *left*
    goes on without those.
    """

    incident: Incident | None
    over: tuple[Incident, ...] = ()
    left: tuple[Incident, ...] = ()


def alert_key(alert: Alert) -> str:
    """Return what tells *alert* from others of its group, and from itself when it fires again."""
    text = f"{alert.fingerprint or fingerprint(alert.labels)} {alert.starts_at.isoformat()}"
    return blake2b(text.encode(), digest_size=8).hexdigest()


def divide(runtime: Runtime, webhook: Webhook, posted_to: str | None, now: datetime) -> list[ReceiverAlerts]:
    """Return which alerts of *webhook*, posted for the receiver *posted_to* if it was, reach whom at *now*.

    Each alert finds its receivers by itself; the alerts that reach the same one make one notification.
    """
    configuration = runtime.configuration
    if posted_to is not None and configuration.receiver(posted_to) is None:
        posted_to = None  # it was there when the webhook was stored; the page must still reach somebody
    labels = [alert.labels for alert in webhook.alerts]
    parts = []
    beating = {p for p, one in enumerate(labels) if beats(configuration.heartbeats, one)}
    for name, every in runtime.routing.split(webhook.receiver, labels, only=posted_to).items():
        positions = [position for position in every if position not in beating]
        receiver = configuration.receiver(name)
        if not positions:
            continue
        if receiver is None:  # the configuration was checked: every route names a receiver
            raise LookupError(name)
        telling = [p for p in positions if webhook.alerts[p].status == "firing"] or positions
        muted_by, until = ((), None) if posted_to else _muted(runtime, webhook, telling, name, now)
        notification = build_notification(webhook, positions, name, send_resolved=receiver.send_resolved)
        alerts = [webhook.alerts[position] for position in positions]
        firing = frozenset(alert_key(alert) for alert in alerts if alert.status == "firing")
        if not firing and webhook.status == "firing" and webhook.truncated_alerts:  # what fires was cut off
            whole = notification or build_notification(webhook, positions, name, send_resolved=True)
            notification, firing = whole and replace(whole, status="firing"), frozenset({"truncated"})
        is_whole = not webhook.truncated_alerts
        parts.append(
            ReceiverAlerts(
                receiver,
                group_key(webhook),
                tuple(positions),
                notification,
                firing,
                muted_by,
                until,
                is_whole,
            )
        )
    return parts


def _muted(
    runtime: Runtime, webhook: Webhook, positions: Iterable[int], receiver: str, now: datetime
) -> tuple[tuple[str, ...], datetime | None]:
    """Return which time intervals mute all of the alerts for *receiver* at *now*, and until when.

    They are empty where one of the alerts is not muted. The end is None then, and where it is more than 14 days away.
    """
    routing = runtime.routing
    if not routing.intervals:
        return (), None
    ways = {
        routing.ways(webhook.receiver, webhook.alerts[position].labels, receiver) for position in positions
    }
    names = [routing.muted_by(one, now) for one in ways]
    if not all(names):
        return (), None
    every = tuple(dict.fromkeys(name for some in names for name in some))
    return every, min(filter(None, (routing.unmuted_at(one, now) for one in ways)), default=None)


def plan(
    runtime: Runtime,
    webhook: Webhook,
    part: ReceiverAlerts,
    incident: Incident | None,
    involved: Sequence[Recipient],
    number: int | None,
    now: datetime,
) -> Plan:
    """Return the plan for *part* of *webhook*.

    *incident* is the one it belongs to, of which *involved* were notified, or None; a new one gets *number*, and none
    at all if that is None.
    """
    change = classify_webhook(incident, part.firing, is_whole=part.is_whole)
    notification = part.notification
    if part.muted_by:
        return _muted_plan(described_mute(runtime, part, now), part, change, incident, number, now)
    if change is Change.OPENED and notification is not None:
        policy, asked = runtime.policy(part.receiver), dict[Sequence[str], tuple[Recipient, ...]]()

        def on_call(names: Sequence[str]) -> tuple[Recipient, ...]:
            asked[names] = runtime.recipients(names, now)
            return asked[names]

        outcome = next_step(policy, 0, 0, now, on_call)
        paged = outcome.recipients or runtime.fallback_recipients(part.receiver, now)
        notification = replace(notification, number=number)
        if number is not None:
            incident = escalated(_opened(part, notification, number, now), outcome)
        first = policy.steps[0].notify
        gap = None if asked[first] else f"nobody is on call in {', '.join(first)}"
        written = pages(runtime, part.receiver, notification, paged, Kind.PAGE, now)
        return Plan(part, change, incident, notification, written, detail=gap)
    if incident is None or change is Change.NOTHING:
        return Plan(part, Change.NOTHING, None, notification)
    if notification is not None:
        notification = replace(notification, number=incident.number)
    match change:
        case Change.RESOLVED:
            recipients = involved if part.receiver.send_resolved else ()
            return _notifying(
                runtime, part, change, resolved(incident, now), notification, recipients, Kind.RESOLVED, now
            )
        case Change.JOINED:
            return _joining_plan(runtime, webhook, part, incident, involved, now)
        case Change.REPEATED if incident.state is IncidentState.OPEN and incident.steps_taken:
            recipients = _concerned(runtime, part.receiver, incident, involved, now)
            return _notifying(
                runtime, part, change, _joined(incident, part), notification, recipients, Kind.REMINDER, now
            )
        case Change.REPLACED:  # nobody has what fires now: it is paged like something new
            return Plan(part, change, replace(_joined(incident, part), due_at=now), notification)
    return Plan(part, change, _joined(incident, part), notification)


def _joining_plan(
    runtime: Runtime,
    webhook: Webhook,
    part: ReceiverAlerts,
    incident: Incident,
    involved: Sequence[Recipient],
    now: datetime,
) -> Plan:
    """Return the plan for a part with alerts that are new to *incident*: those involved are notified."""
    after = _joined(incident, part)
    if not incident.steps_taken and incident.state is IncidentState.OPEN:
        # It was muted: now the first step comes at once, and tells of all.
        return Plan(part, Change.JOINED, replace(after, due_at=now), part.notification)
    keys = part.firing - incident.alerts
    new = [position for position in part.positions if alert_key(webhook.alerts[position]) in keys]
    recipients = _concerned(runtime, part.receiver, incident, involved, now)
    notification = build_notification(webhook, new, part.receiver.name) if involved else part.notification
    if notification is not None:
        notification = replace(notification, number=incident.number)
    return _notifying(runtime, part, Change.JOINED, after, notification, recipients, Kind.UPDATE, now)


def _notifying(
    runtime: Runtime,
    part: ReceiverAlerts,
    change: Change,
    incident: Incident,
    notification: Notification | None,
    recipients: Sequence[Recipient],
    kind: Kind,
    now: datetime,
) -> Plan:
    """Return a plan that notifies *recipients* of *incident*, by messages of *kind*."""
    if notification is None:
        return Plan(part, change, incident, None)
    if kind in PAGING:
        notification = replace(notification, reason=kind.value)
    return Plan(
        part,
        change,
        incident,
        notification,
        pages(runtime, part.receiver, notification, recipients, kind, now),
    )


def move(part: ReceiverAlerts, ended: frozenset[str], others: Iterable[Incident]) -> Move:
    """Return what becomes of the open incidents *others*, of which some alerts are in *part* of another group.

    The group of an alert changes when ``group_by`` or a route is edited while it fires. An incident moves to the new
    group if all that fires in it is in the part; else it only loses those alerts. Of several that move, an open one
    goes on rather than one that somebody has acknowledged: a page must not get lost.

    Args:
        part: the alerts of a webhook for a receiver, for whose key no incident is open.
        ended: the keys of those of its alerts that are resolved.
        others: incidents with some of these alerts.
    """
    arriving = part.firing or ended
    whole: list[Incident] = []
    partly: list[Incident] = []
    for incident in others:
        is_candidate = incident.receiver == part.receiver.name and bool(incident.firing & arriving)
        if is_candidate and not incident.group_key.startswith(HEARTBEATS):
            (whole if incident.firing <= arriving else partly).append(incident)
    whole.sort(key=lambda one: (one.state is not IncidentState.OPEN, one.id))
    kept = None
    if whole:
        known = frozenset[str]().union(*(one.alerts for one in whole))
        # What fires is compared with nothing: what is known already is no reminder under its new key.
        kept = replace(whole[0], group_key=part.group_key, alerts=known, firing=frozenset())
    without = tuple(replace(one, firing=one.firing - arriving) for one in partly)
    return Move(kept, tuple(whole[1:]), without)


def left(
    runtime: Runtime, webhook: Webhook, incident: Incident, involved: Sequence[Recipient], now: datetime
) -> Plan:
    """Return what becomes of *incident* when *webhook*, of its group, has no alert for its receiver.

    Its alerts are over, or since a change of the configuration they reach others: then nobody is told.
    """
    receiver = receiver_of(runtime, incident)
    firing = {alert_key(alert) for alert in webhook.alerts if alert.status == "firing"}
    notification = notification_from_incident(
        incident.title, incident.labels, incident.opened_at, receiver.name, incident.group_key, ended_at=now
    )
    notification = replace(notification, number=incident.number)
    part = ReceiverAlerts(receiver, incident.group_key, (), notification, frozenset())
    if firing & incident.alerts:
        detail = "its alerts reach other receivers now"
        return Plan(part, Change.RESOLVED, resolved(incident, now), notification, detail=detail)
    recipients = involved if receiver.send_resolved else ()
    return _notifying(
        runtime, part, Change.RESOLVED, resolved(incident, now), notification, recipients, Kind.RESOLVED, now
    )


def receiver_of(runtime: Runtime, incident: Incident) -> Receiver:
    """Return the receiver of *incident*; the first one where it is not configured any more: somebody must be paged."""
    return runtime.configuration.receiver(incident.receiver) or runtime.configuration.receivers[0]


def successor(
    runtime: Runtime, incident: Incident, body: bytes, posted_to: str | None, now: datetime
) -> Receiver | None:
    """Return the receiver that the alerts of *incident* reach now, where its own was renamed or removed.

    *body* is its last webhook, posted for the receiver *posted_to* if it was. None where that cannot be said, as
    without routes.
    """
    try:
        webhook = parse_webhook(body)
    except WebhookError:
        return None
    if runtime.configuration.receiver(posted_to or "") is None and runtime.routing.is_unknown(
        webhook.receiver
    ):
        return None
    parts = divide(runtime, webhook, posted_to, now)
    of_incident = [part for part in parts if part.firing & incident.alerts]
    return next((part.receiver for part in (*of_incident, *parts)), None)


def _concerned(
    runtime: Runtime, receiver: Receiver, incident: Incident, involved: Sequence[Recipient], now: datetime
) -> Sequence[Recipient]:
    """Return who is notified of what joins *incident* or repeats, each number once.

    Those whom the current step means at *now*, who may have come on duty after it was taken, then the holder, then
    those *involved*, who were paged before. Whoever was removed from the configuration is left out.
    """
    steps = runtime.policy(receiver).steps
    last = len(steps) - 1
    # Step 0 comes after the last one by `repeat`, or is still to be taken.
    current = steps[min(incident.step - 1, last) if incident.step else last if incident.steps_taken else 0]
    names = {contact.name for contact in runtime.configuration.contacts}
    found = {one.phone: one for one in runtime.recipients(current.notify, now)}
    if incident.holder in names:
        holder = runtime.configuration.recipient(str(incident.holder))
        found.setdefault(holder.phone, holder)
    numbers = {one.phone for one in runtime.recipients(receiver.everyone(), now) if not one.name}
    for one in involved:
        if one.name or one.phone in numbers:
            found.setdefault(one.phone, one)
    return tuple(found.values()) or runtime.fallback_recipients(receiver, now)


def described_mute(runtime: Runtime, part: ReceiverAlerts, now: datetime) -> str:
    """Return how *part* is muted, for people: ``outside office-hours``; empty if it is not."""
    return ", ".join(runtime.routing.describe(name, now) for name in part.muted_by)


def _muted_plan(
    mute: str,
    part: ReceiverAlerts,
    change: Change,
    incident: Incident | None,
    number: int | None,
    now: datetime,
) -> Plan:
    """Return what becomes of a part that is muted: nobody is told; what opens is paged when it is heard again."""
    if change is Change.OPENED and part.notification is not None and number is not None:
        opened = replace(
            _opened(part, part.notification, number, now),
            due_at=part.look_at(now),
            muted_by=mute,
            muted_until=part.muted_until,
        )
        return Plan(part, change, opened, part.notification)
    if change is Change.RESOLVED and incident is not None:
        return Plan(part, change, resolved(incident, now), part.notification)
    if incident is None:
        return Plan(part, Change.NOTHING, None, part.notification)
    if change in (Change.JOINED, Change.REPLACED):  # whose alerts stay unknown until they are heard
        if incident.steps_taken or incident.state is IncidentState.ACKNOWLEDGED:
            change = change if incident.unmute_at is None else Change.REPEATED
            incident = replace(incident, unmute_at=part.look_at(now))
        else:
            due_at = min(filter(None, (incident.due_at, part.look_at(now))))
            incident = replace(_joined(incident, part), due_at=due_at)
    return Plan(part, change, incident, part.notification)


def _joined(incident: Incident, part: ReceiverAlerts) -> Incident:
    """Return *incident* with the alerts of *part*, its labels those that all of them share."""
    labels = incident.labels
    if part.notification is not None:
        shared = {**part.notification.common_labels, **part.notification.group_labels}
        labels = {name: value for name, value in labels.items() if shared.get(name) == value}
    alerts = incident.alerts | part.firing
    severities = (incident.severity, part.notification.severity if part.notification is not None else "")
    severity = min(filter(None, severities), key=urgency, default="")
    return replace(
        incident,
        alerts=alerts,
        firing=part.firing,
        labels=labels,
        severity=severity,
        unmute_at=None,
        muted_by="" if not part.muted_by else incident.muted_by,
    )


def _opened(part: ReceiverAlerts, notification: Notification, number: int, now: datetime) -> Incident:
    return Incident(
        id=new_id(now),
        number=number,
        receiver=part.receiver.name,
        group_key=part.group_key,
        state=IncidentState.OPEN,
        title=title(notification),
        labels={**notification.common_labels, **notification.group_labels},
        alerts=part.firing,
        firing=part.firing,
        webhook_id=None,
        opened_at=now,
        began_at=_began(notification, now),
        severity=notification.severity,
    )


def _began(notification: Notification, now: datetime) -> datetime | None:
    """Return when the alerts of a notification began to fire, `now` at the latest; None if it is not known."""
    began = since(notification.alerts) or now
    return min(now, began) if is_known(began) else None


def pages(
    runtime: Runtime,
    receiver: Receiver,
    notification: Notification,
    recipients: Iterable[Recipient],
    kind: Kind,
    now: datetime,
) -> tuple[OutgoingText, ...]:
    """Return the texts of *notification* for *recipients* of *receiver*."""
    style = runtime.style(receiver)
    return tuple(
        OutgoingText(recipient, compose(runtime.templates, notification, recipient, style, now), kind)
        for recipient in recipients
    )


def preview(runtime: Runtime, webhook: Webhook, posted_to: str | None, now: datetime) -> list[Plan]:
    """Return what *webhook* would come to if nothing was open: a page for what fires, or what resolution says."""
    plans = []
    for part in divide(runtime, webhook, posted_to, now):
        planned = plan(runtime, webhook, replace(part, muted_by=()), None, (), None, now)
        if planned.change is Change.NOTHING and part.notification is not None:
            recipients = runtime.recipients(part.receiver.notify, now)
            written = pages(runtime, part.receiver, part.notification, recipients, Kind.RESOLVED, now)
            planned = replace(planned, pages=written)
        plans.append(planned)
    return plans


def new_messages(
    runtime: Runtime,
    receiver: Receiver,
    incident: Incident,
    notification: Notification,
    written: Iterable[OutgoingText],
    received_at: datetime,
    now: datetime,
) -> tuple[NewMessage, ...]:
    """Return *written* as they are stored: what *incident* has *receiver* told."""
    expires_at = received_at + runtime.configuration.expire_after(receiver)
    short, rank = digest_entry(notification), urgency(notification.severity)
    return tuple(
        NewMessage(
            id=new_id(now),
            contact=page.recipient.name,
            phone=page.recipient.phone,
            text=page.text.text,
            parts=page.text.size.parts,
            expires_at=expires_at,
            kind=page.kind,
            incident_id=incident.id,
            step=incident.steps_taken if page.kind is Kind.PAGE else None,
            urgency=rank,
            digest_entry=short,
        )
        for page in written
    )


def report_failures(metrics: Metrics, written: Iterable[OutgoingText], **about: object) -> None:
    """Log and count the templates that failed."""
    for page in written:
        if (failure := page.text.failure) is not None:
            metrics.template_errors.labels(failure.template).inc()
            log.error(
                "template failed, a built-in text goes out",
                **about,
                template=failure.template,
                file=f"{failure.file}:{failure.line}",
                error=failure.reason,
            )


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored webhook, parsed, and its alerts by receiver."""

    stored: StoredWebhook
    webhook: Webhook
    parts: list[ReceiverAlerts]


@dataclass(frozen=True, slots=True)
class _Open:
    """The open incidents of the groups in a batch, numbers for new ones, and *others* that hold some of the alerts."""

    incidents: Mapping[Key, Incident]
    numbers: Mapping[Key, int]
    others: Sequence[Incident]


def ended_in(webhook: Webhook, part: ReceiverAlerts) -> frozenset[str]:
    """Return the keys of the alerts of *part* that are resolved."""
    alerts = (webhook.alerts[position] for position in part.positions)
    return frozenset(alert_key(alert) for alert in alerts if alert.status == "resolved")


def _moved(part: ReceiverAlerts, moving: Move, now: datetime) -> Iterator[Plan]:
    """Yield what becomes of the incidents that alerts have moved from; nobody is notified."""
    to = (
        f"its alerts moved to #{moving.incident.number}"
        if moving.incident
        else "its alerts moved to another group"
    )
    for one in moving.over:
        of_one = ReceiverAlerts(part.receiver, one.group_key, (), None, frozenset())
        yield Plan(of_one, Change.RESOLVED, resolved(one, now), None, detail=to, is_of_webhook=False)
    for one in moving.left:
        of_one = ReceiverAlerts(part.receiver, one.group_key, (), None, one.firing)
        detail = f"some of {to}"
        yield Plan(of_one, Change.SHIFTED, one, None, detail=detail, is_of_webhook=False)


class Planner(Worker):
    """Plans what the intake stored."""

    name = "planner"
    longest_work = 60.0  # pages wait for it, and it makes no calls

    def __init__(self, context: Context, send: Callable[[], None]) -> None:
        """Prepare to plan webhooks; *send* is called when there are messages to send."""
        super().__init__(context, idle=1.0)
        self._send = send
        self._groups: dict[str, str] = {}  # the groups of the webhooks that are set aside
        self._behind: dict[str, str] = {}  # which webhook, set aside, another of its group waits for

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
                planned.append((read.stored.id, self._plan(read, known, now)))
                seen |= dict.fromkeys(self._beats(read.webhook), read.stored.received_at)
        with self._context.backpressure.limited_share():
            refused = self._store.webhooks.add_plans(planned, self._clock(), seen).result()
        self._send()
        for read in batch:
            if read.stored.id in refused:
                log.info("incident was changed meanwhile, planning again", webhook=read.stored.id)
            else:
                self.set_aside.discard(read.stored.id)
        return [id_ for id_, _ in planned if id_ not in refused]

    def _fail(self, read: _Read, error: Exception) -> None:
        self._set_aside(read.stored, read.webhook, error)

    def _set_aside(self, stored: StoredWebhook, webhook: Webhook | None, error: Exception) -> None:
        """Try a webhook again later, and others of its group after it; page with a built-in text in the end."""
        now = self._clock()
        attempts = self.set_aside.add(stored.id, error, now)
        self._groups[stored.id] = group_key(webhook) if webhook is not None else ""
        log.error("planning failed", **_about(stored, webhook), attempts=attempts, exc_info=error)
        if attempts < MOST_ATTEMPTS:
            return

        def page() -> bool:
            pages = last_resort.page_of(self._current.runtime, stored, now)
            self._store.webhooks.add_plans([(stored.id, pages)], now).result()
            return bool(pages)

        if self.resort(page, webhook=stored.id):
            self.set_aside.discard(stored.id)
            self._send()

    def _read(self, todo: Sequence[StoredWebhook], waiting: Collection[str], now: datetime) -> list[_Read]:
        """Return the webhooks that are planned now: of each group the oldest, none of a group that waits."""
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
                    parts = divide(runtime, webhook, stored.posted_to, now)
                except Exception as error:  # whatever is wrong with one webhook must not delay the others
                    self._set_aside(stored, webhook, error)
                    continue
            touched.add(group)
            batch.append(_Read(stored, webhook, parts))
        return batch

    def _incidents(self, batch: Iterable[_Read]) -> _Open:
        """Return the incidents that are open, those that alerts may move from, and numbers for new ones."""
        parts = [(read, part) for read in batch for part in read.parts]
        open_ = self._store.incidents.find({group_key(read.webhook) for read in batch})
        unknown = [(read, part) for read, part in parts if part.key not in open_]
        keys = {key for read, part in unknown for key in part.firing | ended_in(read.webhook, part)}
        others = self._store.incidents.with_alerts(keys) if keys else []
        new = [part.key for _, part in unknown if part.firing]
        numbers = dict(zip(new, self._store.incidents.numbers(len(new)) if new else (), strict=True))
        return _Open(open_, numbers, others)

    def _plan(self, read: _Read, known: _Open, now: datetime) -> list[NewNotification]:
        stored, webhook, runtime = read.stored, read.webhook, self._current.runtime
        if stored.posted_to is None and runtime.routing.is_unknown(webhook.receiver):
            self._metrics.webhooks_unknown_receiver.inc()
            log.warning("unknown receiver, the first one is paged", **_about(stored, webhook))
        plans: list[Plan] = []
        moved: set[str] = set()
        for part in read.parts:
            incident = known.incidents.get(part.key)
            if incident is None:
                others = [one for one in known.others if one.id not in moved]
                moving = move(part, ended_in(webhook, part), others)
                incident = moving.incident
                plans += _moved(part, moving, now)
                moved |= {one.id for one in (moving.incident, *moving.over, *moving.left) if one is not None}
            involved = self._involved(incident) if incident is not None else ()
            planned = plan(runtime, webhook, part, incident, involved, known.numbers.get(part.key), now)
            plans.append(planned)
            if not planned.pages:
                log.info(
                    "nothing to send",
                    **{**_about(stored, webhook), "receiver": part.key[0]},
                    incident=planned.incident and planned.incident.number,
                    change=planned.change,
                )
        for incident in self._strays(stored, webhook, read.parts, known.incidents):
            if incident.id not in moved:
                plans.append(left(runtime, webhook, incident, self._involved(incident), now))
        said: dict[tuple[object, ...], str] = {}
        notes = (self._stored_form(stored, planned, said, now) for planned in plans)
        return [note for note in notes if note is not None]

    def _strays(
        self,
        stored: StoredWebhook,
        webhook: Webhook,
        parts: Iterable[ReceiverAlerts],
        open_: Mapping[Key, Incident],
    ) -> Iterator[Incident]:
        """Return the incidents of the same group that *webhook* has no alerts for any more.

        Those that another address or another of Alertmanager's receivers has told of are not meant.
        """
        if webhook.truncated_alerts:
            return
        group, keys = group_key(webhook), {part.key for part in parts}
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
        return recipients_of(self._current.runtime, self._store.incidents.involved(incident.id))

    def _stored_form(
        self, stored: StoredWebhook, planned: Plan, said: dict[tuple[object, ...], str], now: datetime
    ) -> NewNotification | None:
        notification, part, runtime = planned.notification, planned.part, self._current.runtime
        if notification is None and planned.incident is None:
            return None
        status = "firing" if part.firing else "resolved"
        self._metrics.notifications.labels(part.receiver.name, status).inc()
        report_failures(self._metrics, planned.pages, webhook=stored.id)
        incident = planned.incident
        written: tuple[NewMessage, ...] = ()
        change = None
        if incident is not None:
            if planned.is_of_webhook:
                incident = replace(incident, webhook_id=stored.id)
            if notification is not None:
                written = new_messages(
                    runtime, part.receiver, incident, notification, planned.pages, stored.received_at, now
                )
                written = tuple(_said_once(message, part, said) for message in written)
            muted = "muted by " + ", ".join(part.muted_by) if part.muted_by else None
            is_news = planned.change is not Change.REPEATED
            events = (Event(planned.change.value, detail=planned.detail or muted),) if is_news else ()
            change = IncidentChange(incident, planned.change is Change.OPENED, events)
        new = NewNotification(
            id=new_id(now),
            webhook_id=stored.id,
            receiver=part.receiver.name,
            status=status,
            group_key=part.group_key,
            alerts=len(part.positions),
            received_at=stored.received_at,
            messages=written,
            change=change,
            muted_by=", ".join(part.muted_by) or None,
        )
        if part.muted_by:
            self._metrics.notifications_muted.labels(part.receiver.name).inc()
        log.info(
            "notification planned",
            notification=new.id,
            webhook=stored.id,
            receiver=part.receiver.name,
            status=status,
            alerts=len(part.positions),
            incident=incident and incident.number,
            alert=title(notification) if notification is not None else incident and incident.title,
            change=planned.change,
            muted_by=new.muted_by,
            messages=[message.id for message in written],
            after=brief_duration(now - stored.received_at),
        )
        return new


def _said_once(message: NewMessage, part: ReceiverAlerts, said: dict[tuple[object, ...], str]) -> NewMessage:
    """Return *message*, as merged into one before it which tells the same person the same of this webhook."""
    receiver = part.receiver
    words = (
        message.phone,
        message.kind,
        part.positions,
        receiver.template,
        receiver.max_parts,
        receiver.encoding,
    )
    first = said.setdefault(words, message.id)
    return message if first == message.id else replace(message, merged_into=first)


def _about(stored: StoredWebhook, webhook: Webhook | None) -> dict[str, object]:
    """Return what names a webhook in the log, with what could be read of it."""
    names = {alert.labels.get("alertname", "") for alert in webhook.alerts} if webhook is not None else ()
    return {
        "webhook": stored.id,
        "receiver": webhook and (stored.posted_to or webhook.receiver),
        "alert": ", ".join(sorted(filter(None, names))[:_MOST_NAMED]) or None,
    }


def recipients_of(runtime: Runtime, involved: Iterable[Involved]) -> tuple[Recipient, ...]:
    """Return how to write to those who were paged: contacts at the number they have now.

    A contact that was renamed is found by its number. Whoever left the configuration is left out.
    """
    configuration, found = runtime.configuration, dict[str, Recipient]()
    names = {contact.name for contact in configuration.contacts}
    for one in involved:
        if one.contact in names:
            recipient = configuration.recipient(one.contact)
        elif one.phone in configuration.numbers():
            every = (configuration.recipient(name) for name in names)
            recipient = next((r for r in every if r.phone == one.phone), configuration.recipient(one.phone))
        else:
            continue
        found.setdefault(recipient.phone, recipient)
    return tuple(found.values())
