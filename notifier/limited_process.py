"""A process that answers requests within limits of memory and computing.

What may loop for ever or fill the memory runs there. The service ends the process where it exceeds a limit, and starts
another at the next request. It inherits no secret of the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import IO, Any

MOST_SECONDS = 2
"""Seconds of computing for one request; the system counts whole ones."""
MOST_MEMORY = 96 * 1024 * 1024
"""Bytes that requests may take, beside what the process has when it begins."""
_LONGEST_WAIT = 30.0
"""Seconds to wait for an answer, also where the machine is too busy to compute."""
_MiB = 1024 * 1024


class ProcessEnded(Exception):
    """A request was not answered; the text says why. *is_exceeded* is whether it exceeded a limit."""

    def __init__(self, why: str, *, is_exceeded: bool) -> None:
        super().__init__(why)
        self.is_exceeded = is_exceeded


class LimitedProcess:
    """The process that runs ``python -m MODULE``, whose main function is `serve`; started by the first request."""

    def __init__(self, module: str, beginning: object) -> None:
        """Have *module* answer, which is given *beginning* first."""
        self._module = module
        self._beginning = beginning
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process now, so that the first request does not wait for it."""
        with self._lock, contextlib.suppress(OSError):  # the first request says what is wrong
            self._running()

    def call(self, request: object) -> Any:
        """Return the answer to *request*, as JSON has it.

        Raises:
            ProcessEnded: it takes too much memory or computing.
        """
        with self._lock:
            try:
                process = self._running()
                assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 (they are pipes)
                _write(process.stdin, pickle.dumps(request))
                poller = select.poll()
                poller.register(process.stdout, select.POLLIN)
                if not poller.poll(_LONGEST_WAIT * 1000):
                    process.kill()
                answer = _read(process.stdout)
            except BrokenPipeError:
                answer = None
            except OSError as error:
                raise ProcessEnded(
                    f"no process can be started: {error.strerror}", is_exceeded=False
                ) from None
            if answer is None:
                raise ProcessEnded(self._ended(), is_exceeded=True)
            return json.loads(answer)

    def close(self) -> None:
        """End the process once it has answered; the next request starts another."""
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._ended()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603 (our own)
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={"PATH": os.environ.get("PATH", "")},
            )
            assert self._process.stdin is not None  # noqa: S101 (it is a pipe)
            _write(self._process.stdin, pickle.dumps(self._beginning))
        return self._process

    def _ended(self) -> str:
        """Return why the process has ended, and forget it."""
        process, self._process = self._process, None
        if process is None:
            return "it did not start"
        with process:  # closes the pipes
            code = process.wait()
        if code == -signal.SIGXCPU:
            return f"it takes more than {MOST_SECONDS} seconds of computing"
        if code == -signal.SIGKILL:
            return f"it takes longer than {_LONGEST_WAIT:.0f} seconds, or the system has ended it"
        return f"it takes more than {MOST_MEMORY // _MiB} MiB, or its process fails (exit code {code})"


def serve(begin: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Answer requests within the limits, until there are no more.

    Args:
        begin: returns, for what the process is given first, the function that answers a request with what JSON can
            hold.
    """
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    beginning = _read(requests)
    if beginning is None:
        return
    answer = begin(pickle.loads(beginning))  # noqa: S301 (the service writes it)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_MEMORY, taken + MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while (request := _read(requests)) is not None:
        until = ceil(time.process_time()) + MOST_SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))
        found = answer(pickle.loads(request))  # noqa: S301 (the service writes it)
        _write(answers, json.dumps(found).encode())
        answers.flush()


def _write(stream: IO[bytes], data: bytes) -> None:
    rest = memoryview(len(data).to_bytes(8, "big") + data)
    while rest:
        rest = rest[stream.write(rest) :]


def _read(stream: IO[bytes]) -> bytes | None:
    """Return the next piece of *stream*, None at its end."""
    size = _read_exactly(stream, 8)
    return None if size is None else _read_exactly(stream, int.from_bytes(size, "big"))


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        if not (piece := stream.read(size - len(data))):
            return None
        data += piece
    return data
