"""What is written to the store and read from it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from notifier.incidents.lifecycle import Event, Incident, Kind
from notifier.store.schema import MessageState


class NewWebhook(NamedTuple):
    """A webhook to be stored, and the digest by which its repetitions are recognised."""

    id: str
    identity: bytes
    received_at: datetime
    posted_to: str | None
    body: bytes
    group_hash: int = 0
    """What webhooks of the same group have in common: they are planned in their order."""


@dataclass(frozen=True, slots=True)
class StoredWebhook:
    """A webhook that waits to be planned."""

    id: str
    received_at: datetime
    posted_to: str | None
    body: bytes


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that planning came to."""

    id: str
    contact: str
    phone: str
    text: str
    parts: int
    expires_at: datetime
    kind: Kind = Kind.PAGE
    incident_id: str | None = None
    step: int | None = None
    """Which taking of a step it belongs to, of those that the incident counts."""
    urgency: int = 2
    """How severe what it tells of is; 0 is the most."""
    digest_entry: str | None = None
    """What it tells of, in short, for a digest."""
    merged_into: str | None = None
    """The message that says the same to the same person, so that this one is not sent."""
    author: str | None = None
    """The user or token that requested it through the API."""


@dataclass(frozen=True, slots=True)
class IncidentChange:
    """An incident as it is to be from now on, what happened to it, and whom that is told.

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
    """What one receiver is told of a webhook, and by which messages."""

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


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way."""

    id: str
    notification_id: str | None
    receiver: str
    contact: str
    phone: str
    text: str
    parts: int
    received_at: datetime
    expires_at: datetime
    attempts: int
    incident_id: str | None = None
    kind: str = Kind.PAGE
    urgency: int = 2
    digest_entry: str | None = None
    refused_by: str | None = None
    """The accounts that refused it, with spaces between."""
    reduction: int = 0
    """How much was left out of its text, see `notifier.rendering.reduction`."""
    incident_state: str | None = None
    """The state of its incident."""
    incident_number: int | None = None
    alert: str | None = None
    """The title of its incident: names and places of its alerts."""
    webhook_id: str | None = None
    """The webhook that it is of, or the last one of its incident."""

    @property
    def refusing(self) -> frozenset[str]:
        """The accounts that refused it."""
        return frozenset(self.refused_by.split(" ")) if self.refused_by is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Reduced:
    """A message that is sent again with another text, since its content was refused."""

    message_id: str
    text: str
    parts: int
    reduction: int


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to send one text to up to 500 recipients; *tag* names it at OVHcloud."""

    tag: str
    text: str
    attempted_at: datetime
    messages: tuple[Message, ...]
    settle_attempts: int = 0
    """How often OVHcloud was asked what became of it."""
    listing_grace: timedelta = timedelta()
    """For how long after the attempt an answer that there is no such job is not believed."""
    account: str = ""
    """The account that it goes to."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a message ended."""

    message_id: str
    state: MessageState
    ovh_id: int | None = None
    error: str | None = None
    credits: float | None = None
    """What it has cost, as far as that is known."""


class Claims(NamedTuple):
    """The tags of the jobs that a process has claimed, and how many jobs of all processes are overdue."""

    own: frozenset[str]
    overdue: int


class Due(NamedTuple):
    """When the next queued message and the next unsettled job are due; None where there is none."""

    message: datetime | None
    job: datetime | None


@dataclass(frozen=True, slots=True)
class Queue:
    """What is under way: how many messages in each state, webhooks not yet planned, and since when."""

    messages: dict[str, int]
    unplanned: int
    oldest: datetime | None
    held: Mapping[str, int] = field(default_factory=dict)
    """How many messages are held, by reason; they do not count as the *oldest*."""
