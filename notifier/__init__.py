"""Notifier: a self-hosted on-call pager, from Alertmanager's webhook to an SMS through OVHcloud."""

import importlib
import sys
from importlib.metadata import version

__version__ = version("notifier")

_UNUSED = {"structlog": "rich", "uvicorn": "watchfiles"}
"""What these load where it is installed, for terminals and developers: megabytes that a service never uses."""


def _import_lean() -> None:
    for package, extra in _UNUSED.items():
        if extra not in sys.modules:
            sys.modules[extra] = None  # type: ignore[assignment]  # "is not installed", for the moment
            try:
                importlib.import_module(package)
            finally:
                del sys.modules[extra]


_import_lean()
