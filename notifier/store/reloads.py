"""Reloads of the configuration: the time, who requested it, and the errors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from notifier.ids import new_id
from notifier.store.database import Tables
from notifier.store.schema import reloads


@dataclass(frozen=True, slots=True)
class Reload:
    """A reload. *problem* is why it failed.

    *by* is the user or token that requested it, None for a signal, or if no credentials are required.
    """

    at: datetime
    by: str | None
    problem: str | None


class Reloads(Tables):
    """The reloads that were recorded."""

    def add(self, reload: Reload) -> Future[None]:
        """Record *reload*."""
        row = {"id": new_id(reload.at), "at": reload.at, "by": reload.by, "problem": reload.problem}

        def operation(connection: Connection) -> None:
            connection.execute(insert(reloads), row)

        return self._database.submit(operation)

    def latest(self, limit: int) -> Sequence[Reload]:
        """Return the last *limit* reloads, newest first."""
        columns = reloads.c.at, reloads.c.by, reloads.c.problem
        with self._database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(reloads.c.id.desc()).limit(limit)).all()
        return [Reload(row.at, row.by, row.problem) for row in rows]
