"""The commands. Exit codes: 0 done, 1 the answer is no or something failed, 2 usage."""

from __future__ import annotations

from notifier.cli import configuration, incidents, migration, ovh, sending, service, storage
from notifier.cli.options import app

__all__ = ["app", "main"]

_MODULES = (service, configuration, incidents, sending, ovh, storage, migration)
"""The modules of the commands, in the order in which ``--help`` shows them."""


def _place(module: str | None) -> int:
    return [one.__name__ for one in _MODULES].index(str(module))


app.registered_commands.sort(key=lambda command: _place(command.callback and command.callback.__module__))


def main() -> None:
    """Run the command line."""
    app()
