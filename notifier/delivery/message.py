"""A message on its way, the job that sends it, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.incidents.lifecycle import Kind
from notifier.incidents.links import Link


class MessageState(StrEnum):
    """Where a message is on its way. The first four are under way; accepted ones await their receipts."""

    QUEUED = "queued"
    HELD = "held"
    """A limit of Notifier's own holds it: it waits for a digest, or for credits."""
    SENDING = "sending"
    UNSETTLED = "unsettled"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    MERGED = "merged"
    """Its text is sent with that of another message."""
    WITHDRAWN = "withdrawn"
    """It became unnecessary before it was sent."""
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"


WAITING = (MessageState.QUEUED, MessageState.HELD)
"""The states of a message that waits to be sent and is in no job."""

UNDER_WAY = (*WAITING, MessageState.SENDING, MessageState.UNSETTLED)

FAILED = (MessageState.REJECTED, MessageState.EXPIRED, MessageState.UNDELIVERED)
"""The ends of a message that did not reach anybody."""


class Hold(StrEnum):
    """Why a message is held."""

    DIGEST = "digest"
    """``limits.per_contact``: it is sent with others."""
    CREDITS = "credits"
    """``limits.credits`` is reached."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored."""

    id: str
    contact: str
    phone: str
    text: str
    parts: int
    expires_at: datetime
    kind: Kind = Kind.PAGE
    incident_id: str | None = None
    step: int | None = None
    """Number of the step that it belongs to, as `Incident.steps_taken` counts them."""
    urgency: int = 2
    """Rank of the severity of its alerts; 0 is the most severe."""
    digest_entry: str | None = None
    """Its alerts in short, for a digest."""
    merged_into: str | None = None
    """The message with the same text to the same person that is sent instead."""
    author: str | None = None
    """The user or token that requested it through the API."""
    is_called: bool = False
    """Whether its recipient is also called."""


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
    """A message that is sent again with another text, since its content was refused; None leaves the text as it is."""

    message_id: str
    text: str | None
    reduction: int


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to send one text to up to 500 recipients; *tag* names it at OVHcloud."""

    tag: str
    text: str
    attempted_at: datetime
    messages: tuple[Message, ...]
    settle_attempts: int = 0
    """How often OVHcloud was asked about it."""
    listing_grace: timedelta = timedelta()
    """Time after the attempt within which "not found" is not final."""
    account: str = ""
    """The account that it goes to."""
    link: Link | None = None
    """The link at the end of its text, which is stored without it."""

    @property
    def sent_text(self) -> str:
        """The text that is sent."""
        return self.text if self.link is None else self.text + self.link.ending


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a message."""

    message_id: str
    state: MessageState
    ovh_id: int | None = None
    error: str | None = None
    credits: float | None = None
    """Its cost; None while unknown."""
