"""Incidents know whether Alertmanager has silenced their alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; the defaults are for replicas that do not know them yet."""
    for column in (
        sa.Column("silenced_by", sa.Text, nullable=False, server_default=""),
        sa.Column("silence_comment", sa.Text, nullable=False, server_default=""),
        sa.Column("silenced_until", sa.BigInteger),
        sa.Column("silence_seen_at", sa.BigInteger),
        sa.Column("silence_notified_at", sa.BigInteger),
        sa.Column("released_at", sa.BigInteger),
        sa.Column("listed", sa.Text, nullable=False, server_default=""),
        sa.Column("listed_by", sa.Text, nullable=False, server_default=""),
        sa.Column("listed_at", sa.BigInteger),
        sa.Column("gone_since", sa.BigInteger),
        sa.Column("is_step_requested", sa.Boolean, nullable=False, server_default=sa.false()),
    ):
        op.add_column("incidents", column)
