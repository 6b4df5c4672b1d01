"""The page of the settings: the configuration in use, its reloads, and a test of routes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

import yaml

from notifier.alertmanager.matchers import MatcherError, parse_label
from notifier.alertmanager.webhook import Webhook
from notifier.incidents.heartbeats import beats
from notifier.planning.division import described_mute, divide
from notifier.planning.plans import preview
from notifier.routing import RECEIVER_LABEL
from notifier.runtime import Runtime
from notifier.sms.phones import mask
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.moments import LocalMoment, counted

_MAX_RELOADS = 5


@dataclass(frozen=True, slots=True)
class PreviewedText:
    """A text that an alert would send."""

    to: str
    text: str
    size: str


@dataclass(frozen=True, slots=True)
class PreviewedRoute:
    """A receiver that an alert would be routed to, and its texts; *note* is the reason why it would page nobody now."""

    receiver: str
    note: str | None
    texts: Sequence[PreviewedText]


@dataclass(frozen=True, slots=True)
class ShownReload:
    """A reload; *problem* is the reason of a failure."""

    at: LocalMoment
    by: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class SettingsView(View):
    """The content of the page: *problem* is the error in the *labels*, *sections* the configuration as YAML."""

    template: ClassVar[str] = "settings.html"
    labels: str
    problem: str | None
    routes: Sequence[PreviewedRoute]
    sections: Sequence[tuple[str, str]]
    reloads: Sequence[ShownReload]


def settings_view(context: PageContext, reader: Reader, labels: str) -> SettingsView:
    """Return the page for *reader*, with the routes of an alert with these *labels*."""
    runtime, viewer = context.current.runtime, context.viewer(reader)
    routes, problem = [], None
    if labels.strip():
        try:
            routes = preview_routes(runtime, labels, context.clock())
        except (MatcherError, ValueError) as error:
            problem = f'{error}; write alertname="DiskFull" severity="critical"'
    return SettingsView(
        labels=labels,
        problem=problem,
        routes=routes,
        sections=[
            (str(name), context.redaction.hide(_as_yaml({name: value})))
            for name, value in runtime.written.items()
        ],
        reloads=[
            ShownReload(viewer.moment(reload.at), reload.by, reload.problem)
            for reload in context.store.reloads.latest(_MAX_RELOADS)
        ],
    )


def _as_yaml(section: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(section), sort_keys=False, allow_unicode=True, width=100)


def preview_routes(runtime: Runtime, labels: str, now: datetime) -> list[PreviewedRoute]:
    """Return the routes of an alert with these *labels* (``name="value" …``), with the texts.

    Raises:
        MatcherError, ValueError: they are not labels.
    """
    parsed = dict(parse_label(word) for word in shlex.split(labels))
    webhook = Webhook.model_validate(
        {
            "receiver": parsed.pop(RECEIVER_LABEL, ""),
            "status": "firing",
            "alerts": [{"status": "firing", "labels": parsed, "startsAt": now}],
            "groupKey": "{}:{}",
            "groupLabels": {name: value for name, value in parsed.items() if name == "alertname"},
            "commonLabels": parsed,
        }
    )
    if heartbeats := beats(runtime.configuration.heartbeats, parsed):
        note = f"It is a sign of life of the heartbeat {', '.join(heartbeats)}, and pages nobody."
        return [PreviewedRoute("", note, ())]
    muted = {
        routed.receiver.name: described_mute(runtime, routed, now)
        for routed in divide(runtime, webhook, None, now)
    }
    return [
        PreviewedRoute(
            planned.routed.receiver.name,
            f"Muted now {by}; alerts that still fire afterwards are paged then."
            if (by := muted.get(planned.routed.receiver.name))
            else None,
            [
                PreviewedText(
                    page.recipient.name or mask(page.recipient.phone),
                    page.text.text + page.text.ending,
                    f"{counted(page.text.size.parts, 'part')}, {counted(page.text.size.length, 'character')}",
                )
                for page in planned.pages
            ],
        )
        for planned in preview(runtime, webhook, None, now)
    ]
