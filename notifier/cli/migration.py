"""``migrate``: configurations of other programs become one of Notifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli import sachet
from notifier.cli.options import Output, OutputFormat, fail, migrate_app, print_json, say


@migrate_app.command("sachet", epilog="Example: notifier migrate sachet config.yaml > notifier.yml")
def migrate_sachet(
    file: Annotated[Path, typer.Argument(help="Sachet's config.yaml; - for stdin.")],
    output: OutputFormat = Output.TEXT,
) -> None:
    """Convert Sachet's configuration to Notifier's, with notes on what to check; exit 1 if a recipient is left out."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        migrated = sachet.migrate(text)
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    except (sachet.SachetError, UnicodeDecodeError) as error:
        fail(f"{file}: {error}")
    if output is Output.JSON:
        print_json({"configuration": migrated.text, "notes": migrated.notes, "dropped": migrated.dropped})
    else:
        say(migrated.text.rstrip())
        for note in migrated.notes:
            sys.stderr.write(f"{note}\n")
    if migrated.dropped:
        sys.stderr.write(f"notifier: not taken over: {'; '.join(migrated.dropped)}\n")
        raise typer.Exit(1)
