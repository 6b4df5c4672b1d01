"""The filters of templates, and the sandbox in which templates run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from jinja2 import (
    FunctionLoader,
    StrictUndefined,
    pass_context,
)
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.alertmanager.durations import brief_duration
from notifier.clock import is_known
from notifier.rendering.context import LONGEST_NAME, ShownAlert
from notifier.rendering.hosts import join_hosts, short_host
from notifier.rendering.phrases import phrase
from notifier.sms.encoding import (
    clip,
    room,
)

_SITE = ("cluster", "datacenter", "dc", "site", "region", "environment", "env", "namespace")

UNKNOWN_TIME = "?"
"""Replaces a time that is missing or impossible."""

_LONGEST = timedelta(days=3650)
"""A longer duration was computed from a time that is not known."""


def where_of(alerts: Iterable[ShownAlert]) -> str:
    """Return the places of *alerts*; hosts of the same short name in different domains at full length."""
    targets: dict[str, set[str]] = {}
    shown = [(alert.where, re.sub(r":\d+$", "", alert.target)) for alert in alerts]
    for short, target in shown:
        targets.setdefault(short, set()).add(target)
    return join_hosts(
        short if len(targets[short]) == 1 else clip(target, LONGEST_NAME) for short, target in shown
    )


def by_name(alerts: Iterable[ShownAlert]) -> list[tuple[str, list[ShownAlert]]]:
    names: dict[str, list[ShownAlert]] = {}
    for alert in alerts:
        names.setdefault(alert.name, []).append(alert)
    return list(names.items())


def site_of(labels: Mapping[str, str]) -> str:
    return next((labels[name] for name in _SITE if labels.get(name)), "")


def since(alerts: Sequence[ShownAlert]) -> datetime | None:
    """Return when the oldest of *alerts* that are as severe as the first began.

    A less severe alert is left out, since an old warning must not make a new fault look old.
    """
    return min((a.starts_at for a in alerts if a.severity == alerts[0].severity), default=None)


def latest_end(alerts: Sequence[ShownAlert]) -> datetime | None:
    return max((alert.ends_at for alert in alerts if alert.ends_at), default=None)


def short_duration(value: timedelta | float) -> str:
    duration = value if isinstance(value, timedelta) else timedelta(seconds=value)
    return brief_duration(duration) if abs(duration) < _LONGEST else UNKNOWN_TIME


@pass_context
def local_time(context: Context, value: datetime) -> str:
    contact, now = context["contact"], context["now"]
    if not is_known(value):
        return UNKNOWN_TIME
    local, today = value.astimezone(contact.time_zone), now.astimezone(contact.time_zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    month = phrase("months", contact.language).split()[local.month - 1]
    year = f" {local.year}" if local.year != today.year else ""
    return f"{local.day} {month}{year} {local:%H:%M}"


@pass_context
def _as_it_is(_: Context, value: object) -> object:
    return value


def make_environment(load: Callable[[str], tuple[str, str, None] | None]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        # With these two, Jinja computes no constants, such as 'a' * 10**9, when it compiles.
        optimized=False,
        finalize=_as_it_is,
    )
    environment.filters |= {
        "duration": short_duration,
        "local_time": local_time,
        "short_host": short_host,
        "common_prefix": join_hosts,
        "where": where_of,
        "site": site_of,
        "by_name": by_name,
        "since": since,
        "ended": latest_end,
        "clip": clip,
        "room": room,
    }
    return environment
