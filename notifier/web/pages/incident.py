"""The page of an incident."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from notifier.incidents.lifecycle import Incident
from notifier.incidents.links import ends_at
from notifier.rendering.compose import title
from notifier.rendering.context import Notification
from notifier.sms.phones import mask
from notifier.store.links import StoredLink
from notifier.store.store import Store
from notifier.timeline import IncidentHistory, incident_timeline
from notifier.web.concealment import concealed
from notifier.web.pages.alerts import ListedAlert, Problem, listed, problem_of
from notifier.web.pages.confirmations import Confirmation, confirmation
from notifier.web.pages.context import Missing, PageContext, Reader, View
from notifier.web.pages.moments import LocalMoment
from notifier.web.pages.shown_incidents import ShownIncident, load_shown
from notifier.web.pages.timeline_rows import Row, timeline_rows
from notifier.workers.actions import LONGEST_NOTE
from notifier.workers.escalator import last_alerts

_MAX_MESSAGES = 200
_MAX_ALERTS = 50
_MAX_STEPS = 8
_LONGEST_TITLE = 300
_NO_INCIDENT = "There is no such incident. Resolved ones are deleted after a time (storage.retention)."


@dataclass(frozen=True, slots=True)
class IncidentView(View):
    """The content of the page of an incident.

    *is_cut* where only the newest messages are shown; *unlisted* is how many alerts are not listed; *me* is who acts,
    empty while that is unknown; *confirmation* is about the action a moment ago. *address* is that of the page, below
    which the buttons have theirs; *link_ends* is when the link ends by which it was opened: then nothing is shown of
    other incidents.
    """

    template: ClassVar[str] = "incident.html"
    is_live: ClassVar[bool] = True
    one: ShownIncident
    title: str
    """The title at full length."""
    problem: Problem | None
    rows: Sequence[Row]
    is_cut: bool
    replied: Mapping[str, LocalMoment]
    """When each contact last replied by SMS since it opened, to whichever page."""
    alerts: Sequence[ListedAlert]
    unlisted: int
    can_escalate: bool
    can_silence: bool
    me: str
    confirmation: Confirmation | None
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
        raise Missing(_NO_INCIDENT)
    return incident


class IncidentPage:
    """Makes the page of an incident."""

    def __init__(self, context: PageContext) -> None:
        """Read what *context* offers."""
        self._context = context

    def view(
        self, given: str, done: str, reader: Reader, link: StoredLink | None = None, address: str = ""
    ) -> IncidentView:
        """Return the page of the incident of that number or id; *done* is the action on it a moment ago.

        With *link*, it is the page at *address* for the contact who opened the incident by it.

        Raises:
            Missing: there is no such incident.
        """
        incident = find_incident(self._context.store, given)
        link_ends = None if link is None else ends_at(link.expires_at, incident.resolved_at)
        context, store, runtime = self._context, self._context.store, self._context.current.runtime
        viewer = context.viewer(reader)
        (shown,) = load_shown(store, runtime, [incident], viewer, most_steps=_MAX_STEPS)
        history = self._history(incident)
        receiver = runtime.receiver(incident.receiver)
        last = last_alerts(runtime, store, incident, receiver, viewer.now)
        notification = last[1].notification if last is not None else None
        alerts = notification.alerts if notification is not None else ()
        problem = problem_of(notification) if notification is not None else None
        return IncidentView(
            one=shown,
            title=_whole_title(incident, notification),
            problem=problem,
            rows=timeline_rows(incident_timeline(history), viewer),
            is_cut=len(history.messages) == _MAX_MESSAGES,
            replied={
                name: viewer.moment(at)
                for name, at in store.replies.last_of_contacts(
                    incident.opened_at.replace(microsecond=0), incident.resolved_at or viewer.now
                ).items()
            },
            alerts=listed(
                alerts[:_MAX_ALERTS],
                problem.summary if problem is not None else "",
                viewer,
                runtime.severities,
            ),
            unlisted=max(0, len(alerts) - _MAX_ALERTS),
            can_escalate=incident.step < len(runtime.policy(receiver).steps),
            can_silence=runtime.configuration.alertmanager is not None and link_ends is None,
            me=reader.name,
            confirmation=confirmation(done, shown, reader.name or None, history, viewer.words),
            longest_note=LONGEST_NOTE,
            address=address or f"/incidents/{incident.id}",
            link_ends=viewer.maybe(link_ends),
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
            failures=store.ledger.failed_attempts(tried := [*(message.id for message in messages), *digests]),
            fallbacks=store.fallbacks.attempts(tried),
            calls=store.calls.of(tried),
            mask=mask,
            hide=self._context.redaction.hide,
        )


def _whole_title(incident: Incident, notification: Notification | None) -> str:
    """Return the title of *incident* at full length, as far as its alerts still are those of *notification*."""
    start = incident.title.removesuffix("...")
    if notification is None or start == incident.title:
        return incident.title
    whole = title(notification, _LONGEST_TITLE)
    return whole if whole.startswith(start) else incident.title
