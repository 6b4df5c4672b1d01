"""The probes, metrics and reload that Prometheus' own programs have too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.health import Readiness
from notifier.metrics import Metrics
from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.web.access import AccessControl, Denial
from notifier.web.authentication import Identity


@dataclass(frozen=True)
class Probes:
    """The four paths. *reload* reloads for the user or token of that name, and returns the problem, if any."""

    current: Current
    access: AccessControl
    metrics: Metrics
    readiness: Callable[[], Readiness]
    reload: Callable[[str | None], Awaitable[str | None]]

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/metrics", self.exposition),
            Route("/-/healthy", self.healthy),
            Route("/-/ready", self.ready),
            Route("/-/reload", self.reloading, methods=["POST", "PUT"]),
        ]

    async def healthy(self, _: Request) -> Response:
        """Answer: the process runs."""
        return PlainTextResponse("Notifier is healthy.\n")

    async def ready(self, request: Request) -> Response:
        """Answer whether webhooks are accepted; to callers that may read, also what hinders paging."""
        now = self.readiness()
        state, status = ("ready", 200) if now.outage is None else ("not ready", 503)
        if await self.access.knows(request.scope, Permission.READ, self._origin):
            why = "." if now.outage is None else f": {now.outage}"
            rest = "".join(f"warning: {warning}\n" for warning in now.warnings)
        else:  # they may repeat what other servers answered
            why, count = ".", len(now.warnings)
            rest = (
                f"{count} warnings; show credentials with the permission read to see them\n" if count else ""
            )
        return PlainTextResponse(f"Notifier is {state}{why}\n{rest}", status)

    async def exposition(self, request: Request) -> Response:
        """Answer with the metrics."""
        if self.current.runtime.configuration.web.metrics_require_credentials or not self.access.is_guarded:
            caller = await self._admit(request, Permission.READ)
            if isinstance(caller, Response):
                return caller
        text = await asyncio.get_running_loop().run_in_executor(None, self.metrics.exposition)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def reloading(self, request: Request) -> Response:
        """Reload the configuration."""
        caller = await self._admit(request, Permission.ADMIN)
        if isinstance(caller, Response):
            return caller
        problems = await self.reload(caller.name)
        if problems is None:
            return PlainTextResponse("reloaded\n")
        return PlainTextResponse(f"not reloaded, the configuration in force stays:\n{problems}\n", 500)

    @property
    def _origin(self) -> str | None:
        return self.current.runtime.configuration.origin

    async def _admit(self, request: Request, permission: Permission) -> Identity | Response:
        """Return the caller, or the answer to one who may not do this."""
        caller = await self.access.admit(request.scope, permission, self._origin)
        if isinstance(caller, Denial):
            return PlainTextResponse(caller.text + "\n", caller.status, caller.headers)
        return caller
