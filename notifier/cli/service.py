"""``serve`` and ``demo``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from notifier.cli.options import ConfigFile, app, fail
from notifier.config.loading import ConfigurationError
from notifier.logs import LogFormat, LogLevel, configure_logging
from notifier.server import AddressUnavailable
from notifier.service import Service
from notifier.store.engine import StoreRefused, StoreUnavailable


@app.command(epilog="Example: notifier serve --config /etc/notifier/notifier.yml --log-format json")
def serve(
    config: ConfigFile,
    log_format: Annotated[LogFormat, typer.Option(help="logfmt or json.")] = LogFormat.LOGFMT,
    log_level: Annotated[LogLevel, typer.Option(help="debug, info, warning or error.")] = LogLevel.INFO,
) -> None:
    """Run the service. SIGHUP reloads the configuration, SIGTERM finishes current jobs and stops."""
    redaction = configure_logging(log_format, log_level)
    try:
        Service(config, redaction).run()
    except ConfigurationError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None
    except (StoreRefused, StoreUnavailable) as error:
        fail(f"the database cannot be used: {error}")
    except AddressUnavailable as error:
        fail(str(error))


@app.command(epilog="Example: notifier demo --port 8080")
def demo(
    port: Annotated[int, typer.Option(help="The port to listen on; if it is in use, another one.")] = 9876,
    once: Annotated[bool, typer.Option("--once", help="Stop when the first message has arrived.")] = False,
    browser: Annotated[
        bool | None, typer.Option(help="Open the phones in a browser; by default on a terminal.")
    ] = None,
) -> None:
    """Try everything without an account: the emulator, the service, a sample alert, and its SMS."""
    from notifier.demo import run

    is_wanted = sys.stdout.isatty() if browser is None else browser
    raise typer.Exit(run(port, once=once, browser=is_wanted))
