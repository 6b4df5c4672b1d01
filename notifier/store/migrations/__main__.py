"""``python -m notifier.store.migrations FILE``: brings the schema of a database up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from notifier.store.engine import HEAD, REFUSED, StoreRefused, open_engine, reason, revision


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
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def main(file: str) -> int:
    """Upgrade the database in *file*; say on standard output what keeps it from being done."""
    engine = open_engine(Path(file))
    try:
        upgrade(engine)
    except StoreRefused as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    except DBAPIError as error:
        sys.stdout.write(f"{reason(error)}\n")
        return 1
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
