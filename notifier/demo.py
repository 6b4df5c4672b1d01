"""The demo: the emulator, the service against it with the shipped configuration, and a sample alert."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import textwrap
import threading
import urllib.error
import urllib.request
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import yaml

from notifier import assets
from notifier.config.types import zone_of_the_machine
from notifier.demo_history import write_history
from notifier.emulator import Emulation, Emulator, Sms
from notifier.logs import LogLevel, configure_logging
from notifier.second_channel import problem
from notifier.service import Service

_WIDTH = 44


PHONES = {"alice": "+33639980001", "bob": "+33639980002", "carol": "+33639980003"}
"""Whose phones are drawn: those of the contacts in ``config/demo.yml``."""
_STORM = 30
"""How many alerts a storm has."""


def run(port: int, *, once: bool = False, browser: bool = False) -> int:
    """Run the demo until it is interrupted, or with *once* until the first SMS; return the exit code.

    With *browser*, the phones are opened in one.
    """
    configure_logging(level=LogLevel.WARNING)
    arrived = threading.Event()
    with (
        tempfile.TemporaryDirectory(prefix="notifier-demo-") as directory,
        Emulator().running() as emulator,
        Emulator(Emulation(service_name="sms-emu12345-2")).running() as second,
    ):

        def show(accepted: list[Sms]) -> None:
            for sms in accepted:
                _say(phone(sms))
            arrived.set()

        emulator.owners, emulator.beside = PHONES, (second,)
        for one in (emulator, second):
            one.on_accepted = show
            one.emulation.delivery_delay = 1.0
        zone = local_zone()
        os.environ |= _environment(Path(directory), emulator, second, free_port(port), zone)
        service = Service(_configuration(Path(directory)))
        failed: list[str] = []

        def tour(bound: int) -> None:
            url = f"http://127.0.0.1:{bound}"
            write_history(service.store, PHONES, datetime.now(UTC), zone)
            sample = Sample(url)
            emulator.pages, emulator.on_alert = url, sample.post
            drawn = f"http://127.0.0.1:{emulator.port}/phone"
            try:
                _say(f"Notifier listens on {url}, against an emulator of OVHcloud on {emulator.url}.")
                _say(f"Open the phones, to reply and to make things fail: {drawn}")
                _say(f"Beside them, Notifier's own pages: {url}")
                _say("A sample alert goes to its webhook; this is what the phone shows:\n")
                sample.post("firing")
                if not arrived.wait(30):
                    failed.append("no message arrived within 30 seconds")
                elif not once:
                    _say(advice(url))
                    if browser:
                        webbrowser.open(drawn)
            except OSError as error:
                failed.append(f"the webhook cannot be reached: {error}")
            if failed or once:
                os.kill(os.getpid(), 15)

        service.run(lambda bound: threading.Thread(target=tour, args=(bound,), daemon=True).start())
    for message in failed:
        sys.stderr.write(f"notifier: {message}\n")
    return 1 if failed else 0


def _environment(
    directory: Path, emulator: Emulator, second: Emulator, port: int, zone: ZoneInfo
) -> dict[str, str]:
    """Return the variables that the configuration of the demo refers to."""
    keys, today = emulator.emulation.credentials, datetime.now(zone)
    monday, covered = today.date() - timedelta(days=today.weekday()), today.date() + timedelta(days=2)
    return {
        "NOTIFIER_DEMO_ZONE": zone.key,
        "NOTIFIER_DEMO_MONDAY": f"{monday}T00:00",
        "NOTIFIER_DEMO_COVER_START": f"{covered}T09:00",
        "NOTIFIER_DEMO_COVER_END": f"{covered + timedelta(days=1)}T09:00",
        "NOTIFIER_DEMO_ADDRESS": f"127.0.0.1:{port}",
        "NOTIFIER_DEMO_DATABASE": f"sqlite:///{directory / 'notifier.db'}",
        "NOTIFIER_DEMO_INBOX": emulator.inbox_url,
        "NOTIFIER_DEMO_ENDPOINT": emulator.url,
        "NOTIFIER_DEMO_SECOND": second.url,
        "NOTIFIER_DEMO_KEY": keys.application_key,
        "NOTIFIER_DEMO_SECRET": keys.application_secret,
        "NOTIFIER_DEMO_CONSUMER": keys.consumer_key,
    }


def _configuration(directory: Path) -> Path:
    """Return the file that the demo runs with: without a second channel where apprise is not installed."""
    file = assets.CONFIG / "demo.yml"
    if problem(f"json://127.0.0.1/{file.stem}") is None:
        return file
    _say("The inbox stays empty: in the clone, run pip install '.[fallback]'.")
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    values.pop("fallback")
    for contact in values["contacts"]:
        contact.pop("fallback")
    copy = directory / file.name
    copy.write_text(yaml.safe_dump(values), encoding="utf-8")
    return copy


class Sample:
    """The sample alert: fires on one host after the other, and is resolved where it fired last."""

    def __init__(self, url: str) -> None:
        """Prepare to post to the service at *url*."""
        self._url = url
        self._fired: list[tuple[int, str]] = []
        """The numbers of those that fire, and since when."""

    def post(self, status: str) -> None:
        """Post it with *status*, as Alertmanager would: firing, resolved (all that fire), or storm (many that fire).

        Raises:
            OSError: the service cannot be reached, or refused it.
        """
        if status == "resolved":
            while self._fired:
                self._post(*self._fired.pop(), status)
        for _ in range({"firing": 1, "storm": _STORM}.get(status, 0)):
            last = self._fired[-1][0] if self._fired else 0
            self._fired.append((last + 1, (datetime.now(UTC) - timedelta(minutes=5)).isoformat()))
            self._post(*self._fired[-1], "firing")

    def _post(self, number: int, began: str, status: str) -> None:
        sample = json.loads((assets.CONFIG / "sample-alert.json").read_text(encoding="utf-8"))
        host = f"db-{number}.gra1.example.net:9100"
        sample |= {"status": status, "groupKey": f"{sample['groupKey']}/{number}"}
        summary = {"summary": f"Instance db-{number} unreachable for 5 minutes"}
        sample["commonLabels"]["instance"], sample["commonAnnotations"] = host, summary
        for alert in sample["alerts"]:
            alert |= {
                "annotations": summary,
                "status": status,
                "startsAt": began,
                "fingerprint": f"{number:016x}",
            }
            alert["labels"]["instance"] = host
            if status == "resolved":
                alert["endsAt"] = datetime.now(UTC).isoformat()
        request = urllib.request.Request(f"{self._url}/alert", json.dumps(sample).encode(), method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310 (our own address)
            pass


def local_zone() -> ZoneInfo:
    """Return the time zone of this machine; UTC if that is not known."""
    try:
        return zone_of_the_machine()
    except ValueError:
        return ZoneInfo("UTC")


def phone(sms: Sms) -> str:
    """Return the message, drawn on a phone."""
    lines = [line for text in sms.message.split("\n") for line in textwrap.wrap(text, _WIDTH) or [""]]
    title = f"{sms.sender}  {datetime.now().astimezone():%H:%M}"
    parts = f"{sms.parts} part{'s' if sms.parts > 1 else ''}, {sms.credits:g} credit(s), to {sms.receiver}"
    body = [f"  │ {line:<{_WIDTH}} │" for line in [title, "", *lines, "", parts]]
    edge = "─" * (_WIDTH + 2)
    return "\n".join([f"  ╭{edge}╮", *body, f"  ╰{edge}╯"])


def advice(url: str) -> str:
    """Return what to try next: another alert, Alertmanager's configuration, and the documents."""
    command = sys.argv[0] if Path(sys.argv[0]).name == "notifier" else "python -m notifier"
    return textwrap.dedent(
        f"""
        Send another:

          curl {url}/alert -d '{{"version":"4","receiver":"demo","status":"firing","groupKey":"'$(date +%s)'",
            "alerts":[{{"status":"firing","startsAt":"'$(date -u +%FT%TZ)'","annotations":{{}},
            "labels":{{"alertname":"DiskFull","severity":"warning","instance":"web-1.example.net:9100"}}}}]}}'

        Point your Alertmanager here, in alertmanager.yml:

          receivers:
            - name: demo
              webhook_configs:
                - url: {url}/alert

        With an account at OVHcloud: docs/getting-started.md, and {command} --help.

        Metrics: {url}/metrics   Readiness: {url}/-/ready   Stop with Ctrl-C.
        """
    )


def free_port(port: int) -> int:
    """Return *port* if it is free, or else another one that is."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port(0)
        return int(probe.getsockname()[1])


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
