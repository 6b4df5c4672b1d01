"""Sessions of people who signed in on a page: cookies that each replica can check, without a database."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

COOKIES = ("__Host-notifier-session", "notifier-session")
"""The names of the cookie, with TLS and without: a neighbouring site cannot set the first."""
VALID_FOR = timedelta(days=30)


def new_session(key: bytes, user: str, password_hash: bytes, now: datetime) -> str:
    """Return the value of a cookie that identifies *user* until `VALID_FOR` from *now*.

    It is signed with *key*, a secret that the replicas share, and with *password_hash*: a new password ends it.
    """
    expires = int((now + VALID_FOR).timestamp())
    name = base64.urlsafe_b64encode(user.encode()).decode().rstrip("=")
    return f"{name}.{expires}.{_signature(key, user, expires, password_hash)}"


def user_of(cookie: str, key: bytes, password_hashes: Mapping[str, bytes], now: datetime) -> str | None:
    """Return the user that the value of a *cookie* identifies; None if it is expired or was not made with *key*."""
    name, _, rest = cookie.partition(".")
    written, _, signature = rest.partition(".")
    try:
        user = base64.b64decode(name + "=" * (-len(name) % 4), altchars=b"-_", validate=True).decode()
        expires = int(written)
        is_over = datetime.fromtimestamp(expires, UTC) <= now
    except (binascii.Error, ValueError, OverflowError, OSError):
        return None
    if is_over or user not in password_hashes:
        return None
    expected = _signature(key, user, expires, password_hashes[user])
    return user if hmac.compare_digest(signature.encode(), expected.encode()) else None


def _signature(key: bytes, user: str, expires: int, password_hash: bytes) -> str:
    text = b"\0".join((b"session", user.encode(), str(expires).encode(), password_hash))
    return hmac.new(key, text, hashlib.sha256).hexdigest()
