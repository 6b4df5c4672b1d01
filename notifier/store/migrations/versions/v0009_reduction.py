"""How much was left out of the text of a message that OVHcloud refused for its content."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("reduction", sa.Integer, nullable=False, server_default="0"))
