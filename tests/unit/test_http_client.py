"""Calls to servers that are slow, large, or send elsewhere."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from notifier.http_client import AnswerTooLarge, call, limit


class Hostile(BaseHTTPRequestHandler):
    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        getattr(self, "answer_" + self.path.rpartition("/")[2])()

    do_POST = do_GET  # noqa: N815 (http.server calls it so)

    def _head(self, length: Any, **headers: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _drip(self) -> None:
        try:
            while not self.server.is_over.wait(0.05):
                self.wfile.write(b"X")
                self.wfile.flush()
        except OSError:
            self.server.hung_up.set()

    def answer_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self._drip()

    def answer_body(self) -> None:
        self._head(10**6)
        self._drip()

    def answer_silence(self) -> None:
        self.server.is_over.wait(30)

    def answer_large(self) -> None:
        self._head(3 * 1024 * 1024)
        self.wfile.write(b" " * 3 * 1024 * 1024)

    def answer_bomb(self) -> None:
        data = gzip.compress(b" " * 200_000_000)
        self._head(len(data), Content_Encoding="gzip")
        self.wfile.write(data)

    def answer_elsewhere(self) -> None:
        self.send_response(307)
        self.send_header("Location", "/secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_secret(self) -> None:
        self.server.reached.set()
        self._head(0)

    def answer_whole(self) -> None:
        data = gzip.compress(b'{"is": "whole"}')
        self._head(len(data), Content_Encoding="gzip")
        self.wfile.write(data)

    def answer_latin(self) -> None:
        self._head(6, Content_Type="application/json")
        self.wfile.write("déjà ".encode("latin-1") + b".")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hostile() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    server.is_over, server.reached, server.hung_up = threading.Event(), threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.is_over.set()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["headers", "body", "silence"])
def test_a_server_that_is_slow_is_waited_for_until_one_deadline(hostile: Any, path: Any) -> None:
    with pytest.raises(requests.Timeout):
        call("GET", f"{hostile.url}/{path}", seconds=0.5)
    if path != "silence":
        assert hostile.hung_up.wait(10)


def test_a_slow_proxy_is_waited_for_no_longer(hostile: Any) -> None:
    with pytest.raises(requests.Timeout):
        call("GET", "http://other.example/body", seconds=0.5, proxies={"http": hostile.url})
    assert hostile.hung_up.wait(10)


@pytest.mark.parametrize("path", ["large", "bomb"])
def test_an_answer_is_read_only_so_far(hostile: Any, path: Any) -> None:
    with pytest.raises(AnswerTooLarge, match="larger than 1024 KiB"):
        call("GET", f"{hostile.url}/{path}", seconds=20)


def test_a_redirect_is_not_followed(hostile: Any) -> None:
    with pytest.raises(requests.TooManyRedirects):
        call("POST", f"{hostile.url}/elsewhere", seconds=10, headers={"Authorization": "Bearer x"})
    assert not hostile.reached.is_set()


def test_a_sound_answer_is_whole_and_its_connection_is_used_again(hostile: Any) -> None:
    with requests.Session() as session:
        limit(session, 10)
        for _ in range(3):
            assert session.get(f"{hostile.url}/whole", timeout=10).json() == {"is": "whole"}
        limit(session, 0.3)
        with pytest.raises(requests.Timeout):
            session.get(f"{hostile.url}/body", timeout=10)
        assert session.get(f"{hostile.url}/whole", timeout=10).json() == {"is": "whole"}


def test_a_timer_that_was_cancelled_ends_no_later_call(hostile: Any) -> None:
    with requests.Session() as session:
        limit(session, 0.5)
        assert session.get(f"{hostile.url}/whole", timeout=10).ok
        time.sleep(0.6)
        assert session.get(f"{hostile.url}/whole", timeout=10).ok


def test_a_text_in_an_unnamed_encoding_is_read_as_utf_8(hostile: Any) -> None:
    answer = call("GET", f"{hostile.url}/latin", seconds=10)
    assert answer.text == "d\ufffdj\ufffd ."
