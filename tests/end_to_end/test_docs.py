"""The examples in the documents are good."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import yaml
from typer.testing import CliRunner

from notifier.alertmanager.webhook import parse_webhook
from notifier.cli.app import app
from notifier.config import reference
from notifier.config.loading import load
from notifier.emulator import Emulator
from notifier.oncall.schedules import Schedules
from notifier.rendering.compose import Style, compose
from notifier.rendering.context import build_notification
from notifier.rendering.templates import Templates
from notifier.sms.recipient import Recipient
from tests.support import references
from tests.support.files import Files
from tests.support.processes import free_ports, program, running, wait_for
from tests.support.service import Phones, Running
from tests.support.webhooks import payload

DOCS = Path(__file__).parents[2] / "docs"


def test_the_rota_of_the_first_page_can_be_used(files: Files) -> None:
    (example,) = (
        one
        for one in re.findall(r"```yaml\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
        if "rotations" in one
    )
    loading = load(files.write(**yaml.load(example, yaml.SafeLoader)))
    assert loading.problems == []
    from tests.support.clock import PARIS, at

    rota = Schedules.of(loading.configuration, {})["platform"]
    assert [
        rota.on_call(at(day, PARIS)) for day in ("2026-01-05T10:00", "2026-12-22T10:00", "2026-12-25T10:00")
    ] == [
        "alice",
        "carol",
        "alice",
    ]


def test_the_rota_of_the_page_on_call_can_be_used(files: Files) -> None:
    example, cluster = re.findall(r"```yaml\n(.*?)```", (DOCS / "oncall.md").read_text(), re.DOTALL)
    secret = files.directory / "credentials"
    secret.write_text("secret")
    secret.chmod(0o600)
    cluster = cluster.replace("/etc/notifier/alertmanager", str(secret))
    loading = load(files.write(**yaml.load(example + cluster, yaml.BaseLoader)))
    assert loading.problems == []
    assert loading.configuration is not None
    assert loading.configuration.alertmanager is not None
    assert [one.url for one in loading.configuration.alertmanager.apis] == [
        "http://am-1:9093",
        "http://am-2:9093",
    ]
    shifts = Schedules.of(loading.configuration, {})["platform"]
    from tests.support.clock import PARIS, at

    assert shifts.on_call(at("2026-01-05T10:00", PARIS)) == "alice"
    assert shifts.on_call(at("2026-01-05T13:00", PARIS)) == "carol"
    assert shifts.on_call(at("2026-12-25T23:00", PARIS)) == "carol"


def test_the_reference_is_current() -> None:
    assert reference.FILE.read_text(encoding="utf-8") == reference.text(), "run: make schema"


@pytest.mark.parametrize("page", references.PAGES)
def test_the_references_of_commands_api_and_metrics_are_current(page: Any) -> None:
    assert (DOCS / page).read_text(encoding="utf-8") == references.PAGES[page](), "run: make schema"


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    # With --quiet, it would count no warning, and --strict would let all pass.
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=DOCS.parent, capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 25
    loading = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//|<link[^>]*rel=\"?(?:stylesheet|preconnect)[^>]*https?://"
    )
    assert [page.name for page in pages if loading.search(page.read_text(encoding="utf-8"))] == []
    assert (tmp_path / "site" / "config" / "notifier.yml").is_file()  # people copy it
    index = (tmp_path / "site" / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "settle_timeout" in index


@pytest.mark.parametrize("page", ["watching.md", "coming-from.md", "key-rotation.md", "single-sign-on.md"])
def test_the_configuration_of_how_to_pages_is_good(page: Any, files: Files) -> None:
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block)
        for one in values.get("web", {}).get("tokens", ()):
            secret = files.directory / one["name"]
            secret.write_text(one["name"])
            secret.chmod(0o600)
            one["token_file"] = str(secret)
        loading = load(files.write(**values))
        assert [problem for problem in loading.problems if not problem.is_warning] == []


def test_the_proxy_of_single_sign_on_is_written_as_nginx_takes_it(tmp_path: Path) -> None:
    (server,) = blocks("single-sign-on.md", "nginx")
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-subj", "/CN=pager.example.net", "-keyout", key, "-out", certificate]  # fmt: skip
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)
    server = server.replace("/etc/nginx/tls/pager.pem", str(certificate)).replace(
        "/etc/nginx/tls/pager.key", str(key)
    )
    file = tmp_path / "nginx.conf"
    file.write_text(f"pid {tmp_path}/pid;\nerror_log {tmp_path}/log;\nevents {{}}\nhttp {{\n{server}\n}}\n")
    done = subprocess.run(
        [program("nginx"), "-t", "-c", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_of_backups_and_timelines_run(
    files: Files, run: Callable[..., Running], phones: Phones, tmp_path: Path
) -> None:
    service = run(file := files.write())
    service.post(payload("firing-one"))
    phones.wait(1)
    notifier = Path(sys.executable).with_name("notifier")
    (backup,) = blocks("backup.md", "sh")
    (timeline,) = blocks("timeline.md", "sh")
    for line in (*backup.splitlines(), *timeline.splitlines()):
        words = shlex.split(line)
        where = ["--config", str(file)] if "--config" in words else ["--url", service.url]
        command = [
            str(notifier),
            *words[1 : words.index("--config") if "--config" in words else None],
            *where,
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600


def test_the_commands_that_change_the_consumer_key_run(
    files: Files, run: Callable[..., Running], phones: Phones, emulator: Emulator
) -> None:
    (files.directory / "ck").write_text("emulator-consumer\n")
    (files.directory / "ck").chmod(0o600)
    service = run(file := files.write(ovh={"consumer_key": ..., "consumer_key_file": "ck"}))
    emulator.emulation.credentials = replace(emulator.emulation.credentials, consumer_key="another-key")
    notifier = str(Path(sys.executable).with_name("notifier"))
    commands = "".join(blocks("key-rotation.md", "sh")).splitlines()
    for line in filter(str.strip, commands):
        words = [str(file) if word == "notifier.yml" else word for word in shlex.split(line)]
        if words == ["systemctl", "reload", "notifier"]:
            assert service.post(b"", "/-/reload").status_code == 200
            continue
        done = subprocess.run([notifier, *words[1:]], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert (files.directory / "ck").read_text() == "another-key\n"
    service.post(payload("firing-one"))
    phones.wait(1)


def test_the_tokens_overlap_as_shown(files: Files, run: Callable[..., Running]) -> None:
    """Both tokens post while Alertmanager is changed; after the old one was removed, only the new one does."""
    (example,) = blocks("key-rotation.md", "yaml")
    operator = {"name": "operator", "token_file": "operator", "may": ["admin"]}
    *tokens, _ = all_tokens = [*yaml.safe_load(example)["web"]["tokens"], operator]
    for one in all_tokens:
        one["token_file"] = Path(one["token_file"]).name
        (files.directory / one["token_file"]).write_text(f"the-secret-of-{one['name']}\n")
        (files.directory / one["token_file"]).chmod(0o600)
    service = run(files.write(web={"tokens": all_tokens}))
    admin = {"Authorization": "Bearer the-secret-of-operator"}

    def answers() -> list[int]:
        bearing = [{"Authorization": f"Bearer the-secret-of-{one['name']}"} for one in tokens]
        return [service.post(payload("firing-one"), headers=one).status_code for one in bearing]

    assert answers() == [200, 200]
    files.write(web={"tokens": all_tokens[1:]})
    assert service.post(b"", "/-/reload", headers=admin).status_code == 200
    assert answers() == [401, 200]


def test_several_accounts_are_written_as_shown(files: Files, tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (DOCS / "ovhcloud.md").read_text(), re.DOTALL)
    shown = yaml.safe_load(example)["ovh"]
    for name in ("application_secret", "consumer_key", "client_secret"):
        (tmp_path / name).write_text("hush-hush\n")
        (tmp_path / name).chmod(0o600)
    for account in shown:
        for key, file in account.items():
            if key.endswith("_file"):
                account[key] = str(tmp_path / Path(file).name)
    loading = load(files.write(ovh=shown))
    assert loading.problems == []
    assert [one.name for one in loading.configuration.accounts] == ["sms-ab12345-1", "sms-cd67890-1"]


def examples() -> Iterator[Any]:
    """Yield each example of docs/templates.md: its words, its template (the shipped one where there is none), its texts."""
    section = (
        (DOCS / "templates.md").read_text(encoding="utf-8").partition("## Examples")[2].partition("\n## ")[0]
    )
    shown = re.findall(r"(?ms)^(.+?)\n\n(?:```jinja\n(.*?)```\n\n)?```text\n(.*?)```", section)
    assert len(shown) == 5
    payloads: list[str] = []
    for words, source, texts in shown:
        payloads = re.findall(r"`([\w-]+)\.json`", words) or payloads
        yield words, payloads, source, texts


@pytest.mark.parametrize(("words", "payloads", "source", "texts"), list(examples()))
def test_templates_give_what_the_page_shows(
    words: Any, payloads: Any, source: Any, texts: Any, tmp_path: Path
) -> None:
    name = (re.findall(r"`(\w+)(?:\.j2)?`", words.rpartition("\n\n")[2]) or ["page"])[0] if source else "page"
    (tmp_path / f"{name}.j2").write_text(source, encoding="utf-8")
    templates = Templates({f"{name}.j2": tmp_path / f"{name}.j2"} if source else {})
    reader = Recipient(
        "alice", "+33639980001", "fr" if "`language: fr`" in words else "en", ZoneInfo("Europe/Paris")
    )
    now = datetime(2026, 11, 22, 12, 20, tzinfo=UTC)
    rendered = []
    for payload_name in payloads:
        webhook = parse_webhook(payload(payload_name))
        told = build_notification(webhook, range(len(webhook.alerts)), "ops")
        result = compose(templates, replace(told, number=7), reader, Style(template=name), now)
        assert result.failure is None
        rendered.append(result.text)
    assert texts == "\n".join(rendered) + "\n"


def blocks(page: Any, language: Any) -> Any:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.timeout(120)
def test_the_first_page_leads_to_a_text_on_the_phone(
    tmp_path: Path, emulator: Emulator, phones: Phones
) -> None:
    """Its files and commands, in their order, against an emulator; the service on a port that is free."""
    file, alertmanager = blocks("getting-started.md", "yaml")
    install, install_exactly, login, look, serve, fire, post = blocks("getting-started.md", "sh")
    n_port, a_port = free_ports(2)
    text = file.replace("ovh:\n", f"ovh:\n  endpoint: {emulator.url}\n")
    (tmp_path / "notifier.yml").write_text(text + f"web: {{listen_address: 127.0.0.1:{n_port}}}\n")
    quick = alertmanager.replace("9876", str(n_port)).replace("route:\n", "route:\n  group_wait: 1s\n")
    (tmp_path / "alertmanager.yml").write_text(quick)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    keys = emulator.emulation.credentials
    environment |= {
        "OVH_APPLICATION_KEY": keys.application_key,
        "OVH_APPLICATION_SECRET": keys.application_secret,
    }

    def typed(command: Any) -> Any:
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "choose the validity Unlimited" in typed(login.partition("\n")[2])
    told = typed(look)
    assert "notifier.yml is valid: 1 contact, 1 receiver" in told
    assert "FAILED" not in told
    assert "delivered" in told
    assert phones.wait(1)[0].message == "hello"
    alone = [
        "--cluster.listen-address",
        "",
        "--storage.path",
        tmp_path / "am",
        "--config.file",
        "alertmanager.yml",
    ]
    beside = [program("prometheus-alertmanager"), *alone, "--web.listen-address", f"127.0.0.1:{a_port}"]
    with (
        running(shlex.split(serve), tmp_path / "notifier.log", cwd=tmp_path, env=environment),
        running(beside, tmp_path / "am.log", cwd=tmp_path),
    ):
        for port in (a_port, n_port):
            ready = f"http://127.0.0.1:{port}/-/ready"
            wait_for(lambda: requests.get(ready, timeout=5).ok, f"{ready} is ready")
        typed(fire.replace("9093", str(a_port)))
        assert "critical Test db-1" in phones.wait(2, timeout=60)[1].message
        (url, body) = re.search(r"curl (\S+) -d '(.+)'", post, re.DOTALL).groups()
        assert requests.post(url.replace("9876", str(n_port)), body, timeout=10).ok
        assert "critical Test db-1" in phones.wait(3, timeout=60)[2].message
    assert "pip install ." in install
    assert "pip install --require-hashes -r requirements.txt -r requirements-build.txt" in install_exactly


def test_prometheus_takes_what_operating_says(tmp_path: Path) -> None:
    (scraping,) = blocks("operating.md", "yaml")
    rules = tmp_path / "notifier.rules.yml"
    rules.write_text((DOCS.parent / "config" / "prometheus" / "rules.yml").read_text())
    file = tmp_path / "prometheus.yml"
    file.write_text(scraping.replace("/etc/prometheus/notifier.rules.yml", str(rules)))
    done = subprocess.run(
        [program("promtool"), "check", "config", file], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_the_steps_to_a_service_name_what_is_there() -> None:
    (steps,) = blocks("operating.md", "sh")
    unit = (DOCS.parent / "config" / "systemd" / "notifier.service").read_text()
    (user,) = re.findall(r"(?m)^User=(.+)$", unit)
    assert f"nologin {user}\n" in steps
    assert f"EnvironmentFile=-{re.search(r'> (/etc/[a-z/]+) ', steps)[1]}\n" in unit
    for copied in re.findall(r"(?m)^cp (\S+)", steps):
        assert (DOCS.parent / copied).exists()
    checked = subprocess.run(["bash", "-n"], input=steps, text=True, capture_output=True, timeout=10)
    assert checked.returncode == 0, checked.stderr


def test_the_emulator_by_itself_does_what_its_page_says(files: Files, tmp_path: Path) -> None:
    program("curl")
    (port,) = free_ports(1)
    section = (DOCS / "ovhcloud.md").read_text(encoding="utf-8").partition("## The emulator")[2]
    (command,) = re.findall(r"`(python -m notifier\.emulator .+?)`", section)
    (lines,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    arguments = shlex.split(command.replace("8080", str(port)))[1:]
    log = tmp_path / "emulator.log"
    with running([sys.executable, *arguments], log):
        wait_for(lambda: "To have it fail" in log.read_text(), "it listens")
        account = yaml.safe_load(log.read_text().partition("For notifier.yml:\n")[2].partition("To have")[0])[
            "ovh"
        ]
        done = subprocess.run(
            ["bash", "-ec", lines.replace("8080", str(port))], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout.rpartition("null")[2].strip()) == (0, "[]")
        (tmp_path / "notifier.yml").write_text(
            yaml.safe_dump({
                "storage": {"url": "sqlite:///n.db"},
                "ovh": account,
                "receivers": [{"name": "ops", "notify": ["+33639980001"]}],
            })
        )  # fmt: skip
        file = str(tmp_path / "notifier.yml")
        refused = CliRunner().invoke(app, ["send", "--config", file, "--to", "+33639980001", "hello"])
        assert (refused.exit_code, "Not enough credits" in refused.stderr) == (1, True)
        requests.delete(f"http://127.0.0.1:{port}/emulator/faults", timeout=10)
        told = CliRunner().invoke(app, ["check", "--config", file, "--online"]).output
        assert "credits" in told
        assert requests.get(f"http://127.0.0.1:{port}/emulator/messages", timeout=10).json() == []


PAGES = (DOCS.parent / "README.md", *sorted(DOCS.glob("*.md")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_written_as_they_are(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    inline = re.findall(r"`(notifier [a-z][^`]*)`", text)
    for written in inline + re.findall(
        r"(?m)^ {0,4}(notifier [a-z].*)$", "\n".join(re.findall(r"(?s)```sh\n(.*?)```", text))
    ):
        for command in written.partition(" > ")[0].replace("ovh login|account", "ovh login").split("|"):
            words = shlex.split(re.sub(r"[\[\]\\]", "", command.replace("'", "")))
            if words[:1] == ["notifier"]:
                shown = CliRunner().invoke(app, [*words[1:], "--help"])
                assert shown.exit_code == 0, (written, shown.output)
                assert "Commands" not in shown.output or len(words) == 2, written


def test_links_between_the_documents_lead_somewhere() -> None:
    for file in PAGES:
        for target, anchor in re.findall(
            r"\]\((?!https?:)([^)#\s]*)(#[^)]*)?\)", file.read_text(encoding="utf-8")
        ):
            place = (file.parent / target).resolve() if target else file
            assert place.exists(), f"{file.name}: {target}"
            if anchor and place.suffix == ".md":
                headings = re.findall(r"(?m)^#+ (.+)$", place.read_text(encoding="utf-8"))
                slugs = {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}
                assert anchor[1:] in slugs, f"{file.name}: {target}{anchor}"


def test_the_tests_that_the_table_of_callers_names_are_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "security.md").read_text()))
    written = "\n".join(file.read_text() for file in (DOCS.parent / "tests").glob("*/test_*.py"))
    assert len(named) > 15
    assert {name for name in named if f"def {name}(" not in written} == set()
