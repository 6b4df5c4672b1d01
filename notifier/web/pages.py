"""The pages for people, rendered here; a little JavaScript keeps some of them current."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from notifier import __version__
from notifier.alertmanager.durations import format_duration
from notifier.alertmanager.matchers import MatcherError, parse_label
from notifier.alertmanager.webhook import Webhook
from notifier.clock import Clock
from notifier.config.model import Recipient
from notifier.delivery.message import MessageState
from notifier.health import Readiness
from notifier.ids import first_id
from notifier.incidents.heartbeats import SEEN, beats
from notifier.incidents.lifecycle import Incident, IncidentState, next_step
from notifier.logs import Redaction
from notifier.permissions import Permission
from notifier.planning.division import described_mute, divide
from notifier.planning.plans import preview
from notifier.planning.receivers import receiver_of
from notifier.routing import RECEIVER_LABEL
from notifier.runtime import Current
from notifier.sms.phones import mask
from notifier.store.engine import StoreUnavailable
from notifier.store.incidents import HEARTBEATS
from notifier.store.ledger import LedgerMessage, Spent
from notifier.store.store import Store
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.web.concealment import concealed
from notifier.web.fragments import REFRESH, Fragments
from notifier.web.gate import FOREIGN, Denial, Gate, has_nul, is_from_a_page
from notifier.web.views import incidents
from notifier.web.views.incidents import ShownIncident, Sources
from notifier.web.views.messages import CHART_DAYS, chart
from notifier.web.views.moments import Viewer
from notifier.web.views.oncall import drawn
from notifier.web.views.sending import LATE, Going, going, lasts
from notifier.workers.account_monitor import AccountMonitor
from notifier.workers.actions import ActionOutcome, Actions, Via
from notifier.workers.backpressure import Backpressure
from notifier.workers.escalator import last_part

_SITE = Path(__file__).parent / "site"
_STATIC = {"style.css": "text/css", "live.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MOST_SHOWN = 50
"""How many incidents are listed, unless all are asked for."""
_MOST_INCIDENTS = 3000
_MOST_SOUGHT = 20_000
"""So many messages are looked through for each page of a search."""
_SPENT_FOR = timedelta(minutes=1)
"""For how long what the accounts have spent is shown; credits are asked for as often."""
_CLOCKS = timedelta(hours=1)
"""Further apart than the clocks of replicas are, of which each adds messages to a day by its own."""
_MOST_TOLD = 200
_MOST_ALERTS = 50
_MOST_STEPS = 8
_MOST_MESSAGES = 50
_RATE_OVER = timedelta(days=7)
_RELOADS = 5
"""How many reloads are shown."""
_MAX_FORM = 4096
_MAX_STREAMS = 64
_KEEP_ALIVE = 15.0
_ME = "notifier-me"
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}
View = tuple[str, dict[str, Any]]
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
    actions: Actions
    gate: Gate
    clock: Clock
    account: AccountMonitor
    readiness: Callable[[], Readiness]
    redaction: Redaction
    backpressure: Backpressure
    _environment: Environment = field(default_factory=_environment)
    _streams: int = 0
    _ended: Mapping[datetime, Mapping[tuple[datetime, str], int]] = field(default_factory=dict)
    """How many messages there were on each of the days whose messages do not change any more."""
    _spent: tuple[datetime, Mapping[str, Spent]] | None = None
    """What each account has spent, and when it was added up."""
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """Render on threads of its own: what is asked of the API shall not wait for that."""
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="pages")
        self._fragments = Fragments(self._executor)

    def routes(self) -> list[Route]:
        """Return the paths of the pages, and of what they are made of."""
        return [
            Route("/", self._page(self.home), methods=["GET"]),
            Route("/incidents/{id}", self._page(self.incident), methods=["GET"]),
            Route("/incidents/{id}/ack", self._form(self.acknowledge), methods=["POST"]),
            Route("/incidents/{id}/close", self._form(self.close), methods=["POST"]),
            Route("/incidents/{id}/escalate", self._form(self.escalate), methods=["POST"]),
            Route("/oncall", self._page(self.on_call), methods=["GET"]),
            Route("/messages", self._page(self.messages), methods=["GET"]),
            Route("/config", self._page(self.configuration), methods=["GET"]),
            Route("/live", self.live, methods=["GET"]),
            Route("/static/{name}", self.static, methods=["GET"]),
        ]

    def start(self) -> None:
        """Count what the chart is of before anybody asks: of a million messages, that takes a while."""
        self._executor.submit(self._counts, self.clock())

    def end_streams(self) -> None:
        """End the streams, which would last as long as their readers like."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop the threads that render; no page can be rendered any more."""
        self._executor.shutdown(wait=False)

    # how a page is answered

    async def _refused(self, request: Request, permission: Permission = Permission.READ) -> Response | None:
        """Return the answer to a request that may not be made; None where it may, by ``request.state.caller``."""
        web = self.current.runtime.configuration.web
        caller = await self.gate.admit(request.scope, permission, self.current.runtime.configuration.origin)
        if not isinstance(caller, Denial):
            request.state.caller = caller
            return None
        text = caller.text
        if caller.status == 401 and not (web.users or web.basic_auth_users):
            text = "pages need a name and a password; add some under web.users"
        return PlainTextResponse(text + "\n", caller.status, {**caller.headers, **_HEADERS})

    def _page(self, view: Callable[[Request], View]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if (refused := await self._refused(request)) is not None:
                return refused
            if has_nul(request):
                return self._problem(request, 400, "Not found", "NUL is in no name and no text.")
            return await self._in_thread(lambda: self._answer(request, view))

        return answer

    async def _in_thread(self, call: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def _answer(self, request: Request, view: Callable[[Request], View]) -> Response:
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
            "going": None,
            "said": None,
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
        headers = {"cache-control": "no-cache"}
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
            path = request.query_params.get("path", "/")
            is_personal = path.startswith("/incidents/")  # it names who acknowledges
            viewer = (request.state.caller.user, request.cookies.get(_ME)) if is_personal else None
            while not self._stopping.is_set() and not await request.is_disconnected():
                if await self._refused(request) is not None:  # its credentials are no longer good
                    return
                text = await self._fragments.get((path, viewer), lambda: self._fragment(request))
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
                    await asyncio.wait_for(self._stopping.wait(), REFRESH)
                except TimeoutError:
                    continue
        finally:
            self._streams -= 1

    def _fragment(self, request: Request) -> str | None:
        with self.backpressure.limited_share():
            return self._content(request)

    def _content(self, request: Request) -> str | None:
        path, _, query = request.query_params.get("path", "/").partition("?")
        try:
            if path == "/":
                name, values = self._home_page(is_whole="all" in parse_qs(query))
            elif path.startswith("/incidents/") and "\0" not in path:
                did = parse_qs(query).get("did", [""])[0]
                name, values = self._incident_page(path.removeprefix("/incidents/"), did, request)
            else:
                return None
        except StoreUnavailable as error:
            name, values = "problem.html", {"title": "The database cannot be had", "message": str(error)}
        except _Missing:
            return None
        return self._rendered("bare.html", name, values, path)

    def _going(self, now: datetime) -> Going:
        ready = self.readiness()
        waiting = None
        if ready.outage is None:
            waiting = self.store.ledger.waiting_longest(now, LATE)
            if waiting is not None and waiting.error is not None:
                waiting = replace(waiting, error=self.redaction.hide(waiting.error))
        return going(ready.outage, ready.warnings, waiting, now, is_hindered=ready.is_hindered)

    # now

    def home(self, request: Request) -> View:
        """Return who is on call, what fires, and whether pages go out."""
        return self._home_page(is_whole="all" in request.query_params)

    def _home_page(self, *, is_whole: bool) -> View:
        viewer, runtime = self._viewer(), self.current.runtime
        worst = self.store.incidents.worst(_MOST_INCIDENTS if is_whole else _MOST_SHOWN)
        listed, counts = self._shown(worst, viewer), self.store.incidents.counts()
        queue = self.store.outbox.queue()
        spent = self._spending(viewer.now)
        empty = self.account.empty()
        silent = {one.group_key for one in self.store.incidents.of_heartbeats()}
        seen = self.store.timestamps.all(SEEN)
        schedules = []
        for schedule in runtime.schedules.by_name.values():
            shift = schedule.at(viewer.now)
            schedules.append(
                {
                    "schedule": schedule.name,
                    "contact": shift.contact,
                    "until": viewer.moment(shift.end),
                    "following": schedule.on_call(shift.end),
                }
            )
        accounts = [
            {
                "name": name,
                "credits": left,
                "last": lasts(left, spent.get(api.account_name), viewer.now, _RATE_OVER),
                "is_empty": name in empty,
            }
            for name, api in runtime.apis.items()
            for left in [self.account.credits.get(name)]
        ]
        return "home.html", {
            "incidents": listed,
            "open": sum(count for (_, state), count in counts.items() if state == IncidentState.OPEN),
            "more": sum(counts.values()) - len(listed),
            "going": self._going(viewer.now),
            "schedules": schedules,
            "accounts": accounts,
            "waiting": sum(queue.messages.values()) + queue.unplanned,
            "oldest": viewer.maybe(queue.oldest),
            "replicas": self.store.replicas.count() if self.store.backend.is_shared else 1,
            "heartbeats": [
                {
                    "name": one.name,
                    "seen": viewer.maybe(seen.get(one.name)),
                    "timeout": format_duration(one.timeout),
                    "is_late": HEARTBEATS + one.name in silent
                    or (one.name in seen and viewer.now - seen[one.name] > one.timeout),
                }
                for one in runtime.configuration.heartbeats
            ],
        }

    def _spending(self, now: datetime) -> Mapping[str, Spent]:
        if self._spent is None or not self._spent[0] <= now < self._spent[0] + _SPENT_FOR:
            self._spent = now, self.store.ledger.spent(now - _RATE_OVER)
        return self._spent[1]

    def _shown(self, found: Sequence[Incident], viewer: Viewer, most: int = 1) -> list[ShownIncident]:
        """Return *found* as they are shown, each with at *most* so many of the steps to come."""
        paged = self.store.ledger.paged([incident.id for incident in found])
        return [
            incidents.shown(
                one, viewer, incidents.reached(paged.get(one.id, ()), mask), islice(self._ahead(one), most)
            )
            for one in found
        ]

    def _ahead(self, incident: Incident) -> Iterator[tuple[datetime, str]]:
        """Yield the times of the next steps of *incident* and who they page, if nobody acknowledges."""
        runtime, at = self.current.runtime, incident.next_step_at
        receiver = receiver_of(runtime, incident)
        policy, step, round_ = runtime.policy(receiver), incident.step, incident.round
        while at is not None:
            on_call: Callable[[Sequence[str]], tuple[Recipient, ...]] = partial(runtime.recipients, now=at)
            outcome = next_step(policy, step, round_, at, on_call)
            whom = outcome.recipients or runtime.fallback_recipients(receiver, at)
            yield at, ", ".join(one.name or mask(one.phone) for one in whom) or "nobody"
            step, round_, at = outcome.step, outcome.round, outcome.due_at

    # one incident

    def incident(self, request: Request) -> View:
        """Return all of one incident."""
        return self._incident_page(
            str(request.path_params["id"]), request.query_params.get("did", ""), request
        )

    def _found(self, given: str) -> Incident:
        incident = self.store.incidents.named(given)
        if incident is None:
            raise _Missing(
                f'There is no incident "{given[:40]}". What was resolved longer ago than storage.retention is deleted.'
            )
        return incident

    def _incident_page(self, given: str, did: str, request: Request) -> View:
        incident, viewer, runtime = self._found(given), self._viewer(), self.current.runtime
        (one,) = self._shown([incident], viewer, _MOST_STEPS)
        told = [
            concealed(runtime, one) for one in self.store.ledger.page(_MOST_TOLD, incident_id=incident.id)
        ]
        carriers = self.store.ledger.of([m.merged_into for m in told if m.merged_into is not None])
        sources = Sources(
            events=self.store.incidents.history(incident.id),
            messages=told,
            carriers=carriers,
            tries=self.store.ledger.failed_tries([*(m.id for m in told), *carriers]),
            mask=mask,
            hide=self.redaction.hide,
        )
        receiver = receiver_of(runtime, incident)
        last = last_part(runtime, self.store, incident, receiver, viewer.now)
        alerts = last[1].notification.alerts if last is not None and last[1].notification is not None else ()
        user, me = request.state.caller.user, unquote(request.cookies.get(_ME, ""))
        return "incident.html", {
            "one": one,
            "going": self._going(viewer.now),
            "entries": incidents.story(sources, viewer),
            "is_cut": len(told) == _MOST_TOLD,
            "alerts": incidents.listed(alerts[:_MOST_ALERTS], viewer),
            "unlisted": max(0, len(alerts) - _MOST_ALERTS),
            "can_escalate": incident.step < len(runtime.policy(receiver).steps),
            "people": [contact.name for contact in runtime.configuration.contacts],
            "user": user,
            "me": me,
            "said": incidents.said(did, one, user or me or None, sources),
        }

    # what people do on it

    def _form(
        self, act: Callable[[Incident, str, Mapping[str, str]], str]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not is_from_a_page(request.scope):
                return PlainTextResponse(FOREIGN + "\n", 403, _HEADERS)
            if (refused := await self._refused(request, Permission.ACT)) is not None:
                return refused
            try:
                body = await read_body(request.scope, request.receive, _MAX_FORM)
            except BodyTooLarge:
                return PlainTextResponse("the form is too large\n", 413, _HEADERS)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
            values = {name: found[0] for name, found in given.items()}
            by = request.state.caller.user or values.get("by", "")
            return await self._in_thread(lambda: self._done(request, by, values, act))

        return answer

    def _done(
        self,
        request: Request,
        by: str,
        values: Mapping[str, str],
        act: Callable[[Incident, str, Mapping[str, str]], str],
    ) -> Response:
        known = [contact.name for contact in self.current.runtime.configuration.contacts]
        if by not in known and (not by or by != request.state.caller.user):
            message = "Go back and choose who you are: the others are told who has it."
            return self._problem(request, 400, "Who are you?", message)
        try:
            incident = self._found(str(request.path_params["id"]))
            did = act(incident, by, values)
        except _Missing as missing:
            return self._problem(request, 404, "Not found", str(missing))
        except StoreUnavailable as error:
            message = f"{error}. Nothing was done; try again, or reply to the SMS."
            return self._problem(request, 503, "The database cannot be had", message)
        answer = RedirectResponse(f"/incidents/{incident.id}?{urlencode({'did': did})}", 303, _HEADERS)
        external = self.current.runtime.configuration.global_.external_url or ""
        is_secure = request.url.scheme == "https" or external.startswith("https:")
        answer.set_cookie(
            _ME, quote(by), max_age=365 * 86400, secure=is_secure, httponly=True, samesite="strict"
        )
        return answer

    def acknowledge(self, incident: Incident, by: str, values: Mapping[str, str]) -> str:
        """Put *incident* into the hands of *by*, unless another took it since the page was made; say what was done."""
        contact = self.current.runtime.contacts.get(by)
        phone = contact.phone if contact is not None else None
        verdict = self.actions.acknowledge(
            incident.id, by, Via.WEB, phone, lambda now: _is_held_as_seen(now, by, values)
        )
        return {ActionOutcome.DONE: "ack", ActionOutcome.OVERTAKEN: "taken"}.get(verdict, "resolved")

    def close(self, incident: Incident, by: str, values: Mapping[str, str]) -> str:
        """Close *incident*, unless another took it since the page was made; say what was done."""
        verdict = self.actions.close(incident.id, by, Via.WEB, lambda now: _is_held_as_seen(now, by, values))
        return {ActionOutcome.DONE: "close", ActionOutcome.OVERTAKEN: "taken"}.get(verdict, "resolved")

    def escalate(self, incident: Incident, by: str, values: Mapping[str, str]) -> str:
        """Have the next step of *incident* taken, unless it was since the page was made; say what was done."""

        def is_as_seen(now: Incident) -> bool:
            is_open = now.state is IncidentState.OPEN
            is_being_taken = is_open and now.due_at is not None and now.due_at <= self.clock()
            is_same_step = values.get("steps", str(now.steps_taken)) == str(now.steps_taken)
            return is_same_step and not is_being_taken and _is_held_as_seen(now, by, values)

        verdict = self.actions.escalate(incident.id, by, Via.WEB, is_as_seen)
        if verdict is ActionOutcome.OVERTAKEN:
            now = self.store.incidents.get(incident.id)
            return "late" if now is None or _is_held_as_seen(now, by, values) else "taken"
        return {ActionOutcome.DONE: "escalate", ActionOutcome.EXHAUSTED: "exhausted"}.get(verdict, "resolved")

    # who is on call

    def on_call(self, request: Request) -> View:  # noqa: ARG002
        """Return four weeks of every schedule."""
        runtime, now = self.current.runtime, self.clock()
        contacts = [contact.name for contact in runtime.configuration.contacts]
        colours = {name: number for number, name in enumerate(contacts)}
        schedules = [drawn(schedule, colours, now) for schedule in runtime.schedules.by_name.values()]
        secret = runtime.configuration.web.feed_secret
        feeds = "/oncall" if secret is None else f"/oncall/feeds/{secret.get_secret_value()}"
        return "oncall.html", {
            "schedules": schedules,
            "contacts": contacts if schedules else [],
            "feeds": feeds,
        }

    # messages

    def messages(self, request: Request) -> View:
        """Return the history, and a chart of it."""
        viewer, query = self._viewer(), request.query_params
        sought, state, cursor = query.get("q", "")[:100].strip(), query.get("state", ""), query.get("cursor")
        states = (state,) if state in tuple(MessageState) else ()
        ledger = self.store.ledger
        down_to = ledger.after(_MOST_SOUGHT, cursor) if sought or states else None
        found = ledger.page(_MOST_MESSAGES + 1, cursor, states, contains=sought or None, down_to=down_to)
        is_full, following = len(found) > _MOST_MESSAGES, None
        if is_full or down_to is not None:
            last = found[_MOST_MESSAGES - 1].id if is_full else down_to
            values = {"q": sought, "state": state, "cursor": last}
            following = "/messages?" + urlencode({name: value for name, value in values.items() if value})
        today = viewer.now.astimezone(viewer.zone).date()
        return "messages.html", {
            "q": sought,
            "state": state if states else "",
            "states": [one.value for one in MessageState],
            "chart": chart(self._counts(viewer.now), viewer.zone, today),
            "messages": [self._listed(one, viewer) for one in found[:_MOST_MESSAGES]],
            "following": following,
            "is_more_to_search": following is not None and not is_full,
            "sought": _MOST_SOUGHT,
        }

    def _counts(self, now: datetime) -> Mapping[tuple[datetime, str], int]:
        """Return the numbers of messages for the chart. A day whose messages no longer change is counted once."""
        unfinished = self.store.ledger.unfinished_since()
        last = now - _CLOCKS if unfinished is None else min(unfinished, now - _CLOCKS)
        ended, day = last.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(days=1)
        days = [ended - number * day for number in range(1, CHART_DAYS + 1)]
        self._ended = {
            start: self._ended.get(start)
            or self.store.ledger.by_quarter(first_id(start), first_id(start + day))
            for start in days
        }
        counts = self.store.ledger.by_quarter(first_id(ended))
        for of_day in self._ended.values():
            counts.update(of_day)
        return counts

    def _listed(self, message: LedgerMessage, viewer: Viewer) -> dict[str, Any]:
        return {
            "at": viewer.moment(message.created_at),
            "kind": message.kind,
            "to": message.contact or mask(message.phone),
            "state": message.state,
            "cost": _cost(message),
            "incident": message.incident_id,
            "text": concealed(self.current.runtime, message).text,
            "error": message.error and self.redaction.hide(message.error),
        }

    # the configuration

    def configuration(self, request: Request) -> View:
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
        viewer = self._viewer()
        reloads = [
            {"at": viewer.moment(one.at), "by": one.by, "problem": one.problem}
            for one in self.store.reloads.latest(_RELOADS)
        ]
        return "config.html", {
            "labels": labels, "problem": problem, "routes": routes, "text": text, "reloads": reloads
        }  # fmt: skip

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
        parts = divide(runtime, webhook, None, now)
        muted = {part.receiver.name: described_mute(runtime, part, now) for part in parts}
        return [
            {
                "receiver": planned.part.receiver.name,
                "note": f"Muted now {by}; what still fires is paged afterwards."
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


def _is_held_as_seen(incident: Incident, by: str, values: Mapping[str, str]) -> bool:
    """Whether nobody but *by* has *incident*, or who the page said has it."""
    return incident.holder in (None, by, values.get("holder", incident.holder))


def _cost(message: LedgerMessage) -> str:
    parts = _counted(message.parts, "part")
    return parts if message.credits is None else f"{parts}, {_counted(message.credits, 'credit')}"


def _counted(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"
