"""Incidents, what happened to them, receipts, replies, calendars, and what is to be remembered by name."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables, and let messages belong to an incident in place of a notification."""
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
        sa.Column("webhook_id", sa.Text),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("taken", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledged_via", sa.Text),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("version", sa.Integer, nullable=False),
    )
    _partial_index(
        "incidents_open", "incidents", ["receiver", "group_key"], "state != 'resolved'", unique=True
    )
    _partial_index("incidents_numbers", "incidents", ["number"], "state != 'resolved'", unique=True)
    _partial_index("incidents_due", "incidents", ["due_at"], "due_at IS NOT NULL")
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
        "replies",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("contact", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    op.create_index("ix_replies_at", "replies", ["at"])
    op.create_table(
        "marks",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "calendars",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fetched_at", sa.BigInteger, nullable=False),
        sa.Column("events", sa.Text, nullable=False),
    )
    with op.batch_alter_table("notifications") as table:
        table.add_column(sa.Column("incident_id", sa.Text))
        table.add_column(sa.Column("muted_by", sa.Text))
    op.create_index("ix_notifications_incident_id", "notifications", ["incident_id"])
    with op.batch_alter_table("messages") as table:
        table.alter_column("notification_id", existing_type=sa.Text, nullable=True)
        table.add_column(sa.Column("incident_id", sa.Text))
        table.add_column(sa.Column("kind", sa.Text, nullable=False, server_default="page"))
        table.add_column(sa.Column("step", sa.Integer))
        table.add_column(sa.Column("urgency", sa.Integer, nullable=False, server_default="2"))
        table.add_column(sa.Column("gist", sa.Text))
        table.add_column(sa.Column("merged_into", sa.Text))
        table.add_column(sa.Column("receipt", sa.Integer))
        table.add_column(sa.Column("ptt", sa.Integer))
        table.add_column(sa.Column("delivered_at", sa.BigInteger))
        table.add_column(sa.Column("receipt_due_at", sa.BigInteger))
    op.create_index("ix_messages_incident_id", "messages", ["incident_id"])
    op.create_index("messages_phone", "messages", ["phone", "created_at"])
    _partial_index("messages_merged", "messages", ["merged_into"], "merged_into IS NOT NULL")
    _partial_index("messages_receipts", "messages", ["receipt_due_at"], "receipt_due_at IS NOT NULL")


def _partial_index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)
