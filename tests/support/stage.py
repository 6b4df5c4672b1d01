"""What a line of the table is made of: services as processes, a load, an emulator that counts, and an outcome."""

from __future__ import annotations

import collections
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from notifier.emulator import Emulation, Emulator
from tests.support.files import Files
from tests.support.nursery import Child, Nursery
from tests.support.processes import free_ports
from tests.support.webhooks import alert, webhook

HOST = re.compile(r"host-\d+x\d+")

IS_FULL = os.environ.get("NOTIFIER_FAULTS") == "full"


@dataclass(frozen=True)
class Outcome:
    """What became of the alerts that were answered 200: of how many, which were lost, which came twice."""

    line: str
    posted: int
    lost: frozenset[str]
    twice: frozenset[str]
    codes: tuple[int, ...]

    @property
    def is_good(self) -> bool:
        return self.posted > 0 and not self.lost and not self.twice and not any(self.codes)

    def row(self) -> str:
        codes = ",".join(map(str, self.codes)) or "-"
        return f"{self.line:<58} {self.posted:>6} {len(self.lost):>5} {len(self.twice):>6}  {codes}"


def ask(method: str, url: str, **how: Any) -> requests.Response:
    """Make one request, without a look at the environment: pytest changes that while threads run."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=20, **how)


class Load:
    """Posts webhooks as Alertmanager does: the same again, to one address after the other, until it is answered 200."""

    def __init__(self, urls: list[str], threads: int = 3, pause: float = 0.02) -> None:
        self.urls = urls
        self.posted: list[str] = []
        self.offset = 0  # of the numbers in the names of hosts, where another load has posted before
        self._pause = pause
        self._last = "nothing"
        """What a webhook was answered last, if not 200."""
        self.is_over = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n,), daemon=True) for n in range(threads)]

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()

    def _post(self, worker: int) -> None:
        number = 0
        while not self.is_over.is_set():
            host = f"host-{self.offset + worker}x{number}"
            body = json.dumps(webhook(alert(instance=host), key=host)).encode()
            attempt = worker
            while True:
                try:
                    url = self.urls[attempt % len(self.urls)]
                    answer = ask("POST", url + "/alert", data=body)
                    if answer.status_code == 200:
                        break
                    self._last = f"{answer.status_code} {answer.text[:300]}"
                except requests.RequestException as error:
                    self._last = str(error)
                attempt += 1
                time.sleep(0.02)
            self.posted.append(host)
            number += 1
            time.sleep(self._pause)

    def post_one(self, host: str, is_hopeless: Callable[[], bool]) -> str | None:
        """Post one alert until it is answered 200, or there is no hope of that; return its host then."""
        body = json.dumps(webhook(alert(instance=host), key=host)).encode()
        while not is_hopeless():
            try:
                if ask("POST", self.urls[0] + "/alert", data=body).status_code == 200:
                    return host
            except requests.RequestException:
                time.sleep(0.01)
        return None

    def finish(self) -> None:
        self.is_over.set()
        for thread in self._threads:
            if thread.ident is None:
                continue
            thread.join(60)
            assert not thread.is_alive(), f"a webhook is never answered 200, but {self._last}"


def until(condition: Callable[[], Any], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@dataclass
class Stage:
    """Where a line is played: an emulator, a configuration for each service, and the load."""

    directory: Path
    nursery: Nursery
    emulator: Emulator
    storage: str = "sqlite:///notifier.db"
    count: int = 1
    changes: dict[str, Any] = field(default_factory=dict)
    children: dict[int, Child] = field(default_factory=dict)
    others: tuple[Emulator, ...] = ()
    """The emulators of further accounts."""

    def __post_init__(self) -> None:
        files = Files(self.directory, self.emulator, self.storage)
        self.ports = free_ports(self.count)
        self.files = [
            files.write(
                f"notifier-{port}.yml",
                **{
                    "web": {"listen_address": f"127.0.0.1:{port}"},
                    "limits": {"per_contact": None, "credits": None},
                    **self.changes,
                },
            )
            for port in self.ports
        ]
        self.urls = [f"http://127.0.0.1:{port}" for port in self.ports]
        self.load = Load(self.urls)

    def start(self, number: int = 0, **environment: str) -> Child:
        log = self.directory / f"{self.ports[number]}.log"
        self.children[number] = self.nursery.serve(self.files[number], log, **environment)
        until(lambda: self.answers(number) or self.has_ended(number), 60, "a service does not come up")
        assert environment or not self.has_ended(number), log.read_text()[
            -2000:
        ]  # it may be told to be killed
        return self.children[number]

    def answers(self, number: int = 0) -> bool:
        try:
            ask("GET", self.urls[number] + "/-/healthy")
        except requests.RequestException:
            return False
        return True

    def has_ended(self, number: int = 0) -> bool:
        return self.children[number].has_ended

    def seen(self) -> collections.Counter[str]:
        accepted = (sms for one in (self.emulator, *self.others) for sms in list(one.emulation.accepted))
        found = (HOST.search(sms.message) for sms in accepted)
        return collections.Counter(match[0] for match in found if match)

    def settle(self, line: str, timeout: float = 90) -> Outcome:
        """Wait until every alert has been seen, and a little longer for those that come twice; end the services."""
        try:
            self.load.finish()
        except AssertionError as error:
            logs = [(self.directory / f"{port}.log").read_text()[-2000:] for port in self.ports]
            raise AssertionError("\n".join([str(error), *logs])) from None
        posted = set(self.load.posted)
        deadline = time.monotonic() + timeout
        while posted - set(self.seen()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)
        for child in self.children.values():
            child.send_signal(signal.SIGTERM)
        codes = [child.wait(60) for child in self.children.values()]
        seen = self.seen()
        return Outcome(
            line,
            len(self.load.posted),
            frozenset(posted - set(seen)),
            frozenset(host for host, times in seen.items() if times > 1),
            tuple(codes),
        )


def new_emulator() -> Emulator:
    return Emulator(Emulation(credits=1e9))
