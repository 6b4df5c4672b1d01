"""The operations of the API, and their handlers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.clock import Clock
from notifier.config.raw import nearest
from notifier.config.times import parse_moment
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.oncall import calendars
from notifier.oncall.schedules import Schedule, Shift
from notifier.permissions import Permission
from notifier.runtime import Current
from notifier.store.ledger import LedgerMessage
from notifier.store.store import Store
from notifier.web.api import inputs, models
from notifier.web.api.openapi import document
from notifier.web.api.operations import Endpoints, Operation, Refused
from notifier.web.concealment import concealed, concealed_details
from notifier.workers.actions import ActionOutcome, Actions, Unreachable, Via

T = TypeVar("T", Incident, LedgerMessage)


@dataclass(frozen=True, slots=True)
class ApiRoutes:
    """The handlers."""

    store: Store
    current: Current
    actions: Actions
    endpoints: Endpoints
    clock: Clock
    hide: Callable[[str], str]
    """Returns a text without secrets, its numbers masked: OVHcloud's errors repeat the request."""

    def routes(self) -> list[Route]:
        """Return the paths of the API."""

        async def describe(request: Request) -> Response:  # noqa: ARG001 (a handler is given the request)
            return JSONResponse(document(OPERATIONS))

        return [
            *(self.endpoints.route(operation, self) for operation in OPERATIONS),
            Route("/api/v1/openapi.json", describe, methods=["GET"]),
        ]

    # incidents

    def incidents(self, _: Request, query: inputs.IncidentQuery) -> models.Incidents:
        """List incidents, newest first."""
        found = self.store.incidents.latest(query.limit + 1, query.cursor, query.states)
        items, following = _cut(found, query.limit)
        return models.Incidents(items=[models.Incident.of(one) for one in items], next=following)

    def incident(self, request: Request, _: inputs.NoInput) -> models.IncidentDetails:
        """Return an incident with its events and messages."""
        incident = self._named(request)
        newest = self.store.ledger.latest(inputs.MOST, incident_id=incident.id)
        return models.IncidentDetails.with_history(
            incident,
            self.store.incidents.history(incident.id),
            [self._shown(one) for one in reversed(newest)],
        )

    def acknowledge(self, request: Request, given: inputs.AcknowledgeInput) -> models.Incident:
        """Acknowledge an incident."""
        incident = self._unresolved(request)
        by, author = self._author(request, given.by)
        outcome = self.actions.acknowledge(
            incident.id, by, Via.API, lambda now: given.take or now.holder in (None, by), author=author
        )
        return self._acted(incident, outcome)

    def close(self, request: Request, given: inputs.CloseInput) -> models.Incident:
        """Close an incident that Alertmanager does not resolve."""
        incident = self._unresolved(request)
        by, author = self._author(request, given.by)
        return self._acted(incident, self.actions.close(incident.id, author or by, Via.API))

    def _author(self, request: Request, given: str | None) -> tuple[str, str | None]:
        """Return who acts, and the text for the record if a user or token acts for a contact: ``bob for alice``.

        Who acts is the contact *given*, or the authenticated user.
        """
        user = request.state.caller.user
        by = given or user
        known = self.current.runtime.contacts
        if by is None:
            raise Refused(400, 'say in whose name: {"by": "alice"}')
        if by not in known and by != user:
            raise Refused(400, f'by: there is no contact "{by[:40]}"{nearest(by, known)}')
        author = user or request.state.caller.token
        return by, None if author is None or author == by else f"{author} for {by}"

    def _named(self, request: Request) -> Incident:
        """Return the incident whose id or number is in the path."""
        given = str(request.path_params["id"]).removeprefix("#")
        found = self.store.incidents.named(given)
        if found is None:
            raise Refused(404, f'there is no incident "{given[:40]}"')
        return found

    def _unresolved(self, request: Request) -> Incident:
        incident = self._named(request)
        if incident.state is IncidentState.RESOLVED:
            raise Refused(409, f"incident {incident.number} is resolved already")
        return incident

    def _acted(self, incident: Incident, outcome: ActionOutcome) -> models.Incident:
        after = self.store.incidents.get(incident.id) or incident
        match outcome:
            case ActionOutcome.UNKNOWN:
                raise Refused(404, "there is no such incident")
            case ActionOutcome.RESOLVED:
                raise Refused(409, f"incident {incident.number} is resolved already")
            case ActionOutcome.OVERTAKEN:
                how = 'to take it over, add "take": true (notifier ack --take)'
                raise Refused(409, f"{after.holder} has incident {incident.number}; {how}")
        return models.Incident.of(after)

    # messages

    def messages(self, _: Request, query: inputs.MessageQuery) -> models.Messages:
        """List messages, newest first."""
        found = self.store.ledger.latest(query.limit + 1, query.cursor, query.state, query.receiver)
        items, following = _cut(found, query.limit)
        return models.Messages(items=[self._shown(one) for one in items], next=following)

    def message(self, request: Request, _: inputs.NoInput) -> models.MessageDetails:
        """Return a message with its timeline."""
        given = str(request.path_params["id"])
        details = self.store.ledger.details(given)
        if details is None:
            raise Refused(404, f'there is no message "{given[:40]}"')
        return models.MessageDetails.with_timeline(
            concealed_details(self.current.runtime, details), self.hide
        )

    def _shown(self, message: LedgerMessage) -> models.Message:
        return models.Message.of(concealed(self.current.runtime, message), self.hide)

    def send(self, request: Request, given: inputs.SendInput) -> models.Message:
        """Send a text; the answer comes once it is stored."""
        try:
            sent = self.actions.send(given.to, given.text, request.state.caller.name)
        except Unreachable as error:
            raise Refused(409 if error.is_nobody else 404, str(error)) from None
        except ValueError as error:
            raise Refused(400, str(error)) from None
        details = self.store.ledger.details(sent.id)
        if details is None:
            raise Refused(409, "it is on its way, but its record is deleted; storage.retention is too short")
        return self._shown(details.message)

    # who is on call

    def on_call(self, _: Request, query: inputs.OnCallQuery) -> models.Shifts:
        """Return who is on call. That is now, or at ``at``; with ``until``, every shift up to then."""
        schedules = self.current.runtime.schedules.by_name
        if query.schedule is not None and query.schedule not in schedules:
            raise Refused(404, f'there is no schedule "{query.schedule[:100]}"')
        shifts: list[Shift] = []
        for schedule in [schedules[query.schedule]] if query.schedule is not None else schedules.values():
            start = _instant("at", query.at, schedule) or self.clock()
            end = _instant("until", query.until, schedule)
            if end is not None and not start < end <= start + calendars.AHEAD:
                raise Refused(400, "until must be after at, and at most 400 days after it")
            shifts += [schedule.at(start)] if end is None else schedule.shifts(start, end)
        return models.Shifts(items=[models.Shift.of(shift) for shift in shifts], next=None)


def _cut(found: Sequence[T], limit: int) -> tuple[Sequence[T], str | None]:
    """Return up to *limit* of the items *found*, and the cursor of those that follow; None at the end."""
    items = found[:limit]
    return items, items[-1].id if len(found) > limit else None


def _instant(name: str, given: str | None, schedule: Schedule) -> datetime | None:
    if given is None:
        return None
    try:
        return parse_moment(given.replace(" ", "+")).instant(schedule.zone)
    except ValueError as error:
        raise Refused(400, f"{name}: {error}") from None


_ACT = (400, 403, 404, 409, 413)
OPERATIONS = (
    Operation("/api/v1/incidents", ApiRoutes.incidents, (400,)),
    Operation("/api/v1/incidents/{id}", ApiRoutes.incident, (400, 404)),
    Operation("/api/v1/incidents/{id}/ack", ApiRoutes.acknowledge, _ACT, "POST", Permission.ACT),
    Operation("/api/v1/incidents/{id}/close", ApiRoutes.close, _ACT, "POST", Permission.ACT),
    Operation("/api/v1/messages", ApiRoutes.messages, (400,)),
    Operation("/api/v1/messages/{id}", ApiRoutes.message, (400, 404)),
    Operation("/api/v1/oncall", ApiRoutes.on_call, (400, 404)),
    Operation("/api/v1/send", ApiRoutes.send, _ACT, "POST", Permission.SEND),
)
