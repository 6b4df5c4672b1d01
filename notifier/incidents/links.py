"""Links that open an incident as the person paged: what they are made of, and how long they are valid."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier.incidents.lifecycle import PAGING

VALID_FOR = timedelta(hours=48)
"""How long a link is valid after it was sent."""
REVOKED_AFTER = timedelta(days=1)
"""How long a link is valid after its incident was resolved."""
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 14
"""62 letters to the power of 14 make 83 random bits."""
_TOKEN = re.compile(rf"/i/[A-Za-z0-9]{{{_LENGTH}}}(?![A-Za-z0-9])")
_ENDING = re.compile(r"\n.*" + _TOKEN.pattern)


@dataclass(frozen=True, slots=True)
class Link:
    """A link: the address of Notifier's pages, and a token, which is stored only as a hash."""

    external_url: str
    token: str

    @classmethod
    def new(cls, external_url: str) -> Link:
        """Return a link with a random token."""
        return cls(external_url, "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH)))

    @classmethod
    def sample(cls, external_url: str) -> Link:
        """Return a link that opens nothing, as long as the others."""
        return cls(external_url, "0" * _LENGTH)

    @property
    def ending(self) -> str:
        """The end of a text with this link."""
        return f"\n{self.external_url.rstrip('/')}/i/{self.token}"

    @property
    def hash(self) -> str:
        """The hash of its token."""
        return token_hash(self.token)


def token_hash(token: str) -> str:
    """Return the hash by which a token is stored: SHA-256, since a random token needs no slow hash."""
    return hashlib.sha256(token.encode()).hexdigest()


def is_linked(kind: str, incident: object, contact: str) -> bool:
    """Return whether a message ends with a link: a page of *kind* for an *incident* (None without one) to a contact."""
    return kind in PAGING and incident is not None and bool(contact)


def is_sent_text(sent: str, text: str) -> bool:
    """Return whether *sent* is *text*, as it is or with a link at its end."""
    return sent == text or (sent.startswith(text) and _ENDING.fullmatch(sent, len(text)) is not None)


def hide_tokens(text: str) -> str:
    """Return *text* without the tokens of links, as for an error that repeats a message."""
    return _TOKEN.sub("/i/[secret]", text)


def ends_at(expires_at: datetime, resolved_at: datetime | None) -> datetime:
    """Return when a link ends that expires at *expires_at*: a day after its incident was resolved at the latest."""
    return expires_at if resolved_at is None else min(expires_at, resolved_at + REVOKED_AFTER)
