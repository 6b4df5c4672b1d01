"""Repetitions: a webhook repeats another if it equals the last one of its scope, no longer any one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table anew. What it held is forgotten: a repetition of the last minutes is planned once more."""
    op.drop_table("identities")
    op.create_table(
        "last_webhooks",
        sa.Column("scope", sa.LargeBinary, primary_key=True),
        sa.Column("identity", sa.LargeBinary, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_last_webhooks_received_at", "last_webhooks", ["received_at"])
