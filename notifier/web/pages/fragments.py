"""The content of live pages, rendered once for all tabs that show the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import Executor

REFRESH = 2.0
"""Seconds for which rendered content is used again."""


class Fragments:
    """The newest rendering of each page that is kept current; belongs to one event loop."""

    def __init__(self, executor: Executor) -> None:
        """Have pages rendered by *executor*."""
        self._executor = executor
        self._made: dict[Hashable, tuple[float, asyncio.Future[str | None]]] = {}

    async def get(self, key: Hashable, render: Callable[[], str | None]) -> str | None:
        """Return what *render* gives for *key*, or gave less than `REFRESH` seconds ago."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for other in [other for other, (at, _) in self._made.items() if now - at >= REFRESH]:
            del self._made[other]
        if key not in self._made:
            self._made[key] = now, loop.run_in_executor(self._executor, render)
        return await asyncio.shield(self._made[key][1])
