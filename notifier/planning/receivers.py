"""The receiver of an incident, and how those who were paged are reached now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from notifier.alertmanager.webhook import WebhookError, parse_webhook
from notifier.config.model import Receiver
from notifier.incidents.lifecycle import (
    Incident,
)
from notifier.planning.division import divide
from notifier.runtime import Runtime
from notifier.sms.recipient import Recipient
from notifier.store.paged_incidents import PagedRecipient


def successor(
    runtime: Runtime, incident: Incident, body: bytes, posted_to: str | None, now: datetime
) -> Receiver | None:
    """Return the receiver that the alerts of *incident* reach now, where its own was renamed or removed.

    *body* is its last webhook, posted for the receiver *posted_to* if it was. None if that is unknown, as without
    routes.
    """
    try:
        webhook = parse_webhook(body)
    except WebhookError:
        return None
    if runtime.configuration.receiver(posted_to or "") is None and runtime.routing.is_unknown(
        webhook.receiver
    ):
        return None
    divided = divide(runtime, webhook, posted_to, now)
    of_incident = [routed for routed in divided if routed.firing & incident.alerts]
    return next((routed.receiver for routed in (*of_incident, *divided)), None)


def recipients_of(runtime: Runtime, involved: Iterable[PagedRecipient]) -> tuple[Recipient, ...]:
    """Return how to write to those who were paged: contacts at the number they have now.

    A contact that was renamed is found by its number. Contacts that were removed from the configuration are left out.
    """
    configuration, found = runtime.configuration, dict[str, Recipient]()
    by_phone = {recipient.phone: recipient for recipient in runtime.contacts.values()}
    for one in involved:
        if one.contact in runtime.contacts:
            recipient = runtime.contacts[one.contact]
        elif one.phone in by_phone:
            recipient = by_phone[one.phone]
        elif one.phone in configuration.numbers():
            recipient = configuration.recipient(one.phone)
        else:
            continue
        found.setdefault(recipient.phone, recipient)
    return tuple(found.values())


def update_recipients(
    runtime: Runtime, receiver: Receiver, incident: Incident, involved: Sequence[Recipient], now: datetime
) -> Sequence[Recipient]:
    """Return who is notified of updates and reminders of *incident*, each number once.

    The recipients of the current step at *now*, who may have come on call after it was taken, then the holder, then
    those *involved*, who were paged before. Contacts that were removed from the configuration are left out.
    """
    steps = runtime.policy(receiver).steps
    last = len(steps) - 1
    # Step 0 comes after the last one by `repeat`, or is still to be taken.
    current = steps[min(incident.step - 1, last) if incident.step else last if incident.steps_taken else 0]
    found = {one.phone: one for one in runtime.recipients(current.notify, now)}
    if (holder := runtime.contacts.get(incident.holder or "")) is not None:
        found.setdefault(holder.phone, holder)
    numbers = {one.phone for one in runtime.recipients(receiver.everyone(), now) if not one.name}
    for one in involved:
        if one.name or one.phone in numbers:
            found.setdefault(one.phone, one)
    return tuple(found.values()) or runtime.fallback_recipients(receiver, now)
