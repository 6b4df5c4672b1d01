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
        self._compiled: dict[tuple[str, int], tuple[str, list[str] | None]] = {}

    def __call__(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert *rows*, each with the values of all columns in order; return how many rows were changed."""
        changed = 0
        for start in range(0, len(rows), MAX_ROWS):
            chunk = rows[start : start + MAX_ROWS]
            statement, names = self._statement(connection, len(chunk))
            values = (value for row in chunk for value in row)
            given = tuple(values) if names is None else dict(zip(names, values, strict=True))
            changed += connection.exec_driver_sql(statement, given).rowcount
        return changed

    def _statement(self, connection: Connection, rows: int) -> tuple[str, list[str] | None]:
        """Return the statement for so many rows, and the names of its parameters where it goes by names."""
        key = (connection.dialect.name, rows)
        if key not in self._compiled:
            parameters: list[dict[str, Any]] = [
                {column: bindparam(f"{column}_{row}") for column in self._columns} for row in range(rows)
            ]
            compiled = self._build(parameters).compile(dialect=connection.dialect)
            names = [f"{column}_{row}" for row in range(rows) for column in self._columns]
            self._compiled[key] = str(compiled), None if compiled.positional else names
        return self._compiled[key]
