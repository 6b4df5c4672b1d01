"""Keeping open pages current: their content as server-sent events, whenever it changes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from functools import partial

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from notifier.web.pages.context import Reader
from notifier.web.pages.rendering import HEADERS

REFRESH = 2.0
"""Seconds for which rendered content is used again."""
_MAX_STREAMS = 64
_MAX_OF_ONE = 24
"""The maximum number of streams of one signed-in user."""
_KEEP_ALIVE = 15.0
"""Seconds without a change after which an event shows that the stream is alive."""


class _Stream(StreamingResponse):
    """An answer that reports its end, even if it never began."""

    def __init__(
        self, content: AsyncIterator[str], headers: dict[str, str], on_end: Callable[[], None]
    ) -> None:
        super().__init__(content, 200, headers, "text/event-stream")
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


class Live:
    """The streams of open pages; belongs to the event loop."""

    def __init__(
        self,
        refused: Callable[[Request], Awaitable[Response | None]],
        reader: Callable[[Request], Reader],
        render: Callable[[str, Reader], str | None],
        executor: Executor,
    ) -> None:
        """Prepare for streams.

        Args:
            refused: returns the refusal of a request; None if it is allowed.
            reader: returns who reads the page of a request.
            render: returns the content of the page at a path for a reader; None if there is none.
            executor: renders.
        """
        self._refused = refused
        self._reader = reader
        self._render = render
        self._executor = executor
        self._made: dict[tuple[str, Reader], tuple[float, asyncio.Future[str | None]]] = {}
        """The newest rendering of each page that is kept current, and when it began."""
        self._counts = Counter[str | None]()
        """How many streams are open, by user; None is nobody who signed in."""
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End all streams, which would last as long as their readers like."""
        self._ending.set()

    async def answer(self, request: Request) -> Response:
        """Return the content of the page at the parameter ``path``, whenever it has changed."""
        if (refused := await self._refused(request)) is not None:
            return refused
        user = self._reader(request).user
        is_full = user is not None and self._counts[user] >= _MAX_OF_ONE
        if is_full or self._counts.total() >= _MAX_STREAMS:
            text = "too many pages are open, so this one does not update itself: close others, or reload it\n"
            return PlainTextResponse(text, 503)
        self._counts[user] += 1
        headers = {**HEADERS, "x-accel-buffering": "no"}
        return _Stream(self._stream(request), headers, partial(self._count_out, user))

    def _count_out(self, user: str | None) -> None:
        self._counts[user] -= 1
        self._counts += Counter()  # forgets who has none

    async def _rendered(self, path: str, reader: Reader) -> str | None:
        """Return the content of a page, rendered once for all tabs that show the same."""
        loop, key = asyncio.get_running_loop(), (path, reader)
        now = loop.time()
        self._made = {one: made for one, made in self._made.items() if now - made[0] < REFRESH}
        if key not in self._made:
            self._made[key] = now, loop.run_in_executor(self._executor, self._render, path, reader)
        return await asyncio.shield(self._made[key][1])

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        last, silent = None, 0.0
        path = request.query_params.get("path", "/")
        while not self._ending.is_set() and not await request.is_disconnected():
            if await self._refused(request) is not None:  # its credentials are no longer good
                return
            reader = self._reader(request)
            text = await self._rendered(path, reader)
            if text is None:
                yield "event: gone\ndata: there is no such page any more\n\n"
                return
            if text != last:  # at first, too: it may have changed since the page was made
                yield "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
                silent = 0.0
            elif silent >= _KEEP_ALIVE:
                yield "event: alive\ndata:\n\n"
                silent = 0.0
            last, silent = text, silent + REFRESH
            try:
                await asyncio.wait_for(self._ending.wait(), REFRESH)
            except TimeoutError:
                continue
