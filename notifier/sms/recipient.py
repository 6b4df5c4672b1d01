"""Who receives a text."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Recipient:
    """A mobile phone to page, with the language and time zone of its owner. `name` is empty for a bare number."""

    name: str
    phone: str
    language: str
    time_zone: ZoneInfo
