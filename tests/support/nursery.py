"""Services as processes of their own, each begun in a fraction of a second.

Most of the time that a service takes to start goes into importing. One process imports everything once and
forks a child for each service: a process like any other, that can be killed, stopped and waited for.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path


class Child:
    """A process of the nursery."""

    def __init__(self, pid: int, ended: Future[int]) -> None:
        self.pid = pid
        self._ended = ended

    def send_signal(self, number: int) -> None:
        if not self._ended.done():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.wait()

    @property
    def has_ended(self) -> bool:
        return self._ended.done()

    def wait(self, timeout: float = 60) -> int:
        """Return the exit code, negative for the signal that ended it."""
        return self._ended.result(timeout)


class Nursery:
    """Forks services; those that are left are killed with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        self._lock = threading.Lock()
        self._asked: list[Future[int]] = []
        self._ended: dict[int, Future[int]] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def serve(self, file: Path, log: Path | None = None, **environment: str) -> Child:
        """Begin a service with the configuration in *file*, and its standard error in *log*."""
        arguments = ["serve", "--config", str(file), "--log-level", "info" if log else "error"]
        began: Future[int] = Future()
        wanted = {"arguments": arguments, "environment": environment, "log": str(log or os.devnull)}
        with self._lock:
            self._asked.append(began)
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
        pid = began.result(60)
        with self._lock:
            return Child(pid, self._ended[pid])

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._lock:
                if "code" in told:
                    self._ended[told["pid"]].set_result(told["code"])
                    continue
                began = self._asked.pop(0)
                self._ended[told["pid"]] = (
                    Future()
                )  # the number may be that of a process which ended long ago
            began.set_result(told["pid"])


def _child(wanted: dict[str, object]) -> None:
    """Be a service, in a process just forked."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    nothing, log = (
        os.open(os.devnull, os.O_RDWR),
        os.open(str(wanted["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )
    for number, target in ((0, nothing), (1, log), (2, log)):
        os.dup2(target, number)
    os.closerange(3, 64)
    os.environ.update(wanted["environment"])  # type: ignore[call-overload]
    sys.argv = ["notifier", *wanted["arguments"]]  # type: ignore[misc]
    from notifier.cli.app import main

    code = 1
    try:
        main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _be() -> None:
    import notifier.cli.app
    import notifier.service  # noqa: F401 (each child has it then)

    pids: set[int] = set()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    selector.register(reading, selectors.EVENT_READ)
    pending = b""
    while True:
        ready = {key.fd for key, _ in selector.select()}
        if 0 in ready:
            read = os.read(0, 65536)
            if not read:
                break
            *lines, pending = (pending + read).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    _child(json.loads(line))
                pids.add(pid)
                _say(pid=pid)
        if reading in ready:
            os.read(reading, 4096)
            for pid in list(pids):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    pids.discard(pid)
                    _say(pid=pid, code=os.waitstatus_to_exitcode(status))
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _say(**told: int) -> None:
    os.write(1, (json.dumps(told) + "\n").encode())


if __name__ == "__main__":
    _be()
