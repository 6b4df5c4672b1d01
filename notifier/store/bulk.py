"""Inserting many rows with one statement, at the cost of little more than the driver's own.

SQLAlchemy compiles an ``INSERT`` of many rows anew each time, or runs it once a row. Here it is compiled
once for each number of rows and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam

MAX_ROWS = 64


class BulkInsert:
    """An insert into a table of any number of rows, `MAX_ROWS` to a statement."""

    def __init__(self, table: Table, build: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Prepare to insert into *table*; *build* makes the statement from the parameters of its rows.

        The statement may have no other parameters than those.
        """
        self._columns = [column.name for column in table.columns]
        self._build = build
        self._compiled: dict[tuple[str, int], str] = {}

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert *rows*, each with the values of all columns in order; return how many rows were changed."""
        changed = 0
        for start in range(0, len(rows), MAX_ROWS):
            chunk = rows[start : start + MAX_ROWS]
            values = tuple(value for row in chunk for value in row)
            changed += connection.exec_driver_sql(self._statement(connection, len(chunk)), values).rowcount
        return changed

    def _statement(self, connection: Connection, rows: int) -> str:
        key = (connection.dialect.name, rows)
        if key not in self._compiled:
            parameters: list[dict[str, Any]] = [
                {column: bindparam(f"{column}_{row}") for column in self._columns} for row in range(rows)
            ]
            self._compiled[key] = str(self._build(parameters).compile(dialect=connection.dialect))
        return self._compiled[key]
