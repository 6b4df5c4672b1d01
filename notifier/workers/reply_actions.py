"""The actions of a reply: its incidents, their changes, and the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from notifier.alertmanager.silences import SilenceRefused
from notifier.config.ovh import ReplyCommand, ReplySettings
from notifier.incidents.lifecycle import Incident, IncidentState
from notifier.incidents.replies import (
    Ack,
    Close,
    Command,
    Help,
    Mute,
    Next,
    Unclear,
    Who,
    command_of,
    parse_reply,
)
from notifier.incidents.reply_codes import MAX_WRONG, WRONG_PER, without_code
from notifier.ovh.client import OvhClient
from notifier.ovh.models import Incoming
from notifier.planning.notices import shown_time
from notifier.rendering.phrases import notice
from notifier.sms.recipient import Recipient
from notifier.store.records import IncidentChange
from notifier.store.replies import READING, Repetition
from notifier.workers.actions import Actions, Via
from notifier.workers.context import Context
from notifier.workers.reply_texts import confirmation, still_open
from notifier.workers.silencing import LONGEST_SILENCE, silence_in_alertmanager

log = structlog.get_logger(__name__)

_MAX_AT_ONCE = 2
"""How many answers one reply gets at most."""
_MAX_MUTED = 10
_SKEW = timedelta(seconds=1)
"""OVHcloud's times are whole seconds."""
_NO_CODE = "without the code"
"""The outcome of a reply that lacks the code it must hold."""


@dataclass(slots=True)
class Meaning:
    """The outcome of a reply, before it is written."""

    outcome: str
    changes: list[IncidentChange] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    is_unrequested_help: bool = False
    """Whether the answer is help that was not requested."""
    is_asked_for: bool = False
    """Whether the answer was asked for, and is always given."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """The incidents of a reply; if there are none, or not all, the *outcome* and the answer."""

    incidents: tuple[Incident, ...]
    outcome: str | None = None
    answers: tuple[str, ...] = ()


_Act = Callable[[Meaning, Incident], None]


class ReplyActions:
    """Interprets replies and prepares their changes. The only thing it does is to create the silences of a mute."""

    def __init__(self, context: Context, actions: Actions) -> None:
        """Prepare with the *actions* that commands and pages have, too."""
        self._store = context.store
        self._current = context.current
        self._actions = actions

    def meaning_of(
        self,
        api: OvhClient,
        reply: Incoming,
        person: Recipient | None,
        at: datetime,
        now: datetime,
        silences: dict[str, str | SilenceRefused],
    ) -> Meaning:
        """Return the outcome of *reply*. *silences* maps incident ids to the silences created for it so far; new ones
        are added.
        """
        account, settings = api.service_name(), api.settings.replies
        if reply.tag and not self._store.replies.is_tag_known(reply.tag):
            return Meaning("to another installation")
        if person is None:
            return Meaning("stranger")
        key = self._current.runtime.configuration.code_key
        text, is_coded = reply.message, False
        if key is not None:
            text, is_coded = without_code(text, key, person.phone, at)
        command = parse_reply(text)
        if (refused := self._refused(command, settings, person, is_coded=is_coded, at=at)) is not None:
            return refused
        is_bare = isinstance(command, Ack | Mute) and not command.numbers
        repetition = Repetition.NONE
        if is_bare or isinstance(command, Next):
            repetition = self._store.replies.repetition(account, reply.id, person.phone, reply.message, at)
        if repetition is Repetition.DELIBERATE:
            at -= READING  # it is about what can have been read
        if repetition is Repetition.DUPLICATE:
            left = self._store.paged.open_of(person, at + _SKEW) if isinstance(command, Ack) else []
            rest = still_open(left, person.language, self._current.runtime.severities)
            return Meaning("repeated", answers=[f"{notice('repeated', person.language)} {rest}".strip()])
        return self._meaning(command, person, at, now, settings, silences)

    def _refused(
        self, command: Command, settings: ReplySettings, person: Recipient, *, is_coded: bool, at: datetime
    ) -> Meaning | None:
        """Return the outcome of *command* if *person* may not give it; None if they may.

        *is_coded* is whether the reply holds their code.
        """
        if isinstance(command, Help | Unclear):
            return None
        if command_of(command) not in settings.may:
            return Meaning("not allowed", answers=[notice("not_allowed", person.language)])
        if isinstance(command, Who) or not settings.require_code:
            return None
        wrong = self._store.replies.count(person.phone, at - WRONG_PER, _NO_CODE)
        if wrong >= MAX_WRONG:
            return Meaning("too many without the code", answers=[notice("code_locked", person.language)])
        return None if is_coded else Meaning(_NO_CODE, answers=[notice("code_missing", person.language)])

    def _meaning(
        self,
        command: Command,
        person: Recipient,
        at: datetime,
        now: datetime,
        settings: ReplySettings,
        silences: dict[str, str | SilenceRefused],
    ) -> Meaning:
        """Return the outcome of *command* of *person*, written at *at*."""
        alertmanager = self._current.runtime.configuration.alertmanager
        before, language, any_contact = at + _SKEW, person.language, settings.any_contact
        numbered = partial(self._numbered, person, before=before, any_contact=any_contact)
        can_mute = alertmanager is not None and ReplyCommand.MUTE in settings.may
        help_ = notice("help_mute" if can_mute else "help", language)
        match command:
            case Ack(numbers, over, every):
                return self._acknowledge_all(
                    person, numbers, before, now, over=over, every=every, any_contact=any_contact
                )
            case Next(numbers):
                meant = numbered(numbers) if numbers else self._latest(person, before)
                return self._done(meant, partial(self._pass_on, person=person, now=now))
            case Close(numbers):
                meant = numbered(numbers)
                return self._done(meant, partial(self._close, person=person, now=now))
            case Mute(duration, numbers) if alertmanager is not None:
                meant = numbered(numbers) if numbers else self._latest(person, before)
                mute = partial(self._mute, duration, silences, person=person, now=now)
                return self._done(meant, mute)
            case Who():
                return Meaning("who", answers=[self._on_call(person, now)])
            case Help():
                return Meaning("help", answers=[help_], is_asked_for=True)
            case Mute() | Unclear():
                return Meaning("unclear", answers=[help_], is_unrequested_help=True)

    def _done(self, meant: _Targets, act: _Act) -> Meaning:
        """Return the outcome of doing *act* to each of the incidents that are *meant*."""
        meaning = Meaning("done", answers=list(meant.answers))
        if meant.outcome is not None:
            meaning.outcome = meant.outcome
        for incident in meant.incidents:
            act(meaning, incident)
        if (
            meaning.changes
        ):  # even if only some incidents changed: the same text again must count as a repetition
            meaning.outcome = "done"
        meaning.answers = list(dict.fromkeys(meaning.answers))[:_MAX_AT_ONCE]
        return meaning

    def _numbered(
        self, person: Recipient, numbers: Sequence[int], before: datetime, *, any_contact: bool
    ) -> _Targets:
        """Return the incidents of these *numbers*, and those that *person* was paged for in the same message.

        Without *any_contact*, only those that *person* was paged for.
        """
        found: dict[str, Incident] = {}
        outcome, answers = None, []
        for number in numbers:
            one = self._store.incidents.numbered(number)
            if one is not None and one.opened_at > before:
                one = None  # whoever wrote this cannot have meant it
            if one is None or one.state is IncidentState.RESOLVED:
                outcome = "no_incident" if one is None else "resolved_already"
                answers.append(notice(outcome, person.language, number=number))
            elif not any_contact and not self._was_paged(one, person):
                outcome = "not paged"
                answers.append(notice("not_paged", person.language, number=number))
            else:
                found |= {with_it.id: with_it for with_it in self._store.paged.paged_with(one, person)}
        return _Targets(tuple(found.values()), outcome, tuple(answers))

    def _was_paged(self, incident: Incident, person: Recipient) -> bool:
        """Whether *person* was sent a page of *incident*, or has it in hand."""
        if incident.holder == person.name:
            return True
        involved = self._store.paged.involved(incident.id)
        return any(one.contact == person.name or one.phone == person.phone for one in involved)

    def _latest(self, person: Recipient, before: datetime) -> _Targets:
        """Return the incidents of the last page that *person* was sent before then."""
        unresolved = IncidentState.OPEN, IncidentState.ACKNOWLEDGED
        found = self._store.paged.latest_of(person, before, *unresolved)
        if found:
            return _Targets(tuple(found))
        return _Targets((), "nothing open", (notice("nothing_open", person.language),))

    def _acknowledge_all(
        self,
        person: Recipient,
        numbers: Sequence[int],
        before: datetime,
        now: datetime,
        *,
        over: bool,
        every: bool,
        any_contact: bool,
    ) -> Meaning:
        """Return the outcome of an acknowledgement by *person*: of named incidents, all, or the most severe.

        Without a number that is the latest page; where several are open, those of the highest severity among them.
        """
        open_ = self._store.paged.open_of(person, before)
        if numbers:
            meant = self._numbered(person, numbers, before, any_contact=any_contact)
        elif open_ and every:
            meant = _Targets(tuple(open_))
        elif open_:
            urgency = self._current.runtime.severities.urgency
            highest = min(urgency(one.severity) for one in open_)
            meant = _Targets(tuple(one for one in open_ if urgency(one.severity) == highest))
        else:
            meant = self._latest(person, before)
        act = partial(self._acknowledge, over, person=person, now=now)
        meaning = self._done(meant, act)
        taken = [change.incident for change in meaning.changes]
        if taken:
            ids = {one.id for one in taken}
            left = [one for one in open_ if one.id not in ids]
            meaning.answers.insert(
                0, confirmation(taken, left, person.language, self._current.runtime.severities)
            )
        return meaning

    def _acknowledge(
        self, over: bool, meaning: Meaning, incident: Incident, *, person: Recipient, now: datetime
    ) -> None:
        if _is_of_another(incident, person) and not over:
            self._refuse(meaning, incident, person)
            return
        meaning.changes.append(
            self._actions.acknowledgement_change(incident, person.name, Via.SMS, person.phone, now)
        )

    @staticmethod
    def _refuse(meaning: Meaning, incident: Incident, person: Recipient) -> None:
        """Say that somebody else has *incident*."""
        meaning.outcome = "somebody else has it"
        meaning.answers.append(
            notice("has_it", person.language, by=incident.acknowledged_by, number=incident.number)
        )

    def _pass_on(self, meaning: Meaning, incident: Incident, *, person: Recipient, now: datetime) -> None:
        change = self._actions.escalation_change(incident, person.name, Via.SMS, now)
        name = "nobody_further" if change is None else "passed_on"
        meaning.answers.append(notice(name, person.language, number=incident.number))
        if change is None:
            meaning.outcome = "nobody further"
        else:
            meaning.changes.append(change)

    def _close(self, meaning: Meaning, incident: Incident, *, person: Recipient, now: datetime) -> None:
        meaning.changes.append(
            self._actions.closing_change(incident, person.name, Via.SMS, now, person.phone)
        )
        meaning.answers.append(notice("you_closed", person.language, number=incident.number))

    def _mute(
        self,
        duration: timedelta,
        silences: dict[str, str | SilenceRefused],
        meaning: Meaning,
        incident: Incident,
        *,
        person: Recipient,
        now: datetime,
    ) -> None:
        """Silence *incident* in Alertmanager and acknowledge it for *person*, unless somebody else has it."""
        if _is_of_another(incident, person):
            self._refuse(meaning, incident, person)
            return
        if incident.id not in silences and len(silences) >= _MAX_MUTED:
            silences[incident.id] = SilenceRefused("too many at once; name it")
        duration = min(duration, LONGEST_SILENCE)
        if incident.id not in silences:
            try:
                silences[incident.id] = silence_in_alertmanager(
                    self._current.runtime, self._store, incident, person.name, duration, now
                )
            except SilenceRefused as refusal:
                silences[incident.id] = refusal
        made = silences[incident.id]
        if isinstance(made, SilenceRefused):
            log.warning("silence refused", incident=incident.number, by=person.name, error=str(made))
            meaning.outcome = "not muted"
            text = notice("not_muted", person.language, number=incident.number, reason=made)
            meaning.answers.append(text)
            return
        until = f"{(now + duration).astimezone(person.time_zone):%d/%m/%Y %H:%M}"
        change = self._actions.silencing_change(
            incident, person.name, Via.SMS, person.phone, made, now, duration
        )
        meaning.changes.append(change)
        meaning.answers.append(notice("muted", person.language, number=incident.number, time=until))

    def _on_call(self, person: Recipient, now: datetime) -> str:
        people = []
        for schedule in self._current.runtime.schedules.by_name.values():
            shift = schedule.at(now)
            shown = shown_time(shift.end, person, now)
            name = "until" if shift.contact is not None else "nobody_on_call"
            people.append(
                notice(name, person.language, schedule=schedule.name, contact=shift.contact, time=shown)
            )
        if not people:
            people = [contact.name for contact in self._current.runtime.configuration.contacts]
        return notice("on_call", person.language, people=", ".join(people))


def _is_of_another(incident: Incident, person: Recipient) -> bool:
    """Whether somebody else than *person* has *incident*."""
    is_taken = incident.state is IncidentState.ACKNOWLEDGED
    return is_taken and incident.acknowledged_by not in (None, person.name)
