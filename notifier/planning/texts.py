"""The texts that a notification needs, and the messages that are stored for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from notifier.config.model import Receiver
from notifier.delivery.message import NewMessage
from notifier.ids import new_id
from notifier.incidents.lifecycle import (
    Incident,
    Kind,
)
from notifier.rendering.compose import Text, compose, digest_entry
from notifier.rendering.context import Notification
from notifier.runtime import Runtime
from notifier.sms.recipient import Recipient


@dataclass(frozen=True, slots=True)
class OutgoingText:
    """A text to send: its recipient, the text, and its purpose."""

    recipient: Recipient
    text: Text
    kind: Kind


def outgoing_texts(
    runtime: Runtime,
    receiver: Receiver,
    notification: Notification,
    recipients: Iterable[Recipient],
    kind: Kind,
    now: datetime,
) -> tuple[OutgoingText, ...]:
    """Return the texts of *notification* for *recipients* of *receiver*."""
    style, bare = runtime.style(receiver, kind), runtime.style(receiver)
    return tuple(
        OutgoingText(
            recipient,
            compose(runtime.templates, notification, recipient, style if recipient.name else bare, now),
            kind,
        )
        for recipient in recipients
    )


def new_messages(
    runtime: Runtime,
    receiver: Receiver,
    incident: Incident,
    notification: Notification,
    written: Iterable[OutgoingText],
    received_at: datetime,
    now: datetime,
    *,
    is_called: bool = False,
) -> tuple[NewMessage, ...]:
    """Return the messages to store for the texts *written* about *incident*, for *receiver*.

    With *is_called*, the contacts among the recipients are also called.
    """
    expires_at = received_at + runtime.configuration.expire_after(receiver)
    short, rank = digest_entry(notification), runtime.severities.urgency(notification.severity)
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
            is_called=is_called and bool(page.recipient.name),
        )
        for page in written
    )
