"""``storage``: the database is copied and backed up."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from notifier.cli.configuration import print_problem
from notifier.cli.options import ConfigFile, Output, OutputFormat, fail, print_json, say, storage_app
from notifier.config.model import Storage
from notifier.reload import load
from notifier.store.database import open_backend
from notifier.store.engine import StoreRefused, StoreUnavailable
from notifier.store.sqlite import backup
from notifier.store.transfer import transfer


@storage_app.command(
    "copy",
    epilog="Example: notifier storage copy --from sqlite:///var/lib/notifier/notifier.db --to postgresql://notifier@db/notifier",
)
def storage_copy(
    source: Annotated[str, typer.Option("--from", help="The storage.url to copy from.")],
    target: Annotated[str, typer.Option("--to", help="The storage.url to copy to; it must be empty.")],
    output: OutputFormat = Output.TEXT,
) -> None:
    """Copy everything to another database, SQLite or PostgreSQL, and verify the copy.

    The service must not be running. The source is not changed.
    """
    try:
        places = [Storage(url=url).place(Path.cwd()) for url in (source, target)]
    except ValidationError as error:
        fail(str(error.errors()[0]["msg"]).removeprefix("Value error, "))
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    try:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            console=Console(stderr=True),
        ) as bars:
            tasks: dict[tuple[str, str], Any] = {}

            def progress(what: str, table: str, done: int, total: int) -> None:
                if (what, table) not in tasks:
                    tasks[what, table] = bars.add_task(f"{what} {table}", total=total)
                bars.update(tasks[what, table], completed=done)

            counts = transfer(open_backend(places[0]), open_backend(places[1]), progress)
    except (StoreRefused, StoreUnavailable) as error:
        fail(f"nothing was copied: {error}")
    if output is Output.JSON:
        print_json(counts)
    else:
        rows = ", ".join(f"{count} {table}" for table, count in counts.items() if count) or "nothing"
        say(f"copied and verified: {rows}; now set storage.url")


@storage_app.command(
    "backup", epilog="Example: notifier storage backup --config notifier.yml /var/backups/notifier.db"
)
def storage_backup(
    config: ConfigFile,
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Write a consistent copy of the SQLite database; the service may be running."""
    loading, _ = load(config)
    if loading.configuration is None:
        for problem in loading.errors:
            print_problem(problem, config)
        raise typer.Exit(1)
    place = loading.configuration.storage.place(config.parent)
    if not isinstance(place, Path):
        fail("storage.url is PostgreSQL; use its own tool: pg_dump --format=custom --file FILE")
    try:
        backup(place, file)
    except StoreUnavailable as error:
        fail(f"no backup was made: {error}")
    say(f"{file} holds {place} as of now, {file.stat().st_size} bytes")
