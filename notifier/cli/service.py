"""``serve``, ``healthy`` and ``demo``."""

from __future__ import annotations

import socket
import sys
import warnings
from typing import Annotated
from urllib.parse import urlsplit

import requests
import typer
from urllib3.exceptions import InsecureRequestWarning

from notifier.cli.options import ConfigFile, app, fail
from notifier.config.loading import ConfigurationError, load
from notifier.config.web import listen_url
from notifier.logs import LogFormat, LogLevel, configure_logging
from notifier.server import AddressUnavailable
from notifier.service import Service
from notifier.store.engine import StoreRefused, StoreUnavailable

_PATIENCE = 4.0
"""Seconds."""


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


@app.command(epilog="Example: notifier healthy --config /etc/notifier/notifier.yml")
def healthy(config: ConfigFile) -> None:
    """Exit with 0 if the service of this configuration answers on this machine: the health check of a container."""
    loading = load(config)
    if loading.configuration is None:
        fail("the configuration has errors; notifier check lists them")
    web = loading.configuration.web
    url = f"{listen_url(web)}/-/healthy"
    try:
        if web.tls_server_config is not None and web.tls_server_config.client_ca_file is not None:
            with socket.create_connection((urlsplit(url).hostname or "", web.port), _PATIENCE):
                return  # it asks for a certificate, which a health check does not have
        with requests.Session() as session:
            session.trust_env = False  # no proxy leads to this machine
            session.verify = False  # whatever name its certificate has
            warnings.simplefilter("ignore", InsecureRequestWarning)
            answer = session.get(url, timeout=_PATIENCE, allow_redirects=False)
            if answer.status_code != 200:
                fail(f"{url} answers {answer.status_code}")
    except (OSError, requests.RequestException) as error:
        fail(f"{url} does not answer: {error}")


@app.command(epilog="Example: notifier demo --port 8080")
def demo(
    port: Annotated[int, typer.Option(help="The port to listen on; if it is in use, another one.")] = 9876,
    once: Annotated[bool, typer.Option("--once", help="Stop when the first message has arrived.")] = False,
    browser: Annotated[
        bool | None,
        typer.Option(help="Open the phones in a browser; by default only if the output is a terminal."),
    ] = None,
) -> None:
    """Try everything without an account: the emulator, the service, a sample alert, and its SMS."""
    from notifier.demo import run

    is_wanted = sys.stdout.isatty() if browser is None else browser
    raise typer.Exit(run(port, once=once, browser=is_wanted))
