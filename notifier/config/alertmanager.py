"""The section ``alertmanager``: the members of a cluster, and how they are called."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, StrictBool

from notifier.alertmanager.api import AlertmanagerApi
from notifier.config.section import Section
from notifier.config.types import FROM_FILE, HttpUrl, PositiveDuration


class BasicAuth(Section):
    """User and password, as in Prometheus."""

    username: str
    """Name of the user."""
    password: Annotated[SecretStr, FROM_FILE]
    """Password."""


class Authorization(Section):
    """The header Authorization, as in Prometheus."""

    type: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] = "Bearer"
    """Type of the credentials."""
    credentials: Annotated[SecretStr, FROM_FILE]
    """Credentials, for example a token."""


class TlsConfig(Section):
    """TLS of a client, as in Prometheus."""

    ca_file: Path | None = None
    """Certificate authorities, PEM, instead of those of this machine."""
    cert_file: Path | None = None
    """Certificate of Notifier, PEM."""
    key_file: Path | None = None
    """Private key of that certificate, PEM."""
    insecure_skip_verify: StrictBool = False
    """Whether any certificate of the server is accepted."""


class HttpConfig(Section):
    """How Alertmanager is called, as in Prometheus."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: TlsConfig | None = None


def _check_interval(value: timedelta) -> timedelta:
    if value > timedelta(minutes=10):
        raise ValueError("must be at most 10m: a silence may end at any time")
    return value


CheckInterval = Annotated[PositiveDuration, AfterValidator(_check_interval)]


class AlertmanagerConfig(Section):
    """The Alertmanager that is asked before an incident is escalated, and in which "mute 7 2h" creates a silence."""

    url: HttpUrl | None = None
    """URL of Alertmanager, with its path prefix if it has one; may contain user:password@."""
    urls: tuple[HttpUrl, ...] = ()
    """URLs of the members of one cluster, instead of url. Any of them may be down."""
    check_interval: CheckInterval = timedelta(minutes=1)
    """Interval at which Alertmanager is asked about the open incidents; at most 10m."""
    http_config: HttpConfig = HttpConfig()
    bearer_token: Annotated[SecretStr | None, FROM_FILE] = None
    """Bearer token, if Alertmanager requires one; the same as http_config.authorization."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """Time-out of a call that creates a silence."""

    @property
    def members(self) -> tuple[str, ...]:
        """The URLs of all members."""
        return (self.url,) if self.url is not None else self.urls

    @property
    def apis(self) -> tuple[AlertmanagerApi, ...]:
        """The members, with the credentials and certificates by which they are called."""
        how: dict[str, Any] = {}
        config = self.http_config
        if self.bearer_token is not None:
            how["headers"] = {"Authorization": f"Bearer {self.bearer_token.get_secret_value()}"}
        elif config.authorization is not None:
            kind, secret = config.authorization.type, config.authorization.credentials.get_secret_value()
            how["headers"] = {"Authorization": f"{kind} {secret}"}
        elif config.basic_auth is not None:
            secret = config.basic_auth.password.get_secret_value()
            how["auth"] = (config.basic_auth.username.encode(), secret.encode())
        if (tls := config.tls_config) is not None:
            how["verify"] = not tls.insecure_skip_verify and (str(tls.ca_file) if tls.ca_file else True)
            if tls.cert_file is not None and tls.key_file is not None:
                how["cert"] = (str(tls.cert_file), str(tls.key_file))
        return tuple(AlertmanagerApi(url, self.timeout.total_seconds(), how) for url in self.members)
