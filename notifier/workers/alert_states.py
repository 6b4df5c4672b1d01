"""Alertmanager's answers about incidents, and their effects: for the escalator, and for the regular check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from notifier.alertmanager import api
from notifier.alertmanager.webhook import WebhookError, fingerprint, parse_webhook
from notifier.clock import elapsed
from notifier.config.alertmanager import AlertmanagerConfig
from notifier.config.model import Recipient
from notifier.config.types import mask_password
from notifier.delivery.message import NewMessage
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import INHIBITION, Event, Incident, IncidentState, Reason, resolved
from notifier.incidents.suppression import Judgement, Move, Standing, described, follow, judge
from notifier.planning.division import alert_key
from notifier.planning.notices import incident_notices, shown_time
from notifier.planning.plans import plan_resolution
from notifier.planning.receivers import receiver_of, recipients_of
from notifier.planning.texts import new_messages
from notifier.rendering.phrases import notice
from notifier.store.records import IncidentChange
from notifier.workers.context import Context

log = structlog.get_logger(__name__)

_SECONDS = 5.0
"""How long all members together have to answer."""
_DETAIL_SECONDS = 2.0
_MOST_SILENCES = 20
"""The number of silences whose authors are asked for at a time."""
_AFTER_FAILURE = 15.0
"""Seconds for which Alertmanager is not asked again after no member answered: no step waits for it meanwhile."""
_MOST_KNOWN = 2000


@dataclass(frozen=True, slots=True)
class _Alerts:
    """The fingerprints of the alerts of a webhook, by their keys, and the labels of its group.

    There are none if the webhook may lack alerts of the group.
    """

    fingerprints: Mapping[str, str]
    group: Mapping[str, str]


_NO_ALERTS = _Alerts({}, {})


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of an answer on an incident: the state of its alerts, and the *change* to write, if there is one.

    `Move.NONE` with a change only records what was learnt.
    """

    standing: Standing
    move: Move
    after: Incident
    change: IncidentChange | None = None


class AlertStates:
    """Asks Alertmanager about the alerts of incidents."""

    def __init__(self, context: Context, monotonic: Callable[[], float] = elapsed) -> None:
        """Prepare to ask the Alertmanager of *context*'s configuration."""
        self._store = context.store
        self._current = context.current
        self._metrics = context.metrics
        self._monotonic = monotonic
        self._known: dict[str, _Alerts] = {}
        self._answered_at: float | None = None
        self._ask_from = 0.0
        self.problems: Mapping[str, str] = {}
        """Why members gave no answer when they were last asked, by their URLs."""
        self.is_silent = False
        """Whether no member answered when they were last asked."""

    def effects(self, incidents: Sequence[Incident], now: datetime) -> list[Effect]:
        """Return the effect of Alertmanager's answer on each of *incidents*; a fault here is logged, and has none."""
        settings = self._current.runtime.configuration.alertmanager
        if settings is None:
            return [Effect(Standing.UNKNOWN, Move.NONE, incident) for incident in incidents]
        try:
            judged, answers = self._judge(settings, incidents, now)
            details = self._details(answers, judged)
        except Exception:  # whatever an answer holds, the escalation goes on without it
            log.exception("Alertmanager's answer cannot be used")
            self.is_silent = True
            return [Effect(Standing.UNKNOWN, Move.NONE, incident) for incident in incidents]
        return [
            self._effect(settings, incident, judgement, details, now)
            for incident, judgement in zip(incidents, judged, strict=True)
        ]

    def is_believed(self, incident: Incident) -> bool:
        """Return whether *incident* counts as silenced although no member answers: they have until a moment ago."""
        settings = self._current.runtime.configuration.alertmanager
        if settings is None or self._answered_at is None or not incident.silenced_by:
            return False
        silent_for = self._monotonic() - self._answered_at
        return silent_for < 2 * settings.check_interval.total_seconds()

    def write(self, effects: Sequence[Effect], now: datetime) -> None:
        """Write the changes of *effects*, except those of incidents that others have changed meanwhile.

        Raises:
            StoreUnavailable: they cannot be written now.
        """
        changes = [effect.change for effect in effects if effect.change is not None]
        for change, is_done in zip(changes, self._store.incidents.change(changes, now).result(), strict=True):
            for event in change.events if is_done else ():
                log.info(
                    f"incident {event.reason}",
                    incident=change.incident.number,
                    receiver=change.incident.receiver,
                    alert=change.incident.title,
                    by=event.by,
                    detail=event.detail,
                    messages=[message.id for message in change.messages],
                )

    # asking

    def _judge(
        self, settings: AlertmanagerConfig, incidents: Sequence[Incident], now: datetime
    ) -> tuple[list[Judgement], list[api.MemberAnswer]]:
        alerts = [self._alerts_of(incident) for incident in incidents]
        groups = {tuple(sorted(known.group.items())): known.group for known in alerts if known.fingerprints}
        answers = self._ask(settings, list(groups.values())) if groups else []
        judged = []
        for incident, known in zip(incidents, alerts, strict=True):
            found = [known.fingerprints[key] for key in incident.firing if key in known.fingerprints]
            is_complete = len(found) == len(incident.firing)
            judged.append(judge(found if is_complete else (), answers, now))
        return judged, answers

    def _ask(
        self, settings: AlertmanagerConfig, groups: Sequence[Mapping[str, str]]
    ) -> list[api.MemberAnswer]:
        if self._monotonic() < self._ask_from:
            return []
        answers, problems = api.ask(settings.apis, groups, _SECONDS)
        problems = {mask_password(url): reason for url, reason in problems.items()}
        self._metrics.alertmanager_queries.labels("answered").inc(len(answers))
        self._metrics.alertmanager_queries.labels("failed").inc(len(problems))
        for url in problems.keys() - self.problems.keys():
            log.warning("Alertmanager cannot be asked", url=url, error=problems[url])
        for url in self.problems.keys() - problems.keys():
            log.info("Alertmanager can be asked again", url=url)
        self.problems, self.is_silent = problems, not answers
        if answers:
            self._answered_at = self._monotonic()
        else:
            self._ask_from = self._monotonic() + _AFTER_FAILURE
        return answers

    def _alerts_of(self, incident: Incident) -> _Alerts:
        if incident.webhook_id is None or incident.group_key.startswith(HEARTBEATS):
            return _NO_ALERTS
        known = self._known.get(incident.webhook_id)
        if known is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[incident.webhook_id] = self._read(incident)
        return known

    def _read(self, incident: Incident) -> _Alerts:
        last = self._store.incidents.webhook(incident)
        try:
            webhook = parse_webhook(last[0]) if last is not None else None
        except WebhookError:
            webhook = None
        if webhook is None or webhook.truncated_alerts:
            return _NO_ALERTS
        fingerprints = {alert_key(one): one.fingerprint or fingerprint(one.labels) for one in webhook.alerts}
        return _Alerts(fingerprints, webhook.group_labels)

    def _details(
        self, answers: Sequence[api.MemberAnswer], judged: Iterable[Judgement]
    ) -> tuple[Mapping[str, api.Silence], Mapping[str, str]]:
        """Return the silences that suppress alerts, by id, and the names of the alerts that do, by fingerprint."""
        suppressed = [one for one in judged if one.standing is Standing.SUPPRESSED]
        if not suppressed:
            return {}, {}
        member = answers[0].member
        ids = sorted({id_ for one in suppressed for some in one.silences for id_ in some})
        found = api.silences(member, ids[:_MOST_SILENCES], _DETAIL_SECONDS)
        sources = {source for one in suppressed if not one.silences for source in one.inhibited_by}
        names = api.alert_names(member, sources, _DETAIL_SECONDS) if sources else {}
        return found, names

    # effects

    def _effect(
        self,
        settings: AlertmanagerConfig,
        incident: Incident,
        judgement: Judgement,
        details: tuple[Mapping[str, api.Silence], Mapping[str, str]],
        now: datetime,
    ) -> Effect:
        move, after = follow(incident, judgement, now, settings.check_interval)
        if judgement.standing is Standing.SUPPRESSED:
            by, comment, until = described(judgement, *details)
            if by or not after.silenced_by:
                by = by or "somebody"
                after = replace(after, silenced_by=by, silence_comment=comment, silenced_until=until)
        change: IncidentChange | None = IncidentChange(after) if after != incident else None
        if move is Move.SILENCED:
            change = self._silenced(after, now)
        elif move is Move.RELEASED:
            change = self._released(after)
        elif move is Move.RESOLVED:
            change = self._resolved(after, now)
        return Effect(judgement.standing, move, after, change)

    def _silenced(self, incident: Incident, now: datetime) -> IncidentChange:
        until = (
            "" if incident.silenced_until is None else f"until {incident.silenced_until:%Y-%m-%d %H:%M} UTC"
        )
        detail = ": ".join(filter(None, (until, incident.silence_comment)))
        is_open = incident.state is IncidentState.OPEN
        return IncidentChange(
            incident,
            events=(Event(Reason.SILENCED, by=incident.silenced_by, detail=detail or None),),
            messages=self._notices(incident, now) if is_open else (),
            withdraws_pages=True,
        )

    def _notices(self, incident: Incident, now: datetime) -> tuple[NewMessage, ...]:
        runtime, until = self._current.runtime, incident.silenced_until

        def text(one: Recipient) -> str:
            name = "inhibited" if incident.silenced_by == INHIBITION else "silenced"
            if name == "silenced" and until is None:
                name = "silenced_for_now"
            return notice(
                name,
                one.language,
                number=incident.number,
                title=incident.title,
                by=incident.silenced_by,
                time=shown_time(until, one, now) if until is not None else "",
            )

        involved = recipients_of(runtime, self._store.paged.involved(incident.id))
        return incident_notices(runtime, incident, involved, text, now, by=incident.silenced_by)

    def _released(self, incident: Incident) -> IncidentChange:
        if incident.state is not IncidentState.OPEN:
            return IncidentChange(incident, events=(Event(Reason.UNSILENCED),))
        if not self._store.paged.involved(incident.id):  # its pages were withdrawn before anybody got one
            incident = replace(incident, step=0, round=0)
        return IncidentChange(incident)

    def _resolved(self, incident: Incident, now: datetime) -> IncidentChange:
        runtime = self._current.runtime
        involved = recipients_of(runtime, self._store.paged.involved(incident.id))
        planned = plan_resolution(runtime, incident, involved, now)
        after = planned.incident or resolved(incident, now)
        messages: tuple[NewMessage, ...] = ()
        if planned.notification is not None:
            receiver = receiver_of(runtime, incident)
            messages = new_messages(runtime, receiver, after, planned.notification, planned.pages, now, now)
        event = Event(Reason.RESOLVED, detail="Alertmanager no longer knows its alerts")
        return IncidentChange(after, events=(event,), messages=messages)
