"""A second channel for messages: URLs of the library apprise (e-mail, ntfy, Matrix, Telegram and many more).

apprise is an extra (``fallback``) and is loaded when a URL is first used. URLs hold secrets: they are never
shown, only the name of their service is.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote

_MISSING = (
    "needs the library apprise; in the clone, with the pip of Notifier's environment, run: "
    "pip install '.[fallback]'"
)
_SERVICES = "see https://appriseit.com/services/"
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,19})://")
_SHORTEST_SECRET = 4
_HIDDEN = "[secret]"


class SendingFailed(Exception):
    """A message was not sent, or it is unknown whether it was; the text is the reason, without secrets of the URL."""


def problem(url: str) -> str | None:
    """Return why *url* cannot be used, without showing it; None if it can. Nothing is sent."""
    if importlib.util.find_spec("apprise") is None:
        return _MISSING
    scheme = _SCHEME.match(url)
    if scheme is None:
        return f"is no URL: it must begin with the scheme of a service and ://; {_SERVICES}"
    if _instance(url) is None:
        return f"apprise cannot use this URL of the scheme {scheme[1]}://, or lacks a package for it; {_SERVICES}"
    return None


@cache
def service(url: str) -> str:
    """Return the name of the service of *url*, as apprise names it (``E-Mail``, ``ntfy``)."""
    plugin = _instance(url)
    return str(plugin.service_name) if plugin is not None else "unknown"


def secrets_in(url: str) -> Iterator[str]:
    """Yield the parts of *url* that may be secret: passwords, tokens, and the values of its query; no plain words."""
    rest, _, query = url.partition("://")[2].partition("?")
    user, at, place = rest.rpartition("@")
    parts = [value for pair in parse_qsl(query, keep_blank_values=True) for value in pair]
    parts += user.split(":")[1:] if at else []
    parts += [part for part in (*user.split(":")[:1], *place.split("/")) if _is_token(part)]
    for part in parts:
        for one in {part, unquote(part)}:
            if len(one) >= _SHORTEST_SECRET:
                yield one


def _is_token(text: str) -> bool:
    """Return whether *text* looks like a token rather than like a name, a host or a topic."""
    is_mixed = re.search(r"\d", text) is not None and re.search("[A-Za-z]", text) is not None
    return "." not in text and len(text) >= 10 and (is_mixed or len(text) >= 24)


def without_secrets(text: str, url: str) -> str:
    """Return *text* with *url* and its secrets hidden."""
    for secret in (url, *sorted(secrets_in(url), key=len, reverse=True)):
        text = text.replace(secret, _HIDDEN)
    return text


def send(url: str, title: str, text: str, seconds: float, ended: Callable[[], None] = lambda: None) -> None:
    """Send *text* to *url*, within *seconds*; *ended* is called when the call has really ended, which may be later.

    Raises:
        SendingFailed: it was not sent, or it is unknown whether it was.
    """
    done: list[bool | Exception] = []
    warnings: list[str] = []

    def run() -> None:
        _warnings.set(warnings)
        try:
            done.append(_notify(url, title, text))
        except Exception as error:  # plugins are many, and by many authors
            done.append(error)
        finally:
            ended()

    thread = threading.Thread(target=run, name="fallback-call", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        ended()
        raise SendingFailed("no thread can be started") from None
    thread.join(seconds)
    match done:
        case []:
            raise SendingFailed(f"no answer within {seconds:g} s")
        case [Exception() as error]:
            raise SendingFailed(without_secrets(f"{type(error).__name__}: {error}", url))
        case [False]:
            reason = warnings[-1] if warnings else "the service refused it or could not be reached"
            raise SendingFailed(without_secrets(reason, url))


def _notify(url: str, title: str, text: str) -> bool:
    import apprise

    plugin = _instance(url)  # of its own: one that is used again waits between two messages, some for 5.5 s
    if plugin is None:
        raise SendingFailed("the URL cannot be used")
    is_mail = plugin.service_name == "E-Mail"
    is_repeated = text.startswith(title) and not text.startswith(title + ": ")
    if plugin.title_maxlen <= 0 or (is_repeated and not is_mail):
        title = ""
    sender = apprise.Apprise()
    sender.add(plugin)
    # Some services take HTML, as Telegram: apprise escapes the "<" of the text for them.
    return bool(sender.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT))


_warnings: ContextVar[list[str]] = ContextVar("warnings of apprise in one call")


class _Warnings(logging.Handler):
    """Keeps what apprise warns of in one call; it copies the context to threads of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        if (warnings := _warnings.get(None)) is not None:
            warnings.append(record.getMessage())


_handler = _Warnings(logging.WARNING)


def _instance(url: str) -> Any:
    import apprise

    logger = logging.getLogger("apprise")  # it logs URLs with what they hold
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(_handler)
    return apprise.Apprise.instantiate(url, suppress_exceptions=True)
