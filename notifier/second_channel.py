"""A second channel for messages: URLs of the library apprise (e-mail, ntfy, Matrix, Telegram and many more).

apprise is an extra (``notifier[fallback]``) and is loaded when a URL is first used. URLs hold secrets: they are never
shown, only the name of their service is.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from functools import cache
from typing import Any

_MISSING = "needs the library apprise; run in Notifier's environment: pip install 'notifier[fallback]'"


class SendingFailed(Exception):
    """A message was not sent; the text is the reason, which may hold secrets."""


def problem(url: str) -> str | None:
    """Return why *url* cannot be used, without showing it; None if it can. Nothing is sent."""
    if importlib.util.find_spec("apprise") is None:
        return _MISSING
    if _instance(url) is None:
        scheme = url.partition("://")[0][:20]
        return (
            f'is no URL that apprise reads (it begins with "{scheme}"); see https://appriseit.com/services/'
        )
    return None


@cache
def service(url: str) -> str:
    """Return the name of the service of *url*, as apprise names it (``E-Mail``, ``ntfy``)."""
    plugin = _instance(url)
    return str(plugin.service_name) if plugin is not None else "unknown"


def send(url: str, title: str, text: str, seconds: float) -> None:
    """Send *text* to *url*, within *seconds*.

    Raises:
        SendingFailed: it was not sent, or it is unknown whether it was.
    """
    plugin = _instance(url)  # of its own: one that is used again waits between two messages, some for 5.5 s
    if plugin is None:
        raise SendingFailed("the URL cannot be used")
    done: list[bool | Exception] = []
    reasons = _Reasons()

    def run() -> None:
        reasons.thread = threading.get_ident()
        try:
            done.append(bool(plugin.notify(title=title, body=text)))
        except Exception as error:  # plugins are many, and by many authors
            done.append(error)

    logger = logging.getLogger("apprise")
    logger.addHandler(reasons)
    try:
        thread = threading.Thread(target=run, name="fallback-call", daemon=True)
        thread.start()
        thread.join(seconds)
    finally:
        logger.removeHandler(reasons)
    match done:
        case []:
            raise SendingFailed(f"no answer within {seconds:g} s")
        case [Exception() as error]:
            raise SendingFailed(f"{type(error).__name__}: {error}")
        case [False]:
            raise SendingFailed(reasons.text or "the service refused it or could not be reached")


class _Reasons(logging.Handler):
    """Keeps the last warning that apprise logs on one thread: the reason of a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = 0
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.text = record.getMessage()


def _instance(url: str) -> Any:
    import apprise

    return apprise.Apprise.instantiate(url, suppress_exceptions=True)
