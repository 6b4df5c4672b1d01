"""When messages went out, when what was muted is to be heard, and a look at all incidents of a group."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns, and indexes on what is looked for."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("sent_at", sa.BigInteger))
    op.execute("UPDATE messages SET sent_at = coalesce(finished_at, due_at) WHERE tag IS NOT NULL")
    op.drop_index("messages_phone", "messages")
    op.create_index("messages_phone", "messages", ["phone", "sent_at"])
    _partial_index("messages_waiting", "messages", ["phone"], "state = 'queued'")
    _partial_index("messages_sent", "messages", ["sent_at"], "sent_at IS NOT NULL")
    with op.batch_alter_table("incidents") as table:
        table.add_column(sa.Column("heard_at", sa.BigInteger))
        table.add_column(sa.Column("firing", sa.Text, nullable=False, server_default=""))
    _partial_index("incidents_heard", "incidents", ["heard_at"], "heard_at IS NOT NULL")
    _partial_index("incidents_group", "incidents", ["group_key"], "state != 'resolved'")


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
