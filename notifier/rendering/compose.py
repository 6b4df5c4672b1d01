"""The text of an SMS, composed from a notification: with as many alerts as fit.

A template is rendered with as many alerts as fit into the receiver's ``max_parts``; ``more`` holds how
many did not. Labels and annotations are hostile: they reach the template as plain values, cleaned of
control characters and of bounded length, and are never read as templates. A template that fails costs
no page: if a template fails, `compose` returns a built-in text and the failure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from notifier.alertmanager.durations import brief_duration
from notifier.incidents.reply_codes import reply_code
from notifier.limited_process import ProcessEnded
from notifier.rendering.context import Notification, ShownAlert
from notifier.rendering.filters import by_name, where_of
from notifier.rendering.phrases import phrase
from notifier.rendering.templates import TemplateFailure, Templates
from notifier.sms.encoding import (
    Encoding,
    Size,
    clip,
    encode,
    measure,
    shorten,
    without_contacts,
)
from notifier.sms.recipient import Recipient

_TITLE = 60
_TITLE_ALERTS = 10
_GIST = 20

LATE_AFTER = timedelta(minutes=2)
"""A page that is sent later than this after its webhook begins with LATE."""


@dataclass(frozen=True, slots=True)
class Style:
    """How a receiver wants its messages written. *urls* is False if OVHcloud would block them."""

    template: str = "page"
    max_parts: int = 2
    encoding: Encoding = Encoding.GSM
    urls: bool = True
    code_key: bytes | None = None
    """The secret of reply codes, where the number of the incident is followed by one."""
    ending: str = ""
    """Something as long as the link at the end of a page, which is added when it is sent; empty without one."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that can be sent: its size with the link that follows, the number of alerts it names, and the template
    that failed.
    """

    text: str
    size: Size
    shown: int
    more: int
    failure: TemplateFailure | None = field(default=None, compare=False)
    ending: str = ""
    """Something as long as the link that follows."""


def compose(
    templates: Templates,
    notification: Notification,
    recipient: Recipient,
    style: Style,
    now: datetime,
) -> Text:
    """Return the text of *notification* for *recipient* with the most alerts that fit into ``style.max_parts``.

    A template that fails is reported in the result, which then holds a text written without it.
    """
    shown_number: int | str | None = notification.number
    if shown_number is not None and style.code_key is not None:
        shown_number = f"{shown_number}{reply_code(style.code_key, recipient.phone, now)}"
    style = replace(style, code_key=None)  # templates need no secret
    if templates.process is None:
        return write_text(templates, notification, recipient, style, now, shown_number)
    try:
        written = templates.process.compose(
            style.template, (notification, recipient, style, now, shown_number)
        )
        return from_json(written)
    except ProcessEnded as error:
        failure = templates.ended(style.template, recipient.language, error)
        return write_text(templates, notification, recipient, style, now, shown_number, failure)


def write_text(
    templates: Templates,
    notification: Notification,
    recipient: Recipient,
    style: Style,
    now: datetime,
    shown_number: int | str | None,
    failure: TemplateFailure | None = None,
) -> Text:
    """Return the text of *notification* with the most alerts that fit, composed in this process.

    The most alerts are found exactly for every template whose text does not get shorter by naming one alert more.

    Args:
        templates: the templates.
        notification: the subject of the text.
        recipient: the person who gets it.
        style: how the receiver wants it written.
        now: the time that the text is written at.
        shown_number: the number of the incident, with the reply code if one is needed; None if it has no number.
        failure: how the template is known to fail; the built-in text is written then.
    """
    failures = [] if failure is None else [failure]
    ending = style.ending

    def write(shown: int) -> str:
        text: str | TemplateFailure = ""
        if not failures:  # else it would fail again, after as long
            context = _context(notification, recipient, now, shown, shown_number)
            text = templates.render(style.template, recipient.language, context)
            if isinstance(text, TemplateFailure):
                failures.append(text)
            elif not text.strip():
                failures.append(
                    TemplateFailure(style.template, f"{style.template}.j2", 1, "the text is empty")
                )
        if failures or isinstance(text, TemplateFailure):
            text = plain_text(notification, shown, shown_number)
        text = encode(text.strip(), style.encoding, ending)
        text = text if style.urls else without_contacts(text)
        return text.strip() or encode(plain_text(notification, shown, shown_number), Encoding.GSM)

    if ending and measure(write(min(1, len(notification.alerts))) + ending).parts > style.max_parts:
        ending = ""  # a link must not replace what the page is about
    text, shown = fit(write, len(notification.alerts), style.max_parts, ending)
    more = len(notification.alerts) - shown + notification.unseen
    return Text(text, measure(text + ending), shown, more, failures[0] if failures else None, ending)


def to_json(text: Text) -> dict[str, Any]:
    """Return *text* as JSON has it, for `from_json`."""
    return {
        "text": text.text,
        "shown": text.shown,
        "more": text.more,
        "failure": text.failure and astuple(text.failure),
        "ending": text.ending,
    }


def from_json(given: Mapping[str, Any]) -> Text:
    """Return the text that `to_json` was given."""
    failure = TemplateFailure(*given["failure"]) if given["failure"] else None
    size = measure(given["text"] + given["ending"])
    return Text(given["text"], size, given["shown"], given["more"], failure, given["ending"])


def say_late(text: str, late: timedelta, language: str, max_parts: int) -> str:
    """Return *text* with a prefix that gives the delay, shortened to the words that fit."""
    return shorten(phrase("late", language, late=brief_duration(late)) + text, max_parts)


def fit(write: Callable[[int], str], count: int, max_parts: int, ending: str = "") -> tuple[str, int]:
    """Return the text with the most of *count* alerts that takes at most *max_parts*, and that number.

    *ending* follows the text, and at least one alert must fit before it. When not even one alert fits without one, its
    text is shortened to the words that do.
    """
    best: tuple[str, int] | None = None

    def fits(shown: int) -> bool:
        nonlocal best
        text = write(shown)
        if measure(text + ending).parts > max_parts:
            return False
        best = (text, shown)
        return True

    if fits(count) and best:
        return best
    low, high = 0, 1  # low fits, or is nothing; high does not, or is not known to
    while high < count and fits(high):
        low, high = high, high * 2
    high = min(high, count)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    if best is None:
        shown = min(1, count)
        return shorten(write(shown), max_parts), shown
    return best


def _context(
    notification: Notification,
    recipient: Recipient,
    now: datetime,
    shown: int,
    shown_number: int | str | None,
) -> dict[str, Any]:
    alerts = notification.alerts[:shown]
    return {
        "receiver": notification.receiver,
        "status": notification.status,
        "severity": notification.severity,
        "alerts": alerts,
        "firing": tuple(alert for alert in alerts if alert.status == "firing"),
        "resolved": tuple(alert for alert in alerts if alert.status == "resolved"),
        "more": len(notification.alerts) - shown + notification.unseen,
        "group_labels": notification.group_labels,
        "common_labels": notification.common_labels,
        "common_annotations": notification.common_annotations,
        "external_url": notification.external_url,
        "group_key": notification.group_key,
        "truncated_alerts": notification.truncated_alerts,
        "notification_reason": notification.notification_reason,
        "incident": shown_number,
        "reason": notification.reason,
        "route_labels": notification.route_labels,
        "contact": recipient,
        "now": now,
    }


def plain_text(notification: Notification, shown: int, shown_number: int | str | None = None) -> str:
    """Return the text that is sent when a template fails: status, severity, names and places, and how many more.

    *shown_number* takes the place of the number of the incident.
    """
    shown_number = notification.number if shown_number is None else shown_number
    more = len(notification.alerts) - shown + notification.unseen
    number = f"#{shown_number}" if shown_number is not None else ""
    named = _named(notification.alerts[:shown]) or "alerts"
    return " ".join(
        filter(
            None,
            (
                notification.status.upper(),
                number,
                notification.severity,
                named,
                f"+{more} more" if more else "",
            ),
        )
    )


def _named(alerts: Iterable[ShownAlert]) -> str:
    return "; ".join(
        f"{name} {where}" if (where := where_of(group)) and where != name else name
        for name, group in by_name(alerts)
    )


def title(notification: Notification, most: int = _TITLE) -> str:
    """Return a title of *notification*: names and places of its alerts, and how many more there are.

    It has *most* characters at most.
    """
    found = ""
    for shown in range(1, min(len(notification.alerts), _TITLE_ALERTS) + 1):
        more = len(notification.alerts) - shown + notification.unseen
        named, rest = _named(notification.alerts[:shown]), f" +{more}" if more else ""
        if found and len(named + rest) > most:
            break
        found = clip(named, most - len(rest)) + rest
    return found or "alerts"


def digest_entry(notification: Notification) -> str:
    """Return the number of alerts of *notification* by name and severity, as JSON for a digest to add up."""
    counts = Counter((alert.name, alert.severity.lower()) for alert in notification.alerts)
    return json.dumps([notification.status, [[*key, count] for key, count in counts.most_common(_GIST)]])


def sample_failures(
    templates: Templates, name: str, samples: Iterable[Notification]
) -> list[TemplateFailure]:
    """Return the failures of the template *name* on *samples*, in each of its languages."""
    failures = []
    for notification in samples:
        for language in ("en", "fr"):
            recipient = Recipient("sample", "+33639980000", language, ZoneInfo("UTC"))
            now = notification.alerts[0].starts_at + timedelta(minutes=5)
            failure = compose(templates, notification, recipient, Style(template=name), now).failure
            if failure is not None and failure not in failures:
                failures.append(failure)
    return failures
