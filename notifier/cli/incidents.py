"""Commands about incidents and messages of a running service."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier.cli.client import DEFAULT_URL, Client
from notifier.cli.options import Output, OutputFormat, app, print_json, say

ServiceUrl = Annotated[
    str,
    typer.Option(
        "--url", envvar="NOTIFIER_URL", help="The address of the service; may contain USER:PASSWORD@."
    ),
]

TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="NOTIFIER_TOKEN_FILE", help="The file that holds the bearer token."),
]

By = Annotated[str | None, typer.Option(help="A contact's name; default the authenticated user.")]


@app.command(epilog="Example: notifier incidents --url https://ops:PASSWORD@pager.example.net --all")
def incidents(
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    every: Annotated[bool, typer.Option("--all", help="Print resolved incidents, too.")] = False,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the incidents of a running service that are not resolved, newest first."""
    states = () if every else ("open", "silenced", "acknowledged")
    found = list(Client(url, token_file).items("incidents", states))
    if output is Output.JSON:
        print_json(found)
    elif not found:
        say("no incidents" if every else "nothing is open")
    for one in found if output is Output.TEXT else ():
        say(_incident_text(one))


def _incident_text(incident: dict[str, Any]) -> str:
    opened = datetime.fromisoformat(incident["opened_at"]).astimezone()
    state = incident["state"]
    if incident["acknowledged_by"] and state != "resolved":
        state = f"{incident['acknowledged_by']} has it"
    elif state == "silenced":
        state = f"silenced by {incident['silenced_by']}"
    return f"#{incident['number']:<4} {opened:%Y-%m-%d %H:%M %Z}  {incident['receiver']}: {incident['title']} ({state})"


_MAX_LISTED = 50


@app.command(epilog="Example: notifier messages --state undelivered --state rejected --limit 20")
def messages(
    message: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A message, to print its timeline.")
    ] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The maximum number of messages.")] = _MAX_LISTED,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Print the messages of a running service, newest first, or the timeline of one."""
    client = Client(url, token_file)
    if message is not None:
        details = client.message(message)
        print_json(details) if output is Output.JSON else _print_message(details)
        return
    found = list(itertools.islice(client.items("messages", tuple(state or ())), limit))
    if output is Output.JSON:
        print_json(found)
        return
    for one in found:
        made = datetime.fromisoformat(one["created_at"]).astimezone()
        to = one["to"] or one["phone"]
        why = f" ({one['error']})" if one["error"] else ""
        say(f"{one['id']}  {made:%Y-%m-%d %H:%M:%S %Z}  {one['state']:<11} {to}: {one['text']}{why}")
    if not found:
        say("no messages")


def _print_message(details: dict[str, Any]) -> None:
    to = details["to"] or details["phone"]
    say(f"{details['id']}: {details['kind']} to {to} ({details['phone']}), {details['state']}")
    for line in details["timeline"]:
        at = datetime.fromisoformat(line["at"]).astimezone()
        shown = f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {at:%Z}"
        say(f"  {shown}  {line['what']:<12} {line['detail']}".rstrip())


@app.command(epilog="Example: notifier ack 7 --by alice")
def ack(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The incident's number, or its id.")],
    by: By = None,
    take: Annotated[bool, typer.Option("--take", help="Take it over from whoever has it.")] = False,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Acknowledge an incident of a running service: escalation stops, and the others who were paged are notified."""
    acknowledged = Client(url, token_file).act(incident, "ack", by, take=take)
    if output is Output.JSON:
        print_json(acknowledged)
    else:
        say(f"{acknowledged['acknowledged_by']} has #{acknowledged['number']} {acknowledged['title']}")


@app.command(epilog="Example: notifier close 7 --by alice")
def close(
    incident: Annotated[str, typer.Argument(metavar="ID", help="The incident's number, or its id.")],
    by: By = None,
    url: ServiceUrl = DEFAULT_URL,
    token_file: TokenFile = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Close an incident of a running service that Alertmanager does not resolve, for example after a silence."""
    closed = Client(url, token_file).act(incident, "close", by)
    if output is Output.JSON:
        print_json(closed)
    else:
        say(f"#{closed['number']} {closed['title']} is closed")
