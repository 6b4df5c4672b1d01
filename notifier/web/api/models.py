"""The answers of the API; the OpenAPI document is generated from these models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from notifier.delivery.calls import CallState
from notifier.delivery.message import Hold, MessageState
from notifier.incidents import lifecycle
from notifier.incidents.lifecycle import Kind, ShownState
from notifier.oncall import schedules
from notifier.sms.phones import mask
from notifier.store.fallbacks import FallbackAttempt
from notifier.store.incidents import HappenedEvent
from notifier.store.ledger import Attempt as StoredAttempt
from notifier.store.ledger import LedgerMessage
from notifier.store.ledger import MessageDetails as Details
from notifier.store.schema import JobState
from notifier.timeline import message_timeline
from notifier.workers.actions import Via


def _rfc3339(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def _one_of(choices: Iterable[str]) -> object:
    """Return the schema of a text that is one of *choices*; another value in the database is shown unchanged."""
    return WithJsonSchema({"type": "string", "enum": list(choices)})


_Kind = Annotated[str, _one_of(Kind)]
_MessageState = Annotated[str, _one_of(MessageState)]
_CallState = Annotated[str, _one_of(CallState)]
_JobState = Annotated[str, _one_of(JobState)]
_IncidentState = Annotated[str, _one_of(ShownState)]
_Via = Annotated[str, _one_of(Via)]
_Hold = Annotated[str, _one_of(Hold)]
_EMPTY_IS_NULL = BeforeValidator(lambda value: value or None)
_TextOrNull = Annotated[str | None, _EMPTY_IS_NULL]
Time = Annotated[
    datetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "RFC 3339 in UTC."}),
]


M = TypeVar("M", bound=BaseModel)


def _copied(model: type[M], source: object, **others: object) -> M:
    """Return a *model* with the attributes of *source* of the same names, except for the *others*."""
    same = {name: getattr(source, name) for name in model.model_fields if name not in others}
    return model(**same, **others)


def _hidden(model: type[M], source: StoredAttempt | FallbackAttempt, hide: Callable[[str], str]) -> M:
    """Return *source* as a *model*; *hide* masks numbers and secrets in its error."""
    return _copied(model, source, error=source.error and hide(source.error))


class Error(BaseModel):
    """Why a request was refused, for people."""

    error: str


class Incident(BaseModel):
    """A group of alerts of one receiver, from its first page until it is resolved."""

    id: str
    number: int = Field(
        json_schema_extra={"minimum": 1, "maximum": 2**31 - 1},
        description="The number in texts: 1 to 999, used again; higher if 999 incidents are open.",
    )
    receiver: str
    group_key: str
    state: _IncidentState
    title: str
    labels: dict[str, str] = Field(description="The labels that its alerts share.")
    opened_at: Time
    began_at: Time | None = Field(
        description="Start of the most severe alerts of its first page; null where it is not known."
    )
    acknowledged_by: str | None
    acknowledged_via: Annotated[_Via | None, _EMPTY_IS_NULL]
    acknowledged_at: Time | None
    next_step_at: Time | None = Field(description="When the next escalation step is due.")
    muted_by: _TextOrNull = Field(description="The time intervals that mute it.")
    muted_until: Time | None = Field(
        description="When the mute ends; null if it is not muted, or the end is more than 14 days away."
    )
    silenced_by: _TextOrNull = Field(
        description="Who silenced all of its alerts in Alertmanager; inhibition if other alerts inhibit them."
    )
    silence_comment: _TextOrNull = Field(description="Why they are silenced.")
    silenced_until: Time | None = Field(description="When the silence ends; null while unknown.")
    resolved_at: Time | None

    @classmethod
    def of(cls, incident: lifecycle.Incident) -> Incident:
        """Return *incident* as the API shows it."""
        return _copied(cls, incident, state=incident.shown_state)


class Event(BaseModel):
    """A change of an incident."""

    at: Time
    kind: str = Field(description="The reason, as opened, escalated, acknowledged or resolved.")
    by: str | None
    via: str | None
    detail: str | None


class Message(BaseModel):
    """An SMS to one number, from when it is written down until its delivery receipt."""

    id: str
    incident: str | None = Field(description="The id of its incident.")
    receiver: str
    kind: _Kind
    author: str | None = Field(description="The user or token that asked for a text by the API.")
    to: str | None = Field(description="The contact; null for a bare number.")
    phone: str = Field(description="Masked.")
    text: str
    parts: int
    credits: float | None = Field(description="The credits charged; null until OVHcloud reports them.")
    state: _MessageState
    error: str | None
    attempts: int
    ovh_id: int | None
    ptt: int | None = Field(description="The code of the delivery receipt.")
    merged_into: str | None = Field(description="The id of the digest that it is sent in.")
    held_for: _Hold | None = Field(
        description="The limit that held it last: `digest` is limits.per_contact, `credits` is limits.credits."
    )
    created_at: Time
    received_at: Time = Field(description="When the webhook, reply or request behind it was received.")
    due_at: Time = Field(
        description="When it is to be sent; later than created_at after a failed attempt, or while it is held."
    )
    sent_at: Time | None = Field(
        description="When the last attempt began; the earlier ones are in `tries` of the message."
    )
    accepted_at: Time | None = Field(description="When OVHcloud accepted it.")
    delivered_at: Time | None

    @classmethod
    def of(cls, message: LedgerMessage, hide: Callable[[str], str]) -> Message:
        """Return *message* as the API shows it; *hide* masks numbers and secrets in its error."""
        return _copied(
            cls,
            message,
            incident=message.incident_id,
            to=message.contact or None,
            phone=mask(message.phone),
            error=message.error and hide(message.error),
            accepted_at=message.finished_at if message.ovh_id is not None else None,
        )


class IncidentDetails(Incident):
    """An incident with its events and messages."""

    events: list[Event]
    messages: list[Message]

    @classmethod
    def with_history(
        cls, incident: lifecycle.Incident, events: Iterable[HappenedEvent], messages: list[Message]
    ) -> IncidentDetails:
        """Return *incident* with what happened to it."""
        own = Incident.of(incident)
        return cls(**dict(own), events=[_copied(Event, event) for event in events], messages=messages)


class Attempt(BaseModel):
    """An attempt to send a message: one job at OVHcloud."""

    tag: str = Field(description="The job's tag at OVHcloud.")
    at: Time
    answered_at: Time | None = Field(
        description="When OVHcloud answered; if its answer was lost, when it was known whether it had accepted it."
    )
    state: _JobState
    text: str
    error: str | None
    query_id: str | None = Field(description="OVHcloud's id of the call, for its support.")
    account: _TextOrNull


class Fallback(BaseModel):
    """An attempt to send a message through a second channel."""

    at: Time
    service: str = Field(description="The service, as E-Mail or ntfy.")
    error: str | None = Field(description="Why it failed; null if it was sent.")


class PhoneCall(BaseModel):
    """The phone call to the recipient of a page."""

    state: _CallState
    called_at: Time | None
    finished_at: Time | None
    detail: str | None = Field(description="How it ended, or why it failed.")


class TimelineLine(BaseModel):
    """One thing that happened."""

    at: Time
    what: str = Field(description="A word to search for, as received, tried, accepted or delivered.")
    detail: str


class MessageDetails(Message):
    """A message with its webhook, its attempts, the messages merged into it, and its timeline."""

    webhook: str | None = Field(description="The id of the webhook that led to it.")
    tries: list[Attempt]
    fallbacks: list[Fallback]
    call: PhoneCall | None
    merged: list[Message]
    timeline: list[TimelineLine]

    @classmethod
    def with_timeline(cls, details: Details, hide: Callable[[str], str]) -> MessageDetails:
        """Return *details* as the API shows them; *hide* masks numbers and secrets in errors."""
        call = details.call
        return cls(
            **dict(Message.of(details.message, hide)),
            webhook=details.origin and details.origin.webhook_id,
            tries=[_hidden(Attempt, one, hide) for one in details.attempts],
            fallbacks=[_hidden(Fallback, one, hide) for one in details.fallbacks],
            call=call and _copied(PhoneCall, call, detail=call.detail and hide(call.detail)),
            merged=[Message.of(message, hide) for message in details.merged],
            timeline=[
                TimelineLine(at=line.at, what=line.what, detail=hide(line.detail))
                for line in message_timeline(details)
            ],
        )


class Shift(BaseModel):
    """A contact's time on call; a null contact is a gap."""

    schedule: str
    contact: str | None
    start: str
    end: str

    @classmethod
    def of(cls, shift: schedules.Shift) -> Shift:
        """Return *shift* as the API shows it."""
        return cls.model_validate(schedules.shift_json(shift))


class Incidents(BaseModel):
    """A list of incidents."""

    items: list[Incident]
    next: str | None = Field(description="The cursor of the following items; null at the end.")


class Messages(BaseModel):
    """A list of messages."""

    items: list[Message]
    next: str | None = Field(description="The cursor of the following items; null at the end.")


class Shifts(BaseModel):
    """A list of shifts."""

    items: list[Shift]
    next: None = Field(description="Always null: all shifts are in one list.")
