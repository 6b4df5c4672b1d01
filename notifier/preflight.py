"""What `notifier check` looks at beyond the file itself: templates at work, URLs that would be blocked, the account."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from notifier.alertmanager import parse_webhook
from notifier.config import Loading, Ovh
from notifier.ovh.api import Account, Api
from notifier.ovh.errors import CallFailed
from notifier.rendering import Notification, Templates, notification, sample_failures
from notifier.yaml_source import Path_, Position, Problem

_URL_IN_TEMPLATE = re.compile(r"https?://|www\.|generator_url|external_url|runbook_url|_url\b")

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
        if (message := notification(webhook, (0,), "sample")) is not None:
            yield message


def look_over(loading: Loading, templates: Templates) -> list[Problem]:
    """Return warnings about a configuration that can be used: templates that fail on a sample, URLs."""
    configuration = loading.configuration
    if configuration is None:
        return []
    problems = []
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
        if configuration.ovh.sender_for_response:
            problems += _urls(templates, name)
    return problems


def _urls(templates: Templates, name: str) -> Iterator[Problem]:
    for file, source in templates.sources(name):
        for number, line in enumerate(source.splitlines(), 1):
            if found := _URL_IN_TEMPLATE.search(line):
                yield Problem(
                    Position(number, found.start() + 1),
                    ("templates",),
                    "URLs are removed from messages: OVHcloud blocks them with sender_for_response",
                    is_warning=True,
                    file=file,
                )


@dataclass(frozen=True, slots=True)
class Finding:
    """What OVHcloud says of one thing."""

    subject: str
    is_good: bool
    message: str


def online(api: Api, settings: Ovh) -> list[Finding]:
    """Ask OVHcloud about credentials, rights, account, sender and credits; nothing is sent or changed."""
    findings = []
    try:
        name = api.service_name()
        account = api.account()
    except CallFailed as error:
        return [Finding("credentials", False, str(error))]
    findings.append(Finding("credentials", True, f"they reach {name}"))
    findings.append(_rights(api))
    findings += _account(name, account)
    if settings.sender is not None:
        findings.append(_sender(api, settings.sender))
    return findings


def _rights(api: Api) -> Finding:
    try:
        api.try_right_to_send()
    except CallFailed as error:
        return Finding("rights", False, f"{error}; obtain a key with: notifier ovh login")
    return Finding("rights", True, "jobs may be sent")


def _account(name: str, account: Account) -> Iterator[Finding]:
    yield Finding("account", account.status == "enable", f"{name} has status {account.status}")
    left = account.credits_left
    if left is None:
        yield Finding("credits", True, "not told")
    else:
        advice = "" if left >= 1 else "; buy some, nothing can be sent"
        yield Finding("credits", left >= 1, f"{left:g} left{advice}")


def _sender(api: Api, name: str) -> Finding:
    try:
        status = api.sender(name).status
    except CallFailed as error:
        if error.failure.status != 404:
            return Finding("sender", False, str(error))
        known = ", ".join(api.senders()) or "none"
        return Finding("sender", False, f'"{name}" is not declared; declared are: {known}')
    hint = "; OVHcloud validates senders within about 72 hours" if status == "waitingValidation" else ""
    return Finding("sender", status == "enable", f'"{name}" has status {status}{hint}')
