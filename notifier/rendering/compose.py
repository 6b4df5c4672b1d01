"""From a notification to the text of an SMS: the Jinja environment, its filters, the largest text that fits.

A template is rendered with as many alerts as fit into the receiver's ``max_parts``; ``more`` holds how
many did not. Labels and annotations are hostile: they reach the template as plain values, cleaned of
control characters and of bounded length, and are never read as templates. A template that fails costs
no page: `compose` falls back on a text of its own and says what failed.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import (
    FunctionLoader,
    StrictUndefined,
    Template,
    TemplateNotFound,
    TemplateSyntaxError,
    pass_context,
)
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.alertmanager.durations import brief_duration
from notifier.alertmanager.webhook import Alert, Status, Webhook
from notifier.assets import TEMPLATES
from notifier.clock import is_known
from notifier.config.model import Recipient
from notifier.config.source import Position, Problem
from notifier.incidents.lifecycle import urgency
from notifier.incidents.reply_codes import reply_code
from notifier.limited_process import MOST_MEMORY, ProcessEnded
from notifier.rendering.template_process import TemplateProcess
from notifier.sms.encoding import (
    Encoding,
    Size,
    clean,
    clip,
    encode,
    measure,
    room,
    shorten,
    without_contacts,
)

MAX_ALERTS = 300
"""How many alerts a template is given at most; six parts could not name more."""
MAX_VALUE = 400
"""How many characters of a label or annotation a template is given at most."""
MAX_LABELS = 100
MAX_SOURCE = 64 * 1024
"""The characters that a template may have."""
_NAME = 63
"""How many characters of a name or place are shown: no host or pod has a longer one."""

_TITLE = 60
_TITLE_ALERTS = 10
_GIST = 20

LATE_AFTER = timedelta(minutes=2)
"""A page that goes out later than this after its webhook says that it is late."""

_WHERE = (
    "pod",
    "deployment",
    "statefulset",
    "daemonset",
    "persistentvolumeclaim",
    "instance",
    "host",
    "hostname",
    "node",
    "nodename",
    "pod",
    "container",
    "device",
    "target",
    "service",
    "job",
)
_SITE = ("cluster", "datacenter", "dc", "site", "region", "environment", "env", "namespace")
_MONTHS = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "fr": ("janv", "févr", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc"),
}
UNKNOWN_TIME = "?"
"""What a text says for a time that the sender left out, or that cannot be."""
_LONGEST = timedelta(days=3650)
"""A longer duration was computed from a time that is not known."""
_LATE = {"en": "LATE {}: ", "fr": "RETARD {} : "}


# -- what a template sees ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert as templates see it. *ends_at* is None while it fires."""

    status: Status
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None
    generator_url: str
    fingerprint: str

    @property
    def name(self) -> str:
        """The alert's name; an alert without one goes by its most telling label."""
        return clip(self.labels.get("alertname", ""), _NAME) or self.where or "alert"

    @property
    def severity(self) -> str:
        """The severity label, empty if there is none."""
        return self.labels.get("severity", "")

    @property
    def where(self) -> str:
        """What the alert is about: its instance, host, pod or the like, short; empty if it says none."""
        return clip(short_host(self.target), _NAME)

    @property
    def target(self) -> str:
        """The same at full length."""
        return next((self.labels[name] for name in _WHERE if self.labels.get(name)), "")


@dataclass(frozen=True, slots=True)
class Notification:
    """What one receiver is told of one webhook: those of its alerts that reach it, most urgent first."""

    receiver: str
    status: Status
    alerts: tuple[ShownAlert, ...]
    unseen: int
    """How many more alerts there are than *alerts* holds."""
    group_labels: Mapping[str, str]
    common_labels: Mapping[str, str]
    common_annotations: Mapping[str, str]
    external_url: str
    group_key: str
    truncated_alerts: int
    notification_reason: str
    route_labels: Mapping[str, str]
    number: int | None = None
    """The number of the incident."""
    reason: str = "page"
    """Why it is told: page, escalation, reopened, update or reminder."""

    @property
    def severity(self) -> str:
        """The highest severity among the alerts that fire, or among all when none does."""
        return self.alerts[0].severity if self.alerts else ""


def _value(text: str) -> str:
    return clip(clean(text[: MAX_VALUE * 4]).replace("\n", " ").strip(), MAX_VALUE)


def _mapping(labels: Mapping[str, str]) -> dict[str, str]:
    return {_value(name): _value(value) for name, value in list(labels.items())[:MAX_LABELS]}


def _shown(alert: Alert) -> ShownAlert:
    ends_at = alert.ends_at if alert.status == "resolved" else None
    return ShownAlert(
        alert.status,
        _mapping(alert.labels),
        _mapping(alert.annotations),
        alert.starts_at,
        ends_at if ends_at and is_known(ends_at) else None,
        _value(alert.generator_url),
        _value(alert.fingerprint),
    )


def _urgency(alert: Alert) -> tuple[bool, int, datetime]:
    rank = urgency(alert.labels.get("severity", ""))
    return alert.status == "resolved", rank, alert.starts_at


def _common(
    alerts: Sequence[Alert], given: Mapping[str, str], key: Callable[[Alert], Mapping[str, str]]
) -> Any:
    """Return the pairs of *given* and of the first alert that all alerts share."""
    candidates = {**key(alerts[0]), **given} if alerts else given
    return {
        name: value for name, value in candidates.items() if all(key(a).get(name) == value for a in alerts)
    }


def build_notification(
    webhook: Webhook, positions: Iterable[int], receiver: str, *, send_resolved: bool = True
) -> Notification | None:
    """Return what *receiver* is told of the alerts at *positions* in *webhook*; None if that is nothing.

    Without *send_resolved*, alerts that are resolved are left out.
    """
    chosen = [webhook.alerts[position] for position in positions]
    whole = len(chosen) == len(webhook.alerts)
    if not send_resolved:
        chosen = [alert for alert in chosen if alert.status == "firing"]
    if not chosen:
        return None
    chosen.sort(key=_urgency)
    if len(chosen) == len(webhook.alerts):
        labels, annotations = webhook.common_labels, webhook.common_annotations
    else:
        labels = _common(chosen, webhook.common_labels, lambda alert: alert.labels)
        annotations = _common(chosen, webhook.common_annotations, lambda alert: alert.annotations)
    truncated = webhook.truncated_alerts if whole else 0
    return Notification(
        receiver=receiver,
        status="firing" if any(alert.status == "firing" for alert in chosen) else "resolved",
        alerts=tuple(map(_shown, chosen[:MAX_ALERTS])),
        unseen=len(chosen[MAX_ALERTS:]) + truncated,
        group_labels=_mapping(webhook.group_labels),
        common_labels=_mapping(labels),
        common_annotations=_mapping(annotations),
        external_url=_value(webhook.external_url),
        group_key=_value(webhook.group_key),
        truncated_alerts=truncated,
        notification_reason=_value(webhook.notification_reason),
        route_labels=_mapping(webhook.route_labels),
    )


def notification_from_incident(
    title: str,
    labels: Mapping[str, str],
    since: datetime,
    receiver: str,
    group_key: str,
    ended_at: datetime | None = None,
) -> Notification:
    """Return what is told of an incident of which no webhook can be had: its *title*, *labels* and *since* when."""
    status: Status = "firing" if ended_at is None else "resolved"
    alert = ShownAlert(status, {"alertname": title, **_mapping(labels)}, {}, since, ended_at, "", "")
    return Notification(
        receiver=receiver,
        status=status,
        alerts=(replace(alert, labels={**alert.labels, "alertname": title}),),
        unseen=0,
        group_labels={},
        common_labels=alert.labels,
        common_annotations={},
        external_url="",
        group_key=_value(group_key),
        truncated_alerts=0,
        notification_reason="",
        route_labels={},
    )


# -- filters ----------------------------------------------------------------------------------------------


def short_host(host: str) -> str:
    """Return the first label of a host name, without domain and port; addresses keep all but the port.

    ``db-1.gra1.example.net:9100`` is ``db-1``, ``10.0.0.1:9100`` is ``10.0.0.1``, ``[::1]:80`` is
    ``::1``, ``https://shop.example.net/cart`` is ``shop.example.net``.
    """
    if match := re.match(r"[a-z][a-z0-9+.-]*://(?:[^/@\s]*@)?([^/:\s]+)", host):
        return match[1]
    if match := re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::\d+)?", host):
        return match[1]
    name = re.sub(r":\d+$", "", host) if host.count(":") == 1 else host
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.split(".", 1)[0] if re.fullmatch(r"[\w.-]+", name) else name


def common_prefix(hosts: Iterable[str]) -> str:
    """Return *hosts* as one list that says what they share once: ``db-1,2,3``, ``web-a1, mail``.

    A prefix is shared up to where a number begins, by neighbours in the list; each host stands once.
    """

    def stem(host: str) -> str:
        return host.rstrip("0123456789")

    shared = []
    for prefix, group in groupby(dict.fromkeys(host for host in hosts if host), key=stem):
        members = list(group)
        tails = [member[len(prefix) :] for member in members]
        if len(members) == 1 or len(prefix) < 2 or not all(tails):
            shared += members
        else:
            shared.append(prefix + ",".join(sorted(tails, key=int)))
    return ", ".join(shared)


def _where(alerts: Iterable[ShownAlert]) -> str:
    """Return the places of *alerts*; hosts of the same short name in different domains at full length."""
    targets: dict[str, set[str]] = {}
    shown = [(alert.where, re.sub(r":\d+$", "", alert.target)) for alert in alerts]
    for short, target in shown:
        targets.setdefault(short, set()).add(target)
    return common_prefix(
        short if len(targets[short]) == 1 else clip(target, _NAME) for short, target in shown
    )


def _by_name(alerts: Iterable[ShownAlert]) -> list[tuple[str, list[ShownAlert]]]:
    names: dict[str, list[ShownAlert]] = {}
    for alert in alerts:
        names.setdefault(alert.name, []).append(alert)
    return list(names.items())


def _site(labels: Mapping[str, str]) -> str:
    return next((labels[name] for name in _SITE if labels.get(name)), "")


def since(alerts: Sequence[ShownAlert]) -> datetime | None:
    """Return when the oldest of *alerts* that are as severe as the first began.

    A less severe alert is left out, since an old warning must not make a new fault look old.
    """
    return min((a.starts_at for a in alerts if a.severity == alerts[0].severity), default=None)


def _ended(alerts: Sequence[ShownAlert]) -> datetime | None:
    return max((alert.ends_at for alert in alerts if alert.ends_at), default=None)


def _duration(value: timedelta | float) -> str:
    duration = value if isinstance(value, timedelta) else timedelta(seconds=value)
    return brief_duration(duration) if abs(duration) < _LONGEST else UNKNOWN_TIME


@pass_context
def _local_time(context: Context, value: datetime) -> str:
    contact, now = context["contact"], context["now"]
    if not is_known(value):
        return UNKNOWN_TIME
    local, today = value.astimezone(contact.time_zone), now.astimezone(contact.time_zone)
    if local.date() == today.date():
        return f"{local:%H:%M}"
    month = _MONTHS.get(contact.language, _MONTHS["en"])[local.month - 1]
    year = f" {local.year}" if local.year != today.year else ""
    return f"{local.day} {month}{year} {local:%H:%M}"


@pass_context
def _as_it_is(_: Context, value: object) -> object:
    return value


def _environment(load: Callable[[str], tuple[str, str, None] | None]) -> ImmutableSandboxedEnvironment:
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
        "duration": _duration,
        "local_time": _local_time,
        "short_host": short_host,
        "common_prefix": common_prefix,
        "where": _where,
        "site": _site,
        "by_name": _by_name,
        "since": since,
        "ended": _ended,
        "clip": clip,
        "room": room,
    }
    return environment


# -- templates --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TemplateFailure:
    """Why a template gave no text, and where."""

    template: str
    file: str
    line: int
    reason: str


class Templates:
    """The templates by the names of their files: those of the operator before the shipped ones."""

    def __init__(self, files: Mapping[str, Path] | None = None) -> None:
        """Read and compile *files* and the shipped templates; `problems` says which do not compile."""
        self.problems: list[Problem] = []
        self.process: TemplateProcess | None = None
        """Where texts are composed; None for this process."""
        self._sources: dict[str, tuple[str, str]] = {}
        for name, file in (TEMPLATES | dict(files or {})).items():
            try:
                source = file.read_text(encoding="utf-8")
            except OSError as error:
                self._report(file, 1, f"cannot be read: {error.strerror}")
            except UnicodeDecodeError:
                self._report(file, 1, "is not UTF-8; save it as UTF-8")
            else:
                if len(source) > MAX_SOURCE:
                    self._report(file, 1, f"is larger than {MAX_SOURCE // 1024} KiB")
                else:
                    self._sources[name] = source, str(file)
        self._compile()

    @classmethod
    def of_sources(cls, sources: Mapping[str, tuple[str, str]]) -> Templates:
        """Return the templates by the names of their files, each with its source and path."""
        made = cls.__new__(cls)
        made.problems, made.process, made._sources = [], None, dict(sources)
        made._compile()
        return made

    def isolate(self) -> None:
        """Have texts composed in a process of its own from now on, with limits of memory and computing."""
        self.process = TemplateProcess(self._sources)

    def start(self) -> None:
        """Start that process now, if there is one, so that the first page does not wait for it."""
        if self.process is not None:
            self.process.start()

    def close(self) -> None:
        """End that process, if there is one, once it has answered."""
        if self.process is not None:
            self.process.close()

    def _compile(self) -> None:
        self._compiled: dict[str, Template] = {}
        sources = {name: (source, file, None) for name, (source, file) in self._sources.items()}
        self._environment = _environment(sources.get)
        for name, (_, file) in self._sources.items():
            try:
                self._compiled[name] = self._environment.get_template(name)
            except TemplateSyntaxError as error:
                self._report(Path(error.filename or file), error.lineno, f"does not compile: {error.message}")
            except RecursionError:
                self._report(Path(file), 1, "does not compile: it is nested too deep")
            except Exception as error:  # Python refuses what Jinja made of it, as dict(a=1, a=2)
                self._report(Path(file), 1, f"does not compile: {error}")

    def _report(self, file: Path, line: int, message: str) -> None:
        self.problems.append(Problem(Position(line, 1), ("templates",), message, file=str(file)))

    def sources(self, name: str) -> list[tuple[str, str]]:
        """Return the file and source of the template *name* in every language it has."""
        stem = re.compile(rf"{re.escape(name)}(\.[a-z]{{2}})?\.j2")
        return [(file, text) for key, (text, file) in self._sources.items() if stem.fullmatch(key)]

    def _file(self, name: str, language: str) -> str:
        localised = f"{name}.{language}.j2"
        return localised if localised in self._sources else f"{name}.j2"

    def render(self, name: str, language: str, context: Mapping[str, Any]) -> str | TemplateFailure:
        """Render the template *name*, in *language* where there is one for it."""
        file_name = self._file(name, language)
        template = self._compiled.get(file_name)
        if template is None:
            return TemplateFailure(name, file_name, 1, "there is no such template, or it does not compile")
        try:
            return template.render(context)
        except TemplateNotFound as error:
            return self._failure(
                name, file_name, error, f'there is no template "{str(error.message)[:200]}" to include'
            )
        except MemoryError as error:
            return self._failure(name, file_name, error, f"it takes more than {MOST_MEMORY // 1024**2} MiB")
        except Exception as error:
            return self._failure(name, file_name, error, f"{type(error).__name__}: {str(error)[:200]}")

    def ended(self, name: str, language: str, error: ProcessEnded) -> TemplateFailure:
        """Return that rendering the template *name* ended with *error*."""
        _, file = self._sources.get(self._file(name, language), ("", name))
        return TemplateFailure(name, file, 1, str(error))

    def _failure(self, name: str, file_name: str, error: BaseException, reason: str) -> TemplateFailure:
        file, line = self._sources[file_name][1], 1
        files = {source[1] for source in self._sources.values()}
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename in files:
                file, line = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
            traceback = traceback.tb_next
        return TemplateFailure(name, file, line, reason)


# -- composing --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """How a receiver wants its messages written. *urls* is False where OVHcloud would block them."""

    template: str = "page"
    max_parts: int = 2
    encoding: Encoding = Encoding.GSM
    urls: bool = True
    code_key: bytes | None = None
    """The secret of reply codes, where the number of the incident is followed by one."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that can be sent: what it takes, how many alerts it names, and what failed on the way."""

    text: str
    size: Size
    shown: int
    more: int
    failure: TemplateFailure | None = field(default=None, compare=False)


def compose(
    templates: Templates,
    message: Notification,
    recipient: Recipient,
    style: Style,
    now: datetime,
) -> Text:
    """Return the text of *message* for *recipient* with the most alerts that fit into ``style.max_parts``.

    A template that fails is reported in the result, which then holds a text written without it.
    """
    label: int | str | None = message.number
    if label is not None and style.code_key is not None:
        label = f"{label}{reply_code(style.code_key, recipient.phone, now)}"
    style = replace(style, code_key=None)  # templates need no secret
    if templates.process is None:
        return write_text(templates, message, recipient, style, now, label)
    try:
        return from_json(templates.process.compose(style.template, (message, recipient, style, now, label)))
    except ProcessEnded as error:
        failure = templates.ended(style.template, recipient.language, error)
        return write_text(templates, message, recipient, style, now, label, failure)


def write_text(
    templates: Templates,
    message: Notification,
    recipient: Recipient,
    style: Style,
    now: datetime,
    label: int | str | None,
    failure: TemplateFailure | None = None,
) -> Text:
    """Return the text of *message* with the most alerts that fit, composed in this process.

    The most alerts are found exactly for every template whose text does not get shorter by naming one alert more.

    Args:
        templates: the templates.
        message: what the text is about.
        recipient: whom it is for.
        style: how the receiver wants it written.
        now: the time that the text is written at.
        label: what stands in place of the number of the incident.
        failure: how the template is known to fail; the built-in text is written then.
    """
    failures = [] if failure is None else [failure]

    def write(shown: int) -> str:
        text: str | TemplateFailure = ""
        if not failures:  # else it would fail again, after as long
            context = _context(message, recipient, now, shown, label)
            text = templates.render(style.template, recipient.language, context)
            if isinstance(text, TemplateFailure):
                failures.append(text)
            elif not text.strip():
                failures.append(
                    TemplateFailure(style.template, f"{style.template}.j2", 1, "the text is empty")
                )
        if failures or isinstance(text, TemplateFailure):
            text = plain_text(message, shown, label)
        text = encode(text.strip(), style.encoding)
        text = text if style.urls else without_contacts(text)
        return text.strip() or encode(plain_text(message, shown, label), Encoding.GSM)

    text, shown = fit(write, len(message.alerts), style.max_parts)
    more = len(message.alerts) - shown + message.unseen
    return Text(text, measure(text), shown, more, failures[0] if failures else None)


def to_json(text: Text) -> dict[str, Any]:
    """Return *text* as JSON has it, for `from_json`."""
    return {
        "text": text.text,
        "shown": text.shown,
        "more": text.more,
        "failure": text.failure and astuple(text.failure),
    }


def from_json(given: Mapping[str, Any]) -> Text:
    """Return the text that `to_json` was given."""
    failure = TemplateFailure(*given["failure"]) if given["failure"] else None
    return Text(given["text"], measure(given["text"]), given["shown"], given["more"], failure)


def say_late(text: str, late: timedelta, language: str, max_parts: int) -> str:
    """Return *text* saying first how late it comes, shortened to the words that then fit."""
    prefix = _LATE.get(language, _LATE["en"]).format(brief_duration(late))
    return shorten(prefix + text, max_parts)


def fit(write: Callable[[int], str], count: int, max_parts: int) -> tuple[str, int]:
    """Return the text with the most of *count* alerts that takes at most *max_parts*, and that number.

    When not even one alert fits, its text is shortened to the words that do.
    """
    best: tuple[str, int] | None = None

    def fits(shown: int) -> bool:
        nonlocal best
        text = write(shown)
        if measure(text).parts > max_parts:
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
    message: Notification, recipient: Recipient, now: datetime, shown: int, label: int | str | None
) -> dict[str, Any]:
    alerts = message.alerts[:shown]
    return {
        "receiver": message.receiver,
        "status": message.status,
        "severity": message.severity,
        "alerts": alerts,
        "firing": tuple(alert for alert in alerts if alert.status == "firing"),
        "resolved": tuple(alert for alert in alerts if alert.status == "resolved"),
        "more": len(message.alerts) - shown + message.unseen,
        "group_labels": message.group_labels,
        "common_labels": message.common_labels,
        "common_annotations": message.common_annotations,
        "external_url": message.external_url,
        "group_key": message.group_key,
        "truncated_alerts": message.truncated_alerts,
        "notification_reason": message.notification_reason,
        "incident": label,
        "reason": message.reason,
        "route_labels": message.route_labels,
        "contact": recipient,
        "now": now,
    }


def plain_text(message: Notification, shown: int, label: int | str | None = None) -> str:
    """Return what is sent when a template fails: status, severity, names and places, and how many more.

    *label* stands in place of the number of the incident.
    """
    label = message.number if label is None else label
    more = len(message.alerts) - shown + message.unseen
    number = f"#{label}" if label is not None else ""
    named = _named(message.alerts[:shown]) or "alerts"
    return " ".join(
        filter(
            None, (message.status.upper(), number, message.severity, named, f"+{more} more" if more else "")
        )
    )


def _named(alerts: Iterable[ShownAlert]) -> str:
    return "; ".join(
        f"{name} {where}" if (where := _where(group)) and where != name else name
        for name, group in _by_name(alerts)
    )


def title(message: Notification) -> str:
    """Return what *message* is about in a few words: names and places of its alerts, and how many more there are."""
    found = ""
    for shown in range(1, min(len(message.alerts), _TITLE_ALERTS) + 1):
        more = len(message.alerts) - shown + message.unseen
        named, rest = _named(message.alerts[:shown]), f" +{more}" if more else ""
        if found and len(named + rest) > _TITLE:
            break
        found = clip(named, _TITLE - len(rest)) + rest
    return found or "alerts"


def digest_entry(message: Notification) -> str:
    """Return how many alerts of which name and severity *message* tells of, as JSON for a digest to add up."""
    counts = Counter((alert.name, alert.severity.lower()) for alert in message.alerts)
    return json.dumps([message.status, [[*key, count] for key, count in counts.most_common(_GIST)]])


def sample_failures(
    templates: Templates, name: str, samples: Iterable[Notification]
) -> list[TemplateFailure]:
    """Return what fails when the template *name* is tried on *samples*, in each language it has."""
    failures = []
    for message in samples:
        for language in ("en", "fr"):
            recipient = Recipient("sample", "+33639980000", language, ZoneInfo("UTC"))
            now = message.alerts[0].starts_at + timedelta(minutes=5)
            failure = compose(templates, message, recipient, Style(template=name), now).failure
            if failure is not None and failure not in failures:
                failures.append(failure)
    return failures
