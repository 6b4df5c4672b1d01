"""The service over real HTTP: webhook, probes, metrics, reload, shutdown."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bcrypt
import pytest
import requests

import notifier.reload
from notifier.clock import elapsed
from notifier.emulator import Emulator, Fault, FaultKind
from notifier.metrics import Metrics
from notifier.permissions import Role
from notifier.store.engine import StoreUnavailable
from notifier.store.records import Queue
from notifier.web.answers import Answers
from notifier.web.authentication import Authentication, User
from notifier.web.connections import Connections, limited
from tests.support.clock import Hand
from tests.support.connections import make_certificate, request, talk
from tests.support.files import Files
from tests.support.processes import program, wait_for
from tests.support.service import Phones, Running, start
from tests.support.webhooks import PAYLOADS, alert, payload, webhook

TOKEN = "a-long-enough-token"
HASH = bcrypt.hashpw(b"pass word", bcrypt.gensalt(4)).decode()


@pytest.mark.parametrize("file", sorted(PAYLOADS.glob("*.json")), ids=lambda file: file.stem)
def test_every_captured_webhook_is_answered_200_and_pages(
    files: Files, run: Callable[..., Running], phones: Phones, file: Any
) -> None:
    running = run(files.write())
    body = file.read_bytes()
    if b'"status": "firing"' not in body:  # there must be something to resolve
        fires = {**json.loads(body), "status": "firing"}
        fires["alerts"] = [{**one, "status": "firing"} for one in fires["alerts"]]
        assert running.post(fires).status_code == 200
        phones.wait(1)
    assert running.post(body).status_code == 200
    count = 1 if b'"status": "firing"' in body else 2
    sms = phones.wait(count)[-1]
    assert sms.message.startswith("FIRING " if count == 1 else "RESOLVED ")
    assert running.metric('notifier_webhooks_total{code="200"}') == count


def test_a_repetition_is_answered_200_and_pages_once(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    for _ in range(3):
        assert running.post(payload("firing-one")).status_code == 200
    assert running.post(webhook(alert(instance="other"))).status_code == 200
    phones.wait(2)
    assert len(phones.all()) == 2
    assert running.metric("notifier_webhooks_duplicate_total") == 2


def test_two_alertmanagers_at_the_same_moment_page_once(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    threads = [threading.Thread(target=running.post, args=(payload("firing-three"),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert running.post(webhook(alert(instance="last"))).status_code == 200
    assert len(phones.wait(2)) == 2


def test_after_the_window_it_pages_again(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    running = run(files.write(**{"global": {"dedupe_window": "200ms"}}))
    running.post(payload("firing-one"))
    phones.wait(1)
    time.sleep(0.25)
    running.post(payload("firing-one"))
    phones.wait(2)


def test_a_webhook_can_be_posted_for_a_receiver(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(
        files.write(
            receivers=[{"name": "ops", "notify": ["alice"]}, {"name": "data base", "notify": ["bob"]}],
            route={"receiver": "ops"},
        )
    )
    assert running.post(payload("firing-one"), "/alert/data%20base").status_code == 200
    assert phones.wait(1)[0].message.startswith("ALERTE")
    for name in ("nobody", "no/body", "no\nbody"):
        refused = running.post(payload("firing-one"), f"/alert/{quote(name)}")
        assert (refused.status_code, refused.text) == (404, f'there is no receiver "{name}"\n')


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"not json", "not JSON"),
        (b"{}", "it holds no alert"),
        (b"[]", "not a webhook of Alertmanager"),
        (b"\xff", "not JSON"),
        (b"[" * 500_000, "recursion"),
    ],
)
def test_what_is_no_webhook_is_refused_with_the_reason(
    files: Files, run: Callable[..., Running], caplog: pytest.LogCaptureFixture, body: Any, words: Any
) -> None:
    running = run(files.write())
    for path in ("/alert", "/alert/ops"):
        answer = running.post(body, path)
        assert answer.status_code == 400
        assert words in answer.text
    assert running.metric('notifier_webhooks_total{code="400"}') == 2
    lines = [one.getMessage() for one in caplog.records if "webhook refused" in one.getMessage()]
    assert [words in line for line in lines] == [True, True]


def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write(web={"max_body": "2KiB"}))
    head = b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    assert b"413" in talk(running.url, head)
    chunked = (
        b"POST /alert HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"800\r\n%s\r\n" % (b"x" * 2048) * 3
    )
    assert b"413" in talk(running.url, chunked)
    assert running.post(b"x" * 2048).status_code == 400
    assert running.post(b"x" * 2049).status_code == 413
    assert running.metric('notifier_webhooks_total{code="413"}') == 3


def test_the_ways_to_send_a_body_come_to_the_same(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())

    def body(n: Any) -> Any:
        return json.dumps(webhook(alert(instance=f"h{n}"))).encode()

    chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (body(1)[:50], body(1)[50:])) + b"0\r\n\r\n"
    for data in (
        b"POST /alert HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks,
        request(body(2)),
        request(body(3), headers=b"Expect: 100-continue\r\n"),
        request(body(4), headers=b"Connection: close\r\n"),
        request(body(5), path=b"/alert?x=y"),
        request(body(6)).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        assert b"200 OK" in talk(running.url, data, until=b"200 OK")
    assert b"200 OK" in talk(running.url, request(body(7)), pieces=20)
    assert len(phones.wait(7)) == 7


def test_requests_that_follow_each_other_on_a_connection_are_answered_in_order(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    bodies = [json.dumps(webhook(alert(instance=f"h{n}"))).encode() for n in range(3)]
    data = (
        request(bodies[0]) + request(b"{}") + b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
        + request(bodies[1]) + request(bodies[2], headers=b"Connection: close\r\n")
    )  # fmt: skip
    answer = talk(running.url, data, until=None)
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert statuses == [b"200", b"400", b"200", b"200", b"200"]
    phones.wait(3)


def test_whoever_goes_away_before_the_answer_has_posted_all_the_same(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    host, port = running.url.removeprefix("http://").split(":")
    for n in range(5):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request(json.dumps(webhook(alert(instance=f"h{n}"))).encode()))
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request(b"x" * 1000)[:500])
    phones.wait(5)
    assert running.post(payload("firing-one")).status_code == 200


# -- credentials -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Emulator().running() as emulator:
        files = Files(tmp_path_factory.mktemp("guarded"), emulator)
        running = start(files.write(web={"bearer_token": TOKEN, "basic_auth_users": {"ops": HASH}}))
        yield running
        running.stop()


def basic(text: Any) -> Any:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize("path", ["/alert", "/alert/ops", "/-/reload"])
def test_the_right_credentials_pass(guarded: Any, path: Any) -> None:
    body = payload("firing-one")
    assert guarded.post(body, path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    for _ in range(2):
        assert guarded.post(body, path, headers=basic("ops:pass word")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": TOKEN},
        {"Authorization": "Basic !!!"},
        basic("ops:pass wore"),
        basic("ops"),
        basic("nobody:pass word"),
        basic(":"),
    ],
)
@pytest.mark.parametrize("path", ["/alert", "/alert/ops", "/-/reload"])
def test_wrong_credentials_are_refused_and_counted(guarded: Any, headers: Any, path: Any) -> None:
    before = guarded.metric("notifier_authentication_failures_total")
    answer = guarded.post(payload("firing-one"), path, headers=headers)
    assert answer.status_code == 401
    assert "Bearer" in answer.headers["www-authenticate"]
    assert guarded.metric("notifier_authentication_failures_total") == before + 1


def test_probes_and_metrics_need_no_credentials(guarded: Any) -> None:
    assert "healthy" in guarded.get("/-/healthy")
    assert "ready" in guarded.get("/-/ready")
    assert "notifier_build_info" in guarded.get("/metrics")


def test_a_hash_of_another_flavour_is_understood() -> None:
    hashes = {"a": HASH.replace("$2b$", "$2y$", 1).encode(), "b": b"$2b$99$broken"}
    users = Authentication((), {name: User(hash_, Role.VIEWER) for name, hash_ in hashes.items()})
    assert users.verify(basic("a:pass word")["Authorization"].encode())
    assert not users.verify(basic("b:pass word")["Authorization"].encode())
    for n in range(200):
        users._right[bytes([n])] = "a"
    assert users.verify(basic("a:pass word")["Authorization"].encode())
    assert len(users._right) == 1


# -- seen from outside -------------------------------------------------------------------------------------


def test_the_metrics_are_to_promtools_liking(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    promtool = program("promtool")
    running = run(files.write())
    running.post(payload("firing-one"))
    phones.wait(1)
    text = running.get("/metrics")
    answer = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60
    )
    complaints = [
        line for line in answer.stderr.splitlines() + answer.stdout.splitlines() if "notifier_" in line
    ]
    assert complaints == []
    for name in (
        "webhooks_total", "webhooks_duplicate_total", "notifications_total", "sms_total", "sms_parts_total",
        "sms_credits_total", "ovh_requests_total", "ovh_request_duration_seconds", "ovh_credits_left",
        "queue_messages", "queue_oldest_seconds", "page_latency_seconds", "template_errors_total",
        "config_last_reload_successful", "config_last_reload_success_timestamp_seconds", "build_info",
    ):  # fmt: skip
        assert f"# TYPE notifier_{name} " in text
    assert "3363998" not in text


def test_ready_tells_what_hinders_sending_and_is_ready_all_the_same(
    files: Files, run: Callable[..., Running], emulator: Emulator
) -> None:
    emulator.emulation.is_valid_credential = False
    running = run(files.write())
    running.post(payload("firing-one"))
    for _ in range(200):
        answer = requests.get(running.url + "/-/ready", timeout=10)
        if "sending is paused" in answer.text:
            break
        time.sleep(0.02)
    assert answer.status_code == 200
    assert "warning: sending is paused (credentials): 403 INVALID_CREDENTIAL" in answer.text


def test_an_account_without_credits_is_told_before_any_page(
    files: Files, run: Callable[..., Running], emulator: Emulator
) -> None:
    emulator.emulation.credits = 0
    running = run(files.write())
    for _ in range(200):
        if "no credits left" in running.get("/-/ready"):
            return
        time.sleep(0.02)
    pytest.fail(running.get("/-/ready"))


def test_a_store_that_fails_is_503_and_not_ready(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write())
    writer = running.service.store._writer

    def failing(operations: Any) -> None:
        writer.outage = "disk full"
        raise StoreUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "_transaction", failing)
        for path in ("/alert", "/alert/ops"):
            answer = running.post(payload("firing-one"), path)
            assert (answer.status_code, answer.text) == (503, "not stored, post it again: disk full\n")
        ready = requests.get(running.url + "/-/ready", timeout=10)
        assert (ready.status_code, ready.text) == (
            503,
            "Notifier is not ready: the store is unavailable: disk full\n",
        )
    assert running.metric("notifier_store_errors_total") >= 2
    for _ in range(200):
        if requests.get(running.url + "/-/ready", timeout=10).status_code == 200:
            break
        time.sleep(0.02)
    assert running.post(payload("firing-one")).status_code == 200


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the failure of a worker reported after a moment."""
    monkeypatch.setattr("notifier.workers.worker.LONGEST_FAILURE", 0.2)
    monkeypatch.setattr("notifier.workers.worker._AFTER_FAILURE", 0.05)


def failing() -> None:
    raise RuntimeError("a fault")


def test_the_queue_is_told_as_it_was_last_while_the_store_is_out(hand: Hand) -> None:
    metrics, found = Metrics(), [Queue({"queued": 3}, 1, hand())]

    def queue() -> Any:
        if not found:
            raise StoreUnavailable("disk full")
        return found.pop()

    metrics.watch_queue(queue, hand)
    for _ in range(2):
        shown = metrics.exposition().decode()
        assert 'notifier_queue_messages{state="queued"} 3.0' in shown
    for code in ("200", "400", "401", "413", "503"):
        assert f'notifier_webhooks_total{{code="{code}"}} 0.0' in shown, "rules need it before the first"


@pytest.mark.parametrize("name", ["planner", "sender"])
def test_while_pages_would_not_go_out_webhooks_are_refused_and_it_is_not_ready(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, soon: Any, name: Any
) -> None:
    running = run(files.write())
    worker = getattr(running.service.workers, {"sender": "dispatcher"}.get(name, name))
    assert running.metric("notifier_ready") == 1
    with monkeypatch.context() as patch:
        patch.setattr(worker, "work", failing)
        worker.wake()
        wait_for(
            lambda: requests.get(running.url + "/-/ready", timeout=10).status_code == 503, "it says ready"
        )
        assert f"Notifier is not ready: the {name} has failed for" in running.get("/-/ready")
        for path in ("/alert", "/alert/ops"):
            answer = running.post(payload("firing-one"), path)
            assert answer.status_code == 503
            assert answer.text.startswith(f"not stored, post it again: the {name} has failed for")
        assert running.metric("notifier_ready") == 0
        assert running.metric(f'notifier_worker_failures_total{{worker="{name}"}}') > 0
        assert running.metric('notifier_webhooks_total{code="503"}') == 2
        assert not running.service.health.does_page(), "the dead man's switch is not called"
    worker.wake()
    wait_for(
        lambda: requests.get(running.url + "/-/ready", timeout=10).status_code == 200, "it stays unready"
    )
    assert running.post(payload("firing-one")).status_code == 200
    assert (
        running.metric(f'notifier_worker_last_success_timestamp_seconds{{worker="{name}"}}')
        > time.time() - 60
    )


@pytest.mark.parametrize("name", ["planner", "sender"])
def test_a_worker_that_hangs_for_a_minute_is_reported_like_one_that_fails(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    running, begun, freed = run(files.write()), threading.Event(), threading.Event()
    worker = getattr(running.service.workers, {"sender": "dispatcher"}.get(name, name))

    def hang() -> None:
        begun.set()
        freed.wait(60)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "work", hang)
        assert begun.wait(30)
        assert worker.failure(elapsed() + 61) is not None
        assert worker.failure(elapsed() + 50) is None
        patch.setattr(worker, "longest_work", 0.0)
        assert running.post(payload("firing-one")).status_code == 503
        assert f"not ready: the {name} has been busy with one piece of work" in running.get("/-/ready")
    freed.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", ["planner", "sender"])
def test_a_worker_whose_thread_has_ended_is_reported(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    running = run(files.write())
    worker = getattr(running.service.workers, {"sender": "dispatcher"}.get(name, name))
    monkeypatch.setattr(worker, "work", sys.exit)
    assert worker.join(30)
    assert running.post(payload("firing-one")).status_code == 503
    assert f"not ready: the thread of the {name} has ended, restart Notifier" in running.get("/-/ready")


def test_receipts_and_replies_that_cannot_be_read_are_reported(
    files: Files, run: Callable[..., Running], emulator: Emulator, soon: Any, caplog: pytest.LogCaptureFixture
) -> None:
    running = run(
        files.write(ovh={"sender": None, "sender_for_response": True, "replies": {"poll_interval": "1s"}})
    )
    emulator.emulation.rules = [("GET", "/sms"), ("POST", "/*")]
    running.post(payload("firing-one"))
    for name in ("receipts", "replies"):
        words = f"warning: no {name} could be read from OVHcloud for"
        wait_for(lambda words=words: words in running.get("/-/ready"), "it is not reported", seconds=30)
        assert running.metric(f'notifier_worker_failures_total{{worker="{name}"}}') > 0
    assert requests.get(running.url + "/-/ready", timeout=10).status_code == 200, "pages go out all the same"
    running.service.workers.replies.wake()
    wait_for(
        lambda: running.metric('notifier_worker_failures_total{worker="replies"}') > 1, "it asks no more"
    )
    told = [record.getMessage() for record in caplog.records if "cannot be asked" in record.getMessage()]
    assert sum("replies" in line for line in told) == 1, "once"
    emulator.emulation.rules = [("*", "/*")]
    for worker in (running.service.workers.receipts, running.service.workers.replies):
        worker.hint()
    wait_for(lambda: "could be read" not in running.get("/-/ready"), "it is still reported", seconds=20)


def test_a_worker_that_fails_is_reported_and_its_log_says_it_once(
    files: Files,
    run: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
    soon: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = run(files.write())
    with monkeypatch.context() as patch:
        patch.setattr(running.service.workers.receipts, "work", failing)
        running.service.workers.receipts.wake()
        wait_for(
            lambda: "warning: the receipts has failed for" in running.get("/-/ready"), "it is not reported"
        )
        assert requests.get(running.url + "/-/ready", timeout=10).status_code == 200
        wait_for(
            lambda: running.metric('notifier_worker_failures_total{worker="receipts"}') > 4,
            "it is not counted",
        )
    assert sum("worker failed" in record.getMessage() for record in caplog.records) == 1


def test_what_is_set_aside_is_reported(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write())
    running.service.workers.planner.set_aside.add("webhook", RuntimeError("a fault"), datetime.now(UTC))
    assert "the planner cannot process 1 item(s), and retries: RuntimeError: a fault" in running.get(
        "/-/ready"
    )
    assert running.metric('notifier_items_set_aside{worker="planner"}') == 1
    assert running.metric('notifier_items_set_aside{worker="sender"}') == 0


@pytest.mark.parametrize(
    ("limits", "reason", "words"),
    [
        (
            {"credits": {"amount": 1, "per": "1d"}, "per_contact": None},
            "credits",
            "limits.credits is used up: 3",
        ),
        ({"per_contact": {"messages": 1, "per": "10m"}}, "digest", "limits.per_contact holds 3"),
    ],
)
def test_limits_that_hold_messages_are_reported(
    files: Files, run: Callable[..., Running], limits: Any, reason: Any, words: Any
) -> None:
    running = run(files.write(limits=limits))
    for number in range(4):
        running.post(webhook(alert(f"A{number}"), key=str(number)))
    wait_for(lambda: words in running.get("/-/ready"), "the limit is not reported", seconds=20)
    assert running.metric(f'notifier_held_messages{{reason="{reason}"}}') == 3
    assert running.metric("notifier_queue_oldest_seconds") == 0, "what a limit holds is not late"


def test_a_failed_reload_and_a_needed_restart_are_reported(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write())
    files.write(storage={"url": "sqlite:///other.db"})
    running.post(b"", "/-/reload")
    assert "warning: a restart is needed for the change of storage.url" in running.get("/-/ready")
    assert running.metric("notifier_restart_required") == 1
    files.write(receivers=[])
    running.post(b"", "/-/reload")
    assert "warning: the last reload failed, the configuration before is in force" in running.get("/-/ready")
    files.write()
    running.post(b"", "/-/reload")
    assert running.get("/-/ready") == "Notifier is ready.\n"


def test_of_reloads_at_once_the_newest_file_wins(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write())
    real = notifier.reload.load
    delays = iter((0.5, 0.0))

    def slow(file: Any) -> Any:
        loaded = real(file)
        time.sleep(next(delays, 0.0))  # the first is read first and ready last
        return loaded

    monkeypatch.setattr("notifier.reload.load", slow)
    first = threading.Thread(target=running.post, args=(b"", "/-/reload"))
    first.start()
    time.sleep(0.2)
    files.write(
        contacts=[{"name": "carol", "phone": "+33639980003"}],
        receivers=[{"name": "ops", "notify": ["carol"]}],
    )
    running.post(b"", "/-/reload")
    first.join()
    assert [contact.name for contact in running.service.configuration.contacts] == ["carol"]


def test_series_of_what_a_reload_removed_are_gone(files: Files, run: Callable[..., Running]) -> None:
    rota = {"name": "rota", "ics": str(files.directory / "rota.ics")}
    (files.directory / "rota.ics").write_bytes(
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\n"
        b"DTSTART:20260101T000000Z\r\nDTEND:20270101T000000Z\r\nSUMMARY:alice\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    beat = {"name": "hb", "matchers": ["alertname=Watchdog"], "timeout": "10m", "receiver": "ops"}
    running = run(files.write(schedules=[rota], heartbeats=[beat]))
    wait_for(lambda: 'schedule="rota"' in running.get("/metrics"), "the calendar has no series")
    wait_for(lambda: 'heartbeat="hb"' in running.get("/metrics"), "the heartbeat has no series")
    files.write()
    running.post(b"", "/-/reload")
    wait_for(lambda: 'schedule="rota"' not in running.get("/metrics"), "the schedule's series stay")
    wait_for(lambda: 'heartbeat="hb"' not in running.get("/metrics"), "the heartbeat's series stay")


def test_too_many_waiting_webhooks_are_503(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.workers.intake._MAX_WAITING_BYTES", 10)
    assert run(files.write()).post(payload("firing-one")).status_code == 503


# -- reloading ---------------------------------------------------------------------------------------------


def test_a_reload_puts_the_file_in_force(files: Files, run: Callable[..., Running], phones: Phones) -> None:
    running = run(files.write())
    before = running.metric("notifier_config_last_reload_success_timestamp_seconds")
    files.write(receivers=[{"name": "ops", "notify": ["bob"]}], web={"bearer_token": TOKEN, "listen_address": "127.0.0.1:1"},
                storage={"url": "sqlite:///other.db"})  # fmt: skip
    assert running.post(b"", "/-/reload").text == "reloaded\n"
    assert running.post(payload("firing-one")).status_code == 401
    assert (
        running.post(payload("firing-one"), headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    )
    assert phones.wait(1)[0].message.startswith("ALERTE")
    assert running.metric("notifier_config_last_reload_success_timestamp_seconds") > before


def test_a_broken_file_changes_nothing_and_says_why(
    files: Files, run: Callable[..., Running], phones: Phones
) -> None:
    running = run(files.write())
    files.write(receivers=[{"name": "ops", "notify": ["nobody"]}])
    answer = running.post(b"", "/-/reload")
    assert answer.status_code == 500
    assert '"nobody" is no schedule, contact or number' in answer.text
    assert running.metric("notifier_config_last_reload_successful") == 0
    assert running.post(payload("firing-one")).status_code == 200
    phones.wait(1)
    files.write()
    running.post(b"", "/-/reload")
    assert running.metric("notifier_config_last_reload_successful") == 1


# -- stopping ----------------------------------------------------------------------------------------------


def test_a_stop_finishes_what_is_under_way(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    emulator.latency = 0.3
    running = run(files.write())
    assert running.post(payload("firing-one")).status_code == 200
    while not any(path.endswith("/jobs") for _, path in emulator.requests):
        time.sleep(0.01)
    running.stop()
    assert len(phones.all()) == 1
    emulator.latency = 0
    again = run(files.write())
    again.post(webhook(alert("Other")))
    assert len(phones.wait(2)) == 2


def test_a_stop_does_not_wait_longer_than_shutdown_timeout(
    files: Files, run: Callable[..., Running], emulator: Emulator
) -> None:
    emulator.faults.add(Fault(kind=FaultKind.HANG_BEFORE, seconds=30, times=None))
    running = run(files.write(**{"global": {"shutdown_timeout": "300ms"}, "ovh": {"timeout": "8s"}}))
    running.post(payload("firing-one"))
    while not any(path.endswith("/jobs") for _, path in emulator.requests):
        time.sleep(0.01)
    start = time.monotonic()
    running.stop()
    assert time.monotonic() - start < 7


def test_tls(files: Files, run: Callable[..., Running], tmp_path: Path, phones: Phones) -> None:
    make_certificate(tmp_path)
    running = run(files.write(web={"tls_server_config": {"cert_file": "c.pem", "key_file": "k.pem"}}))
    url = running.url.replace("http:", "https:")
    answer = requests.post(url + "/alert", payload("firing-one"), verify=str(tmp_path / "c.pem"), timeout=10)
    assert answer.status_code == 200
    phones.wait(1)
    files.write(
        web={"tls_server_config": {"cert_file": "c.pem", "key_file": "k.pem", "client_ca_file": "c.pem"}}
    )
    running.stop()
    strict = run(files.directory / "notifier.yml")
    url = strict.url.replace("http:", "https:")
    with pytest.raises(requests.exceptions.RequestException):
        requests.post(url + "/alert", payload("firing-one"), verify=str(tmp_path / "c.pem"), timeout=10)
    mine = (str(tmp_path / "c.pem"), str(tmp_path / "k.pem"))
    ok = requests.post(
        url + "/alert", payload("firing-one"), verify=str(tmp_path / "c.pem"), cert=mine, timeout=10
    )
    assert ok.status_code == 200


def test_a_new_certificate_is_served_after_a_reload(
    files: Files, run: Callable[..., Running], tmp_path: Path, phones: Phones
) -> None:
    make_certificate(tmp_path)
    tls = {"cert_file": "c.pem", "key_file": "k.pem"}
    token = {"Authorization": f"Bearer {TOKEN}"}
    running = run(files.write(web={"tls_server_config": tls, "bearer_token": TOKEN}))
    url = running.url.replace("http:", "https:")
    old = (tmp_path / "c.pem").read_text()
    make_certificate(tmp_path)  # under the same names, as certbot has it
    (tmp_path / "other").mkdir()
    (tmp_path / "old.pem").write_text(old)

    def post(certificate: Any, path: Any, body: Any = b"") -> Any:
        return requests.post(url + path, body, headers=token, verify=tmp_path / certificate, timeout=10)

    assert post("old.pem", "/alert", payload("firing-one")).status_code == 200
    assert post("old.pem", "/-/reload").text == "reloaded\n"
    with pytest.raises(requests.exceptions.SSLError):
        post("old.pem", "/alert", payload("firing-one"))
    assert post("c.pem", "/alert", payload("firing-one")).status_code == 200
    key = (tmp_path / "k.pem").read_text()
    make_certificate(tmp_path / "other")
    (tmp_path / "k.pem").write_text((tmp_path / "other" / "k.pem").read_text())
    (tmp_path / "new.pem").write_text((tmp_path / "c.pem").read_text())
    refused = post("new.pem", "/-/reload")
    assert refused.status_code == 500
    assert "c.pem cannot be used: KEY_VALUES_MISMATCH" in refused.text
    assert post("new.pem", "/alert", payload("firing-one")).status_code == 200
    (tmp_path / "k.pem").write_text(key)
    files.write(web={"tls_server_config": {**tls, "client_ca_file": "c.pem"}, "bearer_token": TOKEN})
    assert post("c.pem", "/-/reload").text == "reloaded\n"
    with pytest.raises(requests.exceptions.RequestException):
        post("c.pem", "/alert", payload("firing-one"))  # it shows no certificate
    assert running.service.metrics.exposition().find(b"notifier_restart_required 0.0") >= 0


def test_tls_handshakes_that_do_not_end_keep_nobody_out(
    files: Files, run: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificate(tmp_path)
    monkeypatch.setattr("notifier.web.connections.LONGEST_HANDSHAKE", 1.0)
    running = run(files.write(web={"tls_server_config": {"cert_file": "c.pem", "key_file": "k.pem"}}))
    connections = running.service.connections
    connections.most = 50
    host, port = running.url.removeprefix("http://").split(":")
    held = [socket.create_connection((host, int(port)), 10) for _ in range(200)]
    url = running.url.replace("http:", "https:")
    for _ in range(3):
        with requests.Session() as session:
            session.headers["Connection"] = "close"
            answer = session.post(
                url + "/alert", payload("firing-one"), verify=str(tmp_path / "c.pem"), timeout=10
            )
        assert answer.status_code == 200
        assert len(connections.open) <= connections.most
    wait_for(lambda: not connections.open, "a handshake is waited for")
    for one in held:
        with contextlib.suppress(ConnectionResetError):
            assert one.recv(1) == b""
        one.close()
    nonsense = socket.create_connection((host, int(port)), 10)
    nonsense.sendall(request(payload("firing-one")))
    wait_for(lambda: not connections.open, "who does not speak TLS is waited for")
    nonsense.close()


def does_listen(host: Any, port: Any) -> Any:
    try:
        socket.create_connection((host, port), 10).close()
    except OSError as error:  # one that waits to be accepted may be reset
        return not isinstance(error, ConnectionRefusedError)
    return True


def test_a_connection_in_its_tls_handshake_does_not_delay_a_stop(
    files: Files, run: Callable[..., Running], tmp_path: Path
) -> None:
    make_certificate(tmp_path)
    tls = {"cert_file": "c.pem", "key_file": "k.pem"}
    running = run(files.write(web={"tls_server_config": tls}, **{"global": {"shutdown_timeout": "2m"}}))
    host, port = running.url.removeprefix("http://").split(":")
    client = socket.create_connection((host, int(port)), 10)
    wait_for(lambda: running.service.connections.open, "the connection is accepted")
    running.service.ask_to_stop()
    wait_for(lambda: not does_listen(host, int(port)), "it stops listening")
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        client = unverified.wrap_socket(client)
    running.thread.join(30)
    assert not running.thread.is_alive(), "the connection delays the stop"
    client.close()


def test_a_client_that_sends_half_a_body_does_not_delay_a_stop(
    files: Files, run: Callable[..., Running]
) -> None:
    running = run(files.write(**{"global": {"shutdown_timeout": "2m"}}))
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as client:
        client.sendall(b"POST /alert HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        wait_for(lambda: running.service.connections.waiting, "the body is waited for")
        running.service.ask_to_stop()
        running.thread.join(30)
    assert not running.thread.is_alive(), "the client delays the stop"


def test_a_connection_that_the_server_accepts_while_it_stops_is_ended() -> None:
    async def scenario() -> None:
        connections = Connections(10)
        connections.refuse()
        new_connection: Any = limited(connections, asyncio.Protocol)
        server = await asyncio.get_running_loop().create_server(
            lambda: new_connection(app_state={}), "127.0.0.1"
        )
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert not connections.open
        writer.close()
        server.close()

    asyncio.run(scenario())


def test_a_page_is_answered_while_the_service_stops(files: Files, run: Callable[..., Running]) -> None:
    running = run(files.write())
    running.service.pages.end_streams()
    assert requests.get(running.url + "/", timeout=10).status_code == 200
    assert requests.get(running.url + "/live", timeout=10).text == ""


def test_a_queue_that_does_not_drain_is_reported_and_stops_the_dead_mans_switch(
    files: Files, run: Callable[..., Running], emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.health._STUCK", timedelta())
    running = run(files.write())
    assert running.service.health.does_page()
    emulator.faults.add(Fault(kind=FaultKind.ERROR, status=500, times=None))
    running.post(payload("firing-one"))
    wait_for(lambda: "warning: a message has waited to be sent since" in running.get("/-/ready"), "it warns")
    assert not running.service.health.does_page()


def test_a_webhook_that_is_not_planned_is_reported_and_stops_the_dead_mans_switch(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("notifier.health._STUCK", timedelta())
    running = run(files.write())
    monkeypatch.setattr(running.service.workers.planner, "work", lambda: None)
    running.post(payload("firing-one"))
    assert "warning: a webhook has waited to be planned since" in running.get("/-/ready")
    assert not running.service.health.does_page()


def test_each_answer_says_that_it_is_not_to_be_stored(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = run(files.write())
    for path in (
        "/metrics",
        "/-/ready",
        "/-/healthy",
        "/api/v1/messages",
        "/api/v1/openapi.json",
        "/",
        "/nowhere",
    ):
        headers = requests.get(running.url + path, timeout=10).headers
        assert (path, headers["Cache-Control"], headers["X-Content-Type-Options"]) == (
            path,
            "no-store",
            "nosniff",
        )
    assert requests.get(running.url + "/oncall/", timeout=10, allow_redirects=False).status_code == 404
    monkeypatch.setattr("notifier.metrics.Metrics.exposition", lambda self: 1 / 0)
    failed = requests.get(running.url + "/metrics", timeout=10)
    assert (failed.status_code, failed.headers["Cache-Control"]) == (500, "no-store")


def test_a_refusal_is_sent_once_a_small_body_has_been_read() -> None:
    """Caddy cuts off an answer that comes earlier."""

    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def answered(method: Any, chunks: Any) -> Any:
        log, coming = [], list(chunks)

        async def receive() -> Any:
            if not coming:
                await asyncio.Event().wait()  # the client is silent
            log.append(len(coming[0]))
            return {
                "type": "http.request",
                "body": coming.pop(0),
                "more_body": bool(coming) or len(chunks) == 1,
            }

        async def send(message: Any) -> None:
            log.append(message["type"])

        await Answers(refusing)({"type": "http", "method": method}, receive, send)
        return log

    sent = ["http.response.start", "http.response.body"]
    assert asyncio.run(answered("POST", [b"a", b"bc", b""])) == [1, 2, 0, *sent]
    assert asyncio.run(answered("GET", [b"a"])) == sent
    assert asyncio.run(answered("POST", [b"x" * 40_000] * 5)) == [40_000, 40_000, *sent], "not a large one"
    assert asyncio.run(answered("POST", [b"a"])) == [1, *sent], "nor one that does not come"
