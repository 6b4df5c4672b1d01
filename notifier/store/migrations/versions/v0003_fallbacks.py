"""Messages go through a second channel as well."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, and the index of the messages that failed."""
    op.create_table(
        "fallbacks",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id", ondelete="CASCADE"), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("finished_at", sa.BigInteger),
    )
    op.create_index("fallbacks_message", "fallbacks", ["message_id", "target"], unique=True)
    waiting = sa.text("state = 'waiting'")
    op.create_index("fallbacks_due", "fallbacks", ["due_at"], sqlite_where=waiting, postgresql_where=waiting)
    op.create_table(
        "fallback_attempts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("fallback_id", sa.Text, sa.ForeignKey("fallbacks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_fallback_attempts_fallback_id", "fallback_attempts", ["fallback_id"])
    failed = sa.text("state IN ('rejected', 'expired', 'undelivered')")
    op.create_index("messages_failed", "messages", ["id"], sqlite_where=failed, postgresql_where=failed)
