"""Shared by the commands: the program itself, their options, and how they print and fail."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from notifier import __version__
from notifier.config.loading import Loading
from notifier.config.model import Configuration
from notifier.config.ovh import Ovh
from notifier.reload import load
from notifier.rendering.templates import Templates
from notifier.runtime import Runtime, prepare

app = typer.Typer(
    name="notifier",
    help="An on-call pager: Alertmanager's webhook in, SMS through OVHcloud out.",
    epilog="Exit status: 0 for success, 1 for failure or a negative result, 2 for wrong usage. "
    "COMMAND --help has an example of each.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ovh_app = typer.Typer(help="The OVHcloud account.", no_args_is_help=True)
app.add_typer(ovh_app, name="ovh")
storage_app = typer.Typer(help="The database.", no_args_is_help=True)
app.add_typer(storage_app, name="storage")
migrate_app = typer.Typer(help="Migration from other programs.", no_args_is_help=True)
app.add_typer(migrate_app, name="migrate")


class Output(StrEnum):
    """How data is printed."""

    TEXT = "text"
    JSON = "json"


def completer(of: Callable[[Configuration], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Return a function that completes names of the configuration."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        file = ctx.params.get("config")
        configuration = load(Path(file))[0].configuration if file is not None else None
        return [name for name in of(configuration) if name.startswith(incomplete)] if configuration else []

    return complete


ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="NOTIFIER_CONFIG", help="The configuration file, notifier.yml."),
]
OutputFormat = Annotated[Output, typer.Option("--output", "-o", help="The output format: text or json.")]

AccountName = Annotated[
    str | None,
    typer.Option(
        "--account",
        help="The account, by its service_name; default the first one.",
        autocompletion=completer(lambda found: [account.name for account in found.accounts if account.name]),
    ),
]


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Print *value* as JSON."""
    say(json.dumps(value, ensure_ascii=False, indent=2))


def fail(message: str) -> NoReturn:
    """Print an error, and exit with 1."""
    sys.stderr.write(f"notifier: {message}\n")
    raise typer.Exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        say(f"notifier {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def usable(file: Path) -> tuple[Loading, Configuration, Templates]:
    """Return *file*, loaded; if it has errors, print them and exit with 1."""
    loading, templates = load(file)
    if loading.configuration is None:
        for problem in sorted(loading.errors, key=lambda problem: problem.position):
            sys.stderr.write(problem.render(str(file)) + "\n")
        raise typer.Exit(1)
    return loading, loading.configuration, templates


def load_runtime(file: Path) -> Runtime:
    """Return the runtime of a configuration file, or print every error in it and exit with 1."""
    loading, _, templates = usable(file)
    return prepare(loading, templates, lambda call: None)


@contextlib.contextmanager
def printing_progress(*, quiet: bool) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Yield functions that print a line and show progress: beneath the lines, on a terminal alone."""
    if quiet or not sys.stdout.isatty():
        yield (lambda line: None) if quiet else say, lambda waiting: None
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    with console.status("") as status:
        yield (
            lambda line: console.print(Text(line)),
            lambda waiting: status.update(Text(waiting)),
        )


def account_named(configuration: Configuration, name: str | None) -> Ovh:
    """Return the account of that name, or the first one without a name; there must be one."""
    for account in configuration.accounts:
        if name in (None, account.name):
            return account
    known = ", ".join(account.name for account in configuration.accounts if account.name)
    fail(f'there is no account "{name}" under ovh; known are {known or "none by name"}')
