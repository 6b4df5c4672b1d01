"""The answers of OVHcloud's API, as typed models."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
)

from notifier.clock import clamp

Id = Annotated[int, Field(ge=0, lt=2**63)]
"""An id of OVHcloud's (``long`` in its schema): every database can store it."""

Code = Annotated[int, Field(ge=-(2**31), lt=2**31)]

Instant = Annotated[datetime, AfterValidator(clamp)]


def _credits(value: Any) -> float | None:
    """Return *value* as a number, None if it is NaN, infinite, too large or no number: Python reads all from JSON."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


Credits = Annotated[float | None, BeforeValidator(_credits)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Sent(_Answer):
    """The answer to a job: which of OVHcloud's ids each receiver got, in order, and who is invalid."""

    ids: tuple[Id, ...]
    valid_receivers: tuple[str, ...] = Field(alias="validReceivers")
    invalid_receivers: tuple[str, ...] = Field(default=(), alias="invalidReceivers")
    total_credits_removed: Credits = Field(default=None, alias="totalCreditsRemoved")
    credits_left: Credits = Field(default=None, alias="creditsLeft")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a job, with OVHcloud's query id for its support."""

    sent: Sent
    query_id: str | None
    service_name: str | None = None


class Outgoing(_Answer):
    """A message that OVHcloud knows, pending or in its history."""

    id: Id
    receiver: str
    tag: str | None = None
    message: str | None = None
    delivery_receipt: Code | None = Field(default=None, alias="deliveryReceipt")
    ptt: Code | None = None
    delivered_at: Instant | None = Field(default=None, alias="deliveredAt")
    credits: Credits = None


def _storable(text: str) -> str:
    """Return *text* without what no text may hold: half an emoji, as of a reply that was cut in two, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")


class Incoming(_Answer):
    """A reply."""

    id: Id
    sender: str
    message: Annotated[str, AfterValidator(_storable)] = ""
    creation_datetime: Instant = Field(alias="creationDatetime")
    tag: str | None = None
    """The tag of the job that it replies to, where OVHcloud knows it."""


REASONS = {
    1: "retrying: a problem of the phone",
    2: "retrying: a problem of the operator",
    3: "accepted by the operator",
    4: "delivered",
    5: "undelivered, no detail",
    6: "outcome unknown",
    8: "expired",
    20: "undeliverable in this form",
    21: "the subscriber has no credit",
    23: "number invalid, blacklisted or barred",
    24: "absent, phone off",
    25: "a temporary fault of the operator",
    26: "a temporary fault of the phone, or its SIM is full",
    27: "the handset cannot receive this",
    28: "taken for spam",
    29: "content not permitted",
    33: "parental lock",
    39: "a new failure of the operator",
    73: "ported, unreachable",
    74: "roaming",
    76: "blocked for this client",
    202: "blocked for this client",
}
"""What each ``ptt`` of OVHcloud's guides means."""


class Ptt(_Answer):
    """The meaning of a ``ptt``."""

    comment: str = ""
    description: str = ""


class Account(_Answer):
    """An SMS account."""

    name: str | None = None
    status: str = "enable"
    credits_left: Credits = Field(default=None, alias="creditsLeft")


class SenderName(_Answer):
    """A declared sender. *status*: enable, disable, refused or waitingValidation."""

    sender: str
    status: str


def _instant_or_none(value: Any) -> datetime | None:
    """Return *value* as a time, None if it is none: it must not hide what else is known."""
    try:
        return TypeAdapter(Instant).validate_python(value)
    except ValidationError:
        return None


def _text_or_none(value: Any) -> str | None:
    return None if value is None else str(value)[:100]


_MaybeInstant = Annotated[datetime | None, BeforeValidator(_instant_or_none)]
_MaybeText = Annotated[str | None, BeforeValidator(_text_or_none)]


class AutomaticCall(_Answer):
    """A phone call by ``automaticCall`` (``telephony.CallsGenerated`` in OVHcloud's schema)."""

    answered_at: _MaybeInstant = Field(default=None, alias="answerDatetime")
    hung_up_at: _MaybeInstant = Field(default=None, alias="hangupDatetime")
    hangup_cause: _MaybeText = Field(default=None, alias="hangupCause")
    dtmf: _MaybeText = None
    """The keys that were pressed, with commas between."""


class ConsumerKey(_Answer):
    """A consumer key, of use once a person has opened *validation_url*."""

    consumer_key: str = Field(alias="consumerKey")
    validation_url: str = Field(alias="validationUrl")

    @property
    def secret(self) -> SecretStr:
        """The key, as configurations hold it."""
        return SecretStr(self.consumer_key)


def e164(number: str) -> str:
    """Return a number of OVHcloud's, or of the configuration, with ``+`` and digits alone."""
    digits = "".join(c for c in number if c.isdecimal())
    return "+" + digits.removeprefix("00")


_SENDER_NUMBER = re.compile(r"(?:\+|00)?(\d{8,15})", re.ASCII)


def number_of(sender: str) -> str:
    """Return the number of who sent a reply, as E.164; any other *sender* unchanged.

    A sender that is a text with digits in it (``DK4520123456``) is not a number.
    """
    found = _SENDER_NUMBER.fullmatch(sender.strip())
    return sender[:40] if found is None else f"+{found[1]}"
