"""Commands about a configuration: ``check``, ``route``, ``render``, ``oncall``."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier import routing
from notifier.advice import advise, unknown_receivers
from notifier.alertmanager.matchers import MatcherError, parse_label
from notifier.alertmanager.webhook import WebhookError, parse_webhook
from notifier.cli.options import (
    ConfigFile,
    Output,
    OutputFormat,
    app,
    completer,
    fail,
    load_runtime,
    print_json,
    say,
    usable,
)
from notifier.clock import utc_now
from notifier.config.model import Configuration
from notifier.config.source import Problem
from notifier.config.times import Moment, parse_moment
from notifier.incidents.heartbeats import beats
from notifier.oncall.calendars import AHEAD
from notifier.oncall.schedules import COVER, Schedule, Schedules, Shift, shift_json
from notifier.ovh.client import OvhClient
from notifier.planning.plans import preview
from notifier.planning.texts import OutgoingText
from notifier.preflight import Finding, ask_alertmanager, look_over, online, read_calendars, send_test
from notifier.reload import load


@app.command(epilog="Example: notifier check --config notifier.yml --online")
def check(
    config: ConfigFile,
    ask_online: Annotated[
        bool,
        typer.Option(
            "--online",
            help="Also check credentials, rights, account, sender and credits at OVHcloud, and ask Alertmanager.",
        ),
    ] = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--send-test",
            metavar="NAME",
            help="With --online: send a test message to the fallback URLs of this contact.",
        ),
    ] = None,
    alertmanager: Annotated[
        Path | None,
        typer.Option(
            help="Alertmanager's configuration file: warn about its receivers that Notifier does not have."
        ),
    ] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Check a configuration and its templates; print every error and warning as FILE:LINE:COL: path: message."""
    if to is not None and not ask_online:
        fail("--send-test needs --online")
    loading, templates = load(config)
    problems = list(loading.problems)
    findings: list[Finding] = []
    if loading.configuration is not None:
        now, schedules = utc_now(), Schedules.of(loading.configuration, {})
        problems += read_calendars(loading, schedules, now, now + COVER, urls=ask_online)
        problems += look_over(loading, templates, schedules, now)
        problems += advise(loading)
        if alertmanager is not None:
            problems += _receivers_missing(loading.configuration, alertmanager)
        if ask_online:
            findings = _ask_online(loading.configuration, to)
    problems.sort(key=lambda problem: (problem.file or "", problem.position))
    is_good = loading.configuration is not None and all(finding.is_good for finding in findings)
    if output is Output.JSON:
        print_json(
            {
                "valid": is_good,
                "problems": [_problem_json(problem, config) for problem in problems],
                "online": [{"subject": f.subject, "ok": f.is_good, "message": f.message} for f in findings],
            }
        )
    else:
        for problem in problems:
            print_problem(problem, config)
        for finding in findings:
            say(f"{'ok' if finding.is_good else 'FAILED'}: {finding.subject}: {finding.message}")
        if loading.configuration is not None:
            summary = _summary(loading.configuration, config)
            say(summary if is_good else f"{summary}; but not everything works, see FAILED above")
    if not is_good:
        raise typer.Exit(1)


def _receivers_missing(configuration: Configuration, alertmanager: Path) -> list[Problem]:
    """Return a warning for each receiver in the file of *alertmanager* that Notifier does not have."""
    try:
        return unknown_receivers(configuration, alertmanager)
    except OSError as error:
        fail(f"{alertmanager} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(f"{alertmanager}: {error}")


def _ask_online(configuration: Configuration, to: str | None) -> list[Finding]:
    """Ask OVHcloud and Alertmanager; with *to*, send a test message to the fallback URLs of that contact."""
    findings = online([OvhClient(account) for account in configuration.accounts])
    if configuration.alertmanager is not None:
        findings += ask_alertmanager(configuration.alertmanager)
    if to is not None:
        try:
            configuration.recipient(to)
        except ValueError as error:
            fail(str(error))
        text = "A test message of Notifier: this second channel works."
        sent = send_test(configuration, to, text)
        findings += [replace(one, subject=f"fallback of {to} by {one.subject}") for one in sent]
        if not sent:
            findings.append(Finding(f"fallback of {to}", False, "there is no URL for this contact"))
    return findings


def print_problem(problem: Problem, config: Path) -> None:
    """Print *problem*; on a terminal in colour, with the line that it is about."""
    line_of_problem = problem.render(str(config))
    if not sys.stdout.isatty():
        say(line_of_problem)
        return
    from rich.console import Console
    from rich.text import Text

    style = "yellow" if problem.is_warning else "red"
    console, (where, _, rest) = Console(highlight=False, soft_wrap=True), line_of_problem.partition(": ")
    console.print(Text.assemble((where, "bold"), ": ", (rest, style)))
    line = _line(Path(problem.file) if problem.file else config, problem.position.line)
    if line.strip() and "fallback" not in problem.path:  # such a URL holds secrets
        number = f"{problem.position.line} | "
        console.print(Text(f"  {number}{line}", "dim"))
        console.print(Text("  " + " " * (len(number) + problem.position.column - 1) + "^", style))


def _line(file: Path, number: int) -> str:
    """Return the line of that *number*, without tabs, which would shift the marker below it; empty if there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[number - 1].replace("\t", " ") if number <= len(lines) else ""


def _problem_json(problem: Problem, config: Path) -> dict[str, Any]:
    return {
        "file": problem.file or str(config),
        "line": problem.position.line,
        "column": problem.position.column,
        "path": list(problem.path),
        "severity": "warning" if problem.is_warning else "error",
        "message": problem.message,
    }


def _summary(configuration: Configuration, file: Path) -> str:
    def count(number: int, noun: str) -> str:
        return f"{number} {noun}{'' if number == 1 else 's'}"

    sections = (("contact", configuration.contacts), ("schedule", configuration.schedules))
    counted = [
        count(len(items), noun) for noun, items in (*sections, ("receiver", configuration.receivers)) if items
    ]
    return f"{file} is valid: {', '.join(counted)}"


@app.command(epilog="Example: notifier route --config notifier.yml alertname=DiskFull severity=critical")
def route(
    config: ConfigFile,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL=VALUE...", help="The labels of an alert.")],
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the receivers that an alert with these labels is routed to, one per line."""
    try:
        parsed = dict(map(parse_label, labels))
    except MatcherError as error:
        sys.stderr.write(f"notifier: {error}\n")
        raise typer.Exit(2) from None
    runtime, now = load_runtime(config), utc_now()
    where, named = runtime.routing, parsed.get(routing.RECEIVER_LABEL, "")
    reached = list(where.split(named, [parsed]))
    if heartbeats := beats(runtime.configuration.heartbeats, parsed):
        sys.stderr.write(f"note: this alert is the heartbeat {', '.join(heartbeats)}, and pages nobody\n")
        reached = []
    for receiver in reached:
        if by := where.muted_by(where.ways(named, parsed, receiver), now):
            how = ", ".join(where.describe(name, now) for name in by)
            sys.stderr.write(f"note: {receiver} is muted now, {how}; what still fires is paged afterwards\n")
    if output is Output.JSON:
        print_json(reached)
    else:
        say("\n".join(reached))


@app.command(epilog="Example: notifier render --config notifier.yml --payload webhook.json")
def render(
    config: ConfigFile,
    payload: Annotated[
        Path, typer.Option("--payload", "-p", help="A file with a webhook's JSON; - for stdin.")
    ],
    receiver: Annotated[
        str | None,
        typer.Option(
            help="The receiver; otherwise the routing tree decides.",
            autocompletion=completer(lambda found: [receiver.name for receiver in found.receivers]),
        ),
    ] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the SMS that a webhook would send; send nothing."""
    runtime = load_runtime(config)
    if receiver is not None and runtime.configuration.receiver(receiver) is None:
        fail(f'there is no receiver "{receiver}" in {config}')
    try:
        body = sys.stdin.buffer.read() if str(payload) == "-" else payload.read_bytes()
        webhook = parse_webhook(body)
    except OSError as error:
        fail(f"{payload} cannot be read: {error.strerror}")
    except WebhookError as error:
        fail(f"{payload}: {error}")
    plans = preview(runtime, webhook, receiver, utc_now())
    pages = [(planned.routed.receiver.name, page) for planned in plans for page in planned.pages]
    if output is Output.JSON:
        print_json([_page_json(name, page) for name, page in pages])
    else:
        say("\n\n".join(page_text(name, page) for name, page in pages) or "nothing would be sent")
    for _, page in pages:
        if (failure := page.text.failure) is not None:
            sys.stderr.write(f"{failure.file}:{failure.line}:1: the template failed: {failure.reason}\n")


def _page_json(receiver: str, page: OutgoingText) -> dict[str, Any]:
    size = page.text.size
    return {
        "receiver": receiver,
        "contact": page.recipient.name or None,
        "phone": page.recipient.phone,
        "text": page.text.text + page.text.ending,
        "encoding": "gsm" if size.coding == "7bits" else "unicode",
        "length": size.length,
        "parts": size.parts,
        "credits": size.parts,
        "alerts_shown": page.text.shown,
        "alerts_more": page.text.more,
    }


def page_text(receiver: str, page: OutgoingText) -> str:
    size = page.text.size
    coding = "GSM 7-bit" if size.coding == "7bits" else "UCS-2"
    parts = f"{size.parts} part{'s' if size.parts > 1 else ''}"
    credits_ = f"{size.parts} credit{'s' if size.parts > 1 else ''} to France"
    to, text = page.recipient.name or page.recipient.phone, page.text.text + page.text.ending
    return f"{receiver} -> {to} ({coding}, {size.length} characters, {parts}, {credits_})\n{text}"


@app.command(epilog="Example: notifier oncall --config notifier.yml platform --until 2027-01-31")
def oncall(
    config: ConfigFile,
    schedule: Annotated[
        str | None,
        typer.Argument(
            help="The schedule; default all.",
            autocompletion=completer(lambda found: [schedule.name for schedule in found.schedules]),
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time, as 2026-01-05T09:00; default now.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Print every shift up to this time.")
    ] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print who is on call, and until when. Times without an offset are in the schedule's zone."""
    loading, configuration, _ = usable(config)
    schedules = Schedules.of(configuration, {})
    if schedule is not None and schedule not in schedules.by_name:
        known = ", ".join(schedules.by_name) or "none"
        fail(f'there is no schedule "{schedule}" in {config}; known are: {known}')
    if not schedules.by_name:
        fail(f"there are no schedules in {config}; add one under schedules")
    start, end = moment_of("--at", at), moment_of("--until", until)
    chosen = [schedules[schedule]] if schedule is not None else list(schedules.by_name.values())
    spans = []
    for one in chosen:
        begins = utc_now() if start is None else start.instant(one.zone)
        ends = None if end is None else end.instant(one.zone)
        if ends is not None and ends <= begins:
            raise typer.BadParameter("--until must be after --at")
        spans.append((one, begins, ends))
    first, last = min(begins for _, begins, _ in spans), max(ends or begins for _, begins, ends in spans)
    for problem in read_calendars(loading, schedules, first, last + AHEAD, urls=True):
        sys.stderr.write(problem.render(str(config)) + "\n")
    shifts = [shift for one, begins, ends in spans for shift in _shifts(one, begins, ends)]
    if output is Output.JSON:
        print_json([shift_json(shift) for shift in shifts])
        return
    for shift in shifts:
        zone = schedules[shift.schedule].zone
        times = (f"{instant.astimezone(zone):%a %Y-%m-%d %H:%M}" for instant in (shift.start, shift.end))
        say(f"{shift.schedule}: {shift.contact or 'NOBODY'} from {' to '.join(times)} ({zone})")


def _shifts(schedule: Schedule, start: datetime, end: datetime | None) -> list[Shift]:
    """Return the shifts from *start* up to *end*, each at its full length; without *end*, the one at *start*."""
    now = schedule.at(start)
    if end is None:
        return [now]
    later = schedule.shifts(now.end, end) if now.end < end else []
    return [now, *later[:-1], schedule.at(later[-1].start)] if later else [now]


def moment_of(option: str, text: str | None) -> Moment | None:
    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None
