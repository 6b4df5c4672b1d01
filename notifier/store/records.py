"""Values that are written to the store and read from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from notifier.delivery.message import NewMessage
from notifier.incidents.lifecycle import Event, Incident


class NewWebhook(NamedTuple):
    """A webhook to be stored, and the digest by which its repetitions are recognised."""

    id: str
    identity: bytes
    received_at: datetime
    posted_to: str | None
    body: bytes
    group_hash: int = 0
    """Identifies webhooks of the same group: they are planned in their order."""


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook that waits to be planned."""

    id: str
    received_at: datetime
    posted_to: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """A changed incident, its new events and messages.

    Its version is that which was read: the change is refused if it has been changed since.
    """

    incident: Incident
    is_new: bool = False
    events: tuple[Event, ...] = ()
    messages: tuple[NewMessage, ...] = ()
    withdraws_pages: bool = False
    """Whether pages of it that are still queued are not sent any more."""


@dataclass(frozen=True, slots=True)
class NewNotification:
    """The notification of one receiver about a webhook, with its messages."""

    id: str
    webhook_id: str
    receiver: str
    status: str
    group_key: str
    alerts: int
    received_at: datetime
    messages: tuple[NewMessage, ...]
    change: IncidentChange | None = None
    muted_by: str | None = None


class Claim(NamedTuple):
    """A job that is being sent: its tag, whether this process sends it, and since when."""

    tag: str
    is_own: bool
    since: datetime


class Due(NamedTuple):
    """When the next queued message and the next unsettled job are due; None if there is none."""

    message_at: datetime | None
    job_at: datetime | None


@dataclass(frozen=True, slots=True)
class Queue:
    """The work under way: messages by state, the number of unplanned webhooks, and when the oldest of all of them was
    received.
    """

    messages: dict[str, int]
    unplanned: int
    oldest: datetime | None
    held: Mapping[str, int] = field(default_factory=dict)
    """How many messages are held, by reason; they do not count as the *oldest*."""
