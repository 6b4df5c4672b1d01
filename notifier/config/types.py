"""Types of the values in `notifier.yml`, which parse them and describe errors."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from notifier.alertmanager.durations import PATTERN, format_duration, parse_duration
from notifier.alertmanager.matchers import Matcher, MatcherError, parse_matchers
from notifier.config.source import kind_of


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value:
        raise ValueError(f"{value} has no unit; write {value}s, {value}m or {value}h")
    return parse_duration("0" if value == 0 else written_text(value))


def positive_duration(value: Any) -> Any:
    duration = _duration(value)
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def written_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, is {kind_of(value)}")
    return value


_SIZE = re.compile(r"(\d+) ?([KMG]i?B|B)", re.ASCII)
_LOCALTIME = "/etc/localtime"
_UNITS = {"B": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def _size(value: Any) -> Any:
    if isinstance(value, str):
        match = _SIZE.fullmatch(value)
        if match is None:
            raise ValueError(f'"{value}" is not a size; write a number of bytes, 512KiB or 4MiB')
        return int(match[1]) * _UNITS[match[2][0]]
    return value


def _time_zone(value: Any) -> Any:
    if isinstance(value, ZoneInfo):
        return value
    try:
        return ZoneInfo(written_text(value))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ValueError) and "must be a text" in str(error):
            raise
        raise ValueError(f'"{value}" is not a time zone; write an IANA name such as Europe/Paris') from None


def _location(value: Any) -> Any:
    """Read the ``location`` of a time interval, as Alertmanager does: ``Local`` is the zone of this machine."""
    if value is None or value == "":
        return ZoneInfo("UTC")
    return zone_of_the_machine() if value == "Local" else _time_zone(value)


def zone_of_the_machine() -> ZoneInfo:
    """Return the time zone of this machine; UTC if it names none.

    Raises:
        ValueError: it names one that is not known here.
    """
    name = os.environ.get("TZ", "").removeprefix(":") or _LOCALTIME
    if name.startswith("/"):
        _, _, name = os.path.realpath(name).partition("zoneinfo/")
    try:
        return ZoneInfo(name) if name else ZoneInfo("UTC")
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f'"Local" is not known here: the zone "{name}" is none; write an IANA name'
        ) from None


def _matchers(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, is {kind_of(value)}; write ['severity=\"critical\"']")
    matchers: list[Matcher] = []
    for item in value:
        if isinstance(item, Matcher):
            matchers.append(item)
            continue
        try:
            matchers += parse_matchers(written_text(item))
        except MatcherError as error:
            raise ValueError(f"in {item!r}: {error}") from None
    return tuple(matchers)


def _listen_address(value: Any) -> Any:
    host, colon, port = written_text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f'"{value}" is not an address; write 127.0.0.1:9876, :9876 or [::1]:9876')
    return value


def _network(value: Any) -> Any:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return value
    try:
        network = ipaddress.ip_network(written_text(value))
    except ValueError:
        raise ValueError(
            f'"{value}" is not a network; write 10.0.0.0/8, or 127.0.0.1/32 for one address'
        ) from None
    if network.prefixlen == 0:
        raise ValueError(f'"{value}" is every address; write those of the proxy, such as 127.0.0.1/32')
    return network


_HEADERS_OF_CLIENTS = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "authorization", "connection", "content-length", "content-type",
        "cookie", "host", "origin", "referer", "sec-fetch-site", "user-agent", "x-forwarded-for", "x-forwarded-host",
        "x-forwarded-proto",
    }
)  # fmt: skip
"""Headers that every browser or proxy sends, and that cannot name a user."""


def _header_name(value: Any) -> Any:
    name = written_text(value)
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", name) or name.lower() in _HEADERS_OF_CLIENTS:
        raise ValueError(f'"{value}" is not a header that can name a user; write X-Forwarded-User')
    return name


def _storage_url(value: Any) -> Any:
    scheme, _, rest = written_text(value).partition(":")
    if scheme in ("postgresql", "postgres"):
        return _postgresql_url(f"postgresql:{rest}")
    if scheme != "sqlite" or not rest.startswith("///") or not rest.strip("/"):
        raise ValueError(
            f'"{mask_password(value)}" is not a storage URL; write sqlite:///var/lib/notifier/notifier.db'
            " or postgresql://user:password@host/database"
        )
    return value


def mask_password(url: str) -> str:
    """Return *url* without its password, also if it is no valid URL: nothing before its last @."""
    known_user = re.sub(r"(?s)^(\w+://[^:/@\s]*:).*@", r"\1•••@", url)
    return known_user if known_user != url else re.sub(r"(?s)^.*@", "•••@", url)


def _postgresql_url(value: str) -> str:
    try:
        url = make_url(value)
        port = url.port
    except (ArgumentError, ValueError):
        url, port = None, None
    if url is None or not (url.host or "host" in url.query) or not url.database or port == 0:
        raise ValueError(
            f'"{mask_password(value)}" is not a PostgreSQL URL; write postgresql://user:password@host/database'
        )
    if importlib.util.find_spec("psycopg") is None:
        raise ValueError(
            "PostgreSQL needs a driver; run in Notifier's environment: pip install 'psycopg[binary]'"
        )
    return value


OVH_ENDPOINTS = ("ovh-eu", "ovh-ca", "ovh-us")
"""The APIs of OVHcloud, by the names that the library ovh has for them."""


def _endpoint(value: Any) -> Any:
    if written_text(value) in OVH_ENDPOINTS:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f'"{mask_password(value)}" is no endpoint; write {", ".join(OVH_ENDPOINTS)} or the base URL of an API'
        )
    return value.rstrip("/")


def _http_url(value: Any) -> Any:
    parts = urlsplit(written_text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{mask_password(value)}" is no URL; write http://... or https://...')
    return value.rstrip("/")


def _sender(value: Any) -> Any:
    text = written_text(value)
    if not re.fullmatch(r"[A-Za-z0-9 ._-]{1,11}", text) or not re.search("[A-Za-z]", text):
        raise ValueError(
            f'"{text}" is no sender; it has up to 11 letters and digits, not digits alone '
            "(a number goes under virtual_number)"
        )
    return text


def _region(value: Any) -> Any:
    if not re.fullmatch("[A-Z]{2}", written_text(value)):
        raise ValueError(f'"{value}" is not a region; write two capital letters such as FR')
    return value


_HIGHEST_COST = 14


def _bcrypt_hash(value: Any) -> Any:
    if not re.fullmatch(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}", written_text(value)):
        raise ValueError("is not a bcrypt hash; make one with: htpasswd -nbBC 10 '' PASSWORD | tr -d ':\\n'")
    if int(value[4:6]) > _HIGHEST_COST:
        raise ValueError(
            f"has cost {value[4:6]}: each login would take seconds; make one with cost 10 to {_HIGHEST_COST}"
        )
    return value


def count(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, is true or false")
    return value


TEXT_SCHEMA = {"type": "string"}
WrittenDuration = Annotated[
    timedelta,
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
Duration = Annotated[WrittenDuration, BeforeValidator(_duration)]
PositiveDuration = Annotated[WrittenDuration, BeforeValidator(positive_duration)]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1024),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1024}, TEXT_SCHEMA]}),
]
TimeZone = Annotated[
    ZoneInfo, BeforeValidator(_time_zone), PlainSerializer(str, when_used="json"), WithJsonSchema(TEXT_SCHEMA)
]
Location = Annotated[
    ZoneInfo, BeforeValidator(_location), PlainSerializer(str, when_used="json"), WithJsonSchema(TEXT_SCHEMA)
]
Matchers = Annotated[
    tuple[Matcher, ...],
    BeforeValidator(_matchers),
    PlainSerializer(lambda matchers: [str(m) for m in matchers], when_used="json"),
    WithJsonSchema({"type": "array", "items": TEXT_SCHEMA}),
]
ListenAddress = Annotated[str, BeforeValidator(_listen_address)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, BeforeValidator(_network)]
HeaderName = Annotated[str, BeforeValidator(_header_name)]
StorageUrl = Annotated[str, BeforeValidator(_storage_url)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
HttpUrl = Annotated[str, BeforeValidator(_http_url)]
SenderName = Annotated[str, BeforeValidator(_sender)]
Region = Annotated[str, BeforeValidator(_region)]
BcryptHash = Annotated[str, BeforeValidator(_bcrypt_hash)]
LONGEST_NAME = 200
"""Characters that a name may have."""
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\s\x00-\x1f][^\x00-\x1f]*$")]
"""A name may hold ``/``: the operator for Prometheus names receivers and intervals ``namespace/name/receiver``."""
Language = Annotated[str, Field(pattern="^[a-z]{2}$")]


class FromFile:
    """Marks a key that may also be given as the name of a file, ``x_file``. Its value is never shown."""


FROM_FILE = FromFile()
