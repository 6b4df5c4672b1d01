"""The examples for nginx and Caddy, in front of the service."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests

from notifier.assets import CONFIG
from tests.support.connections import make_certificate
from tests.support.files import Files
from tests.support.processes import free_ports, program, running, wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, payload, webhook

ONE_BIG_WEBHOOK = b'{"version": "4", ' + b" " * 3_900_000 + payload("firing-one").strip()[1:]


@contextlib.contextmanager
def nginx(directory: Any, server: Any, log: Any) -> Iterator[Any]:
    """Run nginx with the configuration *server*, which stands in its http block."""
    places = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr;"
        f"events {{}} http {{ access_log {directory}/access.log; {places} {server} }}"
    )
    with running([program("nginx"), "-p", directory, "-c", directory / "nginx.conf", "-e", "stderr"], log):
        yield


@contextlib.contextmanager
def by_nginx(directory: Any, ours: Any, theirs: Any) -> Iterator[Any]:
    text = (CONFIG / "nginx" / "notifier.conf").read_text()
    text = text.replace("127.0.0.1:9876", ours).replace("listen 443", f"listen 127.0.0.1:{theirs}")
    text = re.sub(
        r"/etc/nginx/tls/pager\.(pem|key)", lambda m: f"{directory}/{m[1][0].replace('p', 'c')}.pem", text
    )
    with nginx(directory, text, directory / "proxy.log"):
        yield f"https://127.0.0.1:{theirs}"


@contextlib.contextmanager
def by_caddy(directory: Any, ours: Any, theirs: Any) -> Iterator[Any]:
    text = (CONFIG / "caddy" / "Caddyfile").read_text().replace("127.0.0.1:9876", ours)
    tls = f"https://127.0.0.1:{theirs} {{\n\ttls {directory}/c.pem {directory}/k.pem"
    text = text.replace("pager.example.net {", tls)
    text = text.replace("{\n\tservers", "{\n\tadmin off\n\tservers", 1)
    (directory / "Caddyfile").write_text(text)
    command = [program("caddy"), "run", "--config", directory / "Caddyfile"]
    with running(
        command,
        directory / "proxy.log",
        env={**os.environ, "XDG_CONFIG_HOME": str(directory), "XDG_DATA_HOME": str(directory)},
    ):
        yield f"https://127.0.0.1:{theirs}"


@pytest.mark.parametrize("proxy", [by_nginx, by_caddy])
def test_the_examples_pass_what_must_pass(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path, proxy: Any
) -> None:
    make_certificate(tmp_path)
    (port,) = free_ports(1)
    token = "a-token-of-some-length"
    hash_ = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    users = {"ops": {"password_hash": hash_, "role": "responder"}}
    service = run(
        files.write(
            web={"bearer_token": token, "users": users},
            **{"global": {"external_url": f"https://127.0.0.1:{port}"}},
        )
    )
    with proxy(tmp_path, service.url.removeprefix("http://"), port) as url, requests.Session() as session:
        session.trust_env, session.verify = False, str(tmp_path / "c.pem")
        wait_for(lambda: session.get(url + "/-/healthy", timeout=5).ok, "the proxy does not answer")
        assert session.post(url + "/alert", payload("firing-one"), timeout=10).status_code == 401
        session.headers["Authorization"] = f"Bearer {token}"
        assert session.post(url + "/alert", payload("firing-one"), timeout=10).status_code == 200
        phones.wait(1)
        assert session.post(url + "/alert", ONE_BIG_WEBHOOK, timeout=30).status_code == 200
        named = session.post(url + "/alert/ops%2Fdb", payload("firing-one"), timeout=10)
        assert (named.status_code, named.text) == (404, 'there is no receiver "ops/db"\n')
        del session.headers["Authorization"]  # forms are for people
        own = {"Origin": url}
        form = {"by": "alice"}
        signed_in = session.post(
            url + "/login", {"name": "ops", "password": "right"}, headers=own, timeout=30
        )
        assert signed_in.status_code == 200, signed_in.text
        acknowledged = session.post(url + "/incidents/1/ack", form, headers=own, timeout=10)
        assert acknowledged.status_code == 200, acknowledged.text
        strange = session.post(
            url + "/incidents/1/ack", form, headers={"Origin": "https://evil.example"}, timeout=10
        )
        assert strange.status_code == 403
        for secret in ("/i/SECRET", "/i/SECRET/ack", "/ovh/receipt/SECRET", "/oncall/feeds/SECRET/x.ics"):
            assert session.get(url + secret, timeout=10).status_code in (403, 404, 405)
        with session.get(url + "/live?path=/", stream=True, timeout=10) as stream:
            assert next(stream.iter_lines()).startswith(b"data:")
    logged = (
        (tmp_path / "access.log").read_text() if proxy is by_nginx else (tmp_path / "proxy.log").read_text()
    )
    assert proxy is not by_nginx or "/-/healthy" in logged
    assert "SECRET" not in logged


def test_nothing_is_smuggled_through_a_proxy_that_passes_upgrades_on(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    """The usual lines for WebSockets; that nginx alone asks for credentials makes it worse."""
    (port,) = free_ports(1)
    service = run(files.write())
    service.post(webhook(alert(instance="db-1"), key="a"))
    phones.wait(1)
    server = f"""
        map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
        upstream notifier {{ server {service.url.removeprefix("http://")}; keepalive 1; }}
        server {{
          listen 127.0.0.1:{port};
          location /api {{ return 403; }}
          location / {{
            limit_except GET {{ deny all; }}
            proxy_pass http://notifier;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
          }}
        }}"""
    ack = b'{"by": "mallory"}'
    # Larger than what nginx keeps of a body in memory: headers and body come in two pieces.
    hidden = b"\r\n" * 12_000 + b"POST /api/v1/incidents/1/ack HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (
        len(ack), ack,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with nginx(tmp_path, server, tmp_path / "proxy.log"):
        wait_for(lambda: requests.get(url + "/-/healthy", timeout=5).ok, "the proxy does not answer")
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            head = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n"
            connection.sendall(head % len(hidden) + hidden)
            assert b" 200 " in connection.recv(4096)
        for _ in range(3):
            assert requests.get(url + "/-/healthy", timeout=5).text == "Notifier is healthy.\n"
    assert requests.get(service.url + "/api/v1/incidents/1", timeout=10).json()["state"] == "open"
