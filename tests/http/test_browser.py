"""The pages and the demo's phones in a real browser: Debian's Chromium, on a narrow screen and a wide one."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import requests
from playwright.sync_api import Browser, Dialog, Page, expect, sync_playwright

from notifier import demo
from notifier.emulator import Emulator
from notifier.service import Service
from tests.support.files import Files
from tests.support.processes import free_ports, program
from tests.support.service import Phones, start
from tests.support.webhooks import alert, webhook

pytestmark = pytest.mark.xdist_group("browser")

AXE = "axe-core@4.10.3"
ARTEFACTS = Path(__file__).parents[2] / "artefacts"
WIDTHS = (360, 1280)
XSS = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'>"
ROTA = [
    {
        "name": "platform",
        "time_zone": "Europe/Paris",
        "rotations": [{"start": "2026-01-05T09:00", "every": "1d", "contacts": ["alice", "bob"]}],
        "overrides": [{"start": "2026-01-01T09:00", "end": "2026-01-02T09:00", "contact": None}],
    },
    {
        "name": "nights",
        "rotations": [
            {"start": "2026-01-05T20:00", "every": "1w", "contacts": ["bob"], "hours": "20:00-08:00"}
        ],
    },
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or program("chromium")
    arguments = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync",
                 "--host-resolver-rules=MAP pager.example.net 127.0.0.1"]  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checker of accessibility, from the npm registry."""
    npm = program("npm")
    place = tmp_path_factory.mktemp("axe")
    done = subprocess.run(
        [npm, "pack", AXE, "--pack-destination", place], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{AXE} cannot be had: {done.stderr}")
        pytest.skip(f"{AXE} cannot be had from the npm registry")
    shutil.unpack_archive(next(place.glob("*.tgz")), place)
    return (place / "package" / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Emulator().running() as emulator:
        files = Files(tmp_path_factory.mktemp("pages"), emulator)
        people = [{"name": name, "phone": f"+3363998000{n}"} for n, name in enumerate(("alice", "bob"), 1)]
        file = files.write(
            contacts=people,
            schedules=ROTA,
            receivers=[
                {"name": "ops", "notify": ["platform"], "escalate": [{"after": "10m", "notify": ["bob"]}]}
            ],
            heartbeats=[
                {"name": "watchdog", "matchers": ["alertname=Watchdog"], "timeout": "10m", "receiver": "ops"}
            ],
            links=True,
            **{"global": {"time_zone": "Europe/Paris", "external_url": "http://pager.example.net"}},
        )
        running: Any = start(file)
        running.phones = Phones(emulator)
        running.post(webhook(alert("Watchdog"), key="w"))
        running.post(
            webhook(alert("InstanceDown", instance="db-1.example.net:9100", severity="critical"), key="a")
        )
        hostile = alert(XSS, instance=XSS, severity=XSS, job=XSS)
        running.post(
            webhook({**hostile, "annotations": {"summary": XSS}}, key=XSS, commonLabels={"job": XSS})
        )
        page = next(one for one in running.phones.wait(2) if "InstanceDown" in one.message)
        running.link = page.message.rpartition("http://pager.example.net")[2]
        yield running
        running.stop()


class Watched:
    """A tab, and what went wrong in it."""

    def __init__(self, browser: Browser, width: int = 360, **how: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, **how)
        self.page: Page = self.context.new_page()
        self.wrong: list[str] = []
        self.page.on(
            "console",
            lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None,
        )
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self.dismiss)

    def dismiss(self, dialog: Dialog) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    made = []

    def making(width: Any = 360, **how: Any) -> Any:
        made.append(Watched(chromium, width, **how))
        return made[-1]

    yield making
    for one in made:
        one.context.close()
        assert one.wrong == []


PAGES = {
    "now": "/",
    "incident": "/incidents/1",
    "hostile": "/incidents/2",
    "oncall": "/oncall?calendar=alice",
    "shift": "/oncall#shift-1-2",
    "messages": "/messages?state=delivered",
    "nothing": "/messages?q=nothing",
    "who": "/who",
    "phone": "/settings?sent=1",
    "settings": '/settings?labels=alertname="DiskFull" severity="critical"',
    "missing": "/incidents/99",
    "link": "",
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_anybody_can_use_it(served: Any, tab: Any, axe: Any, name: Any) -> None:
    watched = tab(bypass_csp=True)  # the checker is a script that is put into the page
    page = watched.page
    if name == "phone":
        watched.context.add_cookies([{"name": "notifier-me", "value": "alice", "url": served.url}])
    page.goto(served.url + (PAGES[name] or served.link))
    page.evaluate(axe)
    ARTEFACTS.mkdir(exist_ok=True)
    for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=ARTEFACTS / f"{name}-{width}-{scheme}.png", full_page=True)
        unfold = "([all, open]) => { for (const one of all) one.open = open; }"
        folded = page.locator("main details:not([open])").element_handles()
        page.evaluate(unfold, [folded, True])
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (
            "nothing lies beside the screen"
        )
        found = page.evaluate("axe.run()")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == [], (width, scheme)
        page.evaluate(unfold, [folded, False])
    if name == "missing":
        watched.wrong.clear()  # the browser says that it is 404


SCREENSHOTS = (
    ARTEFACTS if os.environ.get("NOTIFIER_SCREENSHOTS") is None else ARTEFACTS.parent / "docs" / "screenshots"
)
"""Where the pictures of the documents go: `make screenshots` replaces those in docs/."""


def test_the_pictures_of_the_documents_show_a_night(tmp_path: Path, tab: Any) -> None:
    """One incident that nobody has, several of one name, one in hand, one resolved; and who is on call."""
    people = [
        {"name": name, "phone": f"+3363998000{n}"} for n, name in enumerate(("alice", "bob", "carol"), 1)
    ]
    today = datetime.now(UTC).date()
    cover = {"start": f"{today}T00:00", "end": f"{today + timedelta(days=1)}T09:00", "contact": "carol"}
    rotation = {"start": "2026-01-05T09:00", "every": "1d", "contacts": ["alice", "bob", "carol"]}
    rota = {"name": "platform", "rotations": [rotation], "overrides": [cover]}
    steps = [{"after": "10m", "notify": ["platform"]}, {"after": "20m", "notify": ["alice", "bob", "carol"]}]
    receiver = {"name": "ops", "notify": ["alice", "bob"], "escalate": steps}
    with Emulator().running() as emulator:
        file = Files(tmp_path, emulator).write(contacts=people, schedules=[rota], receivers=[receiver])
        running, phones = start(file), Phones(emulator)
        source = "http://alertmanager.example.net:9093"
        began = (datetime.now(UTC) - timedelta(minutes=12)).isoformat()

        def fire(name: str, instance: str, severity: str, status: str = "firing", **annotations: str) -> None:
            one = alert(name, instance=f"{instance}.example.net:9100", severity=severity, status=status)
            one |= {
                "annotations": annotations,
                "startsAt": began,
                "generatorURL": "http://prometheus.example.net",
            }
            group: Any = {"groupLabels": {"alertname": name}, "externalURL": source}
            running.post(webhook(one, key=name + instance, **group))

        fire(
            "PostgresReplicationBroken", "db-1", "critical", summary="Replication from db-1 to db-2 has stopped",
            description="The standby is 12 minutes behind. Roll back the last deployment, or promote db-2.",
            runbook_url="https://wiki.example.net/postgres", dashboard="https://grafana.example.net/d/1",
        )  # fmt: skip
        for number in range(4):
            fire("InstanceDown", f"web-{number}", "warning", summary=f"web-{number} cannot be reached")
        fire("DiskWillFill", "storage-12", "warning", summary="storage-12 will be full in 4 hours")
        fire("CertificateExpires", "www", "info", summary="The certificate of www ends in 14 days")
        phones.wait(14)
        incidents = requests.get(running.url + "/api/v1/incidents", timeout=10).json()["items"]
        numbers = {one["labels"]["alertname"]: one["number"] for one in incidents}
        taken = f"{running.url}/api/v1/incidents/{numbers['DiskWillFill']}/ack"
        assert requests.post(taken, json={"by": "bob"}, timeout=10).ok
        fire("CertificateExpires", "www", "info", status="resolved")
        try:
            SCREENSHOTS.mkdir(exist_ok=True)
            for width, scheme in ((360, "light"), (360, "dark"), (1280, "light")):
                watched = tab(width, color_scheme=scheme, device_scale_factor=2 if width == 360 else 1)
                watched.context.add_cookies([{"name": "notifier-me", "value": "alice", "url": running.url}])
                page = watched.page
                page.goto(running.url)
                expect(page.get_by_text("Resolved in the last 24 hours")).to_be_visible(timeout=30_000)
                expect(page.locator(".card.critical")).to_contain_text("alice delivered", timeout=30_000)
                page.screenshot(path=SCREENSHOTS / f"incidents-{width}-{scheme}.png")
                page.locator(".card.critical h3 a").click()
                expect(page.get_by_label("Who knows")).to_contain_text("alice delivered")
                page.screenshot(path=SCREENSHOTS / f"incident-{width}-{scheme}.png")
                page.goto(f"{running.url}/oncall")
                page.screenshot(path=SCREENSHOTS / f"oncall-{width}-{scheme}.png")
                page.goto("about:blank")
        finally:
            running.stop()


def test_a_link_is_used_with_the_thumb_and_without_a_script(served: Any, tab: Any) -> None:
    page = tab(java_script_enabled=False, has_touch=True).page
    page.goto(served.url + served.link)
    page.get_by_label("Note", exact=True).fill("looking at it")
    page.get_by_role("button", name="Add note").tap()
    expect(page.locator("#done")).to_contain_text("The note is in the timeline.")
    expect(page.locator(".timeline")).to_contain_text("by the link in a page: looking at it")
    assert page.url.startswith(served.url + served.link)


def test_buttons_work_over_plain_http_by_a_name(served: Any, tab: Any) -> None:
    """Chromium sends no Fetch Metadata to such an address, so the form is judged by its Origin."""
    page, port = tab().page, served.url.rpartition(":")[2]
    page.goto(f"http://pager.example.net:{port}{served.link}")
    page.get_by_label("Note", exact=True).fill("by its name")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#done")).to_contain_text("The note is in the timeline.")


def test_labels_do_nothing_but_show(served: Any, tab: Any) -> None:
    page = tab().page
    for path in ("/", "/incidents/2", "/messages", "/messages?q=" + XSS, "/settings?labels=a=" + XSS):
        page.goto(served.url + path)
        assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    page.goto(served.url + "/incidents/2")
    expect(page.locator("h1")).to_contain_text("<img src=x")


def test_headers_let_nothing_else_in(served: Any) -> None:
    for path in PAGES.values():
        headers = requests.get(served.url + path, timeout=10).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
    text = (
        requests.get(served.url + "/oncall", timeout=10).text
        + requests.get(served.url + "/settings", timeout=10).text
    )
    assert re.findall(r"<script(?![^>]* src=)", text) == []
    assert re.findall(r"\s(?:on\w+|style)=", text) == []
    assert re.findall(r"(?:src|href)=\"(?!/|#)", text) == []


def rings(served: Any, name: Any) -> None:
    """Wait until somebody has been texted of the alert of that name."""
    count = 0
    while not any(name in sms.message for sms in served.phones.all()):
        count += 1
        served.phones.wait(len(served.phones.all()) + 1)
        assert count < 20


def test_it_is_acknowledged_with_the_keyboard_and_the_others_see_it(served: Any, tab: Any) -> None:
    served.post(webhook(alert("QueueFull", instance="mq-1"), key="q"))
    rings(served, "QueueFull")
    watching = tab().page
    watching.goto(served.url)
    expect(watching.get_by_label("Nobody has it")).to_contain_text("QueueFull")
    page = tab().page
    page.goto(served.url)
    page.get_by_role("link", name="QueueFull").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("QueueFull mq-1")
    page.get_by_role("button", name="Acknowledge").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")
    page.get_by_role("button", name="bob").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#done")).to_contain_text("You have it")
    expect(page.locator("#done")).to_be_focused()
    expect(page.locator(".timeline")).to_contain_text("Acknowledged by bob on this page")
    expect(watching.get_by_label("In hand")).to_contain_text("bob has it", timeout=15_000)
    page.goto(served.url + "/incidents/2")
    expect(page.get_by_role("link", name="bob")).to_be_visible()  # it is remembered


def test_a_page_says_that_it_is_stale_and_recovers_by_itself(tmp_path: Path, tab: Any) -> None:
    with Emulator().running() as emulator:
        files = Files(tmp_path, emulator)
        (port,) = free_ports(1)
        people = [{"name": name, "phone": f"+3363998000{n}"} for n, name in enumerate(("alice", "bob"), 1)]
        file = files.write(contacts=people, web={"listen_address": f"127.0.0.1:{port}"})
        running = start(file)
        watched = tab()
        page = watched.page
        page.goto(running.url)
        expect(page.get_by_text("No alert is firing.")).to_be_visible()
        running.stop()
        expect(page.get_by_role("alert")).to_contain_text("Not updated since", timeout=15_000)
        running = start(file)
        try:
            running.post(webhook(alert("QueueFull", severity="critical"), key="q"))
            expect(page.get_by_label("Nobody has it")).to_contain_text("QueueFull", timeout=20_000)
            expect(page.locator("#stale")).to_be_hidden()
            expect(page).to_have_title("1 incident that nobody has · Notifier")
            page.goto(running.url + "/incidents/1")
            page.locator("#technical summary").click()
            note = page.get_by_label("Note", exact=True)
            note.fill("I look")  # what is typed or opened is not taken away, and the rest follows
            requests.post(running.url + "/api/v1/incidents/1/ack", json={"by": "bob"}, timeout=10)
            expect(page.locator(".lead")).to_contain_text("bob has it", timeout=15_000)
            expect(page.locator("#announced")).to_contain_text("Updated:")
            expect(note).to_be_focused()
            expect(note).to_have_value("I look")
            expect(page.locator("#technical dl")).to_be_visible()
            page.get_by_role("button", name="Take over").click()
            page.get_by_role("button", name="alice").click()
            expect(page.locator("#done")).to_contain_text("bob had it before")
        finally:
            page.goto("about:blank")
            watched.wrong.clear()  # the browser said that it could not connect
            running.stop()


def test_somebody_signs_in_with_the_keyboard_and_goes_on(tmp_path: Path, tab: Any, axe: Any) -> None:
    hash_ = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    with Emulator().running() as emulator:
        users = {"alice": {"password_hash": hash_, "role": "responder"}}
        running = start(Files(tmp_path, emulator).write(web={"users": users}))
        try:
            watched = tab(color_scheme="dark", bypass_csp=True)
            page = watched.page
            page.goto(running.url + "/messages")
            expect(page.get_by_label("Name")).to_be_focused()
            page.keyboard.type("alice")
            page.keyboard.press("Tab")
            page.keyboard.type("wrong")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert").first).to_have_text("The name or the password is wrong.")
            page.evaluate(axe)
            assert page.evaluate("axe.run()")["violations"] == []
            page.screenshot(path=ARTEFACTS / "sign-in-360-dark.png")
            page.get_by_label("Name").fill("alice")
            page.get_by_label("Password").fill("right")
            page.keyboard.press("Enter")
            expect(page.get_by_text("Nothing was sent yet.")).to_be_visible()
            assert page.url == running.url + "/messages"
            page.get_by_role("link", name="alice").click()
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            watched.wrong.clear()  # the browser says that it was 401
        finally:
            page.goto("about:blank")
            running.stop()


def test_a_connection_that_goes_silent_is_noticed(served: Any, tab: Any) -> None:
    watched = tab()
    page = watched.page
    page.clock.install()  # its timers are moved by hand: no sign of life comes for 36 s
    page.goto(served.url)
    expect(page.get_by_role("heading", name="Nobody has it")).to_be_visible()
    expect(page.locator("#stale")).to_be_hidden()
    page.clock.fast_forward(36_000)
    expect(page.locator("#stale")).to_contain_text("Not updated since")
    page.clock.fast_forward(4_000)
    expect(page.locator("#stale")).to_be_hidden()
    watched.wrong.clear()  # htmx writes the loss of the connection to the console


def test_many_tabs_of_one_browser_all_open(served: Any, tab: Any) -> None:
    context = tab().context
    for _ in range(9):
        page = context.new_page()
        page.goto(served.url, timeout=10_000)
        expect(page.get_by_role("heading", level=1)).to_contain_text("Incidents")
        # A browser hides a tab when the next one is opened; one without a screen has to be told.
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )


def test_a_tab_that_is_looked_at_again_goes_on_without_an_alarm(served: Any, tab: Any) -> None:
    watched = tab(bypass_csp=True)  # so that the page may be asked
    page = watched.page
    page.add_init_script(
        "window.opened = []; const Real = EventSource;"
        "window.EventSource = class extends Real { constructor(url) { super(url); window.opened.push(this); } };"
    )
    page.goto(served.url)
    still_open = "window.opened.filter((one) => one.readyState !== 2).length"
    page.wait_for_function(f"{still_open} === 1")
    page.evaluate(
        "window.warned = 0; new MutationObserver(() => { window.warned += !document.getElementById('stale').hidden; })"
        ".observe(document.getElementById('stale'), {attributes: true});"
    )
    for hidden in (True, False, True, False, True, False):
        page.evaluate(
            f"Object.defineProperty(document, 'hidden', {{value: {str(hidden).lower()}, configurable: true}});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
    page.wait_for_function("window.opened.length > 1 && window.opened.at(-1).readyState === 1")
    assert page.evaluate(still_open) == 1
    assert page.evaluate("window.warned") == 0
    page.goto("about:blank")
    watched.wrong.clear()  # htmx writes to the console that a stream was closed


def test_it_is_escalated_without_javascript(served: Any, tab: Any) -> None:
    served.post(webhook(alert("LinkDown", instance="sw-1"), key="l"))
    rings(served, "LinkDown")
    page = tab(java_script_enabled=False).page
    page.goto(served.url)
    page.get_by_role("link", name="LinkDown").click()
    expect(page.get_by_label("Who knows")).to_contain_text(re.compile(r"next: bob in \d+ min"))
    page.get_by_role("button", name="Escalate").click()
    page.get_by_role("button", name="alice").click()
    expect(page.locator("#done")).to_contain_text(re.compile("Escalat(ing to|ed:) bob"))
    expect(page.locator(".timeline")).to_contain_text("Passed on by alice on this page")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_tap_on_a_shift_tells_who_and_when(served: Any, tab: Any, width: Any) -> None:
    page = tab(width, java_script_enabled=False).page
    page.goto(served.url + "/oncall")
    page.locator("a.current[href^='#shift-1']:visible").click()
    before = page.evaluate("scrollY")
    told = page.locator(".sheet:target")
    expect(told).to_contain_text(
        re.compile(r"platform: (alice|bob)from \w{3} \d+ \w{3} 09:00 to .* 09:00 · 1 d")
    )
    told.get_by_role("link", name="OK").click()
    expect(told).to_have_count(0)
    assert page.evaluate("scrollY") == before, "the page stays where it was"


def test_the_sheet_of_a_long_name_can_be_closed_on_a_phone(tab: Any, tmp_path: Path) -> None:
    name = "christophe.delacroix-montgomery@engineering.example.net"
    rota = {"name": "rota", "rotations": [{"start": "2026-01-05T09:00", "every": "1d", "contacts": [name]}]}
    with Emulator().running() as emulator:
        people = [{"name": name, "phone": "+33639980001"}]
        receivers = [{"name": "ops", "notify": ["rota"]}]
        running = start(
            Files(tmp_path, emulator).write(contacts=people, schedules=[rota], receivers=receivers)
        )
        try:
            page = tab(360).page
            page.goto(running.url + "/oncall#shift-1-0")
            wide = "[...document.querySelectorAll('main *')].filter((one) => one.getBoundingClientRect().right > 361)"
            assert page.evaluate(f"{wide}.map((one) => one.outerHTML.slice(0, 90))") == []
            box = page.locator(".sheet:target").get_by_role("link", name="OK").bounding_box()
            assert box["x"] + box["width"] <= 360
        finally:
            running.stop()


def test_closing_asks_first(served: Any, tab: Any) -> None:
    served.post(webhook(alert("FanBroken", instance="sw-9"), key="fan"))
    rings(served, "FanBroken")
    watched = tab(java_script_enabled=False)
    watched.context.add_cookies([{"name": "notifier-me", "value": "alice", "url": served.url}])
    page = watched.page
    page.goto(served.url)
    page.get_by_role("link", name="FanBroken").click()
    page.locator("#more > summary").click()
    sure = page.get_by_role("button", name=re.compile(r"Close #\d+"))
    expect(sure).to_be_hidden()
    page.get_by_text("Close", exact=False).first.click()
    expect(page.locator(".sure")).to_contain_text("Nobody is paged for it any more.")
    sure.click()
    expect(page.locator("#done")).to_contain_text("It is closed.")


def test_where_labels_go_is_told(served: Any, tab: Any) -> None:
    page = tab().page
    page.goto(served.url + "/settings")
    assert "[secret]" in page.content()
    assert "secret-secret" not in page.content()
    assert "+33639980001" not in page.content()
    page.get_by_label("Labels of an alert").fill('alertname="DiskFull" severity="critical"')
    page.get_by_role("button", name="Show").click()
    expect(page.locator("blockquote").first).to_contain_text("critical DiskFull")
    page.get_by_label("Labels of an alert").fill('alertname="Watchdog"')
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("It is a sign of life of the heartbeat watchdog")).to_be_visible()
    page.get_by_label("Labels of an alert").fill("nonsense")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("alert")).to_contain_text("write alertname=")


def test_the_history_is_searched(served: Any, tab: Any) -> None:
    page = tab().page
    page.goto(served.url + "/messages")
    expect(page.locator("svg.chart")).to_be_visible()
    page.get_by_label("Text or person").fill("INSTANCEDOWN")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("ul.messages > li")).to_have_count(1)
    page.get_by_label("State").select_option("rejected")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("No messages found.")).to_be_visible()


def test_the_demo_from_the_first_alert_to_the_acknowledgement(
    tab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As who has just cloned it: the phone rings, they make OVHcloud fail, reply, and see who has it."""
    services, emulators = [], []
    real, emulating = Service, Emulator
    monkeypatch.setattr(demo, "Service", lambda file: services.append(real(file)) or services[-1])
    monkeypatch.setattr(demo, "Emulator", lambda *how: emulators.append(emulating(*how)) or emulators[-1])
    environment = dict(os.environ)
    thread = threading.Thread(target=demo.run, args=(0,), daemon=True)
    thread.start()
    try:
        deadline = threading.Event()
        for _ in range(200):
            if emulators and emulators[0].pages:
                break
            deadline.wait(0.05)
        emulator = emulators[0]
        page = tab(1280).page
        page.goto(f"http://127.0.0.1:{emulator.port}/phone")
        alice = page.get_by_label("Phone of alice")
        expect(alice).to_contain_text("FIRING #1 critical InstanceDown db-1")
        expect(alice).to_contain_text("1 part, 1 credit")
        page.get_by_role("button", name="Answers 500, once each").click()
        page.get_by_role("button", name="Fire a sample alert").click()
        expect(alice).to_contain_text("#2 critical InstanceDown db-2", timeout=30_000)
        alice.get_by_label("Reply of alice").fill("ack 2")
        alice.get_by_role("button", name="Reply").click()
        pages = tab().page
        pages.goto(emulator.pages)
        expect(pages.locator("li.card", has_text="#2")).to_contain_text("alice has it", timeout=20_000)
        bob = page.get_by_label("Phone of bob")
        expect(bob).to_contain_text("#1 critical InstanceDown", timeout=60_000)  # nobody has taken the first
        expect(bob).to_contain_text("critical alert number 1: InstanceDown")  # his phone rings
        bob.get_by_role("button", name="Answer and press 1").click()
        expect(pages.locator("li.card", has_text="#1")).to_contain_text("bob has it", timeout=20_000)
        pages.goto(emulator.pages + "/incidents/2")
        expect(pages.locator(".timeline")).to_contain_text("attempt failed: 500")
        expect(pages.locator(".timeline")).to_contain_text("delivered", timeout=20_000)
        pages.goto(emulator.pages)
        page.get_by_role("button", name="First account out of credits").click()
        for number in (3, 4):  # whose turn it is, the other sends
            page.get_by_role("button", name="Fire a sample alert").click()
            expect(alice).to_contain_text(f"#{number} critical InstanceDown db-{number}", timeout=30_000)
            expect(alice.locator(".sms", has_text=f"#{number}")).to_contain_text("by sms-emu12345-2")
        page.get_by_role("button", name="Clear all faults").click()
        page.get_by_role("button", name="Down for good").click()
        page.get_by_role("button", name="Fire a sample alert").click()
        inbox = page.get_by_label("Inbox")
        expect(inbox).to_contain_text("#5 critical InstanceDown db-5", timeout=40_000)
        page.screenshot(path=ARTEFACTS / "phones.png")
        pages.goto(inbox.locator("a", has_text="/i/").last.get_attribute("href"))
        pages.get_by_role("button", name="Acknowledge").click()
        expect(pages.locator("#done")).to_contain_text("You have it.")
        pages.goto(emulator.pages)
        page.get_by_role("button", name="Clear all faults").click()
        alice.get_by_role("button", name="Switch off").click()
        expect(alice.get_by_role("button", name="Switch on")).to_be_visible()
        expect(alice.get_by_label("Reply of alice")).to_be_disabled()
        page.get_by_role("button", name="Resolve all").click()
        expect(pages.get_by_label("Nobody has it")).not_to_contain_text("#5", timeout=20_000)
        for open_ in (page, pages):  # else they would say that they cannot connect any more
            open_.goto("about:blank")
    finally:
        services[-1].ask_to_stop()
        thread.join(30)
        os.environ.clear()
        os.environ.update(environment)
    assert not thread.is_alive()
