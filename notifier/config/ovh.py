"""The section ``ovh``: the accounts that send."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, StrictBool

from notifier.config.section import Section
from notifier.config.types import FROM_FILE, Endpoint, PositiveDuration, SenderName, count


class ReceiptSettings(Section):
    """Delivery receipts."""

    poll_interval: PositiveDuration = timedelta(seconds=20)
    """How often OVHcloud is asked for the receipts of new messages. It is asked less often as they get old."""


class ReplyCommand(StrEnum):
    """A command in a reply."""

    ACK = "ack"
    CLOSE = "close"
    NEXT = "next"
    WHO = "who"
    MUTE = "mute"


class ReplySettings(Section):
    """Replies by SMS."""

    poll_interval: PositiveDuration = timedelta(seconds=15)
    """Interval for reading replies while incidents are open and for 15 minutes afterwards. Otherwise once a minute."""
    require_code: StrictBool = False
    """Whether a reply must contain the two letters of the page (#7KP). Sender numbers can be forged."""
    may: tuple[ReplyCommand, ...] = (
        ReplyCommand.ACK,
        ReplyCommand.CLOSE,
        ReplyCommand.NEXT,
        ReplyCommand.WHO,
    )
    """Commands that replies may give: ack, close, next, who, mute."""
    any_contact: StrictBool = False
    """Whether contacts may act on incidents for which they were not paged."""


class Rate(Section):
    """The maximum rate of an account."""

    messages: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(count)]
    """Maximum number of messages within `per`."""
    per: PositiveDuration = timedelta(seconds=1)
    """Window for `messages`."""


def _line(value: str) -> str:
    """Return the number of a line as OVHcloud writes it.

    Raises:
        ValueError: it is none.
    """
    digits = re.sub(r"[ .()-]", "", value).replace("+", "00", 1)
    if not re.fullmatch(r"00[1-9]\d{7,14}", digits):
        raise ValueError(f'"{value}" is not a number with its country code; write 0033199001234')
    return digits


class TelephonySettings(Section):
    """A VoIP line at OVHcloud that makes phone calls. Experimental: it was never tried with a real account."""

    billing_account: str = Field(pattern="^[A-Za-z0-9_.-]+$")
    """Billing account of the line, such as ab12345-ovh-1."""
    line: Annotated[str, AfterValidator(_line)]
    """Number of the line, with its country code: 0033199001234."""


class Ovh(Section):
    """An OVHcloud account that sends."""

    endpoint: Endpoint = "ovh-eu"
    """A region (ovh-eu, ovh-ca, ovh-us), or the base URL of an API (https://.../1.0)."""
    application_key: Annotated[str | None, FROM_FILE] = None
    """Application key, from https://eu.api.ovh.com/createApp/."""
    application_secret: Annotated[SecretStr | None, FROM_FILE] = None
    consumer_key: Annotated[SecretStr | None, FROM_FILE] = None
    """Consumer key; "notifier ovh login" obtains one."""
    client_id: Annotated[str | None, FROM_FILE] = None
    """OAuth2 service account; replaces the three keys."""
    client_secret: Annotated[SecretStr | None, FROM_FILE] = None
    service_name: str | None = Field(default=None, pattern="^[A-Za-z0-9_.-]+$")
    """SMS account, such as sms-ab12345-1. Optional if there is only one."""
    sender: SenderName | None = None
    """Sender declared at OVHcloud, up to 11 letters and digits."""
    sender_for_response: StrictBool = False
    """Send from a short number that accepts replies (France only; OVHcloud refuses URLs in messages)."""
    virtual_number: str | None = None
    """Send from a rented number that accepts replies."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """Time-out of a call."""
    settle_timeout: PositiveDuration = timedelta(minutes=2)
    """If OVHcloud's answer to a job is lost: how long Notifier tries to find out whether the job was accepted before
    it sends the job again.
    """
    max_concurrency: Annotated[int, Field(ge=1, le=64), BeforeValidator(count)] = 16
    """Maximum number of jobs sent at once. Lookups of lost answers may use half as many threads in addition."""
    rate: Rate | None = None
    """Maximum rate, of all replicas together. Default: no limit."""
    receipts: ReceiptSettings = Field(default_factory=ReceiptSettings)
    replies: ReplySettings = Field(default_factory=ReplySettings)
    telephony: TelephonySettings | None = None
    """A VoIP line at OVHcloud for escalation steps with call: true. Experimental."""
    callback_secret: Annotated[SecretStr | None, FROM_FILE] = None
    """Secret in the URLs that OVHcloud may call: /ovh/receipt/SECRET and /ovh/reply/SECRET."""

    @property
    def takes_replies(self) -> bool:
        """Whether people can reply to the messages."""
        return self.sender_for_response or self.virtual_number is not None

    @property
    def name(self) -> str:
        """The name of the account in the configuration: its service name, or empty if OVHcloud is asked for it."""
        return self.service_name or ""


def as_list(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


Accounts = Annotated[tuple[Ovh, ...], Field(min_length=1), BeforeValidator(as_list)]
