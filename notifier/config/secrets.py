"""Secrets of the configuration: which keys may be files, which values are hidden, and which texts no log may hold.

A key is marked with `FROM_FILE` where the models define it; nothing else lists them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel, SecretStr
from sqlalchemy import make_url

from notifier import second_channel
from notifier.config.keys import sections_of
from notifier.config.model import Configuration
from notifier.config.raw import RawFile
from notifier.config.source import Path_
from notifier.config.types import FROM_FILE

HIDDEN = "[secret]"
"""Replaces a secret."""


def file_keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the keys of *model* that may be given as the name of a file."""
    return tuple(name for name, info in model.model_fields.items() if FROM_FILE in info.metadata)


@cache
def secret_keys() -> dict[Path_, tuple[str, ...]]:
    """Return the keys that may be given as the name of a file, by the paths of their sections."""
    return {path: keys for path, _, model in sections_of(Configuration) if (keys := file_keys(model))}


def hide_secrets(raw: RawFile) -> dict[str, Any]:
    """Return the values of *raw* without the secrets, for people to read."""
    hidden = RawFile(raw.source, raw.directory, copy.deepcopy(raw.value))
    for place, keys in secret_keys().items():
        for _, section in hidden.sections(place):
            section.update({key: HIDDEN for key in keys if key in section})
    for place, key in ((("contacts",), "fallback"), (("fallback",), "urls")):
        for _, section in hidden.sections(place):
            if isinstance(section.get(key), list):
                section[key] = [HIDDEN for _ in section[key]]
    web = hidden.section("web")
    if isinstance(users := web.get("basic_auth_users"), dict):
        users.update(dict.fromkeys(users, HIDDEN))
    people = web.get("users")
    for user in people.values() if isinstance(people, dict) else ():
        if isinstance(user, dict) and "password_hash" in user:
            user["password_hash"] = HIDDEN
    return hidden.value


def secrets_of(configuration: Configuration) -> Iterator[str]:
    """Yield every secret that *configuration* holds, so that logs can leave them out."""
    yield from _secret_values(configuration)
    yield from configuration.web.basic_auth_users.values()
    yield from (user.password_hash for user in configuration.web.users.values())
    url = configuration.storage.url
    if "@" in url and (password := make_url(url).password):
        yield url
        yield str(password)
    for urls in (configuration.fallback.urls, *(one.fallback for one in configuration.contacts)):
        for secret in urls:
            yield from second_channel.secrets_in(secret.get_secret_value())
    if configuration.watchdog is not None:
        yield configuration.watchdog.url
    if configuration.alertmanager is not None:
        yield from (url for url in configuration.alertmanager.members if "@" in url)
    yield from (one.ics for one in configuration.schedules if one.ics is not None and "://" in one.ics)


def _secret_values(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for _, part in value:
            yield from _secret_values(part)
    elif isinstance(value, tuple):
        for part in value:
            yield from _secret_values(part)
