"""The tables.

A webhook is stored as it came. Planning turns it into notifications (one per receiver) and messages (one per
recipient) of an incident (one per receiver and group of alerts while any of them fires); sending gathers messages into
jobs, one attempt each, whose ``tag`` OVHcloud keeps; ``attempts`` holds the messages of each. ``incident_alerts`` are
the alerts that fire in open incidents, ``events`` are the other changes of an incident, ``timestamps`` are times
remembered by name. ``replicas`` are the processes that work on the database, ``last_webhooks`` the last webhook of
each scope (see `notifier.store.dedupe`), ``reloads`` those of the configuration. ``fallbacks`` are messages that also
go through a second channel, with their ``fallback_attempts``. Times are microseconds since 1970 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
    literal_column,
)

from notifier.clock import EARLIEST, LATEST
from notifier.delivery.message import WAITING

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(instant: datetime) -> int:
    """Return *instant* in the form of the database."""
    return (instant - _EPOCH) // _MICROSECOND


_FIRST, _LAST = to_microseconds(EARLIEST), to_microseconds(LATEST)


def from_microseconds(value: int) -> datetime:
    """Return the instant that *value* stores, or the nearest from `EARLIEST` to `LATEST`.

    A database may hold a time that no `datetime` can show; the row must stay readable.
    """
    return _EPOCH + min(max(value, _FIRST), _LAST) * _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 so that every engine compares it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Store a datetime."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read a datetime; a value that was damaged is 1970."""
        return None if value is None else from_microseconds(value if isinstance(value, int) else 0)


class JobState(StrEnum):
    """The state of an attempt: under way, its answer lost, or over."""

    SENDING = "sending"
    UNSETTLED = "unsettled"
    DONE = "done"


def sql_literal(value: StrEnum) -> ColumnElement[str]:
    """Return *value* as an SQL literal, so that the database can use a partial index on the rows with that value."""
    return literal_column(f"'{value.value}'", Text)


class SafeText(TypeDecorator[str]):
    """Text, without what PostgreSQL cannot keep: NUL, and halves of surrogate pairs."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Store a text."""
        if value is None or value.isprintable():
            return value
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


metadata = MetaData()


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    # As information only, for the migrations make it: options of the engines would load them both, with their types.
    return Index(name, *columns, unique=unique, info={"where": where})


webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("identity", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("posted_to", SafeText),
    Column("body", LargeBinary, nullable=False),
    Column("planned_at", Instant),
    Column("group_hash", BigInteger),
    Column("taken_by", Text),
    _partial("webhooks_unplanned", "id", where="planned_at IS NULL"),
    _partial("webhooks_group", "group_hash", "id", where="planned_at IS NULL"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("receiver", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("group_key", SafeText, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("incident_id", Text, index=True),
    Column("muted_by", Text),
)

incidents = Table(
    "incidents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("receiver", Text, nullable=False),
    Column("group_key", SafeText, nullable=False),
    Column("state", Text, nullable=False),
    Column("title", SafeText, nullable=False),
    Column("labels", Text, nullable=False),
    Column("alerts", Text, nullable=False),
    Column("firing", Text, nullable=False, server_default=""),
    Column("webhook_id", Text),
    Column("opened_at", Instant, nullable=False),
    Column("began_at", Instant),
    Column("severity", SafeText, nullable=False, server_default=""),
    Column("muted_by", SafeText, nullable=False, server_default=""),
    Column("muted_until", Instant),
    Column("silenced_by", SafeText, nullable=False, server_default=""),
    Column("silence_comment", SafeText, nullable=False, server_default=""),
    Column("silenced_until", Instant),
    Column("silence_seen_at", Instant),
    Column("silence_notified_at", Instant),
    Column("released_at", Instant),
    Column("listed", Text, nullable=False, server_default=""),
    Column("listed_by", Text, nullable=False, server_default=""),
    Column("listed_at", Instant),
    Column("gone_since", Instant),
    Column("is_step_requested", Boolean, nullable=False, server_default=false()),
    Column("step", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("steps_taken", Integer, nullable=False),
    Column("due_at", Instant),
    Column("unmute_at", Instant),
    Column("acknowledged_by", SafeText),
    Column("acknowledged_via", Text),
    Column("acknowledged_at", Instant),
    Column("resolved_at", Instant),
    Column("version", Integer, nullable=False),
    _partial("incidents_open", "receiver", "group_key", where="state != 'resolved'", unique=True),
    _partial("incidents_numbers", "number", where="state != 'resolved'", unique=True),
    _partial("incidents_due", "due_at", where="due_at IS NOT NULL"),
    _partial("incidents_unmute", "unmute_at", where="unmute_at IS NOT NULL"),
    _partial("incidents_resolved", "resolved_at", where="resolved_at IS NOT NULL"),
    _partial("incidents_group", "group_key", where="state != 'resolved'"),
)

incident_alerts = Table(
    "incident_alerts",
    metadata,
    Column("alert", Text, primary_key=True),
    Column(
        "incident_id",
        Text,
        ForeignKey("incidents.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
)

events = Table(
    "events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("incident_id", Text, ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("kind", Text, nullable=False),
    Column("by", SafeText),
    Column("via", Text),
    Column("detail", SafeText),
)

replies = Table(
    "replies",
    metadata,
    Column("account", Text, primary_key=True, server_default=""),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False, index=True),
    Column("phone", Text, nullable=False),
    Column("contact", SafeText),
    Column("text", SafeText, nullable=False),
    Column("outcome", Text, nullable=False),
)

timestamps = Table(
    "timestamps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", Instant, nullable=False),
)

calendars = Table(
    "calendars",
    metadata,
    Column("key", Text, primary_key=True),
    Column("fetched_at", Instant, nullable=False),
    Column("events", Text, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("text", SafeText, nullable=False),
    Column("attempted_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("settle_attempts", Integer, nullable=False, default=0),
    Column("listing_grace", BigInteger, nullable=False, default=0),
    Column("error", SafeText),
    Column("query_id", Text),
    Column("owner", Text),
    Column("answered_at", Instant),
    Column("account", Text, nullable=False, server_default=""),
    _partial("jobs_open", "due_at", where="state != 'done'"),
)

replicas = Table(
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beats", BigInteger, nullable=False),
    Column("seen_at", Instant, nullable=False),
)

last_webhooks = Table(
    "last_webhooks",
    metadata,
    Column("scope", LargeBinary, primary_key=True),
    Column("identity", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False, index=True),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "notification_id",
        Text,
        ForeignKey("notifications.id", ondelete="CASCADE"),
        index=True,
    ),
    Column("incident_id", Text, index=True),
    Column("kind", Text, nullable=False, server_default="page"),
    Column("step", Integer),
    Column("urgency", Integer, nullable=False, server_default="2"),
    Column("digest_entry", SafeText),
    Column("merged_into", Text),
    Column("receipt", Integer),
    Column("ptt", Integer),
    Column("delivered_at", Instant),
    Column("receipt_due_at", Instant),
    Column("receipt_at", Instant),
    Column("receiver", Text, nullable=False),
    Column("contact", SafeText, nullable=False),
    Column("phone", Text, nullable=False),
    Column("text", SafeText, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("sent_at", Instant),
    Column("expires_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("tag", Text, ForeignKey("jobs.tag"), index=True),
    Column("ovh_id", BigInteger),
    Column("error", SafeText),
    Column("refused_by", Text),
    Column("held_for", Text),
    Column("reduction", Integer, nullable=False, server_default="0"),
    Column("finished_at", Instant),
    Column("credits", Float),
    Column("author", SafeText),
    _partial("messages_queued", "due_at", "id", where="state IN ('queued', 'held')"),
    _partial(
        "messages_under_way",
        "state",
        "received_at",
        where="state IN ('queued', 'held', 'sending', 'unsettled')",
    ),
    Index("messages_phone", "phone", "sent_at"),
    _partial("messages_waiting", "phone", where="state IN ('queued', 'held')"),
    _partial("messages_sent", "sent_at", where="sent_at IS NOT NULL"),
    _partial("messages_ovh_id", "ovh_id", where="ovh_id IS NOT NULL"),
    _partial("messages_merged", "merged_into", where="merged_into IS NOT NULL"),
    _partial("messages_receipts", "receipt_due_at", where="receipt_due_at IS NOT NULL"),
    _partial("messages_failed", "id", where="state IN ('rejected', 'expired', 'undelivered')"),
)

fallbacks = Table(
    "fallbacks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
    Column("target", Text, nullable=False),
    Column("service", SafeText, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Index("fallbacks_message", "message_id", "target", unique=True),
    _partial("fallbacks_due", "due_at", where="state = 'waiting'"),
)

fallback_attempts = Table(
    "fallback_attempts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("fallback_id", Text, ForeignKey("fallbacks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Instant, nullable=False),
    Column("error", SafeText),
)

links = Table(
    "links",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", Instant, nullable=False),
)

calls = Table(
    "calls",
    metadata,
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("identifier", SafeText),
    Column("called_at", Instant),
    Column("finished_at", Instant),
    Column("detail", SafeText),
    _partial("calls_due", "due_at", where="state IN ('waiting', 'calling')"),
)

reloads = Table(
    "reloads",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("by", SafeText),
    Column("problem", SafeText),
)

attempts = Table(
    "attempts",
    metadata,
    Column("tag", Text, ForeignKey("jobs.tag", ondelete="CASCADE"), primary_key=True),
    Column("message_id", Text, ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True, index=True),
)

IS_WAITING = messages.c.state.in_([sql_literal(state) for state in WAITING])
"""The condition of the partial indexes for messages that are to be sent."""
IS_SENDING = (jobs.c.state != sql_literal(JobState.DONE)) & (jobs.c.state == JobState.SENDING)
"""The condition for jobs that are being sent, in the words of a partial index."""
