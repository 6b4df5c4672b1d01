"""Programs that tests run beside them, and waiting for what they do."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10
_PORTS = itertools.cycle(
    random.SystemRandom().sample(range(10_000 + 1_000 * _WORKER, 11_000 + 1_000 * _WORKER), 1_000)
)
"""The ports of this process of pytest: none is given to two services, of which one would answer for the other."""


def free_ports(count: Any) -> Any:
    """Return so many ports that nobody listens on, below those that the system gives to connections meanwhile."""
    ports: list[int] = []
    while len(ports) < count:
        port = next(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def memory(pid: Any = "self") -> Any:
    """Return the resident memory of a process and its peak, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    values = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if line.startswith("Vm")}
    return int(values["VmRSS"]) / 1024, int(values["VmHWM"]) / 1024


@contextlib.contextmanager
def running(arguments: Any, log: Any, **how: Any) -> Iterator[Any]:
    """Run a program whose output goes to the file *log*, and end it."""
    with log.open("wb") as output:
        process = subprocess.Popen([str(a) for a in arguments], stdout=output, stderr=output, **how)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(what: Any, description: Any, seconds: Any = 60) -> Any:
    """Return what *what* returns once that is true; fail when it does not come to pass."""
    for _ in range(seconds * 10):
        with contextlib.suppress(requests.RequestException, KeyError, IndexError):
            if found := what():
                return found
        time.sleep(0.1)
    return pytest.fail(f"{description} within {seconds} s")


def program(name: str) -> str:
    """Return the path of a program; without it the test is skipped, or fails where CI is."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return path
