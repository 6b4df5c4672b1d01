from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import requests

from notifier import demo
from notifier.demo_history import write_history
from notifier.emulator import Sms
from notifier.service import Service
from tests.support.files import Files
from tests.support.processes import program, wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, webhook


def test_the_phone_shows_text_sender_parts_and_credits() -> None:
    sms = Sms(1, "+33639980001", "FIRING " + "word " * 20 + "\nend", "ACME", None, 2, 2.0, 0, 0)
    lines = demo.phone(sms).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert any("ACME" in line for line in lines)
    assert any("2 parts, 2 credit(s), to +33639980001" in line for line in lines)


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The demo ends itself by a signal; here, where it does not run in the main thread, by asking."""
    services = []
    real = Service

    def kept(file: Any) -> Any:
        services.append(real(file))
        return services[-1]

    monkeypatch.setattr(demo, "Service", kept)
    monkeypatch.setattr(os, "kill", lambda pid, number: services[-1].ask_to_stop())
    environment = dict(os.environ)
    yield services
    os.environ.clear()
    os.environ.update(environment)


def in_a_thread(target: Any) -> Any:
    results = []
    thread = threading.Thread(target=lambda: results.append(target()))
    thread.start()
    thread.join(60)
    return results


def test_it_runs_with_the_shipped_configuration(
    in_this_process: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_a_thread(lambda: demo.run(0, once=True)) == [0]
    assert "FIRING #1 critical InstanceDown db-1" in capsys.readouterr().out


def test_it_says_when_nothing_arrives(
    in_this_process: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.Sample, "post", lambda self, status: (_ for _ in ()).throw(OSError("refused")))
    assert in_a_thread(lambda: demo.run(0, once=True)) == [1]
    assert "the webhook cannot be reached: refused" in capsys.readouterr().err


def test_the_lines_it_gives_work(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    program("curl")
    running = run(files.write())
    text = demo.advice(running.url)
    line = re.search(r"curl .*?\}'\n", text, re.DOTALL)[0]
    subprocess.run(["bash", "-c", line], check=True, timeout=30, capture_output=True)
    assert "DiskFull web-1" in phones.wait(1)[0].message
    assert f"- url: {running.url}/alert" in text


def test_a_port_that_is_taken_is_passed_over(files: Files, run: Callable[..., Running]) -> None:
    port = int(run(files.write()).url.rpartition(":")[2])
    assert demo.free_port(port) not in (0, port)


def test_it_runs_without_the_second_channel_where_apprise_is_missing(
    in_this_process: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "problem", lambda url: "needs the library apprise")
    assert in_a_thread(lambda: demo.run(0, once=True)) == [0]
    printed = capsys.readouterr().out
    assert "The inbox stays empty: in the clone, run pip install '.[fallback]'." in printed
    assert "FIRING #1 critical InstanceDown db-1" in printed


def test_the_clocks_of_the_demo_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for written in (":Asia/Tokyo", ":/usr/share/zoneinfo/Asia/Tokyo"):
        monkeypatch.setenv("TZ", written)
        assert demo.local_zone().key == "Asia/Tokyo"
    monkeypatch.setenv("TZ", "no/such")
    assert demo.local_zone().key != "no/such"


def test_the_month_before_the_demo_is_listed_and_the_first_incident_is_number_one(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write(contacts=[{"name": "alice", "phone": "+33639980001"}]))
    write_history(running.service.store, demo.PHONES, datetime.now(UTC), demo.local_zone())
    messages = requests.get(running.url + "/api/v1/messages", {"limit": 200}, timeout=30).json()["items"]
    assert len(messages) > 30
    assert {one["state"] for one in messages} == {"delivered", "undelivered"}
    days = {one["created_at"][:10] for one in messages}
    assert len(days) > 15
    running.post(webhook(alert("A"), key="a"))
    assert "FIRING #1 A" in phones.wait(1)[0].message
    page = requests.get(running.url + "/messages", timeout=30).text
    assert page.count('<rect class="good"') > 15
    assert "late" not in requests.get(running.url, timeout=30).text.partition("<main")[0]


def test_a_storm_of_the_demo_fires_many_and_all_are_resolved(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write(limits={"per_contact": None}))
    sample = demo.Sample(running.url)
    sample.post("storm")
    counts = 'notifier_incidents{receiver="ops",state="open"}'
    wait_for(lambda: running.metric(counts) == 30, "the storm has 30 incidents")
    sample.post("resolved")
    wait_for(lambda: running.metric(counts) == 0, "all are resolved")
    sample.post("resolved")  # nothing is left
