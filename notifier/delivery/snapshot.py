"""The input and the result of a selection: the outbox at one moment, and the decisions about its messages."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from notifier.config.model import CreditLimit, PerContact
from notifier.config.ovh import Rate
from notifier.delivery.message import Hold, Job, Message, NewMessage
from notifier.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a selection keeps to. `rates` are by account, as jobs name it."""

    per_contact: PerContact | None
    credits: CreditLimit | None
    rates: Mapping[str, Rate]
    accounts: Mapping[str, str] = field(default_factory=dict)
    """The accounts as jobs name them, by their names in the configuration. A name may be learnt from OVHcloud at any
    time, so they are read once for a selection."""

    @classmethod
    def of(cls, runtime: Runtime) -> Limits:
        """Return the limits of the configuration of *runtime*."""
        limits, accounts = runtime.configuration.limits, runtime.account_names
        rates = {
            account: rate for name, account in accounts.items() if (rate := runtime.apis[name].settings.rate)
        }
        return cls(limits.per_contact, limits.credits, rates, accounts)


@dataclass(frozen=True, slots=True)
class Usage:
    """Messages sent before, as far as the limits count them. Messages under way count as sent."""

    by_phone: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    """When messages went to each number within `limits.per_contact.per`, oldest first."""
    by_account: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    """When each account that has a rate sent messages within its time, newest first."""
    parts: int = 0
    """How many parts were sent within `limits.credits.per`."""
    credits_notice_at: datetime | None = None
    """When administrators were last notified that `limits.credits` is reached."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages that wait for a number and could be sent: messages that are due, and messages held for a digest."""

    has_held: bool
    """Whether a message is held for a digest."""
    has_critical_held: bool
    """Whether a critical message is held for a digest."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The outbox at `now`."""

    now: datetime
    limits: Limits
    due: Sequence[Message]
    """The messages that are due, those due longest first."""
    is_cut: bool = False
    """Whether more messages may be due than those."""
    usage: Usage = field(default_factory=Usage)
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)
    """By the number of each due message that may be throttled. No entry if another replica claimed the messages after
    `due` was read."""
    digests: Mapping[str, datetime] = field(default_factory=dict)
    """When the last digest to a number was made, if that was within `SHORTEST_WAIT`."""
    queues: Mapping[str, Sequence[Message]] = field(default_factory=dict)
    """All messages that wait for a number and could be sent, the most severe first: where `Selection.unread` asked for
    them."""
    overtaken: frozenset[str] = frozenset()
    """The ids of messages that need not be sent any more, of those that are due and those in `queues`."""
    blocked: Collection[str] = ()
    """Values of `Message.refused_by` that exclude every usable account. Such messages are left out."""


@dataclass(frozen=True, slots=True)
class Turns:
    """The accounts that may begin a job now."""

    order: Sequence[str]
    """The accounts, by their names in the configuration, each as often as it may begin a job."""
    fallback: Sequence[str] = ()
    """The accounts that may begin one job with what those in `order` have refused."""
    is_trial: bool = False
    """Whether sending is paused, and a job is a trial."""


@dataclass(frozen=True, slots=True)
class Held:
    """Messages to hold. Those that are due are deferred to `until`."""

    messages: Sequence[Message]
    until: datetime
    reason: Hold


@dataclass(frozen=True, slots=True)
class Merged:
    """A digest, and the messages that it replaces."""

    digest: NewMessage
    messages: Sequence[Message]


@dataclass(slots=True)
class Selection:
    """The decisions about the messages of a snapshot. The others do not change."""

    jobs: list[Job] = field(default_factory=list)
    expired: list[Message] = field(default_factory=list)
    withdrawn: list[Message] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    readdressed: list[tuple[Message, str]] = field(default_factory=list)
    """Messages to contacts that have another number now, with that number."""
    notices: list[NewMessage] = field(default_factory=list)
    """Notices to administrators that `limits.credits` is used up."""
    rate_limited_until: dict[str, datetime] = field(default_factory=dict)
    """When accounts may send again whose rate is used up, by their names in the configuration."""
    unread: set[str] = field(default_factory=set)
    """Numbers whose queues must be read before selecting again."""
    is_partial: bool = False
    """Whether rows were left out that another replica locked or changed."""

    def messages(self) -> Iterator[Message]:
        """Return every message that it changes."""
        yield from self.expired
        yield from self.withdrawn
        yield from (message for message, _ in self.readdressed)
        for held in self.held:
            yield from held.messages
        for merged in self.merged:
            yield from merged.messages
        for job in self.jobs:
            yield from job.messages

    def is_empty(self) -> bool:
        """Return whether there is nothing to write."""
        return not self.notices and next(self.messages(), None) is None
