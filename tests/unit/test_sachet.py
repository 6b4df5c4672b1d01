"""Moving from Sachet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from notifier.cli.app import app
from notifier.cli.sachet import SachetError, migrate
from notifier.config.loading import load

SHOWN = re.findall(
    r"```yaml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "sachet.md").read_text(), re.DOTALL
)


def loaded(tmp_path: Path, text: Any) -> Any:
    file = tmp_path / "notifier.yml"
    file.write_text(text)
    variables = dict.fromkeys(
        ("OVH_APPLICATION_KEY", "OVH_APPLICATION_SECRET", "OVH_CONSUMER_KEY"), "hush-hush"
    )
    loading = load(file, variables)
    assert loading.errors == []
    return loading.configuration


def test_the_page_shows_what_is_written(tmp_path: Path) -> None:
    theirs, ours = SHOWN
    migrated = migrate(theirs)
    assert migrated.text == ours
    configuration = loaded(tmp_path, migrated.text)
    assert configuration.receiver("team-sms").notify == ("person-1", "person-2")
    assert any("docs/templates.md" in note for note in migrated.notes)


def test_what_another_provider_sent_is_sent_by_ovhcloud(tmp_path: Path) -> None:
    text = """
providers: {messagebird: {access_key: x}, telegram: {token: y}}
receivers:
  - {name: a, provider: messagebird, from: Prometheus, to: ['33639980001', '+33 6 39 98 00 02', '+33639980001']}
  - {name: b, provider: messagebird, from: '12345', to: ['+33639980002']}
  - {name: c, provider: telegram, to: ['-100123']}
  - {provider: messagebird, to: ['+33639980001']}
"""
    migrated = migrate(text)
    configuration = loaded(tmp_path, migrated.text)
    assert [(one.name, one.notify) for one in configuration.receivers] == [
        ("a", ("person-1", "person-2")),
        ("b", ("person-2",)),
    ]
    assert configuration.accounts[0].sender == "Prometheus"
    notes = "\n".join(migrated.notes)
    for said in (
        'receiver "c": "-100123" is no mobile number; left out',
        'receiver "c": nobody is left to be texted; left out',
        'receiver "": it has no name that can be used; left out',
        'receiver "a": it was sent by messagebird, and will be by OVHcloud',
        "make an account at OVHcloud",
        "an account has one sender; 12345 left out",
    ):
        assert said in notes


def test_a_secret_with_a_dollar_stays_what_it_is(tmp_path: Path) -> None:
    theirs = SHOWN[0].replace("abcdef1234567890", "a$b${c}")
    account = loaded(tmp_path, migrate(theirs).text).accounts[0]
    assert account.application_secret.get_secret_value() == "a$b${c}"


def test_without_a_sender_a_short_number_sends(tmp_path: Path) -> None:
    theirs = SHOWN[0].replace("    from: ACMEOPS\n", "")
    assert loaded(tmp_path, migrate(theirs).text).accounts[0].sender_for_response


def ovh_with(**keys: Any) -> Any:
    return SHOWN[0].replace(
        "    endpoint: ovh-eu\n",
        "    endpoint: ovh-eu\n" + "".join(f"    {k}: {v}\n" for k, v in keys.items()),
    )


def test_whom_people_can_reply_to_stays(tmp_path: Path) -> None:
    account = loaded(tmp_path, migrate(ovh_with(sender_for_response="true")).text).accounts[0]
    assert (account.sender_for_response, account.sender) == (True, None)


def test_what_ovh_was_told_besides_is_said(tmp_path: Path) -> None:
    notes = "\n".join(migrate(ovh_with(no_stop_clause="false", priority="low")).notes)
    assert "no_stop_clause is always true here" in notes
    assert "priority low is left out" in notes
    migrated = migrate(SHOWN[0].replace("ovh-eu", "soyoustart-eu"))
    loaded(tmp_path, migrated.text)
    assert any("soyoustart-eu is not OVHcloud's" in note for note in migrated.notes)


@pytest.mark.parametrize("other", ["Foo", "'08039591643'"])
def test_the_sender_is_that_of_ovh(tmp_path: Path, other: Any) -> None:
    text = f"""
providers: {{ovh: {{application_key: a}}, messagebird: {{access_key: x}}}}
receivers:
  - {{name: a, provider: messagebird, from: {other}, to: ['+33639980001']}}
  - {{name: b, provider: ovh, from: ACMEOPS, to: ['+33639980002']}}
"""
    migrated = migrate(text)
    assert loaded(tmp_path, migrated.text).accounts[0].sender == "ACMEOPS"
    assert any(other.strip("'") + " left out" in note for note in migrated.notes)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    """Sachet reads texts where YAML sees numbers and truths."""
    text = """
providers: {ovh: {application_key: 0123456701234567, application_secret: 1e5, consumer_key: no}}
receivers:
  - {name: no, from: ACME, to: [0033639980001]}
  - {name: 0123, from: ACME, to: [+33639980002]}
  - {name: no, from: ACME, to: ['+33639980003']}
"""
    migrated = migrate(text)
    configuration = loaded(tmp_path, migrated.text)
    assert [one.name for one in configuration.receivers] == ["no", "0123"]
    assert [one.phone for one in configuration.contacts] == ["+33639980001", "+33639980002"]
    account = configuration.accounts[0]
    assert account.application_key == "0123456701234567"
    assert account.application_secret.get_secret_value() == "1e5"
    assert any("there is another of that name before it" in note for note in migrated.notes)


def test_receivers_that_are_left_out_page_nobody_unseen() -> None:
    migrated = migrate(
        "receivers: [{name: chat, provider: telegram, to: ['-1']}, {name: ops, from: ACME, to: ['+33639980001']}]"
    )
    assert any("remove such receivers from alertmanager.yml" in note for note in migrated.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no receivers"),
        ("[]", "it has no receivers"),
        ("receivers: 7", "it has no receivers"),
        ("a: [", "it is no YAML"),
        ("receivers: [{name: a, to: [x]}]", "none of its receivers has a mobile number"),
    ],
)
def test_what_is_no_configuration_of_sachet_is_said(tmp_path: Path, text: Any, words: Any) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    result = CliRunner().invoke(app, ["migrate", "sachet", str(file)])
    assert result.exit_code == 1
    assert words in result.stderr
    missing = CliRunner().invoke(app, ["migrate", "sachet", str(tmp_path / "none")])
    assert "cannot be read" in missing.stderr


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["receivers", "providers", "ovh", "to", "name", "from", "text"]),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_whatever_it_holds_it_is_migrated_or_refused(value: Any) -> None:
    try:
        migrated = migrate(yaml.safe_dump(value))
    except SachetError:
        return
    assert yaml.safe_load(migrated.text)["receivers"]


def test_the_command_prints_what_can_be_used(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(SHOWN[0])
    result = CliRunner().invoke(app, ["migrate", "sachet", str(file)])
    assert result.exit_code == 0
    assert result.stdout == SHOWN[1]
    assert "give them the names of people" in result.stderr


def test_a_recipient_that_is_dropped_fails_the_command_and_no_number_is_invented(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "receivers: [{name: ops, from: ACME, to: ['+33639980001', '+336xxxxxxxx']}, {name: b, to: ['0033 6 39 98']}]"
    )
    result = CliRunner().invoke(app, ["migrate", "sachet", str(file)])
    assert result.exit_code == 1
    assert 'not taken over: receiver "ops": "+336xxxxxxxx"; receiver "b"' in result.stderr
    assert '# receiver "ops": "+336xxxxxxxx" is no mobile number; left out' in result.stdout
    assert [one["phone"] for one in yaml.safe_load(result.stdout)["contacts"]] == ["+33639980001"]
