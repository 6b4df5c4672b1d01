"""The section ``fallback``: a second channel for messages that OVHcloud does not accept in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, SecretStr, StrictBool

from notifier import second_channel
from notifier.config.section import Section
from notifier.config.types import PositiveDuration, written_text


def _url(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value
    if (reason := second_channel.problem(written_text(value))) is not None:
        raise ValueError(reason)
    return SecretStr(value)


FallbackUrl = Annotated[SecretStr, BeforeValidator(_url)]
"""A URL of the library apprise. It may hold credentials, so it is a secret."""


def _urls(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str | SecretStr) for one in value):
        raise ValueError("must be a list of URLs")  # whatever it is, it may hold a secret
    return value


FallbackUrls = Annotated[tuple[FallbackUrl, ...], BeforeValidator(_urls)]


class FallbackConfig(Section):
    """A second channel for messages that OVHcloud has not accepted in time, has rejected, or could not deliver."""

    after: PositiveDuration = timedelta(minutes=2)
    """Time that OVHcloud has to accept a message. While every account is paused, the message goes at once."""
    urls: FallbackUrls = ()
    """URLs of the library apprise, for the messages of all contacts, in addition to their own."""
    instead: StrictBool = False
    """Whether an SMS that still waits is withdrawn when its fallback was sent."""
