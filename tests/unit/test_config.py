from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from notifier import assets
from notifier.config import schema
from notifier.config.loading import load
from notifier.config.schema import json_schema
from notifier.config.types import mask_password
from notifier.reload import load as load_with_templates
from notifier.rendering.templates import Templates
from tests.support.files import Files

GOOD = """\
ovh:
  application_key: key
  application_secret: hush-hush
  consumer_key: consumer
  sender: ACME
contacts:
  - {name: alice, phone: "+33 6 39 98 00 01"}
receivers:
  - name: ops
    notify: [alice]
"""

ACCOUNTS = """\
ovh:
  - {application_key: key, application_secret: hush, consumer_key: ck, sender: ACME, service_name: sms-a-1}
  - {application_key: key, application_secret: hush, consumer_key: ck, sender: ACME, service_name: sms-b-1}
receivers: [{name: a, notify: ['+33639980001']}]
"""


def problems(tmp_path: Path, text: Any, environment: Any = None, name: Any = "notifier.yml") -> Any:
    file = tmp_path / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    loading, _ = load_with_templates(file) if environment is None else (load(file, environment), None)
    return [problem.render(name) for problem in loading.problems]


def changed(old: Any, new: Any, text: Any = GOOD) -> Any:
    assert old in text
    return text.replace(old, new)


def test_the_smallest_file_is_good(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


def misfits(written: Any) -> list[str]:
    """Return what the JSON schema says against a configuration."""
    import jsonschema  # takes a second, which each process that collects the tests would spend

    return [error.message for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(written)]


def test_there_may_be_several_accounts(tmp_path: Path) -> None:
    assert problems(tmp_path, ACCOUNTS) == []
    loaded = load(tmp_path / "notifier.yml").configuration
    assert [one.name for one in loaded.accounts] == ["sms-a-1", "sms-b-1"]
    assert [misfits(yaml.safe_load(text)) for text in (ACCOUNTS, GOOD)] == [[], []]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (changed("    notify:", "    templat: page\n    notify:"),
         '10:5: receivers[0].templat: unknown key "templat"; did you mean "template"?'),
        (changed("  - name: ops", "  - name: ops\n    dedupe_window: 5m"),
         '10:5: receivers[0].dedupe_window: unknown key "dedupe_window" here; it belongs under global'),
        (changed("    notify: [alice]", "    notify: alice"), '10:13: receivers[0].notify: must be a list, is "alice"'),
        (changed("    notify: [alice]", "    notify: []"), "10:13: receivers[0].notify: must have at least one item"),
        (changed("    notify: [alice]\n", ""), '9:5: receivers[0]: the key "notify" is missing; write notify: [alice]'),
        (changed("  sender: ACME\n", ""), "2:3: ovh: name a sender, or set sender_for_response"),
        (changed("  sender: ACME", "  sender: '12345'"), '5:11: ovh.sender: "12345" is no sender'),
        (changed("  sender: ACME", "  sender: ACME-OPERATIONS"), "5:11: ovh.sender: "),
        (changed("  sender: ACME", "  sender: ACME\n  sender_for_response: true"),
         "6:24: ovh.sender_for_response: sender and sender_for_response exclude each other; keep one"),
        (changed("  sender: ACME", "  sender: ACME\n  virtual_number: '+33639980099'"), "6:19: ovh.virtual_number: sender and"),
        (changed("  sender: ACME", "  virtual_number: 'five'"), '5:19: ovh.virtual_number: "five" is not a number'),
        (changed("  sender: ACME", "  sender: ACME\n  timeout: 10"), "6:12: ovh.timeout: 10 has no unit; write 10s, 10m or 10h"),
        (changed("  sender: ACME", "  sender: ACME\n  timeout: soon"), '6:12: ovh.timeout: "soon" is not a duration'),
        (changed("  sender: ACME", "  sender: ACME\n  timeout: 0s"), "6:12: ovh.timeout: must be longer than 0s"),
        (changed("  sender: ACME", "  sender: ACME\n  endpoint: ovh-de"), '6:13: ovh.endpoint: "ovh-de" is no endpoint'),
        (changed("  sender: ACME", "  sender: ACME\n  max_concurrency: many"), "6:20: ovh.max_concurrency: must be a whole number"),
        (changed("  sender: ACME", "  sender: ACME\n  client_id: x"), "6:14: ovh.client_id: client_id and application_key exclude"),
        (changed("  consumer_key: consumer\n", ""), '2:3: ovh: the key "consumer_key" is missing; obtain one with: notifier ovh login'),
        (changed("sms-b-1", "sms-a-1", ACCOUNTS), '3:100: ovh[1].service_name: "sms-a-1" is already named in line 2; remove one'),
        (changed(", service_name: sms-b-1", "", ACCOUNTS), '3:5: ovh[1]: the key "service_name" is missing; one of several'),
        (changed("sender: ACME, service_name: sms-b", "service_name: sms-b", ACCOUNTS), "3:5: ovh[1]: name a sender, or set"),
        (changed("ACME, service_name: sms-b", "'1', service_name: sms-b", ACCOUNTS), '3:80: ovh[1].sender: "1" is no sender'),
        (changed("consumer_key: ck, sender: ACME, service_name: sms-b", "sender: ACME, service_name: sms-b", ACCOUNTS),
         '3:5: ovh[1]: the key "consumer_key" is missing; obtain one'),
        (changed("sender: ACME, service_name: sms-b-1", "sendr: ACME, service_name: sms-b-1", ACCOUNTS),
         '3:72: ovh[1].sendr: unknown key "sendr"; did you mean "sender"?'),
        (changed("consumer_key: ck, sender: ACME, service_name: sms-b", "consumer_key_file: nowhere, sender: ACME, service_name: sms-b",
                 ACCOUNTS), "3:73: ovh[1].consumer_key_file: "),
        (changed("service_name: sms-b-1", "service_name: sms-b-1, rate: {messages: 0}", ACCOUNTS), "3:126: ovh[1].rate.messages: "),
        (changed("service_name: sms-b-1", "service_name: sms-b-1, rate: 30", ACCOUNTS), "3:115: ovh[1].rate: must be a mapping of keys"),
        ("ovh: []\nreceivers: [{name: a, notify: ['+33639980001']}]\n", "1:6: ovh: must have at least one item"),
        ("ovh: ACME\nreceivers: [{name: a, notify: ['+33639980001']}]\n", '1:6: ovh: must be a mapping of keys, is "ACME"'),
        (changed("receivers:", "sender: ACME\nreceivers:", ACCOUNTS), '4:1: sender: unknown key "sender" here; it belongs under ovh'),
        ("ovh: {sender: A}\nreceivers: [{name: a, notify: ['+33639980001']}]\n", "1:6: ovh: credentials are missing"),
        (changed("contacts:", "contacts:\n  - {name: alice, phone: '+33639980002'}"), '8:12: contacts[1].name: "alice" is already named in line 7'),
        (GOOD + "  - {name: ops, notify: [alice]}\n", '11:12: receivers[1].name: "ops" is already named in line 9'),
        (changed("[alice]", "[alcie]"), '10:14: receivers[0].notify[0]: "alcie" is no schedule, contact or number; did you mean "alice"?'),
        (changed("[alice]", "['06 39 98 00 01']"), '10:14: receivers[0].notify[0]: "06 39 98 00 01" is not a phone number'),
        (changed("+33 6 39 98 00 01", "+33 1 42 68 53 00"), '7:26: contacts[0].phone: "+33 1 42 68 53 00" is not a mobile number'),
        (changed("notify: [alice]", "notify: [alice]\n    template: pager"), '11:15: receivers[0].template: there is no template "pager"; did you mean "page"?'),
        (changed("notify: [alice]", "notify: [alice]\n    encoding: utf8"), "11:15: receivers[0].encoding: "),
        (changed("notify: [alice]", "notify: [alice]\n    max_parts: 7"), "11:16: receivers[0].max_parts: "),
        (changed("notify: [alice]", "notify: [alice]\n    send_resolved: sometimes"), '11:20: receivers[0].send_resolved: must be true or false, is "sometimes"'),
        (GOOD + "route: {receiver: opps}\n", '11:19: route.receiver: there is no receiver "opps"; did you mean "ops"?'),
        (GOOD + "route: {routes: []}\n", '11:8: route: the key "receiver" is missing'),
        (GOOD + "route: {receiver: ops, matchers: ['a=b']}\n", "11:34: route.matchers: the top of the tree takes every alert"),
        (GOOD + "route: {receiver: ops, routes: [{matchers: ['a=~\"(\"']}]}\n", "11:44: route.routes[0].matchers: in 'a=~"),
        (GOOD + "route: {receiver: ops, routes: [{matchers: severity=critical}]}\n", "11:44: route.routes[0].matchers: must be a list, is a text"),
        (GOOD + "route: {receiver: ops, routes: [{match: {a: b}}]}\n", '11:34: route.routes[0].match: "match" is deprecated; write it as matchers'),
        (GOOD + "route: {receiver: ops, group_by: [a]}\n", "11:24: route.group_by: group_by is Alertmanager's own work"),
        (GOOD + "route: {receiver: ops, routes: [{mute_time_intervals: [a]}]}\n", '11:56: route.routes[0].mute_time_intervals[0]: there is no time interval "a"; add it under time_intervals'),
        (GOOD + "global: {time_zone: Europe/Pariss}\n", '11:21: global.time_zone: "Europe/Pariss" is not a time zone'),
        (GOOD + "global: {time_zone: ../../etc/passwd}\n", "11:21: global.time_zone: "),
        (GOOD + "global: {time_zone: [a]}\n", "11:21: global.time_zone: must be a text, is a list"),
        (GOOD + "global: {default_region: France}\n", '11:26: global.default_region: "France" is not a region'),
        (GOOD + "global: {dedupe_window: 2h}\n", "11:25: global.dedupe_window: must be at most 1h"),
        (GOOD + "web: {listen_address: '0.0.0.0:9876'}\n", "11:23: web.listen_address: anyone who reaches this address could page you; add under web: tokens: [{name: alertmanager, token_file: /etc/notifier/token, may: [webhook]}]"),
        (GOOD + "web: {listen_address: 9876}\n", "11:23: web.listen_address: must be a text, is a number"),
        (GOOD + "web: {listen_address: 'localhost'}\n", '11:23: web.listen_address: "localhost" is not an address'),
        (GOOD + "web: {max_body: big}\n", '11:17: web.max_body: "big" is not a size'),
        (GOOD + "web: {users: {ops: {password_hash: secret}}}\n", "11:36: web.users.ops.password_hash: is not a bcrypt hash"),
        (GOOD + "web: {users: {ops: {pasword_hash: secret}}}\n", '11:21: web.users.ops.pasword_hash: unknown key "pasword_hash"; did you mean "password_hash"?'),
        (GOOD + "web: {users: {ops: {password_hash: secret, role: boss}}}\n", "11:50: web.users.ops.role: input should be 'viewer', 'responder' or 'admin'"),
        (GOOD + "web: {bearer_token: ' '}\n", "11:21: web.bearer_token: bearer_token is empty"),
        (GOOD + "web: {feed_secret: short}\n", "11:20: web.feed_secret: must have at least 16 letters, digits, - and _"),
        (GOOD + "web: {tokens: [{name: a, token: x, may: [all]}]}\n", "11:42: web.tokens[0].may[0]: input should be 'webhook'"),
        (GOOD + "web: {tokens: [{name: a, token: x, may: []}]}\n", "11:41: web.tokens[0].may: must have at least one item"),
        (GOOD + "web: {tokens: [{name: a, may: [read]}]}\n", '11:16: web.tokens[0]: the key "token" is missing'),
        (GOOD + "web: {users: {ops: {password_hash: x}}, basic_auth_users: {ops: y}}\n", '11:15: web.users.ops: "ops" is in basic_auth_users, too; leave it in one'),
        (GOOD + "web: {basic_auth_users: {ops: secret}}\n", "11:31: web.basic_auth_users.ops: is not a bcrypt hash"),
        (GOOD + "web: {tls_server_config: {cert_file: no.crt, key_file: no.key}}\n", "11:38: web.tls_server_config.cert_file: "),
        (GOOD + "fallback: {urls: ['nope://t0psecret']}\n", '11:19: fallback.urls[0]: apprise cannot use this URL of the scheme nope://'),
        (changed('01"}', '01", fallback: [x]}'), "7:58: contacts[0].fallback[0]: is no URL: it must begin with the scheme"),
        (changed("[alice]\n", "[alice]\n    escalate: [{after: 3m, notify: [alice], call: true}]\n"),
         "11:51: receivers[0].escalate[0].call: needs a line that calls: write telephony: {billing_account: ..., line: ...} under ovh"),
        (changed("sender: ACME\n", "sender: ACME\n  telephony: {billing_account: a, line: '199001234'}\n"),
         '6:41: ovh.telephony.line: "199001234" is not a number with its country code; write 0033199001234'),
        *(
            (GOOD + f"links: true\nglobal: {{external_url: '{url}'}}\n", "12:24: global.external_url: ")
            for url in ("https://u:secret@host", "https://host/prefix", "https://host?x=1", "https://хост.example")
        ),
        (GOOD + "links: true\n", "11:8: links: needs the address of the pages: write external_url: https://pager.example.net under global"),
        (GOOD + "alertmanager: {}\n", '11:15: alertmanager: the key "url" is missing; give url, or the urls of the members'),
        (GOOD + "alertmanager: {url: 'http://a', urls: ['http://b']}\n", "11:39: alertmanager.urls: url and urls exclude each other"),
        (GOOD + "alertmanager: {urls: [am-1]}\n", '11:23: alertmanager.urls[0]: "am-1" is no URL'),
        (GOOD + "alertmanager: {url: 'http://a', bearer_token: x, http_config: {basic_auth: {username: u, password: p}}}\n",
         "11:76: alertmanager.http_config.basic_auth: bearer_token and basic_auth exclude each other; keep one"),
        (GOOD + "alertmanager: {url: 'http://a', http_config: {tls_config: {cert_file: c}}}\n",
         "11:59: alertmanager.http_config.tls_config: cert_file and key_file belong together; give both"),
        (GOOD + "alertmanager: {url: 'http://a', http_config: {tls_config: {ca_file: no.pem}}}\n",
         "11:69: alertmanager.http_config.tls_config.ca_file: "),
        (GOOD + "storage: {url: 'postgresql://u:secret@/'}\n", '11:16: storage.url: "postgresql://u:•••@/" is not a PostgreSQL URL; write postgresql://'),
        (GOOD + "storage: {url: 'mysql://x/y'}\n", '11:16: storage.url: "mysql://x/y" is not a storage URL'),
        (GOOD + "templates: [none/*.j2]\n", "11:13: templates[0]: "),
        (GOOD + "receivers: []\n", '11:1: receivers: the key "receivers" stands here twice; keep one'),
        ("receivers: [{name: a, notify: ['+33639980001']}]\n", '1:1: the key "ovh" is missing'),
        (changed("ACME", "${NO_SUCH_VARIABLE}"), "5:11: ovh.sender: the environment variable NO_SUCH_VARIABLE is not set"),
    ],
)  # fmt: skip
def test_says_what_is_wrong_where_and_what_would_be_right(tmp_path: Path, text: Any, expected: Any) -> None:
    found = problems(tmp_path, text)
    assert any(line.startswith(f"notifier.yml:{expected}") for line in found), found


def test_repeating_needs_steps_to_repeat(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + "    repeat: 2\n")
    assert "repeats the steps of escalate, of which there are none" in line


def test_steps_notify_whom_there_is(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, GOOD + "    escalate: [{after: 5m, notify: [alcie]}]\n")
    assert line.startswith("notifier.yml:11:")
    assert (
        'receivers[0].escalate[0].notify[0]: "alcie" is no schedule, contact or number; did you mean' in line
    )


def test_one_mistake_is_one_line(tmp_path: Path) -> None:
    assert len(problems(tmp_path, changed("notify: [alice]", "notify: [alice]\n    max_parts: lots"))) == 1


def test_all_errors_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = changed("ACME", "'1'") + "global: {time_zone: Mars/Base}\nrote: {}\nroute: {receiver: nobody}\n"
    lines = problems(tmp_path, text)
    assert [line.split(":")[1] for line in lines] == ["5", "11", "12", "13"]


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "1:1: is empty"),
        (b"# nothing\n", "1:1: is empty"),
        (b"- a\n- b\n", "1:1: is a list at the top"),
        (b"hello\n", "1:1: is a text at the top"),
        (b"a: 1\nb: \xff\xfe\n", "2:4: is not UTF-8: byte 0xff"),
        (b"a: [1\nb: 2\n", "2:"),
        (b"a: *nothing\n", "1:4:"),
        (b"a: &a [*a]\n", "1:8: "),
        (b"? [a]\n: b\n", "1:3: a key must be a plain word"),
        (b"a: 1\n---\nb: 2\n", "2:1: holds a second document"),
        (b"a: \x00\n", "is not YAML"),
        (b"[" * 200_000, "nested deeper than 50|is not YAML"),
        (b"a: " + b"[" * 60 + b"]" * 60, "nested deeper than 50"),
        (b"x" * 10_000_000, "1:1: is larger than 1024 KiB"),
        (b"a: [" + b"1," * 60_000 + b"]", "more than 50000 values"),
        (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
            b"%c: &%c [%s]\n" % (98 + i, 98 + i, b",".join([b"*%c" % (97 + i)] * 9)) for i in range(9)
        ), "more than 50000 values once aliases are followed"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)  # fmt: skip
def test_a_file_that_is_no_configuration_is_refused_at_once(
    tmp_path: Path, data: Any, complaint: Any
) -> None:
    start = time.process_time()
    (line,) = problems(tmp_path, data)
    assert re.search(complaint, line), line
    assert time.process_time() - start < 20  # a bomb would take for ever


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    loading = load(tmp_path / "none.yml")
    assert loading.configuration is None
    assert "cannot be read: No such file" in loading.errors[0].render("x")


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_arbitrary_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    problems(tmp_path_factory.mktemp("any"), data)


@given(st.data())
def test_arbitrary_values_never_crash(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    value = yaml.safe_load(GOOD)
    for section in data.draw(
        st.lists(st.sampled_from([*value, "global", "web", "route", "templates", "x"]), max_size=3)
    ):
        leaf = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
        keys = st.sampled_from(
            ["name", "phone", "notify", "receiver", "routes", "matchers", "url", "sender", "a"]
        )
        value[section] = data.draw(
            st.recursive(
                leaf, lambda i: st.lists(i, max_size=3) | st.dictionaries(keys, i, max_size=3), max_leaves=8
            )
        )
    problems(tmp_path_factory.mktemp("any"), json.dumps(value))


def test_variables_and_dollars_in_any_string(tmp_path: Path) -> None:
    file = tmp_path / "n.yml"
    file.write_text(changed("hush-hush", "a${X}b$$c${X}"))
    configuration = load(file, {"X": "1"}).configuration
    assert configuration.accounts[0].application_secret.get_secret_value() == "a1b$c1"


def test_secrets_from_files_and_a_warning_where_everyone_can_read_them(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "key").write_text("ck")
    (tmp_path / "key").chmod(0o600)
    text = changed("application_secret: hush-hush", "application_secret_file: secret").replace(
        "consumer_key: consumer", "consumer_key_file: key"
    )
    file = tmp_path / "notifier.yml"
    file.write_text(text)
    loading = load(file)
    assert loading.configuration.accounts[0].application_secret.get_secret_value() == "from-file"
    assert loading.configuration.accounts[0].consumer_key.get_secret_value() == "ck"
    (warning,) = loading.problems
    assert warning.is_warning
    assert warning.render("f").startswith("f:3:28: warning: ovh.application_secret_file: ")
    assert "can be read by everyone on this machine; run: chmod 600" in warning.message


@pytest.mark.parametrize(
    ("prepare", "complaint"),
    [
        (lambda f: None, "cannot be read: No such file"),
        (lambda f: f.mkdir(), "cannot be read: Is a directory"),
        (lambda f: f.write_text(""), "is empty"),
        (lambda f: f.write_bytes(b"\xff"), "is not a text"),
    ],
)
def test_a_secret_file_that_cannot_be_used(tmp_path: Path, prepare: Any, complaint: Any) -> None:
    prepare(tmp_path / "secret")
    found = problems(tmp_path, changed("application_secret: hush-hush", "application_secret_file: secret"))
    assert any("3:28: ovh.application_secret_file: " in line and complaint in line for line in found), found


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    (tmp_path / "s").chmod(0o600)
    found = problems(tmp_path, changed("  consumer_key", "  application_secret_file: s\n  consumer_key"))
    assert any("give application_secret or application_secret_file, not both" in line for line in found)


def test_a_template_that_does_not_compile(tmp_path: Path) -> None:
    (tmp_path / "mine.j2").write_text("fine\n{% if %}\n")
    (line,) = problems(tmp_path, GOOD + "templates: ['*.j2']\n")
    assert re.match(rf"{re.escape(str(tmp_path))}/mine\.j2:2:1: templates: does not compile: ", line)


def test_a_template_of_a_bad_name_or_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert "must be named like page.j2" in problems(tmp_path, GOOD + "templates: [a.txt]\n")[0]
    (tmp_path / "b.j2").write_bytes(b"\xff")
    assert "is not UTF-8" in problems(tmp_path, GOOD + "templates: [b.j2]\n")[0]


@given(st.text(max_size=60))
def test_no_template_crashes_the_check(tmp_path_factory: pytest.TempPathFactory, source: Any) -> None:
    directory = tmp_path_factory.mktemp("t")
    (directory / "any.j2").write_text(source, encoding="utf-8", errors="replace")
    Templates({"any.j2": directory / "any.j2"})


def test_the_schema_file_is_current() -> None:
    assert schema.FILE.read_text(encoding="utf-8") == schema.text()


@pytest.mark.parametrize("name", ["notifier.yml", "minimal.yml", "demo.yml"])
def test_shipped_files_are_good_fit_the_schema_and_name_it(name: Any, tmp_path: Path) -> None:
    file = Path(assets.CONFIG, name)
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "# yaml-language-server: $schema=notifier.schema.json"
    assert misfits(yaml.safe_load(text)) == []
    variables = {
        "OVH_APPLICATION_KEY": "k", "OVH_APPLICATION_SECRET": "s", "OVH_CONSUMER_KEY": "c",
        "NOTIFIER_DEMO_ADDRESS": "127.0.0.1:0", "NOTIFIER_DEMO_DATABASE": "sqlite:///n.db",
        "NOTIFIER_DEMO_ENDPOINT": "http://127.0.0.1:1/1.0", "NOTIFIER_DEMO_SECOND": "http://127.0.0.1:2/1.0",
        "NOTIFIER_DEMO_KEY": "k", "NOTIFIER_DEMO_INBOX": "json://127.0.0.1:3/inbox",
        "NOTIFIER_DEMO_SECRET": "s", "NOTIFIER_DEMO_CONSUMER": "c", "NOTIFIER_DEMO_ZONE": "Europe/Paris",
        "NOTIFIER_DEMO_MONDAY": "2026-11-30T00:00", "NOTIFIER_DEMO_COVER_START": "2026-12-02T09:00",
        "NOTIFIER_DEMO_COVER_END": "2026-12-03T09:00",
    }  # fmt: skip
    assert load(file, variables).problems == []


def test_the_commented_reference_names_every_key() -> None:
    text = Path(assets.CONFIG, "notifier.yml").read_text(encoding="utf-8")
    keys = {key for definition in json_schema()["$defs"].values() for key in definition.get("properties", {})}
    missing = {key for key in keys if not re.search(rf"\b{key}\b", text)} - {
        "application_key_file", "application_secret_file", "client_id_file", "client_secret_file", "consumer_key_file",
        "bearer_token", "callback_secret", "feed_secret",
    }  # fmt: skip
    assert missing == set()


def test_the_schema_refuses_an_unknown_key() -> None:
    (complaint,) = misfits({**yaml.safe_load(GOOD), "rote": {}})
    assert "'rote' was unexpected" in complaint


def test_where_the_database_is(tmp_path: Path) -> None:
    file = tmp_path / "n.yml"

    def path(url: Any) -> Any:
        file.write_text(GOOD + f"storage: {{url: '{url}'}}\n")
        return load(file).configuration.storage.place(tmp_path)

    assert path("sqlite:///var/lib/notifier/notifier.db") == Path("/var/lib/notifier/notifier.db")
    assert path("sqlite:////srv/notifier.db") == Path("/srv/notifier.db")
    assert path("sqlite:///notifier.db") == tmp_path / "notifier.db"


def test_a_secret_file_that_is_not_there_is_one_error_with_the_way_to_it(files: Files) -> None:
    file = files.write(
        ovh={"consumer_key": ..., "consumer_key_file": "nosuch"}, web={"bearer_token_file": "neither"}
    )
    errors = [problem.render("f") for problem in load(file).errors]
    assert len(errors) == 2
    assert "nosuch cannot be read: No such file or directory; notifier ovh login writes it" in "".join(errors)
    assert "is empty" not in "".join(errors)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:PASS@host/db", "postgresql://u:•••@host/db"),
        ("htp://ops:PASS@x", "htp://ops:•••@x"),
        ("htp://ops:P@SS@x", "htp://ops:•••@x"),
        ("htp://ops:PA SS/#?@x", "htp://ops:•••@x"),
        ("//ops:PASS@x", "•••@x"),
        ("http//ops:PASS@x", "•••@x"),
        ("ops:PASS@x", "•••@x"),
        ("https://PASS@x", "•••@x"),
        ("http://host:80/path", "http://host:80/path"),
    ],
)
def test_a_password_in_a_url_is_not_shown_even_if_the_url_is_wrong(
    files: Files, url: Any, shown: Any
) -> None:
    assert mask_password(url) == shown
    problems = load(files.write(alertmanager={"url": url})).problems
    assert all("PASS" not in problem.message for problem in problems)


def test_a_bcrypt_cost_that_takes_seconds_is_refused(files: Files) -> None:
    dear = "$2b$15$" + "a" * 53
    (problem,) = load(files.write(web={"users": {"ops": {"password_hash": dear, "role": "viewer"}}})).errors
    assert "has cost 15: each login would take seconds; make one with cost 10 to 14" in problem.message


@pytest.mark.parametrize(
    ("severities", "complaint"),
    [
        ({"critical": "info"}, "critical means critical; leave it out"),
        ({"SEV1": "high", "sev1": "info"}, '"sev1" is there twice; capitals make no difference'),
        ({" ": "high"}, "' ' is no value of the label severity"),
        ({"a\0b": "high"}, "is no value of the label severity"),
        ({"sev1": "urgent"}, "should be 'critical', 'high', 'warning', 'info' or 'none'"),
    ],
)
def test_severities_that_mean_nothing_are_refused(tmp_path: Path, severities: Any, complaint: Any) -> None:
    file = tmp_path / "notifier.yml"
    file.write_text(json.dumps({**yaml.safe_load(GOOD), "global": {"severities": severities}}))
    problems = [problem.message for problem in load(file).problems]
    assert any(complaint in message for message in problems), problems


def test_severities_are_read_whatever_their_capitals(tmp_path: Path) -> None:
    file = tmp_path / "notifier.yml"
    file.write_text(json.dumps({**yaml.safe_load(GOOD), "global": {"severities": {"SEV1": "critical"}}}))
    assert load(file).configuration.global_.severities == {"sev1": "critical"}
