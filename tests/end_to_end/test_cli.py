"""The commands, as a person types them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from notifier import __version__, assets
from notifier.cli.app import app
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.reload import load
from tests.support.alertmanager import members
from tests.support.channels import receiver
from tests.support.files import ALICE, Files
from tests.support.service import Phones, Running
from tests.support.webhooks import PAYLOADS, alert, webhook


def notifier(*arguments: Any, stdin: Any = None) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)


def test_version_and_help() -> None:
    assert notifier("--version").output == f"notifier {__version__}\n"
    assert notifier("--help").exit_code == 0
    assert notifier().exit_code == 2
    assert notifier("nonsense").exit_code == 2
    assert notifier("check").exit_code == 2


def commands(group: Any = None, path: Any = ()) -> Iterator[Any]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda one: "-".join(one) if isinstance(one, tuple) else ""
)
def test_each_command_explains_itself_with_an_example_that_it_understands(path: Any, command: Any) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert all(option.help for option in command.params)
    example = re.search(r"Example: notifier (.+)", shown.output)[1].strip(" │\n").partition(" > ")[0]
    words = shlex.split(example)
    assert tuple(words[: len(path)]) == path
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, [*words, "--nonsense", "--help"]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("notifier ser", {"serve"}),
        ("notifier storage ", {"copy"}),
        ("notifier oncall --config {file} pl", {"platform"}),
        ("notifier send --config {file} --to ", {"alice", "bob"}),
        ("notifier render --config {file} --receiver o", {"ops"}),
        ("notifier send --config {missing} --to ", set()),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_names_of_the_configuration(
    files: Files, shell: Any, words: Any, expected: Any
) -> None:
    file = files.write(
        schedules=[
            {
                "name": "platform",
                "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["bob"]}],
            }
        ]
    )
    words = words.format(file=file, missing=file.with_name("missing.yml"))
    environment = {
        "_NOTIFIER_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")),
        "_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }  # fmt: skip
    shown = CliRunner().invoke(app, [], prog_name="notifier", env=environment).output
    assert expected <= set(re.findall(r"[\w.-]+", shown))
    assert ("alice" in shown) is ("alice" in expected)


# -- check -------------------------------------------------------------------------------------------------


def test_check_passes_a_good_file(files: Files) -> None:
    result = notifier("check", "--config", files.write())
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        0,
        f"{files.directory}/notifier.yml is valid: 2 contacts, 1 receiver",
    )


def test_check_prints_every_error_and_exits_1(files: Files) -> None:
    file = files.write(receivers=[{"name": "ops", "notify": ["nobody"], "template": "none"}])
    result = notifier("check", "--config", file)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}:1:") for line in lines)
    assert "receivers[0].notify[0]: " in lines[0]


def test_check_as_json(files: Files) -> None:
    result = notifier("check", "--config", files.write(receivers=[]), "--output", "json")
    found = json.loads(result.output)
    assert found["valid"] is False
    assert found["problems"][0]["path"] == ["receivers"]
    assert found["problems"][0]["severity"] == "error"


def test_check_warns_of_a_template_that_fails_on_a_sample(files: Files) -> None:
    (files.directory / "mine.j2").write_text("{{ alerts[0].labels.team }}\n")
    file = files.write(
        templates=["mine.j2"], receivers=[{"name": "ops", "notify": ["alice"], "template": "mine"}]
    )
    result = notifier("check", "--config", file)
    assert result.exit_code == 0
    assert (
        f"{files.directory}/mine.j2:1:1: warning: templates: fails on a sample alert: UndefinedError"
        in result.output
    )


def test_check_warns_of_urls_that_would_be_blocked(files: Files) -> None:
    (files.directory / "mine.j2").write_text("hello\n{{ alerts[0].generator_url }}\n")
    file = files.write(
        templates=["mine.j2"],
        receivers=[{"name": "ops", "notify": ["alice"], "template": "mine"}],
        ovh={"sender": ..., "sender_for_response": True},
    )
    result = notifier("check", "--config", file)
    assert result.exit_code == 0
    assert (
        "mine.j2:2:14: warning: templates: URLs, e-mail addresses and telephone numbers are removed"
        in result.output
    )


def test_check_online_asks_ovhcloud_about_everything(files: Files, emulator: Emulator) -> None:
    result = notifier("check", "--config", files.write(), "--online")
    assert result.exit_code == 0
    assert [line.split(":")[1].strip() for line in result.output.splitlines() if line.startswith("ok")] == [
        "credentials", "rights", "account", "credits", "sender",
    ]  # fmt: skip
    assert emulator.emulation.accepted == []


def test_check_online_asks_alertmanager_and_sends_a_test_through_the_second_channel(
    files: Files, emulator: Emulator
) -> None:
    with members(1, lambda: datetime.now(UTC)) as (member,), receiver() as hook:
        contacts = [{"name": "alice", "phone": "+33639980001", "fallback": [hook.url]}]
        urls = [member.url, "http://user:hush-hush@127.0.0.1:1"]
        file = files.write(contacts=contacts, alertmanager={"urls": urls})
        result = notifier("check", "--config", file, "--online", "--send-test", "alice")
        assert f"ok: alertmanager: {member.url} answers" in result.output
        assert "FAILED: alertmanager: http://user:•••@127.0.0.1:1: it cannot be reached" in result.output
        assert "ok: fallback of alice by JSON: sent" in result.output
        assert [title for title, _ in hook.got] == ["Notifier"]
        assert "hush-hush" not in result.output
        hook.status = 500
        result = notifier("check", "--config", file, "--online", "--send-test", "alice")
        assert "FAILED: fallback of alice by JSON: not sent" in result.output
        assert "s3cret-pass" not in result.output
    assert notifier("check", "--config", files.write(), "--send-test", "alice").exit_code == 1


def test_a_test_message_goes_through_the_second_channel(files: Files, emulator: Emulator) -> None:
    with receiver() as hook:
        contacts = [
            {"name": "alice", "phone": "+33639980001", "fallback": [hook.url]},
            {"name": "bob", "phone": "+33639980002"},
        ]
        file = files.write(contacts=contacts)
        result = notifier("send", "--config", file, "--to", "alice", "--via", "fallback", "hello")
        assert (result.exit_code, result.output.strip()) == (0, "JSON: sent")
        assert hook.got == [("Notifier", "hello")]
        hook.status = 403
        result = notifier("send", "--config", file, "--to", "alice", "--via", "fallback", "hello")
        assert result.exit_code == 1
        assert "not sent" in result.output
        result = notifier("send", "--config", file, "--to", "bob", "--via", "fallback", "hello")
        assert '"bob" has no fallback URL' in result.output
    assert emulator.emulation.accepted == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"is_valid_credential": False}, "FAILED: credentials: 403 INVALID_CREDENTIAL"),
        ({"rules": [("GET", "/*")]}, "FAILED: rights: cannot send jobs: 403 NOT_GRANTED_CALL"),
        (
            {
                "rules": [
                    ("GET", "/sms"),
                    ("GET", "/sms/*/senders/*"),
                    ("GET", "/sms/sms-emu12345-1"),
                    ("POST", "/*"),
                ]
            },
            "FAILED: rights: cannot read pending jobs: 403 NOT_GRANTED_CALL",
        ),
        ({"status": "disable"}, "FAILED: account: sms-emu12345-1 has status disable"),
        ({"credits": 0}, "FAILED: credits: 0 left"),
        ({"senders": {"ACME": "waitingValidation"}}, "validates senders within about 72 hours"),
        ({"senders": {"OTHER": "enable"}}, 'FAILED: sender: "ACME" is not declared; declared are: OTHER'),
    ],
)
def test_check_online_says_what_ovhcloud_lacks(
    files: Files, emulator: Emulator, change: Any, words: Any
) -> None:
    for name, value in change.items():
        setattr(emulator.emulation, name, value)
    result = notifier("check", "--config", files.write(), "--online")
    assert result.exit_code == 1
    assert words in result.output


@pytest.mark.parametrize(
    ("ovh", "words"),
    [
        ({"consumer_key": "wrong"}, "; obtain a key with: notifier ovh login"),
        ({"application_secret": "wrong-wrong"}, "is ovh.application_secret that of ovh.application_key?"),
        ({"application_key": "wrong"}, "is ovh.application_key that of an application at ovh.endpoint?"),
        ({"service_name": "sms-none-1"}, "is ovh.service_name that of an SMS account of this customer?"),
        ({"endpoint": "http://127.0.0.1:9/1.0"}, "can http://127.0.0.1:9/1.0 be reached from here"),
    ],
)
def test_check_online_says_what_to_do(files: Files, ovh: Any, words: Any) -> None:
    result = notifier("check", "--config", files.write(ovh=ovh), "--online")
    assert result.exit_code == 1
    assert words in result.output
    assert "but not everything works, see FAILED above" in result.output


# -- route and render --------------------------------------------------------------------------------------


@pytest.fixture
def routed(files: Files) -> Any:
    return files.write(
        receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "db", "notify": ["bob", ALICE], "max_parts": 1}],
        route={"receiver": "ops", "routes": [
            {"matchers": ["team=~\"db|storage\""], "receiver": "db", "continue": True},
            {"matchers": ["severity=critical"], "receiver": "ops"},
        ]},
    )  # fmt: skip


def test_route_prints_the_receivers_one_a_line(routed: Any) -> None:
    assert notifier("route", "--config", routed, "team=db", "severity=critical").output == "db\nops\n"
    assert notifier("route", "--config", routed, "team=web").output == "ops\n"
    assert json.loads(notifier("route", "--config", routed, "team=db", "--output", "json").output) == ["db"]
    assert notifier("route", "--config", routed, "team").exit_code == 2


def test_render_shows_what_would_be_sent_and_sends_nothing(routed: Any, emulator: Emulator) -> None:
    result = notifier(
        "render", "--config", routed, "--payload", PAYLOADS / "firing-one.json", "--receiver", "db"
    )
    assert result.exit_code == 0
    first, second = result.output.strip().split("\n\n")
    assert first.startswith("db -> bob (GSM 7-bit, ")
    assert "1 part, 1 credit to France" in first
    assert first.splitlines()[1].startswith("ALERTE critical InstanceDown db-1 (gra1) depuis ")
    assert second.startswith("db -> alice (") or ALICE in second
    assert emulator.requests == []


def test_render_as_json_and_from_standard_input(routed: Any) -> None:
    payload = (PAYLOADS / "unicode.json").read_text()
    result = notifier("render", "--config", routed, "--payload", "-", "--output", "json", stdin=payload)
    (page,) = json.loads(result.output)
    assert (page["receiver"], page["contact"], page["encoding"], page["parts"], page["credits"]) == (
        "ops",
        "alice",
        "gsm",
        1,
        1,
    )


def test_render_says_what_is_wrong(routed: Any, tmp_path: Path) -> None:
    assert "cannot be read" in notifier("render", "--config", routed, "--payload", tmp_path / "none").stderr
    (tmp_path / "bad.json").write_text("{}")
    assert (
        "it holds no alert"
        in notifier("render", "--config", routed, "--payload", tmp_path / "bad.json").stderr
    )
    result = notifier(
        "render", "--config", routed, "--payload", PAYLOADS / "resolved.json", "--receiver", "none"
    )
    assert (result.exit_code, 'there is no receiver "none"' in result.stderr) == (1, True)


def test_render_tells_of_a_template_that_fails(files: Files) -> None:
    (files.directory / "page.j2").write_text("\n{{ nothing }}")
    file = files.write(templates=["page.j2"])
    result = notifier("render", "--config", file, "--payload", PAYLOADS / "firing-one.json")
    assert "page.j2:2:1: the template failed: UndefinedError" in result.stderr
    assert "FIRING critical InstanceDown db-1" in result.stdout


def test_a_broken_file_is_told_by_every_command(files: Files) -> None:
    file = files.write(contacts=[{"name": "alice", "phone": "12"}])
    for arguments in (
        ["route", "a=b"],
        ["render", "--payload", "x"],
        ["send", "--to", "alice", "hi"],
        ["ovh", "account"],
    ):
        result = notifier(*arguments, "--config", file)
        assert result.exit_code == 1
        assert f"{file}:1:" in result.stderr


# -- OVHcloud ----------------------------------------------------------------------------------------------


def test_send_and_wait_for_the_receipt(files: Files, emulator: Emulator) -> None:
    result = notifier("send", "--config", files.write(), "--to", "alice", "hello there", "--wait")
    assert result.exit_code == 0, result.output
    assert (
        "accepted by OVHcloud as 100000001 for +33639980001: 1 part(s), 1 credit(s), 999 left"
        in result.output
    )
    assert "delivered (ptt 4)" in result.output
    result = notifier(
        "send", "--config", files.write(), "--to", "+33 6 39 98 00 07", "hello", "--output", "json"
    )
    assert json.loads(result.output)["phone"] == "+33639980007"


def test_send_says_what_failed(files: Files, emulator: Emulator) -> None:
    file = files.write()
    assert (
        'there is no contact "alise"; did you mean "alice"?'
        in notifier("send", "--config", file, "--to", "alise", "x").stderr
    )
    for name in ("nobody", "team1"):
        assert "known are alice, bob" in notifier("send", "--config", file, "--to", name, "x").stderr
    assert "is not a phone number" in notifier("send", "--config", file, "--to", "06 39", "x").stderr
    assert "the text is empty" in notifier("send", "--config", file, "--to", "alice", " ").stderr
    assert "at most 6" in notifier("send", "--config", file, "--to", "alice", "x" * 2000).stderr
    emulator.emulation.receipts[ALICE] = (2, 23)
    failed = notifier("send", "--config", file, "--to", "alice", "x", "--wait")
    assert (failed.exit_code, "failed: number invalid, blacklisted or barred (ptt 23)" in failed.output) == (
        1,
        True,
    )
    emulator.emulation.invalid_numbers.add(ALICE)
    assert (
        f"OVHcloud says that {ALICE} is invalid"
        in notifier("send", "--config", file, "--to", "alice", "x").stderr
    )
    emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    assert "it may have been sent" in notifier("send", "--config", file, "--to", "alice", "x").stderr
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=500))
    assert "not sent: 500" in notifier("send", "--config", file, "--to", "alice", "x").stderr


def test_account(files: Files, emulator: Emulator) -> None:
    result = notifier("ovh", "account", "--config", files.write())
    assert result.output.splitlines()[0] == "sms-emu12345-1: status enable, credits left 1000"
    assert "sender ACME: enable" in result.output
    found = json.loads(notifier("ovh", "account", "--config", files.write(), "--output", "json").output)
    assert found["credits_left"] == 1000
    emulator.emulation.is_valid_credential = False
    assert "cannot be asked: 403" in notifier("ovh", "account", "--config", files.write()).stderr


def test_login_obtains_a_key_with_the_rights_needed(files: Files, emulator: Emulator) -> None:
    file = files.write(ovh={"consumer_key": ..., "consumer_key_file": "ck"}, receivers=...)
    result = notifier("ovh", "login", "--config", file)
    assert result.exit_code == 0, result.output
    assert "https://eu.api.ovh.com/auth/?credentialToken=" in result.stderr
    key = files.directory / "ck"
    assert key.read_text() == "emulator-consumer\n"
    assert key.stat().st_mode & 0o077 == 0
    file = files.write(ovh={"consumer_key": ...})
    assert "consumer_key: emulator-consumer" in notifier("ovh", "login", "--config", file, "--no-wait").output
    key.write_text("one-that-works\n")
    file = files.write(ovh={"consumer_key": ..., "consumer_key_file": "ck"}, receivers=...)
    result = notifier("ovh", "login", "--config", file, "--no-wait")
    assert f"Put it into {key}: emulator-consumer" in result.output
    assert key.read_text() == "one-that-works\n"  # what is not validated yet does not take its place
    file = files.write(ovh={"consumer_key": ...})
    assert json.loads(notifier("ovh", "login", "--config", file, "--output", "json").stdout)["saved"] is None


def test_login_can_bind_the_key_to_addresses(files: Files, emulator: Emulator) -> None:
    file = files.write(ovh={"consumer_key": ...})
    allowing = ("--allow-ip", "192.0.2.1", "--allow-ip", "2001:db8::/48")
    assert notifier("ovh", "login", "--config", file, "--no-wait", *allowing).exit_code == 0
    assert emulator.emulation.allowed_ips == ["192.0.2.1/32", "2001:db8::/48"]
    wrong = notifier("ovh", "login", "--config", file, "--allow-ip", "192.0.2.1/24")
    assert wrong.exit_code == 2
    assert "has host bits set" in wrong.stderr


def test_login_is_the_way_to_a_first_key(tmp_path: Path, emulator: Emulator) -> None:
    """As the README has it: with the smallest file, whose variable for the consumer key cannot be set yet."""
    text = (
        (assets.CONFIG / "minimal.yml").read_text().replace("ovh:\n", f"ovh:\n  endpoint: {emulator.url}\n")
    )
    (tmp_path / "notifier.yml").write_text(text)
    variables = {"OVH_APPLICATION_KEY": "emulator-key", "OVH_APPLICATION_SECRET": "emulator-secret"}
    result = CliRunner().invoke(
        app, ["ovh", "login", "--config", str(tmp_path / "notifier.yml")], env=variables
    )
    assert result.exit_code == 0, result.output
    assert "consumer_key: emulator-consumer" in result.output


def test_login_says_what_is_missing(files: Files, emulator: Emulator) -> None:
    file = files.write(ovh={"application_secret": ..., "consumer_key": ..., "timeout": "x"})
    result = notifier("ovh", "login", "--config", file)
    assert result.exit_code == 1
    assert 'the key "application_secret" is missing' in result.stderr
    assert "ovh.timeout: " in result.stderr
    oauth = files.directory / "oauth.yml"
    oauth.write_text(json.dumps({"ovh": {"client_id": "EU.a", "client_secret": "b", "sender": "ACME"}}))
    result = notifier("ovh", "login", "--config", oauth)
    assert (result.exit_code, "notifier ovh policy" in result.stderr) == (1, True)
    file = files.write("nowhere.yml", ovh={"consumer_key": ..., "consumer_key_file": "nowhere/consumer_key"})
    result = notifier("ovh", "login", "--config", file)
    assert result.exit_code == 1
    assert f"there is no directory {files.directory / 'nowhere'}" in result.stderr
    empty = files.directory / "empty.yml"
    empty.write_text("")
    assert notifier("ovh", "login", "--config", empty).exit_code == 1
    emulator.faults.add(Fault(kind=FaultKind.ERROR, path="/auth/credential", status=500))
    assert "gave no key" in notifier("ovh", "login", "--config", files.write()).stderr


# -- processes ---------------------------------------------------------------------------------------------


def process(*arguments: Any, **how: Any) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "notifier", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how,
    )  # fmt: skip


def test_serve_says_why_it_does_not_start(files: Files, run: Callable[..., Running]) -> None:
    broken = process("serve", "--config", files.write("broken.yml", receivers=[]))
    _, errors = broken.communicate(timeout=60)
    assert broken.returncode == 1
    assert "broken.yml:1:" in errors
    running = run(files.write())
    second = process("serve", "--config", files.directory / "notifier.yml")
    _, errors = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "another process works on" in errors
    port = running.url.rpartition(":")[2]
    taken = files.write(
        "taken.yml", web={"listen_address": f"127.0.0.1:{port}"}, storage={"url": "sqlite:///other.db"}
    )
    third = process("serve", "--config", taken)
    _, errors = third.communicate(timeout=60)
    assert third.returncode == 1
    assert "cannot listen on 127.0.0.1" in errors


def test_serve_reloads_on_sighup_and_stops_on_sigterm(files: Files, phones: Phones) -> None:
    import signal

    import requests

    from tests.support.webhooks import payload

    file = files.write()
    service = process("serve", "--config", file, "--log-format", "json")
    lines: list[dict[str, Any]] = []
    reader = threading.Thread(
        target=lambda: lines.extend(json.loads(line) for line in service.stderr), daemon=True
    )
    reader.start()

    def await_event(msg: Any) -> Any:
        for _ in range(1000):
            for line in lines:
                if line["msg"] == msg:
                    return line
            time.sleep(0.02)
        service.kill()
        pytest.fail(f"no {msg!r} in {lines}")

    url = await_event("notifier started")["url"]
    assert requests.post(url + "/alert", payload("firing-one"), timeout=10).status_code == 200
    phones.wait(1)
    planned = await_event("notification planned")
    accepted = await_event("message accepted")
    assert accepted["notification"] == planned["notification"]
    assert accepted["message"] in planned["messages"]
    assert accepted["query"].startswith("EU.ext")
    assert accepted["phone"] == "+336••••0001"
    files.write(receivers=[{"name": "ops", "notify": ["bob"]}])
    service.send_signal(signal.SIGHUP)
    await_event("configuration reloaded")
    file.write_text("broken")
    service.send_signal(signal.SIGHUP)
    await_event("reload failed, the old configuration stays in use")
    service.terminate()
    assert service.wait(60) == 0
    reader.join(10)
    assert lines[-1]["msg"] == "notifier stopped"
    text = json.dumps(lines)
    for secret in ("emulator-secret", "emulator-consumer", ALICE):
        assert secret not in text


def test_the_demo_shows_the_text_as_the_phone_would(tmp_path: Path) -> None:
    shown = process("demo", "--once", "--port", "0", cwd=tmp_path)
    output, errors = shown.communicate(timeout=60)
    assert shown.returncode == 0, errors
    assert "FIRING #1 critical InstanceDown db-1 (gra1)" in output
    assert "│ 38180" in output
    assert "/phone" in output
    assert list(tmp_path.iterdir()) == []


def on_a_terminal(*arguments: Any) -> Any:
    """Run a command in a pseudo-terminal, as a person sees it; return its exit code and what it showed."""
    parent, child = pty.openpty()
    shown = subprocess.Popen(
        [sys.executable, "-m", "notifier", *map(str, arguments)],
        stdout=child, stderr=child, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(child)
    output = b""
    while True:
        try:
            chunk = os.read(parent, 4096)
        except OSError:  # its end is closed
            break
        if not chunk:
            break
        output += chunk
    os.close(parent)
    return shown.wait(30), output.decode()


def test_on_a_terminal_check_shows_the_line_in_colour(files: Files) -> None:
    file = files.directory / "broken.yml"
    file.write_text("ovh: {sender: ACME}\ncontacts:\n  - {name: alice, phon: '+33639980001'}\n")
    code, text = on_a_terminal("check", "--config", file)
    assert code == 1
    assert "\x1b[31m" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")
    assert "3 |   - {name: alice, phon: '+33639980001'}\n" in plain
    marks = [line.index("^") for line in plain.splitlines() if line.strip() == "^"]
    assert len("  3 |   - {name: alice, ") in marks


def test_on_a_terminal_the_way_of_a_message_is_shown_live(files: Files, emulator: Emulator) -> None:
    emulator.emulation.delivery_delay = 1.5
    code, text = on_a_terminal("send", "--config", files.write(), "--to", "alice", "hello", "--wait")
    assert code == 0, text
    steps = [text.index(step) for step in ("accepted by OVHcloud", "s pending", "s delivered (ptt 4)")]
    assert steps == sorted(steps)
    assert re.search(r"waiting for the receipt, \d+ s of 300 s; now: pending", text)


def test_a_backup_is_whole_while_the_service_writes(
    files: Files, run: Callable[..., Running], tmp_path: Path
) -> None:
    file = files.write()
    running = run(file)
    for number in range(20):
        running.post(webhook(alert(f"A{number}"), key=str(number)))
    target = tmp_path / "backup.db"
    done = notifier("storage", "backup", "--config", file, target)
    assert (done.exit_code, f"{target} holds" in done.stdout) == (0, True), done.output
    assert target.stat().st_mode & 0o077 == 0
    with contextlib.closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert copy.execute("SELECT count(*) FROM webhooks").fetchone() == (20,)
    again = notifier("storage", "backup", "--config", file, target)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)
    nowhere = notifier("storage", "backup", "--config", file, tmp_path / "none" / "x.db")
    assert (nowhere.exit_code, "cannot be written" in nowhere.stderr) == (1, True)
    files.write("postgres.yml", storage={"url": "postgresql://localhost/x"})
    other = notifier("storage", "backup", "--config", files.directory / "postgres.yml", tmp_path / "y.db")
    assert (other.exit_code, "pg_dump" in other.stderr) == (1, True)


def test_a_mistyped_source_copies_nothing_and_makes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "typo.db", tmp_path / "new.db"
    done = notifier("storage", "copy", "--from", f"sqlite:///{source}", "--to", f"sqlite:///{target}")
    assert (done.exit_code, "is --from right?" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_token_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = notifier("messages", "--token-file", tmp_path / "none")
    assert (done.exit_code, "cannot be read" in done.stderr) == (1, True), done.output


def test_login_keeps_mode_and_owner_of_the_key_file(files: Files, emulator: Emulator) -> None:
    key, link = files.directory / "the-key", files.directory / "consumer_key"
    key.write_text("old")
    link.symlink_to("the-key")
    key.chmod(0o640)
    os.chown(key, 65534, 65534)
    file = files.write(ovh={"consumer_key": ..., "consumer_key_file": "consumer_key"})
    done = notifier("ovh", "login", "--config", file)
    assert done.exit_code == 0, done.output
    assert "Reload a running service" in done.stdout
    assert (key.stat().st_mode & 0o777, key.stat().st_uid, key.stat().st_gid) == (0o640, 65534, 65534)
    assert key.read_text().strip() == emulator.emulation.credentials.consumer_key
    assert sorted(one.name for one in files.directory.iterdir() if "key" in one.name) == [
        "consumer_key",
        "the-key",
    ]
    assert link.is_symlink()


@pytest.mark.parametrize("oauth", [{}, {"client_id": "EU.a", "client_secret": "b"}])
def test_policy_prints_what_a_service_account_needs(files: Files, tmp_path: Path, oauth: Any) -> None:
    file = files.write(ovh={"service_name": "sms-ab12345-1"})
    if oauth:
        file = tmp_path / "oauth.yml"
        file.write_text(json.dumps({"ovh": {"service_name": "sms-ab12345-1", "sender": "ACME", **oauth}}))
    done = notifier("ovh", "policy", "--config", file)
    assert json.loads(done.stdout)["resources"] == [{"urn": "urn:v1:eu:resource:sms:sms-ab12345-1"}]


def test_route_reports_heartbeats_and_mutes(files: Files) -> None:
    beat = {"name": "hb", "matchers": ["alertname=Watchdog"], "timeout": "10m", "receiver": "ops"}
    never = {"name": "never", "time_intervals": [{"years": ["1999"]}]}
    route = {
        "receiver": "ops",
        "routes": [{"receiver": "ops", "matchers": ["a=b"], "active_time_intervals": ["never"]}],
    }
    file = files.write(heartbeats=[beat], time_intervals=[never], route=route)
    done = notifier("route", "--config", file, "alertname=Watchdog")
    assert (done.stdout.strip(), done.stderr) == (
        "",
        "note: this alert is the heartbeat hb, and pages nobody\n",
    )
    done = notifier("route", "--config", file, "a=b")
    assert done.stdout == "ops\n"
    assert "ops is muted now, outside never" in done.stderr
    done = notifier("route", "--config", file, "a=c,d")
    assert (done.stdout, done.stderr) == ("ops\n", "")


def test_the_zone_of_the_machine_is_read_as_alertmanager_reads_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    for written, zone in (("Local", "America/New_York"), ("", "UTC"), (None, "UTC")):
        interval = {"name": "x", "time_intervals": [{"location": written}]}
        configuration = load(files.write(time_intervals=[interval]))[0].configuration
        assert str(configuration.time_intervals[0].time_intervals[0].location) == zone
