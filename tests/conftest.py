"""What tests share: an emulator, configuration files, time moved by hand, a running service."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, settings

from notifier.emulator import Emulator, Sms
from notifier.logs import LogLevel, configure_logging
from notifier.service import Service
from notifier.store.engine import migrate
from notifier.store.sqlite import SQLite

pytest_plugins = ["tests.pager", "tests.postgres"]
PAYLOADS = Path(__file__).parent / "payloads"
ALICE, BOB = "+33639980001", "+33639980002"

configure_logging(level=LogLevel.WARNING)
settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("suite")


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where CI is."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path


class Hand:
    """A clock that is moved by hand."""

    def __init__(self, now: datetime = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator().running() as running:
        yield running


@dataclass
class Files:
    """Writes configuration files for an emulator into a directory."""

    directory: Path
    emulator: Emulator | None = None
    storage: str = "sqlite:///notifier.db"

    def configuration(self, **changes: Any) -> dict[str, Any]:
        keys = self.emulator.emulation.credentials if self.emulator else None
        base: dict[str, Any] = {
            "web": {"listen_address": "127.0.0.1:0"},
            "storage": {"url": self.storage},
            "ovh": {
                "endpoint": self.emulator.url if self.emulator else "ovh-eu",
                "application_key": keys.application_key if keys else "key",
                "application_secret": keys.application_secret if keys else "secret-secret",
                "consumer_key": keys.consumer_key if keys else "consumer",
                "sender": "ACME",
                "timeout": "1s",
            },
            "contacts": [{"name": "alice", "phone": ALICE}, {"name": "bob", "phone": BOB, "language": "fr"}],
            "receivers": [{"name": "ops", "notify": ["alice"]}],
        }
        for section, value in changes.items():
            if value is ...:
                del base[section]
            elif isinstance(value, dict) and isinstance(base.get(section), dict):
                base[section] = {k: v for k, v in {**base[section], **value}.items() if v is not ...}
            else:
                base[section] = value
        return base

    def write(self, name: str = "notifier.yml", /, **changes: Any) -> Path:
        file = self.directory / name
        file.write_text(json.dumps(self.configuration(**changes)))  # JSON is YAML
        file.chmod(0o600)
        return file


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose schema is up to date: to make one anew for each test takes longer than the test."""
    file = tmp_path_factory.mktemp("blank") / "notifier.db"
    migrate(SQLite(file))
    file.chmod(0o600)
    return file


@pytest.fixture
def engine_name() -> str:
    """The engine of the database; `both_engines` has a test run on each."""
    return "sqlite"


@pytest.fixture
def files(tmp_path: Path, emulator: Emulator, engine_name: str, request: pytest.FixtureRequest) -> Files:
    if engine_name == "postgresql":
        url = request.getfixturevalue("postgres")
        return Files(tmp_path, emulator, url.render_as_string(hide_password=False))
    shutil.copy(request.getfixturevalue("blank"), tmp_path / "notifier.db")
    return Files(tmp_path, emulator)


def account(emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Return the account of *emulator*, as one of several in the configuration."""
    keys = emulator.emulation.credentials
    return {
        "endpoint": emulator.url,
        "application_key": keys.application_key,
        "application_secret": keys.application_secret,
        "consumer_key": keys.consumer_key,
        "service_name": emulator.emulation.service_name,
        "sender": "ACME",
        "timeout": "1s",
        **more,
    }


def stacks() -> str:
    """Return what each thread is doing, for a test that waited in vain."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames().items()  # documented, in spite of its name
    return "\n".join(
        f"{names.get(ident)}:\n{''.join(traceback.format_stack(frame)[-4:])}" for ident, frame in frames
    )


class Phones:
    """The messages that the emulator accepted, to be waited for."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._changed = threading.Condition()
        emulator.on_accepted = self._notify

    def _notify(self, accepted: list[Sms]) -> None:
        with self._changed:
            self._changed.notify_all()

    def all(self) -> list[Sms]:
        return list(self._emulator.emulation.accepted)

    def wait(self, count: int, timeout: float = 20) -> list[Sms]:
        """Return the messages once there are *count*; fail when that does not come to pass."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.all()) >= count, timeout):
                found = f"{len(self.all())} of {count} messages after {timeout} s: {self.all()}"
                pytest.fail(f"{found}; what the threads did:\n{stacks()}")
        return self.all()


@pytest.fixture
def phones(emulator: Emulator) -> Phones:
    return Phones(emulator)


@dataclass
class Running:
    """A service that runs in this process, over real HTTP."""

    service: Service
    url: str
    thread: threading.Thread

    def post(self, body: Any, path: str = "/alert", **how: Any) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(self.url + path, data=data, timeout=30, **how)

    def get(self, path: str) -> str:
        return requests.get(self.url + path, timeout=30).text

    def metric(self, line: str) -> float:
        """Return the value of the series that is written *line*."""
        for found in self.get("/metrics").splitlines():
            if found.startswith(line + " "):
                return float(found.rpartition(" ")[2])
        return 0.0

    def stop(self) -> None:
        self.service.ask_to_stop()
        self.thread.join(30)
        assert not self.thread.is_alive(), "the service does not stop"


def start(file: Path, **how: Any) -> Running:
    service = Service(file, **how)
    ready = threading.Event()
    ports: list[int] = []

    def on_ready(port: int) -> None:
        ports.append(port)
        ready.set()

    thread = threading.Thread(target=service.run, args=(on_ready,), daemon=True)
    thread.start()
    assert ready.wait(20), "the service does not start"
    return Running(service, f"http://127.0.0.1:{ports[0]}", thread)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def starting(file: Path, **how: Any) -> Running:
        started.append(start(file, **how))
        return started[-1]

    yield starting
    for running in started:
        if running.thread.is_alive():
            running.stop()


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def alert(
    name: str = "InstanceDown",
    *,
    status: str = "firing",
    starts_at: str = "2026-11-22T12:13:30Z",
    **labels: str,
) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {},
        "startsAt": starts_at,
        "endsAt": "2026-11-22T12:20:00Z" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": "",
    }


def webhook(
    *alerts: dict[str, Any], receiver: str = "ops", key: str = "{}:{}", **more: Any
) -> dict[str, Any]:
    firing = any(a["status"] == "firing" for a in alerts)
    return {
        "version": "4",
        "receiver": receiver,
        "status": "firing" if firing else "resolved",
        "alerts": list(alerts),
        "groupKey": key,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "truncatedAlerts": 0,
        **more,
    }


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of faults."""
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    rows = [value for report in reports for name, value in report.user_properties if name == "fault"]
    writes = [value for report in reports for name, value in report.user_properties if name == "writes"]
    if writes:
        terminalreporter.section("writes: each lost, failed and run twice")
        for engine, scenario, count, wrong in writes:
            line = f"{engine}, {scenario}: {count} writes x 3 ways"
            terminalreporter.write_line(f"{line:<58} {wrong:>6} differ")
    if attacks := [value for report in reports for name, value in report.user_properties if name == "attack"]:
        terminalreporter.section("attacks")
        titles = (
            f"{'while there is, or are,':<58} {'webhooks':>8} {'p99 ms':>8} {'memory MB':>9} {'log KiB':>7}"
        )
        terminalreporter.write_line(titles)
        for row in attacks:
            terminalreporter.write_line(row)
    if rows:
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'what happens':<58} {'alerts':>6} {'lost':>5} {'twice':>6}  exit")
        for row in rows:
            terminalreporter.write_line(row)
