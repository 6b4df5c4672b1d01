"""Alembic's entry: runs the migrations on the connection that `notifier.store.engine.migrate` gives it."""

from alembic import context

from notifier.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
