"""The configuration in use, prepared for the workers: configuration, routing, templates and the client of OVHcloud.

A reload replaces it whole, between two pieces of work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from notifier.config.loading import Loading
from notifier.config.model import Configuration, Receiver
from notifier.incidents.lifecycle import PAGING, Kind, Policy, Step, StepOutcome, next_step
from notifier.incidents.links import Link
from notifier.incidents.reply_codes import reply_code
from notifier.incidents.severities import Severities
from notifier.oncall.schedules import Calendar, Schedules
from notifier.ovh.client import OvhClient
from notifier.ovh.session import Observer
from notifier.ovh.telephony import Line, line_of
from notifier.rendering.compose import Style
from notifier.rendering.templates import Templates
from notifier.routing import Routing
from notifier.sms.recipient import Recipient

_AROUND = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A configuration made ready for use."""

    configuration: Configuration
    routing: Routing
    templates: Templates
    apis: Mapping[str, OvhClient]
    """The accounts, by their names."""
    schedules: Schedules
    written: Mapping[str, Any] = field(default_factory=dict)
    """The configuration as written, its secrets hidden."""
    contacts: Mapping[str, Recipient] = field(default_factory=dict)
    """The contacts, by their names."""

    def receiver(self, name: str) -> Receiver:
        """Return the receiver of that name; the first one if it is not configured any more: somebody must be paged."""
        return self.configuration.receiver(name) or self.configuration.receivers[0]

    def language(self, contact: str) -> str:
        """Return the language of the contact of that name; English if none is configured."""
        return self.contacts[contact].language if contact in self.contacts else "en"

    @property
    def severities(self) -> Severities:
        """How urgent each severity is."""
        return Severities.of(self.configuration.global_.severities)

    @property
    def api(self) -> OvhClient:
        """The first account."""
        return next(iter(self.apis.values()))

    @property
    def account_names(self) -> dict[str, str]:
        """The names of the accounts as jobs record them, by their names in the configuration."""
        return {name: api.account_name for name, api in self.apis.items()}

    def api_of(self, account: str) -> OvhClient | None:
        """Return the client of the account of that name; None if it is not configured any more.

        Without a name, it is the first one.
        """
        if not account:
            return self.api
        nameless = self.apis.get("")
        is_it = nameless is not None and nameless.known_name in (None, account)
        return self.apis.get(account) or (nameless if is_it else None)

    @property
    def line(self) -> Line | None:
        """The line that makes phone calls: of the first account that has one."""
        return next(filter(None, map(line_of, self.apis.values())), None)

    def style(self, receiver: Receiver, kind: Kind | None = None) -> Style:
        """Return how *receiver* wants its messages written; those of *kind* to contacts, which may have links."""
        urls, url = self.configuration.sends_urls, self.configuration.linked_url
        code_key = self.configuration.code_key
        ending = Link.sample(url).ending if url is not None and kind in PAGING else ""
        return Style(receiver.template, receiver.max_parts, receiver.encoding, urls, code_key, ending)

    def reply_code(self, phone: str, now: datetime) -> str:
        """Return the code that who has *phone* replies with at *now*; empty if none is required."""
        key = self.configuration.code_key
        return "" if key is None else reply_code(key, phone, now)

    def recipients(self, notify: Iterable[str], now: datetime) -> tuple[Recipient, ...]:
        """Return the recipients of *notify* (schedules, contacts, numbers) at *now*, each number once.

        A schedule that has a gap at that time adds nobody; nor does one whose calendar, fetched before a reload, names
        somebody who is no contact any more.
        """
        found: dict[str, Recipient] = {}
        for name in notify:
            schedule = self.schedules.by_name.get(name)
            contact = schedule.on_call(now) if schedule is not None else name
            if contact is None or (schedule is not None and contact not in self.contacts):
                continue
            recipient = self.contacts.get(contact) or self.configuration.recipient(contact)  # a bare number
            found.setdefault(recipient.phone, recipient)
        return tuple(found.values())

    def policy(self, receiver: Receiver) -> Policy:
        """Return the steps by which *receiver* pages."""
        steps = (
            Step(timedelta(), receiver.notify),
            *(Step(s.after, s.notify, s.call) for s in receiver.escalate),
        )
        return Policy(steps, receiver.repeat)

    def step(self, receiver: Receiver, step: int, round_: int, now: datetime) -> StepOutcome[Recipient]:
        """Return the outcome of taking *step* of *receiver* in *round_*; it pages somebody in any case."""
        outcome: StepOutcome[Recipient] = next_step(
            self.policy(receiver), step, round_, now, lambda names: self.recipients(names, now)
        )
        if outcome.recipients:
            return outcome
        return replace(outcome, recipients=self.fallback_recipients(receiver, now), is_fallback=True)

    def fallback_recipients(self, receiver: Receiver, now: datetime) -> tuple[Recipient, ...]:
        """Return who is paged when no recipient of *receiver* is on call: a page must reach somebody.

        That is everybody in its schedules around *now*, or else every contact there is.
        """
        named = [
            self.schedules.by_name[name] for name in receiver.everyone() if name in self.schedules.by_name
        ]
        contacts = [contact.name for contact in self.configuration.contacts]
        around = [c for s in named for c in s.contacts(now - _AROUND, now + _AROUND) if c in contacts]
        return self.recipients(around or contacts, now)


@dataclass(slots=True)
class Current:
    """The runtime in force."""

    runtime: Runtime
    calendars: dict[tuple[str, str], Calendar] = field(default_factory=dict)
    """The calendars that schedules are kept in, by source and zone; they outlast a reload."""


def prepare(
    loading: Loading,
    templates: Templates,
    observe: Observer,
    calendars: dict[tuple[str, str], Calendar] | None = None,
) -> Runtime:
    """Return the runtime of the configuration in *loading*, which must have one.

    The calendars that it names are added to *calendars*, unless they are there already.
    """
    configuration = loading.configuration
    if configuration is None:
        raise ValueError("a configuration with errors cannot be used")
    return Runtime(
        configuration,
        Routing.of(configuration),
        templates,
        {account.name: OvhClient(account, observe) for account in configuration.accounts},
        Schedules.of(configuration, {} if calendars is None else calendars),
        loading.written,
        {contact.name: configuration.recipient(contact.name) for contact in configuration.contacts},
    )
