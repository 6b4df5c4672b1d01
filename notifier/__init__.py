"""Notifier: a self-hosted on-call pager, from Alertmanager's webhook to an SMS through OVHcloud."""

import importlib
import sys
import warnings
from importlib.metadata import version

__version__ = version("notifier")

_UNUSED = {"structlog": "rich", "requests": "charset_normalizer"}
"""What these load where it is installed, for terminals, developers, and pages in unnamed encodings: megabytes that a
service never uses. What it reads over HTTP is JSON or UTF-8, and to guess at a proxy's long page takes seconds."""


def _import_lean() -> None:
    for package, extra in _UNUSED.items():
        if extra not in sys.modules:
            sys.modules[extra] = None  # type: ignore[assignment]  # "is not installed", for the moment
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", "Unable to find acceptable character detection")
                    importlib.import_module(package)
            finally:
                del sys.modules[extra]


_import_lean()
