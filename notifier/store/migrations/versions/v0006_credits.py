"""Credits: what each message has cost."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; of what was sent before it is not known."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("credits", sa.Float))
