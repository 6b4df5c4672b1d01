"""The fixtures that tests share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifier.emulator import Emulation, Emulator
from notifier.store.engine import migrate
from notifier.store.sqlite import SQLite
from tests.support.clock import Hand
from tests.support.files import Files
from tests.support.pager import Pager
from tests.support.service import Phones, Running, start

OTHER = "sms-other-1"
"""The name of the second account."""


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator().running() as running:
        yield running


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose schema is up to date: to make one anew for each test takes longer than the test."""
    file = tmp_path_factory.mktemp("blank") / "notifier.db"
    migrate(SQLite(file))
    file.chmod(0o600)
    return file


@pytest.fixture
def engine_name() -> str:
    """The engine of the database; `both_engines` has a test run on each."""
    return "sqlite"


@pytest.fixture
def files(tmp_path: Path, emulator: Emulator, engine_name: str, request: pytest.FixtureRequest) -> Files:
    if engine_name == "postgresql":
        url = request.getfixturevalue("postgres")
        return Files(tmp_path, emulator, url.render_as_string(hide_password=False))
    shutil.copy(request.getfixturevalue("blank"), tmp_path / "notifier.db")
    return Files(tmp_path, emulator)


@pytest.fixture
def phones(emulator: Emulator) -> Phones:
    return Phones(emulator)


@pytest.fixture
def run() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def starting(file: Path, **how: Any) -> Running:
        started.append(start(file, **how))
        return started[-1]

    yield starting
    for running in started:
        if running.thread.is_alive():
            running.stop()


@pytest.fixture
def make(files: Files, hand: Hand) -> Iterator[Any]:
    made = []

    def making(**changes: Any) -> Any:
        made.append(Pager(files, hand, changes))
        return made[-1]

    yield making
    for pager in made:
        pager.close()


@pytest.fixture
def by_hand(emulator: Emulator, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    """OVHcloud's clock and ours are moved by the same hand."""
    emulator.emulation.clock = lambda: hand().timestamp()
    monkeypatch.setattr("notifier.ovh.client.time.time", lambda: hand().timestamp())


@pytest.fixture
def other() -> Iterator[Any]:
    with Emulator(Emulation(service_name=OTHER)).running() as running:
        yield running
