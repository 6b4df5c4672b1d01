"""The buttons of an incident's page: acknowledge, close, escalate, note."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.store.engine import StoreUnavailable
from notifier.store.links import StoredLink
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.web.pages.context import Missing, PageContext
from notifier.web.pages.incident import ME, find_incident
from notifier.web.pages.rendering import HEADERS, Renderer
from notifier.workers.actions import ActionOutcome, Actions, Via

_MAX_FORM = 8192
"""Bytes: of the longest note in any alphabet, as a browser encodes it."""


def _is_held_as_seen(incident: Incident, by: str, values: Mapping[str, str]) -> bool:
    """Return whether nobody has *incident*, or *by* has it, or the person that the page named."""
    return incident.holder in (None, by, values.get("holder", incident.holder))


@dataclass(frozen=True, slots=True)
class Person:
    """Who presses a button, and on which page."""

    name: str
    via: Via


class Forms:
    """Performs the action of a button, unless the incident has changed since the page was made."""

    def __init__(self, context: PageContext, actions: Actions, renderer: Renderer) -> None:
        """Act by *actions*."""
        self._context = context
        self._actions = actions
        self._renderer = renderer

    def press(self, request: Request, button: str, values: Mapping[str, str]) -> Response:
        """Return the answer to a form of the page of an incident: the page again, with a confirmation.

        Args:
            request: of somebody who may act.
            button: ack, close, escalate or note.
            values: the fields of the form; *by* is who acts, unless the request is authenticated.
        """
        user = request.state.caller.user
        by, path = user or values.get("by", ""), request.url.path
        if not by or by not in {*self._context.current.runtime.contacts, user}:
            text = "Go back and choose who you are: the others are notified who has it."
            return self._renderer.problem(path, 400, "Who are you?", text)
        person = Person(by, Via.WEB)
        answer = self._answer(request, str(request.path_params["id"]), button, person, values)
        external = self._context.current.runtime.configuration.global_.external_url or ""
        is_secure = request.url.scheme == "https" or external.startswith("https:")
        if isinstance(answer, RedirectResponse):
            answer.set_cookie(
                ME, quote(by), max_age=365 * 86400, secure=is_secure, httponly=True, samesite="strict"
            )
        return answer

    def press_linked(
        self, request: Request, link: StoredLink, button: str, values: Mapping[str, str]
    ) -> Response:
        """Return the answer to a form of a page that was opened by *link*, as `press` does."""
        return self._answer(request, link.incident_id, button, Person(link.contact, Via.LINK), values)

    def _answer(
        self, request: Request, given: str, button: str, person: Person, values: Mapping[str, str]
    ) -> Response:
        """Return the answer to *button*, pressed by *person* for the incident of the number or id *given*."""
        path, page = request.url.path, request.url.path.rpartition("/")[0]
        back = page if person.via is Via.LINK else None
        act = {
            "ack": self._acknowledge,
            "close": self._close,
            "escalate": self._escalate,
            "note": self._note,
        }[button]
        try:
            incident = find_incident(self._context.store, given)
            done = act(incident, person, values)
        except Missing as missing:
            return self._renderer.problem(path, 404, "Not found", str(missing), back)
        except ValueError as error:
            return self._renderer.problem(path, 400, "Nothing was written", f"Go back: {error}.", back)
        except StoreUnavailable as error:
            text = f"{error}. Nothing was done; try again, or reply to the SMS."
            return self._renderer.problem(path, 503, "The database is unavailable", text, back)
        if person.via is Via.WEB:
            page = f"/incidents/{incident.id}"
        return RedirectResponse(f"{page}?{urlencode({'did': done})}", 303, HEADERS)

    def _acknowledge(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        outcome = self._actions.acknowledge(
            incident.id, person.name, person.via, lambda now: _is_held_as_seen(now, person.name, values)
        )
        return {ActionOutcome.DONE: "ack", ActionOutcome.OVERTAKEN: "taken"}.get(outcome, "resolved")

    def _close(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        outcome = self._actions.close(
            incident.id, person.name, person.via, lambda now: _is_held_as_seen(now, person.name, values)
        )
        return {ActionOutcome.DONE: "close", ActionOutcome.OVERTAKEN: "taken"}.get(outcome, "resolved")

    def _escalate(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        def is_as_seen(now: Incident) -> bool:
            is_open = now.state is IncidentState.OPEN
            is_due = is_open and now.due_at is not None and now.due_at <= self._context.clock()
            is_same_step = values.get("steps", str(now.steps_taken)) == str(now.steps_taken)
            return is_same_step and not is_due and _is_held_as_seen(now, person.name, values)

        outcome = self._actions.escalate(incident.id, person.name, person.via, is_as_seen)
        if outcome is ActionOutcome.OVERTAKEN:
            now = self._context.store.incidents.get(incident.id)
            return "late" if now is None or _is_held_as_seen(now, person.name, values) else "taken"
        return {ActionOutcome.DONE: "escalate", ActionOutcome.EXHAUSTED: "exhausted"}.get(outcome, "resolved")

    def _note(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        self._actions.note(incident.id, person.name, person.via, values.get("text", ""))
        return "note"


async def read_fields(request: Request) -> dict[str, str] | Response:
    """Return the fields of a form; if it cannot be read, the answer that says so."""
    try:
        body = await read_body(request.scope, request.receive, _MAX_FORM)
    except BodyTooLarge:
        return PlainTextResponse("the form is too large\n", 413, HEADERS)
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: found[0] for name, found in given.items()}
