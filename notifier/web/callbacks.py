"""Where OVHcloud calls back. A callback is a hint: an announced receipt or reply is fetched from OVHcloud before it is
used.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.runtime import Current

_SECONDS_BETWEEN_HINTS = 1.0


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The two URLs, which hold a secret since the calls carry no signature.

    Hints are passed on at most once a second, because each causes a call to OVHcloud.
    """

    current: Current
    on_receipt: Callable[[], None]
    on_reply: Callable[[], None]
    _due: dict[Callable[[], None], float] = field(default_factory=dict)
    """The time of the event loop at which each hint was last passed on, or will be."""

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/ovh/receipt/{secret}", partial(self._answer, self.on_receipt)),
            Route("/ovh/reply/{secret}", partial(self._answer, self.on_reply)),
        ]

    async def _answer(self, hint: Callable[[], None], request: Request) -> Response:
        accounts = self.current.runtime.configuration.accounts
        secrets = [one.callback_secret.get_secret_value() for one in accounts if one.callback_secret]
        given = str(request.path_params["secret"]).encode()
        matches = [hmac.compare_digest(given, secret.encode()) for secret in secrets]
        if not any(matches):
            return PlainTextResponse("Not Found", 404)
        self._pass_on(hint)
        return PlainTextResponse("ok")

    def _pass_on(self, hint: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        last = self._due.get(hint, float("-inf"))
        if last > loop.time():
            return  # one is about to be passed on
        self._due[hint] = max(loop.time(), last + _SECONDS_BETWEEN_HINTS)
        loop.call_at(self._due[hint], hint)
