"""A service that runs in this process, and the phones that its messages reach."""

from __future__ import annotations

import json
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from notifier.emulator import Emulator, Sms
from notifier.service import Service


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
