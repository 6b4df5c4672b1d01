"""Checks of `notifier check` beyond the file itself: templates at work, URLs that would be blocked, the account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from notifier import second_channel
from notifier.alertmanager.api import ask
from notifier.alertmanager.webhook import parse_webhook
from notifier.config.alertmanager import AlertmanagerConfig
from notifier.config.loading import Loading
from notifier.config.model import Configuration
from notifier.config.source import Path_, Position, Problem
from notifier.config.types import mask_password
from notifier.oncall import calendars
from notifier.oncall.calendars import CalendarError
from notifier.oncall.schedules import COVER, Schedules
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.ovh.models import Account
from notifier.ovh.telephony import line_of
from notifier.rendering.compose import sample_failures
from notifier.rendering.context import Notification, build_notification
from notifier.rendering.templates import Templates

_URL_IN_TEMPLATE = re.compile(
    r"https?://|www\.|generator_url|external_url|runbook_url|_url\b|mailto:|\w@\w+\.\w|\+\d{8,}"
)

_MAX_GAPS = 20
_SECONDS = 10.0
"""How long the members of Alertmanager together have to answer."""

_SAMPLE = """{"receiver": "sample", "status": "%(status)s", "version": "4", "groupKey": "{}:{}",
"alerts": [{"status": "%(status)s", "labels": {"alertname": "InstanceDown", "severity": "critical",
"instance": "db-1.example.net:9100", "job": "node"}, "annotations": {"summary": "Instance db-1 down",
"description": "db-1 has been unreachable for 5 minutes."}, "startsAt": "2026-01-01T00:00:00Z",
"endsAt": "%(ends_at)s", "generatorURL": "", "fingerprint": "1"}],
"groupLabels": {"alertname": "InstanceDown"},
"commonLabels": {"alertname": "InstanceDown", "severity": "critical", "instance": "db-1.example.net:9100"},
"commonAnnotations": {"summary": "Instance db-1 down"}, "externalURL": "http://alertmanager"}"""


def samples() -> Iterator[Notification]:
    """Yield a notification that fires and one that is resolved, as Alertmanager sends them."""
    for status, ends_at in (("firing", "0001-01-01T00:00:00Z"), ("resolved", "2026-01-01T00:10:00Z")):
        webhook = parse_webhook((_SAMPLE % {"status": status, "ends_at": ends_at}).encode())
        if (message := build_notification(webhook, (0,), "sample")) is not None:
            yield message


def look_over(loading: Loading, templates: Templates, schedules: Schedules, now: datetime) -> list[Problem]:
    """Return warnings about a configuration that can be used: templates that fail on a sample, URLs, gaps."""
    configuration = loading.configuration
    if configuration is None:
        return []
    problems = [
        problem
        for number in range(len(schedules.by_name))
        for problem in _gaps(loading, schedules, number, now)
    ]
    for name in dict.fromkeys(receiver.template for receiver in configuration.receivers):
        path: Path_ = ("templates",)
        problems += [
            Problem(
                Position(failure.line, 1),
                path,
                f"fails on a sample alert: {failure.reason}; write {{{{ x | default('') }}}} for what may be missing",
                is_warning=True,
                file=failure.file,
            )
            for failure in sample_failures(templates, name, samples())
        ]
        if not configuration.sends_urls:
            problems += _urls(templates, name)
    return problems


def _gaps(loading: Loading, schedules: Schedules, number: int, now: datetime) -> Iterator[Problem]:
    """Yield the periods within `COVER` in which nobody is on call."""
    schedule, path = list(schedules.by_name.values())[number], ("schedules", number)
    if schedule.calendar is not None and schedule.calendar.fetched_at is None:
        return  # it is not known what it says
    gaps = schedule.gaps(now, now + COVER)
    for gap in gaps[:_MAX_GAPS]:
        times = (f"{at.astimezone(schedule.zone):%Y-%m-%d %H:%M}" for at in (gap.start, gap.end))
        message = f'nobody is on call in "{schedule.name}" from {" to ".join(times)}'
        yield Problem(loading.position(path), path, message, is_warning=True)
    if len(gaps) > _MAX_GAPS:
        message = (
            f'nobody is on call in "{schedule.name}" at {len(gaps) - _MAX_GAPS} more times within 90 days'
        )
        yield Problem(loading.position(path), path, message, is_warning=True)


def read_calendars(
    loading: Loading, schedules: Schedules, now: datetime, until: datetime, *, urls: bool
) -> list[Problem]:
    """Read the calendars that schedules are kept in, up to *until*; those at URLs only with *urls*.

    Returns warnings about what cannot be read, and events that name no contact.
    """
    problems = []
    contacts = [contact.name for contact in loading.configuration.contacts] if loading.configuration else []
    for number, schedule in enumerate(schedules.by_name.values()):
        calendar, path = schedule.calendar, ("schedules", number, "ics")
        if calendar is None or ("://" in calendar.source and not urls):
            continue
        try:
            events = calendars.parse(
                calendars.fetch(calendar.source), schedule.zone, now - calendars.BEHIND, until
            )
        except CalendarError as error:
            problems.append(Problem(loading.position(path), path, f"the calendar {error}", is_warning=True))
            continue
        assigned, unknown = calendars.match_contacts(events, contacts)
        calendar.set_events(assigned, now)
        problems += [
            Problem(loading.position(path), path, f'the event "{name}" names no contact', is_warning=True)
            for name in unknown[:_MAX_GAPS]
        ]
    return problems


def _urls(templates: Templates, name: str) -> Iterator[Problem]:
    for file, source in templates.sources(name):
        for number, line in enumerate(source.splitlines(), 1):
            if found := _URL_IN_TEMPLATE.search(line):
                yield Problem(
                    Position(number, found.start() + 1),
                    ("templates",),
                    "URLs, e-mail addresses and telephone numbers are removed from messages: OVHcloud refuses them "
                    "with sender_for_response",
                    is_warning=True,
                    file=file,
                )


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check at OVHcloud."""

    subject: str
    is_good: bool
    message: str


def online(apis: Sequence[OvhClient]) -> list[Finding]:
    """Ask OVHcloud about credentials, rights, account, sender and credits; nothing is sent or changed.

    Of several accounts, each finding names its own.
    """
    if len(apis) == 1:
        return _found_of(apis[0])
    return [replace(one, subject=f"{api.name}: {one.subject}") for api in apis for one in _found_of(api)]


def ask_alertmanager(settings: AlertmanagerConfig) -> list[Finding]:
    """Ask each member of Alertmanager for its status."""
    answers, problems = ask(settings.apis, (), _SECONDS)
    findings = [Finding("alertmanager", True, f"{mask_password(one.member.url)} answers") for one in answers]
    return findings + [
        Finding("alertmanager", False, f"{mask_password(url)}: {reason}") for url, reason in problems.items()
    ]


def send_test(configuration: Configuration, contact: str, text: str) -> list[Finding]:
    """Send *text* to each fallback URL of the contact of that name; return the outcome of each."""
    findings = []
    for url in configuration.fallback_urls(contact):
        name = second_channel.service(url)
        try:
            second_channel.send(url, "Notifier", text, _SECONDS)
        except second_channel.SendingFailed as failure:
            findings.append(Finding(name, False, f"not sent: {failure}"))
        else:
            findings.append(Finding(name, True, "sent"))
    return findings


def _found_of(api: OvhClient) -> list[Finding]:
    findings = []
    try:
        name = api.service_name()
        account = api.account()
    except CallFailed as error:
        return [Finding("credentials", False, f"{error}; {_way_out(api, error)}")]
    findings.append(Finding("credentials", True, f"they reach {name}"))
    findings.append(_rights(api))
    findings += _account(name, account)
    if api.settings.sender is not None:
        findings.append(_sender(api, api.settings.sender))
    return findings


def _way_out(api: OvhClient, error: CallFailed) -> str:
    """Return what to do when OVHcloud does not let the account be asked."""
    status, code = error.failure.status, error.failure.code or ""
    if status is None:
        return f"can {api.settings.endpoint} be reached from here, and is ovh.endpoint right?"
    if status == 429 or status >= 500:
        return "OVHcloud has a problem; try again later"
    if status == 404:
        return "is ovh.service_name that of an SMS account of this customer?"
    if "SIGNATURE" in code:
        return "is ovh.application_secret that of ovh.application_key?"
    if code == "INVALID_KEY":
        return "is ovh.application_key that of an application at ovh.endpoint?"
    return _how_to_get_rights(api)


def _how_to_get_rights(api: OvhClient) -> str:
    if api.settings.client_id:
        return "give the service account the IAM policy that this prints: notifier ovh policy"
    return "obtain a key with: notifier ovh login"


def _rights(api: OvhClient) -> Finding:
    calls: list[tuple[str, Callable[[], object]]] = [
        ("send jobs", api.try_right_to_send),
        ("read pending jobs", api.pending_ids),
        ("read receipts", partial(api.outgoing_ids, "check")),
    ]
    if api.settings.takes_replies:
        calls.append(("read replies", partial(api.incoming_ids, datetime.now(UTC))))
    if (line := line_of(api)) is not None:
        calls += [("make phone calls", line.try_right_to_call), ("read phone calls", line.identifiers)]
    for what, call in calls:
        try:
            call()
        except CallFailed as error:
            is_of_line = what.endswith("phone calls") and error.failure.status == 404
            way_out = "is ovh.telephony right?" if is_of_line else _way_out(api, error)
            return Finding("rights", False, f"cannot {what}: {error}; {way_out}")
    return Finding("rights", True, f"they suffice to {', '.join(what for what, _ in calls)}")


def _account(name: str, account: Account) -> Iterator[Finding]:
    yield Finding("account", account.status == "enable", f"{name} has status {account.status}")
    left = account.credits_left
    if left is None:
        yield Finding("credits", True, "not reported by OVHcloud")
    else:
        advice = "" if left >= 1 else "; buy some, nothing can be sent"
        yield Finding("credits", left >= 1, f"{left:g} left{advice}")


def _sender(api: OvhClient, name: str) -> Finding:
    try:
        status = api.sender(name).status
    except CallFailed as error:
        if error.failure.status != 404:
            return Finding("sender", False, str(error))
        known = ", ".join(api.senders()) or "none"
        return Finding("sender", False, f'"{name}" is not declared; declared are: {known}')
    hint = "; OVHcloud validates senders within about 72 hours" if status == "waitingValidation" else ""
    return Finding("sender", status == "enable", f'"{name}" has status {status}{hint}')
