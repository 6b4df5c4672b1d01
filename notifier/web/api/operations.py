"""An operation of the API: its input, its answer, and the way from a request to an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.store.engine import StoreUnavailable
from notifier.web.access import AccessControl, Denial
from notifier.web.api.inputs import InputError, parse_body, parse_query
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.web.origin import has_nul

_MAX_BODY = 64 * 1024

Handler = Callable[[Any, Request, Any], BaseModel]
"""A method of the routes: takes a request and the operation's input, returns the answer."""


class Refused(Exception):
    """A request that cannot be answered as asked: the status, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Operation:
    """A path and method of the API; its handler, which runs on a thread of its own, says the rest.

    Attributes:
        path: as Starlette writes it.
        handler: its docstring is the summary, its last parameter the query (GET) or the JSON body (POST).
        errors: the error statuses besides 401 and 503.
        method: GET or POST.
        permission: the permission that the caller needs.
    """

    path: str
    handler: Handler
    errors: tuple[int, ...]
    method: str = "GET"
    permission: Permission = Permission.READ

    @property
    def summary(self) -> str:
        """A short description, for the OpenAPI document."""
        return (self.handler.__doc__ or "").partition(".")[0]

    @property
    def models(self) -> tuple[type[BaseModel], type[BaseModel]]:
        """The models of the input and of the answer."""
        *_, takes, returns = get_type_hints(self.handler).values()
        return takes, returns


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Makes routes of operations: credentials first, then the input, then the handler, and every error as JSON."""

    access: AccessControl
    current: Current

    def route(self, operation: Operation, handlers: object) -> Route:
        """Return the route of *operation*, whose handler is a method of *handlers*."""
        takes, _ = operation.models

        def call(request: Request, body: bytes) -> Response:
            is_query = operation.method == "GET"
            given = parse_query(takes, request.query_params) if is_query else parse_body(takes, body)
            answer = operation.handler(handlers, request, given)
            return Response(answer.model_dump_json(), media_type="application/json")

        endpoint = self.guarded(call, operation.permission)
        return Route(operation.path, endpoint, methods=[operation.method])

    def guarded(
        self, call: Callable[[Request, bytes], Response], permission: Permission = Permission.READ
    ) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint that runs *call* with the body, for callers who have *permission*."""

        async def endpoint(request: Request) -> Response:
            own = self.current.runtime.configuration.origin
            caller = await self.access.admit(request.scope, permission, own)
            if isinstance(caller, Denial):
                return JSONResponse({"error": caller.text}, caller.status, caller.headers)
            if has_nul(request):
                return JSONResponse({"error": "the request contains a NUL character"}, 400)
            request.state.caller = caller
            try:
                body = await read_body(request.scope, request.receive, _MAX_BODY)
            except BodyTooLarge:
                return JSONResponse({"error": f"the body is larger than {_MAX_BODY} bytes"}, 413)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            return await in_thread(call, request, body)

        return endpoint


async def in_thread(call: Callable[..., Response], *arguments: Any) -> Response:
    """Return the answer of *call*, run on a thread; its errors as JSON."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)
    except InputError as error:
        return JSONResponse({"error": str(error)}, 400)
    except Refused as refused:
        return JSONResponse({"error": str(refused)}, refused.status)
    except StoreUnavailable as error:
        return JSONResponse({"error": f"the store is unavailable: {error}"}, 503)
