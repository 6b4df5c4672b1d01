"""A process that answers requests within limits of memory and computing.

What may loop for ever or fill the memory runs there. The service ends a process that exceeds a limit, and starts
another at the next request. It inherits no secret of the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import IO, Any

MAX_SECONDS = 2
"""Seconds of computing for one request; the system counts whole ones."""
MAX_MEMORY = 96 * 1024 * 1024
"""Bytes that requests may take beyond those that the process has at its start."""
_LONGEST_WAIT = 30.0
"""Seconds that a request may take, also where the machine is too busy to compute."""
_FAREWELL = 1.0  # seconds
_LARGEST_ANSWER = 1024 * 1024
_OUT_OF_MEMORY = 71
"""The exit code of a process that has no memory left."""
_MiB = 1024 * 1024


class ProcessEnded(Exception):
    """A request was not answered; the text gives the reason. *is_exceeded* is whether it exceeded a limit."""

    def __init__(self, why: str, *, is_exceeded: bool) -> None:
        super().__init__(why)
        self.is_exceeded = is_exceeded


def bare_environment() -> dict[str, str]:
    """Return the environment of a process that runs our code and needs no secret."""
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONTZPATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class LimitedProcess:
    """The process that runs ``python -m MODULE``, whose main function is `serve`; started by the first request."""

    def __init__(self, module: str, beginning: object) -> None:
        """Have *module* answer, which is given *beginning* first."""
        self._module = module
        self._beginning = pickle.dumps(beginning)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def start(self) -> None:
        """Start the process now, so that the first request does not wait for it."""
        with self._lock, contextlib.suppress(ProcessEnded):  # the first request says what is wrong
            self._running()

    def call(self, request: object) -> Any:
        """Return the answer to *request*, as JSON has it.

        Raises:
            ProcessEnded: it takes too much memory or CPU time, or no process can be started.
        """
        data = pickle.dumps(request)
        with self._lock:
            try:
                return self._exchange(data)
            except ProcessEnded as error:
                if error.is_exceeded:
                    raise
                return self._exchange(
                    data
                )  # what ended the process, as a signal, says nothing of the request
            finally:
                if self._is_closed:
                    self._end()

    def close(self) -> None:
        """End the process once it has answered; if it gets another request, it ends after each answer."""
        with self._lock:
            self._is_closed = True
            self._end()

    def _exchange(self, data: bytes) -> Any:
        """Return the answer to the request *data*.

        Raises:
            ProcessEnded: the process has ended, was ended since it exceeded a limit, or cannot be started.
        """
        process = self._running()
        assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 (they are pipes)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(_LONGEST_WAIT, end)
        timer.start()
        answer = None
        try:
            _write(process.stdin, data)
            answer = _read(process.stdout, _LARGEST_ANSWER)
        except OSError:
            pass  # it has ended
        finally:
            timer.cancel()
        if answer is not None and not late.is_set():
            return json.loads(answer)
        code = self._end()
        if late.is_set():
            raise ProcessEnded(f"it takes longer than {_LONGEST_WAIT:.0f} seconds", is_exceeded=True)
        if code == -signal.SIGXCPU:
            raise ProcessEnded(f"it takes more than {MAX_SECONDS} seconds of computing", is_exceeded=True)
        if code == _OUT_OF_MEMORY:
            raise ProcessEnded(f"it takes more than {MAX_MEMORY // _MiB} MiB", is_exceeded=True)
        raise ProcessEnded(f"its process ended with the code {code}", is_exceeded=False)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is not None:
            return self._process
        try:
            self._process = subprocess.Popen(  # noqa: S603 (our own)
                [sys.executable, "-P", "-m", self._module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=bare_environment(),
            )
            assert self._process.stdin is not None  # noqa: S101 (it is a pipe)
            _write(self._process.stdin, self._beginning)
        except OSError as error:
            raise ProcessEnded(f"no process can be started: {error.strerror}", is_exceeded=False) from None
        return self._process

    def _end(self) -> int | None:
        """End the process, if there is one, and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_FAREWELL)  # one that exceeded a limit is about to end
        process.kill()
        with process:  # closes the pipes
            return process.wait()


def serve(begin: Callable[[Any], Callable[[Any], Any]]) -> None:
    """Answer requests within the limits, until there are no more.

    Args:
        begin: returns, for the first object that the process is given, the function that answers requests with JSON
        values.
    """
    for one in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which ends its work first
        signal.signal(one, signal.SIG_IGN)
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    beginning = _read(requests)
    if beginning is None:
        return
    answer = begin(pickle.loads(beginning))  # noqa: S301 (the service writes it)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    while (data := _read(requests)) is not None:
        request = pickle.loads(data)  # noqa: S301 (the service writes it)
        with contextlib.suppress(OSError):  # another system, without the sizes of processes
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            _limit(resource.RLIMIT_AS, taken + MAX_MEMORY)
        _limit(resource.RLIMIT_CPU, ceil(time.process_time()) + MAX_SECONDS)
        try:
            found = json.dumps(answer(request)).encode()
        except MemoryError:
            os._exit(_OUT_OF_MEMORY)
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        _write(answers, found)
        answers.flush()


def _limit(what: int, most: int) -> None:
    """Limit *what* to *most*, or to the limit of this process."""
    _, hard = resource.getrlimit(what)
    is_above_hard = hard != resource.RLIM_INFINITY and (most == resource.RLIM_INFINITY or most > hard)
    resource.setrlimit(what, (hard if is_above_hard else most, hard))


def _write(stream: IO[bytes], data: bytes) -> None:
    rest = memoryview(len(data).to_bytes(8, "big") + data)
    while rest:
        rest = rest[stream.write(rest) :]


def _read(stream: IO[bytes], most: int = 2**62) -> bytes | None:
    """Return the next piece of *stream*, None at its end, or where the piece is larger than *most*."""
    size = _read_exactly(stream, 8)
    if size is None or int.from_bytes(size, "big") > most:
        return None
    return _read_exactly(stream, int.from_bytes(size, "big"))


def _read_exactly(stream: IO[bytes], size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        if not (piece := stream.read(size - len(data))):
            return None
        data += piece
    return bytes(data)
