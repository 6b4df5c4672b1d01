"""How an incident is muted by time intervals, and until when."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; they are filled when a muted incident is looked at, within an hour."""
    with op.batch_alter_table("incidents") as table:
        table.add_column(sa.Column("muted_by", sa.Text, nullable=False, server_default=""))
        table.add_column(sa.Column("muted_until", sa.BigInteger))
