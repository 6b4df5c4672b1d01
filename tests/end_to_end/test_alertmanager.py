"""The real programs: Prometheus with a rule that fires, two Alertmanagers, Notifier, and the emulator for OVHcloud."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from notifier.emulator import Emulator
from tests.support.files import ALICE, BOB, Files
from tests.support.processes import free_ports, program, running, wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, webhook


class Target:
    """What Prometheus scrapes: a gauge that is set by hand."""

    def __init__(self) -> None:
        self.value = 0
        target = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f"disk_full {target.value}\n".encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def clustered(port: Any) -> Any:
    status = requests.get(f"http://127.0.0.1:{port}/api/v2/status", timeout=5).json()
    return status["cluster"]["status"] == "ready"


@pytest.mark.timeout(200)
def test_from_a_rule_that_fires_to_the_phone_and_back(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    prometheus, alertmanager = program("prometheus"), program("prometheus-alertmanager")
    service = run(files.write(receivers=[{"name": "pager", "notify": ["alice"]}]))
    target = Target()
    p_port, a1, a2, c1, c2 = free_ports(5)
    (tmp_path / "rules.yml").write_text(
        json.dumps({"groups": [{"name": "g", "rules": [{
            "alert": "DiskFull", "expr": "disk_full == 1",
            "labels": {"severity": "critical", "cluster": "gra1"},
            "annotations": {"summary": "/var on {{ $labels.instance }} is full"},
        }]}]})
    )  # fmt: skip
    (tmp_path / "prometheus.yml").write_text(
        json.dumps({
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{a1}", f"127.0.0.1:{a2}"]}]}]},
            "scrape_configs": [
                {"job_name": "node", "static_configs": [{"targets": [target.address], "labels": {"host": "web-7.example.net"}}]},
                {"job_name": "notifier", "static_configs": [{"targets": [service.url.removeprefix("http://")]}]},
            ],
        })
    )  # fmt: skip
    (tmp_path / "alertmanager.yml").write_text(
        json.dumps({
            "route": {"receiver": "pager", "group_by": ["alertname"], "group_wait": "500ms", "group_interval": "1s", "repeat_interval": "1h"},
            "receivers": [{"name": "pager", "webhook_configs": [{"url": service.url + "/alert"}]}],
        })
    )  # fmt: skip

    def manager(n: Any, port: Any, cluster: Any, peer: Any) -> Any:
        return running([
            alertmanager, f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/am{n}",
            f"--web.listen-address=127.0.0.1:{port}", f"--cluster.listen-address=127.0.0.1:{cluster}",
            f"--cluster.peer=127.0.0.1:{peer}", "--cluster.settle-timeout=2s", "--cluster.peer-timeout=1s",
            "--cluster.gossip-interval=50ms",
        ], tmp_path / f"am{n}.log")  # fmt: skip

    server = running([
        prometheus, f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{p_port}",
    ], tmp_path / "prometheus.log")  # fmt: skip
    with manager(1, a1, c1, c2), manager(2, a2, c2, c1), server:
        for port in (a1, a2):
            wait_for(lambda: clustered(port), "the Alertmanagers do not form a cluster")
        target.value = 1
        (fired,) = phones.wait(1, timeout=60)
        assert fired.receiver == ALICE
        assert fired.message.startswith("FIRING #1 critical DiskFull ")
        assert "(gra1) since " in fired.message
        assert fired.message.endswith(f": /var on {target.address} is full")
        time.sleep(4)  # in which the second Alertmanager would have sent its own
        assert len(phones.all()) == 1
        target.value = 0
        resolved = phones.wait(2, timeout=60)[1]
        assert resolved.message.startswith("RESOLVED #1 critical DiskFull ")
        time.sleep(4)
        assert len(phones.all()) == 2

        def scraped() -> Any:
            query = {"query": 'notifier_sms_total{outcome="accepted",receiver="pager"}'}
            answer = requests.get(f"http://127.0.0.1:{p_port}/api/v1/query", query, timeout=5).json()
            return answer["data"]["result"][0]["value"][1] == "2"

        wait_for(scraped, "Prometheus does not see the messages counted")
    target.close()


@contextlib.contextmanager
def lone_alertmanager(
    tmp_path: Path, service: Any, port: Any, names: Any = ("pager",), repeat_interval: Any = "1s"
) -> Iterator[Any]:
    """Run an Alertmanager with receivers of these names; the label *to* of an alert picks one, else the first."""
    (tmp_path / "alertmanager.yml").write_text(
        json.dumps({
            "route": {
                "receiver": names[0], "group_by": ["alertname"], "group_wait": "0s", "group_interval": "1s",
                "repeat_interval": repeat_interval,
                "routes": [{"receiver": name, "matchers": [f'to="{name}"']} for name in names[1:]],
            },
            "receivers": [{"name": name, "webhook_configs": [{"url": service.url + "/alert"}]} for name in names],
        })
    )  # fmt: skip
    with running([
        program("prometheus-alertmanager"), f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/am",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ], tmp_path / "am.log"):  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: requests.get(url + "/-/ready", timeout=5).ok, "Alertmanager is not ready")
        yield url


def fire(url: Any, **labels: Any) -> None:
    assert requests.post(url + "/api/v2/alerts", json=[{"labels": labels}], timeout=10).ok


@pytest.mark.timeout(200)
def test_a_heartbeat_is_lost_with_alertmanager_and_back_with_it(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    beat = {"name": "watchdog", "matchers": ["alertname=Watchdog"], "timeout": "6s", "receiver": "pager"}
    service = run(
        files.write(
            **{"global": {"dedupe_window": "500ms"}},
            receivers=[{"name": "pager", "notify": ["alice"]}],
            heartbeats=[beat],
        )
    )
    with lone_alertmanager(tmp_path, service, port) as url:
        fire(url, alertname="Watchdog")
        seen = 'notifier_heartbeat_last_seen_timestamp_seconds{heartbeat="watchdog"}'
        wait_for(lambda: service.metric(seen) > time.time() - 30, "no heartbeat is seen")
        time.sleep(9)
        assert phones.all() == []
    (lost,) = phones.wait(1, timeout=60)
    assert lost.message.startswith("FIRING #1 critical MonitoringSilent watchdog since ")
    with lone_alertmanager(tmp_path, service, port) as url:
        fire(url, alertname="Watchdog")
        assert phones.wait(2, timeout=60)[1].message.startswith(
            "RESOLVED #1 critical MonitoringSilent watchdog"
        )


@pytest.mark.timeout(200)
def test_mute_makes_a_silence_in_the_name_of_who_asked(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    service = run(
        files.write(
            ovh={
                "sender": ...,
                "sender_for_response": True,
                "replies": {"poll_interval": "1s", "may": ["mute"]},
            },
            receivers=[{"name": "pager", "notify": ["alice", "bob"]}],
            alertmanager={"url": f"http://127.0.0.1:{port}"},
        )
    )
    with lone_alertmanager(tmp_path, service, port) as url:
        fire(url, alertname="DiskFull", instance="db-1", severity="critical")
        phones.wait(2, timeout=60)
        emulator.emulation.reply(ALICE, "Mute 1 2h")
        phones.wait(4, timeout=60)
        said = {(sms.receiver, sms.message.split(" until ")[0]) for sms in phones.all()[2:4]}
        assert said == {(ALICE, "#1 is muted"), (BOB, "alice s'en charge : #1 DiskFull db-1")}
        query = [program("amtool"), "silence", "query", f"--alertmanager.url={url}", "-o", "json"]
        (silence,) = json.loads(subprocess.run(query, capture_output=True, check=True, timeout=20).stdout)
        assert silence["createdBy"] == "alice"
        assert silence["comment"] == "incident 1 of Notifier: DiskFull db-1"
        assert {(m["name"], m["value"]) for m in silence["matchers"]} == {
            ("alertname", "DiskFull"), ("instance", "db-1"), ("severity", "critical"),
        }  # fmt: skip


@pytest.mark.timeout(200)
def test_receivers_of_any_name_page_their_own_people(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    names = ("first", "team.db", "db+web", "On-call (SMS)", "ns/config/receiver")
    contacts = [{"name": f"c{n}", "phone": f"+3363998000{n}"} for n, _ in enumerate(names)]
    receivers = [{"name": name, "notify": [f"c{n}"]} for n, name in enumerate(names)]
    service = run(files.write(contacts=contacts, receivers=receivers))
    with lone_alertmanager(tmp_path, service, port, names, "1h") as url:
        for name in names:
            fire(url, alertname=f"A-{names.index(name)}", to=name)
        paged = {(sms.receiver, sms.message.split()[2]) for sms in phones.wait(5, timeout=60)}
        assert paged == {(f"+3363998000{n}", f"A-{n}") for n, _ in enumerate(names)}
        assert service.metric("notifier_webhooks_unknown_receiver_total") == 0
    assert service.post(webhook(alert("Direct")), "/alert/ns/config/receiver").status_code == 200
    assert phones.wait(6)[5].receiver == "+33639980004"


@pytest.mark.timeout(200)
def test_an_alert_that_ends_and_fires_again_with_the_same_start_is_paged_again(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    """A ruler stalls for longer than its endsAt, or one of two Prometheus servers does not see the trouble."""
    (port,) = free_ports(1)
    service = run(files.write(receivers=[{"name": "pager", "notify": ["alice"]}]))
    with lone_alertmanager(tmp_path, service, port, repeat_interval="1h") as url:
        start = datetime.now(UTC) - timedelta(minutes=1)
        for number, lasts in enumerate((timedelta(hours=1), timedelta(minutes=-1), timedelta(hours=1)), 1):
            ends = datetime.now(UTC) + lasts
            body = {"labels": {"alertname": "A"}, "startsAt": start.isoformat(), "endsAt": ends.isoformat()}
            if lasts < timedelta():
                body["endsAt"] = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
            assert requests.post(url + "/api/v2/alerts", json=[body], timeout=10).ok
            phones.wait(number, timeout=60)
        assert [sms.message.split()[0] for sms in phones.all()] == ["FIRING", "RESOLVED", "FIRING"]
    states = [i["state"] for i in requests.get(service.url + "/api/v1/incidents", timeout=10).json()["items"]]
    assert "open" in states
