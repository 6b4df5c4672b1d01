"""Who calls: a bearer token, or a name and password against a bcrypt hash, as Prometheus has them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from notifier.config.types import LONGEST_NAME
from notifier.config.web import Web
from notifier.permissions import Permission, Role


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller whose credentials are right.

    *user* is the name of a person, *token* that of a program; neither is known if no credentials are required.
    """

    may: frozenset[Permission]
    user: str | None = None
    token: str | None = None

    @property
    def name(self) -> str | None:
        """The name of the user or token."""
        return self.user or self.token

    def has(self, permission: Permission) -> bool:
        """Whether the caller may do what *permission* allows."""
        return permission in self.may or Permission.ADMIN in self.may


ANYBODY = Identity(frozenset({Permission.ADMIN}))
"""Every caller, if no credentials are required: only this machine can reach the service then."""


@dataclass(frozen=True, slots=True)
class User:
    """A person: the bcrypt hash of the password, and what he or she may do."""

    password_hash: bytes
    role: Role


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that signs people in: the header in which it names them, where it calls from, and what they may do."""

    header: bytes
    networks: tuple[IPv4Network | IPv6Network, ...]
    role: Role

    def user_of(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """Return the user that the *headers* of a request from *peer* name; None if *peer* is no proxy.

        None also without a name, or with two: one of them may be the client's.
        """
        given = [value for name, value in headers if name == self.header]
        if len(given) != 1 or not self.is_trusted(peer):
            return None
        try:
            user = given[0].decode().strip()
        except UnicodeDecodeError:
            return None
        return user if user.isprintable() and 0 < len(user) <= LONGEST_NAME else None

    def is_trusted(self, peer: str) -> bool:
        """Return whether *peer* is the proxy."""
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self.networks)


@dataclass(slots=True)
class Authentication:
    """Checks the ``Authorization`` header.

    bcrypt is slow on purpose, so right passwords are remembered, by a keyed digest.
    """

    tokens: Sequence[tuple[bytes, Identity]]
    users: Mapping[str, User]
    proxy: Proxy | None = None
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _right: dict[bytes, str] = field(default_factory=dict)
    """The digests of right passwords, and whose they are."""

    @classmethod
    def of(cls, web: Web, before: Authentication | None = None) -> Authentication:
        """Return the authentication that *web* asks for.

        It remembers the right passwords that *before* did, of those users whose hash is still the same: otherwise a
        flood of wrong passwords during a reload would keep the right ones out.
        """
        tokens = [
            (one.token.get_secret_value().encode(), Identity(frozenset(one.may), token=one.name))
            for one in web.tokens
        ]
        if web.bearer_token is not None:
            whole = Identity(frozenset({Permission.ADMIN}), token="web.bearer_token")  # noqa: S106 (its name)
            tokens.append((web.bearer_token.get_secret_value().encode(), whole))
        users = {name: User(hash_.encode(), Role.ADMIN) for name, hash_ in web.basic_auth_users.items()}
        users |= {name: User(one.password_hash.encode(), one.role) for name, one in web.users.items()}
        given = web.proxy_auth
        proxy = None if given is None else Proxy(given.header.lower().encode(), given.from_, given.role)
        made = cls(tokens, users, proxy)
        if before is not None:
            made._key = before._key
            made._right = {
                digest: name
                for digest, name in before._right.items()
                if name in users and users[name].password_hash == before.users[name].password_hash
            }
        return made

    @property
    def is_required(self) -> bool:
        """Whether callers need credentials."""
        return bool(self.tokens or self.users or self.proxy)

    def known(self, header: bytes) -> Identity | bool:
        """Return the caller that *header* identifies; False if it is wrong, True if `verify` must check the password.

        It takes the same time for every token.
        """
        scheme, _, value = header.partition(b" ")
        if scheme.lower() == b"bearer":
            found: Identity | bool = False
            given = self._digest(value)  # so that it takes the same time for any length
            for token, identity in self.tokens:
                if hmac.compare_digest(given, self._digest(token)):
                    found = identity
            return found
        if scheme.lower() == b"basic" and self.users:
            name = self._right.get(self._digest(value))
            return True if name is None else self.identity(name)
        return False

    def verify(self, header: bytes) -> Identity | bool:
        """Return the user whose password is in *header*, False if it is wrong; slow, for a thread."""
        import bcrypt  # only where passwords are in use

        name, password = _name_and_password(header)
        user = self.users.get(name)
        # An unknown name takes as long as a wrong password: it is compared with the hash that takes longest.
        compared = user or max(self.users.values(), key=lambda one: one.password_hash[4:6])
        try:
            is_right = bcrypt.checkpw(password[:72], compared.password_hash.replace(b"$2y$", b"$2b$", 1))
        except ValueError:
            return False
        if user is None or not is_right:
            return False
        # One for each user: bcrypt reads 72 bytes, so a long password is right with anything after it.
        self._right = {digest: one for digest, one in self._right.items() if one != name}
        self._right[self._digest(header.partition(b" ")[2])] = name
        return self.identity(name)

    def user_of(self, header: bytes) -> str:
        """Return the user whose name is in *header*, empty if there is no such user."""
        name, _ = _name_and_password(header)
        return name if name in self.users else ""

    def is_proxy(self, peer: str) -> bool:
        """Return whether *peer* is a proxy that signs people in: what it sends as ``Authorization`` is not for us."""
        return self.proxy is not None and self.proxy.is_trusted(peer)

    def named_by_proxy(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> Identity | None:
        """Return the user that a proxy names in the *headers* of a request from *peer*."""
        user = None if self.proxy is None else self.proxy.user_of(peer, headers)
        if self.proxy is None or user is None:
            return None
        role = self.users[user].role if user in self.users else self.proxy.role
        return Identity(role.permissions, user=user)

    def identity(self, name: str) -> Identity:
        """Return the user of that *name* as a caller."""
        return Identity(self.users[name].role.permissions, user=name)

    def _digest(self, value: bytes) -> bytes:
        return hmac.new(self._key, value.strip(), hashlib.sha256).digest()


def _name_and_password(header: bytes) -> tuple[str, bytes]:
    """Return what *header* holds for HTTP Basic; both empty if it holds none."""
    try:
        name, _, password = base64.b64decode(header.partition(b" ")[2], validate=True).partition(b":")
        return name.decode(), password
    except ValueError:  # no Base64, or no UTF-8
        return "", b""


def verifier() -> ThreadPoolExecutor:
    """Return the one thread that verifies passwords: guesses wait for each other, not the pages for them."""
    return ThreadPoolExecutor(1, thread_name_prefix="bcrypt")
