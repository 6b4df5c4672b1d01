"""The values that `notifier.yml` is made of, as types that read them and say what is wrong with them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from notifier.durations import PATTERN, format_duration, parse_duration
from notifier.matchers import Matcher, MatcherError, parse_matchers
from notifier.yaml_source import kind_of


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value:
        raise ValueError(f"{value} has no unit; write {value}s, {value}m or {value}h")
    return parse_duration("0" if value == 0 else _text(value))


def _positive_duration(value: Any) -> Any:
    duration = _duration(value)
    if not duration:
        raise ValueError("must be longer than 0s")
    return duration


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a text, is {kind_of(value)}")
    return value


_SIZE = re.compile(r"(\d+) ?([KMG]i?B|B)", re.ASCII)
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
        return ZoneInfo(_text(value))
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, ValueError) and "must be a text" in str(error):
            raise
        raise ValueError(f'"{value}" is not a time zone; write an IANA name such as Europe/Paris') from None


def _matchers(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be a list, is {kind_of(value)}; write ['severity=\"critical\"']")
    matchers: list[Matcher] = []
    for item in value:
        if isinstance(item, Matcher):
            matchers.append(item)
            continue
        try:
            matchers += parse_matchers(_text(item))
        except MatcherError as error:
            raise ValueError(f"in {item!r}: {error}") from None
    return tuple(matchers)


def _listen_address(value: Any) -> Any:
    host, colon, port = _text(value).rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not port.isdecimal() or int(port) > 65535 or (":" in host and not bracketed):
        raise ValueError(f'"{value}" is not an address; write 127.0.0.1:9876, :9876 or [::1]:9876')
    return value


def _storage_url(value: Any) -> Any:
    scheme, _, rest = _text(value).partition(":")
    if scheme.split("+")[0] in ("postgresql", "postgres"):
        raise ValueError(
            "PostgreSQL is not in this version of Notifier; write sqlite:///var/lib/notifier/notifier.db"
        )
    if scheme != "sqlite" or not rest.startswith("///") or not rest.strip("/"):
        raise ValueError(f'"{value}" is not a storage URL; write sqlite:///var/lib/notifier/notifier.db')
    return value


_REGIONS = ("ovh-eu", "ovh-ca", "ovh-us")


def _endpoint(value: Any) -> Any:
    if _text(value) in _REGIONS:
        return value
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{value}" is no endpoint; write {", ".join(_REGIONS)} or the base URL of an API')
    return value.rstrip("/")


def _sender(value: Any) -> Any:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9 ._-]{1,11}", text) or not re.search("[A-Za-z]", text):
        raise ValueError(
            f'"{text}" is no sender; it has up to 11 letters and digits, not digits alone '
            "(a number goes under virtual_number)"
        )
    return text


def _region(value: Any) -> Any:
    if not re.fullmatch("[A-Z]{2}", _text(value)):
        raise ValueError(f'"{value}" is not a region; write two capital letters such as FR')
    return value


def _bcrypt_hash(value: Any) -> Any:
    if not re.fullmatch(r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}", _text(value)):
        raise ValueError("is not a bcrypt hash; make one with: htpasswd -nbBC 10 '' PASSWORD | tr -d ':\\n'")
    return value


def count(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, is true or false")
    return value


_TEXT = {"type": "string"}
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
PositiveDuration = Annotated[
    timedelta,
    BeforeValidator(_positive_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
]
Size = Annotated[
    int,
    BeforeValidator(_size),
    Field(ge=1024),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1024}, _TEXT]}),
]
TimeZone = Annotated[
    ZoneInfo, BeforeValidator(_time_zone), PlainSerializer(str, when_used="json"), WithJsonSchema(_TEXT)
]
Matchers = Annotated[
    tuple[Matcher, ...],
    BeforeValidator(_matchers),
    PlainSerializer(lambda matchers: [str(m) for m in matchers], when_used="json"),
    WithJsonSchema({"type": "array", "items": _TEXT}),
]
ListenAddress = Annotated[str, BeforeValidator(_listen_address)]
StorageUrl = Annotated[str, BeforeValidator(_storage_url)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
Sender = Annotated[str, BeforeValidator(_sender)]
Region = Annotated[str, BeforeValidator(_region)]
BcryptHash = Annotated[str, BeforeValidator(_bcrypt_hash)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\s/][^/\x00-\x1f]*$")]
Language = Annotated[str, Field(pattern="^[a-z]{2}$")]
