"""The page of the settings: a test of routes and of one's own phone, and the configuration in use with its reloads."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from notifier.store.reloads import Reload
from notifier.web.pages.context import PageContext, Reader, View
from notifier.web.pages.moments import LocalMoment, Viewer
from notifier.web.pages.on_call import Calendar, calendar_of

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
class OwnPhone:
    """The reader's phone: its number, masked, the senders of messages, and the calendar of the reader's shifts."""

    number: str
    senders: Sequence[str]
    calendar: Calendar


@dataclass(frozen=True, slots=True)
class SettingsView(View):
    """The content of the page: *problem* is the error in the *labels*, *sections* the configuration as YAML."""

    template: ClassVar[str] = "settings.html"
    me: str
    phone: OwnPhone | None
    """None where the reader is no contact."""
    sent: str
    """The outcome of the test a moment ago: sent, or empty."""
    labels: str
    problem: str | None
    routes: Sequence[PreviewedRoute]
    sections: Sequence[tuple[str, str]]
    reloads: Sequence[tuple[LocalMoment, Reload]]


def settings_view(
    context: PageContext, reader: Reader, labels: str, base_url: str, sent: str = ""
) -> SettingsView:
    """Return the page for *reader*, with the routes of an alert with these *labels*.

    *base_url* is the address by which the reader reaches the pages; *sent* is the outcome of a test a moment ago.
    """
    runtime, viewer = context.current.runtime, context.viewer(reader)
    routes, problem = [], None
    if labels.strip():
        try:
            routes = preview_routes(runtime, labels, viewer)
        except (MatcherError, ValueError) as error:
            problem = f'{error}; write alertname="DiskFull" severity="critical"'
    return SettingsView(
        me=reader.name,
        phone=_own_phone(context, reader, base_url),
        sent=sent,
        labels=labels,
        problem=problem,
        routes=routes,
        sections=[
            (str(name), context.redaction.hide(_as_yaml({name: value})))
            for name, value in runtime.written.items()
        ],
        reloads=[(viewer.moment(one.at), one) for one in context.store.reloads.latest(_MAX_RELOADS)],
    )


def _own_phone(context: PageContext, reader: Reader, base_url: str) -> OwnPhone | None:
    runtime = context.current.runtime
    contact = runtime.contacts.get(reader.name)
    if contact is None:
        return None
    accounts = runtime.configuration.accounts
    senders = {account.sender or account.virtual_number or "" for account in accounts}
    return OwnPhone(mask(contact.phone), sorted(senders - {""}), calendar_of(runtime, contact.name, base_url))


def _as_yaml(section: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(section), sort_keys=False, allow_unicode=True, width=100)


def preview_routes(runtime: Runtime, labels: str, viewer: Viewer) -> list[PreviewedRoute]:
    """Return the routes of an alert with these *labels* (``name="value" …``) now, with the texts, for *viewer*.

    Raises:
        MatcherError, ValueError: they are not labels.
    """
    now, words = viewer.now, viewer.words
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
        text = "It is a sign of life of the heartbeat %(name)s, and pages nobody."
        note = words(text, name=", ".join(heartbeats))
        return [PreviewedRoute("", note, ())]
    muted = {
        routed.receiver.name: described_mute(runtime, routed, now)
        for routed in divide(runtime, webhook, None, now)
    }
    return [
        PreviewedRoute(
            planned.routed.receiver.name,
            words("Muted now %(how)s; alerts that still fire afterwards are paged then.", how=by)
            if (by := muted.get(planned.routed.receiver.name))
            else None,
            [
                PreviewedText(
                    page.recipient.name or mask(page.recipient.phone),
                    page.text.text + page.text.ending,
                    ", ".join(
                        (
                            words.plural("%(num)s part", "%(num)s parts", page.text.size.parts),
                            words.plural("%(num)s character", "%(num)s characters", page.text.size.length),
                        )
                    ),
                )
                for page in planned.pages
            ],
        )
        for planned in preview(runtime, webhook, None, now)
    ]
