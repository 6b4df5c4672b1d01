"""The application: its paths, and the probes, metrics and reload that Prometheus' own programs have too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.health import Readiness
from notifier.metrics import Metrics
from notifier.permissions import Permission
from notifier.web.access import AccessControl, Denial
from notifier.web.callbacks import Callbacks
from notifier.web.names import any_name
from notifier.web.webhook import WebhookEndpoint


def build(
    *,
    webhook: WebhookEndpoint,
    access: AccessControl,
    metrics: Metrics,
    readiness: Callable[[], Readiness],
    reload: Callable[[str | None], Awaitable[str | None]],
    api: Sequence[Route],
    callbacks: Callbacks,
    pages: Sequence[Route],
    missing: Callable[[Request, Exception], Awaitable[Response]],
    origin: Callable[[], str | None],
    protects_metrics: Callable[[], bool],
) -> Starlette:
    """Return the application.

    *reload* reloads the configuration for the user or token of that name, and returns the problem, if any.
    *missing* answers where there is no path. *protects_metrics* returns whether `/metrics` requires credentials.
    """

    async def healthy(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse("Notifier is healthy.\n")

    async def ready(request: Request) -> Response:
        now = readiness()
        state, status = ("ready", 200) if now.outage is None else ("not ready", 503)
        if await access.knows(request.scope, Permission.READ, origin()):
            why = "." if now.outage is None else f": {now.outage}"
            rest = "".join(f"warning: {warning}\n" for warning in now.warnings)
        else:  # they may repeat what other servers answered
            why, count = ".", len(now.warnings)
            rest = (
                f"{count} warnings; show credentials with the permission read to see them\n" if count else ""
            )
        return PlainTextResponse(f"Notifier is {state}{why}\n{rest}", status)

    async def exposition(request: Request) -> Response:
        if protects_metrics() or not access.is_guarded:
            caller = await access.admit(request.scope, Permission.READ, origin())
            if isinstance(caller, Denial):
                return PlainTextResponse(caller.text + "\n", caller.status, caller.headers)
        text = await asyncio.get_running_loop().run_in_executor(None, metrics.exposition)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def reloading(request: Request) -> Response:
        caller = await access.admit(request.scope, Permission.ADMIN, origin())
        if isinstance(caller, Denial):
            return PlainTextResponse(caller.text + "\n", caller.status, caller.headers)
        problems = await reload(caller.name)
        if problems is None:
            return PlainTextResponse("reloaded\n")
        return PlainTextResponse(f"not reloaded, the configuration in force stays:\n{problems}\n", 500)

    app = Starlette(
        routes=[
            Route("/alert", webhook, methods=["POST"]),
            Route(f"/alert/{any_name('receiver')}", webhook, methods=["POST"]),
            Route("/metrics", exposition),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/-/reload", reloading, methods=["POST", "PUT"]),
            *callbacks.routes(),
            *api,
            *pages,
        ],
        exception_handlers={404: missing, 405: missing},
    )
    app.router.redirect_slashes = False  # it would redirect to any Host, before credentials are asked for
    return app
