"""The files that people copy: rules, dashboard, Alertmanager's side, the unit, the image, the manifests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from notifier import __version__, systemd
from notifier.assets import CONFIG
from notifier.config.loading import load
from tests.support import prometheus_operator
from tests.support.files import Files
from tests.support.processes import free_ports, program, wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import alert, payload, webhook

ROOT = CONFIG.parent
RULES = CONFIG / "prometheus" / "rules.yml"
_METRIC = re.compile(r"\bnotifier_\w+")


def succeeds(*command: Any, **how: Any) -> Any:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed(name: Any) -> Any:
    """A program of the virtual environment."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    return path or program(name)


def rules() -> Any:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> Any:
    return json.loads((CONFIG / "grafana" / "notifier.json").read_text())["panels"]


def test_the_rules_do_what_they_say() -> None:
    succeeds(program("promtool"), "test", "rules", CONFIG / "prometheus" / "rules_test.yml")
    succeeds(program("promtool"), "check", "rules", CONFIG / "prometheus" / "watchdog.yml")
    tested = (CONFIG / "prometheus" / "rules_test.yml").read_text()
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tested] == []


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text()
    headings = re.findall(r"(?m)^## (\w+)$", text)
    assert sorted(headings) == sorted({rule["alert"] for rule in rules()})
    for rule in rules():
        assert rule["annotations"]["runbook_url"].endswith(f"/runbooks/#{rule['alert'].lower()}")
        body = text.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]
        assert len(body.split()) > 15


@pytest.fixture
def exposed(files: Files, run: Callable[..., Running], phones: Phones) -> Any:
    """The names of all series that a service has had a reason to show."""
    gap = {"name": "gap", "rotations": [{"start": "2099-01-05T09:00", "every": "1w", "contacts": ["bob"]}]}
    rota = {"name": "all", "rotations": [{"start": "2026-01-05T09:00", "every": "1w", "contacts": ["alice"]}]}
    beat = {"name": "w", "matchers": ["alertname=W"], "timeout": "10m", "receiver": "ops"}
    running = run(
        files.write(schedules=[gap, rota], heartbeats=[beat], receivers=[{"name": "ops", "notify": ["all"]}])
    )
    running.post(payload("firing-one"))
    phones.wait(1)
    running.post(webhook(alert("W"), key="w"))
    running.service.workers.account_monitor.work()
    for _ in range(100):
        running.service.workers.heartbeats.work()
        if running.metric('notifier_heartbeat_last_seen_timestamp_seconds{heartbeat="w"}'):
            break
    text = running.get("/metrics")
    assert 'notifier_oncall_next_hole_timestamp_seconds{schedule="gap"}' in text
    assert 'notifier_oncall_next_hole_timestamp_seconds{schedule="all"}' not in text
    return set(re.findall(r"(?m)^(?:# TYPE )?(notifier_\w+)", text))


def test_every_query_asks_for_what_is_there(exposed: Any, tmp_path: Path) -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]] + [
        r["expr"] for r in rules()
    ]
    for query in queries:
        for name in _METRIC.findall(query):
            stem = re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert {name, stem} & exposed, f"{name} in {query}"
    made = [{"record": f"r{n}", "expr": query.replace("$job", ".*")} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "g", "rules": made}]}))
    succeeds(program("promtool"), "check", "rules", file)


def test_the_pages_name_metrics_that_are(exposed: Any) -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in _METRIC.findall(page.read_text(encoding="utf-8")):
            stem = re.sub(r"_(bucket|sum|count|total)$", "", name)
            assert {name, stem} & exposed, f"{name} in {page.name}"


def test_the_dashboard_shows_every_metric_of_note(exposed: Any) -> None:
    shown = {
        name for panel in panels() for target in panel["targets"] for name in _METRIC.findall(target["expr"])
    }
    shown |= {name for rule in rules() for name in _METRIC.findall(rule["expr"])}
    stems = {re.sub(r"_(bucket|count|sum|total)$", "", name) for name in shown}
    assert {"notifier_webhooks", "notifier_sms", "notifier_incidents", "notifier_page_latency_seconds", "notifier_ovh_requests",
            "notifier_ovh_credits_left", "notifier_queue_messages", "notifier_escalations", "notifier_oncall_info"} <= stems  # fmt: skip
    places = [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels()]
    assert len(set(places)) == len(places)
    assert all(p["gridPos"]["x"] + p["gridPos"]["w"] <= 24 for p in panels())


def test_the_first_row_of_the_dashboard_says_whether_pages_go_out() -> None:
    first = [panel for panel in panels() if panel["gridPos"]["y"] == 0]
    queries = " ".join(target["expr"] for panel in first for target in panel["targets"])
    for name in ("up", "notifier_ready", "notifier_sending_paused", "notifier_ovh_credits_left",
                 "notifier_webhook_last_received_timestamp_seconds", "notifier_sms_last_accepted_timestamp_seconds"):  # fmt: skip
        assert f"{name}{{" in queries
    assert all(panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for panel in first)


def test_alertmanagers_side_is_good() -> None:
    succeeds(program("amtool"), "check-config", CONFIG / "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [("alertname=NotifierDown", "pager-itself,ops"), ("alertname=Watchdog", "ops"), ("alertname=DiskFull", "ops")],
)  # fmt: skip
def test_alerts_about_notifier_do_not_go_through_notifier_alone(labels: str, receivers: str) -> None:
    command = [
        program("amtool"),
        "config",
        "routes",
        "test",
        f"--config.file={CONFIG / 'alertmanager.yml'}",
        labels,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == receivers


def test_the_unit_is_good(tmp_path: Path) -> None:
    unit = (CONFIG / "systemd" / "notifier.service").read_text()
    assert "Type=notify" in unit
    assert "WatchdogSec=" in unit
    file = tmp_path / "notifier.service"
    file.write_text(unit.replace("/opt/notifier/bin/notifier", sys.executable))
    told = succeeds(program("systemd-analyze"), "verify", file)
    assert "notifier.service" not in told, told


def test_the_image_is_good() -> None:
    succeeds(installed("hadolint"), ROOT / "Dockerfile")
    text = (ROOT / "Dockerfile").read_text()
    for copied in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", text):
        for name in copied.split():
            assert (ROOT / name).exists(), name
    assert re.search(r"(?m)^USER (?!root)", text)
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]*)"', text))
    assert labels["version"] == __version__
    assert {"title", "description", "revision", "licenses"} <= labels.keys()
    assert f"notifier:{__version__}" in text


def test_what_the_image_does_works(tmp_path: Path, files: Files) -> None:
    """Its steps, in a tree of their own in place of a container: COPY, RUN, then what it runs and how it is probed."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
    _, build, final = text.split("\nFROM ")
    source, installed_at = tmp_path / "src", tmp_path / "opt"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", *(ROOT / ".dockerignore").read_text().split())
    for line in re.findall(r"(?m)^COPY (.+)$", build):
        *names, target = line.split()
        for name in names:
            place = source / (name if target == "./" else target)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, place, ignore=ignored)
            else:
                shutil.copy(ROOT / name, place)
    for line in re.findall(r"(?m)^RUN (.+)$", build):
        command = line.replace("/opt/notifier", str(installed_at)).replace(
            "/wheels", str(tmp_path / "wheels")
        )
        command = command.replace("pip --python", f"{sys.executable} -m pip --python")
        succeeds("bash", "-c", command, cwd=source)
    (port,) = free_ports(1)
    file = files.write(web={"listen_address": f"127.0.0.1:{port}"})
    entry, arguments = (
        json.loads(re.search(rf"(?m)^{name} (.+)$", final)[1]) for name in ("ENTRYPOINT", "CMD")
    )
    probe = json.loads(re.search(r"(?ms)^HEALTHCHECK.*?CMD (.+?)$", final)[1])
    assert "NOTIFIER_CONFIG=/etc/notifier/notifier.yml" in final
    given = {"PATH": f"{installed_at}/bin", "PYTHONDONTWRITEBYTECODE": "1", "NOTIFIER_CONFIG": str(file)}
    command = [installed_at / "bin" / entry[0], *arguments]
    with subprocess.Popen(command, cwd=tmp_path, env=given, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert any("notifier started" in line for line in running.stderr)
            succeeds(installed_at / "bin" / probe[0], *probe[1:], env=given)
        finally:
            running.terminate()
        assert "notifier stopped" in running.stderr.read()
    assert running.returncode == 0
    assert not list(installed_at.glob("lib/*/site-packages/pip"))


def test_the_manifests_are_good() -> None:
    file = CONFIG / "kubernetes" / "notifier.yml"
    succeeds(installed("kubernetes-validate"), "--strict", file)
    kinds = {one["kind"]: one for one in yaml.safe_load_all(file.read_text())}
    (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    assert container["image"] == f"notifier:{__version__}"
    assert kinds["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress"]


def test_the_operator_of_prometheus_gets_the_same_rules_and_scrapes_the_service() -> None:
    monitor, made = yaml.safe_load_all((CONFIG / "kubernetes" / "monitoring.yml").read_text())
    assert made["spec"]["groups"] == yaml.safe_load(RULES.read_text())["groups"]
    assert prometheus_operator.FILE.read_text() == prometheus_operator.text(), "run: make schema"
    service = next(
        one
        for one in yaml.safe_load_all((CONFIG / "kubernetes" / "notifier.yml").read_text())
        if one["kind"] == "Service"
    )
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_the_compose_file_brings_files_that_are_good(tmp_path: Path) -> None:
    """Each file that it mounts is there, and good by the program that reads it."""
    place = CONFIG / "compose"
    compose = yaml.safe_load((place / "compose.yml").read_text())
    services = compose["services"]
    images = {service["image"] for service in services.values() if service["image"].startswith("notifier:")}
    assert images == {f"notifier:{__version__}"}
    assert set(services) == {"notifier", "emulator", "alertmanager", "prometheus", "grafana"}
    for name, service in services.items():
        assert "image" in service or "build" in service, name
        for mounted in service.get("volumes", ()):
            source = mounted.partition(":")[0]
            if source.startswith("."):
                assert (place / source).resolve().exists(), source
        for other in service.get("depends_on", ()):
            assert other in services
    succeeds(program("amtool"), "check-config", place / "alertmanager.yml")
    succeeds(program("promtool"), "check", "config", "--syntax-only", place / "prometheus.yml")
    scraped = yaml.safe_load((place / "prometheus.yml").read_text())
    targets = {
        target
        for job in scraped["scrape_configs"]
        for one in job["static_configs"]
        for target in one["targets"]
    }
    assert {target.partition(":")[0] for target in targets} <= set(services)
    values = yaml.safe_load((place / "notifier.yml").read_text())
    hosts = {urlsplit(url).hostname for url in (values["ovh"]["endpoint"], *values["alertmanager"]["urls"])}
    assert hosts <= set(services)
    loading = load(place / "notifier.yml", services["notifier"]["environment"])
    assert [problem for problem in loading.problems if not problem.is_warning] == []
    datasource = yaml.safe_load((place / "grafana" / "datasource.yml").read_text())["datasources"][0]
    assert urlsplit(datasource["url"]).hostname in services


def test_a_health_check_follows_the_configuration(files: Files, run: Callable[..., Running]) -> None:
    def healthy(file: Path) -> int:
        command = [sys.executable, "-m", "notifier", "healthy", "--config", str(file)]
        return subprocess.run(command, capture_output=True, timeout=60).returncode

    running = run(files.write())
    port = int(running.url.rpartition(":")[2])
    assert healthy(files.write(web={"listen_address": f"127.0.0.1:{port}"})) == 0
    (free,) = free_ports(1)
    assert healthy(files.write(web={"listen_address": f"127.0.0.1:{free}"})) == 1
    assert healthy(files.write(receivers=[])) == 1


def test_the_configuration_in_the_manifests_is_good(tmp_path: Path) -> None:
    documents = yaml.safe_load_all((CONFIG / "kubernetes" / "notifier.yml").read_text())
    kinds = {one["kind"]: one for one in documents}
    file = tmp_path / "notifier.yml"
    file.write_text(kinds["ConfigMap"]["data"]["notifier.yml"])
    environment = {
        **os.environ,
        **{name: value or "x" * 8 for name, value in kinds["Secret"]["stringData"].items()},
        "PAGES_PASSWORD_HASH": "$2b$04$" + "a" * 53,
    }
    succeeds(sys.executable, "-m", "notifier", "check", "--config", file, env=environment)


# -- systemd -----------------------------------------------------------------------------------------------


def test_systemd_is_told(
    files: Files, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over a real socket, as sd_notify(3) has it."""
    place = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(place)
        told: list[str] = []

        def listen() -> None:
            while "STOPPING=1" not in told:
                told.append(listening.recv(1000).decode())

        def wait_until_told(start: str) -> None:
            wait_for(lambda: any(one.startswith(start) for one in list(told)), start)

        reader = threading.Thread(target=listen, daemon=True)
        reader.start()
        monkeypatch.setenv("NOTIFY_SOCKET", place)
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        running = run(files.write())
        wait_until_told("WATCHDOG=1")
        wait_until_told("READY=1\nSTATUS=listens on port ")
        running.post(b"", "/-/reload")
        wait_until_told("RELOADING=1\nMONOTONIC_USEC=")
        wait_for(lambda: "READY=1" in told, "the reload has ended")
        running.stop()
        reader.join(20)
        assert "STOPPING=1" in told


def test_a_systemd_that_does_not_read_hinders_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", place)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other,
    ):
        listening.bind(place)
        other.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                other.sendto(b"WATCHDOG=1", place)
        systemd.notify("WATCHDOG=1")


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    systemd.notify("READY=1")
    assert systemd.watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    assert systemd.watchdog_interval() == 30
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_interval() is None
    monkeypatch.setenv("NOTIFY_SOCKET", "@no-such-socket-of-a-test")
    systemd.notify("READY=1")


def test_the_service_is_started_again_however_often_it_fails() -> None:
    unit = (CONFIG / "systemd" / "notifier.service").read_text()
    head, _, service = unit.partition("[Service]")
    assert "\nStartLimitIntervalSec=0\n" in head, "or systemd gives it up after five starts in ten seconds"
    assert "\nRestart=always\n" in service
