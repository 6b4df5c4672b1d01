"""The section ``fallback``: a second channel for messages that OVHcloud does not accept in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import unquote

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
_SHORTEST_SECRET = 6


class FallbackConfig(Section):
    """A second channel for messages that OVHcloud has not accepted in time, has rejected, or could not deliver."""

    after: PositiveDuration = timedelta(minutes=2)
    """Time that OVHcloud has to accept a message. While every account is paused, the message goes at once."""
    urls: tuple[FallbackUrl, ...] = ()
    """URLs of the library apprise, for the messages of all contacts, in addition to their own."""
    instead: StrictBool = False
    """Whether an SMS that still waits is withdrawn when its fallback was sent."""


def secrets_in(url: str) -> Iterator[str]:
    """Yield the parts of *url* that may be secret, besides the whole: names, passwords and tokens."""
    rest = url.partition("://")[2].partition("?")[0]
    for part in rest.replace("@", "/").replace(":", "/").split("/"):
        for one in {part, unquote(part)}:
            if len(one) >= _SHORTEST_SECRET:
                yield one
