"""Templates and calendars of others: what they cannot reach, and what they cannot stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from notifier.alertmanager.webhook import parse_webhook
from notifier.reload import load
from notifier.rendering.compose import Style, compose
from notifier.rendering.context import build_notification
from notifier.rendering.templates import TemplateFailure, Templates
from notifier.sms.recipient import Recipient
from tests.support.files import ALICE, Files
from tests.support.processes import memory
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, payload, webhook

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('__cla' ~ 'ss__')|attr('__mro__') }}",
    "{{ ['']|map(attribute='__class__')|list }}",
    "{{ [{}]|map(attribute='__init__')|list }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(contact) }}",
    "{{ '{0.__class__}'|format(contact) }}{{ '%(a)s'|format(a=contact.__class__) }}",
    "{{ 'x'.format_map({}.__class__) }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ cycler.__init__.__globals__.os.system('id') }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.parent }}",
    "{% set x = self._TemplateReference__context %}{{ x.environment.loader }}",
    "{{ alerts[0].labels.update({'a': 1}) }}",
    "{{ alerts[0].model_copy.__globals__ }}",
    "{{ contact.__reduce__() }}",
    "{{ first_seen.__globals__ }}{{ (1).real.__class__ }}",
    "{% include '/etc/passwd' %}",
    "{% include '../../../../etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}{{ x }}",
    "{% from '/etc/passwd' import y %}{{ y }}",
    "{{ range(10**9)|list }}",
    "{{ url_for.__globals__ }}{{ config }}{{ request }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ __import__('os') }}",
    "{{ ''['__class__'] }}",
    "{% debug %}",
    "{% do x %}",
    "{{ loop.__class__ }}",
    "{% call(x) alerts[0].__init__() %}{% endcall %}",
]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What each of `ESCAPES` touches and says: in a process of their own, since an audit hook stays until the end.

    While a hook runs, a thread that starts under coverage dies before Python 3.12: python/cpython#98257.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.escapes", tmp_path_factory.mktemp("escapes")],
        input=json.dumps(ESCAPES), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(ESCAPES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_reaches_nothing_outside_of_it(composed: Any, source: Any) -> None:
    touched, text, failure = composed[source]
    assert touched == []
    for leaked in ("<class", "root:", "uid=", "<function", "<module", "built-in", "Environment", "/etc"):
        assert leaked not in text
    assert "InstanceDown" in text or failure is None


# One for each way: those that compute take two seconds of a processor each.
BOMBS = [
    "{{ 'a' * 10**9 }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ ('%1000000000d'.encode()) % 1 }}",
    "{{ '{0[}]:{1}}'.format({'}': 1}, 1000000000) }}",
    "{{ 'a'.zfill(10**9) }}",
    "{{ [1, 2] | batch(10**9, 'x') | list }}",
    "{{ 9**(9**9) }}",
    "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1] * 20000) %}{% for i in range(300) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | pprint }}",
    "{% set t = 'x' * 20000 %}{{ ((['a'] * 20000) | reverse) | join(t) }}",
    "{% for a in range(9000) %}{{ 'x' * 19000 }}{% endfor %}",
    "{% include 'page.j2' %}{% include 'page.j2' %}",
]
UNCOMPILABLE = [
    "x" * 100_000,
    "{{ dict(a=1, a=2) }}",
    "{% macro m(a, a) %}{% endmacro %}",
    "".join(f"{{% for a{n} in x %}}" for n in range(22)) + "{% endfor %}" * 22,
    "{{ " + "9" * 5000 + " }}",
    "{{ " + "(" * 5000 + " }}",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:40])
def test_a_template_that_computes_too_much_costs_no_page(tmp_path: Path, source: Any) -> None:
    (tmp_path / "page.j2").write_text(source)
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew
    before, _ = memory()
    templates = Templates({"page.j2": tmp_path / "page.j2"})
    assert templates.problems == []
    templates.isolate()
    webhook_ = parse_webhook(payload("truncated-storm"))
    message = build_notification(webhook_, range(len(webhook_.alerts)), "ops")
    recipient = Recipient("alice", ALICE, "en", ZoneInfo("UTC"))
    now = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
    try:
        result = compose(templates, message, recipient, Style(), now)
        assert result.failure is not None
        assert result.failure.file == str(tmp_path / "page.j2")
        assert "HighLatency" in result.text
        assert memory()[1] - before < 30
        # The next one does not wait for the same template.
        again = compose(templates, message, recipient, Style(), now)
        assert again.text == result.text
        assert again.failure is not None
        other = compose(templates, message, recipient, Style(template="digest"), now)
        assert "no such template" in other.failure.reason, "the process answers again"
    finally:
        templates.close()


@pytest.mark.parametrize("source", UNCOMPILABLE, ids=lambda source: source[:40])
def test_a_template_that_python_refuses_is_a_problem_of_its_file(files: Files, source: Any) -> None:
    page = files.directory / "page.j2"
    page.write_text(source)
    loading, _ = load(files.write(templates=["page.j2"]))
    (problem,) = loading.errors
    assert problem.file == str(page)
    assert problem.message.startswith(("does not compile: ", "is larger than 64 KiB"))


def test_a_template_that_exceeded_a_limit_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("notifier.rendering.template_process.elapsed", lambda: now[0])
    (tmp_path / "page.j2").write_text("{% if more %}{{ 9**(9**9) }}{% endif %}fine {{ alerts[0].name }}")
    templates = Templates({"page.j2": tmp_path / "page.j2"})
    templates.isolate()
    few, many = parse_webhook(payload("firing-one")), parse_webhook(payload("truncated-storm"))

    def text(webhook_: Any) -> Any:
        message = build_notification(webhook_, range(len(webhook_.alerts)), "ops")
        recipient = Recipient("alice", ALICE, "en", ZoneInfo("UTC"))
        return compose(templates, message, recipient, Style(), datetime(2026, 11, 22, 12, 20, tzinfo=UTC))

    try:
        assert text(few).text == "fine InstanceDown"
        assert "seconds of computing" in text(many).failure.reason
        assert text(few).failure.reason.endswith("it is tried again within 10 minutes, or after a reload")
        now[0] += 601
        assert text(few).text == "fine InstanceDown"
    finally:
        templates.close()


def test_a_reload_with_a_template_that_computes_too_much_is_fast_and_costs_no_page(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    page = files.directory / "page.j2"
    page.write_text("own {{ alerts[0].name }}")
    running = run(files.write(templates=["page.j2"]))
    running.post(webhook(alert(instance="db-1"), key="a"))
    assert phones.wait(1)[0].message == "own InstanceDown"
    page.write_text("{{ 'a' * 10**9 }}")
    running.post(b"", "/-/reload")
    running.post(webhook(alert(instance="db-2"), key="b"))
    assert "InstanceDown db-2" in phones.wait(2)[1].message
    page.write_text("again {{ alerts[0].name }}")
    running.post(b"", "/-/reload")
    running.post(webhook(alert(instance="db-3"), key="c"))
    assert phones.wait(3)[2].message == "again InstanceDown"


def children(before: Collection[int] = ()) -> list[int]:
    """Return the processes of templates that this thread has started, without those of *before*."""
    found = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [
        int(one)
        for one in found
        if int(one) not in before
        and b"notifier.rendering.template_process" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Any]:
    """Templates in a process of their own, and functions that compose a page by them and return their processes."""
    before = children()  # commands of other tests leave theirs, which end with the worker
    (tmp_path / "page.j2").write_text("own {{ alerts[0].name }}")
    templates = Templates({"page.j2": tmp_path / "page.j2"})
    templates.isolate()
    message = notification_of(payload("firing-one"))
    recipient, now = (
        Recipient("alice", ALICE, "en", ZoneInfo("UTC")),
        datetime(2026, 11, 22, 12, 20, tzinfo=UTC),
    )
    yield templates, lambda: compose(templates, message, recipient, Style(), now), lambda: children(before)
    templates.close()


def notification_of(body: Any) -> Any:
    webhook_ = parse_webhook(body)
    return build_notification(webhook_, range(len(webhook_.alerts)), "ops")


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_ends_the_process_of_templates_costs_no_text(isolated: Any, sent: Any) -> None:
    _, text, own_children = isolated
    assert text().text == "own InstanceDown"
    (child,) = own_children()
    os.kill(child, sent)
    time.sleep(0.1 if sent != signal.SIGKILL else 0)
    assert (text().text, text().failure) == ("own InstanceDown", None)
    assert (own_children() == [child]) is (sent != signal.SIGKILL), "the others are for the service"


def test_a_text_that_is_composed_after_a_reload_leaves_no_process(isolated: Any) -> None:
    templates, text, own_children = isolated
    text()
    templates.close()
    assert own_children() == []
    assert text().text == "own InstanceDown"
    assert own_children() == []


def test_a_process_of_templates_that_is_stopped_is_given_up(
    isolated: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text, own_children = isolated
    text()
    (child,) = own_children()
    monkeypatch.setattr("notifier.limited_process._LONGEST_WAIT", 0.5)
    os.kill(child, signal.SIGSTOP)
    found = text()
    assert found.failure.reason == "it takes longer than 0 seconds"
    assert "InstanceDown" in found.text
    assert own_children() == []


def test_a_process_of_templates_keeps_to_the_limits_it_was_given(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text("own {{ alerts[0].name }}")
    code = (
        "import resource, sys; from tests.http import test_isolation as t; from notifier.rendering.compose import *\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))\n"
        "templates = Templates({'page.j2': t.Path(sys.argv[1])}); templates.isolate()\n"
        "now = t.datetime(2026, 11, 22, 12, 20, tzinfo=t.UTC); alice = Recipient('alice', t.ALICE, 'en', ZoneInfo('UTC'))\n"
        "print(compose(templates, t.notification_of(t.payload('firing-one')), alice, Style(), now).text)\n"
        "templates.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "page.j2"], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "own InstanceDown", done.stderr


def test_the_reason_of_a_failure_is_short(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text("{% include 'x' * 10**6 %}")
    templates = Templates({"page.j2": tmp_path / "page.j2"})
    failure = templates.render("page", "en", {})
    assert isinstance(failure, TemplateFailure)
    assert len(failure.reason) < 300


@pytest.mark.parametrize("module", ["notifier.rendering.compose", "notifier.oncall.calendars"])
def test_the_processes_of_templates_and_calendars_load_no_configuration(module: Any) -> None:
    """Which takes half of the memory and of the start."""
    code = f"import sys, {module}; print({{'notifier.config.model', 'sqlalchemy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n", done.stderr


def test_the_process_of_templates_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVH_APPLICATION_SECRET", "a-secret-of-the-environment")
    before = children()
    templates = Templates()
    templates.isolate()
    message = build_notification(parse_webhook(payload("firing-one")), [0], "ops")
    now = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
    try:
        assert (
            compose(
                templates, message, Recipient("alice", ALICE, "en", ZoneInfo("UTC")), Style(), now
            ).failure
            is None
        )
        (child,) = children(before)
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"PATH=" in environment
        assert b"a-secret" not in environment
    finally:
        templates.close()


def test_a_calendar_reaches_nothing_outside_of_it(tmp_path: Path) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    lines = [
        f"ATTACH:http://127.0.0.1:{port}/x",
        "ATTACH;VALUE=URI:file:///etc/passwd",
        f"URL:http://127.0.0.1:{port}/x",
        'SUMMARY;ALTREP="file:///etc/passwd":alice',
        f"X-WR-RELCALID:http://127.0.0.1:{port}/x",
        "DTSTART;TZID=../../../../etc/passwd:20260105T090000",
        "DTEND;TZID=/etc/passwd:20260105T100000",
    ]
    data = ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
            + "\r\n".join(lines) + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n").encode()  # fmt: skip
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    probe = (
        "import sys\n"
        "seen = []\n"
        "sys.addaudithook(lambda e, a: seen.append(str(a[0])) if e in ('open', 'socket.connect') else None)\n"
        "from notifier.oncall import calendars\n"
        "try:\n"
        "    calendars.main('UTC', *sys.argv[1:])\n"
        "except SystemExit as error:\n"
        "    sys.stdout.write(str(error))\n"
        "sys.stderr.write('\\n'.join(seen))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe, start.isoformat(), end.isoformat()],
        input=data, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"zoneinfo" in done.stderr, "what is opened is seen"
    assert b"/etc/passwd" not in done.stderr
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


@pytest.mark.parametrize(
    "call", ["socket.socket().connect(('127.0.0.1', 9))", "subprocess.run(['true'])", "os.system('true')"]
)
def test_the_process_that_reads_calendars_may_call_nobody(call: Any) -> None:
    probe = f"import sys, socket, subprocess, os\nfrom notifier.oncall import calendars\nsys.addaudithook(calendars.refuse_calls)\n{call}"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert "PermissionError: a calendar may not do that" in done.stderr
