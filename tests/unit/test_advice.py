"""What `notifier check` warns of in a configuration that is valid."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from notifier.cli.app import app
from tests.support.files import BOB, Files


def checked(files: Files, *arguments: Any, **changes: Any) -> Any:
    result = CliRunner().invoke(app, ["check", "--config", str(files.write(**changes)), *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.splitlines() if "warning:" in line]


BOTH = {"receivers": [{"name": "ops", "notify": ["alice", "bob"]}]}
ROTA = {
    "name": "rota",
    "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice", "bob"]}],
}
RECEIVERS = [{"name": name, "notify": ["alice", "bob"]} for name in ("ops", "db")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "receivers": RECEIVERS,
                "route": {"receiver": "ops", "routes": [{"receiver": "ops"}, {"receiver": "db", "matchers": ["a=b"]}]},
            },
            "route.routes[0]: has no matchers, so every alert ends here",
        ),
        (
            {**BOTH, "contacts": [{"name": "alice", "phone": BOB}, {"name": "bob", "phone": BOB}]},
            'contacts[1].phone: is the number of "alice", too',
        ),
        (
            {**BOTH, "links": True, "global": {"external_url": "http://pager.example.net"}},
            "global.external_url: whoever reads the network can use the links in pages",
        ),
        (
            {
                **BOTH,
                "links": True,
                "global": {"external_url": "https://pager.example.net"},
                "ovh": {"sender": ..., "sender_for_response": True},
            },
            "links: has no effect: an SMS may not contain a link while an account has sender_for_response",
        ),
        (
            {
                "receivers": [{"name": "ops", "notify": ["alice"], "escalate": [
                    {"after": "5m", "notify": ["+33639980009"], "call": True}]}],
                "ovh": {"telephony": {"billing_account": "a", "line": "+33 1 99 00 12 34"}},
            },
            "receivers[0].escalate[0].call: calls nobody: numbers are not called; make a contact of each",
        ),
        (
            {
                **BOTH,
                "contacts": [
                    {"name": "alice", "phone": "+33639980001", "fallback": ["json://127.0.0.1/a"]},
                    {"name": "bob", "phone": BOB, "admin": True},
                ],
            },
            "contacts[1].admin: has no fallback: a notice that sending is paused cannot reach this administrator",
        ),
        ({}, "contacts[1]: is notified by no receiver, neither directly nor through a schedule"),
        ({"schedules": [ROTA]}, "contacts[1]: is notified by no receiver, neither directly nor through a schedule"),
        *(
            (
                {"receivers": RECEIVERS, "route": {"receiver": "ops", "routes": [
                    {"receiver": "ops", "matchers": [matcher]}, {"receiver": "db", "matchers": ["a=b"]}]}},
                "route.routes[0]: has matchers that match every alert",
            )
            for matcher in ('alertname=~".*"', 'alertname=~".+"', 'team=~"^.*$"', 'alertname!=""')
        ),
        (
            {"receivers": RECEIVERS, "route": {"receiver": "ops", "routes": [
                {"receiver": "ops", "matchers": ["team=db"]},
                {"receiver": "db", "matchers": ["severity=critical", "team=db"]}]}},
            "route.routes[1]: is never reached: whatever it matches ends at routes[0]",
        ),
        (
            {"receivers": RECEIVERS, "route": {"receiver": "ops"}},
            'receivers[1]: no route and no heartbeat leads to "db"; webhooks to /alert/db do',
        ),
        (
            {"receivers": [{"name": "ops", "notify": ["alice", "bob", "+447700900123"]}],
             "ovh": {"sender": ..., "sender_for_response": True}},
            "receivers[0]: +447••••0123 is outside of France",
        ),
        (
            {**BOTH, "contacts": [{"name": "alice", "phone": "+447700900123"}, {"name": "bob", "phone": BOB}],
             "ovh": {"sender": ..., "sender_for_response": True}},
            "contacts[0].phone: is outside of France",
        ),
        *(
            ({**BOTH, "contacts": [{"name": "alice", "phone": phone}, {"name": "bob", "phone": BOB}]}, words)
            for phone, words in (
                ("+34600000000", "Spain: each sender must be registered"),
                ("+353850000000", "Ireland: a sender that is not registered"),
                ("+12025550123", "the USA: only validated templates"),
            )
        ),
        ({**BOTH, "ovh": {"endpoint": "ovh-ca"}}, "ovh.endpoint: OVHcloud sells no SMS in ovh-ca"),
        ({**BOTH, "ovh": {"sender": "ACME-OPS"}}, "only letters and digits"),
    ],
)  # fmt: skip
def test_what_is_probably_a_mistake_is_warned_of(files: Files, changes: Any, words: Any) -> None:
    warnings = checked(files, **changes)
    assert [line for line in warnings if words in line], warnings


def test_what_is_meant_is_not_warned_of(files: Files) -> None:
    route = {
        "receiver": "ops",
        "routes": [
            {"receiver": "ops", "continue": True},
            {"receiver": "db", "matchers": ["a=b", 'team=~"db.*"']},
            {"receiver": "ops", "matchers": ['team=~"db.*"']},
            {"receiver": "db", "matchers": ['team=~".+"']},
            {"receiver": "db"},
        ],
    }
    assert checked(files, receivers=RECEIVERS, route=route) == []
    assert checked(files, schedules=[ROTA], receivers=[{"name": "ops", "notify": ["rota"]}]) == []


def test_receivers_of_alertmanager_that_are_not_configured_here_are_named(files: Files) -> None:
    file = files.directory / "alertmanager.yml"
    file.write_text(
        """route: {receiver: ops}
receivers:
  - name: ops
    webhook_configs: [{url: "http://localhost:9876/alert"}]
  - name: team.db
    webhook_configs: [{url: "http://localhost:9876/alert"}]
  - name: mail
    email_configs: [{to: ops@example.net}]
  - name: direct
    webhook_configs: [{url: "http://localhost:9876/alert/nobody"}]
"""
    )
    warnings = checked(files, "--alertmanager", file, **BOTH)
    assert [line.removeprefix(f"{file}:") for line in warnings] == [
        '5:5: warning: receivers[1]: receiver "team.db" is not configured here: its alerts page "ops"',
        '9:5: warning: receivers[3]: /alert/nobody: there is no receiver "nobody" here, so its webhooks are answered 404',
    ]
    with_a_tree = checked(files, "--alertmanager", file, **BOTH, route={"receiver": "ops"})
    assert len(with_a_tree) == 1
    for text, words in (("receivers: 7", "it has no receivers"), ("a: [", "it is not YAML")):
        file.write_text(text)
        result = CliRunner().invoke(
            app, ["check", "--config", str(files.write(**BOTH)), "--alertmanager", str(file)]
        )
        assert (result.exit_code, words in result.stderr) == (1, True)


def test_weak_and_open_secrets_are_warned_of(files: Files) -> None:
    weak = {
        "web": {
            "bearer_token": "a",
            "tokens": [{"name": "prometheus", "token": "b" * 15, "may": ["webhook"]}],
        },
        "ovh": {"callback_secret": "hush"},
        **BOTH,
    }
    found = "\n".join(checked(files, **weak))
    assert "web.bearer_token: this token can be guessed; make one with: openssl rand -hex 16" in found
    assert "web.tokens[0].token: this token can be guessed" in found
    assert "ovh.callback_secret: this secret can be guessed" in found
    file = files.write(web={"bearer_token": "c" * 32}, **BOTH)
    file.chmod(0o644)
    told = CliRunner().invoke(app, ["check", "--config", str(file)]).stdout
    assert (
        "holds secrets and can be read by everyone on this machine; make it readable by the service alone"
        in told
    )
    file.chmod(0o640)
    assert "warning" not in CliRunner().invoke(app, ["check", "--config", str(file)]).stdout


def test_an_endpoint_without_encryption_is_warned_of(files: Files) -> None:
    found = checked(files, ovh={"endpoint": "http://api.example.net/1.0"}, **BOTH)
    assert any(
        "ovh.endpoint: sends keys, numbers and texts over the network unencrypted" in line for line in found
    )
