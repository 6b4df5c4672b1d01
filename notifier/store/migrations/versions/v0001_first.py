"""The tables of version 1."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "calendars",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fetched_at", sa.BigInteger, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
    )
    op.create_table(
        "incidents",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("group_key", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("alerts", sa.Text, nullable=False),
        sa.Column("firing", sa.Text, nullable=False, server_default=""),
        sa.Column("webhook_id", sa.Text),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("began_at", sa.BigInteger),
        sa.Column("severity", sa.Text, nullable=False, server_default=""),
        sa.Column("muted_by", sa.Text, nullable=False, server_default=""),
        sa.Column("muted_until", sa.BigInteger),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("steps_taken", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("unmute_at", sa.BigInteger),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledged_via", sa.Text),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("version", sa.Integer, nullable=False),
    )
    _partial_index("incidents_due", "incidents", ["due_at"], "due_at IS NOT NULL")
    _partial_index("incidents_group", "incidents", ["group_key"], "state != 'resolved'")
    _partial_index("incidents_numbers", "incidents", ["number"], "state != 'resolved'", unique=True)
    _partial_index(
        "incidents_open", "incidents", ["receiver", "group_key"], "state != 'resolved'", unique=True
    )
    _partial_index("incidents_resolved", "incidents", ["resolved_at"], "resolved_at IS NOT NULL")
    _partial_index("incidents_unmute", "incidents", ["unmute_at"], "unmute_at IS NOT NULL")
    op.create_table(
        "jobs",
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("attempted_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("settle_attempts", sa.Integer, nullable=False),
        sa.Column("listing_grace", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("query_id", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("answered_at", sa.BigInteger),
        sa.Column("account", sa.Text, nullable=False, server_default=""),
    )
    _partial_index("jobs_open", "jobs", ["due_at"], "state != 'done'")
    op.create_table(
        "last_webhooks",
        sa.Column("scope", sa.LargeBinary, primary_key=True),
        sa.Column("identity", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_last_webhooks_received_at", "last_webhooks", ["received_at"])
    op.create_table(
        "reloads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("problem", sa.Text),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replies",
        sa.Column("account", sa.Text, primary_key=True, server_default=""),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("contact", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("ix_replies_at", "replies", ["at"])
    op.create_table(
        "timestamps",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("identity", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("posted_to", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("planned_at", sa.BigInteger),
        sa.Column("group_hash", sa.BigInteger),
        sa.Column("taken_by", sa.Text),
    )
    _partial_index("webhooks_group", "webhooks", ["group_hash", "id"], "planned_at IS NULL")
    _partial_index("webhooks_unplanned", "webhooks", ["id"], "planned_at IS NULL")
    op.create_table(
        "events",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("incident_id", sa.Text, sa.ForeignKey("incidents.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("via", sa.Text),
        sa.Column("detail", sa.Text),
    )
    op.create_index("ix_events_incident_id", "events", ["incident_id"])
    op.create_table(
        "incident_alerts",
        sa.Column("alert", sa.Text, primary_key=True),
        sa.Column(
            "incident_id", sa.Text, sa.ForeignKey("incidents.id", ondelete="CASCADE"), primary_key=True
        ),
    )
    op.create_index("ix_incident_alerts_incident_id", "incident_alerts", ["incident_id"])
    op.create_table(
        "notifications",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("webhook_id", sa.Text, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("group_key", sa.Text, nullable=False),
        sa.Column("alerts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("incident_id", sa.Text),
        sa.Column("muted_by", sa.Text),
    )
    op.create_index("ix_notifications_incident_id", "notifications", ["incident_id"])
    op.create_index("ix_notifications_webhook_id", "notifications", ["webhook_id"])
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("notification_id", sa.Text, sa.ForeignKey("notifications.id", ondelete="CASCADE")),
        sa.Column("incident_id", sa.Text),
        sa.Column("kind", sa.Text, nullable=False, server_default="page"),
        sa.Column("step", sa.Integer),
        sa.Column("urgency", sa.Integer, nullable=False, server_default="2"),
        sa.Column("digest_entry", sa.Text),
        sa.Column("merged_into", sa.Text),
        sa.Column("receipt", sa.Integer),
        sa.Column("ptt", sa.Integer),
        sa.Column("delivered_at", sa.BigInteger),
        sa.Column("receipt_due_at", sa.BigInteger),
        sa.Column("receipt_at", sa.BigInteger),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tag", sa.Text, sa.ForeignKey("jobs.tag")),
        sa.Column("ovh_id", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("refused_by", sa.Text),
        sa.Column("held_for", sa.Text),
        sa.Column("reduction", sa.Integer, nullable=False, server_default="0"),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("credits", sa.Float),
        sa.Column("author", sa.Text),
    )
    op.create_index("ix_messages_incident_id", "messages", ["incident_id"])
    op.create_index("ix_messages_notification_id", "messages", ["notification_id"])
    op.create_index("ix_messages_tag", "messages", ["tag"])
    _partial_index("messages_merged", "messages", ["merged_into"], "merged_into IS NOT NULL")
    _partial_index("messages_ovh_id", "messages", ["ovh_id"], "ovh_id IS NOT NULL")
    op.create_index("messages_phone", "messages", ["phone", "sent_at"])
    _partial_index("messages_queued", "messages", ["due_at", "id"], "state IN ('queued', 'held')")
    _partial_index("messages_receipts", "messages", ["receipt_due_at"], "receipt_due_at IS NOT NULL")
    _partial_index("messages_sent", "messages", ["sent_at"], "sent_at IS NOT NULL")
    _partial_index(
        "messages_under_way",
        "messages",
        ["state", "received_at"],
        "state IN ('queued', 'held', 'sending', 'unsettled')",
    )
    _partial_index("messages_waiting", "messages", ["phone"], "state IN ('queued', 'held')")
    op.create_table(
        "attempts",
        sa.Column("tag", sa.Text, sa.ForeignKey("jobs.tag", ondelete="CASCADE"), primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_attempts_message_id", "attempts", ["message_id"])


def _partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
