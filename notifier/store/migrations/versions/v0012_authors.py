"""Who asked for a message, and the reloads of the configuration with who asked for them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column and the table."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("author", sa.Text))
    op.create_table(
        "reloads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.Text),
        sa.Column("problem", sa.Text),
    )
