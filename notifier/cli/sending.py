"""``send``: a test message, without the service."""

from __future__ import annotations

import time
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from notifier.cli.options import (
    AccountName,
    ConfigFile,
    Output,
    OutputFormat,
    account_named,
    app,
    completer,
    fail,
    print_json,
    printing_progress,
    say,
    usable,
)
from notifier.clock import utc_now
from notifier.config.model import Configuration
from notifier.ids import new_id
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed, Fate
from notifier.ovh.models import REASONS, Outgoing, Sent
from notifier.preflight import send_test
from notifier.sms.encoding import measure
from notifier.workers.actions import sendable


class Channel(StrEnum):
    """The ways to send a test message."""

    SMS = "sms"
    FALLBACK = "fallback"


@app.command(epilog='Example: notifier send --config notifier.yml --to alice "hello" --wait')
def send(
    config: ConfigFile,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="A contact's name, or a mobile number.",
            autocompletion=completer(lambda found: [contact.name for contact in found.contacts]),
        ),
    ],
    text: Annotated[str, typer.Argument(help="The text.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the delivery receipt.")] = False,
    via: Annotated[
        Channel, typer.Option("--via", help="By SMS, or through the fallback URLs of the contact.")
    ] = Channel.SMS,
    account: AccountName = None,
    output: OutputFormat = Output.TEXT,
) -> None:
    """Send a test message through OVHcloud or through the second channel, without the service."""
    _, configuration, _ = usable(config)
    if via is Channel.FALLBACK:
        _send_by_fallback(configuration, to, text, output)
        return
    settings = account_named(configuration, account)
    try:
        recipient = configuration.recipient(to)
    except ValueError as error:
        fail(str(error))
    try:
        message = sendable(text, urls=not settings.sender_for_response)
    except ValueError as error:
        fail(str(error))
    api, tag, size = OvhClient(settings), new_id(utc_now()), measure(message)
    sent = _accepted(api, message, recipient.phone, tag)
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
        say(
            f"accepted by OVHcloud as {sent.ids[0]} for {recipient.phone}: "
            f"{size.parts} part(s), {sent.total_credits_removed or 0:g} credit(s){left}"
        )
    if wait:
        final = _follow(api, tag, quiet=output is Output.JSON)
        result["delivery_receipt"] = final and final.delivery_receipt
        result["ptt"] = final and final.ptt
    if output is Output.JSON:
        print_json(result)
    if wait and result["delivery_receipt"] != 1:
        raise typer.Exit(1)


def _accepted(api: OvhClient, text: str, phone: str, tag: str) -> Sent:
    """Return OVHcloud's answer to a job that was accepted; end the command if it was not."""
    try:
        sent = api.send(text, [phone], tag).sent
    except CallFailed as error:
        if error.failure.fate is Fate.LOST and not error.failure.is_preparing:
            fail(f"it may have been sent, OVHcloud's answer was lost: {error} (its tag is {tag})")
        fail(f"not sent: {error}")
    if not sent.ids:
        fail(f"not sent: OVHcloud says that {phone} is invalid")
    return sent


def _send_by_fallback(configuration: Configuration, to: str, text: str, output: Output) -> None:
    """Send *text* to each fallback URL of *to*, and print the outcome of each."""
    try:
        recipient = configuration.recipient(to)
    except ValueError as error:
        fail(str(error))
    findings = send_test(configuration, recipient.name, text)
    if not findings:
        fail(f'"{to}" has no fallback URL; add one under contacts or under fallback.urls')
    if output is Output.JSON:
        print_json([{"service": one.subject, "ok": one.is_good, "message": one.message} for one in findings])
    for one in findings if output is Output.TEXT else ():
        say(f"{one.subject}: {one.message}")
    if not all(one.is_good for one in findings):
        raise typer.Exit(1)


_RECEIPTS = {0: "pending", 1: "delivered", 2: "failed", 4: "pending", 8: "buffered", 16: "failed, not billed"}

_FOLLOW_FOR = timedelta(minutes=5)


def _follow(api: OvhClient, tag: str, *, quiet: bool) -> Outgoing | None:
    """Ask for the receipt of the message under *tag* until it is final, or for five minutes."""
    start, printed, last = time.monotonic(), "", None
    with printing_progress(quiet=quiet) as (print_line, show):
        while (passed := time.monotonic() - start) < _FOLLOW_FOR.total_seconds():
            try:
                last = next(iter(api.outgoing_of(tag)), None)
                state = _receipt_text(last)
            except CallFailed as error:
                state = f"cannot be asked: {error}"
            if state != printed:
                print_line(f"{passed:6.1f}s {state}")
                printed = state
            if last is not None and last.delivery_receipt in (1, 2, 16):
                return last
            show(
                f"waiting for the receipt, {passed:.0f} s of {_FOLLOW_FOR.total_seconds():.0f} s; now: {state}"
            )
            time.sleep(1.0)
        print_line("no receipt within 5 minutes; a phone that is off is tried for 48 to 72 hours")
    return last


def _receipt_text(sms: Outgoing | None) -> str:
    if sms is None:
        return "not listed yet"
    state = _RECEIPTS.get(sms.delivery_receipt or 0, "unknown")
    if sms.ptt is None:
        return state
    why = REASONS.get(sms.ptt, state)
    return f"{state} (ptt {sms.ptt})" if why == state else f"{state}: {why} (ptt {sms.ptt})"
