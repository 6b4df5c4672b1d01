"""The page behind the link in a page: one incident, as the person paged sees it, without signing in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.incidents.links import ends_at, token_hash
from notifier.store.engine import StoreUnavailable
from notifier.store.links import StoredLink
from notifier.web.access import AccessControl
from notifier.web.origin import FOREIGN, is_foreign
from notifier.web.pages.context import Missing, PageContext, Reader, stranger
from notifier.web.pages.forms import Forms, read_fields, refused_form
from notifier.web.pages.incident import IncidentPage
from notifier.web.pages.rendering import HEADERS, Renderer

_BUTTONS = ("ack", "escalate", "note")


class LinkedPages:
    """Answers requests for links. Whoever has one can act: no cache and no search engine keeps an answer."""

    def __init__(
        self,
        context: PageContext,
        access: AccessControl,
        incident: IncidentPage,
        forms: Forms,
        renderer: Renderer,
        executor: Executor,
    ) -> None:
        """Show the page *incident*, with the buttons of *forms*, on the threads of *executor*."""
        self._context = context
        self._access = access
        self._incident = incident
        self._forms = forms
        self._renderer = renderer
        self._executor = executor

    def routes(self) -> list[Route]:
        """Return the paths of a link and of its buttons."""
        buttons = [
            Route(f"/i/{{token}}/{button}", self._button(button), methods=["POST"]) for button in _BUTTONS
        ]
        return [Route("/i/{token}", self._page, methods=["GET"]), *buttons]

    async def _page(self, request: Request) -> Response:
        return await self._answer(request, lambda link: self._shown(request, link))

    def _button(self, button: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            origin = self._context.current.runtime.configuration.origin
            if (refused := refused_form(request)) is not None:
                return refused
            if is_foreign(request.scope, origin):
                return PlainTextResponse(FOREIGN + "\n", 403, HEADERS)
            values = await read_fields(request)
            if isinstance(values, Response):
                return values
            return await self._answer(
                request,
                lambda link: self._forms.press_linked(request, link, button, values, self._reader(link)),
            )

        return answer

    async def _answer(self, request: Request, of_link: Callable[[StoredLink], Response]) -> Response:
        """Return the answer *of_link* to a request for a link, if that can be used."""
        hash_ = token_hash(request.path_params["token"])
        loop = asyncio.get_running_loop()
        try:
            link = await loop.run_in_executor(self._executor, self._context.store.links.get, hash_)
            if link is None:
                answer = self._unknown(request)
            else:
                answer = await loop.run_in_executor(self._executor, self._known, request, link, of_link)
        except StoreUnavailable as error:
            text = f"{error}. Try again, or reply to the SMS."
            answer = self._problem(request, 503, "The database is unavailable", text)
        except Missing as missing:
            answer = self._problem(request, 404, "Not found", str(missing))
        answer.headers.update({"cache-control": "no-store", "x-robots-tag": "noindex"})
        return answer

    def _unknown(self, request: Request) -> Response:
        if self._access.note_unknown_link(request.scope):
            answer = self._problem(
                request, 429, "Try again later", "Too many unknown links came from your network."
            )
            answer.headers["retry-after"] = "60"
            return answer
        return self._problem(
            request, 404, "This link is unknown", "Open it as it is in the page, to its last letter."
        )

    def _known(
        self, request: Request, link: StoredLink, of_link: Callable[[StoredLink], Response]
    ) -> Response:
        runtime = self._context.current.runtime
        if self._context.clock() >= ends_at(link.expires_at, link.resolved_at):
            why = "A link ends 48 hours after it was sent, or a day after its incident was resolved."
            return self._problem(request, 410, "This link has ended", why)
        if not runtime.configuration.links or link.contact not in runtime.contacts:
            return self._problem(request, 410, "This link has ended", "The configuration allows it no more.")
        return of_link(link)

    def _shown(self, request: Request, link: StoredLink) -> Response:
        path, done, reader = request.url.path, request.query_params.get("did", ""), self._reader(link)
        view = self._incident.view(link.incident_id, done, reader, link, path)
        return self._renderer.page(view, path, reader)

    def _reader(self, link: StoredLink) -> Reader:
        """Return the reader of *link*: the contact that received it."""
        return Reader(None, link.contact, self._context.language_of(link.contact))

    def _problem(self, request: Request, status: int, title: str, why: str) -> Response:
        way = "Sign in to see all incidents"
        return self._renderer.problem("/i/", status, title, why, "/", way, reader=stranger(request))
