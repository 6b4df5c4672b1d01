"""Messages that wait for a digest or for credits have a state of their own: held, with the reason."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_INDEXES = {
    "messages_queued": (["due_at", "id"], "state IN ('queued', 'held')"),
    "messages_waiting": (["phone"], "state IN ('queued', 'held')"),
    "messages_under_way": (
        ["state", "received_at"],
        "state IN ('queued', 'held', 'sending', 'unsettled')",
    ),
}


def upgrade() -> None:
    """Add the reason, and make the indexes anew for what waits to be sent."""
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("held_for", sa.Text))
    for name, (columns, where) in _INDEXES.items():
        op.drop_index(name, table_name="messages")
        op.create_index(
            name,
            "messages",
            columns,
            sqlite_where=sa.text(where),
            postgresql_where=sa.text(where),
        )
