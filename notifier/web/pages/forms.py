"""The buttons of incidents: acknowledge, escalate, silence, close, note."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from notifier.alertmanager.durations import parse_duration
from notifier.alertmanager.silences import SilenceRefused
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.store.engine import StoreUnavailable
from notifier.store.links import StoredLink
from notifier.web.bodies import BodyTooLarge, read_body
from notifier.web.origin import NO_PAGE, is_from_a_page
from notifier.web.pages.choice import ChoiceView
from notifier.web.pages.context import ME, Missing, PageContext, Reader
from notifier.web.pages.incident import find_incident
from notifier.web.pages.rendering import HEADERS, Renderer
from notifier.workers.actions import ActionOutcome, Actions, Via

_MAX_AT_ONCE = 3000
_MAX_FORM = 32 * 1024
"""Bytes: of the longest note in any alphabet, or of the numbers of all incidents that are listed, as a browser encodes
them.
"""


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
        """Return the answer to a form of a page: the page again, with a confirmation.

        Args:
            request: of somebody who may act.
            button: ack, close, escalate, silence or note for one incident; all acknowledges several.
            values: the fields of the form; *by* is who acts, unless that is known: a contact who is signed in, or who
                was chosen in this browser before. While nobody is known, the answer asks who it is.
        """
        reader = self._context.reader(request)
        people, path = self._context.people(reader.user), request.url.path
        by = people[0] if len(people) == 1 and reader.user else values.get("by", "") or reader.name
        if by not in people:
            fields = tuple((name, value) for name, value in values.items() if name != "by")
            choices = self._context.choices(reader.user)
            return self._renderer.page(ChoiceView(path, fields, choices, "", reader.user), path, reader)
        person = Person(by, Via.WEB)
        if button == "all":
            answer = self._acknowledge_all(path, person, values, reader)
        else:
            given = str(request.path_params["id"])
            answer = self._answer(request, given, button, person, values, reader)
        if isinstance(answer, RedirectResponse):
            self.remember(request, answer, by)
        return answer

    def remember(self, request: Request, answer: Response, by: str) -> None:
        """Have the browser remember, by *answer*, that *by* acts there."""
        is_secure = self._context.is_secure(request)
        answer.set_cookie(
            ME, quote(by), max_age=365 * 86400, secure=is_secure, httponly=True, samesite="strict"
        )

    def send_test(self, request: Request) -> Response:
        """Send a test to the contact who makes *request*; return the answer to the form."""
        reader, path = self._context.reader(request), request.url.path
        if reader.name not in self._context.current.runtime.contacts:
            text = "Only a contact of the configuration has a phone."
            return self._renderer.problem(path, 400, "Nothing was sent", text, reader=reader)
        words = self._context.viewer(reader).words
        try:
            self._actions.send(reader.name, words("Test of Notifier: this phone can be paged."), reader.name)
        except StoreUnavailable as error:
            return self._unavailable(path, error, None, reader)
        return RedirectResponse("/settings?sent=1", 303, HEADERS)

    def press_linked(
        self, request: Request, link: StoredLink, button: str, values: Mapping[str, str], reader: Reader
    ) -> Response:
        """Return the answer to a form of a page that was opened by *link*, as `press` does."""
        person = Person(link.contact, Via.LINK)
        return self._answer(request, link.incident_id, button, person, values, reader)

    def _answer(
        self,
        request: Request,
        given: str,
        button: str,
        person: Person,
        values: Mapping[str, str],
        reader: Reader,
    ) -> Response:
        """Return the answer to *button*, pressed by *person* for the incident of the number or id *given*."""
        path, page = request.url.path, request.url.path.rpartition("/")[0]
        back = page if person.via is Via.LINK else None
        act = {
            "ack": self._acknowledge,
            "close": self._close,
            "escalate": self._escalate,
            "note": self._note,
            "silence": self._silence,
        }[button]
        try:
            incident = find_incident(self._context.store, given)
            done = act(incident, person, values)
        except Missing as missing:
            return self._renderer.problem(path, 404, "Not found", str(missing), back, reader=reader)
        except SilenceRefused as refusal:
            text = f"Reason: {refusal}."
            page = back or f"/incidents/{incident.id}"
            return self._renderer.problem(path, 502, "The silence failed", text, page, reader=reader)
        except ValueError as error:
            text = f"Go back: {error}."
            return self._renderer.problem(path, 400, "Nothing was written", text, back, reader=reader)
        except StoreUnavailable as error:
            return self._unavailable(path, error, back, reader)
        if person.via is Via.WEB and values.get("from") == "home":
            return RedirectResponse(f"/?{urlencode({'did': done, 'number': incident.number})}", 303, HEADERS)
        if person.via is Via.WEB:
            page = f"/incidents/{incident.id}"
        return RedirectResponse(f"{page}?{urlencode({'did': done})}", 303, HEADERS)

    def _unavailable(self, path: str, error: StoreUnavailable, back: str | None, reader: Reader) -> Response:
        text = f"{error}. Nothing was done; try again, or reply to the SMS."
        title = "The database is unavailable"
        return self._renderer.problem(path, 503, title, text, back, reader=reader)

    def _acknowledge_all(
        self, path: str, person: Person, values: Mapping[str, str], reader: Reader
    ) -> Response:
        """Acknowledge the incidents of the numbers that the page listed, but for those that somebody has meanwhile."""
        done = 0
        try:
            for number in dict.fromkeys(re.findall("[0-9]{1,6}", values.get("numbers", ""))[:_MAX_AT_ONCE]):
                incident = self._context.store.incidents.named(number)
                if incident is not None and incident.holder is None:
                    done += self._acknowledge(incident, person, {"holder": ""}) == "ack"
        except StoreUnavailable as error:
            if not done:
                return self._unavailable(path, error, None, reader)
        return RedirectResponse("/?did=all", 303, HEADERS)

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

    def _silence(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        outcome = self._actions.silence(
            incident.id,
            person.name,
            person.via,
            parse_duration(values.get("for", "")),
            lambda now: _is_held_as_seen(now, person.name, values),
        )
        return {ActionOutcome.DONE: "silence", ActionOutcome.OVERTAKEN: "taken"}.get(outcome, "resolved")

    def _note(self, incident: Incident, person: Person, values: Mapping[str, str]) -> str:
        self._actions.note(incident.id, person.name, person.via, values.get("text", ""))
        return "note"


def refused_form(request: Request) -> Response | None:
    """Return the refusal of a form that does not name the page that it comes from."""
    return None if is_from_a_page(request.scope) else PlainTextResponse(NO_PAGE + "\n", 403, HEADERS)


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
