"""Accounts: which of them each job went to and each reply came from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the columns; what was there is of the account that has no name."""
    with op.batch_alter_table("jobs") as table:
        table.add_column(sa.Column("account", sa.Text, nullable=False, server_default=""))
    with op.batch_alter_table("messages") as table:
        table.add_column(sa.Column("refused_by", sa.Text))
    op.create_table(
        "replies_of_accounts",
        sa.Column("account", sa.Text, primary_key=True, server_default=""),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("contact", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
    )
    columns = "id, at, phone, contact, text, outcome"
    op.execute(f"INSERT INTO replies_of_accounts ({columns}) SELECT {columns} FROM replies")  # noqa: S608
    op.drop_table("replies")
    op.rename_table("replies_of_accounts", "replies")
    op.create_index("ix_replies_at", "replies", ["at"])
