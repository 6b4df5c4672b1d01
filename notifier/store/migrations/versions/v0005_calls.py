"""The recipient of a page may also be called."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table."""
    message = sa.ForeignKey("messages.id", ondelete="CASCADE")
    op.create_table(
        "calls",
        sa.Column("message_id", sa.Text, message, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("identifier", sa.Text),
        sa.Column("called_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("detail", sa.Text),
    )
    is_open = sa.text("state IN ('waiting', 'calling')")
    op.create_index("calls_due", "calls", ["due_at"], sqlite_where=is_open, postgresql_where=is_open)
