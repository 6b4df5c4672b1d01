"""The first schema: webhooks, notifications, messages and jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("identity", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("posted_to", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("planned_at", sa.BigInteger),
    )
    _partial_index("webhooks_unplanned", "webhooks", ["id"], "planned_at IS NULL")
    op.create_table(
        "notifications",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("webhook_id", sa.Text, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("group_key", sa.Text, nullable=False),
        sa.Column("alerts", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_notifications_webhook_id", "notifications", ["webhook_id"])
    op.create_table(
        "jobs",
        sa.Column("tag", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("attempted_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("patience", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("query_id", sa.Text),
    )
    _partial_index("jobs_open", "jobs", ["due_at"], "state != 'done'")
    op.create_table(
        "messages",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "notification_id", sa.Text, sa.ForeignKey("notifications.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("contact", sa.Text, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("parts", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("tag", sa.Text, sa.ForeignKey("jobs.tag")),
        sa.Column("ovh_id", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("finished_at", sa.BigInteger),
    )
    op.create_index("ix_messages_notification_id", "messages", ["notification_id"])
    op.create_index("ix_messages_tag", "messages", ["tag"])
    _partial_index("messages_queued", "messages", ["due_at", "id"], "state = 'queued'")
    _partial_index(
        "messages_under_way",
        "messages",
        ["state", "received_at"],
        "state IN ('queued', 'sending', 'unsettled')",
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
