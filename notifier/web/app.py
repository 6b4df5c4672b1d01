"""The application: its paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.web.names import any_name
from notifier.web.webhook import WebhookEndpoint


def build(
    webhook: WebhookEndpoint,
    routes: Sequence[Route],
    missing: Callable[[Request, Exception], Awaitable[Response]],
) -> Starlette:
    """Return the application of *webhook* and *routes*; *missing* answers where there is no path."""
    alert = [Route(path, webhook, methods=["POST"]) for path in ("/alert", f"/alert/{any_name('receiver')}")]
    app = Starlette(routes=[*alert, *routes], exception_handlers={404: missing, 405: missing})
    app.router.redirect_slashes = False  # it would redirect to any Host, before credentials are asked for
    return app
