"""The pages for people, rendered here; a little JavaScript keeps some of them current."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from notifier import __version__
from notifier.alertmanager import Webhook
from notifier.clock import Clock
from notifier.durations import format_duration
from notifier.heartbeats import SEEN, beats
from notifier.ids import first_id
from notifier.incidents import Incident, IncidentState
from notifier.logs import Redaction
from notifier.matchers import MatcherError, parse_label
from notifier.paging.account import AccountWatch
from notifier.paging.desk import Desk, Verdict, Via
from notifier.paging.planning import divide, preview, receiver_of
from notifier.phones import mask
from notifier.routing import RECEIVER_LABEL
from notifier.runtime import Current
from notifier.store.engine import StoreUnavailable
from notifier.store.ledger import LedgerMessage
from notifier.store.schema import MessageState
from notifier.store.store import Store
from notifier.web import views
from notifier.web.app import Readiness
from notifier.web.gate import FOREIGN, Gate, has_nul, is_from_a_page
from notifier.web.views import Viewer

_SITE = Path(__file__).parent / "site"
_STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MOST_INCIDENTS = 50
_MOST_MESSAGES = 50
_RATE_OVER = timedelta(days=7)
_MAX_FORM = 4096
_MAX_STREAMS = 64
_REFRESH = 2.0
"""Seconds between two looks whether a page has changed."""
_KEEP_ALIVE = 15.0
_ME = "notifier-me"
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
_SAID = {
    "ack": "You have it. The others who were paged are told.",
    "escalate": "The next step is being taken.",
    "resolved": "It was over already.",
    "exhausted": "There is no further step: everybody was paged.",
}

Page = tuple[str, dict[str, Any]]
"""The file of a template, and what it shows."""


class _Missing(Exception):
    """There is no such page; the text says what is missing."""


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_SITE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@dataclass
class Pages:
    """The handlers, and what they ask."""

    store: Store
    current: Current
    desk: Desk
    gate: Gate
    clock: Clock
    account: AccountWatch
    readiness: Callable[[], Readiness]
    redaction: Redaction
    _environment: Environment = field(default_factory=_environment)
    _streams: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def routes(self) -> list[Route]:
        """Return the paths of the pages, and of what they are made of."""
        return [
            Route("/", self._page(self.home), methods=["GET"]),
            Route("/incidents/{id}", self._page(self.incident), methods=["GET"]),
            Route("/incidents/{id}/ack", self._form(self.acknowledge), methods=["POST"]),
            Route("/incidents/{id}/escalate", self._form(self.escalate), methods=["POST"]),
            Route("/oncall", self._page(self.on_call), methods=["GET"]),
            Route("/messages", self._page(self.messages), methods=["GET"]),
            Route("/config", self._page(self.configuration), methods=["GET"]),
            Route("/live", self.live, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]

    def stop(self) -> None:
        """End the streams, which would last as long as their readers like."""
        self._stopping.set()

    # how a page is answered

    async def _refused(self, request: Request) -> Response | None:
        if refusal := self.gate.refusal(request.scope, self.current.runtime.configuration.origin):
            return PlainTextResponse(refusal + "\n", 403, _HEADERS)
        if await self.gate.admits(request.scope):
            return None
        text = "give the right name and password\n"
        if not self.current.runtime.configuration.web.basic_auth_users:
            text = "pages need a name and a password; add some under web.basic_auth_users\n"
        return PlainTextResponse(text, 401, {"www-authenticate": 'Basic realm="notifier"', **_HEADERS})

    def _page(self, view: Callable[[Request], Page]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if (refused := await self._refused(request)) is not None:
                return refused
            if has_nul(request):
                return self._problem(request, 400, "Not found", "NUL is in no name and no text.")
            return await self._in_thread(lambda: self._answer(request, view))

        return answer

    @staticmethod
    async def _in_thread(call: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(None, call)

    def _answer(self, request: Request, view: Callable[[Request], Page]) -> Response:
        try:
            name, values = view(request)
        except _Missing as missing:
            return self._problem(request, 404, "Not found", str(missing))
        except StoreUnavailable as error:
            message = f"{error}. Webhooks are refused until it can be had, so that Alertmanager keeps them."
            return self._problem(request, 503, "The database cannot be had", message)
        text = self._rendered("base.html", name, values, request.url.path)
        return Response(text, 200, _HEADERS, "text/html; charset=utf-8")

    def _problem(self, request: Request, status: int, title: str, message: str) -> Response:
        values = {"title": title, "message": message}
        text = self._rendered("base.html", "problem.html", values, request.url.path)
        return Response(text, status, _HEADERS, "text/html; charset=utf-8")

    def _rendered(self, base: str, name: str, values: Mapping[str, Any], path: str) -> str:
        general = {
            "base": base,
            "here": path,
            "is_live": name in ("home.html", "incident.html"),
            "version": __version__,
            "zone": str(self.current.runtime.configuration.global_.time_zone),
        }
        return self._environment.get_template(name).render({**general, **values})

    def _viewer(self) -> Viewer:
        return Viewer(self.current.runtime.configuration.global_.time_zone, self.clock())

    async def static(self, request: Request) -> Response:
        """Return a file that pages are made of."""
        name = request.path_params["name"]
        if name not in _STATIC:
            return PlainTextResponse("Not Found", 404)
        headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
        return FileResponse(_SITE / name, media_type=_STATIC[name], headers=headers)

    # keeping a page current

    async def live(self, request: Request) -> Response:
        """Return the content of the page at ``path`` whenever it has changed, as server-sent events."""
        if (refused := await self._refused(request)) is not None:
            return refused
        if self._streams >= _MAX_STREAMS:
            return PlainTextResponse("too many pages are open; this one is not updated by itself\n", 503)
        headers = {**_HEADERS, "x-accel-buffering": "no"}
        return StreamingResponse(self._stream(request), 200, headers, "text/event-stream")

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        self._streams += 1
        try:
            last, silent = None, 0.0
            while not self._stopping.is_set() and not await request.is_disconnected():
                text = await asyncio.get_running_loop().run_in_executor(None, self._fragment, request)
                if text is None:
                    return
                if text != last:  # at first, too: it may have changed since the page was made
                    yield "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
                    silent = 0.0
                elif silent >= _KEEP_ALIVE:
                    yield ": here\n\n"
                    silent = 0.0
                last, silent = text, silent + _REFRESH
                try:
                    await asyncio.wait_for(self._stopping.wait(), _REFRESH)
                except TimeoutError:
                    continue
        finally:
            self._streams -= 1

    def _fragment(self, request: Request) -> str | None:
        path, _, query = request.query_params.get("path", "/").partition("?")
        said = parse_qs(query).get("said", [""])[0]
        try:
            if path == "/":
                name, values = self.home(request)
            elif path.startswith("/incidents/"):
                name, values = self._incident_page(path.removeprefix("/incidents/"), said, request)
            else:
                return None
        except StoreUnavailable as error:
            name, values = "problem.html", {"title": "The database cannot be had", "message": str(error)}
        except _Missing:
            return None
        return self._rendered("bare.html", name, values, path)

    # now

    def home(self, request: Request) -> Page:  # noqa: ARG002
        """Return who is on call, what fires, and whether pages go out."""
        viewer, runtime = self._viewer(), self.current.runtime
        unresolved = [IncidentState.OPEN, IncidentState.ACKNOWLEDGED]
        found = self.store.incidents.page(_MOST_INCIDENTS + 1, None, unresolved)
        queue, ready = self.store.queue(), self.readiness()
        spent = self.store.ledger.credits_by_account(viewer.now - _RATE_OVER)
        schedules = []
        for schedule in runtime.rota.schedules.values():
            shift = schedule.at(viewer.now)
            following = schedule.on_call(shift.end)
            schedules.append(
                {
                    "schedule": schedule.name,
                    "contact": shift.contact,
                    "until": viewer.moment(shift.end),
                    "following": following,
                }
            )
        seen = self.store.marks.all(SEEN)
        accounts = [
            {
                "name": name,
                "credits": left,
                "days": views.lasts(left, spent.get(api.account_name, 0), _RATE_OVER),
            }
            for name, api in runtime.apis.items()
            for left in [self.account.credits.get(name)]
        ]
        return "home.html", {
            "incidents": [views.shown(one, viewer) for one in found[:_MOST_INCIDENTS]],
            "more": len(found) > _MOST_INCIDENTS,
            "schedules": schedules,
            "outage": ready.outage,
            "warnings": ready.warnings,
            "accounts": accounts,
            "waiting": sum(queue.messages.values()) + queue.unplanned,
            "oldest": viewer.maybe(queue.oldest),
            "replicas": self.store.members.count() if self.store.backend.is_shared else 1,
            "heartbeats": [
                {
                    "name": one.name,
                    "seen": viewer.maybe(seen.get(one.name)),
                    "timeout": format_duration(one.timeout),
                    "is_late": one.name in seen and viewer.now - seen[one.name] > one.timeout,
                }
                for one in runtime.configuration.heartbeats
            ],
        }

    # one incident

    def incident(self, request: Request) -> Page:
        """Return all of one incident."""
        said = request.query_params.get("said", "")
        return self._incident_page(str(request.path_params["id"]), said, request)

    def _found(self, given: str) -> Incident:
        incident = self.store.incidents.named(given)
        if incident is None:
            raise _Missing(f'There is no incident "{given[:40]}"; it may be older than storage.retention.')
        return incident

    def _incident_page(self, given: str, said: str, request: Request) -> Page:
        incident, viewer, runtime = self._found(given), self._viewer(), self.current.runtime
        told = self.store.ledger.page(200, incident_id=incident.id)
        policy = runtime.policy(receiver_of(runtime, incident))
        coming = []
        if incident.state is IncidentState.OPEN and incident.due_at is not None:
            step = policy.steps[min(incident.step, len(policy.steps) - 1)]
            whom = [one.name or mask(one.phone) for one in runtime.recipients(step.notify, incident.due_at)]
            at = viewer.moment(incident.due_at)
            coming.append(
                {"at": at, "whom": ", ".join(whom) or "nobody who is on call, so the step after it,"}
            )
        return "incident.html", {
            "one": views.shown(incident, viewer),
            "entries": views.story(
                self.store.incidents.history(incident.id),
                told,
                viewer,
                {m.phone: mask(m.phone) for m in told},
                self.redaction.hide,
            ),
            "coming": coming,
            "can_escalate": incident.step < len(policy.steps),
            "people": [contact.name for contact in runtime.configuration.contacts],
            "user": self.gate.user(request),
            "me": unquote(request.cookies.get(_ME, "")),
            "said": _SAID.get(said),
        }

    # what people do on it

    def _form(self, act: Callable[[Incident, str], str]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not is_from_a_page(request.scope):
                return PlainTextResponse(FOREIGN + "\n", 403, _HEADERS)
            if (refused := await self._refused(request)) is not None:
                return refused
            body = bytearray()
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    return PlainTextResponse("the form is too large\n", 413, _HEADERS)
            values = parse_qs(body.decode("utf-8", "replace"))
            by = self.gate.user(request) or (values.get("by") or [""])[0]
            return await self._in_thread(lambda: self._done(request, by, act))

        return answer

    def _done(self, request: Request, by: str, act: Callable[[Incident, str], str]) -> Response:
        known = [contact.name for contact in self.current.runtime.configuration.contacts]
        if by not in known and (not by or by != self.gate.user(request)):
            message = "Go back and choose who you are: the others are told who has it."
            return self._problem(request, 400, "Who are you?", message)
        try:
            incident = self._found(str(request.path_params["id"]))
            said = act(incident, by)
        except _Missing as missing:
            return self._problem(request, 404, "Not found", str(missing))
        except StoreUnavailable as error:
            message = f"{error}. Nothing was done; try again, or reply to the SMS."
            return self._problem(request, 503, "The database cannot be had", message)
        answer = RedirectResponse(f"/incidents/{incident.id}?{urlencode({'said': said})}", 303, _HEADERS)
        answer.set_cookie(_ME, quote(by), max_age=365 * 86400, httponly=True, samesite="strict")
        return answer

    def acknowledge(self, incident: Incident, by: str) -> str:
        """Put *incident* into the hands of *by*; return what to say."""
        contact = next((c for c in self.current.runtime.configuration.contacts if c.name == by), None)
        phone = self.current.runtime.configuration.recipient(by).phone if contact is not None else None
        verdict = self.desk.acknowledge(incident.id, by, Via.WEB, phone)
        return "ack" if verdict is Verdict.DONE else "resolved"

    def escalate(self, incident: Incident, by: str) -> str:
        """Have the next step of *incident* taken; return what to say."""
        verdict = self.desk.escalate(incident.id, by, Via.WEB)
        says = {Verdict.DONE: "escalate", Verdict.EXHAUSTED: "exhausted"}
        return says.get(verdict, "resolved")

    # who is on call

    def on_call(self, request: Request) -> Page:  # noqa: ARG002
        """Return four weeks of every schedule."""
        runtime, now = self.current.runtime, self.clock()
        contacts = [contact.name for contact in runtime.configuration.contacts]
        colours = {name: number for number, name in enumerate(contacts)}
        schedules = [views.drawn(schedule, colours, now) for schedule in runtime.rota.schedules.values()]
        return "oncall.html", {"schedules": schedules, "contacts": contacts if schedules else []}

    # messages

    def messages(self, request: Request) -> Page:
        """Return the history, and a chart of it."""
        viewer, query = self._viewer(), request.query_params
        sought, state, cursor = query.get("q", "")[:100].strip(), query.get("state", ""), query.get("cursor")
        states = (state,) if state in tuple(MessageState) else ()
        found = self.store.ledger.page(_MOST_MESSAGES + 1, cursor, states, contains=sought or None)
        following = None
        if len(found) > _MOST_MESSAGES:
            values = {"q": sought, "state": state, "cursor": found[_MOST_MESSAGES - 1].id}
            following = "/messages?" + urlencode({name: value for name, value in values.items() if value})
        midnight = viewer.now.astimezone(viewer.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight - timedelta(days=views.CHART_DAYS - 1)
        counts = self.store.ledger.by_day(first_id(first), first)
        return "messages.html", {
            "q": sought,
            "state": state if states else "",
            "states": [one.value for one in MessageState],
            "chart": views.chart(counts, first),
            "messages": [self._listed(one, viewer) for one in found[:_MOST_MESSAGES]],
            "following": following,
        }

    def _listed(self, message: LedgerMessage, viewer: Viewer) -> dict[str, Any]:
        return {
            "at": viewer.moment(message.created_at),
            "kind": message.kind,
            "to": message.contact or mask(message.phone),
            "state": message.state,
            "cost": _cost(message),
            "incident": message.incident_id,
            "text": message.text,
            "error": message.error and self.redaction.hide(message.error),
        }

    # the configuration

    def configuration(self, request: Request) -> Page:
        """Return the configuration in force, and where the labels that are asked for would go."""
        runtime = self.current.runtime
        labels = request.query_params.get("labels", "")[:4000]
        routes: list[dict[str, Any]] = []
        problem = None
        if labels.strip():
            try:
                routes = self._routes(labels)
            except (MatcherError, ValueError) as error:
                problem = f'{error}; write alertname="DiskFull" severity="critical"'
        written = yaml.safe_dump(dict(runtime.written), sort_keys=False, allow_unicode=True, width=100)
        text = self.redaction.hide(written)
        return "config.html", {"labels": labels, "problem": problem, "routes": routes, "text": text}

    def _routes(self, labels: str) -> list[dict[str, Any]]:
        parsed = dict(parse_label(word) for word in shlex.split(labels))
        now, runtime = self.clock(), self.current.runtime
        named = parsed.pop(RECEIVER_LABEL, "")
        webhook = Webhook.model_validate(
            {
                "receiver": named,
                "status": "firing",
                "alerts": [{"status": "firing", "labels": parsed, "startsAt": now}],
                "groupKey": "{}:{}",
                "groupLabels": {name: value for name, value in parsed.items() if name == "alertname"},
                "commonLabels": parsed,
            }
        )
        signs = beats(runtime.configuration.heartbeats, parsed)
        if signs:
            note = f"It is a sign of life of {', '.join(signs)}, and pages nobody."
            return [{"receiver": "", "pages": [], "note": note}]
        muted = {part.receiver.name: part.muted_by for part in divide(runtime, webhook, None, now)}
        return [
            {
                "receiver": planned.part.receiver.name,
                "note": f"Muted now by {', '.join(by)}; what fires still is told afterwards."
                if (by := muted.get(planned.part.receiver.name))
                else None,
                "pages": [
                    {
                        "to": page.recipient.name or mask(page.recipient.phone),
                        "text": page.text.text,
                        "size": f"{_counted(page.text.size.parts, 'part')}, "
                        f"{_counted(page.text.size.length, 'character')}",
                    }
                    for page in planned.pages
                ],
            }
            for planned in preview(runtime, webhook, None, now)
        ]


def _cost(message: LedgerMessage) -> str:
    parts = _counted(message.parts, "part")
    return parts if message.credits is None else f"{parts}, {_counted(message.credits, 'credit')}"


def _counted(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
