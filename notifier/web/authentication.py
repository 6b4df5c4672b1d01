"""Who may call: a bearer token, or a name and password against a bcrypt hash, as Prometheus has them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from notifier.config import Web

_MOST_REMEMBERED = 100


@dataclass(slots=True)
class Authentication:
    """Checks the ``Authorization`` header.

    bcrypt is slow on purpose, so verdicts on right passwords are remembered, by a keyed digest.
    """

    token: bytes | None
    users: Mapping[str, bytes]
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _right: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, web: Web) -> Authentication:
        """Return the authentication that *web* asks for."""
        token = web.bearer_token.get_secret_value().encode() if web.bearer_token else None
        return cls(token, {name: hash_.encode() for name, hash_ in web.basic_auth_users.items()})

    @property
    def is_required(self) -> bool:
        """Whether callers must say who they are."""
        return self.token is not None or bool(self.users)

    def known(self, header: bytes) -> bool | None:
        """Return whether *header* is right, None where only `verify` can tell. Takes the same time for all."""
        scheme, _, value = header.partition(b" ")
        if scheme.lower() == b"bearer":
            # By digests, so that it takes the same time for any length.
            return self.token is not None and hmac.compare_digest(
                self._digest(value), self._digest(self.token)
            )
        if scheme.lower() == b"basic" and self.users:
            return True if self._digest(value) in self._right else None
        return False

    def verify(self, header: bytes) -> bool:
        """Return whether the name and password in *header* are right; slow, for a thread."""
        import bcrypt  # only where passwords are in use

        value = header.partition(b" ")[2]
        try:
            name, colon, password = base64.b64decode(value, validate=True).partition(b":")
        except binascii.Error:
            return False
        stored = self.users.get(name.decode("utf-8", "replace"))
        try:
            # An unknown name takes as long as a wrong password: it is compared with another's hash.
            compared = stored or next(iter(self.users.values()))
            is_right = bcrypt.checkpw(password[:72], compared.replace(b"$2y$", b"$2b$", 1))
        except ValueError:
            return False
        if stored is None or not colon or not is_right:
            return False
        if len(self._right) >= _MOST_REMEMBERED:
            self._right.clear()
        self._right.add(self._digest(value))
        return True

    def _digest(self, value: bytes) -> bytes:
        return hmac.new(self._key, value.strip(), hashlib.sha256).digest()


def verifier() -> ThreadPoolExecutor:
    """Return the one thread that verifies passwords: guesses wait for each other, not the pages for them."""
    return ThreadPoolExecutor(1, thread_name_prefix="bcrypt")
