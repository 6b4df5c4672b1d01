"""The section ``web``: where Notifier listens, and who may call it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, StrictBool

from notifier.config.section import Section
from notifier.config.types import FROM_FILE, BcryptHash, HeaderName, ListenAddress, Name, Network, Size
from notifier.permissions import Permission, Role


def _max_body(value: int) -> int:
    if value > _LARGEST_BODY:
        raise ValueError("must be at most 64MiB; set max_alerts in Alertmanager")
    return value


_LARGEST_BODY = 64 * 1024 * 1024
MaxBody = Annotated[Size, AfterValidator(_max_body)]


class TlsServerConfig(Section):
    """TLS, as in the web configuration file of Prometheus."""

    cert_file: Path
    """Certificate chain, PEM."""
    key_file: Path
    """Private key, PEM."""
    client_ca_file: Path | None = None
    """Certificate authorities, PEM. Clients must present a certificate of one of them."""


def _url_secret(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", value.get_secret_value()):
        raise ValueError(
            "must have at least 16 letters, digits, - and _; make one with: openssl rand -hex 16"
        )
    return value


UrlSecret = Annotated[SecretStr, AfterValidator(_url_secret)]


class Token(Section):
    """A token with which a program calls Notifier."""

    name: Name
    """Name of the token in logs and in the timeline of incidents."""
    token: Annotated[SecretStr, FROM_FILE]
    """The token: the program sends "Authorization: Bearer ..."."""
    may: Annotated[tuple[Permission, ...], Field(min_length=1)]
    """Permissions: webhook, read, act, send, admin (all of them)."""


class User(Section):
    """A person who uses the pages, with name and password."""

    password_hash: BcryptHash
    role: Role = Role.RESPONDER
    """Role: viewer (read), responder (read, act, send), admin (everything)."""


class ProxyAuth(Section):
    """A proxy that signs people in (single sign-on), and names them in a header.

    It must remove the header from what clients send.
    """

    header: HeaderName = "X-Forwarded-User"
    """Header that holds the name of the user."""
    from_: Annotated[tuple[Network, ...], Field(alias="from", min_length=1)]
    """Addresses of the proxy, such as 127.0.0.1/32. From others, the header is ignored."""
    role: Role = Role.RESPONDER
    """Role of these users: viewer, responder or admin. Those who are in users have their role there."""


class Web(Section):
    """The HTTP server, and who may call it."""

    listen_address: ListenAddress = "127.0.0.1:9876"
    """Address and port."""
    max_body: MaxBody = 4 * 1024 * 1024
    """Maximum size of a request body, in bytes or as 4MiB; at most 64MiB."""
    bearer_token: Annotated[SecretStr | None, FROM_FILE] = None
    """Token with all permissions. Prefer a token for each program, under tokens."""
    tokens: tuple[Token, ...] = ()
    """Tokens, one for each program. Two with the same name are both valid, so that one can replace the other."""
    basic_auth_users: dict[str, BcryptHash] = Field(default_factory=dict)
    """Users with all permissions: names and bcrypt hashes, as in the web configuration file of Prometheus."""
    users: dict[str, User] = Field(default_factory=dict)
    """Users with roles, by name."""
    proxy_auth: ProxyAuth | None = None
    tls_server_config: TlsServerConfig | None = None
    feed_secret: Annotated[UrlSecret | None, FROM_FILE] = None
    """Secret in the URLs of calendar feeds, /oncall/feeds/SECRET/NAME.ics: at least 16 letters, digits, - and _."""
    metrics_require_credentials: StrictBool = False
    """Whether /metrics, which shows receivers and who is on call, requires credentials with the permission read."""

    @property
    def host(self) -> str:
        """The address to bind, without brackets; all interfaces if none is named."""
        return self.listen_address.rpartition(":")[0].strip("[]") or "0.0.0.0"  # noqa: S104

    @property
    def port(self) -> int:
        """The port to bind; 0 lets the system choose."""
        return int(self.listen_address.rpartition(":")[2])


def listen_url(web: Web, port: int | None = None) -> str:
    """Return the URL of the service that listens as configured in *web*."""
    scheme = "https" if web.tls_server_config else "http"
    host = "127.0.0.1" if web.host in ("0.0.0.0", "::") else web.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port or web.port}"
