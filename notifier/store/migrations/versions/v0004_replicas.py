"""Replicas: who works on what, which webhooks are repetitions; and which messages each attempt was for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables, and add the columns."""
    op.create_table(
        "replicas",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "identities",
        sa.Column("identity", sa.LargeBinary, primary_key=True),
        sa.Column("received_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_identities_received_at", "identities", ["received_at"])
    op.create_table(
        "attempts",
        sa.Column("tag", sa.Text, sa.ForeignKey("jobs.tag", ondelete="CASCADE"), primary_key=True),
        sa.Column("message_id", sa.Text, sa.ForeignKey("messages.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_attempts_message_id", "attempts", ["message_id"])
    op.execute("INSERT INTO attempts (tag, message_id) SELECT tag, id FROM messages WHERE tag IS NOT NULL")
    with op.batch_alter_table("webhooks") as table:
        table.add_column(sa.Column("group_hash", sa.BigInteger))
        table.add_column(sa.Column("taken_by", sa.Text))
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("owner", sa.Text))
        table.add_column(sa.Column("answered_at", sa.BigInteger))
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("receipt_at", sa.BigInteger))
    _partial_index("messages_ovh_id", "messages", ["ovh_id"], "ovh_id IS NOT NULL")
    _partial_index("incidents_resolved", "incidents", ["resolved_at"], "resolved_at IS NOT NULL")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
