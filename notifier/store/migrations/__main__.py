"""``python -m notifier.store.migrations``: brings the schema of a database up to date.

The database is named on standard input, since its URL may hold a password: a file, or ``postgresql://…``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from notifier.store.database import open_backend
from notifier.store.engine import HEAD, REFUSED, StoreRefused, StoreUnavailable, reason, revision


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
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":  # another replica may be at it
            connection.execute(text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('notifier migrations'))"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def main(place: str) -> int:
    """Upgrade the database at *place*; say on standard output what keeps it from being done."""
    backend = open_backend(make_url(place) if place.startswith("postgresql") else Path(place))
    try:
        backend.prepare()
        upgrade(backend.engine)
    except StoreRefused as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    except StoreUnavailable as error:
        sys.stdout.write(f"{error}\n")
        return 1
    except DBAPIError as error:
        sys.stdout.write(f"{reason(error)}\n")
        return 1
    finally:
        backend.engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.read()))
