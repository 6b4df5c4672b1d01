"""The tables.

A webhook is stored as it came. Planning turns it into notifications (one per receiver) and messages
(one per recipient); sending gathers messages into jobs, one attempt each, whose ``tag`` OVHcloud keeps.
Times are microseconds since 1970 in UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(instant: datetime) -> int:
    """Return *instant* as it is stored."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Return the instant that *value* stores."""
    return _EPOCH + value * _MICROSECOND


class Instant(TypeDecorator[datetime]):
    """An aware datetime, stored as microseconds since 1970 so that every engine compares it alike."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Store a datetime."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Read a datetime."""
        return None if value is None else from_microseconds(value)


class MessageState(StrEnum):
    """Where a message is on its way. The first three are under way, the others its end."""

    QUEUED = "queued"
    SENDING = "sending"
    UNSETTLED = "unsettled"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"


UNDER_WAY = (MessageState.QUEUED, MessageState.SENDING, MessageState.UNSETTLED)


class JobState(StrEnum):
    """What is known of an attempt: under way, its answer lost, or over."""

    SENDING = "sending"
    UNSETTLED = "unsettled"
    DONE = "done"


metadata = MetaData()

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("identity", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("posted_to", Text),
    Column("body", LargeBinary, nullable=False),
    Column("planned_at", Instant),
    Index(
        "webhooks_unplanned",
        "id",
        sqlite_where=text("planned_at IS NULL"),
        postgresql_where=text("planned_at IS NULL"),
    ),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("webhook_id", Text, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("receiver", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("alerts", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("attempted_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("looks", Integer, nullable=False, default=0),
    Column("patience", BigInteger, nullable=False, default=0),
    Column("error", Text),
    Column("query_id", Text),
    Index(
        "jobs_open",
        "due_at",
        sqlite_where=text("state != 'done'"),
        postgresql_where=text("state != 'done'"),
    ),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column(
        "notification_id",
        Text,
        ForeignKey("notifications.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("receiver", Text, nullable=False),
    Column("contact", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("due_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("tag", Text, ForeignKey("jobs.tag"), index=True),
    Column("ovh_id", BigInteger),
    Column("error", Text),
    Column("finished_at", Instant),
    Index(
        "messages_queued",
        "due_at",
        "id",
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "messages_under_way",
        "state",
        "received_at",
        sqlite_where=text("state IN ('queued', 'sending', 'unsettled')"),
        postgresql_where=text("state IN ('queued', 'sending', 'unsettled')"),
    ),
)
