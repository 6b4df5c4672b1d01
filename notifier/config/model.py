"""``notifier.yml`` as typed models, as the file is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
)
from sqlalchemy import URL, make_url

from notifier.config.alertmanager import AlertmanagerConfig
from notifier.config.fallback import FallbackConfig, FallbackUrls
from notifier.config.ovh import Accounts
from notifier.config.raw import nearest
from notifier.config.routes import RouteConfig, TimeIntervalConfig
from notifier.config.section import Section
from notifier.config.times import (
    DayHours,
    Days,
    LocalTime,
    ShiftLength,
)
from notifier.config.types import (
    Duration,
    HttpUrl,
    Language,
    Matchers,
    Name,
    PositiveDuration,
    Region,
    StorageUrl,
    TimeZone,
    count,
)
from notifier.config.web import Web
from notifier.sms.encoding import MAX_PARTS, Encoding
from notifier.sms.phones import looks_like_number, parse_mobile
from notifier.sms.recipient import Recipient

LONGEST_DEDUPE_WINDOW = timedelta(hours=1)


def _dedupe_window(value: timedelta) -> timedelta:
    if value > LONGEST_DEDUPE_WINDOW:
        raise ValueError("must be at most 1h; what Alertmanager repeats later is no duplicate")
    return value


SeverityLevel = Literal["critical", "high", "warning", "info", "none"]


def _severities(value: dict[str, SeverityLevel]) -> dict[str, SeverityLevel]:
    """Return *value* with its keys in lower case."""
    found: dict[str, SeverityLevel] = {}
    for severity, level in value.items():
        name = severity.lower()
        if not name.strip() or name != name.strip() or not name.isprintable():
            raise ValueError(f"{severity!r} is no value of the label severity; write a word such as sev1")
        if name == "critical":
            raise ValueError("critical means critical; leave it out")
        if name in found:
            raise ValueError(f'"{severity}" is there twice; capitals make no difference')
        found[name] = level
    return found


Severities = Annotated[dict[str, SeverityLevel], AfterValidator(_severities)]
DedupeWindow = Annotated[Duration, AfterValidator(_dedupe_window)]


class Global(Section):
    """Defaults for all contacts and receivers."""

    time_zone: TimeZone = Field(default=ZoneInfo("UTC"), json_schema_extra={"default": "UTC"})
    """Time zone of the times in messages: an IANA name such as Europe/Paris."""
    external_url: HttpUrl | None = None
    """URL at which people reach this service, such as https://pager.example.net; set it behind a reverse proxy."""
    default_region: Region | None = None
    """Country of phone numbers without a country code, such as FR for "06 39 98 00 01"."""
    dedupe_window: DedupeWindow = timedelta(minutes=2)
    """A webhook that equals the last one of its group within this time is ignored as a duplicate."""
    expire_after: PositiveDuration = timedelta(hours=1)
    """How long Notifier tries to send a page before it gives up."""
    shutdown_timeout: PositiveDuration = timedelta(seconds=30)
    """How long a shutdown waits for calls that are under way."""
    severities: Severities = {}  # noqa: RUF012 (pydantic copies it)
    """What other values of the label severity mean, such as {sev1: critical, sev4: info}: critical, high, warning, info
    or none. Otherwise they count as warning. It decides the order, the colour, which incidents a reply without a number
    acknowledges, and which messages a storm and limits.credits hold. Messages that wait keep what they had.
    """


class Storage(Section):
    """The database."""

    url: StorageUrl = "sqlite:///var/lib/notifier/notifier.db"
    """SQLite file: sqlite:///absolute/path, or sqlite:///name.db for a file in the directory of this one. For several
    replicas, a PostgreSQL database: postgresql://user:password@host/database.
    """
    retention: PositiveDuration = timedelta(days=90)
    """How long the history is kept."""

    def place(self, beside: Path) -> Path | URL:
        """Return the database's file, or its URL; a bare name is a file in the directory *beside*."""
        if not self.url.startswith("sqlite:"):
            return make_url(self.url)
        path = self.url.removeprefix("sqlite:///").lstrip("/")
        return beside / path if "/" not in path else Path("/", path)


class Contact(Section):
    """A person who can be paged."""

    name: Name
    phone: str
    """Mobile number."""
    language: Language = "en"
    """Language of the messages. For "fr", the template page.fr.j2 is preferred to page.j2."""
    time_zone: TimeZone | None = None
    """Time zone of the times in this person's messages. Default: global.time_zone."""
    admin: StrictBool = False
    """Whether this person is notified of problems, such as paused sending, few credits or a failed reload."""
    fallback: FallbackUrls = ()
    """URLs of the library apprise, such as mailto:// or ntfys://, for messages that OVHcloud does not accept."""


class RotationConfig(Section):
    """A layer of a schedule: contacts that take shifts in turn."""

    start: LocalTime
    """Start of the first shift, in the time zone of the schedule: 2026-01-05T09:00."""
    every: ShiftLength
    """Length of a shift: 12h, 1d, 1w. Hand-overs keep their local time when the clocks change."""
    contacts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Contacts, in the order of their shifts."""
    days: Days | None = None
    """Days on which the layer applies, such as [monday:friday]. Default: every day."""
    hours: DayHours | None = None
    """Hours in which the layer applies, such as 09:00-17:00; 22:00-06:00 ends on the next day."""


class OverrideConfig(Section):
    """A shift that replaces those of the rotations."""

    start: LocalTime
    end: LocalTime
    contact: str | None
    """Contact on call; null for nobody."""


class ScheduleConfig(Section):
    """Who is on call, and when. A later rotation replaces an earlier one; an override replaces all."""

    name: Name
    time_zone: TimeZone | None = None
    """Time zone of hand-overs. Default: global.time_zone."""
    rotations: tuple[RotationConfig, ...] = ()
    overrides: tuple[OverrideConfig, ...] = ()
    ics: str | None = None
    """File or URL of an iCalendar whose events name contacts; replaces rotations."""


class EscalationStep(Section):
    """A step of an escalation: the recipients who are paged if nobody has acknowledged."""

    after: PositiveDuration
    """Time since the previous step."""
    notify: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of schedules and contacts, or mobile numbers. Schedules are resolved when the step is taken."""
    call: StrictBool = False
    """Whether OVHcloud also calls the contacts of this step and reads the alert to them; any key acknowledges. Needs
    ovh.telephony. Experimental.
    """


class Receiver(Section):
    """Who is paged, and how."""

    name: Name
    notify: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of schedules and contacts, or mobile numbers."""
    template: str = "page"
    """Name of the template file, without .j2."""
    send_resolved: StrictBool = True
    """Whether a message is sent when all alerts are resolved."""
    max_parts: Annotated[int, Field(ge=1, le=MAX_PARTS), BeforeValidator(count)] = 2
    """Maximum number of SMS parts in a message. Each part is billed."""
    encoding: Encoding = Encoding.GSM
    """gsm: replace letters outside the GSM alphabet by the nearest one; unicode: keep them; auto: use fewer parts."""
    expire_after: PositiveDuration | None = None
    """How long Notifier tries to send a page before it gives up. Default: global.expire_after."""
    escalate: tuple[EscalationStep, ...] = ()
    """Steps that are taken while nobody acknowledges. If a step reached nobody, the next one is taken at once."""
    repeat: Annotated[int, Field(ge=0, le=100), BeforeValidator(count)] = 0
    """How many times the steps start over after the last one; the wait is that of the last step."""
    tell_others: StrictBool = True
    """Whether the others who were paged are notified of an acknowledgement."""
    reopen_after: PositiveDuration | None = None
    """Time after which an acknowledgement expires and the steps start over. Default: it does not expire."""

    def everyone(self) -> Iterator[str]:
        """Yield all names and numbers that it notifies, by itself and by its steps."""
        yield from self.notify
        for step in self.escalate:
            yield from step.notify


class HeartbeatConfig(Section):
    """An alert that always fires. If it stops arriving, the receiver is paged: the monitoring itself has failed."""

    name: Name
    matchers: Annotated[Matchers, Field(min_length=1)]
    """Matchers of the alert. Alerts that match page nobody."""
    timeout: PositiveDuration
    """If the alert does not arrive for this long, the receiver is paged. Must be longer than global.dedupe_window."""
    receiver: str
    """Receiver that is paged."""


class PerContact(Section):
    """How many messages a contact receives in a storm."""

    messages: Annotated[int, Field(ge=1, le=1000), BeforeValidator(count)] = 20
    """Maximum number of messages a contact receives within `per`."""
    per: PositiveDuration = timedelta(minutes=10)
    """Window for `messages`. Excess messages are merged into a digest."""


class CreditLimit(Section):
    """How many credits are spent."""

    amount: Annotated[int, Field(ge=1), BeforeValidator(count)]
    """Maximum number of credits spent within `per`."""
    per: PositiveDuration = timedelta(days=1)
    """Window for `amount`. Beyond it, only critical messages, notices and answers to replies are sent, and contacts
    with admin: true are notified.
    """


class Limits(Section):
    """Limits on messages and credits."""

    per_contact: PerContact | None = Field(default_factory=PerContact)
    """null for no limit."""
    credits: CreditLimit | None = Field(default_factory=lambda: CreditLimit(amount=5000))
    """Default: 5000 credits per day, which is enough for a storm of alerts and limits the damage of a stolen token.
    null: no limit.
    """


class ApiConfig(Section):
    """Options of the API."""

    send_to_any_number: StrictBool = False
    """Whether POST /api/v1/send accepts numbers that are not in this file."""


class WatchdogConfig(Section):
    """A dead man's switch that Notifier calls while it works."""

    url: HttpUrl
    """URL that is called with GET."""
    every: PositiveDuration = timedelta(minutes=1)
    """Interval between two calls."""


class Configuration(Section):
    """The configuration of Notifier: an on-call pager for Alertmanager that sends SMS through OVHcloud."""

    global_: Global = Field(default_factory=Global, alias="global")
    web: Web = Field(default_factory=Web)
    storage: Storage = Field(default_factory=Storage)
    accounts: Accounts = Field(alias="ovh")
    """The OVHcloud account that sends, or a list of accounts, which take turns and replace each other on failure."""
    templates: tuple[str, ...] = ()
    """Template files, or patterns such as templates/*.j2, relative to this file."""
    contacts: tuple[Contact, ...] = ()
    schedules: tuple[ScheduleConfig, ...] = ()
    receivers: Annotated[tuple[Receiver, ...], Field(min_length=1)]
    """Receivers. Without `route`, the one that Alertmanager names is paged; if it is unknown, the first one."""
    route: RouteConfig | None = None
    time_intervals: tuple[TimeIntervalConfig, ...] = ()
    """Time intervals for routes, as in Alertmanager."""
    heartbeats: tuple[HeartbeatConfig, ...] = ()
    """Alerts that always fire, such as Watchdog."""
    limits: Limits = Field(default_factory=Limits)
    api: ApiConfig = Field(default_factory=ApiConfig)
    alertmanager: AlertmanagerConfig | None = None
    watchdog: WatchdogConfig | None = None
    fallback: FallbackConfig = FallbackConfig()
    links: StrictBool = False
    """Whether a page ends with a link under global.external_url that opens its incident, without signing in, for 48
    hours. Left out of SMS while an account has sender_for_response; always in a fallback.
    """

    def receiver(self, name: str) -> Receiver | None:
        """Return the receiver of that name, if there is one."""
        return next((receiver for receiver in self.receivers if receiver.name == name), None)

    def recipient(self, notify: str) -> Recipient:
        """Return the recipient *notify*, the name of a contact or a number.

        Raises:
            ValueError: it is neither.
        """
        known = [contact.name for contact in self.contacts]
        if notify not in known and not looks_like_number(notify):
            hint = nearest(notify, known) or f"; known are {', '.join(known) or 'none'}"
            raise ValueError(f'there is no contact "{notify}"{hint}')
        for contact in self.contacts:
            if contact.name == notify:
                zone = contact.time_zone or self.global_.time_zone
                phone = parse_mobile(contact.phone, self.global_.default_region)
                return Recipient(contact.name, phone, contact.language, zone)
        phone = parse_mobile(notify, self.global_.default_region)
        return Recipient("", phone, "en", self.global_.time_zone)

    def expire_after(self, receiver: Receiver) -> timedelta:
        """Return how long a page of *receiver* is tried."""
        return receiver.expire_after or self.global_.expire_after

    @property
    def origin(self) -> str | None:
        """The host, and port, of `external_url`."""
        url = self.global_.external_url
        return urlsplit(url).netloc if url is not None else None

    @property
    def code_key(self) -> bytes | None:
        """The secret that reply codes are made of; None if no account requires codes."""
        if not any(account.replies.require_code for account in self.accounts):
            return None
        return b"reply codes" + self._secret

    @property
    def session_key(self) -> bytes:
        """The secret that the sessions of people are signed with; the same on each replica."""
        return b"sessions" + self._secret

    @property
    def _secret(self) -> bytes:
        """The secret of the first account, of which others are derived."""
        first = self.accounts[0]
        secret = first.application_secret or first.client_secret
        return secret.get_secret_value().encode() if secret is not None else b""

    @property
    def sends_urls(self) -> bool:
        """Whether messages may hold URLs, whichever account sends them."""
        return not any(account.sender_for_response for account in self.accounts)

    @property
    def page_url(self) -> str | None:
        """The address of the pages that links lead to; None if pages have no links."""
        return self.global_.external_url if self.links else None

    @property
    def linked_url(self) -> str | None:
        """The address of the pages that links in SMS lead to; None if SMS have no links."""
        return self.page_url if self.sends_urls else None

    def fallback_urls(self, contact: str) -> tuple[str, ...]:
        """Return the URLs of the second channel for the contact of that name, or for a number if it is empty."""
        own = next((one.fallback for one in self.contacts if one.name == contact), ())
        return tuple(dict.fromkeys(url.get_secret_value() for url in (*own, *self.fallback.urls)))

    def numbers(self) -> Iterator[str]:
        """Yield every phone number in the configuration as written, and as E.164."""
        for written in (
            *(contact.phone for contact in self.contacts),
            *(notify for receiver in self.receivers for notify in receiver.everyone()),
        ):
            with contextlib.suppress(ValueError):  # a name
                yield parse_mobile(written, self.global_.default_region)
                yield written
