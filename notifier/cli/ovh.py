"""``ovh``: the account, its rights and its consumer key."""

from __future__ import annotations

import ipaddress
import os
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from notifier.cli.options import (
    AccountName,
    ConfigFile,
    Output,
    OutputFormat,
    account_named,
    fail,
    ovh_app,
    print_json,
    printing_progress,
    say,
    usable,
)
from notifier.config.loading import ConfigurationError, ovh_for_login
from notifier.config.ovh import Ovh
from notifier.ovh.client import OvhClient
from notifier.ovh.errors import CallFailed
from notifier.ovh.models import ConsumerKey
from notifier.ovh.rights import policy

_VALIDATE_FOR = timedelta(minutes=10)


@ovh_app.command("account", epilog="Example: notifier ovh account --config notifier.yml")
def ovh_account(config: ConfigFile, account: AccountName = None, output: OutputFormat = Output.TEXT) -> None:
    """Print the SMS account, its senders and its credits; of each account if ovh is a list."""
    _, configuration, _ = usable(config)
    accounts = [account_named(configuration, account)] if account else configuration.accounts
    shown, failed = [], []
    for settings in accounts:
        try:
            shown.append(_account_json(OvhClient(settings)))
        except CallFailed as error:
            failed.append(f"{f'{settings.name}: ' if settings.name else ''}OVHcloud cannot be asked: {error}")
    if output is Output.JSON and not failed:
        print_json(shown[0] if len(accounts) == 1 else shown)
    elif output is Output.TEXT:
        for one in shown:
            left = "unknown" if one["credits_left"] is None else f"{one['credits_left']:g}"
            say(f"{one['service_name']}: status {one['status']}, credits left {left}")
            for sender in one["senders"]:
                say(f"sender {sender['sender']}: {sender['status']}")
    if failed:
        fail("\n".join(failed))


def _account_json(api: OvhClient) -> dict[str, Any]:
    """Return the state of an account at OVHcloud.

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
    print_json(policy(settings, settings.service_name))


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
    """Obtain a consumer key with only the rights that Notifier needs.

    The file needs the application's key and secret under ovh; the rest of the file may be incomplete. If
    ovh.consumer_key_file is set, the key is written to that file.
    """
    networks = _networks(allow_ip or ())
    try:
        settings, key_file = ovh_for_login(config, account)
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    if settings.client_id:
        fail("a service account (client_id) has no consumer key; give it the policy of: notifier ovh policy")
    if key_file is not None and not key_file.parent.is_dir():
        fail(
            f"{key_file} cannot be written: there is no directory {key_file.parent}; make it, and run this again"
        )
    try:
        key = OvhClient(settings).request_consumer_key(networks)
    except CallFailed as error:
        fail(f"OVHcloud gave no key: {error}")
    sys.stderr.write(
        f"Open this page, log in, choose the validity Unlimited, and allow it:\n  {key.validation_url}\n"
    )
    if wait and not _validated(
        settings.model_copy(update={"consumer_key": key.secret}), quiet=output is Output.JSON
    ):
        fail("the key was not validated within 10 minutes; run it again")
    # One that is not validated yet does not take the place of one that may be.
    is_saved = key_file is not None and (wait or not key_file.exists()) and _save(key_file, key)
    if output is Output.JSON:
        saved = str(key_file) if is_saved else None
        print_json({"consumer_key": key.consumer_key, "validation_url": key.validation_url, "saved": saved})
    elif is_saved:
        say(
            f"The consumer key is in {key_file}. "
            "Reload a running service: systemctl reload notifier, or SIGHUP."
        )
    else:
        into = (
            key_file
            or f"{config}, under ovh, or the environment variable that is named there:\n  consumer_key"
        )
        say(f"Put it into {into}: {key.consumer_key}")


def _networks(given: Sequence[str]) -> list[str]:
    """Return the addresses and networks *given* to ``--allow-ip``."""
    try:
        return [str(ipaddress.ip_network(one)) for one in given]
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write an address or a network, such as 192.0.2.0/24", param_hint="--allow-ip"
        ) from None


def _save(file: Path, key: ConsumerKey) -> bool:
    """Write *key* to *file*; return whether that could be done, and say why if not."""
    try:
        _replace(file, key.consumer_key + "\n")
    except OSError as error:
        sys.stderr.write(f"notifier: {file} cannot be written: {error.strerror}\n")
        return False
    return True


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
    with printing_progress(quiet=quiet) as (_, show):
        while (passed := time.monotonic() - start) < _VALIDATE_FOR.total_seconds():
            show(f"waiting for you to allow it, {passed:.0f} s of {_VALIDATE_FOR.total_seconds():.0f} s")
            try:
                api.service_names()
            except CallFailed:
                time.sleep(2.0)
            else:
                return True
    return False
