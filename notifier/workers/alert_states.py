"""Alertmanager's answers about incidents, and their effects: for the escalator, and for the regular check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from notifier.alertmanager import api
from notifier.alertmanager.webhook import WebhookError, fingerprint, parse_webhook
from notifier.clock import elapsed
from notifier.config.alertmanager import AlertmanagerConfig
from notifier.config.types import mask_password
from notifier.delivery.message import NewMessage
from notifier.incidents.heartbeats import HEARTBEATS
from notifier.incidents.lifecycle import INHIBITION, Event, Incident, IncidentState, Reason, resolved
from notifier.incidents.suppression import Judgement, Standing, Verdict, described, follow, judge
from notifier.planning.division import alert_key
from notifier.planning.notices import incident_notices, shown_time
from notifier.planning.plans import plan_resolution
from notifier.planning.receivers import recipients_of
from notifier.planning.texts import new_messages
from notifier.rendering.phrases import notice
from notifier.sms.encoding import without_contacts
from notifier.sms.recipient import Recipient
from notifier.store.records import IncidentChange
from notifier.workers.context import Context

log = structlog.get_logger(__name__)

_SECONDS = 5.0
"""How long all members together have to answer."""
_GRACE = 1.0
"""How long other members have once one has answered."""
_DETAIL_SECONDS = 2.0
_MAX_SILENCES = 20
"""The number of silences whose authors are asked for at a time."""
_AFTER_FAILURE = 15.0
"""Seconds for which a member that gave no answer is not waited for again."""
_REUSED_FOR = 2.0
"""Seconds for which an answer about all alerts serves: a storm is escalated in batches."""
_MAX_KNOWN = 50_000
"""The number of alerts whose fingerprints are kept."""
_NOTICE_INTERVAL = timedelta(hours=1)
"""The shortest time between two notices that an incident was silenced: inhibitions may flap."""
_LONGEST_NAME = 30
_NOT_ASKED = "Alertmanager could not be asked"


@dataclass(frozen=True, slots=True)
class _Alerts:
    """The fingerprints of the alerts of a webhook, by their keys, those that fire, and the labels of its group.

    There are none if the webhook may lack alerts of the group.
    """

    fingerprints: Mapping[str, str]
    firing: frozenset[str]
    group: Mapping[str, str]


_NO_ALERTS = _Alerts({}, frozenset(), {})


def _firing(incident: Incident, known: _Alerts) -> dict[str, str]:
    """Return the fingerprints of the firing alerts of *incident*, by key; none if not all of them are known.

    Alerts that joined while it was muted are among them.
    """
    keys = incident.firing | (known.firing if incident.unmute_at is not None else frozenset())
    if not keys <= known.fingerprints.keys():
        return {}
    return {key: known.fingerprints[key] for key in keys}


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of an answer on an incident: the state of its alerts, and the *change* to write, if there is one.

    `Verdict.NONE` with a change only records what was learnt.
    """

    standing: Standing
    verdict: Verdict
    after: Incident
    change: IncidentChange | None = None
    is_answered: bool = True
    """Whether a member has answered; also if nothing was asked."""


_Details = tuple[Mapping[str, api.Silence], Mapping[str, str]]


class AlertStates:
    """Asks Alertmanager about the alerts of incidents."""

    def __init__(self, context: Context, monotonic: Callable[[], float] = elapsed) -> None:
        """Prepare to ask the Alertmanager of *context*'s configuration."""
        self._store = context.store
        self._current = context.current
        self._metrics = context.metrics
        self._monotonic = monotonic
        self._known: dict[str, _Alerts] = {}
        self._ask_from: dict[str, float] = {}
        self._details_from = 0.0
        self._last: tuple[float, list[api.MemberAnswer]] = (float("-inf"), [])
        """When the members were last asked about all alerts, and their answers."""
        self._starts: dict[str, tuple[datetime, datetime]] = {}
        """By member: when it says that it started, and since when that counts."""
        self.problems: Mapping[str, str] = {}
        """Why members gave no answer when they were last asked, by their URLs."""
        self.is_silent = False
        """Whether no member answered when they were last asked."""

    def effects(self, incidents: Sequence[Incident], now: datetime) -> list[Effect]:
        """Return the effect of Alertmanager's answer on each of *incidents*.

        An answer that cannot be used is logged and counts as none; the states judged before that are kept.

        Raises:
            StoreUnavailable: the webhooks of the incidents cannot be read.
        """
        settings = self._current.runtime.configuration.alertmanager
        judged = [Judgement(Standing.UNKNOWN)] * len(incidents)
        details: _Details = ({}, {})
        is_answered = True
        if settings is None:
            self.forget()
        else:
            alerts = [self._alerts_of(incident) for incident in incidents]
            try:
                judged, answers = self._judge(settings, incidents, alerts, now)
                is_answered = bool(answers) or not any(known.fingerprints for known in alerts)
                details = self._details(answers, incidents, judged)
            except Exception:  # whatever an answer holds, the escalation goes on without it
                log.exception("Alertmanager's answer cannot be used")
                self.is_silent, is_answered = True, False
        return [
            self._effect(incident, judgement, details, now, is_answered=is_answered)
            for incident, judgement in zip(incidents, judged, strict=True)
        ]

    def forget(self) -> None:
        """Forget why members gave no answer: nothing is asked now."""
        self.problems, self.is_silent = {}, False

    def keep(self, incidents: Sequence[Incident]) -> None:
        """Forget the webhooks that are not the last ones of *incidents*."""
        wanted = {incident.webhook_id for incident in incidents}
        self._known = {id_: known for id_, known in list(self._known.items()) if id_ in wanted}

    def write(self, effects: Sequence[Effect], now: datetime) -> None:
        """Write the changes of *effects*, except those of incidents that others have changed meanwhile.

        Raises:
            StoreUnavailable: they cannot be written now.
        """
        changes = [effect.change for effect in effects if effect.change is not None]
        if not changes:
            return
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
        self,
        settings: AlertmanagerConfig,
        incidents: Sequence[Incident],
        alerts: Sequence[_Alerts],
        now: datetime,
    ) -> tuple[list[Judgement], list[api.MemberAnswer]]:
        groups = {tuple(sorted(known.group.items())): known.group for known in alerts if known.fingerprints}
        answers = self._ask(settings, list(groups.values()), now) if groups else []
        return [
            judge(incident, _firing(incident, known), answers, now)
            for incident, known in zip(incidents, alerts, strict=True)
        ], answers

    def _ask(
        self, settings: AlertmanagerConfig, groups: Sequence[Mapping[str, str]], now: datetime
    ) -> list[api.MemberAnswer]:
        members, instant = settings.apis, self._monotonic()
        is_about_all = len(groups) > api.MAX_FILTERS
        if is_about_all and instant - self._last[0] < _REUSED_FOR:
            return self._last[1]
        well = [one for one in members if self._ask_from.get(one.url, 0.0) <= instant]
        if not well:
            return []
        answers, found = api.ask(well, groups, _SECONDS, _GRACE)
        self._metrics.alertmanager_queries.labels("answered").inc(len(answers))
        self._metrics.alertmanager_queries.labels("failed").inc(len(found))
        self._ask_from |= dict.fromkeys(found, self._monotonic() + _AFTER_FAILURE)
        asked = {mask_password(one.url) for one in well}
        problems = {url: why for url, why in self.problems.items() if url not in asked}
        problems |= {mask_password(url): reason for url, reason in found.items()}
        for url in problems.keys() - self.problems.keys():
            log.warning("Alertmanager cannot be asked", url=url, error=problems[url])
        for url in self.problems.keys() - problems.keys():
            log.info("Alertmanager can be asked again", url=url)
        self.problems, self.is_silent = problems, not answers
        answers = [replace(one, started_at=self._started_at(one, now)) for one in answers]
        if is_about_all and answers:
            self._last = self._monotonic(), answers
        return answers

    def _started_at(self, answer: api.MemberAnswer, now: datetime) -> datetime:
        """Return when a member started: if it says another time than before, now at the earliest."""
        before = self._starts.get(answer.id)
        if before is None:
            self._starts[answer.id] = answer.started_at, answer.started_at
        elif before[0] != answer.started_at:
            self._starts[answer.id] = answer.started_at, max(answer.started_at, now)
        return self._starts[answer.id][1]

    def _alerts_of(self, incident: Incident) -> _Alerts:
        if incident.webhook_id is None or incident.group_key.startswith(HEARTBEATS):
            return _NO_ALERTS
        known = self._known.get(incident.webhook_id)
        if known is None:
            if sum(len(one.fingerprints) for one in list(self._known.values())) >= _MAX_KNOWN:
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
        firing = frozenset(alert_key(one) for one in webhook.alerts if one.status == "firing")
        return _Alerts(fingerprints, firing, webhook.group_labels)

    def _details(
        self, answers: Sequence[api.MemberAnswer], incidents: Sequence[Incident], judged: Sequence[Judgement]
    ) -> _Details:
        """Return the silences that suppress alerts, by id, and the names of the alerts that do, by fingerprint."""
        both = [
            (not incident.silence_comment, one)
            for incident, one in zip(incidents, judged, strict=True)
            if one.standing is Standing.SUPPRESSED
        ]
        if not both or self._monotonic() < self._details_from:
            return {}, {}
        suppressed = [one for _, one in sorted(both, key=lambda pair: not pair[0])]  # unknown ones come first
        ids = dict.fromkeys(id_ for one in suppressed for some in one.silences for id_ in some)
        member, end = answers[0].member, self._monotonic() + _DETAIL_SECONDS
        found = api.silences(member, list(ids)[:_MAX_SILENCES], _DETAIL_SECONDS) if ids else {}
        if ids and not found:  # steps shall not wait for them once more
            self._details_from = self._monotonic() + _AFTER_FAILURE
        sources = {source for one in suppressed if not one.silences for source in one.inhibited_by}
        left = end - self._monotonic()
        return found, api.alert_names(member, sources, left) if sources and left > 0 else {}

    # effects

    def _effect(
        self,
        incident: Incident,
        judgement: Judgement,
        details: _Details,
        now: datetime,
        *,
        is_answered: bool,
    ) -> Effect:
        settings = self._current.runtime.configuration.alertmanager
        interval = settings.check_interval if settings is not None else timedelta()
        verdict, after = follow(incident, judgement, now, interval, is_answered=is_answered)
        if judgement.standing is Standing.SUPPRESSED:
            by, comment, until = described(judgement, *details)
            if by == INHIBITION == after.silenced_by:  # which alert inhibits it may be known from before
                comment = comment or after.silence_comment
            if by or not after.silenced_by:
                after = replace(
                    after, silenced_by=by or "somebody", silence_comment=comment, silenced_until=until
                )
            is_held = after.due_at is not None and after.due_at != incident.due_at
            if is_held and until is not None and until > now:
                after = replace(after, due_at=min(after.due_at or until, until))
        is_resumed = verdict in (Verdict.RELEASED, Verdict.LOST) and after.state is IncidentState.OPEN
        if is_resumed and not self._store.paged.involved(after.id):
            after = replace(after, step=0, round=0)  # its pages were withdrawn before anybody got one
        change = IncidentChange(after) if after != incident else None
        if verdict is Verdict.SILENCED:
            change = self._silenced(after, now)
        elif verdict is Verdict.RESOLVED:
            change = self._resolved(after, now)
        elif verdict in (Verdict.RELEASED, Verdict.LOST) and not after.silenced_by:
            detail = _NOT_ASKED if verdict is Verdict.LOST else None
            change = IncidentChange(after, events=(Event(Reason.UNSILENCED, detail=detail),))
        return Effect(judgement.standing, verdict, after, change, is_answered)

    def _silenced(self, incident: Incident, now: datetime) -> IncidentChange:
        until = (
            "" if incident.silenced_until is None else f"until {incident.silenced_until:%Y-%m-%d %H:%M} UTC"
        )
        detail = ": ".join(filter(None, (until, incident.silence_comment)))
        is_open = incident.state is IncidentState.OPEN
        last = incident.silence_notified_at
        messages: tuple[NewMessage, ...] = ()
        if is_open and (last is None or now - last >= _NOTICE_INTERVAL):
            messages = self._notices(incident, now)
            incident = replace(incident, silence_notified_at=now)
        return IncidentChange(
            incident,
            events=(Event(Reason.SILENCED, by=incident.silenced_by, detail=detail or None),),
            messages=messages,
            withdraws_pages=is_open,
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
                by=without_contacts(incident.silenced_by)[:_LONGEST_NAME].strip() or "somebody",
                time=shown_time(until, one, now) if until is not None else "",
            )

        involved = recipients_of(runtime, self._store.paged.involved(incident.id, without_waiting=True))
        return incident_notices(runtime, incident, involved, text, now, by=incident.silenced_by)

    def _resolved(self, incident: Incident, now: datetime) -> IncidentChange:
        runtime = self._current.runtime
        involved = recipients_of(runtime, self._store.paged.involved(incident.id))
        planned = plan_resolution(runtime, incident, involved, now)
        after = planned.incident or resolved(incident, now)
        messages: tuple[NewMessage, ...] = ()
        if planned.notification is not None:
            receiver = runtime.receiver(incident.receiver)
            messages = new_messages(runtime, receiver, after, planned.notification, planned.pages, now, now)
        event = Event(Reason.RESOLVED, detail="Alertmanager no longer knows its alerts")
        return IncidentChange(after, events=(event,), messages=messages)
