"""Programs that tests run beside them, and waiting for what they do."""

import contextlib
import socket
import subprocess
import time

import pytest
import requests


def free_ports(count):
    """Return so many ports that nobody listened on a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextlib.contextmanager
def running(arguments, log, **how):
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


def wait_for(what, description, seconds=60):
    """Return what *what* returns once that is true; fail when it does not come to pass."""
    for _ in range(seconds * 10):
        with contextlib.suppress(requests.RequestException, KeyError, IndexError):
            if found := what():
                return found
        time.sleep(0.1)
    return pytest.fail(f"{description} within {seconds} s")
