"""The alerts of an incident, as its page shows them: what is broken, and where to look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from notifier.alertmanager.matchers import quoted
from notifier.clock import is_known
from notifier.incidents.severities import Severities
from notifier.rendering.context import Notification, ShownAlert
from notifier.web.pages.moments import LocalMoment, Viewer

_RUNBOOKS = ("runbook_url", "runbook")
_DASHBOARDS = ("dashboard_url", "dashboard", "__dashboard_url__")
_TEXTS = ("summary", "description", "message")


@dataclass(frozen=True, slots=True)
class Link:
    """A button that leads to another program."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Problem:
    """What is broken: the *summary* and *description* that the alerts share, or those of the most severe one."""

    summary: str
    description: str
    notes: tuple[tuple[str, str], ...]
    """The other annotations, by name."""
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert of the incident, firing or resolved; *summary* is empty where it is that of the incident."""

    name: str
    where: str
    severity: str
    level: str
    since: LocalMoment | None
    ended: LocalMoment | None
    summary: str
    links: tuple[Link, ...]


def problem_of(notification: Notification) -> Problem:
    """Return what is broken, by the alerts of *notification*."""
    first = notification.alerts[0]
    annotations = {**first.annotations, **notification.common_annotations}
    summary, description = annotations.get("summary", ""), annotations.get("description", "")
    message = annotations.get("message", "")
    links = [
        *_named(annotations, "Runbook", _RUNBOOKS),
        *(_link("Graph", first.generator_url)),
        *(_link("Alertmanager", _alertmanager(notification))),
        *_named(annotations, "Dashboard", _DASHBOARDS),
        *_others(annotations),
    ]
    used = {"summary" if summary else "message" if message else "description", "description"}
    notes = [
        (name, value)
        for name, value in sorted(annotations.items())
        if name not in used and not _is_url(value)
    ]
    return Problem(
        summary or message or description,
        description if summary or message else "",
        tuple(notes),
        tuple(links),
    )


def listed(
    alerts: Sequence[ShownAlert], summary: str, viewer: Viewer, severities: Severities
) -> list[ListedAlert]:
    """Return *alerts* sorted by name and place, numbers by their value; *summary* is that of the incident."""
    shown = []
    for alert in sorted(
        alerts, key=lambda one: (one.status == "resolved", _natural(one.name), _natural(one.target))
    ):
        text = alert.annotations.get("summary") or alert.annotations.get("description") or ""
        shown.append(
            ListedAlert(
                alert.name,
                alert.target,
                alert.severity,
                severities.level(alert.severity),
                viewer.moment(alert.starts_at) if is_known(alert.starts_at) else None,
                viewer.maybe(alert.ends_at),
                "" if text == summary else text,
                tuple(_link("Graph", alert.generator_url)),
            )
        )
    return shown


def _natural(text: str) -> list[tuple[int, str]]:
    """Return the key by which ``db-2`` comes before ``db-10``: digits by their count, then by themselves."""
    pieces = re.split("([0-9]+)", text.lower())  # digits are at the odd positions
    return [
        (len(piece.lstrip("0")), piece.lstrip("0")) if number % 2 else (0, piece)
        for number, piece in enumerate(pieces)
    ]


def _is_url(value: str) -> bool:
    return value.startswith(("https://", "http://")) and " " not in value


def _link(name: str, url: str) -> list[Link]:
    return [Link(name, url)] if _is_url(url) else []


def _named(annotations: dict[str, str], name: str, keys: Sequence[str]) -> list[Link]:
    return next(([Link(name, annotations[key])] for key in keys if _is_url(annotations.get(key, ""))), [])


def _others(annotations: dict[str, str]) -> list[Link]:
    known = {*_RUNBOOKS, *_DASHBOARDS, *_TEXTS}
    return [
        Link(name.removesuffix("_url").replace("_", " ").capitalize(), value)
        for name, value in sorted(annotations.items())
        if name not in known and _is_url(value)
    ]


def _alertmanager(notification: Notification) -> str:
    """Return the page of Alertmanager that lists the alerts of the group."""
    if not notification.external_url:
        return ""
    matchers = ",".join(
        f"{name}={quoted(value)}" for name, value in sorted(notification.group_labels.items())
    )
    base = f"{notification.external_url.rstrip('/')}/#/alerts"
    return f"{base}?filter={quote('{' + matchers + '}', safe='')}" if matchers else base
