"""The revisions of the schema, and the upgrade of a database to the newest."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, text

from notifier.store.engine import HEAD, StoreRefused, revision

_lock = threading.Lock()  # Alembic keeps what it is doing in a global variable


def upgrade(engine: Engine) -> None:
    """Bring the schema to `HEAD`, in one transaction.

    Raises:
        StoreRefused: it is newer than this program.
        sqlalchemy.exc.DBAPIError: the database cannot be read or written.
    """
    current = revision(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    try:
        if current is not None:
            ScriptDirectory.from_config(config).get_revision(current)
    except CommandError:
        raise StoreRefused(
            f"its schema ({current}) is newer than this program knows ({HEAD}); "
            "run the version of Notifier that wrote it, or a later one"
        ) from None
    with _lock, engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # another replica may be at it
            connection.execute(text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('notifier migrations'))"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
