"""What pages tell: the credits that each message has cost, and since when an incident fires, how severe it is."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; of what was there before it is not known."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("credits", sa.Float))
    with op.batch_alter_table("incidents") as table:
        table.add_column(sa.Column("began_at", sa.BigInteger))
        table.add_column(sa.Column("severity", sa.Text, nullable=False, server_default=""))
