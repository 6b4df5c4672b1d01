"""``notifier.yml`` as typed models, every error with its file, line and column.

`load` reads a file and says everything that is wrong with it at once. The models describe the file as
written; `Configuration.recipient` finds out whom a name means.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import os
import re
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    ValidationError,
)
from sqlalchemy import URL, make_url

from notifier.alertmanager.durations import format_duration, parse_duration
from notifier.alertmanager.time_intervals import Interval
from notifier.assets import TEMPLATES
from notifier.config.source import Path_, Position, Problem, Source, kind_of, read_source
from notifier.config.types import (
    BcryptHash,
    DayHours,
    Days,
    DaysOfMonth,
    Duration,
    Endpoint,
    HttpUrl,
    Language,
    ListenAddress,
    LocalTime,
    Location,
    Matchers,
    Months,
    Name,
    PositiveDuration,
    Region,
    SenderName,
    ShiftLength,
    Size,
    StorageUrl,
    Times,
    TimeZone,
    Weekdays,
    Years,
    count,
)
from notifier.permissions import Permission, Role
from notifier.sms.encoding import MAX_PARTS, Encoding
from notifier.sms.phones import parse_mobile

# -- the file --------------------------------------------------------------------------------------------


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
    )


LONGEST_DEDUPE_WINDOW = timedelta(hours=1)


def _dedupe_window(value: timedelta) -> timedelta:
    if value > LONGEST_DEDUPE_WINDOW:
        raise ValueError("must be at most 1h; what Alertmanager repeats later is no duplicate")
    return value


def _max_body(value: int) -> int:
    if value > _LARGEST_BODY:
        raise ValueError("must be at most 64MiB; set max_alerts in Alertmanager")
    return value


_LARGEST_BODY = 64 * 1024 * 1024
MaxBody = Annotated[Size, AfterValidator(_max_body)]
DedupeWindow = Annotated[Duration, AfterValidator(_dedupe_window)]


class Global(_Section):
    """What holds everywhere unless a contact or receiver says otherwise."""

    time_zone: TimeZone = Field(default=ZoneInfo("UTC"), json_schema_extra={"default": "UTC"})
    """The time zone of the times in messages, by its IANA name."""
    external_url: HttpUrl | None = None
    """Where people reach this service, such as https://pager.example.net, if a proxy stands before it."""
    default_region: Region | None = None
    """The country whose national phone numbers are understood, such as FR for "06 39 98 00 01"."""
    dedupe_window: DedupeWindow = timedelta(minutes=2)
    """For how long a webhook that says the same as an earlier one is taken for its repetition."""
    expire_after: PositiveDuration = timedelta(hours=1)
    """For how long a page that OVHcloud does not accept is tried before it is given up."""
    shutdown_timeout: PositiveDuration = timedelta(seconds=30)
    """For how long a stop waits for what is under way."""


class TlsServerConfig(_Section):
    """TLS, as in Prometheus' web configuration file."""

    cert_file: Path
    """The certificate chain, PEM."""
    key_file: Path
    """Its private key, PEM."""
    client_ca_file: Path | None = None
    """The authorities whose client certificates are demanded, PEM."""


def _url_secret(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9_-]{16,}", value.get_secret_value()):
        raise ValueError(
            "must have at least 16 letters, digits, - and _; make one with: openssl rand -hex 16"
        )
    return value


UrlSecret = Annotated[SecretStr, AfterValidator(_url_secret)]


class Token(_Section):
    """A token by which a program calls Notifier."""

    name: Name
    """What the token is called in logs and in the timeline of incidents."""
    token: SecretStr
    """What the program presents as "Authorization: Bearer ..."."""
    may: Annotated[tuple[Permission, ...], Field(min_length=1)]
    """What it is good for: webhook, read, act, send, admin (everything)."""


class User(_Section):
    """A person who reads pages and acts on incidents, by name and password."""

    password_hash: BcryptHash
    role: Role = Role.RESPONDER
    """What he or she may do: viewer (read), responder (read, act, send), admin (everything)."""


class Web(_Section):
    """Where Notifier listens, and to whom."""

    listen_address: ListenAddress = "127.0.0.1:9876"
    """Address and port to listen on."""
    max_body: MaxBody = 4 * 1024 * 1024
    """The largest body that is read, in bytes or as 4MiB; at most 64MiB."""
    bearer_token: SecretStr | None = None
    """A token that may do everything; give programs tokens of their own under tokens."""
    tokens: tuple[Token, ...] = ()
    """Tokens, each for one program. Two for the same program, while one replaces the other, are both good."""
    basic_auth_users: dict[str, BcryptHash] = Field(default_factory=dict)
    """Names and bcrypt hashes, as in Prometheus' web configuration file; these users may do everything."""
    users: dict[str, User] = Field(default_factory=dict)
    """Users by name, each with a role."""
    tls_server_config: TlsServerConfig | None = None
    feed_secret: UrlSecret | None = None
    """The secret in the addresses of calendars that phones subscribe to, /oncall/feeds/SECRET/NAME.ics: at least 16
    letters, digits, - and _."""
    metrics_require_credentials: StrictBool = False
    """Whether /metrics, which names receivers and who is on call, asks for a token or user that may read."""

    @property
    def host(self) -> str:
        """The address to bind, without brackets; all interfaces where none is named."""
        return self.listen_address.rpartition(":")[0].strip("[]") or "0.0.0.0"  # noqa: S104

    @property
    def port(self) -> int:
        """The port to bind; 0 lets the system choose."""
        return int(self.listen_address.rpartition(":")[2])

    @property
    def has_credentials(self) -> bool:
        """Whether callers must say who they are."""
        return self.bearer_token is not None or bool(self.tokens or self.basic_auth_users or self.users)


class Storage(_Section):
    """Where everything is kept."""

    url: StorageUrl = "sqlite:///var/lib/notifier/notifier.db"
    """The SQLite file: sqlite:///absolute/path, or sqlite:///name.db for a file beside this one; or a PostgreSQL
    database for any number of replicas: postgresql://user:password@host/database."""
    retention: PositiveDuration = timedelta(days=90)
    """For how long the history is kept."""

    def place(self, beside: Path) -> Path | URL:
        """Return the database's file, or its URL; a bare name stands for a file in the directory *beside*."""
        if not self.url.startswith("sqlite:"):
            return make_url(self.url)
        path = self.url.removeprefix("sqlite:///").lstrip("/")
        return beside / path if "/" not in path else Path("/", path)


class _Polling(_Section):
    poll_interval: PositiveDuration


class ReceiptSettings(_Polling):
    """How receipts are followed."""

    poll_interval: PositiveDuration = timedelta(seconds=20)
    """How often OVHcloud is asked for the receipts of new messages; less often as they get old."""


class ReplyCommand(StrEnum):
    """What a reply may do."""

    ACK = "ack"
    CLOSE = "close"
    NEXT = "next"
    WHO = "who"
    MUTE = "mute"


class ReplySettings(_Polling):
    """How replies are taken."""

    poll_interval: PositiveDuration = timedelta(seconds=15)
    """How often OVHcloud is asked for replies while an incident is open and 15 minutes longer; then once a minute."""
    require_code: StrictBool = False
    """Whether each page holds two letters (#7KP) without which a reply is not obeyed: sender numbers can be forged."""
    may: tuple[ReplyCommand, ...] = (
        ReplyCommand.ACK,
        ReplyCommand.CLOSE,
        ReplyCommand.NEXT,
        ReplyCommand.WHO,
    )
    """What replies may do: ack, close, next, who, mute."""
    any_contact: StrictBool = False
    """Whether contacts may act on incidents that they were not paged for."""


class Rate(_Section):
    """How fast an account may send."""

    messages: Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(count)]
    """How many messages."""
    per: PositiveDuration = timedelta(seconds=1)
    """Within which time."""


class Ovh(_Section):
    """An OVHcloud account that sends."""

    endpoint: Endpoint = "ovh-eu"
    """A region (ovh-eu, ovh-ca, ovh-us), or the base URL of an API (https://.../1.0)."""
    application_key: str | None = None
    """Identifies the application; from https://eu.api.ovh.com/createToken/."""
    application_secret: SecretStr | None = None
    consumer_key: SecretStr | None = None
    """Obtained with "notifier ovh login"."""
    client_id: str | None = None
    """An OAuth2 service account, in place of the three keys."""
    client_secret: SecretStr | None = None
    service_name: str | None = Field(default=None, pattern="^[A-Za-z0-9_.-]+$")
    """The SMS account, such as sms-ab12345-1; may be left out when there is one."""
    sender: SenderName | None = None
    """A sender declared at OVHcloud, up to 11 letters and digits."""
    sender_for_response: StrictBool = False
    """Send from a short number that takes replies (France only; messages may hold no URL)."""
    virtual_number: str | None = None
    """Send from a rented number that takes replies."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """For how long one call may take."""
    settle_timeout: PositiveDuration = timedelta(minutes=2)
    """For how long OVHcloud is asked what became of a job whose answer was lost, before it is sent again."""
    max_concurrency: Annotated[int, Field(ge=1, le=64), BeforeValidator(count)] = 16
    """How many jobs are sent at once."""
    rate: Rate | None = None
    """How fast it may send, all replicas together; as fast as OVHcloud takes it if left out."""
    receipts: ReceiptSettings = Field(default_factory=ReceiptSettings)
    replies: ReplySettings = Field(default_factory=ReplySettings)
    callback_secret: SecretStr | None = None
    """The last part of the URLs that OVHcloud may call back: /ovh/receipt/SECRET and /ovh/reply/SECRET."""

    @property
    def takes_replies(self) -> bool:
        """Whether people can reply to what is sent."""
        return self.sender_for_response or self.virtual_number is not None

    @property
    def name(self) -> str:
        """What the account is known by here: its service name, empty where that is left for OVHcloud to tell."""
        return self.service_name or ""


def _listed(value: Any) -> Any:
    """Read what stands in place of a list as the list of it."""
    return value if isinstance(value, list | tuple) else [value]


Accounts = Annotated[tuple[Ovh, ...], Field(min_length=1), BeforeValidator(_listed)]


class Contact(_Section):
    """A person who can be paged."""

    name: Name
    phone: str
    """A mobile number."""
    language: Language = "en"
    """The language of the messages: page.fr.j2 is taken before page.j2 for "fr"."""
    time_zone: TimeZone | None = None
    """The time zone of the times in this person's messages, if not the global one."""
    admin: StrictBool = False
    """Whether to tell this person when limits.credits is reached."""


class RotationConfig(_Section):
    """Contacts that take turns; a layer of a schedule."""

    start: LocalTime
    """When the first turn begins: 2026-01-05T09:00, by the clocks of the schedule's time zone."""
    every: ShiftLength
    """How long a turn is: 12h, 1d, 1w. By the clock on the wall: a day is a day when the clocks change, too."""
    contacts: Annotated[tuple[str, ...], Field(min_length=1)]
    """Who takes turns, in this order."""
    days: Days | None = None
    """The days on which the layer applies, such as [monday:friday]; all if left out."""
    hours: DayHours | None = None
    """The hours in which it applies, such as 09:00-17:00, or 22:00-06:00 from each of the days to the next."""


class OverrideConfig(_Section):
    """Who is on call for a while, whatever the rotations say."""

    start: LocalTime
    end: LocalTime
    contact: str | None
    """The contact; null for nobody."""


class ScheduleConfig(_Section):
    """Who is on call when. Later rotations take precedence over earlier ones where they apply, overrides over all."""

    name: Name
    time_zone: TimeZone | None = None
    """The time zone of hand-overs, if not the global one."""
    rotations: tuple[RotationConfig, ...] = ()
    overrides: tuple[OverrideConfig, ...] = ()
    ics: str | None = None
    """An iCalendar in place of rotations: a file, or a URL, whose events name contacts."""


class EscalationStep(_Section):
    """Who is paged when nobody has acknowledged."""

    after: PositiveDuration
    """How long after the step before."""
    notify: Annotated[tuple[str, ...], Field(min_length=1)]
    """Schedules and contacts by their names, or mobile numbers; who is on call is decided when the step comes."""


class Receiver(_Section):
    """Who is paged, and how."""

    name: Name
    notify: Annotated[tuple[str, ...], Field(min_length=1)]
    """Schedules and contacts by their names, or mobile numbers."""
    template: str = "page"
    """The template, by the name of its file without .j2."""
    send_resolved: StrictBool = True
    """Whether to send a message when all alerts are resolved."""
    max_parts: Annotated[int, Field(ge=1, le=MAX_PARTS), BeforeValidator(count)] = 2
    """The most parts that a message may take; each is billed."""
    encoding: Encoding = Encoding.GSM
    """gsm: nearest letters of the GSM alphabet; unicode: as written; auto: whichever takes fewer parts."""
    expire_after: PositiveDuration | None = None
    """For how long a page is tried before it is given up, if not as in global."""
    escalate: tuple[EscalationStep, ...] = ()
    """Whom to page next while nobody acknowledges; at once, when a step reached nobody."""
    repeat: Annotated[int, Field(ge=0, le=100), BeforeValidator(count)] = 0
    """How often to start over after the last step, each time after as long as that one waited."""
    tell_others: StrictBool = True
    """Whether an acknowledgement is told to the others who were paged."""
    reopen_after: PositiveDuration | None = None
    """How long an acknowledgement holds before the steps start over; until resolution if left out."""

    def everyone(self) -> Iterator[str]:
        """Yield whom it notifies, by itself and by its steps."""
        yield from self.notify
        for step in self.escalate:
            yield from step.notify


class HeartbeatConfig(_Section):
    """An alert that always comes; when it does not, the monitoring itself is silent."""

    name: Name
    matchers: Annotated[Matchers, Field(min_length=1)]
    """Conditions that its labels fulfil. Alerts that do page nobody."""
    timeout: PositiveDuration
    """For how long none may come."""
    receiver: str
    """Who is paged when none comes."""


class PerContact(_Section):
    """How many messages a contact gets."""

    messages: Annotated[int, Field(ge=1, le=1000), BeforeValidator(count)] = 20
    """So many at most,"""
    per: PositiveDuration = timedelta(minutes=10)
    """in so long. What comes beyond waits, and goes as one digest."""


class CreditLimit(_Section):
    """How much may be spent."""

    amount: Annotated[int, Field(ge=1), BeforeValidator(count)]
    """So many credits at most,"""
    per: PositiveDuration = timedelta(days=1)
    """in so long. Beyond that only what is critical goes, and contacts with admin: true are told."""


class Limits(_Section):
    """What a storm may cost, in messages and in credits."""

    per_contact: PerContact | None = Field(default_factory=PerContact)
    """null for no limit."""
    credits: CreditLimit | None = Field(default_factory=lambda: CreditLimit(amount=5000))
    """null for no limit. The default is more than a storm costs, and less than whoever steals a token would spend."""


class ApiConfig(_Section):
    """What the API may do."""

    send_to_any_number: StrictBool = False
    """Whether POST /api/v1/send reaches numbers that are not in this file."""


class AlertmanagerConfig(_Section):
    """The Alertmanager in which a reply such as "mute 7 2h" makes a silence."""

    url: HttpUrl
    """Where it listens; may hold user:password@."""
    bearer_token: SecretStr | None = None
    """The token to present, if it wants one."""
    timeout: PositiveDuration = timedelta(seconds=10)
    """For how long one call may take."""


class WatchdogConfig(_Section):
    """A dead man's switch that is told that this service lives."""

    url: HttpUrl
    """What is called, with GET."""
    every: PositiveDuration = timedelta(minutes=1)
    """How often."""


class IntervalConfig(_Section):
    """A set of minutes, as in Alertmanager; a part that is left out holds always."""

    times: Times | None = None
    """Parts of the day: [{start_time: '09:00', end_time: '17:00'}]."""
    weekdays: Weekdays | None = None
    """Days of the week: ['monday:friday', sunday]."""
    days_of_month: DaysOfMonth | None = None
    """Days of the month: ['1:5', '-3:-1']; negative ones count from its end."""
    months: Months | None = None
    """Months: ['may:august', december, '1:3']."""
    years: Years | None = None
    """Years: ['2026:2028', 2030]."""
    location: Location = Field(default=ZoneInfo("UTC"), json_schema_extra={"default": "UTC"})
    """The time zone in which the others are meant."""

    def interval(self) -> Interval:
        """Return the set."""
        return Interval(self.times, self.weekdays, self.days_of_month, self.months, self.years, self.location)


class TimeIntervalConfig(_Section):
    """Time intervals by a name that routes mention."""

    name: Name
    time_intervals: tuple[IntervalConfig, ...]
    """The name stands for all of them together."""


class RouteConfig(_Section):
    """A node of Alertmanager's routing tree."""

    receiver: str | None = None
    """The receiver; that of the parent if left out."""
    matchers: Matchers = ()
    """Conditions that an alert's labels must all fulfil; __receiver__ is the receiver in the webhook."""
    continue_: StrictBool = Field(default=False, alias="continue")
    """Whether alerts that match go on to the next sibling."""
    mute_time_intervals: tuple[str, ...] = ()
    """Names of time_intervals in which what ends here is muted, until they are over."""
    active_time_intervals: tuple[str, ...] = ()
    """Names of time_intervals outside of which it is."""
    routes: tuple[RouteConfig, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipient:
    """A handset to page, and how to write to the person who holds it. *name* is empty for a bare number."""

    name: str
    phone: str
    language: str
    time_zone: ZoneInfo


class Configuration(_Section):
    """The configuration of Notifier: an on-call pager for Alertmanager that sends SMS through OVHcloud."""

    global_: Global = Field(default_factory=Global, alias="global")
    web: Web = Field(default_factory=Web)
    storage: Storage = Field(default_factory=Storage)
    accounts: Accounts = Field(alias="ovh")
    """The OVHcloud account that sends, or a list of accounts: they take turns, and stand in for each other."""
    templates: tuple[str, ...] = ()
    """Files of templates, or patterns such as templates/*.j2, beside this file."""
    contacts: tuple[Contact, ...] = ()
    schedules: tuple[ScheduleConfig, ...] = ()
    receivers: Annotated[tuple[Receiver, ...], Field(min_length=1)]
    """Who is paged; the first one is the default where there is no route."""
    route: RouteConfig | None = None
    time_intervals: tuple[TimeIntervalConfig, ...] = ()
    """Times that routes mention, as in Alertmanager."""
    heartbeats: tuple[HeartbeatConfig, ...] = ()
    """Alerts that always come."""
    limits: Limits = Field(default_factory=Limits)
    api: ApiConfig = Field(default_factory=ApiConfig)
    alertmanager: AlertmanagerConfig | None = None
    watchdog: WatchdogConfig | None = None

    def receiver(self, name: str) -> Receiver | None:
        """Return the receiver of that name, if there is one."""
        return next((receiver for receiver in self.receivers if receiver.name == name), None)

    def recipient(self, notify: str) -> Recipient:
        """Return whom *notify* (a contact's name, or a number) means.

        Raises:
            ValueError: it is neither.
        """
        if notify not in (contact.name for contact in self.contacts) and not any(map(str.isdigit, notify)):
            known = [contact.name for contact in self.contacts]
            close = difflib.get_close_matches(notify, known, n=1)
            hint = f'; did you mean "{close[0]}"?' if close else f"; known are {', '.join(known) or 'none'}"
            raise ValueError(f'there is no contact "{notify}"{hint}')
        for contact in self.contacts:
            if contact.name == notify:
                zone = contact.time_zone or self.global_.time_zone
                phone = parse_mobile(contact.phone, self.global_.default_region)
                return Recipient(contact.name, phone, contact.language, zone)
        phone = parse_mobile(notify, self.global_.default_region)
        return Recipient("", phone, "en", self.global_.time_zone)

    def expire_after(self, receiver: Receiver) -> timedelta:
        """Return for how long a page of *receiver* is tried."""
        return receiver.expire_after or self.global_.expire_after

    @property
    def origin(self) -> str | None:
        """The host, and port, of `external_url`."""
        url = self.global_.external_url
        return urlsplit(url).netloc if url is not None else None

    @property
    def code_key(self) -> bytes | None:
        """The secret that reply codes are made of; None where no account requires codes."""
        if not any(account.replies.require_code for account in self.accounts):
            return None
        first = self.accounts[0]
        secret = first.application_secret or first.client_secret
        return b"reply codes" + (secret.get_secret_value().encode() if secret is not None else b"")

    @property
    def sends_urls(self) -> bool:
        """Whether messages may hold URLs, whichever account sends them."""
        return not any(account.sender_for_response for account in self.accounts)

    def numbers(self) -> Iterator[str]:
        """Yield every phone number in the configuration as it is written, and as E.164."""
        for written in (
            *(contact.phone for contact in self.contacts),
            *(notify for receiver in self.receivers for notify in receiver.everyone()),
        ):
            with contextlib.suppress(ValueError):  # a name
                yield parse_mobile(written, self.global_.default_region)
                yield written

    def secrets(self) -> Iterator[str]:
        """Yield every secret that the configuration holds, so that logs can leave them out."""
        for secret in (
            self.web.bearer_token,
            self.web.feed_secret,
            *(one.token for one in self.web.tokens),
            *(
                secret
                for account in self.accounts
                for secret in (
                    account.application_secret,
                    account.consumer_key,
                    account.client_secret,
                    account.callback_secret,
                )
            ),
            self.alertmanager.bearer_token if self.alertmanager is not None else None,
        ):
            if secret is not None:
                yield secret.get_secret_value()
        yield from self.web.basic_auth_users.values()
        yield from (user.password_hash for user in self.web.users.values())
        if "@" in self.storage.url and (password := make_url(self.storage.url).password):
            yield self.storage.url
            yield str(password)
        if self.watchdog is not None:
            yield self.watchdog.url
        if self.alertmanager is not None and "@" in self.alertmanager.url:
            yield self.alertmanager.url
        yield from (s.ics for s in self.schedules if s.ics is not None and "://" in s.ics)


# -- loading ---------------------------------------------------------------------------------------------

HIDDEN = "[secret]"
"""What stands in place of a secret."""

_ALERTMANAGERS = frozenset({"group_by", "group_wait", "group_interval", "repeat_interval"})
_DEPRECATED = {
    "match": "write it as matchers: ['label=\"value\"']",
    "match_re": "write it as matchers: ['label=~\"value\"']",
}
_SECRETS: dict[Path_, tuple[str, ...]] = {
    ("web",): ("bearer_token", "feed_secret"),
    ("web", "tokens"): ("token",),
    ("alertmanager",): ("bearer_token",),
    ("ovh",): (
        "application_key",
        "application_secret",
        "consumer_key",
        "client_id",
        "client_secret",
        "callback_secret",
    ),
}
_TEMPLATE_FILE = re.compile(r"(?P<name>.+?)(?:\.(?P<language>[a-z]{2}))?\.j2")


class ConfigurationError(Exception):
    """A file cannot be used. *problems* are all that is wrong with it; the text is one a line."""

    def __init__(self, file: Path, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(problem.render(str(file)) for problem in problems))


@dataclass(slots=True)
class Loading:
    """What reading a file came to: *configuration* is None when a problem is more than a warning."""

    file: Path
    configuration: Configuration | None = None
    problems: list[Problem] = field(default_factory=list)
    template_files: dict[str, Path] = field(default_factory=dict)
    """The files that ``templates`` names, by their names (``page.fr.j2``)."""
    written: dict[str, Any] = field(default_factory=dict)
    """The file as plain values, its secrets hidden."""
    position: Callable[[Path_], Position] = lambda path: Position(1, 1)
    """Where the value at a path of the file is written."""

    @property
    def errors(self) -> list[Problem]:
        """The problems that are more than warnings."""
        return [problem for problem in self.problems if not problem.is_warning]


def load(file: Path, environment: Mapping[str, str] = os.environ) -> Loading:
    """Read *file* with the variables of *environment*; everything wrong with it is in the result.

    Secrets given as ``x_file`` are read too, from paths relative to the file's directory.
    """
    source = read_source(file, environment)
    loading = Loading(file, problems=source.problems, position=source.position)
    if not isinstance(source.value, dict):
        return loading
    raw = _Raw(source, file.parent)
    raw.refuse_unknown_keys(source.value, Configuration, ())
    raw.read_secret_files()
    loading.written = raw.written()
    raw.find_certificates()
    raw.find_calendars()
    loading.template_files = raw.template_files()
    try:
        configuration = Configuration.model_validate(source.value)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            raw.report_invalid(detail)
        configuration = None
    raw.check_references(loading.template_files)
    raw.check_sections()
    source.problems.sort(key=lambda problem: problem.position)
    if not loading.errors:
        loading.configuration = configuration
    return loading


def ovh_for_login(
    file: Path, name: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[Ovh, Path | None]:
    """Return what *file* says of an account, without a consumer key, and the file that is to hold one.

    It is the account whose service name is *name*; the first one where none is given.

    Raises:
        ConfigurationError: there is no such account, or the application's key or secret is missing, or
            cannot be read.
    """
    source = read_source(file, environment)
    if not isinstance(source.value, dict):
        raise ConfigurationError(file, source.problems)
    sections = _listed(source.value.get("ovh"))
    sections = [one for one in sections if isinstance(one, dict)] if isinstance(sections, list) else []
    if name is not None:
        known = ", ".join(str(one.get("service_name")) for one in sections)
        sections = [one for one in sections if one.get("service_name") == name]
        if not sections:
            message = f'there is no account "{name}"; known are {known or "none"}'
            raise ConfigurationError(file, [Problem(source.position(("ovh",)), ("ovh",), message)])
    section = dict(sections[0]) if sections else {}
    key_file = section.pop("consumer_key_file", None)
    section.pop("consumer_key", None)
    source.value["ovh"] = section
    raw = _Raw(source, file.parent)
    raw.read_secret_files()
    for key in ("application_key", "application_secret"):
        if not section.get(key) and not section.get("client_id"):
            message = f'the key "{key}" is missing; make an application at https://eu.api.ovh.com/createApp/'
            source.problems.append(Problem(source.position(("ovh",)), ("ovh",), message))
    try:
        settings = Ovh.model_validate(section)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            raw.report_invalid({**detail, "loc": ("ovh", 0, *detail["loc"])})
    errors = [
        problem
        for problem in source.problems
        if not problem.is_warning
        and problem.path[:1] == ("ovh",)
        and problem.path[1:] not in (("consumer_key",), ("consumer_key_file",))  # it is what is to be had
    ]
    if errors:
        raise ConfigurationError(file, errors)
    return settings, file.parent / key_file if isinstance(key_file, str) else None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file, for editors that complete keys."""
    schema = Configuration.model_json_schema(by_alias=True)
    models = {"web": "Web", "tokens": "Token", "ovh": "Ovh", "alertmanager": "AlertmanagerConfig"}
    for path, names in _SECRETS.items():
        definition = schema["$defs"][models[str(path[-1])]]
        properties = definition["properties"]
        for name in names:
            if name in definition.get("required", ()):
                definition["required"].remove(name)  # the file may stand in its place
            properties[f"{name}_file"] = {
                "type": "string",
                "description": f"The file that holds {name}.",
            }
    for model in (
        Global,
        Storage,
        Ovh,
        Rate,
        ReceiptSettings,
        ReplySettings,
        Receiver,
        WatchdogConfig,
        AlertmanagerConfig,
        PerContact,
        CreditLimit,
    ):
        for name, info in model.model_fields.items():
            if isinstance(info.default, timedelta):
                schema["$defs"][model.__name__]["properties"][name]["default"] = format_duration(info.default)
    accounts = schema["properties"]["ovh"]
    accounts.pop("type")
    many = {key: accounts.pop(key) for key in ("items", "minItems")}
    accounts["anyOf"] = [many["items"], {"type": "array", **many}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {info.alias or name: info.annotation for name, info in model.model_fields.items()}


def _section_of(annotation: Any) -> tuple[type[BaseModel] | None, type | None]:
    """Return the section that an annotation holds, if any, and in what: None, a tuple or a dict by names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    origin = getattr(annotation, "__origin__", None)
    for argument in getattr(annotation, "__args__", ()):
        section, holder = _section_of(argument)
        if section is not None:
            return section, origin if origin in (tuple, dict) else holder
    return None, None


def _everywhere(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    for key, annotation in _fields(model).items():
        yield key, path
        section, holder = _section_of(annotation)
        if section is not None and section is not model:
            mark = "[]" if holder is tuple else ".NAME" if holder is dict else ""
            mark = "" if key == "ovh" else mark  # one account is written without a list
            yield from _everywhere(section, f"{path}.{key}".lstrip(".") + mark)


def _names(items: Any) -> list[str]:
    if not isinstance(items, list):
        return []
    return [item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)]


def _notified(receiver: dict[str, Any], path: Path_) -> Iterator[tuple[Path_, Any]]:
    """Yield whom a receiver notifies as it is written, and where: by itself and by its steps."""
    steps = receiver.get("escalate")
    sections = [(path, receiver)]
    for number, step in enumerate(steps if isinstance(steps, list) else []):
        if isinstance(step, dict):
            sections.append(((*path, "escalate", number), step))
    for here, section in sections:
        notify = section.get("notify")
        for number, item in enumerate(notify if isinstance(notify, list) else []):
            yield (*here, "notify", number), item


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


class _Raw:
    """The checks that need positions, or the file whole; each adds to the source's problems."""

    def __init__(self, source: Source, directory: Path) -> None:
        self._source = source
        self._value: dict[str, Any] = source.value
        self._directory = directory
        self._refused: set[Path_] = set()
        self._unread: set[Path_] = set()

    def _problem(self, path: Path_, message: str, *, is_warning: bool = False) -> None:
        self._source.problems.append(Problem(self._source.position(path), path, message, is_warning))

    def _refuse_key(self, path: Path_, message: str) -> None:
        self._refused.add(path)
        self._source.problems.append(Problem(self._source.key_position(path), path, message))

    def _section(self, name: str) -> dict[str, Any]:
        section = self._value.get(name)
        return section if isinstance(section, dict) else {}

    def _sections(self, path: Path_) -> Iterator[tuple[Path_, dict[str, Any]]]:
        """Yield the sections at *path* with their paths: the one, or each of a list."""
        value: Any = self._value
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, dict):
            yield path, value
        for number, item in enumerate(value if isinstance(value, list) else []):
            if isinstance(item, dict):
                yield (*path, number), item

    # unknown keys

    def refuse_unknown_keys(self, value: Any, model: type[BaseModel], path: Path_) -> None:
        if not isinstance(value, dict):
            return
        known = _fields(model)
        secrets = _SECRETS.get(tuple(step for step in path if not isinstance(step, int)), ())
        for key in list(value):
            here = (*path, key)
            if key in known:
                section, holder = _section_of(known[key])
                if section is not None and holder is tuple and isinstance(value[key], list):
                    for number, item in enumerate(value[key]):
                        self.refuse_unknown_keys(item, section, (*here, number))
                elif section is not None and holder is dict and isinstance(value[key], dict):
                    for name, item in value[key].items():
                        self.refuse_unknown_keys(item, section, (*here, name))
                elif section is not None:
                    self.refuse_unknown_keys(value[key], section, here)
            elif not (key.endswith("_file") and key.removesuffix("_file") in secrets):
                self._refuse_key(here, self._unknown(key, here, [*known, *(f"{s}_file" for s in secrets)]))
                del value[key]

    def _unknown(self, key: str, path: Path_, known: list[str]) -> str:
        if path[0] == "route":
            if key in _ALERTMANAGERS:
                return f"{key} is Alertmanager's own work; leave it in alertmanager.yml"
            if key in _DEPRECATED:
                return f'"{key}" is deprecated; {_DEPRECATED[key]}'
        message = f'unknown key "{key}"'
        if near := _nearest(key, known):
            return message + near
        places = [place for name, place in _everywhere(Configuration) if name == key]
        if places:
            return f"{message} here; it belongs under {places[0] or 'the top level'}"
        return f"{message}; known are {', '.join(known)}"

    # values that are wrong by themselves

    def report_invalid(self, detail: Any) -> None:
        path: Path_ = tuple(detail["loc"])
        if path[:1] == ("ovh",) and not isinstance(self._value.get("ovh"), list):
            path = ("ovh", *path[2:])  # one account is written without a list
        if any(path[: len(refused)] == refused for refused in self._refused):
            return
        kind, context, given = detail["type"], detail.get("ctx", {}), detail.get("input")
        if kind == "too_short" and given:
            return  # pydantic counts those that are right; what is wrong with the others is told already
        if kind == "missing":
            self._problem(path[:-1], f'the key "{path[-1]}" is missing{_example(path)}')
            return
        if kind == "value_error":
            message = str(context["error"])
        elif kind in _WRONG_TYPES:
            shown = f', is "{given}"' if isinstance(given, str) else f", is {kind_of(given)}"
            message = f"must be {_WRONG_TYPES[kind]}{shown}"
        elif kind == "too_short":
            message = "must have at least one item"
        elif kind == "string_pattern_mismatch":
            message = f'"{given}" does not fit; it must match {context["pattern"]}'
        else:
            message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
        self._problem(path, message)

    # secrets in files

    def read_secret_files(self) -> None:
        for place, secrets in _SECRETS.items():
            for path, section in self._sections(place):
                for secret in secrets:
                    if f"{secret}_file" in section:
                        here = (*path, f"{secret}_file")
                        text = self._secret(here, section.pop(f"{secret}_file"))
                        if secret in section:
                            self._refuse_key(here, f"give {secret} or {secret}_file, not both")
                        section[secret] = text
                        if not text:
                            self._unread.add((*path, secret))

    def written(self) -> dict[str, Any]:
        """Return the file's values without the secrets, for people to read."""
        hidden = copy.deepcopy(self._value)
        copied = _Raw(self._source, self._directory)
        copied._value = hidden
        for place, secrets in _SECRETS.items():
            for _, section in copied._sections(place):
                section.update({key: HIDDEN for key in secrets if key in section})
        web = copied._section("web")
        if isinstance(users := web.get("basic_auth_users"), dict):
            users.update(dict.fromkeys(users, HIDDEN))
        people = web.get("users")
        for user in people.values() if isinstance(people, dict) else ():
            if isinstance(user, dict) and "password_hash" in user:
                user["password_hash"] = HIDDEN
        return hidden

    def _secret(self, path: Path_, file: Any) -> str:
        if not isinstance(file, str):
            self._problem(path, f"must be the path of a file, is {kind_of(file)}")
            return ""
        full = self._directory / file
        try:
            mode = full.stat().st_mode
            text = full.read_text(encoding="utf-8").strip()
        except OSError as error:
            is_to_come = path[-1] == "consumer_key_file" and isinstance(error, FileNotFoundError)
            hint = "; notifier ovh login writes it" if is_to_come else ""
            self._problem(path, f"{full} cannot be read: {error.strerror}{hint}")
            return ""
        except UnicodeDecodeError:
            self._problem(path, f"{full} is not a text")
            return ""
        if not text:
            self._problem(path, f"{full} is empty")
        if mode & stat.S_IROTH:
            message = f"{full} can be read by everyone on this machine; run: chmod 600 {full}"
            self._problem(path, message, is_warning=True)
        return text

    # templates

    def template_files(self) -> dict[str, Path]:
        patterns = self._value.get("templates")
        files: dict[str, Path] = {}
        for number, pattern in enumerate(patterns if isinstance(patterns, list) else []):
            if not isinstance(pattern, str):
                continue
            path: Path_ = ("templates", number)
            base, relative = (
                (Path("/"), pattern.lstrip("/")) if pattern[:1] == "/" else (self._directory, pattern)
            )
            try:
                found = sorted(file for file in base.glob(relative) if file.is_file())
            except (ValueError, OSError, NotImplementedError) as error:
                self._problem(path, f"{pattern!r} is no pattern of files: {error}")
                continue
            if not found:
                self._problem(path, f"{base / relative} matches no file")
            for file in found:
                if not _TEMPLATE_FILE.fullmatch(file.name):
                    self._problem(path, f"{file} must be named like page.j2 or page.fr.j2")
                files[file.name] = file
        return files

    # calendars

    def find_calendars(self) -> None:
        for path, schedule in self._items("schedules"):
            source = schedule.get("ics")
            if not isinstance(source, str) or not source:
                continue
            if "://" not in source:
                schedule["ics"] = str(self._directory / source)
                if not os.access(schedule["ics"], os.R_OK):
                    self._problem((*path, "ics"), f"{schedule['ics']} cannot be read")
            elif not re.match(r"https?://[^/\s]+", source):
                message = f'"{source}" is no calendar; write the path of a file, or an http or https URL'
                self._problem((*path, "ics"), message)

    # what must fit together

    def check_references(self, template_files: Mapping[str, Path]) -> None:
        contacts, receivers = _names(self._value.get("contacts")), _names(self._value.get("receivers"))
        schedules = _names(self._value.get("schedules"))
        self._unique("contacts", "schedules")
        self._unique("receivers")
        for path, schedule in self._items("schedules"):
            self._schedule(path, schedule, contacts)
        region = self._section("global").get("default_region")
        region = region if isinstance(region, str) and re.fullmatch("[A-Z]{2}", region) else None
        for path, contact in self._items("contacts"):
            if isinstance(contact.get("phone"), str):
                self._try((*path, "phone"), partial(parse_mobile, contact["phone"], region))
        names = {m["name"] for f in (*template_files, *TEMPLATES) if (m := _TEMPLATE_FILE.fullmatch(f))}
        for path, receiver in self._items("receivers"):
            steps = receiver.get("escalate")
            if receiver.get("repeat") and not steps:
                message = "repeats the steps of escalate, of which there are none; add some"
                self._problem((*path, "repeat"), message)
            for here, item in _notified(receiver, path):
                if isinstance(item, str) and item not in contacts and item not in schedules:
                    self._recipient(here, item, contacts + schedules, region)
            template = receiver.get("template")
            if isinstance(template, str) and template not in names:
                known = f"known are {', '.join(sorted(names))}"
                near = _nearest(template, sorted(names)) or f"; {known}"
                self._problem((*path, "template"), f'there is no template "{template}"{near}')
        self._heartbeats(receivers)
        self._unique("time_intervals")
        self._route(self._value.get("route"), ("route",), receivers)
        for path, account in self._sections(("ovh",)):
            virtual_number = account.get("virtual_number")
            if isinstance(virtual_number, str):
                self._virtual_number((*path, "virtual_number"), virtual_number)

    def _items(self, name: str) -> Iterator[tuple[Path_, dict[str, Any]]]:
        items = self._value.get(name)
        for number, item in enumerate(items if isinstance(items, list) else []):
            if isinstance(item, dict):
                yield (name, number), item

    def _unique(self, *names: str) -> None:
        seen: dict[str, Position] = {}
        for path, item in [pair for name in names for pair in self._items(name)]:
            own = item.get("name")
            if not isinstance(own, str):
                continue
            position = self._source.position((*path, "name"))
            if own in seen:
                self._problem(
                    (*path, "name"), f'"{own}" is already named in line {seen[own].line}; rename one'
                )
            seen.setdefault(own, position)

    def _heartbeats(self, receivers: list[str]) -> None:
        self._unique("heartbeats")
        window = Global.model_fields["dedupe_window"].default
        with contextlib.suppress(ValidationError):
            window = Global.model_validate(
                {"dedupe_window": self._section("global").get("dedupe_window", window)}
            ).dedupe_window
        for path, heartbeat in self._items("heartbeats"):
            receiver, timeout = heartbeat.get("receiver"), heartbeat.get("timeout")
            if isinstance(receiver, str) and receiver not in receivers:
                near = _nearest(receiver, receivers) or "; add it under receivers"
                self._problem((*path, "receiver"), f'there is no receiver "{receiver}"{near}')
            with contextlib.suppress(ValueError):
                if isinstance(timeout, str) and timedelta() < parse_duration(timeout) <= window:
                    message = (
                        f"is not longer than global.dedupe_window ({format_duration(window)}): "
                        "what repeats within that is not looked at"
                    )
                    self._problem((*path, "timeout"), message)

    def _schedule(self, path: Path_, schedule: dict[str, Any], contacts: list[str]) -> None:
        rotations = schedule.get("rotations")
        if schedule.get("ics") and rotations:
            self._problem((*path, "ics"), "ics stands in place of rotations; keep one")
        elif not schedule.get("ics") and not rotations:
            message = "has neither rotations nor ics; write rotations: [{start: 2026-01-05T09:00, every: 1w, "
            self._problem(path, f"{message}contacts: [alice, bob]}}]")
        for number, rotation in enumerate(rotations if isinstance(rotations, list) else []):
            named = rotation.get("contacts") if isinstance(rotation, dict) else None
            for place, name in enumerate(named if isinstance(named, list) else []):
                self._contact((*path, "rotations", number, "contacts", place), name, contacts)
        overrides = schedule.get("overrides")
        for number, override in enumerate(overrides if isinstance(overrides, list) else []):
            if isinstance(override, dict):
                here = (*path, "overrides", number)
                self._contact((*here, "contact"), override.get("contact"), contacts)
                self._order(here, override)

    def _contact(self, path: Path_, name: Any, contacts: list[str]) -> None:
        if isinstance(name, str) and name not in contacts:
            near = _nearest(name, contacts) or "; add it under contacts"
            self._problem(path, f'there is no contact "{name}"{near}')

    def _order(self, path: Path_, override: dict[str, Any]) -> None:
        try:
            written = OverrideConfig.model_validate({**override, "contact": None})
        except ValidationError:
            return  # told already
        zone = ZoneInfo("UTC")
        if written.end.instant(zone) <= written.start.instant(zone):
            self._problem((*path, "end"), "is not after start; an override ends later than it begins")

    def _try(self, path: Path_, check: Callable[[], object]) -> None:
        try:
            check()
        except ValueError as error:
            self._problem(path, str(error))

    def _recipient(self, path: Path_, item: str, names: list[str], region: str | None) -> None:
        if re.search(r"\d{3}", re.sub(r"[ .()-]", "", item)):
            self._try(path, lambda: parse_mobile(item, region))
        else:
            near = _nearest(item, names) or "; add it under contacts"
            self._problem(path, f'"{item}" is no schedule, contact or number{near}')

    def _virtual_number(self, path: Path_, number: str) -> None:
        if not re.fullmatch(r"(\+|00)\d{6,15}", re.sub(r"[ .()-]", "", number)):
            self._problem(path, f'"{number}" is not a number; write +33 and the rest')

    def _route(self, route: Any, path: Path_, receivers: list[str]) -> None:
        if not isinstance(route, dict):
            return
        if len(path) == 1:
            if "receiver" not in route:
                self._problem(path, 'the key "receiver" is missing; the top of the tree needs one')
            for key in ("matchers", "continue", "mute_time_intervals", "active_time_intervals"):
                if route.get(key):
                    message = f"the top of the tree takes every alert; move {key} to one of its routes"
                    self._problem((*path, key), message)
        known = _names(self._value.get("time_intervals"))
        for key in ("mute_time_intervals", "active_time_intervals"):
            named = route.get(key)
            for number, name in enumerate(named if isinstance(named, list) else []):
                if isinstance(name, str) and name not in known:
                    near = _nearest(name, known) or "; add it under time_intervals"
                    self._problem((*path, key, number), f'there is no time interval "{name}"{near}')
        receiver = route.get("receiver")
        if isinstance(receiver, str) and receiver not in receivers:
            near = _nearest(receiver, receivers) or "; add it under receivers"
            self._problem((*path, "receiver"), f'there is no receiver "{receiver}"{near}')
        children = route.get("routes")
        for number, child in enumerate(children if isinstance(children, list) else []):
            self._route(child, (*path, "routes", number), receivers)

    def check_sections(self) -> None:
        self.check_secrets()
        accounts = list(self._sections(("ovh",)))
        for path, account in accounts:
            self._check_sender(path, account)
            self._check_credentials(path, account)
        if len(accounts) > 1:
            self._check_names(accounts)
        web = self._section("web")
        address = web.get("listen_address", "127.0.0.1:9876")
        self._check_users(web)
        if isinstance(address, str) and not _is_loopback(address.rpartition(":")[0].strip("[]")):
            self._check_guarded(web)

    def _check_names(self, accounts: Sequence[tuple[Path_, dict[str, Any]]]) -> None:
        """Accounts that stand beside each other are told apart by their service names."""
        seen: dict[str, int] = {}
        for path, account in accounts:
            name = account.get("service_name")
            if name is None:
                message = 'the key "service_name" is missing; one of several accounts is named by it'
                self._problem(path, message)
            elif isinstance(name, str):
                here = (*path, "service_name")
                if name in seen:
                    self._problem(here, f'"{name}" is already named in line {seen[name]}; remove one')
                seen.setdefault(name, self._source.position(here).line)

    def _check_sender(self, path: Path_, section: dict[str, Any]) -> None:
        ways = [key for key in ("sender", "sender_for_response", "virtual_number") if section.get(key)]
        if not ways:
            self._problem(path, "name a sender, or set sender_for_response: true or a virtual_number")
        for key in ways[1:]:
            self._problem((*path, key), f"{ways[0]} and {key} exclude each other; keep one")

    def _check_credentials(self, path: Path_, section: dict[str, Any]) -> None:
        keys = ("application_key", "application_secret", "consumer_key")
        oauth = ("client_id", "client_secret")
        has_keys, has_oauth = [k for k in keys if k in section], [k for k in oauth if k in section]
        if has_keys and has_oauth:
            self._problem((*path, has_oauth[0]), f"{has_oauth[0]} and {has_keys[0]} exclude each other")
        elif not has_keys and not has_oauth:
            message = f"credentials are missing; give {', '.join(keys)} (see: notifier ovh login)"
            self._problem(path, message)
        else:
            for key in oauth if has_oauth else keys:
                if key not in section:
                    hint = "; obtain one with: notifier ovh login" if key == "consumer_key" else ""
                    self._problem(path, f'the key "{key}" is missing{hint}')

    def check_secrets(self) -> None:
        for place, secrets in _SECRETS.items():
            for path, section in self._sections(place):
                for secret in secrets:
                    value = section.get(secret)
                    is_blank = isinstance(value, str) and not value.strip()
                    if is_blank and (*path, secret) not in self._unread:
                        self._problem((*path, secret), f"{secret} is empty; give it, or leave the key out")

    def _check_users(self, web: dict[str, Any]) -> None:
        users, others = web.get("users"), web.get("basic_auth_users")
        if isinstance(users, dict) and isinstance(others, dict):
            for name in users.keys() & others.keys():
                self._refuse_key(
                    ("web", "users", name), f'"{name}" is in basic_auth_users, too; leave it in one'
                )

    def _check_guarded(self, web: dict[str, Any]) -> None:
        if not any(web.get(key) for key in ("bearer_token", "tokens", "basic_auth_users", "users")):
            self._problem(
                ("web", "listen_address"),
                "anyone who reaches this address could page you; add under web: tokens: "
                "[{name: alertmanager, token_file: /etc/notifier/token, may: [webhook]}] "
                "(or bearer_token_file, which may do everything), and users for people",
            )

    def find_certificates(self) -> None:
        section = self._section("web").get("tls_server_config")
        tls: dict[str, Any] = section if isinstance(section, dict) else {}
        for key, file in tls.items():
            if isinstance(file, str):
                full = self._directory / file
                tls[key] = str(full)
                if not os.access(full, os.R_OK) or not full.is_file():
                    self._problem(("web", "tls_server_config", key), f"{full} cannot be read")
        self._load_certificates(tls)

    def _load_certificates(self, tls: dict[str, Any]) -> None:
        files = {key: file for key, file in tls.items() if isinstance(file, str) and Path(file).is_file()}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        steps: list[tuple[str, Callable[[], object]]] = []
        if "cert_file" in files and "key_file" in files:
            steps.append(
                ("cert_file", partial(context.load_cert_chain, files["cert_file"], files["key_file"]))
            )
        if "client_ca_file" in files:
            steps.append(("client_ca_file", partial(context.load_verify_locations, files["client_ca_file"])))
        for name, load_ in steps:
            try:
                load_()
            except (ssl.SSLError, OSError) as error:
                reason = getattr(error, "reason", None) or error
                self._problem(("web", "tls_server_config", name), f"{files[name]} cannot be used: {reason}")


_WRONG_TYPES = {
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "path_type": "the path of a file",
}

_EXAMPLES = {
    "ovh": "; it names the account that sends, see config/minimal.yml",
    "receivers": "; write receivers: [{name: ops, notify: [alice]}]",
    "notify": "; write notify: [alice]",
    "contact": "; name a contact, or write contact: null for nobody",
    "phone": '; write phone: "+33 6 39 98 00 01"',
}


def _example(path: Path_) -> str:
    return _EXAMPLES.get(str(path[-1]), "")


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host == "::1" or host.startswith("127.")


def listen_url(web: Web, port: int | None = None) -> str:
    """Return the URL at which people reach what listens as *web* says."""
    scheme = "https" if web.tls_server_config else "http"
    host = "127.0.0.1" if web.host in ("0.0.0.0", "::") else web.host  # noqa: S104
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}:{port or web.port}"
