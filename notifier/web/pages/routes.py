"""The paths of the pages, who may see them, and on which threads they are rendered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from notifier.permissions import Permission
from notifier.store.engine import StoreUnavailable
from notifier.web.access import AccessControl, Denial
from notifier.web.origin import has_nul, is_from_a_page
from notifier.web.pages.choice import ChoiceView
from notifier.web.pages.context import Missing, PageContext, Reader, View, stranger
from notifier.web.pages.delivery_status import current_status
from notifier.web.pages.forms import Forms, read_fields, refused_form
from notifier.web.pages.home import HomePage
from notifier.web.pages.incident import IncidentPage
from notifier.web.pages.links import LinkedPages
from notifier.web.pages.live import Live
from notifier.web.pages.messages import MessagesPage
from notifier.web.pages.on_call import on_call_view
from notifier.web.pages.rendering import HEADERS, ProblemView, Renderer
from notifier.web.pages.settings import settings_view
from notifier.web.pages.sign_in import SignIn, own_path
from notifier.web.sessions import COOKIES
from notifier.workers.actions import Actions
from notifier.workers.backpressure import Backpressure

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
}
_FILES = {file.name: _TYPES[file.suffix] for file in _STATIC.iterdir()}
_BUTTONS = ("ack", "close", "escalate", "silence", "note")
_UNAVAILABLE = "The database is unavailable"


class Pages:
    """The pages. They are rendered on threads of their own, so that calls of the API do not wait for them."""

    def __init__(
        self, context: PageContext, actions: Actions, access: AccessControl, backpressure: Backpressure
    ) -> None:
        """Prepare the pages.

        Args:
            context: what they read.
            actions: performs the actions of people.
            access: admits readers.
            backpressure: limits live updates while webhooks arrive.
        """
        self._context = context
        self._access = access
        self._backpressure = backpressure
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="pages")
        self._acting = ThreadPoolExecutor(2, thread_name_prefix="buttons")
        """Threads of their own: a silence waits for Alertmanager."""
        self._renderer = Renderer(context)
        self.home = HomePage(context)
        self.incident = IncidentPage(context)
        self.messages = MessagesPage(context)
        self._forms = Forms(context, actions, self._renderer)
        self._sign_in = SignIn(context, access, self._renderer)
        self._links = LinkedPages(context, access, self.incident, self._forms, self._renderer, self._executor)
        self._live = Live(self._refused, context.reader, self._fragment, self._executor)

    def routes(self) -> list[Route]:
        """Return the paths of the pages, and of their stylesheet, scripts and icons."""
        return [
            Route("/", self._page(self._home_view), methods=["GET"]),
            Route("/incidents/{id}", self._page(self._incident_view), methods=["GET"]),
            # A browser that was restored asks for the address of a form.
            Route("/incidents/acknowledge", _led_to("/"), methods=["GET"]),
            *(
                Route(f"/incidents/{{id}}/{button}", _led_to("../{id}"), methods=["GET"])
                for button in _BUTTONS
            ),
            *(
                Route(f"/incidents/{{id}}/{button}", self._form(button), methods=["POST"])
                for button in _BUTTONS
            ),
            Route("/incidents/acknowledge", self._form("all"), methods=["POST"]),
            *self._links.routes(),
            *self._sign_in.routes(),
            Route("/oncall", self._page(self._on_call_view), methods=["GET"]),
            Route("/messages", self._page(self._messages_view), methods=["GET"]),
            Route("/settings", self._page(self._settings_view), methods=["GET"]),
            Route("/settings/test", self._send_test, methods=["POST"]),
            Route("/who", self._page(self._choice_view), methods=["GET"]),
            Route("/who", self._choose, methods=["POST"]),
            Route("/live", self._live.answer, methods=["GET"]),
            Route("/static/{name}", self._static, methods=["GET"]),
        ]

    def start(self) -> None:
        """Count the messages of the chart before anybody asks: of a million messages, that takes a while."""
        self._executor.submit(self.messages.counts, self._context.clock())

    async def missing(self, request: Request, error: Exception) -> Response:
        """Return the answer where there is no path, or not for this method: a page for people, text for programs."""
        status, text = (
            (error.status_code, error.detail) if isinstance(error, HTTPException) else (404, "Not Found")
        )
        headers = error.headers if isinstance(error, HTTPException) else None
        if "text/html" not in request.headers.get("accept", ""):
            return PlainTextResponse(text, status, headers)
        reader = self._context.outsider(request)
        return self._renderer.problem(request.url.path, status, text, "", reader=reader)

    def end_streams(self) -> None:
        """End the streams of open pages."""
        self._live.end()

    def stop(self) -> None:
        """Stop the threads that render; no page can be rendered any more."""
        self._executor.shutdown(wait=False)
        self._acting.shutdown(wait=False)

    # answers

    async def _refused(self, request: Request, permission: Permission = Permission.READ) -> Response | None:
        """Return the refusal of a request; None if it is allowed (then ``request.state.caller`` is set)."""
        configuration = self._context.current.runtime.configuration
        caller = await self._access.admit(request.scope, permission, configuration.origin)
        if not isinstance(caller, Denial):
            request.state.caller = caller
            return None
        text, has_users = caller.text, configuration.web.users or configuration.web.basic_auth_users
        if caller.status == 401 and not has_users and configuration.web.proxy_auth is not None:
            text = (
                "sign in through the proxy; this address is not in web.proxy_auth.from, or no user is named"
            )
        elif caller.status == 401 and not has_users:
            text = "pages need a name and a password; add some under web.users"
        elif caller.status == 401 and "authorization" not in request.headers and request.url.path != "/live":
            following = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
            if request.method == "GET":
                return self._sign_in.page(request, 401, own_path(following))
            page = own_path(request.url.path.rpartition("/")[0] or "/")
            return self._sign_in.page(request, 401, page, "You were signed out. Nothing was done.")
        if request.url.path == "/live":  # with Basic, the browser of an open page would ask by a prompt
            headers = (
                {**caller.headers, "www-authenticate": 'Bearer realm="notifier"'} if caller.headers else {}
            )
            return PlainTextResponse(text + "\n", caller.status, {**headers, **HEADERS})
        if caller.status == 403 and is_from_a_page(request.scope):
            return self._renderer.problem(
                request.url.path, 403, "Not allowed", text, reader=stranger(request)
            )
        return PlainTextResponse(text + "\n", caller.status, {**caller.headers, **HEADERS})

    def _page(self, view: Callable[[Request, Reader], View]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if (refused := await self._refused(request)) is not None:
                return refused
            if has_nul(request):
                text = "The address contains a NUL character."
                return self._renderer.problem(
                    request.url.path, 400, "Not found", text, reader=stranger(request)
                )
            return await self._in_thread(lambda: self._rendered(request, view))

        return answer

    async def _in_thread(self, call: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def _act(self, call: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._acting, call)

    def _rendered(self, request: Request, view: Callable[[Request, Reader], View]) -> Response:
        path, query, reader = request.url.path, request.url.query, self._context.reader(request)
        try:
            shown, delivery = (
                view(request, reader),
                current_status(self._context, self._context.viewer(reader)),
            )
            return self._renderer.page(shown, path, reader, query=query, delivery=delivery)
        except Missing as missing:
            return self._renderer.problem(path, 404, "Not found", str(missing), reader=reader)
        except StoreUnavailable as error:
            text = f"{error}. Webhooks are refused until it is back, so that Alertmanager keeps them."
            return self._renderer.problem(path, 503, _UNAVAILABLE, text, reader=reader)

    def _form(self, button: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            values = await self._fields(request, Permission.ACT)
            if isinstance(values, Response):
                return values
            return await self._act(lambda: self._forms.press(request, button, values))

        return answer

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _FILES:
            return PlainTextResponse("Not Found", 404)
        return FileResponse(_STATIC / name, media_type=_FILES[name], headers={"cache-control": "no-cache"})

    async def _fields(self, request: Request, permission: Permission) -> dict[str, str] | Response:
        """Return the fields of a form that takes *permission*, or why it is refused."""
        if (refused := refused_form(request)) is not None:
            return refused
        if (refused := await self._refused(request, permission)) is not None:
            return refused
        if request.state.caller.token is not None:
            return PlainTextResponse("forms are for people; programs use the API\n", 403, HEADERS)
        return await read_fields(request)

    async def _send_test(self, request: Request) -> Response:
        """Send a test to the contact who reads the settings."""
        values = await self._fields(request, Permission.SEND)
        if isinstance(values, Response):
            return values
        return await self._act(lambda: self._forms.send_test(request))

    async def _choose(self, request: Request) -> Response:
        """Remember who acts in this browser."""
        values = await self._fields(request, Permission.READ)
        if isinstance(values, Response):
            return values
        answer = RedirectResponse("/", 303, HEADERS)
        if values.get("by") in self._context.people(request.state.caller.user):
            self._forms.remember(request, answer, values["by"])
        return answer

    # the views of the pages

    def _home_view(self, request: Request, reader: Reader) -> View:
        query = request.query_params
        done, number = query.get("did", ""), query.get("number", "")
        return self.home.view(reader, is_whole="all" in query, done=done, number=number)

    def _incident_view(self, request: Request, reader: Reader) -> View:
        done = request.query_params.get("did", "")
        return self.incident.view(str(request.path_params["id"]), done, reader)

    def _on_call_view(self, request: Request, reader: Reader) -> View:
        query = request.query_params
        base_url = self._base_url(request)
        return on_call_view(self._context, reader, query.get("week", ""), query.get("calendar", ""), base_url)

    def _messages_view(self, request: Request, reader: Reader) -> View:
        return self.messages.view(request.query_params, reader)

    def _settings_view(self, request: Request, reader: Reader) -> View:
        query = request.query_params
        labels, sent = query.get("labels", "")[:4000], query.get("sent", "")
        return settings_view(self._context, reader, labels, self._base_url(request), sent)

    def _base_url(self, request: Request) -> str:
        return self._context.current.runtime.configuration.global_.external_url or str(request.base_url)

    def _choice_view(self, request: Request, reader: Reader) -> View:
        people, can_sign_out = (
            self._context.choices(reader.user),
            any(name in request.cookies for name in COOKIES),
        )
        return ChoiceView("/who", (), people, reader.name, reader.user, can_sign_out=can_sign_out)

    def _fragment(self, path_and_query: str, reader: Reader) -> str | None:
        """Return the content of the page of that path; None if there is none that is kept current."""
        path, _, query = path_and_query.partition("?")
        given = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
        delivery = None
        with self._backpressure.limited_share():
            try:
                if path == "/":
                    done, number = given.get("did", ""), given.get("number", "")
                    view: View = self.home.view(reader, is_whole="all" in given, done=done, number=number)
                elif path.startswith("/incidents/") and "\0" not in path:
                    view = self.incident.view(path.removeprefix("/incidents/"), given.get("did", ""), reader)
                else:
                    return None
                delivery = current_status(self._context, self._context.viewer(reader))
            except StoreUnavailable as error:
                view = ProblemView(_UNAVAILABLE, str(error))
            except Missing:
                return None
            return self._renderer.fragment(view, path, reader, delivery)


def _led_to(page: str) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that leads to *page*, relative to its own path, in which ``{id}`` is that of the path."""

    async def answer(request: Request) -> Response:
        target = page.replace("{id}", quote(str(request.path_params.get("id", "")), safe=""))
        return RedirectResponse(target, 303, HEADERS)

    return answer
