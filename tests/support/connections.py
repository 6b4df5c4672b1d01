"""Raw HTTP over sockets, and certificates."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import Any

from tests.support.processes import program


def talk(url: Any, data: Any, *, pieces: Any = 1, until: Any = b"\r\n\r\n") -> Any:
    """Send raw bytes and return what comes back until the connection closes or *until* is seen."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
            if pieces > 1:
                time.sleep(0.002)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if until is not None and answer.count(until) >= 1 and until != b"":
                break
        return answer


def request(body: Any, *, path: Any = b"/alert", headers: Any = b"") -> Any:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s" % (path, len(body), headers, body)


def make_certificate(directory: Any) -> None:
    """Make a certificate for 127.0.0.1, c.pem, and its key, k.pem, in *directory*."""
    subprocess.run(
        [program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", directory / "k.pem", "-out",
         directory / "c.pem", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
