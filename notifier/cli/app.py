"""The commands. Exit codes: 0 done, 1 the answer is no or something failed, 2 usage."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from notifier import __version__, routing
from notifier.alertmanager.matchers import MatcherError, parse_label
from notifier.alertmanager.webhook import WebhookError, parse_webhook
from notifier.cli import sachet
from notifier.cli.client import DEFAULT_URL, Client, ServiceError
from notifier.clock import utc_now
from notifier.config.advice import advise, unknown_receivers
from notifier.config.loading import ConfigurationError, Loading, ovh_for_login
from notifier.config.model import Configuration, Storage
from notifier.config.ovh import Ovh
from notifier.config.source import Problem
from notifier.config.types import Moment, parse_moment
from notifier.ids import new_id
from notifier.incidents.heartbeats import beats
from notifier.logs import LogFormat, LogLevel, configure_logging
from notifier.oncall.calendars import AHEAD
from notifier.oncall.schedules import COVER, Schedule, Schedules, Shift, shift_json
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed, Fate
from notifier.ovh.models import Outgoing
from notifier.ovh.rights import policy
from notifier.planning.plans import preview
from notifier.planning.texts import OutgoingText
from notifier.preflight import Finding, look_over, online, read_calendars
from notifier.reload import load
from notifier.rendering.templates import Templates
from notifier.runtime import Runtime, prepare
from notifier.server import AddressUnavailable
from notifier.service import Service
from notifier.sms.encoding import measure
from notifier.store.database import open_backend
from notifier.store.engine import StoreRefused, StoreUnavailable
from notifier.store.sqlite import backup
from notifier.store.transfer import transfer
from notifier.workers.actions import sendable
from notifier.workers.receipts import REASONS

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="notifier",
    help="An on-call pager: Alertmanager's webhook in, SMS through OVHcloud out.",
    epilog="Exits with 0 when done, 1 when the answer is no or something failed, 2 for usage. "
    "COMMAND --help has an example of each.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ovh_app = typer.Typer(help="The OVHcloud account.", no_args_is_help=True)
app.add_typer(ovh_app, name="ovh")
storage_app = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(storage_app, name="storage")
migrate_app = typer.Typer(help="Moving here from other programs.", no_args_is_help=True)
app.add_typer(migrate_app, name="migrate")


class Output(StrEnum):
    """How data is printed."""

    TEXT = "text"
    JSON = "json"


def _names(of: Callable[[Configuration], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Return what completes a name of the configuration that the words before it give."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        file = ctx.params.get("config")
        configuration = load(Path(file))[0].configuration if file is not None else None
        return [name for name in of(configuration) if name.startswith(incomplete)] if configuration else []

    return complete


ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file, notifier.yml.")]
OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="How to print: text or json.")]

AccountName = Annotated[
    str | None,
    typer.Option(
        "--account",
        help="The account, by its service_name; the first one if left out.",
        autocompletion=_names(lambda found: [account.name for account in found.accounts if account.name]),
    ),
]


def main() -> None:
    """Run the command that the arguments name."""
    app()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _print_json(value: Any) -> None:
    _say(json.dumps(value, ensure_ascii=False, indent=2))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"notifier: {message}\n")
    raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"notifier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def _usable(file: Path) -> tuple[Loading, Configuration, Templates]:
    """Load *file*, or print every error in it and exit with 1."""
    loading, templates = load(file)
    if loading.configuration is None:
        for problem in sorted(loading.errors, key=lambda problem: problem.position):
            sys.stderr.write(problem.render(str(file)) + "\n")
        raise typer.Exit(1)
    return loading, loading.configuration, templates


def _runtime(file: Path) -> Runtime:
    loading, _, templates = _usable(file)
    return prepare(loading, templates, lambda call: None)


# -- the service ------------------------------------------------------------------------------------------


@app.command(epilog="Example: notifier serve --config /etc/notifier/notifier.yml --log-format json")
def serve(
    config: ConfigFile,
    log_format: Annotated[LogFormat, typer.Option(help="logfmt or json.")] = LogFormat.LOGFMT,
    log_level: Annotated[LogLevel, typer.Option(help="debug, info, warning or error.")] = LogLevel.INFO,
) -> None:
    """Run the service. SIGHUP reloads the configuration, SIGTERM drains and stops."""
    redaction = configure_logging(log_format, log_level)
    try:
        Service(config, redaction).run()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    except (StoreRefused, StoreUnavailable) as error:
        _fail(f"the database cannot be used: {error}")
    except AddressUnavailable as error:
        _fail(str(error))


@app.command(epilog="Example: notifier demo --port 8080")
def demo(
    port: Annotated[
        int, typer.Option(help="The port to listen on; another is taken if it is not free.")
    ] = 9876,
    once: Annotated[bool, typer.Option("--once", help="Stop when the first message has arrived.")] = False,
    browser: Annotated[
        bool | None, typer.Option(help="Open the phones in a browser; by default on a terminal.")
    ] = None,
) -> None:
    """Try it all without an account: the emulator, the service, a sample alert, and the SMS it becomes."""
    from notifier.demo import run

    is_wanted = sys.stdout.isatty() if browser is None else browser
    raise typer.Exit(run(port, once=once, browser=is_wanted))


# -- looking at a configuration -----------------------------------------------------------------------------


@app.command(epilog="Example: notifier check --config notifier.yml --online")
def check(
    config: ConfigFile,
    ask_online: Annotated[
        bool,
        typer.Option("--online", help="Also ask OVHcloud: credentials, rights, account, sender, credits."),
    ] = False,
    alertmanager: Annotated[
        Path | None,
        typer.Option(
            help="Alertmanager's configuration file: warn of its receivers that are not configured here."
        ),
    ] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Check a configuration and its templates; print every error as FILE:LINE:COL: message."""
    loading, templates = load(config)
    problems = list(loading.problems)
    findings: list[Finding] = []
    if loading.configuration is not None:
        now, schedules = utc_now(), Schedules.of(loading.configuration, {})
        problems += read_calendars(loading, schedules, now, now + COVER, urls=ask_online)
        problems += look_over(loading, templates, schedules, now)
        problems += advise(loading)
        if alertmanager is not None:
            try:
                problems += unknown_receivers(loading.configuration, alertmanager)
            except OSError as error:
                _fail(f"{alertmanager} cannot be read: {error.strerror}")
            except ValueError as error:
                _fail(f"{alertmanager}: {error}")
        if ask_online:
            findings = online([OvhClient(account) for account in loading.configuration.accounts])
    problems.sort(key=lambda problem: (problem.file or "", problem.position))
    is_good = loading.configuration is not None and all(finding.is_good for finding in findings)
    if output is Output.JSON:
        _print_json(
            {
                "valid": is_good,
                "problems": [_problem_json(problem, config) for problem in problems],
                "online": [{"subject": f.subject, "ok": f.is_good, "message": f.message} for f in findings],
            }
        )
    else:
        for problem in problems:
            _say_problem(problem, config)
        for finding in findings:
            _say(f"{'ok' if finding.is_good else 'FAILED'}: {finding.subject}: {finding.message}")
        if loading.configuration is not None:
            told = _summary(loading.configuration, config)
            _say(told if is_good else f"{told}; but nothing can be sent like this, see above")
    if not is_good:
        raise typer.Exit(1)


def _say_problem(problem: Problem, config: Path) -> None:
    """Print *problem*; on a terminal in colour, with the line that it is about."""
    told = problem.render(str(config))
    if not sys.stdout.isatty():
        _say(told)
        return
    from rich.console import Console
    from rich.text import Text

    style = "yellow" if problem.is_warning else "red"
    console, (where, _, rest) = Console(highlight=False, soft_wrap=True), told.partition(": ")
    console.print(Text.assemble((where, "bold"), ": ", (rest, style)))
    line = _line(Path(problem.file) if problem.file else config, problem.position.line)
    if line.strip():
        number = f"{problem.position.line} | "
        console.print(Text(f"  {number}{line}", "dim"))
        console.print(Text("  " + " " * (len(number) + problem.position.column - 1) + "^", style))


def _line(file: Path, number: int) -> str:
    """Return the line of that *number*, without tabs, which would move what is below it; empty if there is none."""
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
    """Print which receivers an alert with these labels reaches, one a line."""
    try:
        parsed = dict(map(parse_label, labels))
    except MatcherError as error:
        sys.stderr.write(f"notifier: {error}\n")
        raise typer.Exit(2) from None
    runtime, now = _runtime(config), utc_now()
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
        _print_json(reached)
    else:
        _say("\n".join(reached))


@app.command(epilog="Example: notifier render --config notifier.yml --payload webhook.json")
def render(
    config: ConfigFile,
    payload: Annotated[
        Path, typer.Option("--payload", "-p", help="A file with a webhook's JSON; - for stdin.")
    ],
    receiver: Annotated[
        str | None,
        typer.Option(
            help="The receiver, past the routing tree.",
            autocompletion=_names(lambda found: [receiver.name for receiver in found.receivers]),
        ),
    ] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the SMS that a webhook would send; send nothing."""
    runtime = _runtime(config)
    if receiver is not None and runtime.configuration.receiver(receiver) is None:
        _fail(f'there is no receiver "{receiver}" in {config}')
    try:
        body = sys.stdin.buffer.read() if str(payload) == "-" else payload.read_bytes()
        webhook = parse_webhook(body)
    except OSError as error:
        _fail(f"{payload} cannot be read: {error.strerror}")
    except WebhookError as error:
        _fail(f"{payload}: {error}")
    plans = preview(runtime, webhook, receiver, utc_now())
    pages = [(planned.part.receiver.name, page) for planned in plans for page in planned.pages]
    if output is Output.JSON:
        _print_json([_page_json(name, page) for name, page in pages])
    else:
        _say("\n\n".join(_page_text(name, page) for name, page in pages) or "nothing would be sent")
    for _, page in pages:
        if (failure := page.text.failure) is not None:
            sys.stderr.write(f"{failure.file}:{failure.line}:1: the template failed: {failure.reason}\n")


def _page_json(receiver: str, page: OutgoingText) -> dict[str, Any]:
    size = page.text.size
    return {
        "receiver": receiver,
        "contact": page.recipient.name or None,
        "phone": page.recipient.phone,
        "text": page.text.text,
        "encoding": "gsm" if size.coding == "7bits" else "unicode",
        "length": size.length,
        "parts": size.parts,
        "credits": size.parts,
        "alerts_shown": page.text.shown,
        "alerts_more": page.text.more,
    }


def _page_text(receiver: str, page: OutgoingText) -> str:
    size = page.text.size
    coding = "GSM 7-bit" if size.coding == "7bits" else "UCS-2"
    parts = f"{size.parts} part{'s' if size.parts > 1 else ''}"
    credits_ = f"{size.parts} credit{'s' if size.parts > 1 else ''} to France"
    to = page.recipient.name or page.recipient.phone
    return f"{receiver} -> {to} ({coding}, {size.length} characters, {parts}, {credits_})\n{page.text.text}"


# -- who is on call -----------------------------------------------------------------------------------------


@app.command(epilog="Example: notifier oncall --config notifier.yml platform --until 2027-01-31")
def oncall(
    config: ConfigFile,
    schedule: Annotated[
        str | None,
        typer.Argument(
            help="The schedule; all of them if left out.",
            autocompletion=_names(lambda found: [schedule.name for schedule in found.schedules]),
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When, as 2026-01-05T09:00; now if left out.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Print every shift up to then.")] = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print who is on call, and until when. Times without an offset are the schedule's own."""
    loading, configuration, _ = _usable(config)
    schedules = Schedules.of(configuration, {})
    if schedule is not None and schedule not in schedules.by_name:
        known = ", ".join(schedules.by_name) or "none"
        _fail(f'there is no schedule "{schedule}" in {config}; known are: {known}')
    if not schedules.by_name:
        _fail(f"there are no schedules in {config}; add one under schedules")
    start, end = _moment_of("--at", at), _moment_of("--until", until)
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
        _print_json([shift_json(shift) for shift in shifts])
        return
    for shift in shifts:
        zone = schedules[shift.schedule].zone
        times = (f"{instant.astimezone(zone):%a %Y-%m-%d %H:%M}" for instant in (shift.start, shift.end))
        _say(f"{shift.schedule}: {shift.contact or 'NOBODY'} from {' to '.join(times)} ({zone})")


def _shifts(schedule: Schedule, start: datetime, end: datetime | None) -> list[Shift]:
    """Return the shifts from *start* up to *end*, each at its full length; without *end*, the one at *start*."""
    now = schedule.at(start)
    if end is None:
        return [now]
    later = schedule.shifts(now.end, end) if now.end < end else []
    return [now, *later[:-1], schedule.at(later[-1].start)] if later else [now]


def _moment_of(option: str, text: str | None) -> Moment | None:
    try:
        return None if text is None else parse_moment(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}") from None


# -- a running service ------------------------------------------------------------------------------------

ServiceUrl = Annotated[
    str,
    typer.Option("--url", envvar="NOTIFIER_URL", help="Where the service listens; may hold USER:PASSWORD@."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="NOTIFIER_TOKEN_FILE", help="The file that holds the bearer token."),
]


By = Annotated[
    str | None, typer.Option(help="A contact's name; if left out, the user whom the service authenticates.")
]


@app.command(epilog="Example: notifier incidents --url https://ops:PASSWORD@pager.example.net --all")
def incidents(
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are resolved.")] = False,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the incidents of a running service that are not resolved, newest first."""
    states = () if every else ("open", "acknowledged")
    try:
        found = list(Client(url, token_file).incidents(states))
    except ServiceError as error:
        _fail(str(error))
    if output is Output.JSON:
        _print_json(found)
    elif not found:
        _say("no incidents" if every else "nothing is open")
    for one in found if output is Output.TEXT else ():
        _say(_incident_text(one))


def _incident_text(incident: dict[str, Any]) -> str:
    opened = datetime.fromisoformat(incident["opened_at"]).astimezone()
    state = incident["state"]
    if incident["acknowledged_by"] and state != "resolved":
        state = f"{incident['acknowledged_by']} has it"
    return f"#{incident['number']:<4} {opened:%Y-%m-%d %H:%M %Z}  {incident['receiver']}: {incident['title']} ({state})"


_MOST_LISTED = 50


@app.command(epilog="Example: notifier messages --state undelivered --state rejected --limit 20")
def messages(
    message: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One message, to read its whole story.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = _MOST_LISTED,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the messages of a running service, newest first; or all that is known of one."""
    try:
        client = Client(url, token_file)
        if message is not None:
            story = client.message(message)
            _print_json(story) if output is Output.JSON else _print_story(story)
            return
        found = list(itertools.islice(client.messages(tuple(state or ())), limit))
    except ServiceError as error:
        _fail(str(error))
    if output is Output.JSON:
        _print_json(found)
        return
    for one in found:
        made = datetime.fromisoformat(one["created_at"]).astimezone()
        to = one["to"] or one["phone"]
        why = f" ({one['error']})" if one["error"] else ""
        _say(f"{one['id']}  {made:%Y-%m-%d %H:%M:%S %Z}  {one['state']:<11} {to}: {one['text']}{why}")
    if not found:
        _say("no messages")


def _print_story(story: dict[str, Any]) -> None:
    to = story["to"] or story["phone"]
    _say(f"{story['id']}: {story['kind']} to {to} ({story['phone']}), {story['state']}")
    for line in story["timeline"]:
        at = datetime.fromisoformat(line["at"]).astimezone()
        shown = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {at:%Z}"
        _say(f"  {shown}  {line['what']:<12} {line['detail']}".rstrip())


@migrate_app.command("sachet", epilog="Example: notifier migrate sachet config.yaml > notifier.yml")
def migrate_sachet(
    file: Annotated[Path, typer.Argument(help="Sachet's config.yaml; - for stdin.")],
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print Sachet's configuration as one for Notifier, with notes on what to check; exit 1 if it drops a recipient."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        migrated = sachet.migrate(text)
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}")
    except (sachet.SachetError, UnicodeDecodeError) as error:
        _fail(f"{file}: {error}")
    if output is Output.JSON:
        _print_json({"configuration": migrated.text, "notes": migrated.notes, "dropped": migrated.dropped})
    else:
        _say(migrated.text.rstrip())
        for note in migrated.notes:
            sys.stderr.write(f"{note}\n")
    if migrated.dropped:
        sys.stderr.write(f"notifier: not taken over: {'; '.join(migrated.dropped)}\n")
        raise typer.Exit(1)


@storage_app.command(
    "copy",
    epilog="Example: notifier storage copy --from sqlite:///var/lib/notifier/notifier.db --to postgresql://notifier@db/notifier",
)
def storage_copy(
    source: Annotated[str, typer.Option("--from", help="The storage.url to copy from.")],
    target: Annotated[str, typer.Option("--to", help="The storage.url to copy to; it must be empty.")],
    output: OutputFormat = Output.TEXT,
) -> None:
    """Move an installation to another database, SQLite or PostgreSQL, and verify what arrived.

    The service must not be running. What was copied from stays as it was.
    """
    try:
        places = [Storage(url=url).place(Path.cwd()) for url in (source, target)]
    except ValidationError as error:
        _fail(str(error.errors()[0]["msg"]).removeprefix("Value error, "))
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=_console_for_progress(),
        ) as bars:
            tasks: dict[tuple[str, str], Any] = {}

            def progress(what: str, table: str, done: int, total: int) -> None:
                if (what, table) not in tasks:
                    tasks[what, table] = bars.add_task(f"{what} {table}", total=total)
                bars.update(tasks[what, table], completed=done)

            counts = transfer(open_backend(places[0]), open_backend(places[1]), progress)
    except (StoreRefused, StoreUnavailable) as error:
        _fail(f"nothing was copied: {error}")
    if output is Output.JSON:
        _print_json(counts)
    else:
        rows = ", ".join(f"{count} {table}" for table, count in counts.items() if count) or "nothing"
        _say(f"copied and verified: {rows}; now set storage.url")


@storage_app.command(
    "backup", epilog="Example: notifier storage backup --config notifier.yml /var/backups/notifier.db"
)
def storage_backup(
    config: ConfigFile,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Write a consistent copy of the SQLite database, while the service runs or not."""
    loading, _ = load(config)
    if loading.configuration is None:
        for problem in loading.errors:
            _say_problem(problem, config)
        raise typer.Exit(1)
    place = loading.configuration.storage.place(config.parent)
    if not isinstance(place, Path):
        _fail("storage.url is PostgreSQL; use its own tool: pg_dump --format=custom --file FILE")
    try:
        backup(place, file)
    except StoreUnavailable as error:
        _fail(f"no backup was made: {error}")
    _say(f"{file} holds {place} as of now, {file.stat().st_size} bytes")


def _console_for_progress() -> Console:
    from rich.console import Console

    return Console(stderr=True)


@app.command(epilog="Example: notifier ack 7 --by alice")
def ack(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The incident's number, or its id.")],
    by: By = None,
    take: Annotated[bool, typer.Option("--take", help="Take it over from whoever has it.")] = False,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Acknowledge an incident at a running service: escalation stops, the others who were paged are notified."""
    try:
        acknowledged = Client(url, token_file).acknowledge(incident, by, take=take)
    except ServiceError as error:
        _fail(str(error))
    if output is Output.JSON:
        _print_json(acknowledged)
    else:
        _say(f"{acknowledged['acknowledged_by']} has #{acknowledged['number']} {acknowledged['title']}")


@app.command(epilog="Example: notifier close 7 --by alice")
def close(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The incident's number, or its id.")],
    by: By = None,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Close an incident at a running service that Alertmanager does not resolve, as after a silence."""
    try:
        closed = Client(url, token_file).close(incident, by)
    except ServiceError as error:
        _fail(str(error))
    if output is Output.JSON:
        _print_json(closed)
    else:
        _say(f"#{closed['number']} {closed['title']} is closed")


# -- OVHcloud -----------------------------------------------------------------------------------------------


@app.command(epilog='Example: notifier send --config notifier.yml --to alice "hello" --wait')
def send(
    config: ConfigFile,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="A contact's name, or a mobile number.",
            autocompletion=_names(lambda found: [contact.name for contact in found.contacts]),
        ),
    ],
    text: Annotated[str, typer.Argument(help="What to send.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its receipt.")] = False,
    account: AccountName = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Send a test message through OVHcloud, without the service."""
    _, configuration, _ = _usable(config)
    settings = _account(configuration, account)
    try:
        recipient = configuration.recipient(to)
    except ValueError as error:
        _fail(str(error))
    try:
        message = sendable(text, urls=not settings.sender_for_response)
    except ValueError as error:
        _fail(str(error))
    api, tag, size = OvhClient(settings), new_id(utc_now()), measure(message)
    try:
        sent = api.send(message, [recipient.phone], tag).sent
    except CallFailed as error:
        if error.failure.fate is Fate.LOST and not error.failure.is_preparing:
            _fail(f"it may have been sent, OVHcloud's answer was lost: {error} (its tag is {tag})")
        _fail(f"not sent: {error}")
    if not sent.ids:
        _fail(f"not sent: OVHcloud holds {recipient.phone} for invalid")
    result: dict[str, Any] = {
        "id": sent.ids[0],
        "tag": tag,
        "phone": recipient.phone,
        "parts": size.parts,
        "credits": sent.total_credits_removed,
        "credits_left": sent.credits_left,
    }
    if output is Output.TEXT:
        left = "" if sent.credits_left is None else f", {sent.credits_left:g} left"
        _say(
            f"accepted by OVHcloud as {sent.ids[0]} for {recipient.phone}: "
            f"{size.parts} part(s), {sent.total_credits_removed or 0:g} credit(s){left}"
        )
    if wait:
        final = _follow(api, tag, quiet=output is Output.JSON)
        result["delivery_receipt"] = final and final.delivery_receipt
        result["ptt"] = final and final.ptt
    if output is Output.JSON:
        _print_json(result)
    if wait and result["delivery_receipt"] != 1:
        raise typer.Exit(1)


_RECEIPTS = {0: "pending", 1: "delivered", 2: "failed", 4: "pending", 8: "buffered", 16: "failed, not billed"}
_FOLLOW_FOR = timedelta(minutes=5)
_VALIDATE_FOR = timedelta(minutes=10)


def _follow(api: OvhClient, tag: str, *, quiet: bool) -> Outgoing | None:
    """Ask for the receipt of the message under *tag* until it is final, or for five minutes."""
    start, told, last = time.monotonic(), "", None
    with _telling(quiet=quiet) as (tell, show):
        while (passed := time.monotonic() - start) < _FOLLOW_FOR.total_seconds():
            try:
                last = next(iter(api.outgoing_of(tag)), None)
                state = _state_told(last)
            except CallFailed as error:
                state = f"cannot be asked: {error}"
            if state != told:
                tell(f"{passed:6.1f}s {state}")
                told = state
            if last is not None and last.delivery_receipt in (1, 2, 16):
                return last
            show(
                f"waiting for the receipt, {passed:.0f} s of {_FOLLOW_FOR.total_seconds():.0f} s; now: {state}"
            )
            time.sleep(1.0)
        tell("no receipt within 5 minutes; a phone that is off is tried for 48 to 72 hours")
    return last


def _state_told(sms: Outgoing | None) -> str:
    if sms is None:
        return "not listed yet"
    state = _RECEIPTS.get(sms.delivery_receipt or 0, "unknown")
    if sms.ptt is None:
        return state
    why = REASONS.get(sms.ptt, state)
    return f"{state} (ptt {sms.ptt})" if why == state else f"{state}: {why} (ptt {sms.ptt})"


@contextlib.contextmanager
def _telling(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Yield what prints a line, and what shows what is being waited for: beneath the lines, on a terminal alone."""
    if quiet or not sys.stdout.isatty():
        yield (lambda line: None) if quiet else _say, lambda waiting: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    with console.status("") as status:
        yield (
            lambda line: console.print(Text(line)),
            lambda waiting: status.update(Text(waiting)),
        )


def _account(configuration: Configuration, name: str | None) -> Ovh:
    """Return the account of that name, the first one where none is given; there must be one."""
    for account in configuration.accounts:
        if name in (None, account.name):
            return account
    known = ", ".join(account.name for account in configuration.accounts if account.name)
    _fail(f'there is no account "{name}" under ovh; known are {known or "none by name"}')


@ovh_app.command("account", epilog="Example: notifier ovh account --config notifier.yml")
def ovh_account(config: ConfigFile, account: AccountName = None, output: OutputFormat = Output.TEXT) -> None:
    """Print the SMS account, its senders and the credits left; each of them where ovh is a list."""
    _, configuration, _ = _usable(config)
    accounts = [_account(configuration, account)] if account else configuration.accounts
    told, failed = [], []
    for settings in accounts:
        try:
            told.append(_account_told(OvhClient(settings)))
        except CallFailed as error:
            failed.append(f"{f'{settings.name}: ' if settings.name else ''}OVHcloud cannot be asked: {error}")
    if output is Output.JSON and not failed:
        _print_json(told[0] if len(accounts) == 1 else told)
    elif output is Output.TEXT:
        for one in told:
            left = "unknown" if one["credits_left"] is None else f"{one['credits_left']:g}"
            _say(f"{one['service_name']}: status {one['status']}, credits left {left}")
            for sender in one["senders"]:
                _say(f"sender {sender['sender']}: {sender['status']}")
    if failed:
        _fail("\n".join(failed))


def _account_told(api: OvhClient) -> dict[str, Any]:
    """Return what OVHcloud says of an account.

    Raises:
        CallFailed: it cannot be asked.
    """
    name, account = api.service_name(), api.account()
    senders = [api.sender(sender) for sender in api.senders()]
    return {
        "service_name": name,
        "status": account.status,
        "credits_left": account.credits_left,
        "senders": [{"sender": s.sender, "status": s.status} for s in senders],
    }


@ovh_app.command("policy", epilog="Example: notifier ovh policy --config notifier.yml > policy.json")
def ovh_policy(config: ConfigFile, account: AccountName = None) -> None:
    """Print the IAM policy that an OAuth2 service account (client_id) needs, as JSON."""
    try:
        settings, _ = ovh_for_login(config, account)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    _print_json(policy(settings, settings.service_name))


@ovh_app.command("login", epilog="Example: notifier ovh login --config notifier.yml")
def ovh_login(
    config: ConfigFile,
    wait: Annotated[bool, typer.Option(help="Wait until the key has been validated.")] = True,
    allow_ip: Annotated[
        list[str] | None,
        typer.Option(
            help="An address or network that may use the key, such as 192.0.2.1; may be repeated.",
            metavar="CIDR",
        ),
    ] = None,
    account: AccountName = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Obtain a consumer key with the rights that Notifier needs, and no more.

    The file needs the application's key and secret under ovh; what else is missing does not matter. A
    consumer_key_file that it names is written.
    """
    try:
        networks = [str(ipaddress.ip_network(one)) for one in allow_ip or ()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write an address or a network, such as 192.0.2.0/24", param_hint="--allow-ip"
        ) from None
    try:
        settings, key_file = ovh_for_login(config, account)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    if settings.client_id:
        _fail("a service account (client_id) has no consumer key; give it the policy of: notifier ovh policy")
    if key_file is not None and not key_file.parent.is_dir():
        _fail(
            f"{key_file} cannot be written: there is no directory {key_file.parent}; make it, and run this again"
        )
    try:
        key = OvhClient(settings).request_consumer_key(networks)
    except CallFailed as error:
        _fail(f"OVHcloud gave no key: {error}")
    sys.stderr.write(
        f"Open this page, log in, choose the validity Unlimited, and allow it:\n  {key.validation_url}\n"
    )
    if wait and not _validated(
        settings.model_copy(update={"consumer_key": key.secret}), quiet=output is Output.JSON
    ):
        _fail("the key was not validated within 10 minutes; run it again")
    saved = ""
    # One that is not validated yet does not take the place of one that may be.
    if key_file is not None and (wait or not key_file.exists()):
        try:
            _replace(key_file, key.consumer_key + "\n")
            saved = str(key_file)
        except OSError as error:
            sys.stderr.write(f"notifier: {key_file} cannot be written: {error.strerror}\n")
    if output is Output.JSON:
        _print_json(
            {"consumer_key": key.consumer_key, "validation_url": key.validation_url, "saved": saved or None}
        )
    elif saved:
        _say(
            f"The consumer key is in {saved}. Reload a running service: systemctl reload notifier, or SIGHUP."
        )
    else:
        into = (
            str(key_file)
            if key_file is not None
            else f"{config}, under ovh, or where that has it from:\n  consumer_key"
        )
        _say(f"Put it into {into}: {key.consumer_key}")


def _replace(file: Path, text: str) -> None:
    """Write *text* to *file* in one step, with the mode and owner that the file has; a new one is for its owner alone.

    A symbolic link is followed: its target is replaced.

    Raises:
        OSError: it cannot be written.
    """
    file = file.resolve()
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        if file.exists():
            before = file.stat()
            temporary.chmod(stat.S_IMODE(before.st_mode))
            if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, before.st_uid, before.st_gid)
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _validated(settings: Ovh, *, quiet: bool) -> bool:
    api, start = OvhClient(settings), time.monotonic()
    with _telling(quiet=quiet) as (_, show):
        while (passed := time.monotonic() - start) < _VALIDATE_FOR.total_seconds():
            show(f"waiting for you to allow it, {passed:.0f} s of {_VALIDATE_FOR.total_seconds():.0f} s")
            try:
                api.service_names()
            except CallFailed:
                time.sleep(2.0)
            else:
                return True
    return False
