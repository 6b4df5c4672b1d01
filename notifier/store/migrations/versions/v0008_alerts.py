"""The alerts of open incidents, to find an incident by them; and webhooks of a group that wait, by an index."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table, filled from the incidents that are open, and the index."""
    op.create_table(
        "incident_alerts",
        sa.Column("alert", sa.Text, primary_key=True),
        sa.Column(
            "incident_id",
            sa.Text,
            sa.ForeignKey("incidents.id", ondelete="CASCADE"),
            primary_key=True,
            index=True,
        ),
    )
    connection = op.get_bind()
    open_ = sa.text("SELECT id, firing FROM incidents WHERE state != 'resolved'")
    rows = [
        {"alert": alert, "incident": id_}
        for id_, firing in connection.execute(open_)
        for alert in sorted(set(firing.split()))[:200]
    ]
    if rows:
        connection.execute(
            sa.text("INSERT INTO incident_alerts (alert, incident_id) VALUES (:alert, :incident)"), rows
        )
    unplanned = sa.text("planned_at IS NULL")
    op.create_index(
        "webhooks_group",
        "webhooks",
        ["group_hash", "id"],
        sqlite_where=unplanned,
        postgresql_where=unplanned,
    )
