"""The page of an incident."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import unquote

from starlette.requests import Request

from notifier.incidents.lifecycle import Incident
from notifier.incidents.links import ends_at
from notifier.planning.receivers import receiver_of
from notifier.sms.phones import mask
from notifier.store.links import StoredLink
from notifier.store.store import Store
from notifier.timeline import Entry, IncidentHistory, incident_timeline
from notifier.web.concealment import concealed
from notifier.web.pages.confirmations import confirmation
from notifier.web.pages.context import Missing, PageContext, View
from notifier.web.pages.delivery_status import DeliveryStatus, current_status
from notifier.web.pages.moments import LocalMoment, Viewer
from notifier.web.pages.shown_incidents import ListedAlert, ShownIncident, listed, load_shown
from notifier.workers.actions import LONGEST_NOTE
from notifier.workers.escalator import last_alerts

ME = "notifier-me"
"""The cookie with the name of the contact who acts."""
_MAX_MESSAGES = 200
_MAX_ALERTS = 50
_MAX_STEPS = 8


@dataclass(frozen=True, slots=True)
class IncidentView(View):
    """The content of the page of an incident.

    *is_cut* where only the newest messages are shown; *unlisted* is how many alerts are not listed; *user* is who is
    signed in, *me* who acted last in this browser; *confirmation* is about the action a moment ago. *address* is that
    of the page, below which the buttons have theirs; *link_ends* is when the link ends by which it was opened: then
    nothing is shown of other incidents, as *delivery* might.
    """

    template: ClassVar[str] = "incident.html"
    one: ShownIncident
    viewer: Viewer
    delivery: DeliveryStatus | None
    entries: Sequence[Entry]
    is_cut: bool
    alerts: Sequence[ListedAlert]
    unlisted: int
    can_escalate: bool
    people: Sequence[str]
    user: str | None
    me: str
    confirmation: str | None
    longest_note: int
    address: str
    link_ends: LocalMoment | None = None

    @property
    def has_menu(self) -> bool:
        """Whether links to the other pages are shown: not to who opened it by a link."""
        return self.link_ends is None


def find_incident(store: Store, given: str) -> Incident:
    """Return the incident of that number or id.

    Raises:
        Missing: there is none.
    """
    incident = store.incidents.named(given)
    if incident is None:
        raise Missing(
            f'There is no incident "{given[:40]}". Resolved incidents are deleted after storage.retention.'
        )
    return incident


class IncidentPage:
    """Makes the page of an incident."""

    def __init__(self, context: PageContext) -> None:
        """Read what *context* offers."""
        self._context = context

    def view(self, given: str, done: str, request: Request) -> IncidentView:
        """Return the page of the incident of that number or id; *done* is the action on it a moment ago.

        Raises:
            Missing: there is no such incident.
        """
        incident = find_incident(self._context.store, given)
        user, me = request.state.caller.user, unquote(request.cookies.get(ME, ""))
        return self._view(incident, done, user, me, f"/incidents/{incident.id}")

    def linked_view(self, link: StoredLink, done: str, address: str) -> IncidentView:
        """Return the page, at *address*, of the incident that *link* opens.

        Raises:
            Missing: the incident was deleted.
        """
        incident = find_incident(self._context.store, link.incident_id)
        ends = self._context.viewer().moment(ends_at(link.expires_at, incident.resolved_at))
        return self._view(incident, done, link.contact, "", address, ends)

    def _view(
        self,
        incident: Incident,
        done: str,
        user: str | None,
        me: str,
        address: str,
        link_ends: LocalMoment | None = None,
    ) -> IncidentView:
        context, store, runtime = self._context, self._context.store, self._context.current.runtime
        viewer = context.viewer()
        (shown,) = load_shown(store, runtime, [incident], viewer, most_steps=_MAX_STEPS)
        history = self._history(incident)
        receiver = receiver_of(runtime, incident)
        last = last_alerts(runtime, store, incident, receiver, viewer.now)
        alerts = last[1].notification.alerts if last is not None and last[1].notification is not None else ()
        return IncidentView(
            one=shown,
            viewer=viewer,
            delivery=current_status(context, viewer.now) if link_ends is None else None,
            entries=incident_timeline(history),
            is_cut=len(history.messages) == _MAX_MESSAGES,
            alerts=listed(alerts[:_MAX_ALERTS], viewer),
            unlisted=max(0, len(alerts) - _MAX_ALERTS),
            can_escalate=incident.step < len(runtime.policy(receiver).steps),
            people=list(runtime.contacts),
            user=user,
            me=me,
            confirmation=confirmation(done, shown, user or me or None, history),
            longest_note=LONGEST_NOTE,
            address=address,
            link_ends=link_ends,
        )

    def _history(self, incident: Incident) -> IncidentHistory:
        store, runtime = self._context.store, self._context.current.runtime
        messages = [
            concealed(runtime, message)
            for message in store.ledger.latest(_MAX_MESSAGES, incident_id=incident.id)
        ]
        digests = store.ledger.of([one.merged_into for one in messages if one.merged_into is not None])
        return IncidentHistory(
            events=store.incidents.history(incident.id),
            messages=messages,
            digests=digests,
            failures=store.ledger.failed_tries(tried := [*(message.id for message in messages), *digests]),
            fallbacks=store.fallbacks.attempts(tried),
            calls=store.calls.of(tried),
            mask=mask,
            hide=self._context.redaction.hide,
        )
