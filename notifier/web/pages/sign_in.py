"""Signing in and out, on a page of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from notifier.web.access import AccessControl, Denial
from notifier.web.origin import FOREIGN, is_foreign
from notifier.web.pages.context import ME, PageContext, View, stranger
from notifier.web.pages.forms import read_fields, refused_form
from notifier.web.pages.rendering import HEADERS, Renderer
from notifier.web.sessions import COOKIES, VALID_FOR

_OWN_PATH = re.compile(r"/(?![/\\])[^\\\s\x00-\x1f]*")
"""A path of ours: with two slashes, it would be the address of another site."""


@dataclass(frozen=True, slots=True)
class SignInView(View):
    """Asks for a name and a password, and goes on to the path *following*."""

    template: ClassVar[str] = "sign_in.html"
    following: str
    problem: str | None

    @property
    def has_menu(self) -> bool:
        """Whether links to the other pages are shown."""
        return False


class SignIn:
    """The page on which people sign in, and the button that signs out."""

    def __init__(self, context: PageContext, access: AccessControl, renderer: Renderer) -> None:
        """Sign in by *access*."""
        self._context = context
        self._access = access
        self._renderer = renderer

    def routes(self) -> list[Route]:
        """Return the paths."""
        return [
            Route("/login", self._show, methods=["GET"]),
            Route("/login", self._sign_in, methods=["POST"]),
            Route("/logout", self._sign_out, methods=["POST"]),
        ]

    def page(self, request: Request, status: int, following: str, problem: str | None = None) -> Response:
        """Return the page as an answer to *request*, with the *problem* that led there."""
        view = SignInView(following, problem)
        answer = self._renderer.page(view, "/login", stranger(request), status)
        answer.headers["cache-control"] = "no-store"
        if status == 401:
            answer.headers["www-authenticate"] = (
                'Bearer realm="notifier"'  # with Basic, browsers ask by themselves
            )
        return answer

    async def _show(self, request: Request) -> Response:
        return self.page(request, 200, own_path(request.query_params.get("next", "")))

    async def _sign_in(self, request: Request) -> Response:
        if (refused := refused_form(request)) is not None:
            return refused
        values = await read_fields(request)
        if isinstance(values, Response):
            return values
        own, following = self._context.current.runtime.configuration.origin, own_path(values.get("next", ""))
        name, password = values.get("name", ""), values.get("password", "")
        session = await self._access.sign_in(request.scope, name, password, own)
        if isinstance(session, Denial):
            is_wrong = session.status == 401
            problem = "The name or the password is wrong." if is_wrong else session.text
            return self.page(request, session.status, following, problem)
        answer = RedirectResponse(following, 303, HEADERS)
        is_secure = self._context.is_secure(request)
        answer.set_cookie(
            COOKIES[0] if is_secure else COOKIES[1],
            session,
            max_age=int(VALID_FOR.total_seconds()),
            secure=is_secure,
            httponly=True,
            samesite="lax",  # strict would ask again whoever follows a link in a chat
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        if (refused := refused_form(request)) is not None:
            return refused
        if is_foreign(request.scope, self._context.current.runtime.configuration.origin):
            return PlainTextResponse(FOREIGN + "\n", 403, HEADERS)
        answer = RedirectResponse("/login", 303, HEADERS)
        for name in (*COOKIES, ME):
            answer.delete_cookie(name, secure=name.startswith("__Host-"), httponly=True)
        return answer


def own_path(path: str) -> str:
    """Return *path* if it is one of ours, else that of the first page."""
    is_own = _OWN_PATH.fullmatch(path) and not path.startswith(("/login", "/logout"))
    return path if is_own else "/"
