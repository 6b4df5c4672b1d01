"""The fields of log lines about messages."""

from __future__ import annotations

from collections.abc import Sequence

from notifier.delivery.message import Message
from notifier.sms.phones import mask
from notifier.store.receipts import Followed


def subject_fields(message: Message | Followed) -> dict[str, object]:
    """Return the subject of *message*. All messages of a job have one text and one subject."""
    return {
        "webhook": message.webhook_id,
        "incident": message.incident_number,
        "alert": message.alert,
        "receiver": message.receiver,
    }


def recipient_fields(message: Message) -> dict[str, object]:
    """Return the recipient of *message*."""
    return {"to": message.contact or mask(message.phone), "phone": mask(message.phone)}


def message_fields(message: Message) -> dict[str, object]:
    """Return the ids, the subject and the recipient of *message*."""
    return {
        "message": message.id,
        "notification": message.notification_id,
        **subject_fields(message),
        **recipient_fields(message),
    }


def subjects_fields(messages: Sequence[Message]) -> dict[str, object]:
    """Return the subjects of several *messages*."""
    return {
        "webhooks": sorted({message.webhook_id for message in messages if message.webhook_id}),
        "incidents": sorted({one.incident_number for one in messages if one.incident_number is not None}),
        "alerts": sorted({message.alert for message in messages if message.alert}),
        "receivers": sorted({message.receiver for message in messages}),
    }
